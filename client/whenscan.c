/* whenscan: when does it happen in this file? Reads the arguments; scan_run.c does the work. */
#include "base/clock.h"
#include "base/log.h"
#include "client/scan.h"
#include "config/value.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char USAGE[] =
    "usage: whenscan --model DIR --question \"...\" [--question \"...\"]... FILE OPTIONS\n"
    "\n"
    "  --video FILE            a video file; or\n"
    "  --frames F.npy --pts F.npy   uint8 [T, H, W, 3] and seconds [T]\n"
    "  --fps N                 pictures a second that the model sees (2; of .npy: all); 0: all\n"
    "  --window SECONDS        how much one question sees (16)\n"
    "  --overlap SECONDS       of neighbouring windows (4)\n"
    "  --start UTC             of the first picture (else what the file says, if it does)\n"
    "  --start-error SECONDS   how far that may be off (1)\n"
    "  --boundary-error S      how far the model's boundaries are off (0.5)\n"
    "  --lora DIR              an adapter to merge into the model\n"
    "  --dtype f32|bf16        (bf16)\n"
    "  --threads N             (0: one a core)\n"
    "  --max-answer-tokens N   (512)\n"
    "  --json                  one array of objects\n"
    "  --quiet                 no progress\n"
    "  --logits, --positions, --ids OUT.npy   of the first question: logits at the prompt's end,\n"
    "                          position ids [3, n], token ids\n"
    "\n"
    "Exit code 0, or 64 and more as in sysexits.h.\n";

enum {
    MODEL = 256,
    VIDEO,
    FRAMES,
    PTS,
    QUESTION,
    FPS,
    WINDOW,
    OVERLAP,
    START,
    START_ERROR,
    BOUNDARY_ERROR,
    LORA,
    DTYPE,
    THREADS,
    MAX_TOKENS,
    JSON,
    QUIET,
    LOGITS,
    POSITIONS,
    IDS,
    HELP,
    VERSION
};

static const struct option OPTIONS[] = {{"model", required_argument, NULL, MODEL},
                                        {"video", required_argument, NULL, VIDEO},
                                        {"frames", required_argument, NULL, FRAMES},
                                        {"pts", required_argument, NULL, PTS},
                                        {"question", required_argument, NULL, QUESTION},
                                        {"fps", required_argument, NULL, FPS},
                                        {"window", required_argument, NULL, WINDOW},
                                        {"overlap", required_argument, NULL, OVERLAP},
                                        {"start", required_argument, NULL, START},
                                        {"start-error", required_argument, NULL, START_ERROR},
                                        {"boundary-error", required_argument, NULL, BOUNDARY_ERROR},
                                        {"lora", required_argument, NULL, LORA},
                                        {"dtype", required_argument, NULL, DTYPE},
                                        {"threads", required_argument, NULL, THREADS},
                                        {"max-answer-tokens", required_argument, NULL, MAX_TOKENS},
                                        {"json", no_argument, NULL, JSON},
                                        {"quiet", no_argument, NULL, QUIET},
                                        {"logits", required_argument, NULL, LOGITS},
                                        {"positions", required_argument, NULL, POSITIONS},
                                        {"ids", required_argument, NULL, IDS},
                                        {"help", no_argument, NULL, HELP},
                                        {"version", no_argument, NULL, VERSION},
                                        {NULL, 0, NULL, 0}};

static int usage_error(Error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int usage_error(Error *err, const char *format, ...)
{
    char line[300];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    return error_set(err, EINVAL, EX_USAGE, "%s (whenscan --help)", line);
}

static int read_number(const char *option, const char *text, double min, double max, double *number,
                       Error *err)
{
    const char *reason;
    double value;
    if (value_number(text, &value, &reason) < 0)
        return usage_error(err, "--%s %.40s: %s", option, text, reason);
    if (value < min || value > max)
        return usage_error(err, "--%s %.40s: not between %g and %g", option, text, min, max);
    *number = value;
    return 0;
}

/* Seconds: "16", and also "16s" or "500ms" as in whend.yaml. */
static int read_seconds(const char *option, const char *text, double min_s, double max_s,
                        int64_t *us, Error *err)
{
    const char *reason;
    double number;
    int64_t value;
    if (value_number(text, &number, &reason) == 0 && number <= 1e9)
        value = (int64_t)(number * 1e6 + 0.5);
    else if (value_duration(text, &value, &reason) < 0)
        return usage_error(err, "--%s %.40s: not a number of seconds", option, text);
    if ((double)value < min_s * 1e6 || (double)value > max_s * 1e6)
        return usage_error(err, "--%s %.40s: not between %g and %g seconds", option, text, min_s,
                           max_s);
    *us = value;
    return 0;
}

static int read_question(ScanOptions *o, const char *text, Error *err)
{
    if (o->n_questions == SCAN_MAX_QUESTIONS)
        return usage_error(err, "more than %d questions", SCAN_MAX_QUESTIONS);
    if (strlen(text) > SCAN_MAX_QUESTION_BYTES)
        return usage_error(err, "the question has %zu bytes, at most %d are read", strlen(text),
                           SCAN_MAX_QUESTION_BYTES);
    if (!text[strspn(text, " ")] || !value_is_text(text))
        return usage_error(err, "a question is a line of UTF-8 text");
    o->questions[o->n_questions++] = text;
    return 0;
}

static int read_option(ScanOptions *o, int option, const char *text, Error *err)
{
    double number = 0;
    int rc = 0;
    switch (option) {
    case MODEL:
        o->model = text;
        break;
    case VIDEO:
        o->video = text;
        break;
    case FRAMES:
        o->frames = text;
        break;
    case PTS:
        o->pts = text;
        break;
    case QUESTION:
        return read_question(o, text, err);
    case FPS:
        return read_number("fps", text, 0, 60, &o->fps, err);
    case WINDOW:
        return read_seconds("window", text, 1, 600, &o->window_us, err);
    case OVERLAP:
        return read_seconds("overlap", text, 0, 300, &o->overlap_us, err);
    case START:
        if (clock_parse_utc(text, &o->start_utc_us) < 0)
            return usage_error(err, "--start %.40s: not a UTC time (like 2026-11-23T08:00:00Z)",
                               text);
        break;
    case START_ERROR:
        return read_seconds("start-error", text, 0, 86400, &o->start_utc_err_us, err);
    case BOUNDARY_ERROR:
        return read_seconds("boundary-error", text, 0, 60, &o->boundary_error_us, err);
    case LORA:
        o->lora = text;
        break;
    case DTYPE:
        if (strcmp(text, "f32") != 0 && strcmp(text, "bf16") != 0)
            return usage_error(err, "--dtype %.40s: neither f32 nor bf16", text);
        o->dtype = strcmp(text, "f32") == 0 ? ENGINE_F32 : ENGINE_BF16;
        break;
    case THREADS:
        rc = read_number("threads", text, 0, 1024, &number, err);
        o->threads = (int)number;
        break;
    case MAX_TOKENS:
        rc = read_number("max-answer-tokens", text, 16, 4096, &number, err);
        o->max_answer_tokens = (int)number;
        break;
    case JSON:
        o->json = true;
        break;
    case QUIET:
        o->quiet = true;
        break;
    case LOGITS:
        o->logits = text;
        break;
    case POSITIONS:
        o->positions = text;
        break;
    case IDS:
        o->ids = text;
        break;
    }
    return rc;
}

static int check_options(ScanOptions *o, Error *err)
{
    if (!o->model)
        return usage_error(err, "--model DIR is missing");
    if (!o->n_questions)
        return usage_error(err, "--question \"...\" is missing");
    if (!o->video == !o->frames)
        return usage_error(err, "one of --video FILE and --frames F.npy is needed");
    if (!o->frames != !o->pts)
        return usage_error(err, "--frames and --pts belong together");
    if (o->overlap_us > o->window_us / 2)
        return usage_error(err, "the overlap of %g s is more than half the window of %g s",
                           (double)o->overlap_us / 1e6, (double)o->window_us / 1e6);
    if (o->fps < 0)
        o->fps = o->video ? 2 : 0;
    return 0;
}

static int print(const ScanOptions *options, const ScanResult *result, Error *err)
{
    _cleanup_str_ Str out = {0};
    if (options->json)
        scan_print_json(options, result, &out);
    else
        scan_print_text(options, result, &out);
    if (str_failed(&out))
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    if (fwrite(str_text(&out), 1, out.len, stdout) != out.len || fflush(stdout) == EOF)
        return error_set(err, EIO, EX_IOERR, "standard output: %s", strerror(errno));
    return 0;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    ScanOptions options = {.fps = -1,
                           .window_us = 16 * US_PER_S,
                           .overlap_us = 4 * US_PER_S,
                           .boundary_error_us = US_PER_S / 2,
                           .start_utc_err_us = US_PER_S,
                           .dtype = ENGINE_BF16};
    log_init("whenscan", LOG_LEVEL_WARN);
    Error err = {0};
    int rc = 0, option;
    opterr = 0;
    while (rc == 0 && (option = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        if (option == HELP) {
            fputs(USAGE, stdout);
            return 0;
        }
        if (option == VERSION) {
            puts("whenscan " WHEN_VERSION);
            return 0;
        }
        if (option == ':')
            rc = usage_error(&err, "%.60s: a value is missing", argv[optind - 1]);
        else if (option == '?')
            rc = usage_error(&err, "%.60s: no such option", argv[optind - 1]);
        else
            rc = read_option(&options, option, optarg, &err);
    }
    if (rc == 0 && optind < argc)
        rc = usage_error(&err, "%.60s: one word too many", argv[optind]);
    if (rc == 0)
        rc = check_options(&options, &err);
    ScanResult result = {0};
    if (rc == 0) {
        rc = scan_run(&options, &result, &err);
        /* What was found before a file broke off is still true. */
        Error print_err = {0};
        if ((rc == 0 || result.windows) && print(&options, &result, &print_err) < 0 && rc == 0) {
            rc = -EIO;
            err = print_err;
        }
    }
    scan_result_deinit(&result);
    if (rc >= 0)
        return 0;
    fprintf(stderr, "whenscan: %s\n", err.text);
    return err.exit_code ? err.exit_code : EX_SOFTWARE;
}

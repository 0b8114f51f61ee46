/* whenscan: when does it happen in this file? Reads the arguments; scan_run.c does the work. */
#include "base/clock.h"
#include "base/log.h"
#include "client/scan.h"
#include "client/scan_probe.h"
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
    "       whenscan --model DIR --prompt \"...\" [PICTURES]... OPTIONS\n"
    "       whenscan --probe URL OPTIONS   what a camera or file offers\n"
    "\n"
    "When does it happen? FILE is one of\n"
    "  --video FILE            a video file\n"
    "  --frames F.npy --pts F.npy   uint8 [T, H, W, 3] and seconds [T]\n"
    "  --fps N                 pictures a second that the model sees (2; of .npy: all); 0: all\n"
    "  --window SECONDS        how much one question sees (16)\n"
    "  --overlap SECONDS       of neighbouring windows (4)\n"
    "  --start UTC             of the first picture (else what the file says, if it does)\n"
    "  --start-error SECONDS   how far that may be off (1)\n"
    "  --boundary-error S      how far the model's boundaries are off (0.5)\n"
    "  --quiet                 no progress\n"
    "\n"
    "A free prompt, answered as it comes. PICTURES are --video, --frames with --pts, --image "
    "FILE,\n"
    "several in the order in which they are seen; one --prompt stands behind them, several stand\n"
    "where they are written.\n"
    "  --system TEXT           instead of the chat template's own\n"
    "  --raw-prompt            --prompt is the whole text, with <|vision_start|><|image_pad|>\n"
    "                          <|vision_end|> (or video_pad) where pictures go\n"
    "  --repetition-penalty N  (1: none)\n"
    "\n"
    "Both:\n"
    "  --lora DIR              an adapter to merge into the model\n"
    "  --dtype f32|bf16|int8|int4   precision of weights and products (bf16)\n"
    "  --cache DIR             keep packed weights there: the next start maps them\n"
    "  --kv auto|bf16|int8|f32 how keys and values are kept (auto: by --dtype)\n"
    "  --threads N             (0: one a core)\n"
    "  --max-tokens N          of an answer (512); 0: a prompt is read and not answered\n"
    "  --json                  one array of objects; one object for a prompt\n"
    "  --logits, --positions, --ids OUT.npy   logits at the prompt's end [vocab], position ids\n"
    "                          [3, n], token ids [n]; of questions: the first one's\n"
    "\n"
    "Exit code 0, or 64 and more as in sysexits.h.\n";

enum {
    MODEL = 256,
    VIDEO,
    FRAMES,
    PTS,
    IMAGE,
    QUESTION,
    PROMPT,
    SYSTEM,
    RAW_PROMPT,
    REPETITION_PENALTY,
    FPS,
    WINDOW,
    OVERLAP,
    START,
    START_ERROR,
    BOUNDARY_ERROR,
    LORA,
    CACHE,
    DTYPE,
    KV,
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

static const struct option OPTIONS[] = {
    {"model", required_argument, NULL, MODEL},
    {"video", required_argument, NULL, VIDEO},
    {"frames", required_argument, NULL, FRAMES},
    {"pts", required_argument, NULL, PTS},
    {"image", required_argument, NULL, IMAGE},
    {"question", required_argument, NULL, QUESTION},
    {"prompt", required_argument, NULL, PROMPT},
    {"system", required_argument, NULL, SYSTEM},
    {"raw-prompt", no_argument, NULL, RAW_PROMPT},
    {"repetition-penalty", required_argument, NULL, REPETITION_PENALTY},
    {"fps", required_argument, NULL, FPS},
    {"window", required_argument, NULL, WINDOW},
    {"overlap", required_argument, NULL, OVERLAP},
    {"start", required_argument, NULL, START},
    {"start-error", required_argument, NULL, START_ERROR},
    {"boundary-error", required_argument, NULL, BOUNDARY_ERROR},
    {"lora", required_argument, NULL, LORA},
    {"cache", required_argument, NULL, CACHE},
    {"dtype", required_argument, NULL, DTYPE},
    {"kv", required_argument, NULL, KV},
    {"threads", required_argument, NULL, THREADS},
    {"max-tokens", required_argument, NULL, MAX_TOKENS},
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

static int add_part(ScanOptions *o, ScanKind kind, const char *text, Error *err)
{
    if (o->n_parts == SCAN_MAX_PARTS)
        return usage_error(err, "more than %d pictures and prompts", SCAN_MAX_PARTS);
    o->parts[o->n_parts++] = (ScanPart){.kind = kind, .path = text};
    return 0;
}

/* Times go with the last --frames that has none. */
static int add_pts(ScanOptions *o, const char *text, Error *err)
{
    for (size_t i = o->n_parts; i-- > 0;)
        if (o->parts[i].kind == SCAN_FRAMES && !o->parts[i].pts) {
            o->parts[i].pts = text;
            return 0;
        }
    if (o->pts)
        return usage_error(err, "--pts %.60s: there is no --frames before it", text);
    o->pts = text; /* it may come first */
    return 0;
}

static int read_prompt(ScanOptions *o, const char *text, Error *err)
{
    const size_t n = strlen(text);
    if (n > SCAN_MAX_PROMPT_BYTES)
        return usage_error(err, "the prompt has %zu bytes, at most %d are read", n,
                           SCAN_MAX_PROMPT_BYTES);
    o->n_prompts++;
    return add_part(o, SCAN_TEXT, text, err);
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
        return add_part(o, SCAN_VIDEO, text, err);
    case FRAMES:
        return add_part(o, SCAN_FRAMES, text, err);
    case IMAGE:
        return add_part(o, SCAN_IMAGE, text, err);
    case PTS:
        return add_pts(o, text, err);
    case PROMPT:
        return read_prompt(o, text, err);
    case SYSTEM:
        o->system = text;
        break;
    case RAW_PROMPT:
        o->raw_prompt = true;
        break;
    case REPETITION_PENALTY:
        rc = read_number("repetition-penalty", text, 0.01, 100, &number, err);
        o->repetition_penalty = (float)number;
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
    case CACHE:
        o->cache = text;
        break;
    case DTYPE:
        if (!engine_dtype_read(text, &o->dtype))
            return usage_error(err, "--dtype %.40s: use f32, bf16, int8 or int4", text);
        break;
    case KV:
        if (!engine_kv_read(text, &o->kv))
            return usage_error(err, "--kv %.40s: use auto, bf16, int8 or f32", text);
        break;
    case THREADS:
        rc = read_number("threads", text, 0, 1024, &number, err);
        o->threads = (int)number;
        break;
    case MAX_TOKENS:
        rc = read_number("max-tokens", text, 0, 1 << 20, &number, err);
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

/* Each --frames has its --pts, also a single one whose --pts was written first. */
static int check_pts(ScanOptions *o, Error *err)
{
    for (size_t i = 0; i < o->n_parts; i++) {
        ScanPart *part = &o->parts[i];
        if (part->kind != SCAN_FRAMES || part->pts)
            continue;
        part->pts = o->pts;
        o->pts = NULL;
        if (!part->pts)
            return usage_error(err, "--frames and --pts belong together");
    }
    return o->pts ? usage_error(err, "--frames and --pts belong together") : 0;
}

static int check_prompt(const ScanOptions *o, Error *err)
{
    if (o->n_questions)
        return usage_error(err, "--question or --prompt, not both");
    if (o->raw_prompt && o->n_prompts > 1)
        return usage_error(err, "--raw-prompt takes one --prompt");
    if (o->raw_prompt && o->system)
        return usage_error(err, "--raw-prompt has no place for --system");
    return 0;
}

static int check_question(ScanOptions *o, Error *err)
{
    if (!o->n_questions)
        return usage_error(err, "--question \"...\" or --prompt \"...\" is missing");
    if (o->system || o->raw_prompt || o->repetition_penalty != 1)
        return usage_error(err, "--system, --raw-prompt and --repetition-penalty go with --prompt");
    if (o->n_parts != 1 || o->parts[0].kind == SCAN_IMAGE)
        return usage_error(err, "one of --video FILE and --frames F.npy is needed");
    if (o->parts[0].kind == SCAN_VIDEO)
        o->video = o->parts[0].path;
    else
        o->frames = o->parts[0].path;
    o->pts = o->parts[0].pts;
    if (o->max_answer_tokens < 16)
        return usage_error(err, "--max-tokens %d: an answer needs 16", o->max_answer_tokens);
    if (o->overlap_us > o->window_us / 2)
        return usage_error(err, "the overlap of %g s is more than half the window of %g s",
                           (double)o->overlap_us / 1e6, (double)o->window_us / 1e6);
    if (o->fps < 0)
        o->fps = o->video ? 2 : 0;
    return 0;
}

static int check_options(ScanOptions *o, Error *err)
{
    if (!o->model)
        return usage_error(err, "--model DIR is missing");
    int rc = check_pts(o, err);
    if (rc < 0)
        return rc;
    return o->n_prompts ? check_prompt(o, err) : check_question(o, err);
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

static int answer_questions(const ScanOptions *options, Error *err)
{
    ScanResult result = {0};
    int rc = scan_run(options, &result, err);
    /* What was found before a file broke off is still true. */
    Error print_err = {0};
    if ((rc == 0 || result.windows) && print(options, &result, &print_err) < 0 && rc == 0) {
        rc = -EIO;
        *err = print_err;
    }
    scan_result_deinit(&result);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strncmp(argv[1], "--probe", 7) == 0)
        return scan_probe_main(argc, argv);
    setlocale(LC_CTYPE, "");
    ScanOptions options = {.fps = -1,
                           .window_us = 16 * US_PER_S,
                           .overlap_us = 4 * US_PER_S,
                           .boundary_error_us = US_PER_S / 2,
                           .start_utc_err_us = US_PER_S,
                           .dtype = ENGINE_BF16,
                           .max_answer_tokens = 512,
                           .repetition_penalty = 1};
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
    if (rc == 0)
        rc = options.n_prompts ? scan_prompt_run(&options, &err) : answer_questions(&options, &err);
    if (rc >= 0)
        return 0;
    fprintf(stderr, "whenscan: %s\n", err.text);
    return err.exit_code ? err.exit_code : EX_SOFTWARE;
}

/* whenctl: the command line of whend. Reads the arguments; each verb has its own file. */
#include "base/clock.h"
#include "client/ctl.h"
#include "config/value.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char USAGE[] =
    "usage: whenctl [--runtime-dir DIR | --endpoint E [--events E]] VERB ...\n"
    "\n"
    "  ask \"QUESTION\"   when did it happen? [--since T] [--until T | --during R] [--camera "
    "C]...\n"
    "                   [--limit N]; --deep: the model looks at what nobody looked at for this\n"
    "                   [--timeout D]; --auto: only where nothing was found\n"
    "  events           what was found  [--since T] [--until T | --during R] [--camera C]...\n"
    "                   [--watch W]... [--limit N]\n"
    "  follow           events as they are committed  [--after SEQUENCE] [--progress]\n"
    "                   [--camera C]... [--watch W]...\n"
    "  coverage         what was examined, waits or is lost  [--since T] [--until T | --during R]\n"
    "                   [--camera C]... [--watch W]... [--svg FILE]\n"
    "  watch list       the standing questions\n"
    "  watch add NAME \"QUESTION\"      one more: [--camera C]... [--join-gap D] [--min-duration "
    "D]\n"
    "                   [--cool-down D] [--confidence 0..1] [--days mon-fri] [--hours "
    "08:00-18:00]\n"
    "                   [--zone Z] [--since 7d | T | all: asked of recordings, too]\n"
    "  watch edit NAME [\"QUESTION\"]   the same options\n"
    "  watch remove NAME\n"
    "  clip EVENT       the camera's own video of it  [--margin D] [--output FILE]\n"
    "  thumbnail EVENT  a JPEG of its best picture    [--output FILE]\n"
    "  cameras          how the cameras are\n"
    "  status           how whend is\n"
    "  reload           reads whend.yaml again\n"
    "  backup FILE      a copy of the index while whend runs\n"
    "  key list         who may connect from elsewhere, and whend's own key\n"
    "  key new FILE     makes a key for a client [--server-key KEY]; prints its public half\n"
    "  key allow NAME PUBLIC-KEY    lets it connect\n"
    "  key revoke NAME  ends that, at once\n"
    "\n"
    "  --key FILE       prove who you are to a whend elsewhere [--server-key KEY]\n"
    "  --json           for programs: one object; events and follow: one object a line\n"
    "  --runtime-dir    folder of whend's sockets (default /run/whend)\n"
    "  --endpoint       address of its query service instead, and --events of its events\n"
    "  T                2026-11-23T08:27:47Z, 2026-11-23, or 90s, 10m, 2h, 7d ago\n"
    "  R                \"yesterday evening\", \"last 3 days\", \"between 8 and 10\", 2026-11-23, "
    "...\n"
    "                   by this machine's clock, or --zone Europe/Berlin\n"
    "\n"
    "Exit code of ask: 0 found, 1 not found; of all: 64 and more as in sysexits.h.\n";

enum {
    RUNTIME_DIR = 256,
    ENDPOINT,
    EVENTS,
    SINCE,
    UNTIL,
    CAMERA,
    WATCH,
    LIMIT,
    JSON,
    PROGRESS,
    AFTER,
    KEY,
    SERVER_KEY,
    OUTPUT,
    MARGIN,
    DEEP,
    AUTO,
    DURING,
    ZONE,
    TIMEOUT,
    SVG,
    DAYS,
    HOURS,
    JOIN_GAP,
    MIN_DURATION,
    COOL_DOWN,
    CONFIDENCE,
    HELP,
    VERSION
};

static const struct option OPTIONS[] = {{"runtime-dir", required_argument, NULL, RUNTIME_DIR},
                                        {"endpoint", required_argument, NULL, ENDPOINT},
                                        {"events", required_argument, NULL, EVENTS},
                                        {"since", required_argument, NULL, SINCE},
                                        {"until", required_argument, NULL, UNTIL},
                                        {"camera", required_argument, NULL, CAMERA},
                                        {"watch", required_argument, NULL, WATCH},
                                        {"limit", required_argument, NULL, LIMIT},
                                        {"json", no_argument, NULL, JSON},
                                        {"progress", no_argument, NULL, PROGRESS},
                                        {"after", required_argument, NULL, AFTER},
                                        {"key", required_argument, NULL, KEY},
                                        {"server-key", required_argument, NULL, SERVER_KEY},
                                        {"output", required_argument, NULL, OUTPUT},
                                        {"margin", required_argument, NULL, MARGIN},
                                        {"deep", no_argument, NULL, DEEP},
                                        {"auto", no_argument, NULL, AUTO},
                                        {"during", required_argument, NULL, DURING},
                                        {"zone", required_argument, NULL, ZONE},
                                        {"timeout", required_argument, NULL, TIMEOUT},
                                        {"svg", required_argument, NULL, SVG},
                                        {"days", required_argument, NULL, DAYS},
                                        {"hours", required_argument, NULL, HOURS},
                                        {"join-gap", required_argument, NULL, JOIN_GAP},
                                        {"min-duration", required_argument, NULL, MIN_DURATION},
                                        {"cool-down", required_argument, NULL, COOL_DOWN},
                                        {"confidence", required_argument, NULL, CONFIDENCE},
                                        {"help", no_argument, NULL, HELP},
                                        {"version", no_argument, NULL, VERSION},
                                        {NULL, 0, NULL, 0}};

#define BIT(option) (1U << ((option)-RUNTIME_DIR))
#define EVERYWHERE                                                                                 \
    (BIT(RUNTIME_DIR) | BIT(ENDPOINT) | BIT(EVENTS) | BIT(JSON) | BIT(KEY) | BIT(SERVER_KEY))
#define SPAN (BIT(SINCE) | BIT(UNTIL) | BIT(CAMERA) | BIT(DURING) | BIT(ZONE))
#define OF_A_WATCH                                                                                 \
    (BIT(CAMERA) | BIT(SINCE) | BIT(ZONE) | BIT(DAYS) | BIT(HOURS) | BIT(JOIN_GAP) |               \
     BIT(MIN_DURATION) | BIT(COOL_DOWN) | BIT(CONFIDENCE))

static const struct Verb {
    const char *name;
    int (*run)(Ctl *ctl, Error *err);
    unsigned options; /* which it understands */
} VERBS[] = {
    {"ask", ctl_ask, EVERYWHERE | SPAN | BIT(LIMIT) | BIT(DEEP) | BIT(AUTO) | BIT(TIMEOUT)},
    {"events", ctl_events, EVERYWHERE | SPAN | BIT(WATCH) | BIT(LIMIT)},
    {"follow", ctl_follow, EVERYWHERE | BIT(CAMERA) | BIT(WATCH) | BIT(PROGRESS) | BIT(AFTER)},
    {"coverage", ctl_coverage, EVERYWHERE | SPAN | BIT(WATCH) | BIT(SVG)},
    {"watch", ctl_watch, EVERYWHERE | OF_A_WATCH},
    {"reload", ctl_reload, EVERYWHERE},
    {"clip", ctl_clip, EVERYWHERE | BIT(OUTPUT) | BIT(MARGIN)},
    {"thumbnail", ctl_thumbnail, EVERYWHERE | BIT(OUTPUT)},
    {"cameras", ctl_cameras, EVERYWHERE},
    {"status", ctl_status, EVERYWHERE},
    {"backup", ctl_backup, EVERYWHERE},
    {"key", ctl_key, EVERYWHERE},
};

typedef struct Arguments {
    const char *runtime_dir, *endpoint, *events;
    unsigned seen; /* BIT of each option that stood there */
    const struct Verb *verb;
    Ctl ctl;
} Arguments;

static int usage_error(Error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int usage_error(Error *err, const char *format, ...)
{
    char line[300];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    return error_set(err, EINVAL, EX_USAGE, "%s (whenctl --help)", line);
}

/* A point of time, or how long ago. */
static int read_time(const char *option, const char *text, int64_t *utc_us, Error *err)
{
    int64_t ago_us;
    const char *reason;
    if (clock_parse_utc(text, utc_us) == 0)
        return 0;
    if (value_duration(text, &ago_us, &reason) == 0) {
        *utc_us = clock_utc_us() - ago_us;
        return 0;
    }
    return error_set(err, EINVAL, EX_USAGE,
                     "%s %.40s: not a time (2026-11-23T08:27:47Z, 2026-11-23, or 90s, 10m, 2h, 7d "
                     "ago)",
                     option, text);
}

static int read_duration(const char *option, const char *text, int64_t *us, Error *err)
{
    const char *reason;
    return value_duration(text, us, &reason) < 0
               ? error_set(err, EINVAL, EX_USAGE, "%s %.40s: %s", option, text, reason)
               : 0;
}

static int read_share(const char *option, const char *text, double *share, Error *err)
{
    const char *reason;
    if (value_number(text, share, &reason) == 0 && *share <= 1)
        return 0;
    return error_set(err, EINVAL, EX_USAGE, "%s %.40s: not a number from 0 to 1", option, text);
}

static int read_name(const char *option, char *text, char **names, size_t *n, Error *err)
{
    const char *reason;
    if (value_name(text, 64, &reason) < 0)
        return error_set(err, EINVAL, EX_USAGE, "%s %.64s: %s", option, text, reason);
    if (*n == CTL_MAX_NAMES)
        return error_set(err, EINVAL, EX_USAGE, "%s: at most %d are read", option, CTL_MAX_NAMES);
    names[(*n)++] = text;
    return 0;
}

static int read_count(const char *option, const char *text, uint64_t max, uint64_t *count,
                      Error *err)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || value > max)
        return error_set(err, EINVAL, EX_USAGE, "%s %.40s: not a number from 0 to %llu", option,
                         text, (unsigned long long)max);
    *count = value;
    return 0;
}

static int read_margin(const char *text, int64_t *us, Error *err)
{
    const char *reason;
    if (value_duration(text, us, &reason) == 0 && *us <= 3600 * US_PER_S)
        return 0;
    return error_set(err, EINVAL, EX_USAGE, "--margin %.40s: not a duration up to 1h (5s, 1m)",
                     text);
}

static int read_option(Arguments *a, int option, char *text, Error *err)
{
    uint64_t count = 0;
    int rc = 0;
    a->seen |= BIT(option);
    switch (option) {
    case RUNTIME_DIR:
        a->runtime_dir = text;
        break;
    case ENDPOINT:
        a->endpoint = text;
        break;
    case EVENTS:
        a->events = text;
        break;
    case SINCE:
        a->ctl.since = text; /* what it may be depends on the verb */
        break;
    case UNTIL:
        return read_time("--until", text, &a->ctl.until_us, err);
    case CAMERA:
        return read_name("--camera", text, a->ctl.cameras, &a->ctl.n_cameras, err);
    case WATCH:
        return read_name("--watch", text, a->ctl.watches, &a->ctl.n_watches, err);
    case LIMIT:
        rc = read_count("--limit", text, CTL_MAX_LIMIT, &count, err);
        if (rc == 0)
            a->ctl.limit = (uint32_t)count;
        break;
    case DEEP:
        a->ctl.deep = true;
        break;
    case AUTO:
        a->ctl.automatic = true;
        break;
    case DURING:
        a->ctl.during = text;
        break;
    case ZONE:
        a->ctl.zone = text;
        break;
    case TIMEOUT:
        return read_duration("--timeout", text, &a->ctl.timeout_us, err);
    case SVG:
        a->ctl.svg = text;
        break;
    case DAYS:
        a->ctl.days = text;
        break;
    case HOURS:
        a->ctl.hours = text;
        break;
    case JOIN_GAP:
        return read_duration("--join-gap", text, &a->ctl.join_gap_us, err);
    case MIN_DURATION:
        return read_duration("--min-duration", text, &a->ctl.min_duration_us, err);
    case COOL_DOWN:
        return read_duration("--cool-down", text, &a->ctl.cool_down_us, err);
    case CONFIDENCE:
        return read_share("--confidence", text, &a->ctl.confidence, err);
    case JSON:
        a->ctl.json = true;
        break;
    case PROGRESS:
        a->ctl.progress = true;
        break;
    case OUTPUT:
        a->ctl.output = text;
        break;
    case MARGIN:
        return read_margin(text, &a->ctl.margin_us, err);
    case KEY:
        a->ctl.key_file = text;
        break;
    case SERVER_KEY:
        a->ctl.server_key = text;
        break;
    case AFTER:
        a->ctl.from_now = false;
        return read_count("--after", text, UINT64_MAX - 1, &a->ctl.after, err);
    }
    return rc;
}

static int check_arguments(Arguments *a, int argc, char **argv, Error *err)
{
    if (argc < 1)
        return usage_error(err,
                           "what to do? ask, events, follow, coverage, watch, clip, thumbnail, "
                           "cameras, status, reload, backup or key");
    for (size_t i = 0; i < sizeof(VERBS) / sizeof(VERBS[0]); i++)
        if (strcmp(argv[0], VERBS[i].name) == 0)
            a->verb = &VERBS[i];
    if (!a->verb)
        return usage_error(err, "%.40s: no such verb", argv[0]);
    for (const struct option *o = OPTIONS; o->name; o++)
        if (a->seen & ~a->verb->options & BIT(o->val))
            return usage_error(err, "%s has no --%s", a->verb->name, o->name);
    if (a->runtime_dir && a->endpoint)
        return usage_error(err, "--runtime-dir and --endpoint name the same thing");
    if (a->ctl.during && (a->ctl.since || a->ctl.until_us))
        return usage_error(err, "--during or --since and --until, not both");
    if (a->ctl.deep && a->ctl.automatic)
        return usage_error(err, "--deep or --auto, not both");
    if (a->ctl.since && a->verb->run != ctl_watch) {
        int rc = read_time("--since", a->ctl.since, &a->ctl.since_us, err);
        if (rc < 0)
            return rc;
    }
    if (a->ctl.since_us && a->ctl.until_us && a->ctl.since_us >= a->ctl.until_us)
        return usage_error(err, "--since is not before --until");
    a->ctl.words = argv + 1;
    a->ctl.n_words = (size_t)argc - 1;
    if (a->verb->run == ctl_key)
        return ctl_key_check(&a->ctl, err);
    if (a->verb->run == ctl_watch)
        return ctl_watch_check(&a->ctl, err);
    if (a->verb->run == ctl_backup)
        return argc == 2 ? 0 : usage_error(err, "backup into which file?");
    if (a->verb->run == ctl_clip || a->verb->run == ctl_thumbnail)
        return argc == 2 ? 0
                         : usage_error(err, "%s of which event? (whenctl events --json has ids)",
                                       a->verb->name);
    if (a->verb->run != ctl_ask)
        return argc > 1 ? usage_error(err, "%.40s: one word too many", argv[1]) : 0;
    if (argc > 2)
        return usage_error(err, "%.40s: put the question into quotes", argv[2]);
    if (argc < 2 || !argv[1][strspn(argv[1], " \t\n")])
        return usage_error(err, "ask what?");
    a->ctl.question = argv[1];
    if (strlen(argv[1]) > WHEN_MAX_QUESTION_BYTES)
        return error_set(err, EINVAL, EX_USAGE, "the question has %zu bytes, at most %d are read",
                         strlen(argv[1]), WHEN_MAX_QUESTION_BYTES);
    if (!value_is_text(argv[1]))
        return usage_error(err, "the question is not UTF-8 text");
    return 0;
}

static int run(Arguments *a, Error *err)
{
    char query[4200], events[4200];
    WhenOptions options = {.query_endpoint = a->endpoint,
                           .events_endpoint = a->events,
                           .key_file = a->ctl.key_file,
                           .server_key = a->ctl.server_key};
    if (a->verb->run == ctl_key && ctl_key_is_local(&a->ctl))
        return ctl_key(&a->ctl, err);
    if (a->runtime_dir) {
        char *dir = realpath(a->runtime_dir, NULL);
        if (!dir)
            return error_set(err, errno, EX_UNAVAILABLE,
                             "no whend runs in %.200s: %s (name its runtime_dir)", a->runtime_dir,
                             strerror(errno));
        snprintf(query, sizeof(query), "ipc://%s/query.ipc", dir);
        snprintf(events, sizeof(events), "ipc://%s/events.ipc", dir);
        free(dir);
        options.query_endpoint = query;
        if (!a->events)
            options.events_endpoint = events;
    }
    int rc = when_open(&options, &a->ctl.when, err);
    if (rc == 0)
        rc = ctl_check_names(&a->ctl, err);
    if (rc == 0)
        rc = a->verb->run(&a->ctl, err);
    when_free(a->ctl.when);
    if (rc >= 0 && (fflush(stdout) == EOF || ferror(stdout)))
        return error_set(err, EIO, EX_IOERR, "standard output: %s", strerror(errno));
    if (rc < 0)
        error_set(err, -rc, rc == -EBADMSG ? EX_PROTOCOL : EX_OSERR,
                  rc == -EBADMSG ? "whend answered something else than was asked" : "no memory");
    return rc;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    static Arguments a;
    a.ctl.from_now = true;
    a.ctl.join_gap_us = a.ctl.min_duration_us = a.ctl.cool_down_us = -1;
    a.ctl.confidence = -1;
    Error err = {0};
    int rc = 0, option;
    opterr = 0;
    while (rc == 0 && (option = getopt_long(argc, argv, ":o:", OPTIONS, NULL)) != -1) {
        if (option == HELP) {
            fputs(USAGE, stdout);
            return 0;
        }
        if (option == VERSION) {
            puts("whenctl " WHEN_VERSION);
            return 0;
        }
        if (option == ':')
            rc = usage_error(&err, "%.60s: a value is missing", argv[optind - 1]);
        else if (option == '?')
            rc = usage_error(&err, "%.60s: no such option", argv[optind - 1]);
        else
            rc = read_option(&a, option == 'o' ? OUTPUT : option, optarg, &err);
    }
    if (rc == 0)
        rc = check_arguments(&a, argc - optind, argv + optind, &err);
    if (rc == 0)
        rc = run(&a, &err);
    if (rc >= 0)
        return rc;
    fprintf(stderr, "whenctl: %s\n", err.text);
    return err.exit_code ? err.exit_code : EX_SOFTWARE;
}

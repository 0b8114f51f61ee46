/* whend.yaml: the example, the defaults, and what each mistake is told. */
#include "config/config.h"
#include "config/schedule.h"
#include "config/watch.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *example_path;

#define HEAD "model: {path: /m}\n"
#define GATE "cameras:\n  gate:\n    url: rtsp://h/1\n"

static int parse(const char *text, Config *config, Error *err)
{
    return config_parse("w.yaml", "/etc/whend", text, strlen(text), config, err);
}

/* The text must be refused with EX_CONFIG at this place, with these words. */
static void expect_refusal(const char *text, const char *place, const char *words)
{
    Config config;
    Error err = {0};
    assert_true(parse(text, &config, &err) < 0);
    if (err.exit_code != EX_CONFIG || strncmp(err.text, place, strlen(place)) != 0 ||
        !strstr(err.text, words) || strchr(err.text, '\n'))
        fail_msg("for:\n%s\nexpected %s ... %s\ngot (%d) %s", text, place, words, err.exit_code,
                 err.text);
    config_deinit(&config);
}

static void check_defaults(const Config *c)
{
    assert_string_equal(c->state_dir, "/var/lib/whend");
    assert_string_equal(c->runtime_dir, "/run/whend");
    assert_string_equal(c->log_level, "info");
    assert_string_equal(c->model_dtype, "bf16");
    assert_string_equal(c->model_kv, "auto");
    assert_int_equal(c->model_threads, 0);
    assert_int_equal(c->model_max_answer_tokens, 512);
    assert_int_equal(c->window_us, 16000000);
    assert_int_equal(c->overlap_us, 4000000);
    assert_int_equal(c->boundary_error_us, 500000);
    assert_string_equal(c->events_endpoint, "ipc:///run/whend/events.ipc");
    assert_string_equal(c->query_endpoint, "ipc:///run/whend/query.ipc");
    assert_int_equal(c->socket_mode, 0660);
    assert_string_equal(c->http_address, "127.0.0.1:9433");
    assert_int_equal(c->events_keep_us, 0);
    assert_int_equal(c->events_keep_count, 0);
    const CameraConfig *gate = &c->cameras[0];
    assert_string_equal(gate->name, "gate");
    assert_false(gate->is_file);
    assert_string_equal(gate->transport, "tcp");
    assert_true(gate->fps_min == 0.5 && gate->fps_base == 2 && gate->fps_max == 4);
    assert_true(gate->record);
    assert_int_equal(gate->segment_us, 60000000);
    assert_int_equal(gate->keep_bytes, 2000000000);
    assert_int_equal(gate->stall_us, 10000000);
    assert_int_equal(gate->retry_us, 30000000);
    assert_true(gate->tls_verify);
    assert_int_equal(gate->keep_for_us, 0);
    assert_int_equal(gate->min_pixels, 0);
    assert_int_equal(gate->max_pixels, 0);
    assert_int_equal(gate->max_tokens_per_minute, 0);
    assert_string_equal(gate->gate, "off");
    assert_int_equal(gate->gate_refresh_us, 2000000);
    const WatchConfig *watch = &c->watches[0];
    assert_string_equal(watch->name, "red-car");
    assert_int_equal(watch->join_gap_us, 1000000);
    assert_int_equal(watch->min_duration_us, 0);
}

static void test_example(void **state)
{
    (void)state;
    Config as_is, uncommented;
    Error err = {0};
    assert_int_equal(config_read(example_path, &as_is, &err), 0);
    check_defaults(&as_is);
    assert_int_equal(as_is.n_cameras, 3);
    assert_true(as_is.cameras[2].is_folder);
    assert_true(as_is.cameras[1].is_file);
    assert_false(as_is.cameras[1].record);
    assert_null(as_is.cameras[0].credential);
    assert_int_equal(as_is.watches[0].n_cameras, 0);

    /* Every "#key: value" is a default or an example: with all of them in force it is still right,
     * and no key is missing from the page. */
    _cleanup_free_ char *text = NULL;
    size_t bytes;
    assert_int_equal(file_read(example_path, 1 << 20, &text, &bytes, &err), 0);
    _cleanup_str_ Str all = {0};
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *hash = line + strspn(line, " ");
        if (hash[0] == '#' && hash[1] == ' ')
            continue;
        if (hash[0] == '#')
            memmove(hash, hash + 1, strlen(hash));
        str_addf(&all, "%s\n", line);
    }
    if (parse(str_text(&all), &uncommented, &err) < 0)
        fail_msg("%s", err.text);
    check_defaults(&uncommented);
    assert_string_equal(uncommented.socket_group, "whend");
    assert_string_equal(uncommented.remote_events, "tcp://0.0.0.0:5701");
    assert_string_equal(uncommented.remote_query, "tcp://0.0.0.0:5702");
    assert_false(as_is.http_given || as_is.remote_query || as_is.remote_events);
    assert_string_equal(uncommented.cameras[0].credential, "gate");
    assert_int_equal(uncommented.cameras[0].n_mask, 1);
    assert_int_equal(uncommented.cameras[0].mask[0].n_points, 4);
    assert_true(uncommented.cameras[0].mask[0].xy[5] == 0.1f);
    assert_int_equal(uncommented.cameras[1].start_utc_us, INT64_C(1795420800000000));
    assert_int_equal(uncommented.cameras[1].start_utc_err_us, 1000000);
    assert_false(uncommented.cameras[1].record);
    assert_int_equal(uncommented.watches[0].n_cameras, 2);
    const char *key;
    size_t n = 0;
    for (; (key = config_key(n)); n++) {
        char word[80];
        snprintf(word, sizeof(word), "%s:", strrchr(key, '.') ? strrchr(key, '.') + 1 : key);
        if (!strstr(str_text(&all), word))
            fail_msg("the example does not show %s", key);
    }
    assert_true(n > 25);
    config_deinit(&as_is);
    config_deinit(&uncommented);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_nightly(const Config *a, const Config *b)
{
    Schedule *x, *y;
    Error err = {0};
    assert_int_equal(schedule_new(a->nightly_days, a->nightly_hours, a->nightly_zone, &x, &err), 0);
    assert_int_equal(schedule_new(b->nightly_days, b->nightly_hours, b->nightly_zone, &y, &err), 0);
    bool same = !x == !y; /* NULL: always */
    schedule_free(x);
    schedule_free(y);
    return same;
}

/* What whend.yaml of these two lets whend do is the same. */
static bool same_config(const Config *a, const Config *b)
{
    const char *texts[][2] = {{a->state_dir, b->state_dir},
                              {a->runtime_dir, b->runtime_dir},
                              {a->log_level, b->log_level},
                              {a->model_path, b->model_path},
                              {a->model_lora, b->model_lora},
                              {a->model_dtype, b->model_dtype},
                              {a->model_kv, b->model_kv},
                              {a->events_endpoint, b->events_endpoint},
                              {a->query_endpoint, b->query_endpoint},
                              {a->socket_group, b->socket_group},
                              {a->remote_events, b->remote_events},
                              {a->remote_query, b->remote_query},
                              {a->http_address, b->http_address}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (!same_text(texts[i][0], texts[i][1]))
            return false;
    for (size_t i = 0; i < a->n_cameras; i++)
        if (!camera_config_equal(&a->cameras[i], &b->cameras[i]))
            return false;
    Schedule *schedule;
    const WatchConfig *v = &a->watches[0], *w = &b->watches[0];
    assert_int_equal(schedule_new(w->days, w->hours, w->time_zone, &schedule, NULL), 0);
    bool always = !schedule; /* as without one */
    schedule_free(schedule);
    return a->model_threads == b->model_threads &&
           a->model_max_answer_tokens == b->model_max_answer_tokens &&
           a->model_timeout_us == b->model_timeout_us && a->window_us == b->window_us &&
           a->overlap_us == b->overlap_us && a->boundary_error_us == b->boundary_error_us &&
           a->socket_mode == b->socket_mode && a->events_keep_us == b->events_keep_us &&
           a->events_keep_count == b->events_keep_count && same_nightly(a, b) && always &&
           v->n_cameras == w->n_cameras && v->join_gap_us == w->join_gap_us &&
           v->min_duration_us == w->min_duration_us && v->cool_down_us == w->cool_down_us &&
           v->min_confidence == w->min_confidence && same_text(v->since, w->since);
}

/* Keys of the example that show what may be said, not a default: there is none. */
static const char *const NO_DEFAULT[] = {"lora",      "group",   "credential", "mask",  "tls_ca",
                                         "time_zone", "cameras", "since",      "start", "remote"};

/* Each "#key: value" of the example alone: it changes nothing, or is one of NO_DEFAULT. */
static void test_each_default(void **state)
{
    (void)state;
    Config plain;
    Error err = {0};
    _cleanup_free_ char *text = NULL;
    size_t bytes, n = 0;
    assert_int_equal(file_read(example_path, 1 << 20, &text, &bytes, &err), 0);
    assert_int_equal(parse(text, &plain, &err), 0);
    char section[64] = "";
    for (char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        char *hash = line + strspn(line, " ");
        if (line[0] >= 'a' && line[0] <= 'z')
            snprintf(section, sizeof(section), "%.*s", (int)strcspn(line, ":"), line);
        if (hash[0] != '#' || hash[1] < 'a' || hash[1] > 'z')
            continue;
        char key[64];
        snprintf(key, sizeof(key), "%.*s", (int)strcspn(hash + 1, ":"), hash + 1);
        bool shown = false;
        for (size_t i = 0; i < sizeof(NO_DEFAULT) / sizeof(NO_DEFAULT[0]); i++)
            shown = shown || strcmp(NO_DEFAULT[i], key) == 0 || strcmp(NO_DEFAULT[i], section) == 0;
        Config config;
        *hash = ' ';
        size_t column = (size_t)(hash - line);
        memmove(line + column, line + column + 1,
                strlen(line + column)); /* as it would be written */
        if (parse(text, &config, &err) < 0)
            fail_msg("%s", err.text);
        if (!shown && !same_config(&plain, &config))
            fail_msg("%s: the example's value is not the default", key);
        config_deinit(&config);
        memmove(line + column + 1, line + column, strlen(line + column) + 1);
        line[column] = '#';
        n++;
    }
    assert_true(n > 40);
    config_deinit(&plain);
}

static void test_values(void **state)
{
    (void)state;
    Config c;
    Error err = {0};
    const char *text =
        "state_dir: state\n"
        "runtime_dir: /tmp/r\n"
        "log_level: debug\n"
        "model: {path: models/demo, lora: tuned, dtype: f32, kv: int8, threads: 3}\n"
        "nightly: {days: mon-fri, hours: 22-6, zone: 'CET-1CEST,M3.5.0,M10.5.0/3'}\n"
        "window: 8s\noverlap: 1.5s\nboundary_error: 0\n"
        "endpoints: {query: 'tcp://127.0.0.1:5701'}\n"
        "watches:\n"
        "  w:\n    question: \"Wann fährt ein Auto?\"\n    cameras: [file]\n"
        "    join_gap: 2h\n    min_duration: 250ms\n"
        "cameras:\n"
        "  gate:\n    url: RTSPS://h:322/x?a=b@c\n    fps: 3\n    keep: 64MiB\n"
        "    segment: 1m\n    keep_for: 7d\n    record: no\n    gate: high\n    gate_refresh: 1s\n"
        "    max_pixels: 50000\n    max_tokens_per_minute: 6000\n"
        "    mask: [[[0, 0], [1, 0], [1, 0.5]], [[0, 0.75], [0.5, 0.75], [0.25, 1]]]\n    "
        "credential: g\n    transport: udp\n"
        "  file:\n    url: video/a b.mp4\n    fps: {base: 8}\n    start: 2026-11-23\n"
        "    start_error: 0\n    record: true\n    time_zone: CET-1\n"
        "  other:\n    url: file:///srv/a%20b.mp4\n    fps: {max: 1, min: 1}\n";
    if (parse(text, &c, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(c.state_dir, "/etc/whend/state");
    assert_string_equal(c.model_path, "/etc/whend/models/demo");
    assert_string_equal(c.model_lora, "/etc/whend/tuned");
    assert_string_equal(c.model_dtype, "f32");
    assert_string_equal(c.model_kv, "int8");
    assert_int_equal(c.model_threads, 3);
    assert_int_equal(c.overlap_us, 1500000);
    assert_int_equal(c.boundary_error_us, 0);
    assert_string_equal(c.events_endpoint, "ipc:///tmp/r/events.ipc");
    assert_string_equal(c.query_endpoint, "tcp://127.0.0.1:5701");
    assert_string_equal(c.nightly_days, "mon-fri");
    assert_string_equal(c.nightly_hours, "22-6");
    assert_string_equal(c.nightly_zone, "CET-1CEST,M3.5.0,M10.5.0/3");
    assert_int_equal(c.n_cameras, 3);
    assert_null(c.cameras[0].time_zone);
    assert_string_equal(c.cameras[1].time_zone, "CET-1");
    assert_string_equal(c.cameras[0].url, "RTSPS://h:322/x?a=b@c"); /* no user: a query */
    assert_true(c.cameras[0].fps_min == 3 && c.cameras[0].fps_max == 3);
    assert_int_equal(c.cameras[0].keep_bytes, 64 << 20);
    assert_false(c.cameras[0].record);
    assert_string_equal(c.cameras[0].transport, "udp");
    assert_string_equal(c.cameras[1].url, "/etc/whend/video/a b.mp4");
    assert_true(c.cameras[1].fps_min == 0.5 && c.cameras[1].fps_base == 8 &&
                c.cameras[1].fps_max == 8);
    assert_true(c.cameras[1].record);
    assert_int_equal(c.cameras[1].start_utc_us, INT64_C(1795392000000000));
    assert_string_equal(c.cameras[2].url, "/srv/a b.mp4");
    assert_true(c.cameras[2].fps_base == 1);
    assert_string_equal(c.watches[0].question, "Wann fährt ein Auto?");
    assert_int_equal(c.watches[0].join_gap_us, INT64_C(7200000000));
    assert_int_equal(c.watches[0].min_duration_us, 250000);
    assert_true(watch_config_covers(&c.watches[0], "file"));
    assert_false(watch_config_covers(&c.watches[0], "gate"));

    Config d;
    assert_int_equal(parse(text, &d, &err), 0);
    assert_true(camera_config_equal(&c.cameras[0], &d.cameras[0]));
    assert_false(camera_config_equal(&c.cameras[0], &d.cameras[1]));
    assert_true(watch_config_equal(&c.watches[0], &d.watches[0]));
    assert_int_equal(c.cameras[0].keep_for_us, INT64_C(604800000000));
    assert_int_equal(c.cameras[0].n_mask, 2);
    assert_true(c.cameras[0].mask[1].xy[2] == 0.5f);
    d.cameras[0].mask[1].xy[2] = 0.4f;
    assert_false(camera_config_equal(&c.cameras[0], &d.cameras[0]));
    d.cameras[0].mask[1].xy[2] = 0.5f;
    d.cameras[0].stall_us++;
    assert_false(camera_config_equal(&c.cameras[0], &d.cameras[0]));
    d.watches[0].cameras[0][0] = 'F';
    assert_false(watch_config_equal(&c.watches[0], &d.watches[0]));
    config_deinit(&c);
    config_deinit(&d);
}

static void test_unknown_and_twice(void **state)
{
    (void)state;
    expect_refusal(HEAD "windw: 3s\n" GATE,
                   "w.yaml:2:1:", "windw: unknown key (did you mean window?)");
    expect_refusal("model: {path: /m, dtyp: f32}\n" GATE, "w.yaml:1:19:", "did you mean dtype?");
    expect_refusal(HEAD GATE "    flubber: 1\n",
                   "w.yaml:5:5:", "cameras.gate.flubber: unknown key (known here: url, transport,");
    expect_refusal(HEAD GATE "    fps: {least: 1}\n",
                   "w.yaml:5:11:", "(known here: min, base, max)");
    expect_refusal(HEAD HEAD GATE, "w.yaml:2:1:", "model: stands here twice (first in line 1)");
    expect_refusal(HEAD GATE "  gate:\n    url: a.mp4\n", "w.yaml:5:3:", "twice (first in line 3)");
    expect_refusal(HEAD GATE "watches:\n  a: {question: x, cameras: [gate, gate]}\n",
                   "w.yaml:6:36:", "gate stands here twice");
    expect_refusal(HEAD GATE "watches:\n  a: {question: x, cameras: [yard]}\n",
                   "w.yaml:6:30:", "there is no camera yard");
    expect_refusal(HEAD GATE "[a, b]: c\n", "w.yaml:", "");
}

static void test_missing_and_misplaced(void **state)
{
    (void)state;
    expect_refusal("", "w.yaml:1:1:", "empty");
    expect_refusal("- a\n", "w.yaml:1:1:", "keys belong here");
    expect_refusal("model\n", "w.yaml:1:1:", "keys belong here");
    expect_refusal(GATE, "w.yaml:1:1:", "model.path is missing");
    expect_refusal("model:\n" GATE, "w.yaml:1:7:", "model.path is missing");
    expect_refusal("model: {path: }\n" GATE, "w.yaml:1:", "model.path: no value");
    expect_refusal(HEAD, "w.yaml:1:1:", "cameras: there is none");
    expect_refusal(HEAD "cameras: [a]\n", "w.yaml:2:10:", "names belong here");
    expect_refusal(HEAD "cameras: {gate: }\n", "w.yaml:2:11:", "cameras.gate.url is missing");
    expect_refusal(HEAD GATE "watches: {a: {cameras: [gate]}}\n",
                   "w.yaml:5:11:", "watches.a.question is missing");
    expect_refusal(HEAD GATE "window: [1s]\n", "w.yaml:5:9:", "one value belongs here");
    expect_refusal(HEAD GATE "    start: 2026-11-23\n", "w.yaml:5:12:", "only a file has one");
    expect_refusal(HEAD "cameras: {a: {url: a.mp4, credential: x}}\n",
                   "w.yaml:2:39:", "a file needs none");
    expect_refusal(HEAD GATE "---\n" HEAD, "w.yaml:6:1:", "a second document");
}

static void test_wrong_values(void **state)
{
    (void)state;
    expect_refusal(HEAD GATE "window: 16\n", "w.yaml:5:9:", "its unit is one of");
    expect_refusal(HEAD GATE "window: soon\n", "w.yaml:5:9:", "write it like 16s");
    expect_refusal(HEAD GATE "window: -3s\n", "w.yaml:5:9:", "not a duration");
    expect_refusal(HEAD GATE "window: 0\n", "w.yaml:5:9:", "not between 1s and 600s");
    expect_refusal(HEAD GATE "window: 9999999d\n", "w.yaml:5:9:", "");
    expect_refusal(HEAD GATE "overlap: 9s\n", "w.yaml:5:10:", "more than half the window of 16s");
    expect_refusal(HEAD GATE "window: 6s\n", "w.yaml:5:9:", "more than half the window of 6s");
    expect_refusal(HEAD GATE "nightly: {hours: 8-30}\n", "w.yaml:5:10:", "nightly: ");
    expect_refusal(HEAD GATE "nightly: {hour: 8-9}\n", "w.yaml:5:11:", "did you mean hours?");
    expect_refusal(HEAD GATE "log_level: loud\n", "w.yaml:5:12:", "none of: error warn info debug");
    expect_refusal(HEAD GATE "    keep: 5\n", "w.yaml:5:11:", "not a size");
    expect_refusal(HEAD GATE "    keep: 5kB\n", "w.yaml:5:11:", "not between 1MB");
    expect_refusal(HEAD GATE "    record: perhaps\n", "w.yaml:5:13:", "neither true nor false");
    expect_refusal(HEAD GATE "    fps: 1e3\n", "w.yaml:5:10:", "not a number");
    expect_refusal(HEAD GATE "    mask: 1\n", "w.yaml:5:11:", "a list of polygons");
    expect_refusal(HEAD GATE "    mask: [[[0, 0], [1, 1]]]\n", "w.yaml:5:12:", "of 2 points");
    expect_refusal(HEAD GATE "    mask: [[[0, 0], [1, 2], [0, 1]]]\n",
                   "w.yaml:5:25:", "cameras.gate.mask: 2 is not between 0 and 1");
    expect_refusal(HEAD GATE "    mask: [[[0, 0], [1], [0, 1]]]\n", "w.yaml:5:21:", "is [x, y]");
    expect_refusal(HEAD GATE "    gate: 3\n", "w.yaml:5:11:", "off low medium high");
    expect_refusal(HEAD GATE "    gate_refresh: 9s\n", "w.yaml:5:19:", "not between 0.5s and 4s");
    expect_refusal(HEAD GATE "    min_pixels: 9000\n    max_pixels: 100\n",
                   "w.yaml:6:17:", "less than min_pixels");
    expect_refusal(HEAD GATE "    fps: 0\n", "w.yaml:5:10:", "between 0.01 and 60");
    expect_refusal(HEAD GATE "    fps: {min: 3, base: 2}\n", "w.yaml:5:10:", "not in this order");
    expect_refusal(HEAD GATE "    transport: http\n", "w.yaml:5:16:", "none of: tcp udp");
    expect_refusal(HEAD GATE "    credential: ../x\n", "w.yaml:5:17:", "not a name");
    expect_refusal(HEAD "cameras: {f: {url: a.mp4, start: noon}}\n", "w.yaml:2:34:", "like 2026-");
    expect_refusal(HEAD "cameras: {f: {url: v/, time_zone: Mars/Base}}\n",
                   "w.yaml:2:35:", "cameras.f.time_zone: Mars/Base");
    expect_refusal(HEAD GATE "    time_zone: UTC\n", "w.yaml:5:16:", "only names of files");
    expect_refusal(HEAD "cameras: {Gate: {url: a.mp4}}\n", "w.yaml:2:11:", "not a name");
    expect_refusal(HEAD "cameras: {'': {url: a.mp4}}\n", "w.yaml:2:11:", "an empty name");
    expect_refusal("model: {path: /m, threads: -1}\n" GATE, "w.yaml:1:28:", "not a whole number");
    expect_refusal("model: {path: /m, max_answer_tokens: 3}\n" GATE, "w.yaml:1:38:", "16 and 4096");
    expect_refusal("model: {path: ~/m}\n" GATE, "w.yaml:1:15:", "~ is not expanded");
    expect_refusal(HEAD GATE "endpoints: {query: 'tcp://0.0.0.0:1'}\n",
                   "w.yaml:5:20:", "this machine only");
    expect_refusal(HEAD GATE "endpoints: {query: 'tcp://127.0.0.1:0'}\n", "w.yaml:5:20:", "port");
    expect_refusal(HEAD GATE "endpoints: {query: 'ipc://x'}\n", "w.yaml:5:20:", "from the root");
    expect_refusal(HEAD GATE "endpoints: {query: 'ipc:///run/whend/events.ipc'}\n",
                   "w.yaml:5:12:", "same address");
    expect_refusal(HEAD GATE "watches: {a: {question: \"a\\x07b\"}}\n",
                   "w.yaml:5:25:", "control characters");
    expect_refusal(HEAD GATE "watches: {a: {question: \"\"}}\n", "w.yaml:5:25:", "0 bytes");
    expect_refusal(HEAD GATE "\twindow: 3s\n", "w.yaml:", "not YAML");
    expect_refusal(HEAD "cameras: {gate: {url: 'x\n", "w.yaml:", "not YAML");
    expect_refusal(HEAD "x: *nobody\n" GATE, "w.yaml:2:4:", "not YAML");
    char longer[400];
    snprintf(longer, sizeof(longer), HEAD GATE "runtime_dir: /%0150d\n", 1);
    expect_refusal(longer, "w.yaml:5:14:", "too long for the sockets");
}

/* The sections that say how whend is reached and what it keeps. */
static void test_operation(void **state)
{
    (void)state;
    static const char CAMERAS[] = "model: {path: /m}\ncameras: {a: {url: /v.mp4}}\n";
    char text[512];
    Config c;
    Error err = {0};
    snprintf(text, sizeof(text),
             "%sendpoints: {mode: 600, group: video}\nremote: {query: \"tcp://*:5702\", events: "
             "\"tcp://[::]:5701\"}\nhttp: {address: \"[::1]:80\"}\n"
             "events: {keep_for: 90d, keep_count: 1000000}\n",
             CAMERAS);
    if (parse(text, &c, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(c.socket_mode, 0600);
    assert_string_equal(c.socket_group, "video");
    assert_string_equal(c.remote_query, "tcp://*:5702");
    assert_string_equal(c.remote_events, "tcp://[::]:5701");
    assert_true(c.http_given);
    assert_string_equal(c.http_address, "[::1]:80");
    assert_int_equal(c.events_keep_us, INT64_C(90) * 86400 * 1000000);
    assert_int_equal(c.events_keep_count, 1000000);
    config_deinit(&c);
    static const struct {
        const char *text, *place, *words;
    } BAD[] = {
        {"endpoints: {mode: 0666}\n", "w.yaml:3:19:", "0660"},
        {"endpoints: {mode: 0060}\n", "w.yaml:3:19:", "endpoints.mode"},
        {"endpoints: {mode: 8}\n", "w.yaml:3:19:", "endpoints.mode"},
        {"endpoints: {query: tcp://0.0.0.0:5702}\n", "w.yaml:3:20:", "remote"},
        {"remote: {query: ipc:///a}\n", "w.yaml:3:17:", "tcp://0.0.0.0:5702"},
        {"remote: {query: tcp://example.org:1}\n", "w.yaml:3:17:", "not an address"},
        {"remote: {query: \"tcp://*:0\"}\n", "w.yaml:3:17:", "remote.query"},
        {"remote: {query: tcp://0.0.0.0:1, events: tcp://0.0.0.0:1}\n", "w.yaml:3:17:", "same"},
        {"http: {address: 9433}\n", "w.yaml:3:17:", "127.0.0.1:9433"},
        {"http: {address: 127.0.0.1:70000}\n", "w.yaml:3:17:", "65535"},
        {"http: {adress: off}\n", "w.yaml:3:8:", "address"},
        {"events: {keep_for: 90}\n", "w.yaml:3:20:", "unit"},
        {"events: {keep_count: -1}\n", "w.yaml:3:22:", "keep_count"},
    };
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        snprintf(text, sizeof(text), "%s%s", CAMERAS, BAD[i].text);
        expect_refusal(text, BAD[i].place, BAD[i].words);
    }
}

static void test_urls(void **state)
{
    (void)state;
    static const char *const SECRET[] = {"rtsp://user:geheim@h/1", "rtsp://geheim@h/1",
                                         "RTSPS://u:geheim@h:1?x", "rtsp://u:geheim@"};
    for (size_t i = 0; i < 4; i++) {
        char text[200];
        snprintf(text, sizeof(text), HEAD "cameras: {gate: {url: '%s'}}\n", SECRET[i]);
        expect_refusal(text, "w.yaml:2:23:", "`credential: NAME`");
        Config config;
        Error err = {0};
        assert_true(parse(text, &config, &err) < 0);
        assert_null(strstr(err.text, "geheim"));
    }
    expect_refusal(HEAD "cameras: {gate: {url: 'ftp://h/1'}}\n",
                   "w.yaml:2:23:", "rtsp://, rtsps://");
    expect_refusal(HEAD "cameras: {gate: {url: 'rtsp://'}}\n", "w.yaml:2:23:", "no host");
    expect_refusal(HEAD "cameras: {gate: {url: 'rtsp://h/a b'}}\n", "w.yaml:2:23:", "%20");
    expect_refusal(HEAD "cameras: {gate: {url: 'file://a.mp4'}}\n",
                   "w.yaml:2:23:", "from the root");
    expect_refusal(HEAD "cameras: {gate: {url: 'file:///a%0'}}\n", "w.yaml:2:23:", "hexadecimal");
    expect_refusal(HEAD "cameras: {gate: {url: 'file:///a%00'}}\n", "w.yaml:2:23:", "hexadecimal");
    expect_refusal(HEAD "cameras: {gate: {url: ''}}\n", "w.yaml:2:23:", "empty");
    expect_refusal(HEAD "cameras: {gate: {url: 'video/', record: yes}}\n",
                   "w.yaml:2:41:", "has recordings already");
    static const struct {
        const char *url, *read;
        bool is_file, is_folder;
    } KINDS[] = {{"http://h/live.m3u8", "http://h/live.m3u8", false, false},
                 {"https://h/a/b.MP4?t=1", "https://h/a/b.MP4?t=1", true, false},
                 {"https://h.ts", "https://h.ts", false, false},
                 {"nvr//", "/etc/whend/nvr", false, true},
                 {"file:///srv/nvr/", "/srv/nvr", false, true}};
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        char text[200];
        Config config;
        Error err = {0};
        snprintf(text, sizeof text, HEAD "cameras: {gate: {url: '%s'}}\n", KINDS[i].url);
        assert_int_equal(config_parse("w.yaml", "/etc/whend", text, strlen(text), &config, &err),
                         0);
        const CameraConfig *camera = &config.cameras[0];
        assert_string_equal(camera->url, KINDS[i].read);
        assert_int_equal(camera->is_file, KINDS[i].is_file);
        assert_int_equal(camera->is_folder, KINDS[i].is_folder);
        assert_true(camera->tls_verify);
        config_deinit(&config);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    _cleanup_str_ Str text = {0};
    str_add_text(&text, HEAD "cameras:\n");
    for (int i = 0; i < CONFIG_MAX_CAMERAS; i++)
        str_addf(&text, "  c%d: {url: a.mp4}\n", i);
    Config config;
    Error err = {0};
    assert_int_equal(parse(str_text(&text), &config, &err), 0);
    assert_int_equal(config.n_cameras, CONFIG_MAX_CAMERAS);
    config_deinit(&config);
    str_add_text(&text, "  more: {url: a.mp4}\n");
    expect_refusal(str_text(&text), "w.yaml:3:3:", "at most 256");

    str_clear(&text);
    str_add_text(&text, HEAD GATE "watches: {a: {question: '");
    for (int i = 0; i < 1001; i++)
        str_add_text(&text, "x");
    str_add_text(&text, "'}}\n");
    expect_refusal(str_text(&text), "w.yaml:5:25:", "1001 bytes");

    /* Aliases that stand for themselves must not send the reader round for ever. */
    expect_refusal("model: &a {path: *a}\n" GATE, "w.yaml:1:", "one value belongs here");
    expect_refusal(HEAD "cameras: &a {b: *a}\n", "w.yaml:2:", "unknown key");
}

static void test_files(void **state)
{
    (void)state;
    Config config;
    Error err = {0};
    assert_int_equal(config_read("/nowhere/whend.yaml", &config, &err), -ENOENT);
    assert_int_equal(err.exit_code, EX_NOINPUT);
    assert_non_null(strstr(err.text, "/nowhere/whend.yaml"));
    config_deinit(&config);

    char dir[] = "/tmp/when-config-XXXXXX", path[64], expected[80];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/w.yaml", dir);
    static const char TEXT[] = "model: {path: m}\ncameras: {f: {url: sub/a.mp4}}\n";
    error_clear(&err);
    assert_int_equal(file_replace(path, TEXT, strlen(TEXT), &err), 0);
    assert_int_equal(config_read(path, &config, &err), 0);
    snprintf(expected, sizeof(expected), "%s/sub/a.mp4", dir);
    assert_string_equal(config.cameras[0].url, expected);
    config_deinit(&config);
    unlink(path);
    rmdir(dir);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return EX_USAGE;
    example_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_each_default),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_unknown_and_twice),
        cmocka_unit_test(test_missing_and_misplaced),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_operation),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

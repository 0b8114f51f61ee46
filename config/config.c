/*
 * whend.yaml. See config.h. libyaml builds the document, tables say what may stand where, and every
 * complaint carries the place of the key or value that it is about.
 */
#include "config/config.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "config/camera.h"
#include "config/operation.h"
#include "config/schedule.h"
#include "config/table.h"
#include "config/value.h"
#include "config/watch.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS(s) ((double)(s)*1e6)

enum { MAX_FILE_BYTES = 1 << 20 };

static const TableKey ROOT_KEYS[] = {
    {"state_dir", TABLE_FOLDER, offsetof(Config, state_dir), 0, 0, NULL},
    {"runtime_dir", TABLE_FOLDER, offsetof(Config, runtime_dir), 0, 0, NULL},
    {"log_level", TABLE_CHOICE, offsetof(Config, log_level), 0, 0, "error warn info debug"},
    {"model", TABLE_OTHER, 0, 0, 0, NULL},
    {"window", TABLE_DURATION, offsetof(Config, window_us), SECONDS(1), SECONDS(600), NULL},
    {"overlap", TABLE_DURATION, offsetof(Config, overlap_us), 0, SECONDS(300), NULL},
    {"boundary_error", TABLE_DURATION, offsetof(Config, boundary_error_us), 0, SECONDS(60), NULL},
    {"endpoints", TABLE_OTHER, 0, 0, 0, NULL},
    {"remote", TABLE_OTHER, 0, 0, 0, NULL},
    {"http", TABLE_OTHER, 0, 0, 0, NULL},
    {"events", TABLE_OTHER, 0, 0, 0, NULL},
    {"nightly", TABLE_OTHER, 0, 0, 0, NULL},
    {"cameras", TABLE_OTHER, 0, 0, 0, NULL},
    {"watches", TABLE_OTHER, 0, 0, 0, NULL},
    {0}};

static const TableKey MODEL_KEYS[] = {
    {"path", TABLE_FOLDER, offsetof(Config, model_path), 0, 0, NULL},
    {"lora", TABLE_FOLDER, offsetof(Config, model_lora), 0, 0, NULL},
    {"dtype", TABLE_CHOICE, offsetof(Config, model_dtype), 0, 0, "bf16 f32 int8 int4"},
    {"threads", TABLE_INTEGER, offsetof(Config, model_threads), 0, 1024, NULL},
    {"kv", TABLE_CHOICE, offsetof(Config, model_kv), 0, 0, "auto bf16 int8 f32"},
    {"max_answer_tokens", TABLE_INTEGER, offsetof(Config, model_max_answer_tokens), 16, 4096, NULL},
    {"timeout", TABLE_DURATION, offsetof(Config, model_timeout_us), SECONDS(1), SECONDS(86400),
     NULL},
    {0}};

static const TableKey NIGHTLY_KEYS[] = {
    {"days", TABLE_TEXT, offsetof(Config, nightly_days), 0, 0, NULL},
    {"hours", TABLE_TEXT, offsetof(Config, nightly_hours), 0, 0, NULL},
    {"zone", TABLE_TEXT, offsetof(Config, nightly_zone), 0, 0, NULL},
    {0}};

static const TableKey WATCH_KEYS[] = {
    {"question", TABLE_TEXT, offsetof(WatchConfig, question), 0, 0, NULL},
    {"cameras", TABLE_OTHER, 0, 0, 0, NULL},
    {"join_gap", TABLE_DURATION, offsetof(WatchConfig, join_gap_us), 0, SECONDS(86400), NULL},
    {"min_duration", TABLE_DURATION, offsetof(WatchConfig, min_duration_us), 0, SECONDS(86400),
     NULL},
    {"cool_down", TABLE_DURATION, offsetof(WatchConfig, cool_down_us), 0, SECONDS(86400), NULL},
    {"confidence", TABLE_OTHER, 0, 0, 0, NULL},
    {"schedule", TABLE_OTHER, 0, 0, 0, NULL},
    {"since", TABLE_TEXT, offsetof(WatchConfig, since), 0, 0, NULL},
    {0}};

static const TableKey SCHEDULE_KEYS[] = {
    {"days", TABLE_TEXT, offsetof(WatchConfig, days), 0, 0, NULL},
    {"hours", TABLE_TEXT, offsetof(WatchConfig, hours), 0, 0, NULL},
    {"zone", TABLE_TEXT, offsetof(WatchConfig, time_zone), 0, 0, NULL},
    {0}};

/* --- watches --- */

static int read_watch_cameras(TableReader *r, yaml_node_t *node, const char *name,
                              const Config *config, WatchConfig *watch)
{
    if (node->type != YAML_SEQUENCE_NODE)
        return table_complain(r, node, "%s: a list belongs here (like [gate, yard])", name);
    size_t n = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (n == 0 || n > CONFIG_MAX_CAMERAS)
        return table_complain(r, node, "%s: %zu cameras (name 1 to %d, or remove the key for all)",
                              name, n, CONFIG_MAX_CAMERAS);
    watch->cameras = mem_new_array(n, sizeof(*watch->cameras));
    if (!watch->cameras)
        return table_no_memory(r);
    for (size_t i = 0; i < n; i++) {
        yaml_node_t *item =
            yaml_document_get_node(&r->document, node->data.sequence.items.start[i]);
        const char *text = table_scalar(r, item, name);
        if (!text)
            return -EINVAL;
        size_t c = 0;
        while (c < config->n_cameras && strcmp(config->cameras[c].name, text) != 0)
            c++;
        if (c == config->n_cameras)
            return table_complain(r, item, "%s: there is no camera %.64s under cameras:", name,
                                  text);
        if (watch_config_covers(watch, text) && watch->n_cameras)
            return table_complain(r, item, "%s: %.64s stands here twice", name, text);
        int rc = table_set_text(r, &watch->cameras[i], text);
        if (rc < 0)
            return rc;
        watch->n_cameras++;
    }
    return 0;
}

static int read_confidence(TableReader *r, const yaml_node_t *node, const char *name,
                           WatchConfig *watch)
{
    const char *text = table_scalar(r, node, name), *reason;
    if (!text)
        return -EINVAL;
    if (value_number(text, &watch->min_confidence, &reason) < 0)
        return table_complain(r, node, "%s: %.64s: %s", name, text, reason);
    return 0;
}

static int read_watch(TableReader *r, yaml_node_t *key, yaml_node_t *node, const Config *config,
                      WatchConfig *watch)
{
    char where[96], name[128];
    snprintf(where, sizeof(where), "watches.%s.", watch->name);
    TableFound found, part;
    if (watch_config_init(watch) < 0)
        return table_no_memory(r);
    int rc = table_read(r, node, where, WATCH_KEYS, watch, &found);
    if (rc < 0)
        return rc;
    yaml_node_t *question = table_value(&found, WATCH_KEYS, "question");
    if (!question)
        return table_complain(
            r, key, "%squestion is missing (like When does a red car drive past?)", where);
    yaml_node_t *schedule = table_value(&found, WATCH_KEYS, "schedule");
    snprintf(name, sizeof(name), "%sschedule.", where);
    if (schedule && (rc = table_read(r, schedule, name, SCHEDULE_KEYS, watch, &part)) < 0)
        return rc;
    yaml_node_t *confidence = table_value(&found, WATCH_KEYS, "confidence");
    snprintf(name, sizeof(name), "%sconfidence", where);
    if (confidence && (rc = read_confidence(r, confidence, name, watch)) < 0)
        return rc;
    yaml_node_t *cameras = table_value(&found, WATCH_KEYS, "cameras");
    snprintf(name, sizeof(name), "%scameras", where);
    if (cameras && (rc = read_watch_cameras(r, cameras, name, config, watch)) < 0)
        return rc;
    Error why = {0};
    const char *at;
    if (watch_config_check(watch, &at, &why) < 0) {
        yaml_node_t *place = table_value(&found, WATCH_KEYS, at);
        return table_complain(r, place ? place : key, "%s%s: %s", where, at, why.text);
    }
    return 0;
}

/* Counts and checks the names of `cameras:` or `watches:`. */
static int check_names(TableReader *r, yaml_node_t *node, const char *what, size_t max, size_t *n)
{
    *n = 0;
    if (!node || table_is_null(node))
        return 0;
    if (node->type != YAML_MAPPING_NODE)
        return table_complain(r, node, "%s: names belong here, each with its own keys", what);
    yaml_node_pair_t *start = node->data.mapping.pairs.start, *top = node->data.mapping.pairs.top;
    if ((size_t)(top - start) > max)
        return table_complain(r, node, "%s: %zu, at most %zu are allowed", what,
                              (size_t)(top - start), max);
    for (yaml_node_pair_t *p = start; p < top; p++) {
        yaml_node_t *key = yaml_document_get_node(&r->document, p->key);
        const char *name = table_scalar(r, key, what), *reason;
        if (!name)
            return -EINVAL;
        if (value_name(name, CONFIG_NAME_BYTES, &reason) < 0)
            return table_complain(r, key, "%s: %.64s: %s", what, name, reason);
        for (yaml_node_pair_t *q = start; q < p; q++) {
            yaml_node_t *other = yaml_document_get_node(&r->document, q->key);
            if (strcmp((const char *)other->data.scalar.value, name) == 0)
                return table_complain(r, key, "%s.%s: stands here twice (first in line %zu)", what,
                                      name, other->start_mark.line + 1);
        }
    }
    *n = (size_t)(top - start);
    return 0;
}

static int read_cameras(TableReader *r, yaml_node_t *root, yaml_node_t *node, Config *config)
{
    size_t n;
    int rc = check_names(r, node, "cameras", CONFIG_MAX_CAMERAS, &n);
    if (rc < 0)
        return rc;
    if (n == 0)
        return table_complain(r, node ? node : root, "cameras: there is none (name at least one)");
    config->cameras = mem_new_array(n, sizeof(*config->cameras));
    if (!config->cameras)
        return table_no_memory(r);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        yaml_node_pair_t *p = &node->data.mapping.pairs.start[i];
        yaml_node_t *key = yaml_document_get_node(&r->document, p->key);
        CameraConfig *camera = &config->cameras[config->n_cameras++];
        snprintf(camera->name, sizeof(camera->name), "%s", (char *)key->data.scalar.value);
        rc = camera_config_read(r, key, yaml_document_get_node(&r->document, p->value), camera);
    }
    return rc;
}

static int read_watches(TableReader *r, yaml_node_t *node, Config *config)
{
    size_t n;
    int rc = check_names(r, node, "watches", CONFIG_MAX_WATCHES, &n);
    if (rc < 0 || n == 0)
        return rc;
    config->watches = mem_new_array(n, sizeof(*config->watches));
    if (!config->watches)
        return table_no_memory(r);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        yaml_node_pair_t *p = &node->data.mapping.pairs.start[i];
        yaml_node_t *key = yaml_document_get_node(&r->document, p->key);
        WatchConfig *watch = &config->watches[config->n_watches++];
        snprintf(watch->name, sizeof(watch->name), "%s", (char *)key->data.scalar.value);
        rc = read_watch(r, key, yaml_document_get_node(&r->document, p->value), config, watch);
    }
    return rc;
}

/* --- the whole --- */

static int set_defaults(TableReader *r, Config *config)
{
    int rc = table_set_text(r, &config->state_dir, "/var/lib/whend");
    if (rc == 0)
        rc = table_set_text(r, &config->runtime_dir, "/run/whend");
    if (rc == 0)
        rc = table_set_text(r, &config->log_level, "info");
    if (rc == 0)
        rc = table_set_text(r, &config->model_dtype, "bf16");
    if (rc == 0)
        rc = table_set_text(r, &config->model_kv, "auto");
    char **nightly[] = {&config->nightly_days, &config->nightly_hours, &config->nightly_zone};
    for (size_t i = 0; rc == 0 && i < sizeof(nightly) / sizeof(nightly[0]); i++)
        rc = table_set_text(r, nightly[i], "");
    config->model_max_answer_tokens = 512;
    config->model_timeout_us = 1800 * US_PER_S;
    config->window_us = 16 * US_PER_S;
    config->overlap_us = 4 * US_PER_S;
    config->boundary_error_us = US_PER_S / 2;
    return rc;
}

static int read_nightly(TableReader *r, yaml_node_t *node, Config *config)
{
    TableFound found;
    int rc = table_read(r, node, "nightly.", NIGHTLY_KEYS, config, &found);
    if (rc < 0)
        return rc;
    Schedule *schedule = NULL;
    Error why = {0};
    rc = schedule_new(config->nightly_days, config->nightly_hours, config->nightly_zone, &schedule,
                      &why);
    schedule_free(schedule);
    return rc < 0 ? table_complain(r, node, "nightly: %s", why.text) : 0;
}

static int read_root(TableReader *r, yaml_node_t *root, Config *config)
{
    TableFound found, part;
    int rc = table_read(r, root, "", ROOT_KEYS, config, &found);
    if (rc < 0)
        return rc;
    yaml_node_t *overlap = table_value(&found, ROOT_KEYS, "overlap");
    yaml_node_t *window = table_value(&found, ROOT_KEYS, "window");
    if (config->overlap_us > config->window_us / 2)
        return table_complain(r, overlap ? overlap : window,
                              "%s: the overlap of %gs is more than half the window of %gs",
                              overlap ? "overlap" : "window", (double)config->overlap_us / 1e6,
                              (double)config->window_us / 1e6);
    yaml_node_t *runtime_dir = table_value(&found, ROOT_KEYS, "runtime_dir");
    if (strlen(config->runtime_dir) + strlen("/workers.ipc") > TABLE_MAX_SOCKET_PATH_BYTES)
        return table_complain(r, runtime_dir,
                              "runtime_dir: too long for the sockets in it (at most %zu bytes)",
                              TABLE_MAX_SOCKET_PATH_BYTES - strlen("/workers.ipc"));
    yaml_node_t *model = table_value(&found, ROOT_KEYS, "model");
    if (model)
        rc = table_read(r, model, "model.", MODEL_KEYS, config, &part);
    if (rc < 0)
        return rc;
    if (!config->model_path)
        return table_complain(r, model ? model : root,
                              "model.path is missing (a Hugging Face Qwen2.5-VL directory)");
    OperationNodes nodes = {.endpoints = table_value(&found, ROOT_KEYS, "endpoints"),
                            .remote = table_value(&found, ROOT_KEYS, "remote"),
                            .http = table_value(&found, ROOT_KEYS, "http"),
                            .events = table_value(&found, ROOT_KEYS, "events")};
    rc = operation_read(r, &nodes, config);
    yaml_node_t *nightly = table_value(&found, ROOT_KEYS, "nightly");
    if (rc == 0 && nightly)
        rc = read_nightly(r, nightly, config);
    if (rc == 0)
        rc = read_cameras(r, root, table_value(&found, ROOT_KEYS, "cameras"), config);
    yaml_node_t *watches = table_value(&found, ROOT_KEYS, "watches");
    if (rc == 0)
        rc = read_watches(r, watches, config);
    return rc;
}

static int syntax_error(TableReader *r, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return table_no_memory(r);
    bool at_mark = parser->error == YAML_SCANNER_ERROR || parser->error == YAML_PARSER_ERROR ||
                   parser->error == YAML_COMPOSER_ERROR;
    const yaml_mark_t *mark = &parser->problem_mark;
    return error_set(r->err, EINVAL, EX_CONFIG,
                     "%s:%zu:%zu: not YAML: %s (check indentation, "
                     "colons and quotes there)",
                     r->path, at_mark ? mark->line + 1 : 1, at_mark ? mark->column + 1 : 1,
                     parser->problem ? parser->problem : "unreadable");
}

static int read_document(TableReader *r, yaml_parser_t *parser, Config *config)
{
    if (!yaml_parser_load(parser, &r->document))
        return syntax_error(r, parser);
    yaml_node_t *root = yaml_document_get_root_node(&r->document);
    int rc;
    if (!root)
        rc = error_set(r->err, EINVAL, EX_CONFIG,
                       "%s:1:1: empty (model.path and one of cameras: are needed at least)",
                       r->path);
    else
        rc = read_root(r, root, config);
    yaml_document_t second = {0};
    if (rc == 0 && !yaml_parser_load(parser, &second)) {
        rc = syntax_error(r, parser);
    } else if (rc == 0) {
        yaml_node_t *more = yaml_document_get_root_node(&second);
        if (more)
            rc = table_complain(r, more, "a second document (\"---\"): only one is read");
        yaml_document_delete(&second);
    }
    yaml_document_delete(&r->document);
    return rc;
}

int config_parse(const char *path, const char *folder, const char *text, size_t bytes,
                 Config *config, Error *err)
{
    *config = (Config){0};
    TableReader r = {.path = path, .err = err, .folder = strdup(folder)};
    yaml_parser_t parser;
    int rc = r.folder ? set_defaults(&r, config) : table_no_memory(&r);
    if (rc == 0 && !yaml_parser_initialize(&parser))
        rc = table_no_memory(&r);
    else if (rc == 0) {
        yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
        rc = read_document(&r, &parser, config);
        yaml_parser_delete(&parser);
    }
    free(r.folder);
    if (rc < 0)
        config_deinit(config);
    return rc;
}

int config_read(const char *path, Config *config, Error *err)
{
    *config = (Config){0};
    _cleanup_free_ char *text = NULL;
    size_t bytes;
    int rc = file_read(path, MAX_FILE_BYTES, &text, &bytes, err);
    if (rc < 0)
        return rc;
    _cleanup_free_ char *real = realpath(path, NULL);
    if (!real)
        return error_set(err, errno, EX_NOINPUT, "%s: %s", path, strerror(errno));
    *strrchr(real, '/') = '\0';
    return config_parse(path, real[0] ? real : "/", text, bytes, config, err);
}

const char *config_key(size_t number)
{
    static const struct {
        const char *prefix;
        const TableKey *keys;
    } TABLES[] = {{"", ROOT_KEYS},
                  {"model.", MODEL_KEYS},
                  {"endpoints.", ENDPOINT_KEYS},
                  {"remote.", REMOTE_KEYS},
                  {"http.", HTTP_KEYS},
                  {"events.", EVENTS_KEYS},
                  {"nightly.", NIGHTLY_KEYS},
                  {"cameras.NAME.", CAMERA_KEYS},
                  {"cameras.NAME.fps.", FPS_KEYS},
                  {"watches.NAME.", WATCH_KEYS},
                  {"watches.NAME.schedule.", SCHEDULE_KEYS}};
    static char name[96];
    for (size_t t = 0; t < sizeof(TABLES) / sizeof(TABLES[0]); t++) {
        for (const TableKey *k = TABLES[t].keys; k->name; k++) {
            if (number-- == 0) {
                snprintf(name, sizeof(name), "%s%s", TABLES[t].prefix, k->name);
                return name;
            }
        }
    }
    return NULL;
}

void config_deinit(Config *config)
{
    for (size_t i = 0; i < config->n_cameras; i++)
        camera_config_deinit(&config->cameras[i]);
    for (size_t i = 0; i < config->n_watches; i++)
        watch_config_deinit(&config->watches[i]);
    free(config->cameras);
    free(config->watches);
    free(config->state_dir);
    free(config->runtime_dir);
    free(config->log_level);
    free(config->model_path);
    free(config->model_lora);
    free(config->model_dtype);
    free(config->model_kv);
    free(config->nightly_days);
    free(config->nightly_hours);
    free(config->nightly_zone);
    operation_deinit(config);
    *config = (Config){0};
}

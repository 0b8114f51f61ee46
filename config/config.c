/*
 * whend.yaml. See config.h. libyaml builds the document, tables say what may stand where, and every
 * complaint carries the place of the key or value that it is about.
 */
#include "config/config.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/time_zone.h"
#include "config/mask.h"
#include "config/operation.h"
#include "config/table.h"
#include "config/url.h"
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

static const TableKey CAMERA_KEYS[] = {
    {"url", TABLE_OTHER, 0, 0, 0, NULL},
    {"transport", TABLE_CHOICE, offsetof(CameraConfig, transport), 0, 0, "tcp udp"},
    {"credential", TABLE_TEXT, offsetof(CameraConfig, credential), 0, 0, NULL},
    {"tls_ca", TABLE_FOLDER, offsetof(CameraConfig, tls_ca), 0, 0, NULL},
    {"tls_verify", TABLE_YES_NO, offsetof(CameraConfig, tls_verify), 0, 0, NULL},
    {"retry", TABLE_DURATION, offsetof(CameraConfig, retry_us), SECONDS(0.1), SECONDS(3600), NULL},
    {"fps", TABLE_OTHER, 0, 0, 0, NULL},
    {"start", TABLE_UTC, offsetof(CameraConfig, start_utc_us), 0, 0, NULL},
    {"start_error", TABLE_DURATION, offsetof(CameraConfig, start_utc_err_us), 0, SECONDS(86400),
     NULL},
    {"time_zone", TABLE_TEXT, offsetof(CameraConfig, time_zone), 0, 0, NULL},
    {"record", TABLE_YES_NO, offsetof(CameraConfig, record), 0, 0, NULL},
    {"segment", TABLE_DURATION, offsetof(CameraConfig, segment_us), SECONDS(1), SECONDS(3600),
     NULL},
    {"keep", TABLE_SIZE, offsetof(CameraConfig, keep_bytes), 1e6, 1e15, NULL},
    {"keep_for", TABLE_DURATION, offsetof(CameraConfig, keep_for_us), 0, SECONDS(1e9), NULL},
    {"stall", TABLE_DURATION, offsetof(CameraConfig, stall_us), SECONDS(1), SECONDS(3600), NULL},
    {"min_pixels", TABLE_INTEGER, offsetof(CameraConfig, min_pixels), 0, 1e8, NULL},
    {"max_pixels", TABLE_INTEGER, offsetof(CameraConfig, max_pixels), 0, 1e8, NULL},
    {"max_tokens_per_minute", TABLE_INTEGER, offsetof(CameraConfig, max_tokens_per_minute), 0, 1e9,
     NULL},
    {"gate", TABLE_CHOICE, offsetof(CameraConfig, gate), 0, 0, "off low medium high"},
    {"gate_refresh", TABLE_DURATION, offsetof(CameraConfig, gate_refresh_us), SECONDS(0.5),
     SECONDS(4), NULL},
    {"mask", TABLE_OTHER, 0, 0, 0, NULL},
    {0}};

static const TableKey FPS_KEYS[] = {
    {"min", TABLE_OTHER, offsetof(CameraConfig, fps_min), 0, 0, NULL},
    {"base", TABLE_OTHER, offsetof(CameraConfig, fps_base), 0, 0, NULL},
    {"max", TABLE_OTHER, offsetof(CameraConfig, fps_max), 0, 0, NULL},
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

/* One rate, or min, base and max; what is left out gives way to what is said. */
static int read_rate(TableReader *r, const yaml_node_t *node, const char *name, double *rate)
{
    const char *text = table_scalar(r, node, name), *reason;
    if (!text)
        return -EINVAL;
    double value;
    if (value_number(text, &value, &reason) < 0)
        return table_complain(r, node, "%s: %.64s: %s", name, text, reason);
    if (value < 0.01 || value > 60)
        return table_complain(r, node, "%s: %.64s is not between 0.01 and 60", name, text);
    *rate = value;
    return 0;
}

static int read_fps(TableReader *r, yaml_node_t *node, const char *name, CameraConfig *camera)
{
    if (node->type == YAML_SCALAR_NODE) {
        int rc = read_rate(r, node, name, &camera->fps_base);
        camera->fps_min = camera->fps_max = camera->fps_base;
        return rc;
    }
    char where[256];
    snprintf(where, sizeof(where), "%s.", name);
    TableFound found;
    int rc = table_find(r, node, where, FPS_KEYS, &found);
    for (size_t i = 0; rc == 0 && FPS_KEYS[i].name; i++) {
        char path[288];
        snprintf(path, sizeof(path), "%s%s", where, FPS_KEYS[i].name);
        if (found.value[i])
            rc =
                read_rate(r, found.value[i], path, (double *)((char *)camera + FPS_KEYS[i].offset));
    }
    if (rc < 0)
        return rc;
    bool has_min = found.value[0], has_base = found.value[1], has_max = found.value[2];
    if (!has_base && has_max && camera->fps_base > camera->fps_max)
        camera->fps_base = camera->fps_max;
    if (!has_base && has_min && camera->fps_base < camera->fps_min)
        camera->fps_base = camera->fps_min;
    if (!has_min && camera->fps_min > camera->fps_base)
        camera->fps_min = camera->fps_base;
    if (!has_max && camera->fps_max < camera->fps_base)
        camera->fps_max = camera->fps_base;
    if (camera->fps_min > camera->fps_base || camera->fps_base > camera->fps_max)
        return table_complain(r, node, "%s: min %g, base %g, max %g are not in this order", name,
                              camera->fps_min, camera->fps_base, camera->fps_max);
    return 0;
}

/* --- cameras and watches --- */

static int read_url(TableReader *r, const yaml_node_t *node, const char *name, CameraConfig *camera)
{
    const char *text = table_scalar(r, node, name);
    if (!text)
        return -EINVAL;
    const char *reason;
    UrlKind kind;
    int rc = url_read(text, r->folder, &camera->url, &kind, &reason);
    camera->is_file = kind == URL_FILE;
    camera->is_folder = kind == URL_FOLDER;
    if (rc == -ENOMEM)
        return table_no_memory(r);
    /* The URL is never repeated: a password may stand in it. */
    return rc < 0 ? table_complain(r, node, "%s: %s", name, reason) : 0;
}

static int check_zone(TableReader *r, const yaml_node_t *node, const char *where,
                      const CameraConfig *camera)
{
    if (!camera->is_file && !camera->is_folder)
        return table_complain(r, node, "%stime_zone: only names of files have one (remove it)",
                              where);
    TimeZone *zone = NULL;
    Error why = {0};
    int rc = time_zone_new(camera->time_zone, &zone, &why);
    time_zone_free(zone);
    return rc < 0 ? table_complain(r, node, "%stime_zone: %s", where, why.text) : 0;
}

static int read_camera(TableReader *r, yaml_node_t *key, yaml_node_t *node, CameraConfig *camera)
{
    char where[96];
    snprintf(where, sizeof(where), "cameras.%s.", camera->name);
    camera->fps_min = 0.5;
    camera->fps_base = 2;
    camera->fps_max = 4;
    camera->segment_us = 60 * US_PER_S;
    camera->keep_bytes = UINT64_C(2000000000);
    camera->stall_us = 10 * US_PER_S;
    camera->start_utc_err_us = US_PER_S;
    camera->tls_verify = true;
    camera->retry_us = 30 * US_PER_S;
    camera->gate_refresh_us = 2 * US_PER_S;
    TableFound found;
    int rc = table_set_text(r, &camera->transport, "tcp");
    if (rc == 0)
        rc = table_set_text(r, &camera->gate, "off");
    if (rc == 0)
        rc = table_read(r, node, where, CAMERA_KEYS, camera, &found);
    if (rc < 0)
        return rc;
    yaml_node_t *url = table_value(&found, CAMERA_KEYS, "url");
    if (!url)
        return table_complain(r, key, "%surl is missing (rtsp://HOST/PATH, or a video file)",
                              where);
    char name[128];
    snprintf(name, sizeof(name), "%surl", where);
    rc = read_url(r, url, name, camera);
    if (rc < 0)
        return rc;
    if (!table_value(&found, CAMERA_KEYS, "record"))
        camera->record = !camera->is_file && !camera->is_folder;
    yaml_node_t *fps = table_value(&found, CAMERA_KEYS, "fps");
    snprintf(name, sizeof(name), "%sfps", where);
    if (fps && (rc = read_fps(r, fps, name, camera)) < 0)
        return rc;
    yaml_node_t *mask = table_value(&found, CAMERA_KEYS, "mask");
    snprintf(name, sizeof(name), "%smask", where);
    if (mask && (rc = mask_config_read(r, mask, name, camera)) < 0)
        return rc;
    yaml_node_t *max_pixels = table_value(&found, CAMERA_KEYS, "max_pixels");
    if (max_pixels && camera->max_pixels && camera->max_pixels < camera->min_pixels)
        return table_complain(r, max_pixels, "%smax_pixels: %d is less than min_pixels, %d", where,
                              camera->max_pixels, camera->min_pixels);
    yaml_node_t *credential = table_value(&found, CAMERA_KEYS, "credential");
    const char *reason;
    if (credential && value_name(camera->credential, CONFIG_NAME_BYTES, &reason) < 0)
        return table_complain(r, credential, "%scredential: %s", where, reason);
    if (credential && (camera->is_file || camera->is_folder) && camera->url[0] == '/')
        return table_complain(r, credential, "%scredential: a file needs none (remove it)", where);
    yaml_node_t *record = table_value(&found, CAMERA_KEYS, "record");
    if (camera->record && camera->is_folder)
        return table_complain(r, record, "%srecord: a folder has recordings already (remove it)",
                              where);
    yaml_node_t *start = table_value(&found, CAMERA_KEYS, "start");
    if (start && !camera->is_file)
        return table_complain(r, start, "%sstart: only a file has one (remove it)", where);
    yaml_node_t *zone = table_value(&found, CAMERA_KEYS, "time_zone");
    return zone ? check_zone(r, zone, where, camera) : 0;
}

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
        rc = read_camera(r, key, yaml_document_get_node(&r->document, p->value), camera);
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
    config->model_max_answer_tokens = 512;
    config->model_timeout_us = 1800 * US_PER_S;
    config->window_us = 16 * US_PER_S;
    config->overlap_us = 4 * US_PER_S;
    config->boundary_error_us = US_PER_S / 2;
    return rc;
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
    for (size_t i = 0; i < config->n_cameras; i++) {
        free(config->cameras[i].url);
        free(config->cameras[i].transport);
        free(config->cameras[i].credential);
        free(config->cameras[i].tls_ca);
        free(config->cameras[i].time_zone);
        free(config->cameras[i].gate);
        mask_config_deinit(&config->cameras[i]);
    }
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
    operation_deinit(config);
    *config = (Config){0};
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool camera_config_equal(const CameraConfig *a, const CameraConfig *b)
{
    return same_text(a->name, b->name) && same_text(a->url, b->url) && a->is_file == b->is_file &&
           a->is_folder == b->is_folder && same_text(a->tls_ca, b->tls_ca) &&
           same_text(a->time_zone, b->time_zone) && a->tls_verify == b->tls_verify &&
           a->retry_us == b->retry_us && same_text(a->transport, b->transport) &&
           same_text(a->credential, b->credential) && a->fps_min == b->fps_min &&
           a->fps_base == b->fps_base && a->fps_max == b->fps_max &&
           a->start_utc_us == b->start_utc_us && a->start_utc_err_us == b->start_utc_err_us &&
           a->record == b->record && a->segment_us == b->segment_us &&
           a->keep_bytes == b->keep_bytes && a->keep_for_us == b->keep_for_us &&
           a->stall_us == b->stall_us && a->min_pixels == b->min_pixels &&
           a->max_pixels == b->max_pixels && a->max_tokens_per_minute == b->max_tokens_per_minute &&
           same_text(a->gate, b->gate) && a->gate_refresh_us == b->gate_refresh_us &&
           mask_config_equal(a, b);
}

/* cameras.NAME of whend.yaml. See camera.h. */
#include "config/camera.h"

#include "base/clock.h"
#include "base/time_zone.h"
#include "config/mask.h"
#include "config/url.h"
#include "config/value.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS(s) ((double)(s)*1e6)

const TableKey CAMERA_KEYS[] = {
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

const TableKey FPS_KEYS[] = {{"min", TABLE_OTHER, offsetof(CameraConfig, fps_min), 0, 0, NULL},
                             {"base", TABLE_OTHER, offsetof(CameraConfig, fps_base), 0, 0, NULL},
                             {"max", TABLE_OTHER, offsetof(CameraConfig, fps_max), 0, 0, NULL},
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

int camera_config_read(TableReader *r, yaml_node_t *key, yaml_node_t *node, CameraConfig *camera)
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

void camera_config_deinit(CameraConfig *camera)
{
    free(camera->url);
    free(camera->transport);
    free(camera->credential);
    free(camera->tls_ca);
    free(camera->gate);
    free(camera->time_zone);
    mask_config_deinit(camera);
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

/*
 * whend.yaml: what it says, checked and with defaults filled in. The commented example is
 * config/whend.yaml. Every error is one line "FILE:LINE:COLUMN: key: reason (remedy)"; an unknown
 * key is an error that names the nearest known one.
 */
#ifndef WHEN_CONFIG_CONFIG_H
#define WHEN_CONFIG_CONFIG_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CONFIG_NAME_BYTES = 64,
    CONFIG_MAX_CAMERAS = 256,
    CONFIG_MAX_WATCHES = 256,
    CONFIG_MAX_POLYGONS = 32, /* of a camera's mask */
    CONFIG_MAX_POINTS = 64    /* of a polygon */
};

/* A part of the picture that is never looked at. */
typedef struct MaskPolygon {
    float *xy;       /* [n_points, 2] x, y: 0..1 of the picture as displayed */
    size_t n_points; /* at least 3 */
} MaskPolygon;

/* Metrics and health, for this machine alone. */
#define CONFIG_HTTP_ADDRESS "127.0.0.1:9433"

typedef struct CameraConfig {
    char name[CONFIG_NAME_BYTES]; /* [a-z0-9][a-z0-9_-]*, unique */
    char *url; /* rtsp(s)://, http(s)://, or an absolute path (relative ones: to the config file) */
    bool is_file;     /* read once, from begin to end */
    bool is_folder;   /* files in it are examined as recordings, also those that come later */
    char *transport;  /* "tcp" or "udp" */
    char *credential; /* name of a credential, or NULL: see credential.h */
    char *tls_ca;     /* a PEM file with the camera's certificate, or who signed it; or NULL */
    bool tls_verify;
    int64_t retry_us; /* longest wait before a camera is connected anew */
    double fps_min, fps_base, fps_max;
    int64_t start_utc_us; /* `start:` of a file, 0: none */
    int64_t start_utc_err_us;
    char *time_zone; /* of times in the names of files, or NULL: see time_zone.h */
    bool record;     /* default: true for streams, false for files */
    int64_t segment_us;
    uint64_t keep_bytes;
    int64_t keep_for_us; /* 0: by size alone */
    int64_t stall_us;
    int min_pixels, max_pixels; /* of a frame for the model; 0: the model's own limits */
    int max_tokens_per_minute;  /* visual tokens of frames sent; 0: no bound */
    char *gate;                 /* "off", "low", "medium" or "high" */
    int64_t gate_refresh_us;    /* a frame at least so often */
    MaskPolygon *mask;          /* [n_mask] */
    size_t n_mask;
} CameraConfig;

typedef struct WatchConfig {
    char name[CONFIG_NAME_BYTES];
    char *question;
    char **cameras; /* [n_cameras]; none: all */
    size_t n_cameras;
    int64_t join_gap_us;
    int64_t min_duration_us;
    int64_t cool_down_us;           /* an event that begins so soon after another one is dropped */
    double min_confidence;          /* 0..1: less sure ones are dropped */
    char *days, *hours, *time_zone; /* see schedule.h; never NULL */
    char *since; /* ask it of retained video, too: how long back ("7d"), a time, "all"; "": no */
    bool added;  /* at run time; does not stand in whend.yaml */
} WatchConfig;

typedef struct Config {
    char *state_dir;
    char *runtime_dir; /* ipc sockets */
    char *log_level;
    char *model_path;
    char *model_lora;  /* a PEFT adapter's folder, or NULL */
    char *model_dtype; /* "bf16", "f32", "int8" or "int4" */
    char *model_kv; /* keys and values: "auto" (f32 with f32, else bf16), "bf16", "int8", "f32" */
    int model_threads; /* 0: one a core */
    int model_max_answer_tokens;
    int64_t model_timeout_us; /* no word from it for so long while it works: it hangs */
    int64_t window_us;        /* seconds of video that one question sees */
    int64_t overlap_us;       /* by which neighbouring windows overlap */
    int64_t
        boundary_error_us; /* how far the model's own boundaries are off, added to every error */
    char *events_endpoint; /* PUB; default ipc://RUNTIME_DIR/events.ipc */
    char *query_endpoint;  /* ROUTER; default ipc://RUNTIME_DIR/query.ipc */
    unsigned socket_mode;  /* of ipc sockets: 0660 */
    char *socket_group;    /* their group; NULL: whend's own */
    char *remote_events, *remote_query; /* tcp://, with CURVE: keys.h; NULL: none */
    char *http_address;                 /* "HOST:PORT" or "off"; default CONFIG_HTTP_ADDRESS */
    bool http_given;                    /* it stands in the file */
    int64_t events_keep_us;             /* events are forgotten after so long; 0: never */
    int events_keep_count;              /* so many events are kept; 0: all */
    /* When what live examination missed is worked off: see schedule.h; never NULL. */
    char *nightly_days, *nightly_hours, *nightly_zone;
    CameraConfig *cameras;
    size_t n_cameras;
    WatchConfig *watches;
    size_t n_watches;
} Config;

/* EX_NOINPUT or EX_CONFIG. */
int config_read(const char *path, Config *config, Error *err);
/* The same from memory: `path` is what errors call it, `folder` (absolute) what relative paths
 * start from. */
int config_parse(const char *path, const char *folder, const char *text, size_t bytes,
                 Config *config, Error *err);
void config_deinit(Config *config); /* safe on zeroed */

/* "cameras.NAME.url", ...: every key there is, one after another; NULL behind the last. In a buffer
 * that the next call reuses. */
const char *config_key(size_t number);

bool camera_config_equal(const CameraConfig *a, const CameraConfig *b); /* for SIGHUP */
/* Those of watches are in watch.h. */

#endif

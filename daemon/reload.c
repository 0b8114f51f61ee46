/* Cameras and watches from the config. See reload.h. */
#include "daemon/reload.h"

#include "base/log.h"
#include "base/mem.h"
#include "config/watch.h"
#include "daemon/daemon.h"
#include "daemon/watches.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int register_watches(Daemon *daemon, Error *err)
{
    Batch *batch = batch_new();
    int r = watches_register(daemon, batch, err);
    if (r < 0) {
        batch_free(batch);
        return r;
    }
    if (committer_add(daemon->committer, batch, daemon->now_us) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    return 0;
}

/* --- events that an earlier run left open --- */

typedef struct OpenEvents {
    Event *events; /* [n] */
    size_t n, capacity;
} OpenEvents;

static int add_event(const Event *event, void *context)
{
    OpenEvents *open = context;
    void *events = open->events;
    int r = mem_grow(&events, &open->capacity, open->n + 1, sizeof *event);
    open->events = events;
    if (r == 0)
        open->events[open->n++] = *event;
    return r;
}

static const WatchConfig *find_watch(const Daemon *daemon, const char *name)
{
    for (size_t i = 0; i < daemon->config.n_watches; i++)
        if (strcmp(daemon->config.watches[i].name, name) == 0)
            return &daemon->config.watches[i];
    return NULL;
}

/* Nothing continues it: it ends as far as it was seen. */
static int finish_event(Daemon *daemon, const Event *event, Batch *batch)
{
    const WatchConfig *watch = find_watch(daemon, event->watch);
    SegmenterOptions options = {.camera = event->camera,
                                .watch = event->watch,
                                .id_prefix = "e",
                                .next_id = daemon->feeds.next_event_number,
                                .join_gap_us = watch ? watch->join_gap_us : 0,
                                .min_duration_us = watch ? watch->min_duration_us : 0};
    Segmenter *segmenter = segmenter_new(&options);
    int r = segmenter ? segmenter_restore(segmenter, event) : -ENOMEM;
    if (r == 0)
        r = segmenter_finish(segmenter, batch_sink, batch);
    segmenter_free(segmenter);
    return r;
}

/* Those of one camera, or of all (NULL). */
static int settle_open_events(Daemon *daemon, Camera *only, Error *err)
{
    OpenEvents open = {0};
    int r = index_open_events(daemon->index, add_event, &open, err);
    Batch *batch = batch_new();
    for (size_t i = 0; r >= 0 && i < open.n; i++) {
        if (only && strcmp(only->config->name, open.events[i].camera) != 0)
            continue;
        Camera *camera = only ? only : daemon_camera(daemon, open.events[i].camera);
        int taken = camera ? feed_restore(camera->feed, &open.events[i]) : FEED_NOT_TAKEN;
        if (taken == FEED_NOT_TAKEN)
            taken = finish_event(daemon, &open.events[i], batch);
        if (taken < 0) {
            /* Not one of ours, or damaged: it stays as it is, the others go on. */
            log_error("reload", "event=%s left open by an earlier run cannot be taken up: %s",
                      open.events[i].id, strerror(-taken));
        }
    }
    if (r >= 0 && open.n > 0 && !only)
        log_info("reload", "events=%zu were left open by an earlier run", open.n);
    free(open.events);
    if (r < 0) {
        batch_free(batch);
        return r;
    }
    if (committer_add(daemon->committer, batch, daemon->now_us) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    return 0;
}

int reload_begin(Daemon *daemon, Error *err)
{
    archive_set_hours(daemon, &daemon->config);
    daemon->cameras = mem_new_array(daemon->config.n_cameras, sizeof(Camera *));
    if (!daemon->cameras)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    int r = watches_merge(&daemon->config, daemon->index, err);
    if (r == 0)
        r = register_watches(daemon, err);
    for (size_t i = 0; r == 0 && i < daemon->config.n_cameras; i++) {
        r = camera_new(daemon, &daemon->config.cameras[i], &daemon->cameras[i], err);
        daemon->n_cameras += r == 0;
    }
    return r < 0 ? r : settle_open_events(daemon, NULL, err);
}

/* --- SIGHUP --- */

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* What only a restart can change stays as it is: sockets are bound, the state folder is locked. */
static void keep_fixed(const Config *old, Config *new)
{
    struct {
        const char *key;
        char *const *old;
        char **new;
    } fixed[] = {{"state_dir", &old->state_dir, &new->state_dir},
                 {"runtime_dir", &old->runtime_dir, &new->runtime_dir},
                 {"events_endpoint", &old->events_endpoint, &new->events_endpoint},
                 {"query_endpoint", &old->query_endpoint, &new->query_endpoint}};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        if (same(*fixed[i].old, *fixed[i].new))
            continue;
        log_warn("reload", "%s changes only when whend is restarted", fixed[i].key);
        char *copy = *fixed[i].old ? strdup(*fixed[i].old) : NULL;
        if (copy) {
            free(*fixed[i].new);
            *fixed[i].new = copy;
        }
    }
    if (old->window_us != new->window_us || old->overlap_us != new->overlap_us) {
        log_warn("reload", "window and overlap change only when whend is restarted");
        new->window_us = old->window_us;
        new->overlap_us = old->overlap_us;
    }
}

static bool same_model(const Config *a, const Config *b)
{
    return same(a->model_path, b->model_path) && same(a->model_lora, b->model_lora) &&
           same(a->model_dtype, b->model_dtype) && a->model_threads == b->model_threads &&
           same(a->model_kv, b->model_kv) &&
           a->model_max_answer_tokens == b->model_max_answer_tokens;
}

static void stop_camera(Daemon *daemon, Camera *camera, bool finish)
{
    archive_cancel(daemon, camera->config->name);
    supervisor_stop(daemon->supervisor, camera->worker, daemon->now_us);
    if (finish) /* what it has seen so far is all there will be of it */
        feed_set_watches(camera->feed, NULL, 0, daemon->now_us, NULL);
    camera_free(camera);
}

static Camera *start_camera(Daemon *daemon, const CameraConfig *config)
{
    Camera *camera = NULL;
    Error err = {0};
    if (camera_new(daemon, config, &camera, &err) < 0 ||
        settle_open_events(daemon, camera, &err) < 0)
        log_error("reload", "%s", err.text);
    if (camera && camera_start(daemon, camera) < 0)
        daemon_out_of_memory(daemon);
    return camera;
}

/* Takes the camera of this name out of the old list. */
static Camera *take_old(Daemon *daemon, const char *name)
{
    for (size_t i = 0; i < daemon->n_cameras; i++) {
        Camera *camera = daemon->cameras[i];
        if (camera && strcmp(camera->config->name, name) == 0) {
            daemon->cameras[i] = NULL;
            return camera;
        }
    }
    return NULL;
}

/* The camera's feed gets the daemon's watches. A file with other watches is read anew, for each
 * where it stands: its open events stay. */
static Camera *set_watches(Daemon *daemon, Camera *camera)
{
    const Config *config = &daemon->config;
    const CameraConfig *wanted = camera->config;
    Error err = {0};
    if (feed_has_watches(camera->feed, config->watches, config->n_watches))
        return camera;
    if (wanted->is_file) {
        stop_camera(daemon, camera, false);
        return start_camera(daemon, wanted);
    }
    if (feed_set_watches(camera->feed, config->watches, config->n_watches, daemon->now_us, &err) <
        0)
        log_error("reload", "camera=%s watches unchanged: %s", wanted->name, err.text);
    return camera;
}

static void register_or_log(Daemon *daemon)
{
    Error err = {0};
    if (register_watches(daemon, &err) < 0)
        log_error("reload", "watches: %s", err.text);
}

void reload_watches(Daemon *daemon, WatchConfig *watches, size_t n)
{
    Config *config = &daemon->config;
    for (size_t i = 0; i < config->n_watches; i++)
        watch_config_deinit(&config->watches[i]);
    free(config->watches);
    config->watches = watches;
    config->n_watches = n;
    daemon->feeds.first_hole = "the watches were changed";
    archive_cancel(daemon, NULL); /* it asks what was asked before */
    register_or_log(daemon);
    size_t kept = 0;
    for (size_t i = 0; i < daemon->n_cameras; i++) {
        Camera *camera = set_watches(daemon, daemon->cameras[i]);
        if (camera)
            daemon->cameras[kept++] = camera;
    }
    daemon->n_cameras = kept;
}

static void apply(Daemon *daemon, Config *config, Camera **cameras)
{
    Config old = daemon->config;
    Camera **old_cameras = daemon->cameras;
    size_t n_old = daemon->n_cameras, n = 0, kept = 0;
    daemon->config = *config;
    archive_cancel(daemon, NULL); /* it asks what was asked before */
    register_or_log(daemon);
    for (size_t i = 0; i < config->n_cameras; i++) {
        const CameraConfig *wanted = &daemon->config.cameras[i];
        Camera *camera = take_old(daemon, wanted->name);
        if (camera && camera_config_equal(camera->config, wanted)) {
            camera->config = wanted;
            kept += !wanted->is_file ||
                    feed_has_watches(camera->feed, config->watches, config->n_watches);
            camera = set_watches(daemon, camera);
        } else {
            if (camera)
                stop_camera(daemon, camera, true);
            camera = start_camera(daemon, wanted);
        }
        if (camera)
            cameras[n++] = camera;
    }
    for (size_t i = 0; i < n_old; i++)
        if (old_cameras[i])
            stop_camera(daemon, old_cameras[i], true);
    free(old_cameras);
    daemon->cameras = cameras;
    daemon->n_cameras = n;
    daemon->feeds.boundary_error_us = daemon->config.boundary_error_us;
    archive_set_hours(daemon, &daemon->config);
    if (!same_model(&old, &daemon->config)) {
        log_info("reload", "the model changed: the analyst is started again");
        supervisor_restart(daemon->supervisor, ANALYST_WORKER, daemon->now_us);
    }
    config_deinit(&old);
    log_info("reload", "cameras=%zu kept=%zu watches=%zu", n, kept, daemon->config.n_watches);
}

int reload_config(Daemon *daemon, Error *err)
{
    Config config = {0};
    int r = 0;
    if (committer_blocked(daemon->committer))
        r = error_set(err, EAGAIN, EX_TEMPFAIL,
                      "put off: %.300s (reload again when events can be stored)",
                      committer_reason(daemon->committer));
    if (r == 0)
        r = config_read(daemon->options.config_path, &config, err);
    if (r == 0)
        r = watches_merge(&config, daemon->index, err);
    Camera **cameras = r == 0 ? mem_new_array(config.n_cameras, sizeof(Camera *)) : NULL;
    if (r == 0 && !cameras)
        r = error_set(err, ENOMEM, EX_OSERR, "no memory");
    if (r < 0) {
        log_error("reload", "%s: nothing is changed", err->text);
        config_deinit(&config);
        return r;
    }
    keep_fixed(&daemon->config, &config);
    daemon->feeds.first_hole = "the camera's settings were changed";
    apply(daemon, &config, cameras);
    return 0;
}

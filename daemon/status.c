/* The daemon's state in message form. See status.h. */
#include "daemon/status.h"

#include "base/clock.h"
#include "base/mem.h"
#include "daemon/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_WORKERS = 2 * CONFIG_MAX_CAMERAS + 8 };

/* One thread, one response at a time: its parts are kept here and used again. */
static struct {
    When__WorkerStatus workers[MAX_WORKERS], *worker_list[MAX_WORKERS];
    When__CameraStatus cameras[CONFIG_MAX_CAMERAS], *camera_list[CONFIG_MAX_CAMERAS];
    char *watch_list[CONFIG_MAX_WATCHES];
} parts;

int status_fill(When__StatusResponse *response, void *context)
{
    Daemon *daemon = context;
    response->version = (char *)WHEN_VERSION;
    response->daemon_id = (char *)index_daemon_id(daemon->index);
    response->started_us = daemon->started_us;
    response->now_us = clock_utc_us();
    response->last_sequence = index_last_sequence(daemon->index);
    response->model = daemon->config.model_path;
    response->model_notice = daemon->analyst.notice;
    response->windows_waiting = scheduler_waiting(daemon->scheduler, NULL);
    response->windows_examined = scheduler_examined(daemon->scheduler);
    response->questions_asked = scheduler_questions(daemon->scheduler);
    response->bad_messages = daemon->bad_messages + service_bad_messages(daemon->service);
    response->state_dir = daemon->config.state_dir;

    size_t n = supervisor_count(daemon->supervisor);
    n = n < MAX_WORKERS ? n : MAX_WORKERS;
    for (size_t i = 0; i < n; i++) {
        const WorkerInfo *info = supervisor_at(daemon->supervisor, i);
        When__WorkerStatus *worker = &parts.workers[i];
        when__worker_status__init(worker);
        worker->name = (char *)info->name;
        worker->state = (char *)worker_state_name(info->state);
        worker->restarts = info->restarts;
        worker->reason = (char *)info->reason;
        worker->pid = info->pid;
        parts.worker_list[i] = worker;
    }
    response->n_workers = n;
    response->workers = parts.worker_list;

    for (size_t i = 0; i < daemon->n_cameras; i++)
        response->recording_bytes += daemon->cameras[i]->recording_bytes;
    for (size_t i = 0; i < daemon->config.n_watches; i++)
        parts.watch_list[i] = daemon->config.watches[i].name;
    response->n_watches = daemon->config.n_watches;
    response->watches = parts.watch_list;
    return 0;
}

static const char *utc_source_name(int source)
{
    switch (source) {
    case WHEN__UTC_SOURCE__UTC_SOURCE_RTCP:
        return "rtcp";
    case WHEN__UTC_SOURCE__UTC_SOURCE_FILE:
        return "file";
    case WHEN__UTC_SOURCE__UTC_SOURCE_NAME:
        return "name";
    case WHEN__UTC_SOURCE__UTC_SOURCE_CONFIG:
        return "config";
    case WHEN__UTC_SOURCE__UTC_SOURCE_ARRIVAL:
        return "arrival";
    default:
        return "";
    }
}

static void fill_camera(const Daemon *daemon, const Camera *camera, When__CameraStatus *status)
{
    FeedCounts counts = feed_counts(camera->feed);
    const WorkerInfo *worker = supervisor_by_name(daemon->supervisor, camera->worker);
    when__camera_status__init(status);
    status->name = (char *)camera->config->name;
    status->state = (char *)camera->state;
    status->reason = (char *)camera->reason;
    if (worker && worker->state == WORKER_FAILED) {
        status->state = (char *)worker_state_name(worker->state);
        status->reason = (char *)worker->reason;
    }
    status->fps_in = camera->fps_in;
    status->fps_out = camera->fps_out;
    status->frames = counts.frames;
    status->dropped = camera->worker_dropped + counts.dropped;
    status->reconnects = camera->reconnects;
    status->utc_source = (char *)utc_source_name(camera->utc_source);
    status->utc_err_us = camera->utc_err_us;
    status->last_frame_us = counts.last_utc_us;
    status->recording_bytes = camera->recording_bytes;
    if (counts.last_frame_at_us) {
        int64_t age_us = daemon->now_us - counts.last_frame_at_us;
        status->last_frame_age_us = age_us > 0 ? age_us : 1;
    }
    camera_counters_fill(&camera->counters, status);
    status->done = camera_done(camera);
}

int status_fill_cameras(When__CamerasResponse *response, void *context)
{
    Daemon *daemon = context;
    for (size_t i = 0; i < daemon->n_cameras; i++) {
        fill_camera(daemon, daemon->cameras[i], &parts.cameras[i]);
        parts.camera_list[i] = &parts.cameras[i];
    }
    response->n_cameras = daemon->n_cameras;
    response->cameras = parts.camera_list;
    return 0;
}

void status_line(const void *context, char *line, size_t bytes)
{
    const Daemon *daemon = context;
    if (committer_blocked(daemon->committer)) {
        snprintf(line, bytes, "cannot store events: %s", committer_reason(daemon->committer));
        return;
    }
    size_t running = 0;
    for (size_t i = 0; i < daemon->n_cameras; i++)
        running += strcmp(daemon->cameras[i]->state, "running") == 0;
    const WorkerInfo *analyst = supervisor_by_name(daemon->supervisor, ANALYST_WORKER);
    snprintf(line, bytes,
             "%zu of %zu cameras running, model %s, %zu windows wait, %" PRIu64
             " examined, last event revision %" PRIu64,
             running, daemon->n_cameras,
             daemon->analyst.loaded ? "loaded"
             : analyst              ? worker_state_name(analyst->state)
                                    : "not started",
             scheduler_waiting(daemon->scheduler, NULL), scheduler_examined(daemon->scheduler),
             index_last_sequence(daemon->index));
}

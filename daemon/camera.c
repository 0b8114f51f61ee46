/* One camera. See camera.h. */
#include "daemon/camera.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/credential.h"
#include "daemon/daemon.h"
#include "daemon/folder.h"
#include "daemon/recordings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A live camera that sends nothing for so long: what is buffered is examined, open events end. */
#define SILENCE_US (10 * US_PER_S)

/* Path, size and time of change: another file at the same place is another video. */
static int file_identity(const CameraConfig *config, char **identity)
{
    struct stat st;
    if (stat(config->url, &st) < 0)
        st = (struct stat){0}; /* its worker will say what is wrong */
    return asprintf(identity, "%jd %jd.%09ld %s", (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec,
                    st.st_mtim.tv_nsec, config->url) < 0
               ? -ENOMEM
               : 0;
}

int camera_new(Daemon *daemon, const CameraConfig *config, Camera **camera, Error *err)
{
    Camera *c = calloc(1, sizeof *c);
    char *identity = NULL;
    if (c && (!config->is_file || file_identity(config, &identity) == 0)) {
        c->config = config;
        snprintf(c->worker, sizeof c->worker, "camera/%s", config->name);
        snprintf(c->state, sizeof c->state, "starting");
        FeedOptions options = {.kind = config->is_file ? TASK_FILE : TASK_LIVE,
                               .camera = config->name,
                               .recorded = config->record || config->is_folder,
                               .identity = identity};
        c->feed = feed_new(&daemon->feeds, &options);
        free(identity);
    }
    if (!c || !c->feed) {
        camera_free(c);
        return error_set(err, ENOMEM, EX_OSERR, "camera %s: no memory", config->name);
    }
    int r = feed_set_watches(c->feed, daemon->config.watches, daemon->config.n_watches,
                             daemon->now_us, err);
    if (r < 0) {
        camera_free(c);
        return r;
    }
    *camera = c;
    return 0;
}

void camera_free(Camera *camera)
{
    if (!camera)
        return;
    feed_free(camera->feed);
    free(camera);
}

static int recording_dir(const Daemon *daemon, const CameraConfig *config, char **dir)
{
    return asprintf(dir, "%s/recordings/%s", daemon->config.state_dir, config->name) < 0 ? -ENOMEM
                                                                                         : 0;
}

static int reconcile(Daemon *daemon, const CameraConfig *config)
{
    char *dir;
    Error err = {0};
    if (recording_dir(daemon, config, &dir) < 0)
        return -ENOMEM;
    Batch *batch = batch_new();
    if (recordings_reconcile(daemon->index, config, dir, batch, &err) < 0)
        log_error("camera", "camera=%s recordings: %s", config->name, err.text);
    free(dir);
    return committer_add(daemon->committer, batch, daemon->now_us);
}

int camera_start(Daemon *daemon, Camera *camera)
{
    if (camera->config->record && reconcile(daemon, camera->config) < 0)
        return -ENOMEM;
    if (feed_complete(camera->feed)) {
        snprintf(camera->state, sizeof camera->state, "finished");
        log_info("camera", "camera=%s was examined to its end before", camera->config->name);
        return 0;
    }
    return daemon_start_worker(daemon, camera->worker, false, false);
}

void camera_setup_texts_deinit(CameraSetupTexts *texts)
{
    if (texts->password)
        explicit_bzero(texts->password, strlen(texts->password));
    free(texts->user);
    free(texts->password);
    free(texts->recording_dir);
    folder_known_deinit(&texts->known);
    *texts = (CameraSetupTexts){0};
}

int camera_fill_setup(Daemon *daemon, const CameraConfig *config, When__CameraSetup *setup,
                      CameraSetupTexts *texts, Error *err)
{
    if (config->credential) {
        Credential credential = {0};
        int r = credential_read(config->credential, &credential, err);
        if (r < 0) {
            error_prefix(err, "camera %s", config->name);
            return r;
        }
        texts->user = credential.user;
        texts->password = credential.password;
    }
    when__camera_setup__init(setup);
    if (texts->user)
        setup->user = texts->user;
    if (texts->password)
        setup->password = texts->password;
    setup->name = (char *)config->name;
    setup->url = config->url;
    if (config->transport)
        setup->transport = config->transport;
    setup->fps_min = config->fps_min;
    setup->fps_base = config->fps_base;
    setup->fps_max = config->fps_max;
    setup->start_utc_us = config->start_utc_us;
    setup->start_utc_err_us = config->start_utc_err_us;
    setup->cell_px = daemon->analyst.cell_px;
    setup->min_pixels = daemon->analyst.min_pixels;
    setup->max_pixels = daemon->analyst.max_pixels;
    setup->segment_us = config->segment_us;
    setup->keep_bytes = config->keep_bytes;
    setup->stall_us = config->stall_us;
    setup->retry_us = config->retry_us;
    setup->once = config->is_file;
    setup->tls_unchecked = !config->tls_verify;
    if (config->tls_ca)
        setup->tls_ca = config->tls_ca;
    if (config->time_zone)
        setup->time_zone = config->time_zone;
    camera_view_fill(&texts->view, config, setup);
    if (!config->record)
        return 0;
    if (recording_dir(daemon, config, &texts->recording_dir) < 0) {
        texts->recording_dir = NULL;
        return error_set(err, ENOMEM, EX_OSERR, "camera %s: no memory", config->name);
    }
    Error folder = {0};
    if (file_make_dir(texts->recording_dir, &folder) < 0)
        log_error("camera", "camera=%s is not recorded: %s", config->name, folder.text);
    else
        setup->recording_dir = texts->recording_dir;
    return 0;
}

uint32_t camera_credit(const Daemon *daemon, const CameraConfig *config, size_t held,
                       uint32_t credit)
{
    /* A window is cut when its rest is known: one second more than it is long. */
    double seconds = (double)(daemon->config.window_us + US_PER_S) / (double)US_PER_S;
    double frames = seconds * config->fps_max * CAMERA_FILE_WINDOWS + 8.0;
    size_t wanted = frames < 3000.0 ? (size_t)frames : 3000;
    if (held + credit >= wanted)
        return 0;
    size_t more = wanted - held - credit;
    /* Small change is not worth a message. */
    return credit > 0 && more < wanted / 8 ? 0 : (uint32_t)more;
}

static void give_credit(Daemon *daemon, Camera *camera)
{
    const WorkerInfo *worker = supervisor_by_name(daemon->supervisor, camera->worker);
    if (!camera->config->is_file || !camera->setup_sent || !worker)
        return;
    uint32_t more = camera_credit(daemon, camera->config, feed_held(camera->feed), camera->credit);
    if (more == 0)
        return;
    When__Credit credit = WHEN__CREDIT__INIT;
    credit.frames = more;
    When__ToWorker message = WHEN__TO_WORKER__INIT;
    message.body_case = WHEN__TO_WORKER__BODY_CREDIT;
    message.credit = &credit;
    if (daemon_send(daemon, worker->id, &message, NULL, 0) == 0)
        camera->credit += more;
}

void camera_setup(Daemon *daemon, Camera *camera)
{
    const WorkerInfo *worker = supervisor_by_name(daemon->supervisor, camera->worker);
    if (!worker || worker->state != WORKER_RUNNING || camera->setup_sent ||
        !daemon->analyst.limits_known)
        return;
    When__CameraSetup setup;
    CameraSetupTexts texts = {0};
    Error err = {0};
    int r = camera_fill_setup(daemon, camera->config, &setup, &texts, &err);
    if (r == 0 && camera->config->is_folder)
        r = folder_fill_setup(daemon, camera->config, &setup, &texts.known, &err);
    if (r == 0) {
        When__ToWorker message = WHEN__TO_WORKER__INIT;
        message.body_case = WHEN__TO_WORKER__BODY_CAMERA_SETUP;
        message.camera_setup = &setup;
        r = daemon_send(daemon, worker->id, &message, NULL, 0);
        camera->setup_sent = r == 0;
        camera->credit = 0;
    } else {
        /* It waits for its setup in vain: the next tick tries again (the credential may come). */
        if (strcmp(camera->reason, err.text) != 0)
            log_error("camera", "%s", err.text);
        snprintf(camera->state, sizeof camera->state, "failed");
        snprintf(camera->reason, sizeof camera->reason, "%s", err.text);
    }
    camera_setup_texts_deinit(&texts);
    give_credit(daemon, camera);
}

/* A file is its own recording: what nobody asked when it was read can be asked later. Its bytes are
 * none of what whend keeps. */
static void note_file(Daemon *daemon, Camera *camera)
{
    FeedClock clock = feed_clock(camera->feed);
    if (!camera->config->is_file || camera->file_noted || !clock.known || camera->duration_s <= 0 ||
        camera->duration_s > 1e9 || strlen(camera->config->url) >= sizeof((Recording *)0)->path)
        return;
    Recording recording = {.start_us = clock.utc_minus_pts_us,
                           .utc_err_us = clock.utc_err_us,
                           .utc_source = clock.utc_source};
    recording.end_us = recording.start_us + (int64_t)(camera->duration_s * 1e6);
    snprintf(recording.camera, sizeof recording.camera, "%s", camera->config->name);
    snprintf(recording.path, sizeof recording.path, "%s", camera->config->url);
    Batch *batch = batch_new();
    batch_recording(batch, &recording);
    if (committer_add(daemon->committer, batch, daemon->now_us) < 0)
        daemon_out_of_memory(daemon);
    camera->file_noted = true;
}

static bool take_health(Camera *camera, const When__CameraHealth *health)
{
    if (strcmp(camera->state, health->state) != 0)
        log_info("camera", "camera=%s state=%s%s%s", camera->config->name, health->state,
                 health->reason[0] ? " reason=" : "", health->reason);
    snprintf(camera->state, sizeof camera->state, "%s", health->state);
    if (health->reason[0])
        snprintf(camera->reason, sizeof camera->reason, "%s", health->reason);
    camera->worker_dropped = health->dropped;
    camera->reconnects = health->reconnects;
    camera_counters_take(&camera->counters, health);
    camera->utc_source = (int)health->utc_source;
    camera->utc_err_us = health->utc_err_us;
    camera->fps_in = health->fps_in;
    camera->fps_out = health->fps_out;
    camera->recording_bytes = health->recording_bytes;
    if (health->duration_s > 0)
        camera->duration_s = health->duration_s;
    if (health->recording_stopped && !camera->recording_stopped)
        log_error("camera", "camera=%s recording stopped (disk full?): frames go on",
                  camera->config->name);
    camera->recording_stopped = health->recording_stopped;
    return true;
}

static bool take_end(Daemon *daemon, Camera *camera, const When__CameraEnd *end)
{
    if (end->duration_s > 0)
        camera->duration_s = end->duration_s;
    if (end->failed) {
        snprintf(camera->state, sizeof camera->state, "failed");
        snprintf(camera->reason, sizeof camera->reason, "%s", end->reason);
        supervisor_explain(daemon->supervisor, camera->worker, end->reason);
    } else {
        snprintf(camera->state, sizeof camera->state, "finished");
        supervisor_finished(daemon->supervisor, camera->worker);
        log_info("camera", "camera=%s was read to its end", camera->config->name);
    }
    note_file(daemon, camera);
    feed_end(camera->feed, !end->failed && camera->config->is_file, daemon->now_us);
    return true;
}

bool camera_recording(Daemon *daemon, const char *camera, const When__RecordingClosed *closed)
{
    Recording recording = {.start_us = closed->start_us,
                           .end_us = closed->end_us,
                           .utc_err_us = closed->utc_err_us,
                           .utc_source = (int)closed->utc_source,
                           .bytes = closed->bytes < INT64_MAX ? (int64_t)closed->bytes : 0};
    Batch *batch = batch_new();
    bool good = true;
    if (closed->path[0]) {
        good = strlen(camera) < sizeof recording.camera &&
               strlen(closed->path) < sizeof recording.path && closed->start_us < closed->end_us;
        snprintf(recording.camera, sizeof recording.camera, "%s", camera);
        snprintf(recording.path, sizeof recording.path, "%s", closed->path);
        const Camera *from = daemon_camera(daemon, camera);
        if (good)
            batch_recording(batch, &recording);
        if (good && from && from->config->is_folder)
            folder_wait(daemon, &recording, batch);
    }
    for (size_t i = 0; i < closed->n_removed; i++)
        batch_remove_recording(batch, closed->removed[i]);
    if (committer_add(daemon->committer, batch, daemon->now_us) < 0)
        daemon_out_of_memory(daemon);
    return good;
}

bool camera_message(Daemon *daemon, Camera *camera, const When__FromWorker *message,
                    zmq_msg_t *pixels, size_t n_pixels)
{
    switch (message->body_case) {
    case WHEN__FROM_WORKER__BODY_CAMERA_HELLO:
        supervisor_hello(daemon->supervisor, camera->worker);
        /* Only now is it sure that the one before has said its last word. */
        if (camera->interrupted)
            feed_interrupted(camera->feed, camera->reason, daemon->now_us);
        camera->interrupted = false;
        camera->setup_sent = false;
        camera_setup(daemon, camera);
        return true;
    case WHEN__FROM_WORKER__BODY_FRAME: {
        if (n_pixels != 1)
            return false;
        if (camera->credit > 0)
            camera->credit--;
        int r = feed_frame(camera->feed, message->frame, &pixels[0], daemon->now_us);
        if (r < 0)
            daemon_out_of_memory(daemon);
        give_credit(daemon, camera);
        return r == 0;
    }
    case WHEN__FROM_WORKER__BODY_HEALTH:
        return take_health(camera, message->health);
    case WHEN__FROM_WORKER__BODY_CORRECTION:
        feed_correct(camera->feed, message->correction);
        return true;
    case WHEN__FROM_WORKER__BODY_END:
        return take_end(daemon, camera, message->end);
    default:
        return false;
    }
}

void camera_gone(Daemon *daemon, Camera *camera, const WorkerEnd *end)
{
    (void)daemon;
    camera->setup_sent = false;
    camera->credit = 0;
    camera->fps_in = camera->fps_out = 0.0;
    if (end->reason[0] && !end->asked)
        snprintf(camera->reason, sizeof camera->reason, "%s", end->reason);
    if (end->restarts) {
        snprintf(camera->state, sizeof camera->state, "starting");
        camera->interrupted = true;
    }
}

void camera_tick(Daemon *daemon, Camera *camera)
{
    camera_setup(daemon, camera);
    give_credit(daemon, camera);
    note_file(daemon, camera);
    if (!camera->config->is_file && feed_silent(camera->feed, daemon->now_us, SILENCE_US)) {
        log_debug("camera", "camera=%s sends nothing: what it sent is examined",
                  camera->config->name);
        feed_end(camera->feed, false, daemon->now_us);
    }
}

void camera_publish_progress(Daemon *daemon, Camera *camera, bool anyway)
{
    FeedCounts counts = feed_counts(camera->feed);
    if (!anyway && memcmp(&counts, &camera->published, sizeof counts) == 0)
        return;
    camera->published = counts;
    When__Progress progress = WHEN__PROGRESS__INIT;
    progress.camera = (char *)camera->config->name;
    progress.utc_us = camera->config->is_file ? counts.examined_us : counts.last_utc_us;
    progress.frames = counts.frames;
    progress.windows = counts.windows;
    progress.questions = counts.questions;
    progress.waiting_windows = scheduler_waiting(daemon->scheduler, camera->feed);
    progress.done = camera_done(camera);
    publisher_progress(daemon->publisher, &progress);
}

double camera_done(const Camera *camera)
{
    if (!camera->config->is_file)
        return 0.0;
    if (feed_complete(camera->feed))
        return 1.0;
    double seconds = (double)feed_counts(camera->feed).settled_pts_us / (double)US_PER_S;
    double done = camera->duration_s > 0 ? seconds / camera->duration_s : 0.0;
    return done < 0.0 ? 0.0 : done > 1.0 ? 1.0 : done;
}

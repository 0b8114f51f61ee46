/* Clips and thumbnails. See media.h. */
#include "daemon/media.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEEP_US      (60 * US_PER_S)  /* a clip nobody asks for any more */
#define PATIENCE_US  (120 * US_PER_S) /* for its making */
#define SWEEP_US     (600 * US_PER_S)
#define LONGEST_US   (3600 * US_PER_S)
#define THUMBNAIL_US (20 * US_PER_S) /* of a long event this much is looked at */

enum { MAX_FILES = 512, DEFAULT_CELL_PX = 28, DEFAULT_MAX_PIXELS = 602112 };

static const char PREFIX[] = "media/";

typedef enum JobState { JOB_FREE, JOB_QUEUED, JOB_RUNNING, JOB_READY } JobState;

typedef struct Job {
    JobState state;
    uint64_t id;
    bool thumbnail;
    ServiceClient client;
    Event event;
    int64_t from_us, to_us;
    char *path;
    int64_t begun_us, used_us; /* monotonic */
    uint64_t bytes;
    int64_t start_us, end_us;
    char notice[200];
} Job;

struct Media {
    char *dir, *thumbnails;
    Job jobs[MEDIA_MAX_JOBS];
    uint64_t next_id;
    int64_t sweep_due_us;
};

static void remove_files(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

int media_open(Daemon *daemon, Media **media, Error *err)
{
    Media *m = calloc(1, sizeof *m);
    if (!m || !(m->dir = file_join(daemon->config.state_dir, "media")) ||
        !(m->thumbnails = file_join(daemon->config.state_dir, "thumbnails"))) {
        media_free(m);
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    }
    m->next_id = 1;
    m->sweep_due_us = daemon->now_us;
    remove_files(m->dir);
    *media = m;
    return 0;
}

static void forget(Job *job)
{
    if (job->state != JOB_FREE && !job->thumbnail && job->path)
        unlink(job->path);
    free(job->path);
    *job = (Job){0};
}

void media_free(Media *media)
{
    if (!media)
        return;
    for (size_t i = 0; i < MEDIA_MAX_JOBS; i++)
        forget(&media->jobs[i]);
    free(media->dir);
    free(media->thumbnails);
    free(media);
}

/* --- answers --- */

static void answer_error(Daemon *daemon, const ServiceClient *client, int exit_code,
                         const char *text)
{
    When__ErrorResponse body = WHEN__ERROR_RESPONSE__INIT;
    body.exit_code = exit_code ? exit_code : EX_SOFTWARE;
    body.text = (char *)text;
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_ERROR;
    response.error = &body;
    if (service_respond(daemon->service, client, true, &response) < 0)
        log_debug("media", "a client did not take its answer");
}

/* The piece of a job's file from `offset` on. */
static void answer_piece(Daemon *daemon, Job *job, const ServiceClient *client, uint64_t offset)
{
    static uint8_t piece[MEDIA_PIECE_BYTES]; /* one thread */
    _cleanup_close_ int fd = open(job->path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? pread(fd, piece, sizeof piece, (off_t)offset) : -1;
    if (n < 0) {
        char text[200];
        snprintf(text, sizeof text, "the %s cannot be read: %s",
                 job->thumbnail ? "thumbnail" : "clip", strerror(errno));
        answer_error(daemon, client, EX_IOERR, text);
        return;
    }
    When__MediaResponse body = WHEN__MEDIA_RESPONSE__INIT;
    body.data = (ProtobufCBinaryData){(size_t)n, piece};
    body.offset = offset;
    body.total_bytes = job->bytes;
    body.start_us = job->start_us;
    body.end_us = job->end_us;
    body.event_offset_us = job->event.start_us - job->start_us;
    body.media_type = job->thumbnail ? "image/jpeg" : "video/mp4";
    body.notice = job->notice;
    body.media_id = job->id;
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_MEDIA;
    response.media = &body;
    if (service_respond(daemon->service, client, true, &response) < 0)
        log_debug("media", "a client did not take its answer");
    job->used_us = daemon->now_us;
    if (offset + (uint64_t)n >= job->bytes) /* it has all of it */
        forget(job);
}

/* --- jobs --- */

static Job *by_id(Media *m, uint64_t id)
{
    for (size_t i = 0; i < MEDIA_MAX_JOBS; i++)
        if (m->jobs[i].state != JOB_FREE && m->jobs[i].id == id)
            return &m->jobs[i];
    return NULL;
}

static Job *by_name(Media *m, const char *name)
{
    return by_id(m, strtoull(name + sizeof PREFIX - 1, NULL, 16));
}

static void name_of(const Job *job, char name[WORKER_NAME_BYTES])
{
    snprintf(name, WORKER_NAME_BYTES, "%s%" PRIx64, PREFIX, job->id);
}

static void fail(Daemon *daemon, Job *job, int exit_code, const char *text)
{
    answer_error(daemon, &job->client, exit_code, text);
    if (job->path)
        unlink(job->path);
    forget(job);
}

static bool is_ready(Job *job)
{
    struct stat st;
    if (stat(job->path, &st) < 0 || st.st_size <= 0)
        return false;
    job->bytes = (uint64_t)st.st_size;
    job->state = JOB_READY;
    return true;
}

/* An event's id as a file's name: ours are letters, digits and '-'. */
static bool is_file_name(const char *id)
{
    return id[0] && strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(id);
}

static int set_path(Media *m, Job *job)
{
    char name[EVENT_NAME_BYTES + 16];
    if (job->thumbnail)
        snprintf(name, sizeof name, "%.60s.jpg", job->event.id);
    else
        snprintf(name, sizeof name, "%" PRIx64 ".mp4", job->id);
    job->path = file_join(job->thumbnail ? m->thumbnails : m->dir, name);
    return job->path ? 0 : -ENOMEM;
}

static void start(Daemon *daemon, Job *job)
{
    char name[WORKER_NAME_BYTES];
    Error err = {0};
    name_of(job, name);
    job->begun_us = daemon->now_us;
    job->state = JOB_RUNNING;
    const char *dir = job->thumbnail ? daemon->media->thumbnails : daemon->media->dir;
    if (file_make_dir(dir, &err) < 0)
        fail(daemon, job, err.exit_code, err.text);
    else if (daemon_start_worker(daemon, name, false, true) < 0)
        daemon_out_of_memory(daemon);
}

/* --- requests --- */

static int take_event(const Event *event, void *context)
{
    *(Event *)context = *event;
    return 0;
}

static Job *new_job(Daemon *daemon, const ServiceClient *client)
{
    Media *m = daemon->media;
    for (size_t i = 0; i < MEDIA_MAX_JOBS; i++) {
        if (m->jobs[i].state != JOB_FREE)
            continue;
        m->jobs[i] = (Job){
            .state = JOB_QUEUED, .id = m->next_id++, .client = *client, .used_us = daemon->now_us};
        return &m->jobs[i];
    }
    return NULL;
}

static void begin(Daemon *daemon, const ServiceClient *client, const char *event_id, bool thumbnail,
                  int64_t before_us, int64_t after_us)
{
    Event event = {0};
    Error err = {0};
    if (before_us < 0 || after_us < 0 || before_us > LONGEST_US || after_us > LONGEST_US) {
        answer_error(daemon, client, EX_DATAERR, "before and after: 0 to 1 h");
        return;
    }
    if (is_file_name(event_id) && strlen(event_id) < sizeof event.id &&
        index_event(daemon->index, event_id, take_event, &event, &err) < 0) {
        answer_error(daemon, client, err.exit_code, err.text);
        return;
    }
    if (!event.id[0]) {
        answer_error(daemon, client, EX_NOINPUT,
                     "there is no such event (whenctl events lists them with their ids)");
        return;
    }
    if (!daemon_camera(daemon, event.camera)) {
        answer_error(daemon, client, EX_NOINPUT, "its camera is not in whend.yaml any more");
        return;
    }
    Job *job = new_job(daemon, client);
    if (!job) {
        answer_error(daemon, client, EX_TEMPFAIL, "too many clips at the same time: try again");
        return;
    }
    job->event = event;
    job->thumbnail = thumbnail;
    job->from_us = event.start_us - before_us;
    job->to_us = event.end_us + after_us;
    int64_t longest_us = thumbnail ? THUMBNAIL_US : LONGEST_US;
    if (job->to_us - job->from_us > longest_us) {
        job->to_us = job->from_us + longest_us;
        if (!thumbnail)
            snprintf(job->notice, sizeof job->notice, "a clip has an hour at most");
    }
    if (set_path(daemon->media, job) < 0)
        daemon_out_of_memory(daemon);
    else if (thumbnail && is_ready(job))
        answer_piece(daemon, job, client, 0);
}

void media_request(const ServiceClient *client, const When__Request *request, void *context)
{
    Daemon *daemon = context;
    if (request->body_case == WHEN__REQUEST__BODY_THUMBNAIL) {
        begin(daemon, client, request->thumbnail->event_id, true, 0, 0);
        return;
    }
    const When__ClipRequest *clip = request->clip;
    if (clip->media_id == 0) {
        begin(daemon, client, clip->event_id, false, clip->before_us, clip->after_us);
        return;
    }
    Job *job = by_id(daemon->media, clip->media_id);
    if (!job || job->state != JOB_READY || clip->offset > job->bytes)
        answer_error(daemon, client, EX_NOINPUT, "that clip is gone: ask for it anew");
    else
        answer_piece(daemon, job, client, clip->offset);
}

/* --- workers --- */

bool media_is_worker(const char *name)
{
    return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0;
}

typedef struct Files {
    Recording *files; /* [MAX_FILES] */
    size_t n;
} Files;

static int add_file(const Recording *recording, void *context)
{
    Files *f = context;
    if (f->n < MAX_FILES)
        f->files[f->n++] = *recording;
    return 0;
}

static void send_setup(Daemon *daemon, Job *job, const Camera *camera, Files *files,
                       When__CameraSetup *setup)
{
    char name[WORKER_NAME_BYTES];
    name_of(job, name);
    const WorkerInfo *worker = supervisor_by_name(daemon->supervisor, name);
    When__RecordingFile *parts = mem_new_array(files->n, sizeof *parts);
    When__RecordingFile **list = mem_new_array(files->n, sizeof *list);
    if (!parts || !list || !worker) {
        fail(daemon, job, EX_OSERR, "no memory, or no worker");
    } else {
        for (size_t i = 0; i < files->n; i++) {
            when__recording_file__init(&parts[i]);
            parts[i].path = files->files[i].path;
            parts[i].start_us = files->files[i].start_us;
            parts[i].start_err_us = files->files[i].utc_err_us;
            parts[i].end_us = files->files[i].end_us;
            parts[i].utc_source = (When__UtcSource)files->files[i].utc_source;
            list[i] = &parts[i];
        }
        When__MediaJob media = WHEN__MEDIA_JOB__INIT;
        media.out_path = job->path;
        media.thumbnail = job->thumbnail;
        /* It reads files: no secret and no recording of its own. */
        setup->user = setup->password = setup->recording_dir = (char *)protobuf_c_empty_string;
        setup->span_start_us = job->from_us;
        setup->span_end_us = job->to_us;
        setup->files = list;
        setup->n_files = files->n;
        setup->media = &media;
        setup->gate = NULL;
        if (setup->cell_px == 0) { /* no model was loaded yet */
            setup->cell_px = DEFAULT_CELL_PX;
            setup->max_pixels = DEFAULT_MAX_PIXELS;
        }
        if (camera->config->is_file && setup->start_utc_us == 0)
            feed_file_start(camera->feed, &setup->start_utc_us, &setup->start_utc_err_us);
        When__ToWorker message = WHEN__TO_WORKER__INIT;
        message.body_case = WHEN__TO_WORKER__BODY_CAMERA_SETUP;
        message.camera_setup = setup;
        daemon_send(daemon, worker->id, &message, NULL, 0);
    }
    free(parts);
    free(list);
}

static void set_up(Daemon *daemon, Job *job)
{
    const Camera *camera = daemon_camera(daemon, job->event.camera);
    Files files = {.files = mem_new_array(MAX_FILES, sizeof *files.files)};
    _cleanup_free_ Recording *recordings = files.files;
    When__CameraSetup setup;
    CameraSetupTexts texts = {0};
    Error err = {0};
    int r = camera && files.files
                ? 0
                : error_set(&err, ENOENT, EX_NOINPUT, "its camera is not in whend.yaml any more");
    if (r == 0 && !camera->config->is_file)
        r = index_recordings(daemon->index, job->event.camera, job->from_us, job->to_us, add_file,
                             &files, &err);
    if (r >= 0 && !camera->config->is_file && files.n == 0)
        r = error_set(&err, ENOENT, EX_UNAVAILABLE,
                      "no recording of it: not recorded, deleted to make room, or not closed yet");
    if (r >= 0)
        r = camera_fill_setup(daemon, camera->config, &setup, &texts, &err);
    if (r >= 0) {
        send_setup(daemon, job, camera, &files, &setup);
    } else {
        char name[WORKER_NAME_BYTES];
        name_of(job, name);
        fail(daemon, job, err.exit_code, err.text);
        supervisor_stop(daemon->supervisor, name, daemon->now_us);
    }
    camera_setup_texts_deinit(&texts);
}

bool media_message(Daemon *daemon, const char *name, const When__FromWorker *message)
{
    Job *job = by_name(daemon->media, name);
    switch (message->body_case) {
    case WHEN__FROM_WORKER__BODY_CAMERA_HELLO:
        supervisor_hello(daemon->supervisor, name);
        if (job && job->state == JOB_RUNNING)
            set_up(daemon, job);
        else
            supervisor_stop(daemon->supervisor, name, daemon->now_us);
        return true;
    case WHEN__FROM_WORKER__BODY_MEDIA_DONE: {
        const When__MediaDone *done = message->media_done;
        if (!job || job->state != JOB_RUNNING)
            return true; /* nobody waits for it any more */
        if (done->failed || !is_ready(job)) {
            fail(daemon, job, done->exit_code, done->reason);
            return true;
        }
        job->start_us = done->start_us;
        job->end_us = done->end_us;
        if (done->reason[0])
            snprintf(job->notice, sizeof job->notice, "%s", done->reason);
        answer_piece(daemon, job, &job->client, 0);
        return true;
    }
    case WHEN__FROM_WORKER__BODY_HEALTH:
    case WHEN__FROM_WORKER__BODY_END:
        return true;
    default:
        return false;
    }
}

void media_gone(Daemon *daemon, const WorkerEnd *end)
{
    Job *job = by_name(daemon->media, end->name);
    if (job && job->state == JOB_RUNNING)
        fail(daemon, job, EX_SOFTWARE,
             end->reason[0] ? end->reason : "its worker ended without a word: see whend's log");
}

/* --- time --- */

/* Thumbnails whose event is gone. */
static void sweep(Daemon *daemon)
{
    Media *m = daemon->media;
    m->sweep_due_us = daemon->now_us + SWEEP_US;
    DIR *d = opendir(m->thumbnails);
    for (struct dirent *e; d && (e = readdir(d));) {
        char id[sizeof(((Event *)0)->id)];
        const char *end = strstr(e->d_name, ".jpg");
        if (!end || (size_t)(end - e->d_name) >= sizeof id)
            continue;
        snprintf(id, sizeof id, "%.*s", (int)(end - e->d_name), e->d_name);
        Event event = {0};
        Error err = {0};
        if (index_event(daemon->index, id, take_event, &event, &err) == 0 && !event.id[0])
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
}

void media_tick(Daemon *daemon)
{
    Media *m = daemon->media;
    int64_t now = daemon->now_us;
    size_t running = 0;
    for (size_t i = 0; i < MEDIA_MAX_JOBS; i++)
        running += m->jobs[i].state == JOB_RUNNING;
    for (size_t i = 0; i < MEDIA_MAX_JOBS; i++) {
        Job *job = &m->jobs[i];
        if (job->state == JOB_QUEUED && running < MEDIA_MAX_WORKERS) {
            running++;
            start(daemon, job);
        } else if (job->state == JOB_RUNNING && now - job->begun_us > PATIENCE_US) {
            char name[WORKER_NAME_BYTES];
            name_of(job, name);
            fail(daemon, job, EX_TEMPFAIL, "it took too long: the disk hangs, or the span is long");
            supervisor_stop(daemon->supervisor, name, now);
        } else if (job->state == JOB_READY && now - job->used_us > KEEP_US) {
            forget(job);
        }
    }
    if (now >= m->sweep_due_us)
        sweep(daemon);
}

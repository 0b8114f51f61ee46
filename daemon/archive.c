/* Waiting spans, examined from recordings. See archive.h. */
#include "daemon/archive.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/watch.h"
#include "daemon/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_US       (5 * US_PER_S)   /* between looks for work */
#define RETRY_US      (30 * US_PER_S)  /* after a job that failed */
#define MAX_SPAN_US   (600 * US_PER_S) /* of one job */
#define LAST_WORDS_US (2 * US_PER_S)   /* messages may come after the exit was seen */
#define STUCK_US      (120 * US_PER_S)

enum { MAX_FAILURES = 3, MAX_FILES = 64, MAX_SPANS = 10000 };

/* --- what to do next --- */

typedef struct Spans {
    LedgerSpan *spans; /* [n] */
    size_t n, capacity;
} Spans;

static int add_span(const LedgerSpan *span, void *context)
{
    Spans *s = context;
    void *spans = s->spans;
    int r = mem_grow(&spans, &s->capacity, s->n + 1, sizeof *span);
    s->spans = spans;
    if (r == 0)
        s->spans[s->n++] = *span;
    return r;
}

static int newest_first(const void *a, const void *b)
{
    const LedgerSpan *x = a, *y = b;
    return x->end_us < y->end_us ? 1 : x->end_us > y->end_us ? -1 : 0;
}

typedef struct Files {
    Recording *files; /* [MAX_FILES] */
    size_t n;
    int64_t start_us, end_us; /* the stretch that is asked about */
    int64_t known_until_us;   /* end of the newest recording at or after its start */
} Files;

static int add_file(const Recording *recording, void *context)
{
    Files *f = context;
    if (recording->end_us > f->known_until_us)
        f->known_until_us = recording->end_us;
    if (f->files && recording->start_us < f->end_us && f->n < MAX_FILES)
        f->files[f->n++] = *recording;
    return 0;
}

static void mark_lost(Daemon *daemon, const char *camera, int64_t start_us, int64_t end_us,
                      const char *reason)
{
    IndexFilter filter = {.cameras = &camera,
                          .n_cameras = 1,
                          .since_us = start_us,
                          .until_us = end_us,
                          .limit = MAX_SPANS};
    Spans waiting = {0};
    Error err = {0};
    int r = index_ledger_spans(daemon->index, &filter, SPAN_WAITING, add_span, &waiting, &err);
    if (r < 0)
        log_error("archive", "ledger: %s", err.text);
    Batch *batch = batch_new();
    for (size_t i = 0; i < waiting.n; i++) {
        LedgerSpan *span = &waiting.spans[i];
        span->state = SPAN_LOST;
        span->start_us = span->start_us > start_us ? span->start_us : start_us;
        span->end_us = span->end_us < end_us ? span->end_us : end_us;
        snprintf(span->reason, sizeof span->reason, "%s", reason);
        batch_span(batch, span);
    }
    free(waiting.spans);
    if (committer_add(daemon->committer, batch, daemon->now_us) < 0)
        daemon_out_of_memory(daemon);
}

static int start_job(Daemon *daemon, const CameraConfig *config, int64_t start_us, int64_t end_us)
{
    Archive *archive = &daemon->archive;
    FeedOptions options = {.kind = TASK_ARCHIVE,
                           .camera = config->name,
                           .recorded = true,
                           .span_start_us = start_us,
                           .span_end_us = end_us};
    Error err = {0};
    Feed *feed = feed_new(&daemon->feeds, &options);
    if (!feed || feed_set_watches(feed, daemon->config.watches, daemon->config.n_watches,
                                  daemon->now_us, &err) < 0) {
        feed_free(feed);
        return -ENOMEM;
    }
    archive->feed = feed;
    snprintf(archive->camera, sizeof archive->camera, "%s", config->name);
    snprintf(archive->worker, sizeof archive->worker, "archive/%s", config->name);
    archive->start_us = start_us;
    archive->end_us = end_us;
    archive->credit = 0;
    archive->setup_sent = archive->heard_end = archive->gone = archive->failed = false;
    archive->reason[0] = '\0';
    char from[CLOCK_UTC_TEXT_BYTES];
    clock_format_utc(start_us, from);
    log_info("archive", "camera=%s from=%s seconds=%.1f is examined from recordings", config->name,
             from, (double)(end_us - start_us) / (double)US_PER_S);
    int r = daemon_start_worker(daemon, archive->worker, false, true);
    const WorkerInfo *worker = supervisor_by_name(daemon->supervisor, archive->worker);
    /* Kept, because its last words may come when the supervisor has forgotten it. */
    snprintf(archive->id, sizeof archive->id, "%s", worker ? worker->id : "");
    return r;
}

static bool is_watched(const Daemon *daemon, const LedgerSpan *span)
{
    for (size_t i = 0; i < daemon->config.n_watches; i++)
        if (strcmp(daemon->config.watches[i].name, span->watch) == 0 &&
            watch_config_covers(&daemon->config.watches[i], span->camera))
            return true;
    return false;
}

/* Starts a job for this waiting span or finds it lost. false: nothing can be done about it now. */
static bool try_span(Daemon *daemon, const LedgerSpan *span)
{
    const Camera *camera = daemon_camera(daemon, span->camera);
    if (!camera || !is_watched(daemon, span))
        return false;
    Files files = {.start_us = span->start_us, .end_us = span->end_us};
    Error err = {0};
    if (index_recordings(daemon->index, span->camera, span->start_us, INT64_MAX, add_file, &files,
                         &err) < 0) {
        log_error("archive", "recordings: %s", err.text);
        return false;
    }
    int64_t end = span->end_us < files.known_until_us ? span->end_us : files.known_until_us;
    if (end <= span->start_us) {
        if (camera->config->record)
            return false; /* the file that has it may still be open */
        mark_lost(daemon, span->camera, span->start_us, span->end_us, "not recorded");
        return true;
    }
    int64_t start = end - span->start_us > MAX_SPAN_US ? end - MAX_SPAN_US : span->start_us;

    files = (Files){
        .files = mem_new_array(MAX_FILES, sizeof *files.files), .start_us = start, .end_us = end};
    int r = files.files
                ? index_recordings(daemon->index, span->camera, start, end, add_file, &files, &err)
                : -ENOMEM;
    size_t n = files.n;
    free(files.files);
    if (r < 0)
        return false;
    if (n == 0) {
        mark_lost(daemon, span->camera, start, end, "no recording of it");
        return true;
    }
    if (start_job(daemon, camera->config, start, end) < 0)
        daemon_out_of_memory(daemon);
    return true;
}

static void look_for_work(Daemon *daemon)
{
    IndexFilter all = {.limit = MAX_SPANS};
    Spans waiting = {0};
    Error err = {0};
    if (index_ledger_spans(daemon->index, &all, SPAN_WAITING, add_span, &waiting, &err) < 0)
        log_error("archive", "ledger: %s", err.text);
    if (waiting.n > 0)
        qsort(waiting.spans, waiting.n, sizeof *waiting.spans, newest_first);
    bool done = false;
    for (size_t i = 0; i < waiting.n && !done; i++)
        done = try_span(daemon, &waiting.spans[i]);
    free(waiting.spans);
    daemon->archive.due_us = daemon->now_us + (done ? 0 : LOOK_US);
}

/* --- the job --- */

static bool send_to(Daemon *daemon, When__ToWorker *message)
{
    const WorkerInfo *worker = supervisor_by_name(daemon->supervisor, daemon->archive.worker);
    return worker && daemon_send(daemon, worker->id, message, NULL, 0) == 0;
}

static void give_credit(Daemon *daemon)
{
    Archive *archive = &daemon->archive;
    const Camera *camera = daemon_camera(daemon, archive->camera);
    uint32_t more =
        camera_credit(daemon, camera->config, feed_held(archive->feed), archive->credit);
    if (more == 0)
        return;
    When__Credit credit = WHEN__CREDIT__INIT;
    credit.frames = more;
    When__ToWorker message = WHEN__TO_WORKER__INIT;
    message.body_case = WHEN__TO_WORKER__BODY_CREDIT;
    message.credit = &credit;
    if (send_to(daemon, &message))
        archive->credit += more;
}

static void fill_file(const Recording *from, When__RecordingFile *to)
{
    when__recording_file__init(to);
    to->path = (char *)from->path;
    to->start_us = from->start_us;
    to->start_err_us = from->utc_err_us;
    to->end_us = from->end_us;
    to->utc_source = (When__UtcSource)from->utc_source;
}

void archive_setup(Daemon *daemon)
{
    Archive *archive = &daemon->archive;
    const Camera *camera = daemon_camera(daemon, archive->camera);
    Files files = {.files = mem_new_array(MAX_FILES, sizeof *files.files),
                   .start_us = archive->start_us,
                   .end_us = archive->end_us};
    _cleanup_free_ Recording *recordings = files.files;
    When__RecordingFile parts[MAX_FILES], *list[MAX_FILES];
    When__CameraSetup setup;
    CameraSetupTexts texts = {0};
    Error err = {0};
    int r = files.files && camera
                ? index_recordings(daemon->index, archive->camera, archive->start_us,
                                   archive->end_us, add_file, &files, &err)
                : -ENOMEM;
    if (r >= 0)
        r = camera_fill_setup(daemon, camera->config, &setup, &texts, &err);
    if (r == 0) {
        for (size_t i = 0; i < files.n; i++) {
            fill_file(&recordings[i], &parts[i]);
            list[i] = &parts[i];
        }
        /* It reads files: no secret and no recording of its own. */
        setup.user = setup.password = setup.recording_dir = (char *)protobuf_c_empty_string;
        setup.span_start_us = archive->start_us;
        setup.span_end_us = archive->end_us;
        setup.n_files = files.n;
        setup.files = list;
        When__ToWorker message = WHEN__TO_WORKER__INIT;
        message.body_case = WHEN__TO_WORKER__BODY_CAMERA_SETUP;
        message.camera_setup = &setup;
        archive->setup_sent = send_to(daemon, &message);
    } else {
        log_error("archive", "camera=%s: %s", archive->camera, err.text);
        supervisor_stop(daemon->supervisor, archive->worker, daemon->now_us);
    }
    camera_setup_texts_deinit(&texts);
    if (archive->setup_sent)
        give_credit(daemon);
}

bool archive_message(Daemon *daemon, const When__FromWorker *message, zmq_msg_t *pixels,
                     size_t n_pixels)
{
    Archive *archive = &daemon->archive;
    if (!archive->feed)
        return false;
    switch (message->body_case) {
    case WHEN__FROM_WORKER__BODY_CAMERA_HELLO:
        supervisor_hello(daemon->supervisor, archive->worker);
        archive_setup(daemon);
        return true;
    case WHEN__FROM_WORKER__BODY_FRAME: {
        if (n_pixels != 1)
            return false;
        if (archive->credit > 0)
            archive->credit--;
        int r = feed_frame(archive->feed, message->frame, &pixels[0], daemon->now_us);
        if (r < 0)
            daemon_out_of_memory(daemon);
        give_credit(daemon);
        return r == 0;
    }
    case WHEN__FROM_WORKER__BODY_END:
        archive->heard_end = true;
        archive->failed = message->end->failed;
        snprintf(archive->reason, sizeof archive->reason, "%s", message->end->reason);
        return true;
    case WHEN__FROM_WORKER__BODY_HEALTH:
        return true;
    default:
        return false;
    }
}

void archive_gone(Daemon *daemon, const WorkerEnd *end)
{
    Archive *archive = &daemon->archive;
    if (!archive->feed || strcmp(archive->worker, end->name) != 0)
        return;
    archive->gone = true;
    archive->gone_us = daemon->now_us;
    if (end->exit_code != 0 && !archive->heard_end) {
        archive->failed = true;
        snprintf(archive->reason, sizeof archive->reason, "%s", end->reason);
    }
}

static void forget_job(Archive *archive)
{
    feed_free(archive->feed);
    archive->feed = NULL;
}

/* All that came is examined: what still waits of the span is in no recording, or unreadable. */
static void conclude(Daemon *daemon)
{
    Archive *archive = &daemon->archive;
    bool failed = archive->failed || !archive->heard_end;
    forget_job(archive);
    archive->due_us = daemon->now_us;
    if (!failed) {
        mark_lost(daemon, archive->camera, archive->start_us, archive->end_us,
                  "no recording of it");
        return;
    }
    archive->failures = archive->failed_end_us == archive->end_us ? archive->failures + 1 : 1;
    archive->failed_end_us = archive->end_us;
    log_warn("archive", "camera=%s failures=%u reason=\"%s\"", archive->camera, archive->failures,
             archive->reason);
    if (archive->failures >= MAX_FAILURES) {
        char reason[160];
        snprintf(reason, sizeof reason, "recording unreadable: %s", archive->reason);
        mark_lost(daemon, archive->camera, archive->start_us, archive->end_us, reason);
    } else {
        archive->due_us += RETRY_US;
    }
}

void archive_cancel(Daemon *daemon, const char *camera)
{
    Archive *archive = &daemon->archive;
    if (!archive->feed || (camera && strcmp(archive->camera, camera) != 0))
        return;
    supervisor_stop(daemon->supervisor, archive->worker, daemon->now_us);
    forget_job(archive);
    archive->due_us = daemon->now_us + LOOK_US;
}

void archive_tick(Daemon *daemon)
{
    Archive *archive = &daemon->archive;
    int64_t now = daemon->now_us;
    if (!archive->feed) {
        /* The one before must be gone: its name is taken until then. */
        bool clear = !supervisor_by_name(daemon->supervisor, archive->worker);
        if (now >= archive->due_us && clear && scheduler_idle(daemon->scheduler) &&
            !committer_blocked(daemon->committer))
            look_for_work(daemon);
        return;
    }
    if (archive->setup_sent && !archive->gone)
        give_credit(daemon);
    if (!archive->gone && feed_silent(archive->feed, now, STUCK_US) &&
        feed_held(archive->feed) == 0) {
        log_warn("archive", "camera=%s worker sends nothing: stopped", archive->camera);
        supervisor_stop(daemon->supervisor, archive->worker, now);
    }
    if (archive->gone && (archive->heard_end || now - archive->gone_us > LAST_WORDS_US)) {
        feed_end(archive->feed, true, now);
        if (feed_settled(archive->feed) && !committer_blocked(daemon->committer))
            conclude(daemon);
    }
}

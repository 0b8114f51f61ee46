/* Waiting spans, examined from recordings. See archive.h. */
#include "daemon/archive.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_US       (5 * US_PER_S)  /* between looks for work */
#define LOOK_BUSY_US  US_PER_S        /* for questions alone */
#define RETRY_US      (30 * US_PER_S) /* after a job that failed */
#define LAST_WORDS_US (2 * US_PER_S)  /* messages may come after the exit was seen */
#define STUCK_US      (120 * US_PER_S)

enum { MAX_FAILURES = 3, MAX_FILES = 64 };

/* --- what to do next --- */

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

static void commit(Daemon *daemon, Batch *batch)
{
    if (committer_add(daemon->committer, batch, daemon->now_us) < 0)
        daemon_out_of_memory(daemon);
}

/* What of the job still waits is in no recording, or unreadable. */
static void lose_rest(Daemon *daemon, const char *reason)
{
    const Archive *archive = &daemon->archive;
    Error err = {0};
    Batch *batch = batch_new();
    if (backlog_lose(daemon->index, archive->camera, archive->watch[0] ? archive->watch : NULL,
                     archive->start_us, archive->end_us, reason, batch, &err) < 0)
        log_error("archive", "ledger: %s", err.text);
    commit(daemon, batch);
}

static int start_job(Daemon *daemon, const BacklogJob *job)
{
    Archive *archive = &daemon->archive;
    bool question = job->rank == BACKLOG_QUESTION;
    static const TaskKind KINDS[] = {[BACKLOG_QUESTION] = TASK_QUESTION,
                                     [BACKLOG_WATCH] = TASK_WATCH,
                                     [BACKLOG_NIGHTLY] = TASK_NIGHTLY};
    FeedOptions options = {.kind = KINDS[job->rank],
                           .camera = job->camera,
                           .recorded = true,
                           .span_start_us = job->start_us,
                           .span_end_us = job->end_us};
    const WatchConfig *watches = daemon->config.watches;
    size_t n_watches = daemon->config.n_watches;
    if (question) {
        watches = questions_watch(daemon->questions, job->watch);
        n_watches = 1;
    }
    Error err = {0};
    Feed *feed = feed_new(&daemon->feeds, &options);
    if (!feed || feed_set_watches(feed, watches, n_watches, daemon->now_us, &err) < 0) {
        feed_free(feed);
        return -ENOMEM;
    }
    archive->feed = feed;
    archive->rank = job->rank;
    memcpy(archive->camera, job->camera, sizeof archive->camera);
    memcpy(archive->watch, job->watch, sizeof archive->watch);
    snprintf(archive->worker, sizeof archive->worker, "archive/%s", job->camera);
    archive->start_us = job->start_us;
    archive->end_us = job->end_us;
    archive->credit = 0;
    archive->setup_sent = archive->heard_end = archive->gone = archive->failed = false;
    archive->reason[0] = '\0';
    char from[CLOCK_UTC_TEXT_BYTES];
    clock_format_utc(job->start_us, from);
    log_info("archive", "camera=%s from=%s seconds=%.1f%s%s is examined from recordings",
             job->camera, from, (double)(job->end_us - job->start_us) / (double)US_PER_S,
             question ? " watch=" : "", job->watch);
    int r = daemon_start_worker(daemon, archive->worker, false, true);
    const WorkerInfo *worker = supervisor_by_name(daemon->supervisor, archive->worker);
    /* Kept, because its last words may come when the supervisor has forgotten it. */
    snprintf(archive->id, sizeof archive->id, "%s", worker ? worker->id : "");
    return r;
}

/* The next job of at most this rank; *lost: some spans were found to be lost. */
static bool find_job(Daemon *daemon, BacklogRank worst, BacklogJob *job, bool *lost)
{
    Backlog backlog = {.index = daemon->index, .config = &daemon->config};
    backlog.questions = questions_names(daemon->questions, &backlog.n_questions);
    Error err = {0};
    Batch *batch = batch_new();
    int r = backlog_next(&backlog, worst, job, batch, &err);
    if (r < 0)
        log_error("archive", "ledger: %s", err.text);
    *lost = r == BACKLOG_LOST;
    commit(daemon, batch);
    return r == 0;
}

static bool is_night(const Archive *archive)
{
    int64_t utc_us = clock_utc_us();
    return schedule_touches(archive->nightly, utc_us, utc_us + 1);
}

static void look_for_work(Daemon *daemon)
{
    Archive *archive = &daemon->archive;
    BacklogJob job;
    bool lost;
    /* But for questions only what nothing else needs is spent on recordings. */
    bool idle = scheduler_idle(daemon->scheduler);
    BacklogRank worst = !idle               ? BACKLOG_QUESTION
                        : is_night(archive) ? BACKLOG_NIGHTLY
                                            : BACKLOG_WATCH;
    archive->due_us = daemon->now_us + (idle ? LOOK_US : LOOK_BUSY_US);
    if (find_job(daemon, worst, &job, &lost)) {
        if (start_job(daemon, &job) < 0)
            daemon_out_of_memory(daemon);
    }
    if (lost)
        archive->due_us = daemon->now_us;
}

/* What is more urgent need not wait for this span: that goes on waiting, and its turn comes. So it
 * does when its hours are over. */
static void give_way(Daemon *daemon)
{
    Archive *archive = &daemon->archive;
    BacklogJob job;
    bool lost;
    size_t n;
    questions_names(daemon->questions, &n);
    if (archive->rank == BACKLOG_QUESTION || daemon->now_us < archive->due_us ||
        (archive->rank == BACKLOG_WATCH && n == 0))
        return;
    archive->due_us = daemon->now_us + LOOK_BUSY_US;
    bool over = archive->rank == BACKLOG_NIGHTLY && !is_night(archive);
    if (over || find_job(daemon, (BacklogRank)(archive->rank - 1), &job, &lost)) {
        archive_cancel(daemon, NULL);
        archive->due_us = daemon->now_us;
    }
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
    Files files = {.files = mem_new_array(MAX_FILES, sizeof *files.files)};
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
        lose_rest(daemon, "no recording of it");
        return;
    }
    archive->failures = archive->failed_end_us == archive->end_us ? archive->failures + 1 : 1;
    archive->failed_end_us = archive->end_us;
    log_warn("archive", "camera=%s failures=%u reason=\"%s\"", archive->camera, archive->failures,
             archive->reason);
    if (archive->failures >= MAX_FAILURES) {
        char reason[160];
        snprintf(reason, sizeof reason, "recording unreadable: %s", archive->reason);
        lose_rest(daemon, reason);
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

bool archive_works_for(const Daemon *daemon, const char *watch)
{
    return daemon->archive.feed && strcmp(daemon->archive.watch, watch) == 0;
}

void archive_cancel_watch(Daemon *daemon, const char *watch)
{
    if (archive_works_for(daemon, watch))
        archive_cancel(daemon, NULL);
}

void archive_set_hours(Daemon *daemon, const Config *config)
{
    Schedule *nightly = NULL;
    Error err = {0};
    if (schedule_new(config->nightly_days, config->nightly_hours, config->nightly_zone, &nightly,
                     &err) < 0) { /* it was checked: the zone's file is gone meanwhile */
        log_error("archive", "nightly hours are as they were: %s", err.text);
        return;
    }
    schedule_free(daemon->archive.nightly);
    daemon->archive.nightly = nightly;
}

void archive_deinit(Archive *archive)
{
    forget_job(archive);
    schedule_free(archive->nightly);
    archive->nightly = NULL;
}

void archive_tick(Daemon *daemon)
{
    Archive *archive = &daemon->archive;
    int64_t now = daemon->now_us;
    if (!archive->feed) {
        /* The one before must be gone: its name is taken until then. */
        bool clear = !supervisor_by_name(daemon->supervisor, archive->worker);
        if (now >= archive->due_us && clear && daemon->analyst.loaded &&
            !committer_blocked(daemon->committer))
            look_for_work(daemon);
        return;
    }
    if (!committer_blocked(daemon->committer))
        give_way(daemon);
    if (!archive->feed)
        return;
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

/*
 * A day of operation, compressed: a simulated clock drives 24 hours of 8 cameras through feeds,
 * scheduler, segmenter, backlog and a real index. The model is quick at night and too slow in the
 * rush hours; it crashes at times, on some windows always; cameras go dark, and their workers die
 * while the recorder goes on; somebody asks a deep question. At the end ledger and truth must
 * agree.
 *
 *     test_day [HOURS]     0.4 hours by default; all rates scale with the day
 */
#include "base/clock.h"
#include "base/mem.h"
#include "config/watch.h"
#include "daemon/backlog.h"
#include "daemon/commit.h"
#include "daemon/feed.h"
#include "tests/unit/scratch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAMERAS = 8, WATCHES = 2, MAX_STRETCHES = 20000, SEGMENT_S = 60, BUFFERED_FRAMES = 60 };

#define UTC0     INT64_C(1767571200000000) /* 2026-01-05T00:00:00Z */
#define QUESTION "ask-0123456789ab"

static int failures;

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            if (failures++ < 20) {                                                                 \
                printf("FAILED %s: ", #condition);                                                 \
                printf(__VA_ARGS__);                                                               \
                printf("\n");                                                                      \
            }                                                                                      \
        }                                                                                          \
    } while (0)

/* --- the world --- */

typedef struct Stretch {
    double start_s, end_s;
} Stretch;

typedef struct Stretches {
    Stretch list[MAX_STRETCHES]; /* [n], in order, apart */
    size_t n;
} Stretches;

static Stretches truth[CAMERAS][WATCHES + 1]; /* the last is what the question asks about */
static Stretches dark[CAMERAS];               /* neither frames nor recordings */
static Stretches deaf[CAMERAS];               /* recorded, but no frames came */
static Stretches deadly[CAMERAS];             /* what the model dies on */
static double day_s;

static double uniform(void)
{
    static uint64_t state = 42;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(state >> 11) / 9007199254740992.0;
}

static void scatter(Stretches *s, double mean_gap_s, double least_s, double most_s)
{
    for (double at = uniform() * mean_gap_s; s->n < MAX_STRETCHES;) {
        double length = least_s + (most_s - least_s) * uniform() * uniform();
        if (at + length >= day_s - 1)
            break;
        s->list[s->n++] = (Stretch){at, at + length};
        at += length + 8 - mean_gap_s * log(1 - uniform());
    }
}

/* The first stretch that ends after `at`. */
static const Stretch *after(const Stretches *s, double at)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (s->list[mid].end_s <= at)
            low = mid + 1;
        else
            high = mid;
    }
    return low < s->n ? &s->list[low] : NULL;
}

static bool is_in(const Stretches *s, double at)
{
    const Stretch *found = after(s, at);
    return found && found->start_s <= at;
}

static bool touches(const Stretches *s, double start_s, double end_s)
{
    const Stretch *found = after(s, start_s);
    return found && found->start_s < end_s;
}

static double length_of(const Stretches *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += s->list[i].end_s - s->list[i].start_s;
    return sum;
}

/* --- the daemon's parts --- */

static char camera_names[CAMERAS][EVENT_NAME_BYTES];
static CameraConfig camera_configs[CAMERAS];
static WatchConfig watch_configs[WATCHES + 1];
static Config config = {.cameras = camera_configs,
                        .n_cameras = CAMERAS,
                        .watches = watch_configs,
                        .n_watches = WATCHES};
static FeedContext context;
static Feed *live[CAMERAS];
static Feed *archive;
static BacklogJob job;
static double archive_at_s;
static int64_t now_us; /* simulated, from 0 */
static uint64_t last_sequence, dropped[CAMERAS], jobs[TASK_NIGHTLY + 1], crashes;

static double now_s(void)
{
    return (double)now_us / 1e6;
}

/* The model: up to two jobs, one after the other. */
static Task *desk[SCHEDULER_IN_FLIGHT];
static size_t n_desk;
static double ready_at_s, back_at_s; /* the first job is done; a crashed one is back */
static bool crashed;

/* Seconds for a window, by the time of day. The cameras make one every 1.5 s. */
static double pace(void)
{
    double f = now_s() / day_s;
    bool rush = (f > 0.3 && f < 0.4) || (f > 0.7 && f < 0.78);
    return rush ? 3.2 : f < 0.25 || f > 0.9 ? 0.5 : 1.0;
}

static int on_send(Task *task, void *unused)
{
    (void)unused;
    if (crashed || n_desk == SCHEDULER_IN_FLIGHT)
        return -1;
    if (n_desk == 0)
        ready_at_s = now_s() + pace();
    desk[n_desk++] = task;
    return 0;
}

static void on_done(Task *task, const char *reason, void *unused)
{
    (void)unused;
    jobs[task->kind]++;
    feed_done(task->owner, task, reason, now_us);
}

static void on_dropped(Task *task, void *unused)
{
    (void)unused;
    for (int c = 0; c < CAMERAS; c++)
        dropped[c] += strcmp(task->camera, camera_names[c]) == 0;
    feed_dropped(task->owner, task, now_us);
}

static void on_committed(const Event *event, void *unused)
{
    (void)unused;
    CHECK(event->sequence == last_sequence + 1, "sequence %" PRIu64, event->sequence);
    last_sequence = event->sequence;
}

static int camera_of(const char *name)
{
    return atoi(name + 3);
}

static size_t watch_of(const char *name)
{
    for (size_t w = 0; w < WATCHES; w++)
        if (strcmp(name, watch_configs[w].name) == 0)
            return w;
    return WATCHES;
}

/* What is true, in seconds from the window's first frame. */
static void answer_question(const Task *task, size_t q)
{
    double start_s = (double)(window_start_us(&task->window) - UTC0) / 1e6;
    double end_s = (double)(window_end_us(&task->window) - UTC0) / 1e6;
    const Stretches *true_ones =
        &truth[camera_of(task->camera)][watch_of(task->questions[q].watch)];
    When__Interval intervals[64], *list[64];
    When__JobAnswer answer = WHEN__JOB_ANSWER__INIT;
    answer.job_id = task->job_id;
    answer.question_id = q;
    answer.intervals = list;
    for (const Stretch *s = after(true_ones, start_s);
         s && s < true_ones->list + true_ones->n && s->start_s < end_s && answer.n_intervals < 64;
         s++) {
        When__Interval *i = &intervals[answer.n_intervals];
        when__interval__init(i);
        i->start_s = fmax(s->start_s, start_s) - start_s;
        i->end_s = fmin(s->end_s, end_s) - start_s;
        i->confidence = 0.9;
        i->description = (char *)"it happens";
        list[answer.n_intervals++] = i;
    }
    CHECK(scheduler_answer(context.scheduler, &answer) == 0, "an answer was refused");
}

static void crash(void)
{
    crashes++;
    crashed = true;
    n_desk = 0;
    back_at_s = now_s() + 5;
    scheduler_analyst_gone(context.scheduler, true, "killed by signal 11");
}

static void run_model(void)
{
    if (crashed && now_s() >= back_at_s) {
        crashed = false;
        scheduler_ready(context.scheduler);
    }
    scheduler_run(context.scheduler);
    while (!crashed && n_desk > 0 && ready_at_s <= now_s()) {
        Task *task = desk[0];
        double start_s = (double)(window_start_us(&task->window) - UTC0) / 1e6;
        double end_s = (double)(window_end_us(&task->window) - UTC0) / 1e6;
        if (touches(&deadly[camera_of(task->camera)], start_s, end_s) || uniform() < 0.001) {
            crash();
            return;
        }
        for (size_t q = 0; q < task->n_questions; q++)
            answer_question(task, q);
        When__JobDone done = WHEN__JOB_DONE__INIT;
        done.job_id = task->job_id;
        desk[0] = desk[1];
        n_desk--;
        ready_at_s += pace();
        CHECK(scheduler_job_done(context.scheduler, &done) == 0, "a job was refused");
        scheduler_run(context.scheduler);
    }
}

static void send_frame(Feed *feed, double at_s, int64_t pts_us, uint64_t session)
{
    When__FrameInfo info = WHEN__FRAME_INFO__INIT;
    info.pts_us = pts_us;
    info.utc_us = UTC0 + (int64_t)(at_s * 1e6);
    info.utc_err_us = 1000;
    info.utc_source = WHEN__UTC_SOURCE__UTC_SOURCE_RTCP;
    info.width = info.height = 1;
    info.session = session;
    zmq_msg_t pixels;
    zmq_msg_init_size(&pixels, 3);
    CHECK(feed_frame(feed, &info, &pixels, now_us) == 0, "a frame was refused");
    zmq_msg_close(&pixels);
}

/* One second of live video of all cameras; closed recordings. */
static void run_cameras(int second)
{
    static uint64_t session[CAMERAS];
    static int silent_s[CAMERAS];
    for (int c = 0; c < CAMERAS; c++) {
        bool is_dark = is_in(&dark[c], second), is_deaf = is_in(&deaf[c], second);
        if (is_dark || is_deaf) {
            if (silent_s[c]++ == 0)
                session[c]++;
            if (silent_s[c] == 10)
                feed_end(live[c], false, now_us);
        } else {
            silent_s[c] = 0;
            send_frame(live[c], second, now_us, session[c]);
        }
        if (second % SEGMENT_S != SEGMENT_S - 1)
            continue;
        int start = second + 1 - SEGMENT_S, end = second + 1;
        while (start < end && is_in(&dark[c], start))
            start++;
        while (end > start && is_in(&dark[c], end - 1))
            end--;
        if (start == end)
            continue;
        Recording recording = {.start_us = UTC0 + start * US_PER_S,
                               .end_us = UTC0 + end * US_PER_S,
                               .utc_err_us = 1000,
                               .utc_source = WHEN__UTC_SOURCE__UTC_SOURCE_RTCP,
                               .bytes = 1};
        snprintf(recording.camera, sizeof recording.camera, "%s", camera_names[c]);
        snprintf(recording.path, sizeof recording.path, "/%d/%d", c, second);
        Batch *batch = batch_new();
        batch_recording(batch, &recording);
        committer_add(context.committer, batch, now_us);
    }
}

/* --- recordings --- */

static const char *const question_names[] = {QUESTION};
static bool asking;
static int64_t look_us;

static void begin_archive(void)
{
    bool question = job.rank == BACKLOG_QUESTION;
    FeedOptions options = {.kind = question ? TASK_QUESTION : TASK_NIGHTLY,
                           .camera = job.camera,
                           .recorded = true,
                           .span_start_us = job.start_us,
                           .span_end_us = job.end_us};
    archive = feed_new(&context, &options);
    CHECK(archive && feed_set_watches(archive, question ? &watch_configs[WATCHES] : watch_configs,
                                      question ? 1 : WATCHES, now_us, NULL) == 0,
          "no archive");
    archive_at_s = ceil((double)(job.start_us - UTC0) / 1e6);
}

static void look_for_work(void)
{
    bool idle = scheduler_idle(context.scheduler);
    Backlog backlog = {.index = context.index,
                       .config = &config,
                       .questions = question_names,
                       .n_questions = asking ? 1 : 0};
    if ((!idle && !asking) || now_us < look_us)
        return;
    Error err = {0};
    Batch *batch = batch_new();
    int r = backlog_next(&backlog, idle ? BACKLOG_NIGHTLY : BACKLOG_QUESTION, &job, batch, &err);
    CHECK(r >= 0, "%s", err.text);
    committer_add(context.committer, batch, now_us);
    if (r == 0)
        begin_archive();
    else if (r == BACKLOG_NOTHING)
        look_us = now_us + 5 * US_PER_S;
}

static void run_archive(void)
{
    if (!archive) {
        look_for_work();
        return;
    }
    int c = camera_of(job.camera);
    double end_s = (double)(job.end_us - UTC0) / 1e6;
    for (; archive_at_s < end_s && feed_held(archive) < BUFFERED_FRAMES; archive_at_s++)
        if (!is_in(&dark[c], archive_at_s))
            send_frame(archive, archive_at_s, (int64_t)(archive_at_s * 1e6) - (job.start_us - UTC0),
                       1);
    if (archive_at_s < end_s)
        return;
    feed_end(archive, true, now_us);
    if (!feed_settled(archive))
        return;
    feed_free(archive);
    archive = NULL;
    Error err = {0};
    Batch *batch = batch_new();
    CHECK(backlog_lose(context.index, job.camera, job.watch[0] ? job.watch : NULL, job.start_us,
                       job.end_us, "no recording of it", batch, &err) == 0,
          "%s", err.text);
    committer_add(context.committer, batch, now_us);
}

static void ask(void)
{
    Error err = {0};
    Batch *batch = batch_new();
    for (int c = 0; c < 2; c++)
        CHECK(backlog_add(context.index, camera_names[c], QUESTION, NULL, 0, UTC0,
                          UTC0 + (int64_t)(day_s / 8 * 1e6), "a question", batch, &err) == 0,
              "%s", err.text);
    committer_add(context.committer, batch, now_us);
    asking = true;
}

/* --- ledger and truth --- */

typedef struct Found {
    Stretches examined, waiting, lost, events;
    double event_err_s[MAX_STRETCHES];
} Found;

static int add_span(const LedgerSpan *span, void *to)
{
    Found *found = to;
    Stretches *s = span->state == SPAN_EXAMINED  ? &found->examined
                   : span->state == SPAN_WAITING ? &found->waiting
                                                 : &found->lost;
    Stretch stretch = {(double)(span->start_us - UTC0) / 1e6, (double)(span->end_us - UTC0) / 1e6};
    if (s->n > 0 && s->list[s->n - 1].end_s >= stretch.start_s - 1e-6)
        s->list[s->n - 1].end_s = stretch.end_s;
    else if (s->n < MAX_STRETCHES)
        s->list[s->n++] = stretch;
    return 0;
}

static int add_event(const Event *event, void *to)
{
    Found *found = to;
    CHECK(event->state == EVENT_FINAL, "%s is still open", event->id);
    found->event_err_s[found->events.n] =
        (double)(event->start_err_us > event->end_err_us ? event->start_err_us
                                                         : event->end_err_us) /
        1e6;
    found->events.list[found->events.n++] =
        (Stretch){(double)(event->start_us - UTC0) / 1e6, (double)(event->end_us - UTC0) / 1e6};
    return 0;
}

/* Is all of this stretch examined, with room around it? */
static bool is_whole(const Stretches *examined, const Stretch *s)
{
    const Stretch *found = after(examined, s->start_s);
    return found && found->start_s <= s->start_s - 2 && found->end_s >= s->end_s + 2;
}

static void compare(int c, size_t w, Found *found, size_t *n_true, size_t *n_whole)
{
    const Stretches *true_ones = &truth[c][w];
    const char *camera = camera_names[c], *watch = watch_configs[w].name;
    /* Each event is a true one, as far as was looked. */
    for (size_t i = 0; i < found->events.n; i++) {
        Stretch *e = &found->events.list[i];
        double err = found->event_err_s[i];
        const Stretch *t = after(true_ones, e->end_s - err - 1e-6);
        CHECK(t && t->start_s <= e->start_s + err, "%s %s: event %.1f..%.1f is not true", camera,
              watch, e->start_s, e->end_s);
        if (i > 0)
            CHECK(e->start_s > e[-1].end_s, "%s %s: events overlap at %.1f", camera, watch,
                  e->start_s);
    }
    /* What was looked at from end to end was found, once, within the stated error. */
    *n_true += true_ones->n;
    for (size_t i = 0; i < true_ones->n; i++) {
        const Stretch *t = &true_ones->list[i];
        if (!is_whole(&found->examined, t))
            continue;
        ++*n_whole;
        size_t hits = 0;
        for (size_t k = 0; k < found->events.n; k++) {
            const Stretch *e = &found->events.list[k];
            if (e->end_s < t->start_s || e->start_s > t->end_s)
                continue;
            hits++;
            CHECK(fabs(e->start_s - t->start_s) <= found->event_err_s[k] &&
                      fabs(e->end_s - t->end_s) <= found->event_err_s[k],
                  "%s %s: %.2f..%.2f was found as %.2f..%.2f", camera, watch, t->start_s, t->end_s,
                  e->start_s, e->end_s);
        }
        CHECK(hits == 1, "%s %s: %.1f..%.1f was found %zu times", camera, watch, t->start_s,
              t->end_s, hits);
    }
}

/* Every moment is spoken of; what is lost was dark, or what the model died on. */
static void check_ledger(int c, size_t w, const Found *found)
{
    const char *camera = camera_names[c], *watch = watch_configs[w].name;
    double spoken = length_of(&found->examined) + length_of(&found->lost);
    CHECK(found->waiting.n == 0, "%s %s: %.1f still waits", camera, watch,
          found->waiting.list[0].start_s);
    CHECK(spoken > day_s - 20, "%s %s: %.1f s of %.1f", camera, watch, spoken, day_s);
    for (size_t i = 0; i < found->lost.n; i++) {
        const Stretch *l = &found->lost.list[i];
        for (double at = l->start_s + 1; at < l->end_s - 1; at++)
            CHECK(touches(&dark[c], at - 17, at + 17) || touches(&deadly[c], at - 17, at + 17),
                  "%s %s: %.1f is lost for no reason", camera, watch, at);
    }
    for (size_t i = 0; i < dark[c].n; i++)
        for (double at = dark[c].list[i].start_s + 3; at < dark[c].list[i].end_s - 3; at++)
            CHECK(!is_in(&found->examined, at), "%s %s: %.1f was dark and is examined", camera,
                  watch, at);
}

static void check_all(void)
{
    static Found found;
    size_t n_true = 0, n_whole = 0, n_events = 0;
    double examined = 0, lost = 0;
    for (int c = 0; c < CAMERAS; c++) {
        for (size_t w = 0; w <= WATCHES; w++) {
            const char *camera = camera_names[c], *watch = watch_configs[w].name;
            IndexFilter filter = {.cameras = &camera,
                                  .n_cameras = 1,
                                  .watches = &watch,
                                  .n_watches = 1,
                                  .limit = MAX_STRETCHES};
            Error err = {0};
            memset(&found, 0, sizeof found);
            CHECK(index_ledger_spans(context.index, &filter, 0, add_span, &found, &err) == 0 &&
                      index_events(context.index, &filter, add_event, &found, &err) == 0,
                  "%s", err.text);
            if (w < WATCHES)
                check_ledger(c, w, &found);
            else
                CHECK(found.waiting.n == 0 && (c >= 2) == (found.examined.n == 0),
                      "%s: the question is not done", camera);
            compare(c, w, &found, &n_true, &n_whole);
            n_events += found.events.n;
            examined += length_of(&found.examined);
            lost += length_of(&found.lost);
        }
    }
    uint64_t least = UINT64_MAX, most = 0;
    for (int c = 0; c < CAMERAS; c++) {
        least = dropped[c] < least ? dropped[c] : least;
        most = dropped[c] > most ? dropped[c] : most;
    }
    CHECK(most > 0 && (most < 20 || (double)most <= 1.5 * (double)least),
          "overload is not spread evenly: %" PRIu64 " to %" PRIu64 " windows of a camera", least,
          most);
    CHECK(n_whole > n_true / 4, "%zu of %zu were looked at from end to end", n_whole, n_true);
    printf("%.1f hours x %d cameras: windows live %" PRIu64 ", of questions %" PRIu64
           ", from recordings %" PRIu64 "; %" PRIu64 " to %" PRIu64
           " a camera were put off; %" PRIu64 " crashes\n",
           day_s / 3600, CAMERAS, jobs[TASK_LIVE], jobs[TASK_QUESTION], jobs[TASK_NIGHTLY], least,
           most, crashes);
    printf("%zu events of %zu that were true, %zu of those looked at from end to end; examined "
           "%.1f h, lost %.1f h\n",
           n_events, n_true, n_whole, examined / 3600, lost / 3600);
}

/* --- the day --- */

static void make_world(void)
{
    static const char *const NAMES[] = {"car", "dog", QUESTION};
    double scale = day_s / 86400;
    for (size_t w = 0; w <= WATCHES; w++) {
        snprintf(watch_configs[w].name, sizeof watch_configs[w].name, "%s", NAMES[w]);
        watch_config_init(&watch_configs[w]);
        watch_configs[w].question = strdup(NAMES[w]);
    }
    for (int c = 0; c < CAMERAS; c++) {
        snprintf(camera_names[c], sizeof camera_names[c], "cam%d", c);
        snprintf(camera_configs[c].name, sizeof camera_configs[c].name, "cam%d", c);
        camera_configs[c].record = true;
        scatter(&truth[c][0], 120, 2, 90);
        scatter(&truth[c][1], 400, 3, 30);
        scatter(&truth[c][WATCHES], 100, 3, 60);
        scatter(&dark[c], 20000 * scale, 20, 60 + 1000 * scale);
        scatter(&deaf[c], 8000 * scale, 8, 60);
        scatter(&deadly[c], 60000 * scale, 1, 2);
    }
}

static void open_parts(Scratch *scratch)
{
    static const SchedulerHooks HOOKS = {on_send, on_done, on_dropped, NULL};
    Error err = {0};
    context = (FeedContext){.window_us = 16 * US_PER_S,
                            .overlap_us = 4 * US_PER_S,
                            .boundary_error_us = US_PER_S / 2,
                            .first_hole = "whend was not running",
                            .model_name = "simulated",
                            .next_event_number = 1};
    if (index_open(scratch_path(scratch, "index.sqlite"), &context.index, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    context.committer = committer_new(context.index, on_committed, NULL);
    context.scheduler = scheduler_new(&HOOKS, SCHEDULER_MAX_LIVE);
    for (int c = 0; c < CAMERAS; c++) {
        FeedOptions options = {.kind = TASK_LIVE, .camera = camera_names[c], .recorded = true};
        live[c] = feed_new(&context, &options);
        if (!live[c] || feed_set_watches(live[c], watch_configs, WATCHES, 0, &err) < 0)
            exit(1);
    }
    scheduler_ready(context.scheduler);
}

static bool is_quiet(void)
{
    Backlog backlog = {.index = context.index, .config = &config};
    BacklogJob next;
    Batch *batch = batch_new();
    bool quiet = !archive && scheduler_idle(context.scheduler) &&
                 backlog_next(&backlog, BACKLOG_NIGHTLY, &next, batch, NULL) == BACKLOG_NOTHING;
    committer_add(context.committer, batch, now_us);
    return quiet;
}

int main(int argc, char **argv)
{
    day_s = 3600 * (argc > 1 ? atof(argv[1]) : 0.4);
    day_s = ceil(day_s / SEGMENT_S) * SEGMENT_S;
    if (!(day_s >= 600 && day_s <= 86400 * 2)) {
        fprintf(stderr, "usage: %s [HOURS, 0.2 to 48]\n", argv[0]);
        return 64;
    }
    Scratch scratch;
    scratch_init(&scratch);
    make_world();
    open_parts(&scratch);
    int second = 0;
    for (; second < (int)day_s; second++) {
        now_us = second * US_PER_S;
        run_cameras(second);
        if (second == (int)(day_s / 2))
            ask();
        for (int tenth = 0; tenth < 10; tenth++, now_us += US_PER_S / 10) {
            run_model();
            run_archive();
        }
    }
    /* The cameras are off; what waits is worked off. */
    for (int c = 0; c < CAMERAS; c++)
        feed_end(live[c], false, now_us);
    int until = second + 2 * (int)day_s + 3600;
    while (second < until && (second % 10 || !is_quiet())) {
        second++;
        for (int tenth = 0; tenth < 10; tenth++, now_us += US_PER_S / 10) {
            run_model();
            run_archive();
        }
    }
    CHECK(second < until, "what waits is never worked off");
    CHECK(!context.out_of_memory, "no memory");
    check_all();
    for (int c = 0; c < CAMERAS; c++)
        feed_free(live[c]);
    feed_free(archive);
    scheduler_free(context.scheduler);
    committer_free(context.committer);
    index_free(context.index);
    for (size_t w = 0; w <= WATCHES; w++)
        watch_config_deinit(&watch_configs[w]);
    scratch_deinit(&scratch);
    printf("goal day_disagreements %d 0 %s\n", failures, failures ? "short" : "met");
    return failures != 0;
}

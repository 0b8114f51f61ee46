/* Frames in, events and ledger spans out. See feed.h. */
#include "daemon/feed.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/watch.h"
#include "daemon/backlog.h"
#include "daemon/track.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GAP_US           (5 * US_PER_S)
#define REST_US          US_PER_S
#define MAX_FRAMES       1000 /* below WIRE_MAX_PIXEL_PARTS: one is kept back */
#define MAX_WINDOW_BYTES ((size_t)256 << 20)

struct Feed {
    FeedContext *context;
    FeedOptions options;
    char camera[EVENT_NAME_BYTES];
    char *identity;
    Cutter *cutter;
    Track **tracks; /* [n_tracks] */
    size_t n_tracks;
    FileClock clock;       /* of a file without a clock of its own */
    int64_t resume_pts_us; /* of a file: frames before this are not needed again */
    bool first_window;     /* none was handed on in this run */
    char hole_reason[128]; /* why the next hole is there; "": the camera was dark */
    int64_t last_frame_us; /* monotonic; 0: none yet */
    bool left_out;         /* the last frame, as stale */
    bool ended, complete, settled;
    FeedClock first; /* of a file's first frame */
    FeedCounts counts;
};

static Cutter *new_cutter(const FeedContext *context)
{
    CutterOptions options = {.window_us = context->window_us,
                             .overlap_us = context->overlap_us,
                             .gap_us = GAP_US,
                             .rest_us = REST_US,
                             .max_frames = MAX_FRAMES,
                             .max_bytes = MAX_WINDOW_BYTES};
    return cutter_new(&options);
}

Feed *feed_new(FeedContext *context, const FeedOptions *options)
{
    Feed *feed = calloc(1, sizeof *feed);
    if (!feed)
        return NULL;
    feed->context = context;
    feed->options = *options;
    assert(strlen(options->camera) < sizeof feed->camera);
    snprintf(feed->camera, sizeof feed->camera, "%s", options->camera);
    feed->options.camera = feed->camera;
    feed->identity = strdup(options->identity ? options->identity : "");
    feed->options.identity = feed->identity;
    feed->cutter = new_cutter(context);
    feed->first_window = true;
    if (!feed->identity || !feed->cutter) {
        feed_free(feed);
        return NULL;
    }
    return feed;
}

void feed_free(Feed *feed)
{
    if (!feed)
        return;
    scheduler_forget(feed->context->scheduler, feed);
    for (size_t i = 0; i < feed->n_tracks; i++)
        track_free(feed->tracks[i], feed->context);
    free(feed->tracks);
    cutter_free(feed->cutter);
    free(feed->identity);
    free(feed);
}

static void commit(Feed *feed, Batch *batch, int64_t now_us)
{
    if (committer_add(feed->context->committer, batch, now_us) < 0)
        feed->context->out_of_memory = true;
}

static void check(Feed *feed, int r)
{
    if (r < 0)
        feed->context->out_of_memory = true;
}

/* --- watches --- */

static Track *find_track(const Feed *feed, const char *watch)
{
    for (size_t i = 0; i < feed->n_tracks; i++)
        if (strcmp(feed->tracks[i]->watch, watch) == 0)
            return feed->tracks[i];
    return NULL;
}

static int begin_track(Feed *feed, const WatchConfig *watch, Track **begun, Error *err)
{
    Track *track = track_new(feed->context, &feed->options, watch);
    if (!track) {
        error_set(err, ENOMEM, EX_OSERR, "camera %s: no memory", feed->camera);
        return -ENOMEM;
    }
    int r = 0;
    if (feed->options.kind == TASK_FILE)
        r = track_load(track, &feed->options, &feed->clock, feed->context->index, err);
    else if (feed->options.kind == TASK_LIVE)
        r = index_ledger_end(feed->context->index, feed->camera, watch->name, &track->covered_us,
                             err);
    if (r < 0) {
        track_free(track, feed->context);
        return r;
    }
    *begun = track;
    return 0;
}

/* A file is read from where the watch that is least far stands. Its watches are set once. */
static void find_resume(Feed *feed)
{
    assert(feed->options.kind != TASK_FILE || feed->counts.frames == 0 || feed->n_tracks == 0);
    int64_t resume = INT64_MAX;
    for (size_t i = 0; i < feed->n_tracks; i++)
        if (!feed->tracks[i]->done && feed->tracks[i]->settled_pts_us < resume)
            resume = feed->tracks[i]->settled_pts_us;
    feed->resume_pts_us = resume == INT64_MAX ? 0 : resume;
    feed->counts.settled_pts_us = feed->resume_pts_us;
}

int feed_set_watches(Feed *feed, const WatchConfig *watches, size_t n, int64_t now_us, Error *err)
{
    Track **tracks = mem_new_array(n, sizeof *tracks);
    Batch *batch = batch_new();
    size_t n_tracks = 0;
    int r = 0;
    if (!tracks || !batch) {
        free(tracks);
        batch_free(batch);
        error_set(err, ENOMEM, EX_OSERR, "no memory");
        return -ENOMEM;
    }
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (!watch_config_covers(&watches[i], feed->camera))
            continue;
        Track *old = find_track(feed, watches[i].name);
        if (old && track_is(old, &watches[i])) {
            tracks[n_tracks++] = old;
            continue;
        }
        r = begin_track(feed, &watches[i], &tracks[n_tracks], err);
        n_tracks += r == 0;
    }
    if (r < 0) { /* as it was before */
        for (size_t i = 0; i < n_tracks; i++)
            if (find_track(feed, tracks[i]->watch) != tracks[i])
                track_free(tracks[i], feed->context);
        free(tracks);
        batch_free(batch);
        return r;
    }
    for (size_t i = 0; i < feed->n_tracks; i++) {
        bool stays = false;
        for (size_t j = 0; j < n_tracks; j++)
            stays = stays || tracks[j] == feed->tracks[i];
        if (!stays) {
            check(feed, track_finish(feed->tracks[i], feed->context, &feed->options, batch));
            track_free(feed->tracks[i], feed->context);
        }
    }
    free(feed->tracks);
    feed->tracks = tracks;
    feed->n_tracks = n_tracks;
    commit(feed, batch, now_us);
    find_resume(feed);
    return 0;
}

bool feed_has_watches(const Feed *feed, const WatchConfig *watches, size_t n)
{
    size_t covering = 0;
    for (size_t i = 0; i < n; i++) {
        if (!watch_config_covers(&watches[i], feed->camera))
            continue;
        const Track *track = find_track(feed, watches[i].name);
        if (!track || !track_is(track, &watches[i]))
            return false;
        covering++;
    }
    return covering == feed->n_tracks;
}

int feed_restore(Feed *feed, const Event *event)
{
    Track *track = find_track(feed, event->watch);
    if (feed->options.kind != TASK_FILE || !track || track->done || track->settled_pts_us == 0)
        return FEED_NOT_TAKEN;
    int r = segmenter_restore(track->segmenter, event);
    return r < 0 ? r : 0;
}

/* --- the ledger --- */

static void mark(Feed *feed, Batch *batch, const char *watch, int64_t start_us, int64_t end_us,
                 SpanState state, double fps, const char *reason)
{
    if (task_is_span(feed->options.kind)) {
        if (start_us < feed->options.span_start_us)
            start_us = feed->options.span_start_us;
        if (end_us > feed->options.span_end_us)
            end_us = feed->options.span_end_us;
    }
    LedgerSpan span = {.start_us = start_us, .end_us = end_us, .state = state, .fps = fps};
    memcpy(span.camera, feed->camera, sizeof span.camera);
    snprintf(span.watch, sizeof span.watch, "%s", watch);
    if (state == SPAN_EXAMINED)
        snprintf(span.model, sizeof span.model, "%s", feed->context->model_name);
    snprintf(span.reason, sizeof span.reason, "%s", reason);
    batch_span(batch, &span);
}

/* The window's own stretch, up to the next window's start; small holes before it, and at an archive
 * span's ends, belong to it: a frame stands for the time until the next one. */
static void mark_window(Feed *feed, Batch *batch, Track *track, const Window *window,
                        SpanState state, const char *reason)
{
    int64_t from = window_start_us(window);
    int64_t to = window->end == WINDOW_GOES_ON ? window_settled_us(window) : window_end_us(window);
    int64_t before = track->marked_us;
    if (task_is_span(feed->options.kind)) {
        if (before == 0)
            before = feed->options.span_start_us;
        if (window->end != WINDOW_GOES_ON && feed->options.span_end_us - to <= FEED_HOLE_US &&
            feed->options.span_end_us > to)
            to = feed->options.span_end_us;
    }
    if (before && before < from && from - before <= FEED_HOLE_US)
        from = before;
    mark(feed, batch, track->watch, from, to, state,
         state == SPAN_EXAMINED ? window_fps(window) : 0.0, reason);
    track->marked_us = to;
}

/* --- windows to the scheduler --- */

static int is_waiting(const LedgerSpan *span, void *context)
{
    (void)span;
    *(bool *)context = true;
    return 1;
}

/* Does this track want this window examined? */
static bool wants(Feed *feed, const Track *track, const Window *window)
{
    if (feed->options.kind == TASK_FILE)
        return !track->done && window->frames[0].pts_us >= track->settled_pts_us;
    if (feed->options.kind == TASK_LIVE)
        return true;
    if (window->n < 2)
        return false; /* the first frame of the time behind the span */
    const char *camera = feed->camera, *watch = track->watch;
    IndexFilter filter = {.cameras = &camera,
                          .n_cameras = 1,
                          .watches = &watch,
                          .n_watches = 1,
                          .since_us = window_start_us(window),
                          .until_us = window_end_us(window)};
    bool waiting = false;
    Error err = {0};
    if (index_ledger_spans(feed->context->index, &filter, SPAN_WAITING, is_waiting, &waiting,
                           &err) < 0)
        log_error("feed", "camera=%s ledger: %s", feed->camera, err.text);
    return waiting;
}

/* What lies between the last window and this one was not seen. */
static void mark_hole(Feed *feed, Batch *batch, Track *track, const Window *window)
{
    int64_t start = window_start_us(window);
    if (task_is_span(feed->options.kind) || !track->covered_us ||
        start <= track->covered_us + FEED_HOLE_US)
        return;
    const char *reason = feed->hole_reason;
    if (!track->handed && !feed->first_window)
        reason = BACKLOG_OLDER; /* a watch that came to a camera at work */
    else if (feed->first_window)
        reason = feed->context->first_hole;
    else if (!reason[0])
        reason = feed->options.kind == TASK_FILE ? "the file has a hole" : "the camera was dark";
    for (int64_t at = track->covered_us, from, to; at < start; at = to) {
        schedule_next(track->schedule, at, &from, &to);
        from = from > at ? from : at;
        to = to < start ? to : start;
        if (from < to) /* what its hours leave out is nobody's loss */
            mark(feed, batch, track->watch, from, to,
                 feed->options.recorded ? SPAN_WAITING : SPAN_LOST, 0.0, reason);
    }
    char from[CLOCK_UTC_TEXT_BYTES];
    clock_format_utc(track->covered_us, from);
    log_info("feed", "camera=%s watch=%s hole_s=%.1f from=%s reason=\"%s\"", feed->camera,
             track->watch, (double)(start - track->covered_us) / (double)US_PER_S, from, reason);
}

static void enqueue(Feed *feed, Window *window, int64_t now_us)
{
    Batch *holes = batch_new();
    Task *task = task_new(feed->options.kind, feed, feed->camera, window, feed->n_tracks);
    if (!task || !holes) {
        task_free(task);
        batch_free(holes);
        feed->context->out_of_memory = true;
        return;
    }
    window = &task->window;
    int64_t settled = window_settled_us(window);
    for (size_t i = 0; i < feed->n_tracks; i++) {
        Track *track = feed->tracks[i];
        if (!wants(feed, track, window))
            continue;
        mark_hole(feed, holes, track, window);
        track->handed = true;
        if (settled > track->covered_us)
            track->covered_us = settled;
        if (task_is_span(feed->options.kind) ||
            schedule_touches(track->schedule, window_start_us(window), window_end_us(window)))
            check(feed, task_ask(task, track->watch, track->config.question));
    }
    feed->first_window = false;
    feed->hole_reason[0] = '\0';
    if (feed->options.kind == TASK_FILE && window->settled_pts_us > feed->resume_pts_us)
        feed->resume_pts_us = window->settled_pts_us;
    commit(feed, holes, now_us);
    if (task->n_questions > 0)
        scheduler_add(feed->context->scheduler, task);
    else
        task_free(task); /* nobody asks about it */
}

static void take_windows(Feed *feed, int64_t now_us)
{
    Window window;
    while (cutter_take(feed->cutter, &window) == 0)
        enqueue(feed, &window, now_us);
}

int feed_frame(Feed *feed, const When__FrameInfo *info, zmq_msg_t *pixels, int64_t now_us)
{
    uint64_t bytes = (uint64_t)info->width * info->height;
    if (info->width == 0 || info->height == 0 || bytes > WIRE_MAX_PIXEL_BYTES / 3 ||
        bytes * 3 != zmq_msg_size(pixels) || info->utc_err_us < 0 || info->pts_us > INT64_MAX / 4 ||
        info->pts_us < INT64_MIN / 4 || info->utc_us > INT64_MAX / 4 ||
        info->utc_us < INT64_MIN / 4 || info->utc_err_us > INT64_MAX / 4 ||
        info->cells.len > bytes / 8)
        return FEED_BAD_FRAME;
    feed->last_frame_us = feed->counts.last_frame_at_us = now_us;
    feed->ended = feed->settled = false;
    feed->counts.frames++;
    WindowFrame frame = {.pts_us = info->pts_us,
                         .utc_us = info->utc_us,
                         .utc_err_us = info->utc_err_us,
                         .utc_source = (int)info->utc_source,
                         .width = info->width,
                         .height = info->height,
                         .session = info->session,
                         .motion = info->motion};
    if (feed->options.kind == TASK_FILE) {
        if (info->utc_source == WHEN__UTC_SOURCE__UTC_SOURCE_ARRIVAL) {
            /* A file without a clock keeps the one of its first reading. */
            if (!feed->clock.known)
                feed->clock = (FileClock){true, info->utc_us - info->pts_us, info->utc_err_us};
            frame.utc_us = info->pts_us + feed->clock.utc_minus_pts_us;
            frame.utc_err_us = feed->clock.utc_err_us;
        }
        if (!feed->first.known)
            feed->first =
                (FeedClock){true, frame.utc_us - frame.pts_us, frame.utc_err_us, frame.utc_source};
        if (info->pts_us < feed->resume_pts_us)
            return 0; /* examined before, or on its way */
    }
    /* What changed is said of the frame before, which must not have been left out. */
    frame.pixels = pixels_new(pixels, info->cells.data, feed->left_out ? 0 : info->cells.len);
    if (!frame.pixels)
        return -ENOMEM;
    feed->counts.last_utc_us = frame.utc_us;
    int r = cutter_add(feed->cutter, &frame);
    if (r < 0)
        return r;
    feed->left_out = r == CUTTER_STALE;
    take_windows(feed, now_us);
    return 0;
}

void feed_correct(Feed *feed, const When__TimeCorrection *c)
{
    if (c->utc_minus_pts_us > INT64_MAX / 4 || c->utc_minus_pts_us < INT64_MIN / 4 ||
        c->utc_err_us < 0 || c->utc_err_us > INT64_MAX / 4)
        return;
    cutter_retime(feed->cutter, c->session, c->utc_minus_pts_us, c->utc_err_us, (int)c->utc_source);
    scheduler_retime(feed->context->scheduler, feed, c->session, c->utc_minus_pts_us, c->utc_err_us,
                     (int)c->utc_source);
    log_info("feed", "camera=%s clock corrected utc_err_ms=%.1f", feed->camera,
             (double)c->utc_err_us / 1000.0);
}

/* --- the end --- */

/* Ended and nothing waits any more: what is open is final, a complete file is done. */
static void settle(Feed *feed, int64_t now_us)
{
    if (!feed->ended || feed->settled || cutter_frames(feed->cutter) > 0 ||
        scheduler_waiting(feed->context->scheduler, feed) > 0)
        return;
    Batch *batch = batch_new();
    for (size_t i = 0; i < feed->n_tracks; i++) {
        Track *track = feed->tracks[i];
        check(feed, track_finish(track, feed->context, &feed->options, batch));
        if (feed->options.kind == TASK_FILE && feed->complete && !track->done) {
            track->done = true;
            track_store(track, &feed->options, &feed->clock, batch);
        }
    }
    feed->settled = true;
    commit(feed, batch, now_us);
}

void feed_end(Feed *feed, bool complete, int64_t now_us)
{
    feed->ended = true;
    feed->complete = feed->complete || complete;
    check(feed, cutter_end(feed->cutter));
    take_windows(feed, now_us);
    settle(feed, now_us);
}

void feed_interrupted(Feed *feed, const char *reason, int64_t now_us)
{
    if (feed->options.kind != TASK_FILE) {
        /* What came before is a window now, so that the reason is kept for what comes. */
        check(feed, cutter_end(feed->cutter));
        take_windows(feed, now_us);
        snprintf(feed->hole_reason, sizeof feed->hole_reason, "worker restarted: %s", reason);
        return;
    }
    /* The file is read again from its begin: what is not in a finished window comes once more. */
    Cutter *cutter = new_cutter(feed->context);
    if (!cutter) {
        feed->context->out_of_memory = true;
        return;
    }
    cutter_free(feed->cutter);
    feed->cutter = cutter;
}

/* --- answers --- */

void feed_done(Feed *feed, Task *task, const char *reason, int64_t now_us)
{
    Batch *batch = batch_new();
    const Window *window = &task->window;
    for (size_t i = 0; i < task->n_questions; i++) {
        TaskQuestion *q = &task->questions[i];
        Track *track = find_track(feed, q->watch);
        if (!track || strcmp(track->config.question, q->text) != 0)
            continue; /* the watch was changed meanwhile */
        const char *why = reason ? reason : q->answered ? NULL : "the analyst did not answer";
        if (!why) {
            check(feed,
                  track_answer(track, feed->context, &feed->options, window, q, now_us, batch));
            feed->counts.questions++;
        }
        mark_window(feed, batch, track, window, why ? SPAN_LOST : SPAN_EXAMINED, why ? why : "");
        if (feed->options.kind == TASK_FILE) {
            track->settled_pts_us = window->settled_pts_us;
            track_store(track, &feed->options, &feed->clock, batch);
        }
    }
    feed->counts.examined_us = window_end_us(window);
    feed->counts.settled_pts_us = window->end_pts_us;
    if (reason) {
        feed->counts.dropped += window->n;
        log_warn("feed", "camera=%s window lost: %s", feed->camera, reason);
    } else {
        feed->counts.windows++;
    }
    task_free(task);
    commit(feed, batch, now_us);
    settle(feed, now_us);
}

void feed_dropped(Feed *feed, Task *task, int64_t now_us)
{
    Batch *batch = batch_new();
    for (size_t i = 0; i < task->n_questions; i++) {
        Track *track = find_track(feed, task->questions[i].watch);
        if (track)
            mark_window(feed, batch, track, &task->window,
                        feed->options.recorded ? SPAN_WAITING : SPAN_LOST, "analyst too slow");
    }
    feed->counts.dropped += task->window.n;
    log_debug("feed", "camera=%s window dropped: the analyst is too slow", feed->camera);
    task_free(task);
    commit(feed, batch, now_us);
    settle(feed, now_us);
}

/* --- what others ask --- */

size_t feed_held(const Feed *feed)
{
    return cutter_frames(feed->cutter) + scheduler_frames(feed->context->scheduler, feed);
}

bool feed_silent(const Feed *feed, int64_t now_us, int64_t for_us)
{
    return feed->last_frame_us && !feed->ended && now_us - feed->last_frame_us >= for_us;
}

bool feed_settled(const Feed *feed)
{
    return feed->settled;
}

bool feed_complete(const Feed *feed)
{
    if (feed->options.kind != TASK_FILE)
        return false;
    for (size_t i = 0; i < feed->n_tracks; i++)
        if (!feed->tracks[i]->done)
            return false;
    return true;
}

FeedCounts feed_counts(const Feed *feed)
{
    return feed->counts;
}

void feed_file_start(const Feed *feed, int64_t *start_utc_us, int64_t *utc_err_us)
{
    if (!feed->clock.known)
        return;
    *start_utc_us = feed->clock.utc_minus_pts_us;
    *utc_err_us = feed->clock.utc_err_us;
}

FeedClock feed_clock(const Feed *feed)
{
    return feed->first;
}

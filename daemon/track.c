/* One watch on one feed. See track.h. */
#include "daemon/track.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "config/watch.h"
#include "daemon/track_join.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t hash_text(uint64_t hash, const char *text)
{
    /* FNV-1a, the NUL included so that "a","bc" differs from "ab","c". */
    do {
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    } while (*text++);
    return hash;
}

#define HASH_START UINT64_C(14695981039346656037)

Track *track_new(FeedContext *context, const FeedOptions *feed, const WatchConfig *watch)
{
    Track *track = calloc(1, sizeof *track);
    if (!track)
        return NULL;
    snprintf(track->watch, sizeof track->watch, "%s", watch->name);
    Error err = {0};
    int r = watch_config_copy(&track->config, watch);
    if (r == 0)
        r = schedule_new(watch->days, watch->hours, watch->time_zone, &track->schedule, &err);
    if (r < 0 && err.text[0]) /* it was checked: the zone's file is gone meanwhile */
        log_error("track", "watch=%s is asked always: %s", watch->name, err.text);
    /* Several segmenters count at once: each kind of feed x camera x watch has its own prefix, and
     * numbers start above all that were ever given. */
    uint64_t hash = hash_text(hash_text(HASH_START, feed->camera), watch->name);
    snprintf(track->prefix, sizeof track->prefix, "%s%012" PRIx64,
             task_is_span(feed->kind) ? "a" : "e", (hash ^ hash >> 48) & UINT64_C(0xffffffffffff));
    SegmenterOptions options = {.camera = feed->camera,
                                .watch = watch->name,
                                .id_prefix = track->prefix,
                                .next_id = context->next_event_number,
                                .join_gap_us = watch->join_gap_us,
                                .min_duration_us = watch->min_duration_us,
                                .cool_down_us = watch->cool_down_us,
                                .min_confidence = watch->min_confidence};
    track->segmenter = segmenter_new(&options);
    if (!track->config.question || !track->segmenter) {
        track_free(track, context);
        return NULL;
    }
    return track;
}

void track_free(Track *track, FeedContext *context)
{
    if (!track)
        return;
    if (track->segmenter) {
        uint64_t next = segmenter_next_id(track->segmenter);
        if (next > context->next_event_number)
            context->next_event_number = next;
        segmenter_free(track->segmenter);
    }
    schedule_free(track->schedule);
    watch_config_deinit(&track->config);
    free(track);
}

bool track_is(const Track *track, const WatchConfig *watch)
{
    const WatchConfig *now = &track->config;
    return strcmp(track->watch, watch->name) == 0 && strcmp(now->question, watch->question) == 0 &&
           now->join_gap_us == watch->join_gap_us &&
           now->min_duration_us == watch->min_duration_us &&
           now->cool_down_us == watch->cool_down_us &&
           now->min_confidence == watch->min_confidence && strcmp(now->days, watch->days) == 0 &&
           strcmp(now->hours, watch->hours) == 0 && strcmp(now->time_zone, watch->time_zone) == 0;
}

static JoinSink sink_of(const Track *track, FeedContext *context, const FeedOptions *feed,
                        Batch *batch)
{
    return (JoinSink){track, context, feed, batch, track->run_us, track->seen_us};
}

int track_finish(Track *track, FeedContext *context, const FeedOptions *feed, Batch *batch)
{
    JoinSink sink = sink_of(track, context, feed, batch);
    track->seen_us = 0;
    return segmenter_finish(track->segmenter, join_sink, &sink);
}

/* Committed by itself, so that what comes after the hole finds it and can be joined to it. What it
 * was found in is in the ledger already. */
static int finish_run(Track *track, FeedContext *context, const FeedOptions *feed, int64_t now_us)
{
    Batch *batch = batch_new();
    int r = track_finish(track, context, feed, batch);
    if (r < 0) {
        batch_free(batch);
        return r;
    }
    return committer_add(context->committer, batch, now_us);
}

static int restore_final(const Event *event, void *context)
{
    Track *track = context;
    return event->state == EVENT_FINAL ? segmenter_restore(track->segmenter, event) : 0;
}

/* The first window after the begin, a hole, a restart: what cools down still the index knows,
 * whoever found it. */
static void begin_run(Track *track, FeedContext *context, const FeedOptions *feed, int64_t start_us)
{
    const char *watch = track->watch;
    IndexFilter filter = {.cameras = &feed->camera,
                          .n_cameras = 1,
                          .watches = &watch,
                          .n_watches = 1,
                          .since_us = start_us - track->config.cool_down_us,
                          .until_us = start_us,
                          .limit = UINT32_MAX};
    Error err = {0};
    track->run_us = start_us;
    track->first_number = segmenter_next_id(track->segmenter);
    if (track->config.cool_down_us > 0 &&
        index_events(context->index, &filter, restore_final, track, &err) < 0)
        log_error("track", "watch=%s: %s", watch, err.text);
}

int track_answer(Track *track, FeedContext *context, const FeedOptions *feed, const Window *window,
                 const TaskQuestion *answer, int64_t now_us, Batch *batch)
{
    _cleanup_free_ SegmenterInterval *intervals = mem_new_array(answer->n, sizeof *intervals);
    if (!intervals)
        return -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < answer->n; i++) {
        const TaskInterval *a = &answer->intervals[i];
        if (window_interval(window, a->start_s, a->end_s, a->confidence, a->description,
                            context->boundary_error_us, &intervals[n]) < 0)
            log_warn("track", "watch=%s an answer of no time in the window was left out",
                     track->watch);
        else
            n++;
    }
    int64_t start = window_start_us(window), end = window_end_us(window);
    int64_t settled = window_settled_us(window);
    /* A clock that jumps back within a window must not turn it inside out. */
    end = end > start ? end : start + 1;
    settled = settled < start ? start : settled > end ? end : settled;
    int r = 0;
    /* A hole longer than what is joined: nothing that comes can continue what is open. Nor is it
     * that when the clock was set back: what comes was seen once under other times. */
    if (track->seen_us && (start > track->seen_us + track->config.join_gap_us ||
                           start + FEED_HOLE_US < track->settled_us))
        r = finish_run(track, context, feed, now_us);
    if (track->seen_us == 0)
        begin_run(track, context, feed, start);
    track->settled_us = settled;
    SegmenterWindow looked = {start, end, settled, intervals, n};
    track->seen_us = end;
    JoinSink sink = sink_of(track, context, feed, batch);
    return r < 0 ? r : segmenter_add(track->segmenter, &looked, join_sink, &sink);
}

static void fact_key(const Track *track, const FeedOptions *feed, char *key, size_t bytes)
{
    snprintf(key, bytes, "file/%s/%s", feed->camera, track->watch);
}

void track_store(const Track *track, const FeedOptions *feed, const FileClock *clock, Batch *batch)
{
    char key[2 * EVENT_NAME_BYTES + 8];
    fact_key(track, feed, key, sizeof key);
    _cleanup_str_ Str value = {0};
    str_addf(&value, "1 %" PRId64 " %d %d %" PRId64 " %" PRId64 " %016" PRIx64 " %s",
             track->settled_pts_us, track->done, clock->known, clock->utc_minus_pts_us,
             clock->utc_err_us, hash_text(HASH_START, track->config.question), feed->identity);
    if (!str_failed(&value))
        batch_fact(batch, key, str_text(&value));
}

int track_load(Track *track, const FeedOptions *feed, FileClock *clock, Index *index, Error *err)
{
    char key[2 * EVENT_NAME_BYTES + 8];
    fact_key(track, feed, key, sizeof key);
    _cleanup_free_ char *value = NULL;
    int r = index_get_fact(index, key, &value, err);
    if (r < 0 || !value)
        return r;
    int64_t settled, offset, error;
    int done, known, used = 0;
    uint64_t question;
    if (sscanf(value, "1 %" SCNd64 " %d %d %" SCNd64 " %" SCNd64 " %" SCNx64 " %n", &settled, &done,
               &known, &offset, &error, &question, &used) < 6 ||
        used == 0 || strcmp(value + used, feed->identity) != 0)
        return 0;
    /* The clock belongs to the file, also when the question is another one now. */
    if (known)
        *clock = (FileClock){true, offset, error};
    if (question == hash_text(HASH_START, track->config.question)) {
        track->settled_pts_us = settled;
        track->done = done;
    }
    return 0;
}

/*
 * Track: one watch on one feed: its segmenter, and how far the feed has come for it. Used by feed.c
 * alone.
 */
#ifndef WHEN_DAEMON_TRACK_H
#define WHEN_DAEMON_TRACK_H

#include "config/schedule.h"
#include "daemon/feed.h"

typedef struct Track {
    char watch[EVENT_NAME_BYTES];
    WatchConfig config; /* as it was begun */
    Schedule *schedule; /* NULL: always */
    char prefix[24];    /* of its events' ids */
    Segmenter *segmenter;
    bool handed;        /* a window was handed to the scheduler for it */
    int64_t covered_us; /* up to here windows were handed to the scheduler, or the ledger speaks */
    int64_t marked_us;  /* end of its newest mark in the ledger by this feed; 0: none */
    int64_t seen_us;    /* end of the last window that the segmenter saw; 0: none */
    int64_t
        settled_us; /* up to here of it nothing is looked at again, unless the clock goes back */
    int64_t run_us; /* begin of the first one that it saw without a hole since */
    uint64_t first_number; /* of the ids of events since then */
    /* files */
    int64_t settled_pts_us; /* examined up to here */
    bool done;              /* examined to the end */
} Track;

/* NULL: no memory. Raises context->next_event_number past what it uses when it is freed. */
Track *track_new(FeedContext *context, const FeedOptions *feed, const WatchConfig *watch);
void track_free(Track *track, FeedContext *context);

bool track_is(const Track *track, const WatchConfig *watch); /* the same, nothing changed */

/* An answer: intervals of `window` to the segmenter; revisions go to the batch. What is final
 * is joined to what other feeds found of it (track_join.h). 0 or -ENOMEM. */
int track_answer(Track *track, FeedContext *context, const FeedOptions *feed, const Window *window,
                 const TaskQuestion *answer, int64_t now_us, Batch *batch);
/* What is open becomes final. */
int track_finish(Track *track, FeedContext *context, const FeedOptions *feed, Batch *batch);

/* How far a file was examined, as a fact of the index. */
typedef struct FileClock {
    bool known;
    int64_t utc_minus_pts_us, utc_err_us;
} FileClock;
void track_store(const Track *track, const FeedOptions *feed, const FileClock *clock, Batch *batch);
/* Leaves track and clock as they are when there is no fact or it speaks of another file. */
int track_load(Track *track, const FeedOptions *feed, FileClock *clock, Index *index, Error *err);

#endif

/*
 * Feed: what one source of frames of one camera becomes. Frames are cut into windows and handed to
 * the scheduler; answers become events (one Segmenter a watch) and ledger spans, committed together
 * in one transaction a window. A live camera, a file and an archive job are feeds of their own.
 *
 * Ledger (DESIGN invariant 5): EXAMINED comes only in the transaction that has the window's events.
 * A hole before a window (camera dark, whend not running, worker restarted) is WAITING when the
 * camera records, else LOST, with its reason; holes of at most FEED_HOLE_US count as nothing.
 *
 * A file is read again from its begin after a crash: how far each watch has come, and the file's
 * identity and clock, are facts of the index, and what was examined is left out.
 */
#ifndef WHEN_DAEMON_FEED_H
#define WHEN_DAEMON_FEED_H

#include "config/config.h"
#include "daemon/commit.h"
#include "daemon/scheduler.h"
#include "proto/wire.h"

#define FEED_HOLE_US INT64_C(1000000)

/* Shared by all feeds; owned by the daemon. */
typedef struct FeedContext {
    Index *index;
    Committer *committer;
    Scheduler *scheduler;
    int64_t window_us, overlap_us, boundary_error_us;
    const char *first_hole; /* why there may be a hole before a feed's first window */
    char model_name[96];
    uint64_t next_event_number;
    bool out_of_memory; /* set by feeds: the daemon ends, nothing committed is lost */
} FeedContext;

typedef struct FeedOptions {
    TaskKind kind;
    const char *camera;                 /* copied */
    bool recorded;                      /* what is missed can be had from recordings */
    const char *identity;               /* TASK_FILE: which file this is; copied */
    int64_t span_start_us, span_end_us; /* task_is_span: the stretch to examine */
} FeedOptions;

typedef struct FeedCounts {
    uint64_t frames;  /* received */
    uint64_t dropped; /* of windows that nobody examined */
    uint64_t windows; /* examined */
    uint64_t questions;
    int64_t last_utc_us;      /* of the newest frame */
    int64_t last_frame_at_us; /* monotonic: when it came; 0: none did */
    int64_t examined_us;      /* UTC up to which windows are examined */
    int64_t settled_pts_us;   /* the same in the file's own time */
} FeedCounts;

typedef struct Feed Feed;

enum { FEED_NOT_TAKEN = 1, FEED_BAD_FRAME = 2 };

Feed *feed_new(FeedContext *context, const FeedOptions *options); /* NULL: no memory */
/* What is buffered and queued is thrown away; open events stay open in the index. */
void feed_free(Feed *feed);

/* The watches that look at this camera: new ones begin, gone ones finish their events, a changed
 * one does both. Not for a file that is being read (but to end all of it): what was read of it
 * would be missed by a new watch, so it gets a new feed. 0 or -errno. */
int feed_set_watches(Feed *feed, const WatchConfig *watches, size_t n, int64_t now_us, Error *err);

/* Are these the watches that the feed has now, unchanged? */
bool feed_has_watches(const Feed *feed, const WatchConfig *watches, size_t n);

/* Takes up an event left open by an earlier run; FEED_NOT_TAKEN when this feed does not go on where
 * that one stopped. */
int feed_restore(Feed *feed, const Event *event);

/* A frame and its pixels (taken over when 0 is returned); FEED_BAD_FRAME when they do not fit
 * together; -ENOMEM. */
int feed_frame(Feed *feed, const When__FrameInfo *info, zmq_msg_t *pixels, int64_t now_us);
void feed_correct(Feed *feed, const When__TimeCorrection *correction);

/* Nothing more comes for now (stream silent). complete: nothing ever will (file at its end). */
void feed_end(Feed *feed, bool complete, int64_t now_us);
/* The worker died and starts again: `reason` is what the ledger says of the hole. */
void feed_interrupted(Feed *feed, const char *reason, int64_t now_us);

/* The scheduler's hooks for tasks of this feed: the task is taken over. */
void feed_done(Feed *feed, Task *task, const char *reason, int64_t now_us);
void feed_dropped(Feed *feed, Task *task, int64_t now_us);

size_t feed_held(const Feed *feed);                                 /* frames in memory */
bool feed_silent(const Feed *feed, int64_t now_us, int64_t for_us); /* and not ended yet */
bool feed_settled(const Feed *feed);  /* ended, and all of it examined and committed */
bool feed_complete(const Feed *feed); /* a file that need not be read (again) */
FeedCounts feed_counts(const Feed *feed);
/* UTC of a file's first picture where only our first reading of it knows: else unchanged. */
void feed_file_start(const Feed *feed, int64_t *start_utc_us, int64_t *utc_err_us);

/* The clock of a file, by its first frame: utc = pts + utc_minus_pts_us. */
typedef struct FeedClock {
    bool known;
    int64_t utc_minus_pts_us, utc_err_us;
    int utc_source;
} FeedClock;
FeedClock feed_clock(const Feed *feed);

#endif

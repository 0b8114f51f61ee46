/*
 * Segmenter: joins what neighbouring windows say about one watch on one camera into events
 * (open -> update* -> final | retracted). Pure: no clock, no I/O; whend and whenscan use the same.
 *
 * Windows come in order of time and overlap. Where two windows speak of the same stretch, an
 * event's start (end) is taken from the window in which it lies farther from that window's own
 * edges; a boundary at a window's edge is a cut, not a boundary. What only one of two windows saw
 * is kept, unless it was cut at that window's edge and lies where the other one sees better: models
 * err there. An event is final once no window to come can look at it again; one that is final at
 * once is handed out as final with revision 1.
 *
 * Invariants (asserted): same event, same id; revision goes up by one with each change handed out;
 * nothing is handed out unless something changed; a final event is never touched again; start <=
 * end; final events of one run (up to segmenter_finish) do not overlap.
 */
#ifndef WHEN_DAEMON_SEGMENTER_H
#define WHEN_DAEMON_SEGMENTER_H

#include "daemon/event.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Segmenter Segmenter;

typedef struct SegmenterOptions {
    const char *camera, *watch; /* copied */
    const char *id_prefix;      /* ids are PREFIX-N; copied */
    uint64_t next_id;           /* N of the next new event */
    int64_t join_gap_us;        /* intervals this near are one event */
    int64_t min_duration_us;    /* shorter ones are retracted instead of made final */
    int64_t cool_down_us;       /* so are those that begin so soon after the last final one's end */
    double min_confidence;      /* and those of less confidence; neither is handed out before */
} SegmenterOptions;

typedef struct SegmenterInterval {
    int64_t start_us, end_us; /* UTC; clipped to the window, swapped when reversed; one that lies
                                 outside of the window is left out */
    int64_t start_err_us, end_err_us; /* >= 0 */
    double confidence;
    const char *description; /* NULL: none */
} SegmenterInterval;

typedef struct SegmenterWindow {
    int64_t start_us, end_us; /* UTC that was looked at */
    int64_t settled_us; /* no later window looks at anything before this; = next window's start */
    const SegmenterInterval *intervals;
    size_t n;
} SegmenterWindow;

/* Called for each new revision, in order; the Event is borrowed for the call. Non-zero stops and is
 * returned. */
typedef int (*SegmenterSink)(const Event *event, void *context);

Segmenter *segmenter_new(const SegmenterOptions *options); /* NULL: no memory */
void segmenter_free(Segmenter *segmenter);

/* Takes up an event of an earlier run (from the index), before the first window. One that was left
 * open goes on; the cool-down of a final one counts, but for what begins so near to its end that it
 * may be the rest of it. -EINVAL when it is retracted, or no event at all. */
int segmenter_restore(Segmenter *segmenter, const Event *event);

/* The next window. What of it is settled already is not looked at again: the same window may come
 * twice. Absurd times (reversed, outside the window, NaN is the caller's) never break an invariant.
 * On an error from the sink, or -ENOMEM, the segmenter is unchanged.
 */
int segmenter_add(Segmenter *segmenter, const SegmenterWindow *window, SegmenterSink sink,
                  void *context);

/* Nothing more comes that continues what is open: all open events become final (or retracted). What
 * comes after this may be of any time, and begins as after segmenter_new. */
int segmenter_finish(Segmenter *segmenter, SegmenterSink sink, void *context);

uint64_t segmenter_next_id(const Segmenter *segmenter);

#endif

/*
 * What one feed finds, joined to what another one found: an event that goes over the edge between
 * what was examined live and what was examined from recordings is one event, whichever of them ends
 * it last. Used by track.c alone.
 */
#ifndef WHEN_DAEMON_TRACK_JOIN_H
#define WHEN_DAEMON_TRACK_JOIN_H

#include "daemon/track.h"

/* Where a track's segmenter hands out: a SegmenterSink's context. */
typedef struct JoinSink {
    const Track *track;
    FeedContext *context;
    const FeedOptions *feed;
    Batch *batch;
    int64_t from_us, to_us; /* what the feed examined without a hole: its edges cut events */
} JoinSink;

/* A SegmenterSink: passes events on to the batch; a final one first takes over what it continues
 * (that is retracted), or is retracted itself when it is part of a known one. */
int join_sink(const Event *event, void *sink);

#endif

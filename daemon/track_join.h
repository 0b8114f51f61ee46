/*
 * What an examination of one span of recordings finds, joined to what is known on either side of it
 * and within it: an event that goes over the span's edge is one event. Used by track.c alone.
 */
#ifndef WHEN_DAEMON_TRACK_JOIN_H
#define WHEN_DAEMON_TRACK_JOIN_H

#include "daemon/track.h"

/* Where the segmenter of a span's track hands out: a SegmenterSink's context. */
typedef struct SpanSink {
    const Track *track;
    FeedContext *context;
    const FeedOptions *feed;
    Batch *batch;
} SpanSink;

/* A SegmenterSink: passes events on to the batch; a final one first takes over what it continues
 * (that is retracted), or is retracted itself when it is part of a known one. */
int span_sink(const Event *event, void *sink);

/* Does this interval lie within an event that was known before? */
bool span_knows(const SpanSink *sink, const SegmenterInterval *interval);

#endif

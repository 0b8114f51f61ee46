/*
 * Decodes key frames alone where these are near enough together for the wanted spacing: all other
 * compressed pictures are thrown away before the decoder. A probe on the decoder's sink pad, in
 * GStreamer's thread; the rest belongs to the reader's owner.
 *
 * Of the key frames those pass that are more than half a spacing apart, so that every stretch of
 * one spacing has one. When the key frames turn out to be farther apart than that, nothing passes
 * any more and keyframes_sparse says so: the reader goes back and decodes everything.
 */
#ifndef WHEN_PIPELINE_KEYFRAMES_H
#define WHEN_PIPELINE_KEYFRAMES_H

#include <gst/gst.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct KeyFrames {
    atomic_bool on, sparse;
    atomic_bool usable; /* a codec whose key frames are marked, with times */
    int64_t spacing_us;
    GstClockTime last_key, last_passed; /* in the decoder's thread */
} KeyFrames;

/* Watches what goes into this element when it is a video decoder. keyframes lives longer. */
void keyframes_attach(KeyFrames *keyframes, GstElement *element);

/* From now on, when that can be done with this video. false: everything is decoded. */
bool keyframes_begin(KeyFrames *keyframes, int64_t spacing_us);

/* Are they too far apart? Then end it, and seek back with a flush before anything is pulled. */
bool keyframes_sparse(KeyFrames *keyframes);
void keyframes_end(KeyFrames *keyframes);

#endif

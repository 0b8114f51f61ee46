/*
 * Writes compressed pictures as they are into an MP4: appsrc ! [timestamper] ! mp4mux ! filesink.
 * For the recorder and for clips.
 */
#ifndef WHEN_PIPELINE_MP4_H
#define WHEN_PIPELINE_MP4_H

#include <gst/app/gstappsrc.h>
#include <gst/gst.h>
#include <stdbool.h>

typedef struct Mp4 {
    GstElement *pipeline;
    GstAppSrc *source;
    GstBus *bus; /* EOS when the file is finished, ERROR */
} Mp4;

typedef struct Mp4Options {
    unsigned fragment_ms; /* 0: an ordinary file */
    bool live;            /* pushes never wait: the oldest goes when the writer is behind */
} Mp4Options;

/* false: GStreamer has no mp4mux or app elements. What else goes wrong comes on the bus. */
bool mp4_open(Mp4 *mp4, const char *path, GstCaps *caps, const Mp4Options *options);
void mp4_close(Mp4 *mp4); /* at once: send EOS and wait for it on the bus before. Safe on zeroed */

/* A picture (shares the bytes); pts within the file. */
void mp4_push(Mp4 *mp4, GstBuffer *buffer, GstClockTime pts);

#endif

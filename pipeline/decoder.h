/*
 * The decoder of a stream or file: GStreamer's decodebin, with hardware (VA-API and the like)
 * before software where the machine has it, and without it when told so.
 */
#ifndef WHEN_PIPELINE_DECODER_H
#define WHEN_PIPELINE_DECODER_H

#include <gst/gst.h>
#include <stdbool.h>

/* "decodebin", or one that leaves out hardware decoders; NULL when GStreamer has none. */
GstElement *decoder_new(bool software);

/* Is this element, somewhere in a decodebin, a decoder of video? *hardware: one of those. */
bool decoder_is(GstElement *element, bool *hardware);

#endif

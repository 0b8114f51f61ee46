/*
 * What ended a stream: GStreamer's errors as one of a few kinds, with a line for users that has no
 * secret in it.
 */
#ifndef WHEN_PIPELINE_SOURCE_FAULT_H
#define WHEN_PIPELINE_SOURCE_FAULT_H

#include <gst/gst.h>
#include <stddef.h>

/* Why a source is over. */
typedef enum SourceFault {
    SOURCE_RUNNING = 0,
    SOURCE_ENDED,        /* the server said so */
    SOURCE_NOT_FOUND,    /* 404 */
    SOURCE_UNAUTHORIZED, /* 401, 403: wrong user or password */
    SOURCE_REFUSED,      /* nothing listens there */
    SOURCE_TIMEOUT,      /* no answer */
    SOURCE_STALLED,      /* no data for stall_us */
    SOURCE_UNSUPPORTED,  /* no decoder, no video: trying again will not help */
    SOURCE_HARDWARE,     /* the hardware decoder failed: software may do */
    SOURCE_FAILED        /* anything else */
} SourceFault;

/* url: without user and password. May take a second: it looks itself whether anybody listens. */
SourceFault source_fault(const char *url, const GError *error, const char *debug, char *reason,
                         size_t size);

#endif

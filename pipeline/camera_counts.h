/*
 * What a stream's worker counts over all its connections, for health messages and the log: each
 * counter that grew is one line, at most once a minute.
 */
#ifndef WHEN_PIPELINE_CAMERA_COUNTS_H
#define WHEN_PIPELINE_CAMERA_COUNTS_H

#include "pipeline/source.h"
#include "proto/worker.pb-c.h"

#include <stdbool.h>

enum { CAMERA_COUNTS_LOGGED = 3 };

typedef struct CameraCounts {
    SourceStats before;    /* of connections that are over; texts and sizes: the last one's */
    uint64_t lost_packets; /* of connections that are over */
    uint64_t stalls, logins_refused;
    uint64_t logged[CAMERA_COUNTS_LOGGED];
    int64_t log_due_us[CAMERA_COUNTS_LOGGED]; /* monotonic */
} CameraCounts;

/* A connection is over: its last figures. */
void camera_counts_add(CameraCounts *counts, Source *source);

/* All connections and the present one (NULL: none). */
SourceStats camera_counts_sum(const CameraCounts *counts, Source *now);

/* Fills the counters in, and logs those that grew. sum: of camera_counts_sum, outlives health. */
void camera_counts_tell(CameraCounts *counts, const char *camera, const SourceStats *sum,
                        Source *now, When__CameraHealth *health);

#endif

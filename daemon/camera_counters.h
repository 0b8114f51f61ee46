/*
 * What a camera's worker counts, from its health messages to whenctl: docs/operations.md says what
 * each means. A worker that starts anew counts from 0; what the ones before counted is kept.
 */
#ifndef WHEN_DAEMON_CAMERA_COUNTERS_H
#define WHEN_DAEMON_CAMERA_COUNTERS_H

#include "proto/query.pb-c.h"
#include "proto/worker.pb-c.h"

enum { CAMERA_COUNTERS = 10 };

typedef struct CameraCounters {
    uint64_t now[CAMERA_COUNTERS], before[CAMERA_COUNTERS];
    char codec[32], decoder[64];
    uint32_t width, height;
    uint64_t files, bad_files; /* of a folder: as they are now */
} CameraCounters;

void camera_counters_take(CameraCounters *counters, const When__CameraHealth *health);
/* Texts are borrowed by the status. */
void camera_counters_fill(const CameraCounters *counters, When__CameraStatus *status);

#endif

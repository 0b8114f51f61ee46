/*
 * What a video file says without being decoded: the time in its name, and whether its end is
 * missing. Pure file reading.
 */
#ifndef WHEN_PIPELINE_CONTAINER_H
#define WHEN_PIPELINE_CONTAINER_H

#include "base/time_zone.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct NameTime {
    int64_t utc_us;
    int64_t unsure_us; /* the zone's clocks showed this time twice: it may be so much later */
    bool says_utc;     /* a Z follows it, as in the names of our own recordings */
} NameTime;

/* A time in the last part of the path: 20261123_084500, 20261123T084500.250, 20261123084500,
 * 2026-11-23_08-45-00, 2026-11-23T08:45:00, ... of this zone (NULL: UTC), or with a Z of UTC. true
 * when there is one. */
bool container_name_time(const char *path, const TimeZone *zone, NameTime *time);

typedef enum ContainerIndex {
    CONTAINER_INDEX_NONE,     /* an MP4 whose index (moov) is not there, or not whole: unplayable */
    CONTAINER_INDEX_WHOLE,    /* one index for the file; also what is no MP4 */
    CONTAINER_INDEX_FRAGMENTS /* MP4 in fragments (moof): times are found by reading on */
} ContainerIndex;

/* Bytes that an MP4 or AVI promises behind the end of the file; 0 when it is whole, or of another
 * kind. */
int64_t container_missing_bytes(const char *path, ContainerIndex *index);

#endif

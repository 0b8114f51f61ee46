/* Counters of a camera's worker. See camera_counters.h. */
#include "daemon/camera_counters.h"

#include <stddef.h>
#include <stdio.h>

typedef struct Field {
    size_t from, to; /* offsets of a uint64_t in the health message and in the status */
} Field;

#define FIELD(name)                                                                                \
    {                                                                                              \
        offsetof(When__CameraHealth, name), offsetof(When__CameraStatus, name)                     \
    }

static const Field FIELDS[CAMERA_COUNTERS] = {
    FIELD(sent),        FIELD(stalls),         FIELD(damaged),        FIELD(lost_packets),
    FIELD(clock_steps), FIELD(format_changes), FIELD(logins_refused), FIELD(still),
    FIELD(cells),       FIELD(cells_kept)};

void camera_counters_take(CameraCounters *c, const When__CameraHealth *health)
{
    for (size_t i = 0; i < CAMERA_COUNTERS; i++) {
        uint64_t value = *(const uint64_t *)((const char *)health + FIELDS[i].from);
        if (value < c->now[i])
            c->before[i] += c->now[i];
        c->now[i] = value;
    }
    c->files = health->files;
    c->bad_files = health->bad_files;
    if (health->codec[0])
        snprintf(c->codec, sizeof c->codec, "%s", health->codec);
    if (health->decoder[0])
        snprintf(c->decoder, sizeof c->decoder, "%s", health->decoder);
    if (health->width) {
        c->width = health->width;
        c->height = health->height;
    }
}

void camera_counters_fill(const CameraCounters *c, When__CameraStatus *status)
{
    for (size_t i = 0; i < CAMERA_COUNTERS; i++)
        *(uint64_t *)((char *)status + FIELDS[i].to) = c->before[i] + c->now[i];
    status->codec = (char *)c->codec;
    status->decoder = (char *)c->decoder;
    status->files = c->files;
    status->bad_files = c->bad_files;
    status->width = c->width;
    status->height = c->height;
}

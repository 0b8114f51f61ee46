/*
 * Health: is whend doing what it is there for? Its reasons are for people and for what wakes them:
 * one a line, each with the camera, worker or folder that it is about.
 */
#ifndef WHEN_DAEMON_HEALTH_H
#define WHEN_DAEMON_HEALTH_H

#include "base/str.h"
#include "daemon/daemon.h"

#include <stdbool.h>

/* A disk with less than this is nearly full: so much, or this share of it if that is less. */
#define HEALTH_DISK_BYTES (UINT64_C(512) << 20)
#define HEALTH_DISK_SHARE 0.01

/* The ledger falls behind when less than half of this time of a live camera was examined. */
#define HEALTH_BEHIND_US (10 * 60 * US_PER_S)

/* true: nothing is wrong. Else `out` gets the reasons. */
bool health_check(Daemon *daemon, Str *out);

/* Bytes that are free for whend where its state is, and in all; 0 and 0 when that cannot be told.
 */
void health_disk(const Daemon *daemon, uint64_t *free_bytes, uint64_t *all_bytes);

#endif

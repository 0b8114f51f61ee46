/*
 * Recordings: brings the index in line with a camera's folder before its worker starts. A file that
 * was closed while nobody listened (whend was killed) is taken up by the UTC in its name; a row
 * whose file is gone is removed.
 */
#ifndef WHEN_DAEMON_RECORDINGS_H
#define WHEN_DAEMON_RECORDINGS_H

#include "config/config.h"
#include "daemon/commit.h"

/* The length of such a file is not known: until the next file, until it was last written, or one
 * segment, whichever is sensible. dir: that of this camera; no such folder is no error. Changes go
 * to the batch. 0 or -errno (err has the reason). */
int recordings_reconcile(Index *index, const CameraConfig *camera, const char *dir, Batch *batch,
                         Error *err);

#endif

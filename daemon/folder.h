/*
 * Folder: a camera that is a folder of video files. Each file that its worker reports as complete
 * is a recording of the camera, and its time waits in the ledger to be examined; archive jobs do
 * the rest. What was known before comes with the worker's setup, so that a restart reads no file
 * again.
 */
#ifndef WHEN_DAEMON_FOLDER_H
#define WHEN_DAEMON_FOLDER_H

#include "config/config.h"
#include "daemon/commit.h"
#include "proto/worker.pb-c.h"

typedef struct Daemon Daemon;

/* Borrowed by a setup. */
typedef struct FolderKnown {
    Recording *recordings;      /* [n] */
    When__RecordingFile *files; /* [n] */
    When__RecordingFile **list; /* [n] */
    size_t n;
} FolderKnown;

/* The files that are known already, newest first as far as they fit into a message. */
int folder_fill_setup(Daemon *daemon, const CameraConfig *config, When__CameraSetup *setup,
                      FolderKnown *known, Error *err);
void folder_known_deinit(FolderKnown *known);

/* Adds to the batch that this recording waits for each watch on its camera. */
void folder_wait(const Daemon *daemon, const Recording *recording, Batch *batch);

#endif

/*
 * What whend-camera does with its setup: one of a few jobs. Each returns an exit code of sysexits.h
 * and has said its last word (CameraEnd) before.
 */
#ifndef WHEN_PIPELINE_CAMERA_H
#define WHEN_PIPELINE_CAMERA_H

#include "pipeline/camera_link.h"

/* A stream: frames as they come, recording, reconnection; until it is stopped. */
int camera_live_run(CameraLink *link);

/* A file from begin to end, as fast as credit allows. */
int camera_file_run(CameraLink *link);

/* A folder: tells of each file that is complete, sends no frames; until it is stopped. */
int camera_folder_run(CameraLink *link);

/* A span of time out of recordings, as fast as credit allows. */
int camera_archive_run(CameraLink *link);

/* A clip or a thumbnail of a span, as a file; its last word is MediaDone. */
int camera_media_run(CameraLink *link);

#endif

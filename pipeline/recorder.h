/*
 * Keeps a camera's compressed video as it is, in files of one segment each.
 *
 * A pipeline of its own for each file, so that a full disk never touches the frames. The files are
 * fragmented MP4, two fragments a second: after a kill -9 all but the last second can be read; a
 * file that was closed in order is an ordinary MP4. Each begins with a key frame. While it is
 * written it is called NAME.mp4.part, then fsynced and renamed to its UTC start:
 * YYYYMMDDTHHMMSS.mmmZ.mp4. Files left by a crash are found again at the next start.
 *
 * Recording stops, and says so, when the disk has no room for another file as large as the last one
 * above a reserve; it begins again by itself. Frames go on meanwhile.
 */
#ifndef WHEN_PIPELINE_RECORDER_H
#define WHEN_PIPELINE_RECORDER_H

#include "base/err.h"
#include "pipeline/timebase.h"

#include <gst/gst.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Recorder Recorder;

typedef struct RecorderOptions {
    const char *dir;
    int64_t segment_us;
    /* The oldest files go when all would have more bytes than this, with room for one as large as
     * the last; 0: everything stays. */
    uint64_t keep_bytes;
    int64_t keep_for_us;    /* files that began longer ago go; 0: they stay */
    uint64_t reserve_bytes; /* of the disk, never used; 0: 64 MB */
} RecorderOptions;

typedef struct RecorderFile {
    const char *path;
    UtcStamp start;
    int64_t end_us;
    uint64_t bytes;
    char **removed; /* [n_removed] paths that retention deleted */
    size_t n_removed;
} RecorderFile;

/* Called in the owner's thread from recorder_open, _tick and _end. path NULL: only removals. */
typedef void RecorderClosed(const RecorderFile *file, void *data);

/* Makes the folder if need be, and reports what a crash left in it. */
int recorder_open(const RecorderOptions *options, RecorderClosed *closed, void *data,
                  Recorder **recorder, Error *err);
void recorder_free(Recorder *recorder); /* closes the file first */

/* From any thread: one piece of compressed video. arrival_utc_us: now, for the name until the
 * stream's own time is known. Never waits. */
void recorder_push(Recorder *recorder, GstSample *sample, int64_t arrival_utc_us);

/* Often: notices closed files, faults, the disk. timebase: of the session that records. */
void recorder_tick(Recorder *recorder, const Timebase *timebase);

/* The session is over: closes the file; waits for the muxer, 3 s at most. */
void recorder_end(Recorder *recorder, const Timebase *timebase);

bool recorder_stopped(const Recorder *recorder); /* disk full or failing */
const char *recorder_reason(const Recorder *recorder);
uint64_t recorder_bytes(const Recorder *recorder); /* of all files, as of the last look */

#endif

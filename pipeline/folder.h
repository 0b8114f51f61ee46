/*
 * Folder: which video files lie in a folder and below it, which are new, whole, changed or gone. It
 * opens none of them.
 *
 * inotify tells at once; every minute the folder is read again besides, for network file systems
 * tell nothing. A file is handed out when its writer closed it or moved it in place, or when it has
 * not changed for FOLDER_SETTLE_US (by its own time of writing when it lies there at the begin).
 * One that changes later is handed out again. Names that begin with a point or end in no known way
 * are no video files. Links are followed to files only.
 *
 * A folder that is gone, or empty from one look to the next, counts as not mounted: its files are
 * not taken for removed.
 */
#ifndef WHEN_PIPELINE_FOLDER_H
#define WHEN_PIPELINE_FOLDER_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define FOLDER_SETTLE_US INT64_C(5000000)
#define FOLDER_RESCAN_US INT64_C(60000000)

enum { FOLDER_MAX_DEPTH = 6, FOLDER_MAX_FILES = 1000000 };

typedef struct Folder Folder;

typedef struct FolderFile {
    const char *path; /* absolute; until the next call */
    uint64_t bytes;
    int64_t mtime_us; /* UTC */
} FolderFile;

typedef struct FolderCounts {
    uint64_t good, bad; /* as folder_result was told */
    bool missing;       /* not there, or not mounted */
} FolderCounts;

/* path: absolute. now_us: any clock that does not jump, here and below. EX_NOINPUT: no such folder;
 * -ENOMEM. */
int folder_open(const char *path, int64_t now_us, Folder **folder, Error *err);
void folder_free(Folder *folder);

/* Before the first folder_tick: this file was good, at this size, in an earlier run. */
void folder_know(Folder *folder, const char *path, uint64_t bytes);

/* Often: sees what came, changed and went. */
void folder_tick(Folder *folder, int64_t now_us);

/* A file to look at: the oldest name first. true: tell the result before the next call. */
bool folder_next(Folder *folder, int64_t now_us, FolderFile *file);
void folder_result(Folder *folder, bool good);

/* A file that was good and is gone; NULL: none more. */
const char *folder_removed(Folder *folder);

FolderCounts folder_counts(const Folder *folder);

#endif

/*
 * Files: whole reads with a bound, atomic replacement, directories, one owner per directory.
 */
#ifndef WHEN_BASE_FILE_H
#define WHEN_BASE_FILE_H

#include "base/err.h"

#include <stddef.h>

/* Reads all of path, at most max_bytes. *data is NUL-terminated and owned by the caller.
 * -errno with err filled: EX_NOINPUT (no such file), EX_DATAERR (too large), EX_IOERR. */
int file_read(const char *path, size_t max_bytes, char **data, size_t *size, Error *err);

/* Writes path.tmp, fsyncs, renames over path, fsyncs the folder: a crash leaves old or new. */
int file_replace(const char *path, const void *data, size_t size, Error *err);

/* mkdir -p with mode 0750; checks that the folder is writable (EX_CANTCREAT otherwise). */
int file_make_dir(const char *path, Error *err);

/* Takes an exclusive lock on DIR/lock for the life of the returned descriptor (>= 0).
 * -EBUSY with EX_TEMPFAIL and the holder's pid in the text when another process has it. */
int file_lock_dir(const char *dir, Error *err);

/* dir + "/" + name; the caller frees; NULL when there is no memory. */
char *file_join(const char *dir, const char *name);

#endif

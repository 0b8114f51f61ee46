/* Index and folder in line. See recordings.h. */
#include "daemon/recordings.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/worker.pb-c.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a time that is only known by name and clock of the disk may be off. */
#define NAME_ERROR_US US_PER_S

typedef struct Files {
    Recording *files; /* [n] */
    size_t n, capacity;
} Files;

static int add(Files *files, const Recording *recording)
{
    void *array = files->files;
    int r = mem_grow(&array, &files->capacity, files->n + 1, sizeof *recording);
    files->files = array;
    if (r == 0)
        files->files[files->n++] = *recording;
    return r;
}

static int add_row(const Recording *recording, void *context)
{
    return add(context, recording);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const Recording *)a)->path, ((const Recording *)b)->path);
}

/* "20261123T094332.147Z.mp4" */
static bool parse_name(const char *name, int64_t *start_us)
{
    int y, mon, d, h, min, s, ms, used = 0;
    if (sscanf(name, "%4d%2d%2dT%2d%2d%2d.%3dZ.mp4%n", &y, &mon, &d, &h, &min, &s, &ms, &used) <
            7 ||
        used == 0 || name[used] != '\0')
        return false;
    char text[CLOCK_UTC_TEXT_BYTES];
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", y, mon, d, h, min, s, ms);
    return clock_parse_utc(text, start_us) == 0;
}

/* The folder's closed files, in order of time (their names sort so). */
static int list_folder(const char *dir, Files *files)
{
    DIR *folder = opendir(dir);
    if (!folder)
        return errno == ENOENT ? 0 : -errno;
    int r = 0;
    for (struct dirent *entry; r == 0 && (entry = readdir(folder));) {
        Recording file = {.utc_err_us = NAME_ERROR_US,
                          .utc_source = WHEN__UTC_SOURCE__UTC_SOURCE_NAME};
        struct stat st;
        if (!parse_name(entry->d_name, &file.start_us))
            continue;
        int n = snprintf(file.path, sizeof file.path, "%s/%s", dir, entry->d_name);
        if (n < 0 || (size_t)n >= sizeof file.path || stat(file.path, &st) < 0)
            continue;
        file.bytes = st.st_size;
        file.end_us = (int64_t)st.st_mtim.tv_sec * US_PER_S + st.st_mtim.tv_nsec / 1000;
        r = add(files, &file);
    }
    closedir(folder);
    if (files->n > 0)
        qsort(files->files, files->n, sizeof *files->files, by_path);
    return r;
}

/* A camera's clock may be another one than the disk's: then the time of writing says nothing. */
static void guess_end(const CameraConfig *camera, Recording *file, const Recording *next)
{
    if (file->end_us <= file->start_us || file->end_us - file->start_us > 2 * camera->segment_us)
        file->end_us = file->start_us + camera->segment_us;
    if (next && next->start_us < file->end_us && next->start_us > file->start_us)
        file->end_us = next->start_us;
}

int recordings_reconcile(Index *index, const CameraConfig *camera, const char *dir, Batch *batch,
                         Error *err)
{
    Files rows = {0}, files = {0};
    int r = index_recordings(index, camera->name, 0, INT64_MAX, add_row, &rows, err);
    if (r >= 0 && (r = list_folder(dir, &files)) < 0)
        error_set(err, -r, EX_IOERR, "%s: %s", dir, strerror(-r));
    if (r >= 0 && rows.n > 0)
        qsort(rows.files, rows.n, sizeof *rows.files, by_path);
    size_t found = 0;
    for (size_t i = 0; r >= 0 && i < files.n; i++) {
        Recording *file = &files.files[i];
        if (rows.n > 0 && bsearch(file, rows.files, rows.n, sizeof *file, by_path))
            continue;
        guess_end(camera, file, i + 1 < files.n ? file + 1 : NULL);
        snprintf(file->camera, sizeof file->camera, "%s", camera->name);
        batch_recording(batch, file);
        found++;
    }
    for (size_t i = 0; r >= 0 && i < rows.n; i++)
        if (access(rows.files[i].path, F_OK) < 0 && errno == ENOENT)
            batch_remove_recording(batch, rows.files[i].path);
    if (found > 0)
        log_info("recordings", "camera=%s files=%zu were closed while whend was not running",
                 camera->name, found);
    free(rows.files);
    free(files.files);
    return r < 0 ? r : 0;
}

/* Folders of video files as cameras. See folder.h. */
#include "daemon/folder.h"

#include "base/mem.h"
#include "config/watch.h"
#include "daemon/daemon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What of a setup message may be spent on files that are known; older ones are looked at again,
 * which costs time and changes nothing. */
enum { MAX_KNOWN_BYTES = WIRE_MAX_MESSAGE_BYTES / 2, FILE_BYTES = 48 };

typedef struct Rows {
    Recording *rows; /* [n] */
    size_t n, capacity;
} Rows;

static int add_row(const Recording *recording, void *context)
{
    Rows *rows = context;
    void *array = rows->rows;
    int r = mem_grow(&array, &rows->capacity, rows->n + 1, sizeof *recording);
    rows->rows = array;
    if (r == 0)
        rows->rows[rows->n++] = *recording;
    return r;
}

int folder_fill_setup(Daemon *daemon, const CameraConfig *config, When__CameraSetup *setup,
                      FolderKnown *known, Error *err)
{
    *known = (FolderKnown){0};
    setup->folder = true;
    Rows rows = {0};
    int r = index_recordings(daemon->index, config->name, 0, INT64_MAX, add_row, &rows, err);
    known->recordings = rows.rows;
    if (r < 0)
        return r;
    known->files = mem_new_array(rows.n, sizeof *known->files);
    known->list = mem_new_array(rows.n, sizeof(When__RecordingFile *));
    if (!known->files || !known->list)
        return error_set(err, ENOMEM, EX_OSERR, "camera %s: no memory", config->name);
    size_t bytes = 0;
    for (size_t i = rows.n; i-- > 0;) {
        const Recording *row = &rows.rows[i];
        bytes += strlen(row->path) + FILE_BYTES;
        if (bytes > MAX_KNOWN_BYTES)
            break;
        When__RecordingFile *file = &known->files[known->n];
        when__recording_file__init(file);
        file->path = (char *)row->path;
        file->start_us = row->start_us;
        file->end_us = row->end_us;
        file->bytes = (uint64_t)row->bytes;
        known->list[known->n++] = file;
    }
    setup->n_files = known->n;
    setup->files = known->list;
    return 0;
}

void folder_known_deinit(FolderKnown *known)
{
    free(known->recordings);
    free(known->files);
    free(known->list);
    *known = (FolderKnown){0};
}

void folder_wait(const Daemon *daemon, const Recording *recording, Batch *batch)
{
    for (size_t i = 0; i < daemon->config.n_watches; i++) {
        const WatchConfig *watch = &daemon->config.watches[i];
        if (!watch_config_covers(watch, recording->camera))
            continue;
        LedgerSpan span = {
            .start_us = recording->start_us, .end_us = recording->end_us, .state = SPAN_WAITING};
        snprintf(span.camera, sizeof span.camera, "%s", recording->camera);
        snprintf(span.watch, sizeof span.watch, "%s", watch->name);
        snprintf(span.reason, sizeof span.reason, "a new file");
        batch_span(batch, &span);
    }
}

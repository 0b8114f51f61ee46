/*
 * A folder's worker: looks at each complete file once, for its time and length, and tells whend of
 * it; archive jobs examine them. See camera.h, folder.h.
 */
#include "pipeline/camera.h"

#include "base/clock.h"
#include "base/log.h"
#include "pipeline/folder.h"
#include "pipeline/reader.h"

#include <stdio.h>
#include <string.h>

enum { TICK_MS = 500 };

static const int64_t HEALTH_EVERY_US = US_PER_S;

typedef struct Watch {
    CameraLink *link;
    Folder *folder;
    TimeZone *zone;
    char reason[512]; /* of the last file that could not be read, or of the folder itself */
    int64_t health_due_us;
} Watch;

static void send_health(Watch *w)
{
    When__CameraHealth h = WHEN__CAMERA_HEALTH__INIT;
    FolderCounts counts = folder_counts(w->folder);
    h.state = counts.missing ? "stalled" : "running";
    if (counts.missing)
        snprintf(w->reason, sizeof w->reason, "the folder is gone or empty: is it mounted?");
    h.reason = w->reason;
    h.files = counts.good;
    h.bad_files = counts.bad;
    w->health_due_us = clock_monotonic_us() + HEALTH_EVERY_US;
    camera_link_health(w->link, &h);
}

static void tell(Watch *w, When__RecordingClosed *closed)
{
    When__FromWorker message = WHEN__FROM_WORKER__INIT;
    message.body_case = WHEN__FROM_WORKER__BODY_RECORDING;
    message.recording = closed;
    camera_link_send(w->link, &message);
}

/* Length and first picture's UTC. A container that does not say how long it is is read through. */
static int look(const Watch *w, const FolderFile *file, When__RecordingClosed *closed, Error *err)
{
    const When__CameraSetup *setup = w->link->setup;
    ReaderOptions options = {.fps = 0.01,
                             .cell_px = (int)setup->cell_px,
                             .min_pixels = (int64_t)setup->min_pixels,
                             .max_pixels = (int64_t)setup->max_pixels,
                             .time_zone = w->zone};
    Reader *reader = NULL;
    int r = reader_open(file->path, &options, &reader, err);
    if (r < 0)
        return r;
    const ReaderInfo *info = reader_info(reader);
    int64_t duration_us = (int64_t)(info->duration_s * 1e6);
    if (duration_us <= 0) {
        Frame frame;
        uint64_t decoded;
        while (!camera_link_stopped(w->link) && (r = reader_next(reader, &frame, err)) == 0)
            ;
        reader_position(reader, &decoded, &duration_us);
        duration_us += info->fps > 0 ? (int64_t)(1e6 / info->fps) : US_PER_S / 25;
    }
    closed->path = (char *)file->path;
    closed->bytes = file->bytes;
    closed->start_us = info->start_utc_us;
    closed->utc_err_us = info->start_utc_err_us;
    closed->utc_source = (When__UtcSource)info->utc_source;
    if (info->utc_source == UTC_NONE) {
        /* Nothing says when it was made but the time of its last byte. */
        closed->start_us = file->mtime_us - duration_us;
        closed->utc_err_us =
            setup->start_utc_err_us > US_PER_S ? setup->start_utc_err_us : US_PER_S;
        closed->utc_source = WHEN__UTC_SOURCE__UTC_SOURCE_ARRIVAL;
    }
    closed->end_us = closed->start_us + duration_us;
    reader_free(reader);
    return r < 0 ? r : 0;
}

/* One file; false: none waits. */
static bool take_file(Watch *w)
{
    FolderFile file;
    if (!folder_next(w->folder, clock_monotonic_us(), &file))
        return false;
    When__RecordingClosed closed = WHEN__RECORDING_CLOSED__INIT;
    Error err = {0};
    if (look(w, &file, &closed, &err) < 0) {
        log_warn("camera", "camera=%s %s", w->link->name, err.text);
        snprintf(w->reason, sizeof w->reason, "%s", err.text);
        folder_result(w->folder, false);
        return true;
    }
    if (camera_link_stopped(w->link))
        return false;
    folder_result(w->folder, true);
    tell(w, &closed);
    log_info("camera", "camera=%s file=%s seconds=%.1f", w->link->name, file.path,
             (double)(closed.end_us - closed.start_us) / 1e6);
    return true;
}

static void tell_removed(Watch *w)
{
    for (const char *path; (path = folder_removed(w->folder));) {
        When__RecordingClosed closed = WHEN__RECORDING_CLOSED__INIT;
        char *list[] = {(char *)path};
        closed.removed = list;
        closed.n_removed = 1;
        tell(w, &closed);
        log_info("camera", "camera=%s file=%s is gone", w->link->name, path);
    }
}

int camera_folder_run(CameraLink *link)
{
    const When__CameraSetup *setup = link->setup;
    Watch w = {.link = link};
    Error err = {0};
    if ((*setup->time_zone && time_zone_new(setup->time_zone, &w.zone, &err) < 0) ||
        folder_open(setup->url, clock_monotonic_us(), &w.folder, &err) < 0) {
        time_zone_free(w.zone);
        camera_link_end(link, &err, 0);
        return err.exit_code;
    }
    for (size_t i = 0; i < setup->n_files; i++)
        folder_know(w.folder, setup->files[i]->path, setup->files[i]->bytes);
    while (!camera_link_stopped(link)) {
        folder_tick(w.folder, clock_monotonic_us());
        tell_removed(&w);
        bool more = take_file(&w);
        if (clock_monotonic_us() >= w.health_due_us)
            send_health(&w);
        camera_link_wait(link, -1, false, more ? 0 : TICK_MS);
    }
    folder_free(w.folder);
    time_zone_free(w.zone);
    return 0;
}

/* Files and archive jobs of whend-camera: frames as fast as credit allows. See camera.h. */
#include "pipeline/camera.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pipeline/camera_picture.h"
#include "pipeline/reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t HEALTH_EVERY_US = US_PER_S;

typedef struct Job {
    CameraLink *link;
    When__CameraHealth health;
    int64_t health_due_us;
    uint64_t counted_decoded, counted_sent; /* at the last health message */
    int64_t counted_us;
    uint64_t decoded_before, still_before; /* of the files that are done */
    CameraPicture view;
} Job;

static void job_init(Job *job, CameraLink *link)
{
    *job = (Job){.link = link, .counted_us = clock_monotonic_us()};
    when__camera_health__init(&job->health);
    job->health.state = "connecting";
}

static void send_health(Job *job, const char *state)
{
    int64_t now_us = clock_monotonic_us();
    double elapsed_s = (double)(now_us - job->counted_us) / 1e6;
    When__CameraHealth *h = &job->health;
    h->state = (char *)state;
    if (elapsed_s > 0.2) {
        h->fps_in = (double)(h->decoded - job->counted_decoded) / elapsed_s;
        h->fps_out = (double)(h->sent - job->counted_sent) / elapsed_s;
        job->counted_decoded = h->decoded;
        job->counted_sent = h->sent;
        job->counted_us = now_us;
    }
    job->health_due_us = now_us + HEALTH_EVERY_US;
    camera_link_health(job->link, h);
}

/* Waits until one more frame may go out; false: stopped. */
static bool wait_for_credit(Job *job)
{
    camera_link_wait(job->link, -1, false, 0);
    while (job->link->credit == 0 && !camera_link_stopped(job->link)) {
        int64_t left_us = job->health_due_us - clock_monotonic_us();
        if (left_us <= 0)
            send_health(job, "running");
        else
            camera_link_wait(job->link, -1, false, (int)(left_us / 1000) + 1);
    }
    return !camera_link_stopped(job->link);
}

static int send_frame(Job *job, const Frame *frame, Error *err)
{
    When__FrameInfo info = WHEN__FRAME_INFO__INIT;
    info.pts_us = frame->pts_us;
    info.utc_us = frame->utc_us;
    info.utc_err_us = frame->utc_err_us;
    info.utc_source = (When__UtcSource)frame->utc_source;
    info.width = (uint32_t)frame->width;
    info.height = (uint32_t)frame->height;
    info.session = 1;
    info.motion = frame->motion;
    info.cells = (ProtobufCBinaryData){(frame->n_cells + 7) / 8, (uint8_t *)frame->cells};
    size_t bytes = (size_t)frame->width * (size_t)frame->height * 3;
    zmq_msg_t pixels;
    if (zmq_msg_init_size(&pixels, bytes) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "no memory for a frame");
    memcpy(zmq_msg_data(&pixels), frame->rgb, bytes);
    int r;
    while ((r = camera_link_send_frame(job->link, &info, &pixels)) == -EAGAIN &&
           !camera_link_stopped(job->link))
        camera_link_wait(job->link, -1, true, 200);
    zmq_msg_close(&pixels);
    if (r == -EAGAIN)
        return 0; /* stopped */
    if (r < 0)
        return error_set(err, -r, EX_SOFTWARE, "a frame cannot be sent: %s", zmq_strerror(-r));
    job->link->credit--;
    job->health.sent++;
    job->health.cells += frame->n_cells;
    job->health.cells_kept += frame->n_kept;
    job->health.utc_source = info.utc_source;
    job->health.utc_err_us = info.utc_err_us;
    return 0;
}

static void count(Job *job, const Reader *reader)
{
    uint64_t decoded;
    int64_t pts_us;
    reader_position(reader, &decoded, &pts_us);
    job->health.decoded = job->decoded_before + decoded;
    job->health.still = job->still_before + reader_still(reader);
    if (clock_monotonic_us() >= job->health_due_us)
        send_health(job, "running");
}

static ReaderOptions options_of(const Job *job)
{
    const When__CameraSetup *setup = job->link->setup;
    return (ReaderOptions){.user = setup->user,
                           .password = setup->password,
                           .fps = setup->fps_base,
                           .cell_px = (int)setup->cell_px,
                           .min_pixels = (int64_t)setup->min_pixels,
                           .max_pixels = (int64_t)setup->max_pixels,
                           .shapes = job->view.shapes,
                           .n_shapes = job->view.limits.n_shapes,
                           .gate_sensitivity = job->view.limits.gate_sensitivity,
                           .gate_refresh_us = job->view.limits.gate_refresh_us,
                           .max_tokens_per_minute = setup->max_tokens_per_minute,
                           .start_utc_us = setup->start_utc_us,
                           .start_utc_err_us = setup->start_utc_err_us};
}

int camera_file_run(CameraLink *link)
{
    const When__CameraSetup *setup = link->setup;
    Job job;
    Reader *reader = NULL;
    Error err = {0};
    double duration_s = 0;
    int64_t arrival_us = 0;
    TimeZone *zone = NULL;
    job_init(&job, link);
    int r = camera_picture_init(&job.view, setup, &err);
    if (r == 0 && *setup->time_zone)
        r = time_zone_new(setup->time_zone, &zone, &err);
    ReaderOptions options = options_of(&job);
    options.time_zone = zone;
    options.fps_min = setup->fps_min;
    options.fps_max = setup->fps_max;
    options.any_instant = true;
    if (r == 0)
        r = reader_open(setup->url, &options, &reader, &err);
    if (r == 0) {
        duration_s = reader_info(reader)->duration_s;
        job.health.duration_s = duration_s;
        send_health(&job, "running");
    }
    while (r == 0 && wait_for_credit(&job)) {
        Frame frame;
        r = reader_next(reader, &frame, &err);
        if (r != 0)
            break;
        if (frame.utc_source == UTC_NONE) {
            /* Nothing says when it was made: it happens now. */
            if (arrival_us == 0)
                arrival_us = clock_utc_us() - frame.pts_us;
            frame.utc_us = arrival_us + frame.pts_us;
            frame.utc_err_us = US_PER_S;
            frame.utc_source = UTC_ARRIVAL;
        }
        r = send_frame(&job, &frame, &err);
        count(&job, reader);
    }
    if (reader) {
        uint64_t decoded;
        int64_t pts_us;
        reader_position(reader, &decoded, &pts_us);
        job.health.decoded = decoded;
        if (duration_s <= 0)
            duration_s = (double)pts_us / 1e6;
    }
    reader_free(reader);
    time_zone_free(zone);
    if (r == 0)
        return 0; /* stopped: it has not come to its end */
    job.health.reason = r < 0 ? err.text : "";
    send_health(&job, r < 0 ? "failed" : "finished");
    camera_link_end(link, r < 0 ? &err : NULL, duration_s);
    return r < 0 ? err.exit_code : 0;
}

/* --- archive --- */

static int by_start(const void *a, const void *b)
{
    const When__RecordingFile *x = *(When__RecordingFile *const *)a;
    const When__RecordingFile *y = *(When__RecordingFile *const *)b;
    return x->start_us < y->start_us ? -1 : x->start_us > y->start_us;
}

/* One recording's part of the span. *last_us: UTC of the last frame sent. */
static int read_recording(Job *job, const When__RecordingFile *file, int64_t *last_us, Error *err)
{
    const When__CameraSetup *setup = job->link->setup;
    ReaderOptions options = options_of(job);
    options.start_utc_us = file->start_us;
    options.start_utc_err_us = file->start_err_us;
    options.any_instant = true;
    options.from_pts_us =
        setup->span_start_us > file->start_us ? setup->span_start_us - file->start_us : 0;
    options.to_pts_us = setup->span_end_us - file->start_us;
    if (options.to_pts_us <= 0)
        return READER_END;
    Reader *reader = NULL;
    int r = reader_open(file->path, &options, &reader, err);
    if (r < 0)
        return r;
    while (r == 0 && wait_for_credit(job)) {
        Frame frame;
        r = reader_next(reader, &frame, err);
        if (r != 0 || frame.utc_us <= *last_us)
            continue;
        *last_us = frame.utc_us;
        frame.utc_source = (UtcSource)file->utc_source;
        frame.pts_us = frame.utc_us - setup->span_start_us; /* goes on from file to file */
        r = send_frame(job, &frame, err);
        count(job, reader);
    }
    uint64_t decoded;
    int64_t pts_us;
    reader_position(reader, &decoded, &pts_us);
    job->decoded_before += decoded;
    job->still_before += reader_still(reader);
    job->health.decoded = job->decoded_before;
    reader_free(reader);
    return r;
}

int camera_archive_run(CameraLink *link)
{
    const When__CameraSetup *setup = link->setup;
    Job job;
    Error first = {0};
    int64_t last_us = INT64_MIN;
    job_init(&job, link);
    job.health.duration_s = (double)(setup->span_end_us - setup->span_start_us) / 1e6;
    if (camera_picture_init(&job.view, setup, &first) < 0) {
        camera_link_end(link, &first, 0);
        return first.exit_code;
    }
    if (setup->n_files > 1)
        qsort(setup->files, setup->n_files, sizeof *setup->files, by_start);
    send_health(&job, "running");
    for (size_t i = 0; i < setup->n_files && !camera_link_stopped(link); i++) {
        const When__RecordingFile *file = setup->files[i];
        Error err = {0};
        if (file->end_us > setup->span_start_us && file->start_us < setup->span_end_us &&
            read_recording(&job, file, &last_us, &err) < 0) {
            /* A recording that broke off gave what it has; the next one may be whole. */
            log_warn("camera", "camera=%s %s", link->name, err.text);
            if (first.exit_code == 0)
                first = err;
        }
    }
    if (camera_link_stopped(link))
        return 0;
    if (job.health.sent > 0)
        error_clear(&first);
    else if (first.exit_code == 0)
        error_set(&first, ENOENT, EX_NOINPUT, "no recording has this span");
    job.health.reason = first.text;
    send_health(&job, first.exit_code ? "failed" : "finished");
    camera_link_end(link, &first, job.health.duration_s);
    return first.exit_code;
}

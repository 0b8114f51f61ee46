/*
 * A stream's worker: opens the source, stamps and sends its frames, records, reconnects. See
 * camera.h.
 */
#include "pipeline/camera.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pipeline/backoff.h"
#include "pipeline/camera_counts.h"
#include "pipeline/camera_picture.h"
#include "pipeline/recorder.h"
#include "pipeline/source.h"
#include "pipeline/url.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { MAX_HELD = 64, MAX_CELL_BYTES = 512, TICK_MS = 100, REASON_BYTES = 256 };

static const int64_t HEALTH_EVERY_US = US_PER_S;
static const int64_t RETRY_FIRST_US = US_PER_S / 2, RETRY_MOST_US = 30 * US_PER_S;
/* A wrong password does not get right by asking, and cameras lock out those who ask often. */
static const int64_t PASSWORD_FIRST_US = 10 * US_PER_S, PASSWORD_MOST_US = 300 * US_PER_S;
static const int64_t STEADY_US = 10 * US_PER_S; /* a stream that ran so long was good */
static const int64_t ARRIVAL_ERR_US = SOURCE_LATENCY_MS * 1000 + US_PER_S / 2;
static const int64_t HTTP_ERR_US = 2 * US_PER_S, HLS_ERR_US = 30 * US_PER_S;

typedef struct Held {
    When__FrameInfo info;
    zmq_msg_t pixels;
    int64_t reference_utc_us;
    int64_t arrival_offset_us;
    uint8_t cells[MAX_CELL_BYTES]; /* info.cells points here */
    bool still; /* nothing changed: sent only if the next frame shows a change. It is the last */
} Held;

typedef struct Live {
    CameraLink *link;
    const When__CameraSetup *setup;
    Url url;
    TlsTrust trust;
    bool software; /* the hardware decoder failed */
    char orientation[24];
    int wake_fd;
    Source *source;
    Recorder *recorder; /* NULL: not recorded */
    CameraPicture view;
    Picture *picture;
    uint64_t still, cells, cells_kept;
    Timebase timebase;
    Held held[MAX_HELD]; /* ring of n_held from head, in order of arrival */
    size_t head, n_held;
    Backoff backoff;
    int64_t retry_us;  /* when to open again */
    int64_t opened_us; /* the first picture of this source came */
    const char *state;
    char reason[REASON_BYTES];
    CameraCounts counts;
    uint64_t opens, sent, dropped_here;
    UtcStamp last_stamp;
    int64_t health_due_us, counted_us;
    uint64_t counted_decoded, counted_sent;
    double fps_in, fps_out;
    bool conversion_failed;
    Error fatal;
} Live;

static void on_compressed(GstSample *sample, void *data)
{
    recorder_push(((Live *)data)->recorder, sample, clock_utc_us());
}

static void on_closed(const RecorderFile *file, void *data)
{
    Live *live = data;
    When__RecordingClosed closed = WHEN__RECORDING_CLOSED__INIT;
    if (file->path)
        closed.path = (char *)file->path;
    closed.start_us = file->start.utc_us;
    closed.end_us = file->end_us;
    closed.utc_err_us = file->start.err_us;
    closed.utc_source = (When__UtcSource)file->start.source;
    closed.bytes = file->bytes;
    closed.removed = file->removed;
    closed.n_removed = file->n_removed;
    When__FromWorker message = WHEN__FROM_WORKER__INIT;
    message.body_case = WHEN__FROM_WORKER__BODY_RECORDING;
    message.recording = &closed;
    camera_link_send(live->link, &message);
}

static void send_health(Live *live)
{
    When__CameraHealth h = WHEN__CAMERA_HEALTH__INIT;
    int64_t now_us = clock_monotonic_us();
    SourceStats sum = camera_counts_sum(&live->counts, live->source);
    camera_counts_tell(&live->counts, live->link->name, &sum, live->source, &h);
    h.dropped = sum.dropped + live->dropped_here;
    h.clock_steps = live->timebase.steps;
    double elapsed_s = (double)(now_us - live->counted_us) / 1e6;
    if (elapsed_s > 0.5) {
        live->fps_in = (double)(h.decoded - live->counted_decoded) / elapsed_s;
        live->fps_out = (double)(live->sent - live->counted_sent) / elapsed_s;
        live->counted_decoded = h.decoded;
        live->counted_sent = live->sent;
        live->counted_us = now_us;
    }
    h.state = (char *)live->state;
    h.reason = live->reason;
    h.sent = live->sent;
    h.reconnects = live->opens > 0 ? live->opens - 1 : 0;
    h.utc_source = (When__UtcSource)live->last_stamp.source;
    h.utc_err_us = live->last_stamp.err_us;
    h.fps_in = live->fps_in;
    h.fps_out = live->fps_out;
    h.still = live->still;
    h.cells = live->cells;
    h.cells_kept = live->cells_kept;
    if (live->recorder) {
        h.recording_bytes = recorder_bytes(live->recorder);
        h.recording_stopped = recorder_stopped(live->recorder);
        if (h.recording_stopped && !*h.reason)
            h.reason = (char *)recorder_reason(live->recorder);
    }
    live->health_due_us = now_us + HEALTH_EVERY_US;
    camera_link_health(live->link, &h);
}

static void set_state(Live *live, const char *state, const char *reason)
{
    if (live->state == state && strcmp(live->reason, reason) == 0)
        return;
    char text[REASON_BYTES]; /* reason may be live->reason itself */
    snprintf(text, sizeof text, "%.*s", REASON_BYTES - 1, reason);
    live->state = state;
    memcpy(live->reason, text, sizeof text);
    send_health(live);
}

/* --- frames --- */

/* Cells of the frames that wait are said of frames before them, of which one is lost: all of them
 * count. */
static void held_are_whole(Live *live)
{
    for (size_t i = 1; i < live->n_held; i++)
        live->held[(live->head + i) % MAX_HELD].info.cells = (ProtobufCBinaryData){0};
}

static void send_first_held(Live *live, UtcStamp stamp)
{
    Held *held = &live->held[live->head];
    held->info.utc_us = stamp.utc_us;
    held->info.utc_err_us = stamp.err_us;
    held->info.utc_source = (When__UtcSource)stamp.source;
    if (camera_link_send_frame(live->link, &held->info, &held->pixels) == 0) {
        live->sent++;
        live->last_stamp = stamp;
    } else {
        live->dropped_here++; /* whend is behind: live frames do not wait */
        held_are_whole(live);
        picture_lost(live->picture);
    }
    zmq_msg_close(&held->pixels);
    live->head = (live->head + 1) % MAX_HELD;
    live->n_held--;
}

static void send_held(Live *live)
{
    while (live->n_held > 0) {
        const Held *held = &live->held[live->head];
        if (held->still)
            return;
        UtcStamp stamp = {held->info.pts_us + held->arrival_offset_us,
                          live->timebase.arrival_err_us, UTC_ARRIVAL};
        if (held->info.session == live->timebase.session &&
            timebase_stamp(&live->timebase, held->info.pts_us, held->reference_utc_us, &stamp) ==
                TIMEBASE_HOLD)
            return;
        send_first_held(live, stamp);
    }
}

static void send_correction(Live *live)
{
    When__TimeCorrection correction = WHEN__TIME_CORRECTION__INIT;
    if (!timebase_correction(&live->timebase, &correction.utc_minus_pts_us, &correction.utc_err_us))
        return;
    correction.session = live->timebase.session;
    correction.utc_source = WHEN__UTC_SOURCE__UTC_SOURCE_RTCP;
    When__FromWorker message = WHEN__FROM_WORKER__INIT;
    message.body_case = WHEN__FROM_WORKER__BODY_CORRECTION;
    message.correction = &correction;
    camera_link_send(live->link, &message);
}

/* The frame before a change is sent too: without it the model would see the change begin at the
 * last one that was. The others in which nothing changed are left out. */
static void settle_still(Live *live, bool changed)
{
    Held *last = &live->held[(live->head + live->n_held + MAX_HELD - 1) % MAX_HELD];
    if (live->n_held == 0 || !last->still)
        return;
    last->still = false;
    if (changed)
        return;
    zmq_msg_close(&last->pixels);
    live->n_held--;
    live->still++;
}

static void hold(Live *live, const SourceFrame *from, const Frame *frame)
{
    settle_still(live, frame->n_changed > 0);
    if (live->n_held == MAX_HELD) {
        timebase_end_hold(&live->timebase);
        send_held(live);
    }
    Held *held = &live->held[(live->head + live->n_held) % MAX_HELD];
    size_t bytes = (size_t)frame->width * (size_t)frame->height * 3;
    if (zmq_msg_init_size(&held->pixels, bytes) < 0) {
        live->dropped_here++;
        picture_lost(live->picture);
        return;
    }
    memcpy(zmq_msg_data(&held->pixels), frame->rgb, bytes);
    when__frame_info__init(&held->info);
    held->info.pts_us = from->pts_us;
    held->info.width = (uint32_t)frame->width;
    held->info.height = (uint32_t)frame->height;
    held->info.session = live->timebase.session;
    held->info.motion = from->motion;
    held->reference_utc_us = from->reference_utc_us;
    held->arrival_offset_us = from->arrival_offset_us;
    held->still = frame->n_cells > 0 && frame->n_kept == 0;
    size_t cell_bytes = (frame->n_cells + 7) / 8;
    if (cell_bytes > 0 && cell_bytes <= MAX_CELL_BYTES) {
        memcpy(held->cells, frame->cells, cell_bytes);
        held->info.cells = (ProtobufCBinaryData){cell_bytes, held->cells};
    }
    live->cells += frame->n_cells;
    live->cells_kept += frame->n_kept;
    live->n_held++;
}

static void take_frame(Live *live, const SourceFrame *from)
{
    Frame frame = {.pts_us = from->pts_us};
    Error err = {0};
    int found = timebase_observe(&live->timebase, from->pts_us, from->reference_utc_us,
                                 from->arrival_offset_us);
    if (found & TIMEBASE_STEPPED)
        log_warn("camera", "camera=%s clock_jumps=%llu the clock jumped: a new session begins",
                 live->link->name, (unsigned long long)live->timebase.steps);
    if (found & TIMEBASE_FIRST_REPORT)
        send_correction(live);
    int r = picture_convert(live->picture, from->sample, &frame, &err);
    if (r < 0) {
        if (!live->conversion_failed)
            log_error("camera", "camera=%s %s", live->link->name, err.text);
        live->conversion_failed = true;
        live->dropped_here++;
    } else {
        hold(live, from, &frame);
        source_set_budget(live->source, picture_frames_for_tokens(
                                            live->picture, live->setup->max_tokens_per_minute));
    }
    send_held(live);
}

/* --- the source --- */

static void open_source(Live *live)
{
    const When__CameraSetup *setup = live->setup;
    SourceOptions options = {.url = live->url.clean,
                             .user = *setup->user ? setup->user : live->url.user,
                             .password = *setup->user ? setup->password : live->url.password,
                             .transport = setup->transport,
                             .trust = &live->trust,
                             .software = live->software,
                             .fps_min = setup->fps_min,
                             .fps_base = setup->fps_base,
                             .fps_max = setup->fps_max,
                             .shapes = live->view.shapes,
                             .n_shapes = live->view.limits.n_shapes,
                             .stall_us = setup->stall_us,
                             .wake_fd = live->wake_fd,
                             .on_compressed = live->recorder ? on_compressed : NULL,
                             .data = live};
    timebase_new_session(&live->timebase);
    picture_lost(live->picture); /* no window reaches over a session's end */
    live->opened_us = 0;
    if (source_open(&options, &live->source, &live->fatal) == 0)
        live->opens++;
}

static void close_source(Live *live)
{
    SourceFrame frame;
    if (!live->source)
        return;
    while (source_pull(live->source, &frame)) {
        take_frame(live, &frame);
        gst_sample_unref(frame.sample);
    }
    timebase_end_hold(&live->timebase);
    settle_still(live, true); /* it says until when nothing had changed */
    send_held(live);
    camera_counts_add(&live->counts, live->source);
    source_close(live->source); /* no thread pushes to the recorder from here on */
    live->source = NULL;
    if (live->recorder)
        recorder_end(live->recorder, &live->timebase);
}

static void on_fault(Live *live, SourceFault fault, const char *reason)
{
    int64_t now_us = clock_monotonic_us();
    if (live->opened_us && now_us - live->opened_us > STEADY_US)
        backoff_reset(&live->backoff);
    set_state(live, fault == SOURCE_STALLED ? "stalled" : "connecting", reason);
    close_source(live);
    if (fault == SOURCE_UNSUPPORTED) {
        error_set(&live->fatal, ENOTSUP, EX_DATAERR, "%s: %s", live->url.clean, reason);
        return;
    }
    live->counts.stalls += fault == SOURCE_STALLED;
    live->counts.logins_refused += fault == SOURCE_UNAUTHORIZED;
    if (fault == SOURCE_HARDWARE && !live->software) {
        log_warn("camera",
                 "camera=%s decoder=%s the hardware decoder fails (%s): software from now on",
                 live->link->name, live->counts.before.decoder, reason);
        live->software = true;
        live->retry_us = now_us;
        return;
    }
    bool password = fault == SOURCE_UNAUTHORIZED;
    int64_t most_us = live->setup->retry_us > 0 ? live->setup->retry_us : RETRY_MOST_US;
    int64_t first_us = RETRY_FIRST_US < most_us ? RETRY_FIRST_US : most_us;
    int64_t wait_us = backoff_next_us(&live->backoff, password ? PASSWORD_FIRST_US : first_us,
                                      password ? PASSWORD_MOST_US : most_us);
    live->retry_us = now_us + wait_us;
    char text[REASON_BYTES];
    snprintf(text, sizeof text, "%.160s%s; next try in %.1f s", reason,
             password ? " (set the camera's credential)" : "", (double)wait_us / 1e6);
    log_warn("camera", "camera=%s %s", live->link->name, text);
    set_state(live, live->state, text);
}

/* The stream may say that the camera was turned. */
static void note_orientation(Live *live)
{
    SourceStats stats = source_stats(live->source);
    if (!*stats.orientation || strcmp(stats.orientation, live->orientation) == 0)
        return;
    memcpy(live->orientation, stats.orientation, sizeof live->orientation);
    picture_set_orientation(live->picture, live->orientation);
}

static void step(Live *live)
{
    SourceFrame frame;
    char reason[REASON_BYTES] = "";
    if (!live->source) {
        if (clock_monotonic_us() < live->retry_us)
            return;
        if (live->opens > 0)
            set_state(live, "connecting", live->reason);
        open_source(live);
        if (!live->source)
            return;
    }
    while (source_pull(live->source, &frame)) {
        note_orientation(live);
        if (live->opened_us == 0)
            live->opened_us = clock_monotonic_us();
        take_frame(live, &frame);
        gst_sample_unref(frame.sample);
        set_state(live, "running", "");
    }
    send_held(live);
    SourceFault fault = source_check(live->source, reason, sizeof reason);
    if (fault != SOURCE_RUNNING)
        on_fault(live, fault, reason);
}

static int set_up(Live *live)
{
    const When__CameraSetup *setup = live->setup;
    int r = url_split(setup->url, &live->url, &live->fatal);
    bool tls = g_ascii_strncasecmp(setup->url, "rtsps", 5) == 0 ||
               g_ascii_strncasecmp(setup->url, "https", 5) == 0;
    if (r == 0 && tls)
        r = tls_trust_init(&live->trust, setup->tls_ca, setup->tls_unchecked, &live->fatal);
    if (r < 0)
        return r;
    live->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = camera_picture_init(&live->view, setup, &live->fatal);
    if (r < 0)
        return r;
    live->picture = picture_new(&live->view.limits);
    if (live->wake_fd < 0 || !live->picture)
        return error_set(&live->fatal, ENOMEM, EX_OSERR, "no memory or descriptors left");
    /* http brings no reports to wait for; how old a segment of HLS is, nothing says. */
    bool http = url_is_http(live->url.clean);
    timebase_init(&live->timebase, http ? 0 : TIMEBASE_HOLD_US,
                  source_is_hls(live->url.clean) ? HLS_ERR_US
                  : http                         ? HTTP_ERR_US
                                                 : ARRIVAL_ERR_US);
    live->backoff.random = (uint32_t)getpid() * 2654435761u + (uint32_t)clock_monotonic_us();
    if (*setup->recording_dir) {
        RecorderOptions options = {.dir = setup->recording_dir,
                                   .segment_us = setup->segment_us,
                                   .keep_bytes = setup->keep_bytes,
                                   .keep_for_us = setup->keep_for_us};
        Error err = {0};
        /* What cannot be recorded can still be watched. */
        if (recorder_open(&options, on_closed, live, &live->recorder, &err) < 0)
            log_error("camera", "camera=%s is not recorded: %s", live->link->name, err.text);
    }
    return 0;
}

int camera_live_run(CameraLink *link)
{
    Live *live = calloc(1, sizeof *live);
    if (!live)
        return EX_OSERR;
    live->link = link;
    live->setup = link->setup;
    live->wake_fd = -1;
    live->state = "connecting";
    live->counted_us = clock_monotonic_us();
    if (set_up(live) == 0)
        send_health(live);
    while (live->fatal.exit_code == 0 && !camera_link_stopped(link)) {
        step(live);
        if (live->recorder)
            recorder_tick(live->recorder, &live->timebase);
        if (clock_monotonic_us() >= live->health_due_us)
            send_health(live);
        if (live->fatal.exit_code == 0)
            camera_link_wait(link, live->wake_fd, false, TICK_MS);
    }
    close_source(live);
    recorder_free(live->recorder);
    live->recorder = NULL;
    int exit_code = live->fatal.exit_code;
    if (exit_code) {
        set_state(live, "failed", live->fatal.text);
        camera_link_end(link, &live->fatal, 0);
    }
    picture_free(live->picture);
    tls_trust_deinit(&live->trust);
    closep(&live->wake_fd);
    url_deinit(&live->url);
    free(live);
    return exit_code;
}

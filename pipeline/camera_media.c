/*
 * Clips and thumbnails: one span out of recordings, as a file. See camera.h.
 *
 * A clip is the camera's own compressed video: from the key frame at or before the span's start to
 * its end, from file to file, each picture at its own time. A thumbnail is the picture of the span
 * that differs most from the one before it, as JPEG.
 */
#include "pipeline/camera.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "pipeline/camera_picture.h"
#include "pipeline/demux.h"
#include "pipeline/fault.h"
#include "pipeline/mp4.h"
#include "pipeline/reader.h"

#include <errno.h>
#include <gst/video/video.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THUMBNAIL_PIXELS = 640 * 480, CANDIDATES = 12, SAMPLE_STEP = 4 };

static const int64_t BEFORE_US = 2 * US_PER_S; /* the picture without the event is this old */
static const int64_t FINISH_US = 30 * US_PER_S;

typedef struct Media {
    CameraLink *link;
    const When__CameraSetup *setup;
    When__RecordingFile own, *own_list[1]; /* a file camera is its own recording */
    When__RecordingFile **files;           /* [n] in order of time */
    size_t n;
    CameraPicture view;
    When__MediaDone done;
    char notice[160];
} Media;

static int by_start(const void *a, const void *b)
{
    const When__RecordingFile *x = *(When__RecordingFile *const *)a;
    const When__RecordingFile *y = *(When__RecordingFile *const *)b;
    return x->start_us < y->start_us ? -1 : x->start_us > y->start_us;
}

/* A video file knows when it begins; its worker never made rows of it. */
static int find_own_file(Media *m, Error *err)
{
    ReaderOptions options = {.cell_px = (int)m->setup->cell_px,
                             .min_pixels = (int64_t)m->setup->min_pixels,
                             .max_pixels = (int64_t)m->setup->max_pixels,
                             .start_utc_us = m->setup->start_utc_us,
                             .start_utc_err_us = m->setup->start_utc_err_us};
    Reader *reader = NULL;
    int r = reader_open(m->setup->url, &options, &reader, err);
    if (r < 0)
        return r;
    when__recording_file__init(&m->own);
    m->own.path = m->setup->url;
    m->own.start_us = reader_info(reader)->start_utc_us;
    m->own.end_us = INT64_MAX;
    m->own_list[0] = &m->own;
    m->files = m->own_list;
    m->n = 1;
    reader_free(reader);
    return 0;
}

static bool overlaps(const Media *m, const When__RecordingFile *file)
{
    return file->end_us > m->setup->span_start_us && file->start_us < m->setup->span_end_us;
}

/* --- clips --- */

typedef struct Clip {
    Media *media;
    Mp4 mp4;
    GstCaps *caps;
    bool open;
    int64_t start_us; /* UTC of its first picture */
    int64_t last_us;  /* UTC of the last one that was written */
} Clip;

/* Do pictures of b decode by what a says of them? */
static bool same_video(GstCaps *a, GstCaps *b)
{
    static const char *const fields[] = {"stream-format", "codec_data", "width", "height"};
    const GstStructure *s = gst_caps_get_structure(a, 0), *t = gst_caps_get_structure(b, 0);
    bool same = gst_structure_has_name(s, gst_structure_get_name(t));
    for (size_t i = 0; same && i < sizeof fields / sizeof *fields; i++) {
        const GValue *x = gst_structure_get_value(s, fields[i]);
        const GValue *y = gst_structure_get_value(t, fields[i]);
        same = (!x && !y) || (x && y && gst_value_compare(x, y) == GST_VALUE_EQUAL);
    }
    return same;
}

static int open_clip(Clip *clip, GstCaps *caps, int64_t utc_us, Error *err)
{
    clip->caps = gst_caps_ref(caps);
    clip->start_us = clip->last_us = utc_us;
    clip->open = mp4_open(&clip->mp4, clip->media->setup->media->out_path, caps, &(Mp4Options){0});
    return clip->open ? 0
                      : error_set(err, ENOSYS, EX_UNAVAILABLE,
                                  "GStreamer has no mp4mux (apt-get install "
                                  "gstreamer1.0-plugins-good)");
}

enum { CLIP_OVER = 2 };

/* 0, CLIP_OVER: nothing more can follow, or -errno. */
static int add_picture(Clip *clip, GstSample *sample, int64_t utc_us, Error *err)
{
    GstCaps *caps = gst_sample_get_caps(sample);
    Media *m = clip->media;
    if (!caps)
        return error_set(err, EINVAL, EX_DATAERR, "a recording has pictures without a format");
    if (!clip->open) {
        int r = open_clip(clip, caps, utc_us, err);
        if (r < 0)
            return r;
    } else if (!same_video(clip->caps, caps)) {
        char text[CLOCK_UTC_TEXT_BYTES];
        clock_format_utc(utc_us, text);
        snprintf(m->notice, sizeof m->notice,
                 "the camera's video changed at %s: the clip ends there", text);
        return CLIP_OVER;
    }
    int64_t at_us = utc_us - clip->start_us;
    if (at_us < 0)
        return 0; /* a leading picture of the first key frame, or an overlap of files */
    mp4_push(&clip->mp4, gst_sample_get_buffer(sample), (GstClockTime)at_us * 1000);
    int64_t end_us = utc_us + demux_duration_us(sample);
    clip->last_us = end_us > clip->last_us ? end_us : clip->last_us;
    return 0;
}

static int add_file(Clip *clip, const When__RecordingFile *file, Error *err)
{
    const When__CameraSetup *setup = clip->media->setup;
    Demux *demux = NULL;
    int r = demux_open(file->path, &demux, err);
    int64_t from_us = setup->span_start_us - file->start_us;
    if (r == 0 && !clip->open && from_us > 0)
        r = demux_seek(demux, from_us, err);
    /* Where files overlap, the next one begins with its first key frame behind the last. */
    int64_t not_before_us = clip->open ? clip->last_us - US_PER_S / 2 : INT64_MIN;
    bool begun = false;
    while (r == 0 && !camera_link_stopped(clip->media->link)) {
        GstSample *sample;
        r = demux_next(demux, &sample, err);
        if (r != 0)
            break;
        int64_t utc_us = file->start_us + demux_pts_us(demux, sample);
        begun |= demux_is_key(sample) && utc_us >= not_before_us;
        if (utc_us >= setup->span_end_us)
            r = CLIP_OVER;
        else if (begun)
            r = add_picture(clip, sample, utc_us, err);
        gst_sample_unref(sample);
    }
    demux_free(demux);
    return r == DEMUX_END ? 0 : r;
}

static int finish_clip(Clip *clip, Error *err)
{
    gst_app_src_end_of_stream(clip->mp4.source);
    GstMessage *message = gst_bus_timed_pop_filtered(clip->mp4.bus, (GstClockTime)FINISH_US * 1000,
                                                     GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
    int r = 0;
    if (!message)
        r = error_set(err, ETIMEDOUT, EX_IOERR, "the clip could not be written in time");
    else if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR)
        r = fault_of_file(message, "clip", err);
    if (message)
        gst_message_unref(message);
    return r;
}

static int make_clip(Media *m, Error *err)
{
    Clip clip = {.media = m};
    int r = 0;
    for (size_t i = 0; i < m->n && r == 0; i++)
        if (overlaps(m, m->files[i]))
            r = add_file(&clip, m->files[i], err);
    if (r < 0 && clip.open) { /* what there was of it is a clip, too */
        snprintf(m->notice, sizeof m->notice, "it breaks off: %.120s", err->text);
        error_clear(err);
        r = 0;
    }
    if (r >= 0 && !clip.open)
        r = error_set(err, ENOENT, EX_UNAVAILABLE, "no recording has this span");
    else if (r >= 0)
        r = finish_clip(&clip, err);
    m->done.start_us = clip.start_us;
    m->done.end_us = clip.last_us;
    mp4_close(&clip.mp4);
    gst_clear_caps(&clip.caps);
    return r < 0 ? r : 0;
}

/* --- thumbnails --- */

typedef struct Best {
    uint8_t *before, *rgb; /* [height, width, 3] */
    int width, height;
    double difference;
    int64_t utc_us;
} Best;

/* Mean absolute difference of every SAMPLE_STEP-th pixel's green. */
static double difference(const uint8_t *a, const uint8_t *b, int width, int height)
{
    uint64_t sum = 0, n = 0;
    for (int y = 0; y < height; y += SAMPLE_STEP)
        for (int x = 0; x < width; x += SAMPLE_STEP, n++) {
            size_t at = ((size_t)y * (size_t)width + (size_t)x) * 3 + 1;
            sum += (uint64_t)abs(a[at] - b[at]);
        }
    return (double)sum / (double)n;
}

static int consider(const Media *m, Best *best, const Frame *frame, int64_t utc_us, Error *err)
{
    size_t bytes = (size_t)frame->width * (size_t)frame->height * 3;
    if (!best->rgb || best->width != frame->width || best->height != frame->height) {
        free(best->before);
        free(best->rgb);
        best->before = mem_new_aligned(bytes, 1);
        best->rgb = mem_new_aligned(bytes, 1);
        if (!best->before || !best->rgb)
            return error_set(err, ENOMEM, EX_OSERR, "no memory for a thumbnail");
        best->width = frame->width;
        best->height = frame->height;
        best->difference = -1;
        memcpy(best->before, frame->rgb, bytes);
    }
    if (utc_us < m->setup->span_start_us) {
        memcpy(best->before, frame->rgb, bytes);
        return 0;
    }
    double d = difference(best->before, frame->rgb, frame->width, frame->height);
    if (d > best->difference) {
        best->difference = d;
        best->utc_us = utc_us;
        memcpy(best->rgb, frame->rgb, bytes);
    }
    return 0;
}

static int look_at_file(Media *m, const When__RecordingFile *file, Best *best, Error *err)
{
    const When__CameraSetup *setup = m->setup;
    int64_t from_us = setup->span_start_us - BEFORE_US - file->start_us;
    double span_s = (double)(setup->span_end_us - setup->span_start_us) / 1e6;
    double fps = span_s > 0.5 ? CANDIDATES / span_s : 2 * CANDIDATES;
    ReaderOptions options = {.fps = fps > 0.5 ? fps : 0.5, /* one before it at least */
                             .cell_px = 2,
                             .max_pixels = THUMBNAIL_PIXELS,
                             .shapes = m->view.shapes,
                             .n_shapes = m->view.limits.n_shapes,
                             .start_utc_us = file->start_us,
                             .start_utc_err_us = file->start_err_us,
                             .from_pts_us = from_us > 0 ? from_us : 0,
                             .to_pts_us = setup->span_end_us - file->start_us + 1};
    Reader *reader = NULL;
    int r = reader_open(file->path, &options, &reader, err);
    if (r < 0)
        return r;
    Frame frame;
    while (!camera_link_stopped(m->link) && (r = reader_next(reader, &frame, err)) == 0)
        if ((r = consider(m, best, &frame, file->start_us + frame.pts_us, err)) < 0)
            break;
    reader_free(reader);
    return r < 0 ? r : 0;
}

static int write_jpeg(const Best *best, const char *path, Error *err)
{
    size_t row = (size_t)best->width * 3, stride = (row + 3) & ~(size_t)3;
    GstBuffer *buffer = gst_buffer_new_allocate(NULL, stride * (size_t)best->height, NULL);
    for (int y = 0; y < best->height; y++)
        gst_buffer_fill(buffer, (size_t)y * stride, best->rgb + (size_t)y * row, row);
    GstCaps *rgb = gst_caps_new_simple("video/x-raw", "format", G_TYPE_STRING, "RGB", "width",
                                       G_TYPE_INT, best->width, "height", G_TYPE_INT, best->height,
                                       "framerate", GST_TYPE_FRACTION, 1, 1, NULL);
    GstCaps *jpeg = gst_caps_new_empty_simple("image/jpeg");
    GstSample *sample = gst_sample_new(buffer, rgb, NULL, NULL);
    GError *error = NULL;
    GstSample *encoded =
        gst_video_convert_sample(sample, jpeg, (GstClockTime)FINISH_US * 1000, &error);
    int r = 0;
    GstMapInfo map;
    if (!encoded)
        r = error_set(err, ENOSYS, EX_UNAVAILABLE,
                      "no JPEG can be made: %s (apt-get install gstreamer1.0-plugins-good)",
                      error ? error->message : "no reason given");
    else if (!gst_buffer_map(gst_sample_get_buffer(encoded), &map, GST_MAP_READ))
        r = error_set(err, EIO, EX_SOFTWARE, "the JPEG cannot be read");
    else {
        FILE *file = fopen(path, "wb");
        bool written = file && fwrite(map.data, 1, map.size, file) == map.size;
        written = file && fclose(file) == 0 && written;
        if (!written)
            r = error_set(err, errno, EX_IOERR, "%s: %s", path, strerror(errno));
        gst_buffer_unmap(gst_sample_get_buffer(encoded), &map);
    }
    g_clear_error(&error);
    if (encoded)
        gst_sample_unref(encoded);
    gst_sample_unref(sample);
    gst_buffer_unref(buffer);
    gst_caps_unref(rgb);
    gst_caps_unref(jpeg);
    return r;
}

static int make_thumbnail(Media *m, Error *err)
{
    Best best = {.difference = -1};
    int r = 0;
    for (size_t i = 0; i < m->n && r == 0; i++) {
        const When__RecordingFile *file = m->files[i];
        if (file->end_us > m->setup->span_start_us - BEFORE_US &&
            file->start_us <= m->setup->span_end_us)
            r = look_at_file(m, file, &best, err);
    }
    if (best.difference >= 0) { /* a file that breaks off gave what it has */
        error_clear(err);
        r = write_jpeg(&best, m->setup->media->out_path, err);
    } else if (r == 0) {
        r = error_set(err, ENOENT, EX_UNAVAILABLE, "no recording has this span");
    }
    m->done.start_us = m->done.end_us = best.utc_us;
    free(best.before);
    free(best.rgb);
    return r;
}

int camera_media_run(CameraLink *link)
{
    Media m = {.link = link, .setup = link->setup};
    Error err = {0};
    when__media_done__init(&m.done);
    int r = fault_init_gst(&err);
    if (r == 0)
        r = camera_picture_init(&m.view, m.setup, &err);
    m.files = m.setup->files;
    m.n = m.setup->n_files;
    if (r == 0 && m.n == 0)
        r = find_own_file(&m, &err);
    else if (m.n > 1)
        qsort(m.files, m.n, sizeof *m.files, by_start);
    if (r == 0)
        r = m.setup->media->thumbnail ? make_thumbnail(&m, &err) : make_clip(&m, &err);
    if (r < 0)
        unlink(m.setup->media->out_path);
    m.done.failed = r < 0;
    m.done.exit_code = err.exit_code;
    m.done.reason = r < 0 ? err.text : m.notice;
    When__FromWorker message = WHEN__FROM_WORKER__INIT;
    message.body_case = WHEN__FROM_WORKER__BODY_MEDIA_DONE;
    message.media_done = &m.done;
    if (!camera_link_stopped(link))
        camera_link_send(link, &message);
    return 0;
}

/*
 * Pictures of a free prompt. A file's frames are chosen as the reference's video reader does it (an
 * even number of them, spread evenly from the first picture to the last, taken to be evenly spaced
 * in time), so that a prompt's result can be held against the reference's; arrays bring their own
 * times.
 */
#include "client/scan.h"

#include "base/mem.h"
#include "model/hparams.h"
#include "pipeline/reader.h"
#include "pipeline/resize.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The reference's budget for all frames of a video: 128000 tokens of 28 x 28 pixels, less a tenth.
 */
#define TOTAL_PIXELS INT64_C(90316800)

void scan_media_deinit(ScanMedia *media)
{
    free(media->pixels);
    free(media->frames);
    free(media->seconds);
    *media = (ScanMedia){0};
}

static int no_memory(const char *path, Error *err)
{
    return error_set(err, ENOMEM, EX_OSERR, "%s: no memory for its pictures", path);
}

/* Appends a copy of a picture; all of one medium have one size. */
static int add_frame(ScanMedia *m, const char *path, const uint8_t *rgb, int width, int height,
                     Error *err)
{
    const size_t bytes = (size_t)width * (size_t)height * 3;
    size_t needed;
    if (m->n > 0 && (width != m->width || height != m->height))
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: picture %zu is %d x %d pixels for the model, those before it %d x "
                         "%d: frames of one video must be of one size",
                         path, m->n, width, height, m->width, m->height);
    m->width = width;
    m->height = height;
    if (!mem_mul(m->n + 1, bytes, &needed) ||
        mem_grow((void **)&m->pixels, &m->pixels_capacity, needed, 1) < 0)
        return no_memory(path, err);
    memcpy(m->pixels + m->n++ * bytes, rgb, bytes);
    return 0;
}

/* Pointers to the frames, when all of them are there. */
static int point_at_frames(ScanMedia *m, const char *path, Error *err)
{
    m->frames = mem_new_array(m->n, sizeof *m->frames);
    m->seconds = mem_new_array((m->n + 1) / 2, sizeof *m->seconds);
    if (!m->frames || !m->seconds)
        return no_memory(path, err);
    for (size_t i = 0; i < m->n; i++)
        m->frames[i] = m->pixels + i * (size_t)m->width * (size_t)m->height * 3;
    return 0;
}

static int read_image(const char *path, const Engine *engine, ScanMedia *m, Error *err)
{
    const Hparams *h = engine_hparams(engine);
    const ReaderOptions options = {.cell_px = engine_cell_px(engine),
                                   .min_pixels = h->image.min_pixels,
                                   .max_pixels = h->image.max_pixels};
    Reader *reader;
    Frame frame;
    int r = reader_open(path, &options, &reader, err);
    if (r < 0)
        return r;
    r = reader_next(reader, &frame, err);
    if (r == READER_END)
        r = error_set(err, EINVAL, EX_DATAERR, "%s: no picture in it", path);
    if (r == 0)
        r = add_frame(m, path, frame.rgb, frame.width, frame.height, err);
    if (r == 0 && reader_next(reader, &frame, NULL) == 0)
        r = error_set(err, EINVAL, EX_DATAERR,
                      "%s: more than one picture: give it as --video, not as --image", path);
    reader_free(reader);
    return r < 0 ? r : point_at_frames(m, path, err);
}

/* How many pictures a file has, and how many of them pass in a second. */
static int count_pictures(const char *path, const ReaderOptions *options, int64_t *n, double *fps,
                          Error *err)
{
    Reader *reader;
    Frame frame;
    int64_t last_us = 0;
    int r = reader_open(path, options, &reader, err);
    if (r < 0)
        return r;
    *fps = reader_info(reader)->fps;
    for (*n = 0; (r = reader_next(reader, &frame, err)) == 0; ++*n)
        last_us = frame.pts_us;
    reader_free(reader);
    if (r < 0)
        return r;
    if (*fps <= 0 && last_us > 0)
        *fps = (double)(*n - 1) / ((double)last_us / 1e6);
    if (*n < 2 || *fps <= 0)
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: fewer than two pictures: give it as --image, not as --video", path);
    return 0;
}

static int read_video(const ScanOptions *o, const char *path, const Engine *engine, ScanMedia *m,
                      Error *err)
{
    ReaderOptions options = {.cell_px = engine_cell_px(engine),
                             .min_pixels = engine_min_pixels(engine),
                             .max_pixels = engine_max_pixels(engine)};
    int64_t total = 0;
    double video_fps = 0;
    size_t n = 0;
    _cleanup_free_ int32_t *indices = NULL;
    int r = count_pictures(path, &options, &total, &video_fps, err);
    if (r < 0)
        return r;
    const double fps = o->fps < 0 ? 2 : o->fps;
    r = fps > 0 ? resize_sample_frames(total, video_fps, fps, 0, 0, &indices, &n)
                : resize_sample_count(total, total - total % 2, &indices, &n);
    if (r == -ENOMEM)
        return no_memory(path, err);
    if (r != 0)
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: its %lld pictures cannot be sampled at %g a second", path,
                         (long long)total, fps);
    options.max_pixels = (int64_t)resize_video_budget((int64_t)n, options.min_pixels, TOTAL_PIXELS,
                                                      options.max_pixels);
    Reader *reader;
    Frame frame;
    r = reader_open(path, &options, &reader, err);
    if (r < 0)
        return r;
    for (int64_t at = 0; m->n < n && (r = reader_next(reader, &frame, err)) == 0; at++)
        while (r == 0 && m->n < n && indices[m->n] == at)
            r = add_frame(m, path, frame.rgb, frame.width, frame.height, err);
    reader_free(reader);
    if (r == READER_END)
        r = error_set(err, EIO, EX_IOERR, "%s: it changed while it was read", path);
    if (r == 0)
        r = point_at_frames(m, path, err);
    const double per_grid = 2 * (double)total / ((double)n * video_fps);
    for (size_t k = 0; r == 0 && k < n / 2; k++)
        m->seconds[k] = (double)k * per_grid;
    return r;
}

static int read_arrays(const ScanOptions *o, const ScanPart *part, const Engine *engine,
                       ScanMedia *m, Error *err)
{
    ScanOptions options = {.frames = part->path, .pts = part->pts, .fps = o->fps < 0 ? 0 : o->fps};
    ScanSource *source;
    size_t capacity = 0;
    _cleanup_free_ double *seconds = NULL;
    int r = scan_source_open(&options, engine, &source, err);
    while (r == 0) {
        WindowFrame frame;
        zmq_msg_t pixels;
        r = scan_source_next(source, &frame, err);
        if (r != 0)
            break;
        if (mem_grow((void **)&seconds, &capacity, m->n + 1, sizeof *seconds) < 0)
            r = no_memory(part->path, err);
        if (r == 0)
            seconds[m->n] = (double)frame.pts_us / 1e6;
        if (r == 0 && pixels_message(frame.pixels, &pixels) < 0)
            r = no_memory(part->path, err);
        if (r == 0) {
            r = add_frame(m, part->path, zmq_msg_data(&pixels), (int)frame.width, (int)frame.height,
                          err);
            zmq_msg_close(&pixels);
        }
        pixels_unref(frame.pixels);
    }
    scan_source_free(source);
    if (r < 0)
        return r;
    r = point_at_frames(m, part->path, err);
    for (size_t k = 0; r == 0 && 2 * k < m->n; k++)
        m->seconds[k] = seconds[2 * k] - seconds[0];
    return r;
}

int scan_media_read(const ScanOptions *options, const ScanPart *part, const Engine *engine,
                    ScanMedia *media, Error *err)
{
    *media = (ScanMedia){.image = part->kind == SCAN_IMAGE};
    int r = part->kind == SCAN_IMAGE   ? read_image(part->path, engine, media, err)
            : part->kind == SCAN_VIDEO ? read_video(options, part->path, engine, media, err)
                                       : read_arrays(options, part, engine, media, err);
    if (r < 0)
        scan_media_deinit(media);
    return r;
}

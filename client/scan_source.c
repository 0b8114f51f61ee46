/* Frames of a video file or of arrays, sized for the model. See scan.h. */
#include "client/scan.h"

#include "base/clock.h"
#include "base/mem.h"
#include "model/npy.h"
#include "pipeline/reader.h"
#include "pipeline/resize.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

/* The published limit on one frame of a video; a smaller one of the model's own goes before it. */
#define MAX_VIDEO_PIXELS INT64_C(602112) /* 768 * 28 * 28 */
#define MAX_ARRAY_BYTES  ((size_t)8 << 30)

struct ScanSource {
    const ScanOptions *options;
    Reader *reader; /* of a video; else: */
    Npy frames, pts;
    Resizer *resizer;
    int width, height; /* of what comes out */
    size_t next;
    double next_s; /* pictures before this are left out */
    int64_t last_pts_us;

    bool has_utc;
    int64_t utc_minus_pts_us, utc_err_us;
};

void scan_source_free(ScanSource *s)
{
    if (!s)
        return;
    reader_free(s->reader);
    resizer_free(s->resizer);
    npy_deinit(&s->frames);
    npy_deinit(&s->pts);
    free(s);
}

static int64_t max_pixels(const Engine *engine)
{
    int64_t own = engine_max_pixels(engine);
    return own < MAX_VIDEO_PIXELS ? own : MAX_VIDEO_PIXELS;
}

static double array_pts(const ScanSource *s, size_t i)
{
    return s->pts.type == NPY_F64 ? ((const double *)s->pts.data)[i]
                                  : (double)((const float *)s->pts.data)[i];
}

static int check_pts(const ScanSource *s, const char *path, Error *err)
{
    double last = -1;
    for (size_t i = 0; i < s->pts.n; i++) {
        double pts = array_pts(s, i);
        if (!isfinite(pts) || pts < 0 || pts > 1e9)
            return error_set(err, EINVAL, EX_DATAERR,
                             "%s: element %zu is no time (seconds from 0 up)", path, i);
        if (pts <= last)
            return error_set(err, EINVAL, EX_DATAERR,
                             "%s: element %zu (%g s) is not later than the one before it", path, i,
                             pts);
        last = pts;
    }
    return 0;
}

static int open_arrays(ScanSource *s, const Engine *engine, Error *err)
{
    const ScanOptions *o = s->options;
    int rc = npy_read(o->frames, MAX_ARRAY_BYTES, &s->frames, err);
    if (rc == 0)
        rc = npy_read(o->pts, MAX_ARRAY_BYTES, &s->pts, err);
    if (rc < 0)
        return rc;
    const size_t *shape = s->frames.shape;
    if (s->frames.type != NPY_U8 || s->frames.n_dims != 4 || shape[3] != 3)
        return error_set(err, EINVAL, EX_DATAERR, "%s: not uint8 [T, H, W, 3]", o->frames);
    if ((s->pts.type != NPY_F64 && s->pts.type != NPY_F32) || s->pts.n_dims != 1 ||
        s->pts.n != shape[0])
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: not float [T] seconds, one for each of the %zu frames", o->pts,
                         shape[0]);
    if (shape[0] == 0 || shape[1] > 16384 || shape[2] > 16384)
        return error_set(err, EINVAL, EX_DATAERR, "%s: %zu frames of %zu x %zu pixels", o->frames,
                         shape[0], shape[2], shape[1]);
    rc = check_pts(s, o->pts, err);
    if (rc < 0)
        return rc;
    int height = (int)shape[1], width = (int)shape[2];
    int target = resize_target(height, width, engine_cell_px(engine), engine_min_pixels(engine),
                               (double)max_pixels(engine), &s->height, &s->width);
    if (target != 0)
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: pictures of %d x %d pixels cannot be sized for the model (%s)",
                         o->frames, width, height,
                         target == RESIZE_ASPECT ? "one side is over 200 times the other"
                                                 : "see the limits in preprocessor_config.json");
    if ((s->height != height || s->width != width) &&
        resizer_new(height, width, s->height, s->width, &s->resizer) != 0)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", o->frames);
    if (o->start_utc_us) {
        s->has_utc = true;
        s->utc_minus_pts_us = o->start_utc_us - llround(array_pts(s, 0) * 1e6);
        s->utc_err_us = o->start_utc_err_us;
    }
    return 0;
}

int scan_source_open(const ScanOptions *options, const Engine *engine, ScanSource **source,
                     Error *err)
{
    *source = NULL;
    ScanSource *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    s->options = options;
    s->last_pts_us = INT64_MIN;
    int rc;
    if (options->video) {
        const ReaderOptions reader = {.fps = options->fps,
                                      .cell_px = engine_cell_px(engine),
                                      .min_pixels = engine_min_pixels(engine),
                                      .max_pixels = max_pixels(engine),
                                      .start_utc_us = options->start_utc_us,
                                      .start_utc_err_us = options->start_utc_err_us};
        rc = reader_open(options->video, &reader, &s->reader, err);
    } else {
        rc = open_arrays(s, engine, err);
    }
    if (rc < 0) {
        scan_source_free(s);
        return rc;
    }
    *source = s;
    return 0;
}

double scan_source_duration_s(const ScanSource *s)
{
    if (s->reader)
        return reader_info(s->reader)->duration_s;
    return array_pts(s, s->pts.n - 1);
}

bool scan_source_utc(const ScanSource *s, int64_t *utc_minus_pts_us, int64_t *utc_err_us)
{
    *utc_minus_pts_us = s->utc_minus_pts_us;
    *utc_err_us = s->utc_err_us;
    return s->has_utc;
}

/* Room for one frame that cutter and windows can share. */
static int new_pixels(int width, int height, Pixels **pixels, uint8_t **rgb)
{
    zmq_msg_t message;
    size_t bytes = (size_t)width * (size_t)height * 3;
    /* ZeroMQ keeps tiny messages inside zmq_msg_t; a frame's bytes stay where they are. */
    assert(bytes > sizeof(message));
    if (zmq_msg_init_size(&message, bytes) < 0)
        return -ENOMEM;
    *rgb = zmq_msg_data(&message);
    *pixels = pixels_new(&message, NULL, 0);
    if (!*pixels)
        zmq_msg_close(&message);
    return *pixels ? 0 : -ENOMEM;
}

static int next_of_video(ScanSource *s, WindowFrame *frame, Error *err)
{
    for (;;) {
        Frame read;
        int rc = reader_next(s->reader, &read, err);
        if (rc == READER_END)
            return SCAN_END;
        if (rc < 0)
            return rc;
        if (read.pts_us <= s->last_pts_us)
            continue; /* a broken container; the model needs time to go forward */
        s->last_pts_us = read.pts_us;
        if (read.utc_source != UTC_NONE && !s->has_utc) {
            s->has_utc = true;
            s->utc_minus_pts_us = read.utc_us - read.pts_us;
            s->utc_err_us = read.utc_err_us;
        }
        Pixels *pixels;
        uint8_t *rgb;
        if (new_pixels(read.width, read.height, &pixels, &rgb) < 0)
            return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", s->options->video);
        memcpy(rgb, read.rgb, (size_t)read.width * (size_t)read.height * 3);
        *frame = (WindowFrame){.pts_us = read.pts_us,
                               .utc_us = read.pts_us,
                               .width = (uint32_t)read.width,
                               .height = (uint32_t)read.height,
                               .motion = read.motion,
                               .pixels = pixels};
        return 0;
    }
}

static int next_of_arrays(ScanSource *s, WindowFrame *frame, Error *err)
{
    double fps = s->options->fps;
    /* A picture counts for a sampling point that it misses by a millisecond. */
    while (s->next < s->pts.n && fps > 0 && array_pts(s, s->next) < s->next_s - 1e-3)
        s->next++;
    if (s->next == s->pts.n)
        return SCAN_END;
    double pts_s = array_pts(s, s->next);
    if (fps > 0)
        s->next_s = fmax(s->next_s + 1 / fps, pts_s + 1 / fps - 1e-3);
    Pixels *pixels;
    uint8_t *rgb;
    if (new_pixels(s->width, s->height, &pixels, &rgb) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", s->options->frames);
    size_t stride = 3 * s->frames.shape[2], bytes = stride * s->frames.shape[1];
    const uint8_t *picture = (const uint8_t *)s->frames.data + s->next * bytes;
    if (s->resizer)
        resizer_run(s->resizer, picture, stride, rgb);
    else
        memcpy(rgb, picture, bytes);
    s->next++;
    int64_t pts_us = llround(pts_s * 1e6);
    *frame = (WindowFrame){.pts_us = pts_us,
                           .utc_us = pts_us,
                           .width = (uint32_t)s->width,
                           .height = (uint32_t)s->height,
                           .pixels = pixels};
    return 0;
}

int scan_source_next(ScanSource *s, WindowFrame *frame, Error *err)
{
    return s->reader ? next_of_video(s, frame, err) : next_of_arrays(s, frame, err);
}

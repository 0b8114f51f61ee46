/*
 * Frame sizes and resizing. See resize.h.
 *
 * For each output row: src u8 [taps, in_w, 3] -> vertical pass -> f32 [in_w, 3] -> horizontal pass
 * -> f32 [out_w, 3] -> clamp, round -> u8. The absence of any rounding between the passes follows
 * torch's separable antialiased interpolation for float tensors, which is what the published
 * preprocessing of videos does. torch goes along the rows first; down the columns first is the same
 * but for the last bit of a float, and twice as fast: it runs through whole rows, and the other
 * pass has fewer of them left.
 */
#include "pipeline/resize.h"

#include "base/mem.h"
#include "pipeline/rows.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum {
    MAX_ASPECT = 200,
    MIN_FRAMES = 4,
    MAX_FRAMES = 768,
    FRAME_FACTOR = 2, /* frames that one temporal patch merges */
    MAX_SIDE_PX = 1 << 15
};

static int64_t floor_by(double x, int64_t factor)
{
    return (int64_t)floor(x / (double)factor) * factor;
}

static int64_t ceil_by(double x, int64_t factor)
{
    return (int64_t)ceil(x / (double)factor) * factor;
}

/* nearbyint in the default mode is Python's round(): half to even. */
static int64_t round_by(double x, int64_t factor)
{
    return (int64_t)nearbyint(x / (double)factor) * factor;
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int resize_target(int height, int width, int cell_px, int64_t min_pixels, double max_pixels,
                  int *out_height, int *out_width)
{
    if (!(max_pixels >= (double)min_pixels) || max_pixels <= 0)
        return RESIZE_LIMITS;
    if (height <= 0 || width <= 0 || cell_px <= 0)
        return RESIZE_ZERO;
    int64_t longest = max_i64(height, width), shortest = min_i64(height, width);
    if (longest > MAX_ASPECT * shortest)
        return RESIZE_ASPECT;
    int64_t h = max_i64(cell_px, round_by(height, cell_px));
    int64_t w = max_i64(cell_px, round_by(width, cell_px));
    double area = (double)height * (double)width;
    if ((double)(h * w) > max_pixels) {
        double beta = sqrt(area / max_pixels);
        h = floor_by(height / beta, cell_px);
        w = floor_by(width / beta, cell_px);
    } else if (h * w < min_pixels) {
        double beta = sqrt((double)min_pixels / area);
        h = ceil_by(height * beta, cell_px);
        w = ceil_by(width * beta, cell_px);
    }
    if (h <= 0 || w <= 0)
        return RESIZE_ZERO;
    if (h > INT32_MAX || w > INT32_MAX)
        return RESIZE_LIMITS;
    *out_height = (int)h;
    *out_width = (int)w;
    return 0;
}

/* linspace(0, last, n).round(). In double: the reference's float32 depends on how wide its vectors
 * are, and is a frame off near ties. */
static int fill_linspace(int64_t last, int64_t n, int32_t **indices, size_t *n_out)
{
    int32_t *out = mem_new_array((size_t)n, sizeof *out);
    if (!out)
        return -ENOMEM;
    for (int64_t i = 0; i < n; i++)
        out[i] = n > 1 ? (int32_t)nearbyint((double)last * (double)i / (double)(n - 1)) : 0;
    *indices = out;
    *n_out = (size_t)n;
    return 0;
}

int resize_sample_frames(int64_t total_frames, double video_fps, double fps, int64_t min_frames,
                         int64_t max_frames, int32_t **indices, size_t *n)
{
    if (total_frames <= 0 || total_frames > INT32_MAX || !(video_fps > 0) || !(fps >= 0) ||
        !isfinite(fps) || !isfinite(video_fps))
        return -EINVAL;
    if (min_frames <= 0)
        min_frames = MIN_FRAMES;
    if (max_frames <= 0)
        max_frames = min_i64(MAX_FRAMES, total_frames);
    double lowest = (double)ceil_by((double)min_frames, FRAME_FACTOR);
    double highest = (double)floor_by((double)max_frames, FRAME_FACTOR);
    double wanted = (double)total_frames / video_fps * fps;
    wanted = fmin(fmin(fmax(wanted, lowest), highest), (double)total_frames);
    int64_t count = floor_by(wanted, FRAME_FACTOR);
    if (count < FRAME_FACTOR || count > total_frames)
        return RESIZE_FRAME_COUNT;
    return fill_linspace(total_frames - 1, count, indices, n);
}

int resize_sample_count(int64_t total_frames, int64_t nframes, int32_t **indices, size_t *n)
{
    if (total_frames <= 0 || total_frames > INT32_MAX)
        return -EINVAL;
    if (nframes < 0 || nframes > INT32_MAX)
        return RESIZE_FRAME_COUNT;
    int64_t count = round_by((double)nframes, FRAME_FACTOR);
    if (count < FRAME_FACTOR || count > total_frames)
        return RESIZE_FRAME_COUNT;
    return fill_linspace(total_frames - 1, count, indices, n);
}

int resize_time_range(int64_t total_frames, double video_fps, double start_s, double end_s,
                      int64_t *first, int64_t *last)
{
    if (total_frames <= 0 || total_frames > INT32_MAX || !(video_fps > 0))
        return -EINVAL;
    double duration_s = (double)total_frames / video_fps;
    int64_t begin = 0, end = total_frames - 1;
    if (!isnan(start_s))
        begin = (int64_t)ceil(fmax(0, fmin(start_s, duration_s)) * video_fps);
    if (!isnan(end_s)) {
        end = (int64_t)floor(fmax(0, fmin(end_s, duration_s)) * video_fps);
        end = min_i64(end, total_frames - 1);
    }
    if (begin >= end && !(isnan(start_s) && isnan(end_s)))
        return RESIZE_TIME_RANGE;
    *first = begin;
    *last = end;
    return 0;
}

double resize_video_budget(int64_t nframes, int64_t min_pixels, int64_t total_pixels,
                           int64_t max_pixels)
{
    double share = (double)total_pixels / (double)(nframes > 0 ? nframes : 1) * FRAME_FACTOR;
    double limit = fmax(fmin(768.0 * 784.0, share), floor((double)min_pixels * 1.05));
    return max_pixels > 0 ? fmin(limit, (double)max_pixels) : limit;
}

/* One direction: output i is the sum over j < taps[i] of weights[i, j] * input[first[i] + j]. */
typedef struct Filter {
    int n;          /* outputs */
    int stride;     /* of a row of weights */
    int *first;     /* [n] */
    int *taps;      /* [n] */
    float *weights; /* [n, stride] */
} Filter;

struct Resizer {
    int in_height, in_width, out_height, out_width;
    Filter across, down;
    float *row;  /* [in_width, 3] one output row before the horizontal pass, and one float more */
    float *line; /* [out_width, 3] one row of the result, and one float more */
};

static void filter_deinit(Filter *f)
{
    free(f->first);
    free(f->taps);
    free(f->weights);
    *f = (Filter){0};
}

/* Keys' cubic with a = -0.5. */
static float cubic(float x)
{
    const float a = -0.5f;
    x = fabsf(x);
    if (x < 1.0f)
        return ((a + 2.0f) * x - (a + 3.0f)) * x * x + 1.0f;
    if (x < 2.0f)
        return (((x - 5.0f) * x + 8.0f) * x - 4.0f) * a;
    return 0.0f;
}

static int filter_init(Filter *f, int in, int out)
{
    float scale = (float)in / (float)out;
    float support = scale >= 1.0f ? 2.0f * scale : 2.0f; /* the filter widens when it shrinks */
    float inverse = scale >= 1.0f ? 1.0f / scale : 1.0f;
    size_t n_weights;
    f->n = out;
    f->stride = (int)ceilf(support) * 2 + 1;
    f->first = mem_new_array((size_t)out, sizeof *f->first);
    f->taps = mem_new_array((size_t)out, sizeof *f->taps);
    if (!mem_mul((size_t)out, (size_t)f->stride, &n_weights))
        return -ENOMEM;
    f->weights = mem_new_array(n_weights, sizeof *f->weights);
    if (!f->first || !f->taps || !f->weights)
        return -ENOMEM;
    for (int i = 0; i < out; i++) {
        float center = scale * ((float)i + 0.5f);
        int64_t low = max_i64((int64_t)(center - support + 0.5f), 0);
        int64_t high = min_i64((int64_t)(center + support + 0.5f), in);
        int64_t n = max_i64(0, min_i64(high - low, f->stride));
        float *w = f->weights + (size_t)i * (size_t)f->stride;
        float total = 0;
        for (int64_t j = 0; j < n; j++) {
            w[j] = cubic(((float)(j + low) - center + 0.5f) * inverse);
            total += w[j];
        }
        if (total != 0)
            for (int64_t j = 0; j < n; j++)
                w[j] /= total;
        f->first[i] = (int)low;
        f->taps[i] = (int)n;
    }
    return 0;
}

int resizer_new(int in_height, int in_width, int out_height, int out_width, Resizer **resizer)
{
    const int sides[] = {in_height, in_width, out_height, out_width};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        if (sides[i] <= 0 || sides[i] > MAX_SIDE_PX)
            return -EINVAL;
    Resizer *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->in_height = in_height;
    r->in_width = in_width;
    r->out_height = out_height;
    r->out_width = out_width;
    r->row = mem_new_array((size_t)in_width * 3 + 1, sizeof *r->row);
    r->line = mem_new_array((size_t)out_width * 3 + 1, sizeof *r->line);
    int e = filter_init(&r->across, in_width, out_width);
    if (e == 0)
        e = filter_init(&r->down, in_height, out_height);
    if (e == 0 && (!r->row || !r->line))
        e = -ENOMEM;
    if (e < 0) {
        resizer_free(r);
        return e;
    }
    *resizer = r;
    return 0;
}

void resizer_free(Resizer *resizer)
{
    if (!resizer)
        return;
    filter_deinit(&resizer->across);
    filter_deinit(&resizer->down);
    free(resizer->row);
    free(resizer->line);
    free(resizer);
}

typedef float Pixel __attribute__((vector_size(16), aligned(4))); /* r, g, b, next pixel's r */

/* row [in_width, 3] -> line [out_width, 3]; four sums, or each would wait for the one before. */
static void pass_across(const Filter *f, const float *row, float *line)
{
    for (int x = 0; x < f->n; x++) {
        const float *w = f->weights + (size_t)x * (size_t)f->stride;
        const float *in = row + (size_t)f->first[x] * 3;
        Pixel sums[4] = {{0}, {0}, {0}, {0}};
        int j = 0;
        for (; j + 4 <= f->taps[x]; j += 4)
            for (int k = 0; k < 4; k++)
                sums[k] += *(const Pixel *)(in + 3 * (j + k)) * w[j + k];
        for (; j < f->taps[x]; j++)
            sums[0] += *(const Pixel *)(in + 3 * j) * w[j];
        Pixel sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        *(Pixel *)(line + 3 * x) = sum; /* the fourth is overwritten by the next */
    }
}

/* [n] clamped and rounded half to even. */
static void round_line(const float *line, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        float x = line[i];
        x = x < 0 ? 0 : x > 255 ? 255 : x;
        /* Adding 1.5 * 2^23 rounds a float in [0, 255] to an integer, half to even, by its lowest
         * mantissa bits: what nearbyintf does, without a call that keeps the loop from being
         * vectorised. */
        union {
            float f;
            uint32_t u;
        } bits = {.f = x + 12582912.0f};
        out[i] = (uint8_t)bits.u;
    }
}

void resizer_run(Resizer *r, const uint8_t *src, size_t src_stride, uint8_t *dst)
{
    size_t n = (size_t)r->out_width * 3;
    if (r->in_height == r->out_height && r->in_width == r->out_width) {
        for (int y = 0; y < r->out_height; y++)
            memcpy(dst + (size_t)y * n, src + (size_t)y * src_stride, n);
        return;
    }
    const Filter *f = &r->down;
    void (*weigh)(const uint8_t *, size_t, size_t, const float *, int, float *) = rows()->weigh;
    for (int y = 0; y < r->out_height; y++) {
        weigh(src + (size_t)f->first[y] * src_stride, src_stride, (size_t)r->in_width * 3,
              f->weights + (size_t)y * (size_t)f->stride, f->taps[y], r->row);
        pass_across(&r->across, r->row, r->line);
        round_line(r->line, n, dst + (size_t)y * n);
    }
}

/* Position ids of multimodal rope: segments -> [3, L]. The rule is in mrope.h. */
#include "model/mrope.h"

#include "base/mem.h"

#include <errno.h>
#include <math.h>

enum { LARGEST_ID = INT32_MAX / 2 };

int32_t mrope_time_id(double seconds, double tokens_per_second)
{
    /* Rounding to float32 is the reference's; it also lifts 2.9999999999 to the 3 that it means. */
    float ids = floorf((float)seconds * (float)tokens_per_second);
    if (!(ids > 0))
        return 0;
    return ids < (float)LARGEST_ID ? (int32_t)ids : LARGEST_ID;
}

/* Merged sides of a grid, and tokens of it. */
static int merged(const int32_t grid_thw[3], int merge, size_t *rows, size_t *columns,
                  size_t *tokens)
{
    if (merge < 1 || grid_thw[0] < 1 || grid_thw[1] < merge || grid_thw[2] < merge ||
        grid_thw[1] % merge || grid_thw[2] % merge)
        return -EINVAL;
    *rows = (size_t)(grid_thw[1] / merge);
    *columns = (size_t)(grid_thw[2] / merge);
    if (!mem_mul(*rows, *columns, tokens) || !mem_mul(*tokens, (size_t)grid_thw[0], tokens) ||
        *tokens > LARGEST_ID)
        return -EOVERFLOW;
    return 0;
}

int mrope_length(const MropeSegment *segments, size_t n_segments, int merge, size_t *length)
{
    size_t total = 0;
    for (size_t i = 0; i < n_segments; i++) {
        size_t rows, columns, tokens = segments[i].length;
        if (segments[i].kind != MROPE_TEXT) {
            int r = merged(segments[i].grid_thw, merge, &rows, &columns, &tokens);
            if (r < 0)
                return r;
        }
        if (!mem_add(total, tokens, &total) || total > LARGEST_ID)
            return -EOVERFLOW;
    }
    *length = total;
    return 0;
}

/* Temporal id of grid k, relative to the segment's start. */
static int grid_time(const MropeSegment *segment, int32_t k, double tokens_per_second, int32_t *id)
{
    if (segment->kind == MROPE_IMAGE) {
        *id = 0;
        return 0;
    }
    double seconds = segment->seconds ? segment->seconds[k] : k * segment->second_per_grid;
    if (!isfinite(seconds) || seconds < 0)
        return -EINVAL;
    *id = mrope_time_id(seconds, tokens_per_second);
    return 0;
}

static int place_grids(const MropeSegment *segment, int merge, double tokens_per_second,
                       int32_t start, int32_t *t, int32_t *h, int32_t *w, int32_t *largest)
{
    size_t rows, columns, tokens, i = 0;
    int32_t before = 0;
    int r = merged(segment->grid_thw, merge, &rows, &columns, &tokens);
    if (r < 0)
        return r;
    for (int32_t k = 0; k < segment->grid_thw[0]; k++) {
        int32_t time;
        r = grid_time(segment, k, tokens_per_second, &time);
        if (r < 0)
            return r;
        if (time < before)
            return -EINVAL;
        before = time;
        for (size_t row = 0; row < rows; row++)
            for (size_t column = 0; column < columns; column++, i++) {
                t[i] = start + time;
                h[i] = start + (int32_t)row;
                w[i] = start + (int32_t)column;
            }
    }
    size_t side = rows > columns ? rows : columns;
    *largest = start + ((int32_t)side - 1 > before ? (int32_t)side - 1 : before);
    return 0;
}

int mrope_positions(const MropeSegment *segments, size_t n_segments, int merge,
                    double tokens_per_second, int32_t start, int32_t *positions, size_t stride,
                    int32_t *next)
{
    size_t at = 0, length;
    int r = mrope_length(segments, n_segments, merge, &length);
    if (r < 0)
        return r;
    if (length > stride || start < 0 || !(tokens_per_second > 0) || !isfinite(tokens_per_second))
        return -EINVAL;
    for (size_t s = 0; s < n_segments; s++) {
        const MropeSegment *segment = &segments[s];
        int32_t *t = positions + at, *h = t + stride, *w = h + stride;
        /* Every segment adds less than INT32_MAX / 2, so this keeps all sums in range. */
        if (start > LARGEST_ID)
            return -EOVERFLOW;
        if (segment->kind == MROPE_TEXT) {
            for (size_t i = 0; i < segment->length; i++)
                t[i] = h[i] = w[i] = start + (int32_t)i;
            start += (int32_t)segment->length;
            at += segment->length;
            continue;
        }
        size_t one = 0;
        int32_t largest;
        r = place_grids(segment, merge, tokens_per_second, start, t, h, w, &largest);
        if (r < 0)
            return r;
        (void)mrope_length(segment, 1, merge, &one);
        at += one;
        start = largest + 1;
    }
    *next = start;
    return 0;
}

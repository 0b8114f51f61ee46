/* How much of the picture moves. See motion.h. */
#include "pipeline/motion.h"

#include "base/clock.h"

#include <math.h>

enum { SAMPLES_PER_SIDE = 8 }; /* of a cell, at most: 64 samples settle the mean of any cell */

static const float BACKGROUND_S = 1.0f; /* slow enough that a walker differs, fast enough to end */
static const float NOISE_S = 10.0f;
static const float FLOOR_LEVELS = 3.0f; /* less is codec flicker */
static const float NOISE_FACTOR = 5.0f;

void motion_set_mask(Motion *m, const MaskShape *shapes, size_t n, MaskTurn turn)
{
    enum { POINTS = 9 }; /* a side: corners and edges included */
    for (int i = 0; i < MOTION_CELLS; i++) {
        m->masked[i] = false;
        for (int k = 0; k < POINTS * POINTS && n > 0 && !m->masked[i]; k++) {
            double column = i % MOTION_COLUMNS + k % POINTS / (POINTS - 1.0), x, y;
            double row = i / MOTION_COLUMNS + k / POINTS / (POINTS - 1.0);
            mask_displayed(turn, column / MOTION_COLUMNS, row / MOTION_ROWS, &x, &y);
            m->masked[i] = mask_contains(shapes, n, x, y);
        }
    }
}

static float cell_mean(const uint8_t *luma, size_t stride, size_t pixel_stride, int x0, int x1,
                       int y0, int y1)
{
    int step_x = (x1 - x0) / SAMPLES_PER_SIDE, step_y = (y1 - y0) / SAMPLES_PER_SIDE;
    step_x = step_x > 0 ? step_x : 1;
    step_y = step_y > 0 ? step_y : 1;
    uint32_t sum = 0, n = 0;
    for (int y = y0; y < y1; y += step_y) {
        const uint8_t *row = luma + (size_t)y * stride;
        for (int x = x0; x < x1; x += step_x, n++)
            sum += row[(size_t)x * pixel_stride];
    }
    return n ? (float)sum / (float)n : 0;
}

float motion_measure(Motion *m, int64_t pts_us, const uint8_t *luma, size_t stride,
                     size_t pixel_stride, int width, int height)
{
    float cell[MOTION_CELLS] = {0}, shift = 0;
    int looked_at = 0;
    for (int r = 0; r < MOTION_ROWS; r++)
        for (int c = 0; c < MOTION_COLUMNS; c++)
            if (!m->masked[r * MOTION_COLUMNS + c])
                cell[r * MOTION_COLUMNS + c] =
                    cell_mean(luma, stride, pixel_stride, c * width / MOTION_COLUMNS,
                              (c + 1) * width / MOTION_COLUMNS, r * height / MOTION_ROWS,
                              (r + 1) * height / MOTION_ROWS);
    if (!m->started) {
        m->started = true;
        for (int i = 0; i < MOTION_CELLS; i++) {
            m->background[i] = cell[i];
            m->noise[i] = 1.0f; /* until it is learnt */
        }
        m->last_pts_us = pts_us;
        return 0;
    }
    float elapsed_s = (float)(pts_us - m->last_pts_us) / (float)US_PER_S;
    m->last_pts_us = pts_us;
    if (!(elapsed_s > 0))
        elapsed_s = 0.001f;
    /* Brightness of the whole picture: the mean of the differences that are not extreme. */
    int n_shift = 0;
    for (int i = 0; i < MOTION_CELLS; i++) {
        float d = cell[i] - m->background[i];
        looked_at += !m->masked[i];
        if (!m->masked[i] && fabsf(d) < 24) {
            shift += d;
            n_shift++;
        }
    }
    shift = n_shift > looked_at / 2 ? shift / (float)n_shift : 0;
    float slow = 1 - expf(-elapsed_s / BACKGROUND_S), slower = 1 - expf(-elapsed_s / NOISE_S);
    int moved = 0;
    for (int i = 0; i < MOTION_CELLS; i++) {
        if (m->masked[i])
            continue;
        float d = cell[i] - m->background[i], off = fabsf(d - shift);
        float limit = fmaxf(FLOOR_LEVELS, NOISE_FACTOR * m->noise[i]);
        moved += off > limit;
        /* What moves must not teach the cell that it is noisy; a flickering lamp in the end may. */
        m->noise[i] += (fminf(off, limit) - m->noise[i]) * slower;
        m->background[i] += d * slow;
    }
    return looked_at ? (float)moved / (float)looked_at : 0;
}

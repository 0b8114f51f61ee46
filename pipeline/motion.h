/*
 * How much of the picture moves: a cheap measure on a small grid of mean luma, for the sampler.
 * Noise is learnt cell by cell, a change of the whole picture's brightness is taken out.
 */
#ifndef WHEN_PIPELINE_MOTION_H
#define WHEN_PIPELINE_MOTION_H

#include "pipeline/mask.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOTION_COLUMNS = 32, MOTION_ROWS = 18, MOTION_CELLS = MOTION_COLUMNS * MOTION_ROWS };

typedef struct Motion {
    bool started;
    int64_t last_pts_us;
    float background[MOTION_CELLS]; /* slow mean of each cell, levels */
    float noise[MOTION_CELLS];      /* mean absolute deviation of a quiet cell, levels */
    bool masked[MOTION_CELLS];      /* not looked at */
} Motion;

/* Leaves out every cell that a shape touches. */
void motion_set_mask(Motion *m, const MaskShape *shapes, size_t n, MaskTurn turn);

/* luma: samples pixel_stride bytes apart in rows that are stride bytes apart, 8 bits each. Returns
 * the share of cells that moved, 0..1, of those that are looked at; 0 for the first picture. */
float motion_measure(Motion *m, int64_t pts_us, const uint8_t *luma, size_t stride,
                     size_t pixel_stride, int width, int height);

#endif

/*
 * Frames to the rows that the vision transformer embeds. Two frames make a grid; the odd last frame
 * is repeated. Row order: grid, merged row, merged column, row in the merge x merge cell, column in
 * it; in a row: channel, frame, y, x. A value is (x - 255 mean) / (255 std).
 */
#ifndef WHEN_MODEL_PATCHES_H
#define WHEN_MODEL_PATCHES_H

#include "model/hparams.h"

#include <stddef.h>
#include <stdint.h>

/* 0 and grid_thw, or -EINVAL: no frames, or sides that are no multiples of patch * merge. */
int patches_grid(const VisionHparams *vision, size_t n_frames, int height, int width,
                 int32_t grid_thw[3]);

/* Grids first .. first + n - 1 of frames [n_frames] of [height, width, 3]; pixels
 * [n * h * w, 1176] f32 (h, w of the grid). */
void patches_make(const VisionHparams *vision, const PixelHparams *scale,
                  const uint8_t *const *frames, size_t n_frames, int height, int width,
                  size_t first, size_t n, float *pixels);

#endif

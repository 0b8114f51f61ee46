/*
 * Frame sizes and resizing, by the published rules (qwen-vl-utils): sides are multiples of a cell
 * (28), the area lies between two limits; pixels by antialiased bicubic (a = -0.5), separable, in
 * float32, clamped and rounded half to even. Lives here and not in model/ because the camera worker
 * sends frames ready for the model.
 */
#ifndef WHEN_PIPELINE_RESIZE_H
#define WHEN_PIPELINE_RESIZE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* Expected refusals of resize_target. */
enum { RESIZE_ASPECT = 1 /* over 200 */, RESIZE_LIMITS = 2 /* max < min */, RESIZE_ZERO = 3 };

/* smart_resize of qwen-vl-utils: round half to even, floor or ceil by the area limits. */
int resize_target(int height, int width, int cell_px, int64_t min_pixels, int64_t max_pixels,
                  int *out_height, int *out_width);

/* smart_nframes + linspace of qwen-vl-utils: see frame_sampling.csv of the goldens. Fills indices
 * [*n], allocated by the call. */
int resize_sample_frames(int64_t total_frames, double video_fps, double fps, int64_t min_frames,
                         int64_t max_frames, int32_t **indices, size_t *n);

/* Per-frame pixel limit: max(min(768*784, total_pixels / nframes * 2), int(min_pixels * 1.05)). */
int64_t resize_video_budget(int64_t nframes, int64_t min_pixels, int64_t total_pixels,
                            int64_t max_pixels);

/* Precomputed filters and scratch for one pair of sizes; reused frame after frame, no allocation.
 */
typedef struct Resizer Resizer;
int resizer_new(int in_height, int in_width, int out_height, int out_width, Resizer **resizer);
void resizer_free(Resizer *resizer);
/* src rows are src_stride bytes apart; dst [out_height, out_width, 3] dense. */
void resizer_run(Resizer *resizer, const uint8_t *src, size_t src_stride, uint8_t *dst);

#endif

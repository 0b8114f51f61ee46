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

/* smart_resize of qwen-vl-utils: round half to even, floor or ceil by the area limits. max_pixels
 * may be a fraction: resize_video_budget gives one, and the rule does not round it. */
int resize_target(int height, int width, int cell_px, int64_t min_pixels, double max_pixels,
                  int *out_height, int *out_width);

/* Refusals of the frame-sampling rule. */
enum { RESIZE_FRAME_COUNT = 4 /* fewer than 2 frames, or more than there are */ };
enum { RESIZE_TIME_RANGE = 5 /* begin not before end */ };

/* smart_nframes + linspace of qwen-vl-utils: see frame_sampling.csv of the goldens. min_frames,
 * max_frames 0: the rule's defaults (4; 768 or all). Fills indices [*n], allocated by the call. */
int resize_sample_frames(int64_t total_frames, double video_fps, double fps, int64_t min_frames,
                         int64_t max_frames, int32_t **indices, size_t *n);

/* The same with a fixed number of frames instead of a rate. */
int resize_sample_count(int64_t total_frames, int64_t nframes, int32_t **indices, size_t *n);

/* Frames [*first, *last] between two times; NAN: from the begin, to the end. To sample within,
 * give resize_sample_* the number of frames in there and add *first. */
int resize_time_range(int64_t total_frames, double video_fps, double start_s, double end_s,
                      int64_t *first, int64_t *last);

/* Per-frame pixel limit, not rounded: max(min(768*784, total_pixels / nframes * 2),
 * int(min_pixels * 1.05)), then min(that, max_pixels) unless max_pixels is 0. */
double resize_video_budget(int64_t nframes, int64_t min_pixels, int64_t total_pixels,
                           int64_t max_pixels);

/* Precomputed filters and scratch for one pair of sizes; reused frame after frame, no allocation.
 */
typedef struct Resizer Resizer;
int resizer_new(int in_height, int in_width, int out_height, int out_width, Resizer **resizer);
void resizer_free(Resizer *resizer);
/* src rows are src_stride bytes apart; dst [out_height, out_width, 3] dense. */
void resizer_run(Resizer *resizer, const uint8_t *src, size_t src_stride, uint8_t *dst);

#endif

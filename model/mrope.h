/*
 * Position ids of multimodal rope: three rows (t, h, w) over a prompt of text, images and videos.
 *
 * The rule as published with the model: text counts on from start in all rows; a visual token has
 * t = start + its time, h and w = start + row and column of the merged grid; the next segment
 * starts at the largest id so far + 1, over all three rows. (Some later code advances by the grid's
 * size instead and forgets time, so that text overlaps the video: not done here.)
 */
#ifndef WHEN_MODEL_MROPE_H
#define WHEN_MODEL_MROPE_H

#include <stddef.h>
#include <stdint.h>

typedef enum MropeKind { MROPE_TEXT, MROPE_IMAGE, MROPE_VIDEO } MropeKind;

typedef struct MropeSegment {
    MropeKind kind;
    size_t length;          /* MROPE_TEXT: tokens */
    int32_t grid_thw[3];    /* images and videos: patches before merging */
    const double *seconds;  /* MROPE_VIDEO: [t], time of each grid from the timeline's origin, not
                               falling; NULL: evenly spaced by second_per_grid */
    double second_per_grid; /* seconds; only when seconds is NULL */
} MropeSegment;

/* floor(f32(f32(seconds) * tokens_per_second)), bounded to [0, INT32_MAX / 2]. For i *
 * second_per_grid this is the published trunc(f32(f32(i * second_per_grid) * tokens_per_second)).
 */
int32_t mrope_time_id(double seconds, double tokens_per_second);

/* Tokens of all segments together. -EINVAL: a bad grid; -EOVERFLOW. */
int mrope_length(const MropeSegment *segments, size_t n_segments, int merge, size_t *length);

/* Writes positions[axis * stride + i] for i in 0..length-1, axis t, h, w; ids begin at start.
 * *next: where the next segment, or the first decoded token, begins (rope_delta = *next - start -
 * length). stride >= length. -EINVAL: a bad grid, seconds that fall or are not finite;
 * -EOVERFLOW. */
int mrope_positions(const MropeSegment *segments, size_t n_segments, int merge,
                    double tokens_per_second, int32_t start, int32_t *positions, size_t stride,
                    int32_t *next);

#endif

/*
 * Pictures of 8 bits with 4:2:0 chroma to RGB, bit for bit as libswscale converts them when nothing
 * else is asked: that is what the decoders gave that the model's training and the reference use.
 * 16-bit fixed point, each product cut to its upper half, each chroma sample for its 2x2 pixels.
 */
#ifndef WHEN_PIPELINE_YUV_H
#define WHEN_PIPELINE_YUV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct YuvMatrix {
    int16_t y_offset, y, v_to_r, u_to_g, v_to_g, u_to_b; /* factors times 8192 */
} YuvMatrix;

/* Kr and Kb of the standard (BT.601: 0.299, 0.114); full_range: luma 0..255, else 16..235. */
YuvMatrix yuv_matrix(double kr, double kb, bool full_range);

typedef struct YuvPicture {
    const uint8_t *y, *u, *v;
    size_t y_stride, u_stride, v_stride; /* bytes from row to row */
    size_t chroma_step;                  /* bytes from sample to sample: 1 in planes, 2 in NV12 */
    int width, height;                   /* pixels; chroma has half of each, rounded up */
} YuvPicture;

/* rgb [height, width, 3], rows rgb_stride bytes apart. */
void yuv_to_rgb(const YuvMatrix *matrix, const YuvPicture *picture, uint8_t *rgb,
                size_t rgb_stride);

#endif

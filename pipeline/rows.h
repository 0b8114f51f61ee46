/*
 * The inner loops over rows of pixels, in the best form that this CPU runs. All forms give the same
 * bytes and floats. WHEN_CPU=generic in the environment forces the plain one, for tests.
 */
#ifndef WHEN_PIPELINE_ROWS_H
#define WHEN_PIPELINE_ROWS_H

#include "pipeline/yuv.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Rows {
    const char *name; /* "generic", "ssse3", "avx2" */
    /* n pixels of one row to rgb [n, 3]; chroma samples are `step` bytes apart, each for two
     * pixels. */
    void (*to_rgb)(const YuvMatrix *matrix, const uint8_t *y, const uint8_t *u, const uint8_t *v,
                   size_t step, size_t n, uint8_t *rgb);
    /* out[i] = sum over j < taps of weights[j] * src[j * stride + i], i < n. */
    void (*weigh)(const uint8_t *src, size_t stride, size_t n, const float *weights, int taps,
                  float *out);
} Rows;

const Rows *rows(void); /* any thread */

#endif

/*
 * The small loops: everything between the large products of gemm.h. Each has a plain C version,
 * which is the definition, and versions for AVX2 + FMA and AVX-512 of one source (kernels_body.h).
 * Which is taken is decided once, at run time; WHEN_CPU=generic|avx2|avx512|avx512vnni|
 * avx512bf16|amx in the environment forces it down (never up) for tests.
 *
 * All arithmetic is f32. Results of a kernel do not depend on how rows are grouped into calls, so
 * that a token's values are the same whatever it was computed together with.
 */
#ifndef WHEN_MODEL_KERNELS_H
#define WHEN_MODEL_KERNELS_H

#include "model/kernels_gemm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum KernelCpu {
    KERNEL_GENERIC,
    KERNEL_AVX2,
    KERNEL_AVX512,
    KERNEL_AVX512_VNNI,
    KERNEL_AVX512_BF16,
    KERNEL_AMX,
    KERNEL_CPUS
} KernelCpu;

/* Keys of one block of the attention, and columns of its score tile. */
#define KERNEL_BLOCK 64
/* Rows that end at a multiple of this may be read and written in full vectors. */
#define KERNEL_ALIGN 16

/* A weight that oneDNN packed: value (n, k) is at (n / width) * panel + (k / pair) * width * pair +
 * (n % width) * pair + k % pair. pair is 1 for f32 and 2 (or 1) for bf16. */
typedef struct KernelPanels {
    size_t width, pair, panel;
} KernelPanels;

typedef struct KernelTable {
    KernelCpu cpu;
    const char *name;

    /* y[i] = x[i] * weight[i] / sqrt(mean(x^2) + eps), one row of n */
    void (*rmsnorm)(float *y, const float *x, const float *weight, size_t n, float eps);
    /* y = silu(gate) * up; y may be gate */
    void (*silu_mul)(float *y, const float *gate, const float *up, size_t n);
    /* y += x */
    void (*add)(float *y, const float *x, size_t n);
    /* y *= s */
    void (*scale)(float *y, float s, size_t n);
    float (*max)(const float *x, size_t n); /* n >= 1 */
    /* x = exp(x - subtract); the sum of the results */
    float (*exp_sum)(float *x, size_t n, float subtract);
    /* y [KERNEL_BLOCK] = exp(x - subtract) in bf16, zeros from n on; the sum before rounding.
     * x [KERNEL_BLOCK], none of the first n above subtract. */
    float (*exp_share)(uint16_t *y, const float *x, size_t n, float subtract);
    /* One head's vector: (x[i], x[i + half]) turned by the angle whose cos and sin are [half]. */
    void (*rope)(float *x, const float *cos, const float *sin, size_t half);

    /* c [rows, cols] = (accumulate: +=) a [rows, inner] * b [inner, cols]; cols is a multiple of
     * KERNEL_ALIGN, b and its rows are aligned to 64 bytes. For the tiles of attention. */
    void (*tile)(float *c, size_t c_stride, const float *a, size_t a_stride, const float *b,
                 size_t b_stride, size_t rows, size_t inner, size_t cols, bool accumulate);

    /* y[r * y_stride + i] = x[r * x_stride + ...] . w[i, ...] for rows r < m <= 4 and i in
     * [from, to) of weights that oneDNN packed; from is a multiple of KERNEL_ALIGN. */
    void (*panels_f32)(float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
                       const float *w, const KernelPanels *panels, size_t k, size_t from,
                       size_t to);
    void (*panels_bf16)(float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
                        const uint16_t *w, const KernelPanels *panels, size_t k, size_t from,
                        size_t to);

    /* The same of bf16 and in pairs of `inner`, which is even: a [rows, inner], b [inner / 2][cols]
     * [2], b_stride counts pairs. NULL where the CPU does not multiply bf16. */
    void (*tile_pairs)(float *c, size_t c_stride, const uint16_t *a, size_t a_stride,
                       const uint16_t *b, size_t b_stride, size_t rows, size_t inner, size_t cols,
                       bool accumulate);

    void (*bf16_to_f32)(float *y, const uint16_t *x, size_t n);
    /* x [rows / 2][columns][2] -> y [rows][columns]; rows is even, columns a multiple of
     * KERNEL_ALIGN */
    void (*pairs_to_f32)(float *y, const uint16_t *x, size_t rows, size_t columns);
    /* To nearest, ties to even; NaN stays NaN. */
    void (*f32_to_bf16)(uint16_t *y, const float *x, size_t n);
    /* y[i] = x[i] * scale, and y[i] = x[i] * scales[i]; n is a multiple of KERNEL_ALIGN */
    void (*s8_scale)(float *y, const int8_t *x, float scale, size_t n);
    void (*s8_mul)(float *y, const int8_t *x, const float *scales, size_t n);

    const GemmKernels *gemm; /* the large products */
} KernelTable;

/* The fastest that this CPU has and WHEN_CPU allows. */
const KernelTable *kernels(void);
/* For tests: NULL when this CPU lacks it. */
const KernelTable *kernels_of(KernelCpu cpu);

/* GELU in its exact form, x * (1 + erf(x / sqrt 2)) / 2, in place. */
void kernel_gelu(float *x, size_t n);
/* x = softmax(x), one row; n >= 1 */
void kernel_softmax(float *x, size_t n);

/* cos and sin [n, half] of the angles positions[axis_of[i]][token] * frequency[i]; product in f32
 * as the reference has it. positions: n ids an axis, `stride` apart. */
void kernel_rope_table(float *cos, float *sin, const int32_t *positions, size_t stride, size_t n,
                       const uint8_t *axis_of, const float *frequency, size_t half);

static inline uint16_t kernel_to_bf16(float x)
{
    union {
        float value;
        uint32_t bits;
    } u = {x};
    if ((u.bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u.bits >> 16 | 0x40);
    return (uint16_t)((u.bits + 0x7fff + (u.bits >> 16 & 1)) >> 16);
}

static inline float kernel_bf16(uint16_t x)
{
    union {
        uint32_t bits;
        float value;
    } u = {(uint32_t)x << 16};
    return u.value;
}

#endif

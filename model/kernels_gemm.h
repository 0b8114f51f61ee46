/*
 * The inner loops of products with weights in panels (panels.h). A product runs in tiles of
 * tile_rows inputs by tile_width columns; the part of the weights that a tile needs is first
 * widened into scratch that stays in L2, and is used for all rows; int4 is widened in registers.
 * Few rows read the packed weights themselves: up to six at once, which is bound by memory, and a
 * panel again from cache for more.
 *
 * Sums run over k in rising order with one accumulator an element, also where k is cut into pieces,
 * so a row's result has the same bits in a tile, alone, and in every number of threads. Integer
 * sums are exact: all CPUs give the same.
 */
#ifndef WHEN_MODEL_KERNELS_GEMM_H
#define WHEN_MODEL_KERNELS_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    KERNEL_PANEL = 16,     /* columns of a panel */
    KERNEL_DOT_PANEL = 32, /* of one of PANELS_PAIRS and PANELS_U8 */
    KERNEL_GROUP = 32,     /* k of one int4 scale */
    KERNEL_CANDIDATES = 9, /* scales tried for a group of int4 */
    KERNEL_FEW = 12,
    KERNEL_TILE_ROWS = 12, /* the most of any CPU */
    KERNEL_TILE_WIDTH = 32,
    KERNEL_DOT_ROWS = 32, /* the most of any CPU */
};

/* Input rows as int4 products take them: s8 with a scale a group. Rows are interleaved `rows` at a
 * time: value k of row r is at ((k / 4) * rows + r) * 4 + k % 4; offset and scale of group g at
 * g * rows + r. offset is -8 times the sum of the group's values: the weights are stored with 8
 * added. */
typedef struct KernelQ4Rows {
    const int8_t *values;
    const int32_t *offset;
    const float *scale;
} KernelQ4Rows;

/* A block of a product with PANELS_PAIRS or PANELS_U8: y [groups * dot_rows][panels *
 * KERNEL_DOT_PANEL] (first: =, else +=) x . w over k steps, a multiple of 2 or 4; where a product
 * is cut, of dot_bytes. Inputs lie `dot_rows` rows together, dot_bytes of each in turns:
 * [k * size / dot_bytes][dot_rows][dot_bytes], what is behind k in the last dot_bytes is not used.
 * Strides in values. */
typedef struct KernelDotBlock {
    size_t groups, panels, k;
    size_t y_stride, x_group, w_panel;
    bool first;
    /* Bytes from w, and so from each panel, to weights that come next, and how many of them are
     * this block's to fetch into cache. */
    size_t ahead, ahead_bytes;
} KernelDotBlock;

typedef struct GemmKernels {
    size_t tile_rows, tile_width;
    size_t q4_rows; /* of a tile of int4 */

    /* k steps of one panel -> out, `width` columns apart: f32 [k][width], s16 [k / 2][width][2] */
    void (*widen_f32)(float *out, size_t width, const float *panel, size_t k);
    void (*widen_bf16)(float *out, size_t width, const uint16_t *panel, size_t k);
    void (*widen_s8)(int16_t *out, size_t width, const int8_t *panel, size_t k);

    /* y [tile_rows, tile_width], rows y_stride apart, (first: =, else +=) x . w; w as widened. */
    void (*tile_f32)(float *y, size_t y_stride, const float *x, size_t x_stride, const float *w,
                     size_t k, bool first);
    /* x [k / 2][tile_rows][2] */
    void (*tile_s8)(int32_t *y, size_t y_stride, const int16_t *x, const int16_t *w, size_t k,
                    bool first);
    /* y [q4_rows, tile_width] = x . w, weights and scales as they are packed: a tile's second panel
     * is `panel` groups behind its first */
    void (*tile_q4)(float *y, size_t y_stride, const KernelQ4Rows *x, const uint8_t *w,
                    const uint16_t *scale, size_t panel, size_t groups);

    /* y [m][(to - from) * KERNEL_PANEL], rows y_stride apart: the columns of panels from .. to - 1;
     * m <= KERNEL_FEW. panel: elements of one. x of f32 and bf16: rows of floats; of s8: rows of
     * s16, k is even. */
    void (*few_f32)(float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
                    const float *w, size_t panel, size_t k, size_t from, size_t to);
    void (*few_bf16)(float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
                     const uint16_t *w, size_t panel, size_t k, size_t from, size_t to);
    void (*few_s8)(int32_t *y, size_t y_stride, const int16_t *x, size_t x_stride, size_t m,
                   const int8_t *w, size_t panel, size_t k, size_t from, size_t to);
    /* x [m]; scale: bf16 [panels][groups][KERNEL_PANEL] */
    void (*few_q4)(float *y, size_t y_stride, const KernelQ4Rows *x, size_t m, const uint8_t *w,
                   const uint16_t *scale, size_t groups, size_t from, size_t to);

    /* For CPUs that multiply neighbours of k in one instruction, NULL on others; weights as they
     * are packed (PANELS_PAIRS, PANELS_U8). dot_piece_bytes: of a row or column, over which a block
     * is fast; dot_unit_rows: so many rows at most go over one piece after the other. offset
     * [rows]: where the sums of s32 begin, -128 times the sum of a row's values. */
    size_t dot_rows, dot_bytes, dot_piece_bytes, dot_unit_rows;
    void (*dot_bf16)(const KernelDotBlock *block, float *y, const uint16_t *x, const uint16_t *w);
    void (*dot_u8)(const KernelDotBlock *block, int32_t *y, const int8_t *x, const int32_t *offset,
                   const uint8_t *w);
    /* Few rows: x [m] rows. */
    void (*few_dot_bf16)(float *y, size_t y_stride, const uint16_t *x, size_t x_stride, size_t m,
                         const uint16_t *w, size_t panel, size_t k, size_t from, size_t to);
    void (*few_dot_u8)(int32_t *y, size_t y_stride, const int8_t *x, size_t x_stride,
                       const int32_t *offset, size_t m, const uint8_t *w, size_t panel, size_t k,
                       size_t from, size_t to);

    /* y (s32) -> float(y) * (row_scale * scale[i]), in place */
    void (*finish_s8)(float *y, size_t n, float row_scale, const float *scale);
    /* The largest |x|; NaN and infinities give one that is not finite. */
    float (*largest)(const float *x, size_t n);
    /* values [KERNEL_GROUP][KERNEL_PANEL] -> a block of PANELS_Q4, and each column's scale: all
     * CPUs give the same bits */
    void (*pack_q4)(uint8_t *out, float *scale, const float *values);
    /* round(x * factor), to nearest, ties to even; |x * factor| <= 127 */
    void (*round_s8)(int8_t *y, const float *x, size_t n, float factor);
} GemmKernels;

#endif

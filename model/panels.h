/*
 * Weights [n, k] as they lie in memory and in the cache file: panels of some columns of the result,
 * k running inside a panel, so that a product reads one stream. Columns behind n and steps
 * behind k are zero.
 *   PANELS_F32   [n / 16][k'][16] f32
 *   PANELS_BF16  [n / 16][k' / 2][16][2] bf16
 *   PANELS_PAIRS [n / 32][k' / 2][32][2] bf16, for a CPU that multiplies pairs of bf16: inputs are
 *                rounded to bf16
 *   PANELS_S8    [n / 16][k' / 2][16][2] s8, -127..127, and a scale a column (the largest / 127)
 *   PANELS_U8    [n / 32][k' / 4][32][4] u8, 128 above what they mean, and a scale a column, for a
 *                CPU that multiplies bytes in fours
 *   PANELS_Q4    [n / 16][k' / 32] blocks of 16 x 32 values 0..15, 8 above what they mean: byte
 *                [p][column][j] has step 8 p + j in its low and 8 p + 4 + j in its high half
 *                (p, j < 4); and bf16 scales [n / 16][k' / 32][16]
 * All in one block of memory, with the bias: values, scales, bias, each at a multiple of 64 bytes.
 */
#ifndef WHEN_MODEL_PANELS_H
#define WHEN_MODEL_PANELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum PanelsKind {
    PANELS_F32,
    PANELS_BF16,
    PANELS_PAIRS,
    PANELS_S8,
    PANELS_U8,
    PANELS_Q4
} PanelsKind;

typedef struct Panels {
    PanelsKind kind;
    size_t n, k;
    size_t width;  /* columns of a panel */
    size_t panels; /* how many */
    size_t steps;  /* k rounded up: k' */
    size_t panel;  /* elements of one; of int4: bytes */
    size_t bytes;  /* of the block */
    const void *values;
    const float *scale;          /* PANELS_S8, PANELS_U8: [panels * width] */
    const uint16_t *group_scale; /* PANELS_Q4 */
    const float *bias;           /* [panels * width], or NULL */
} Panels;

/* Sizes and, with a block (aligned to 64 bytes), pointers into it. false: too large. */
bool panels_init(Panels *panels, PanelsKind kind, size_t n, size_t k, bool bias, void *block);

/* Fills the block from rows [n, k] (bf16 or f32) and bias [n] (NULL: none). -ENOMEM. */
int panels_pack(const Panels *panels, const void *rows, bool is_bf16, const float *bias);

/* Row i, as the products see it, to out [k]. */
void panels_row(const Panels *panels, size_t i, float *out);

#endif

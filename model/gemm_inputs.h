/*
 * The rows of a product as its kernels take them: rounded to what the weights are multiplied with,
 * and interleaved, so that a tile reads one stream. Only for gemm_panels.c.
 */
#ifndef WHEN_MODEL_GEMM_INPUTS_H
#define WHEN_MODEL_GEMM_INPUTS_H

#include "model/gemm_private.h"
#include "model/kernels_gemm.h"

/* `interleave` rows together, `bytes` of each in turns; steps: the weights' k', behind k are zeros;
 * k'': rounded up to whole `bytes`; m' rows: m rounded up to whole groups, the last ones zeros. */
typedef struct GemmInputs {
    size_t interleave, bytes, steps;
    size_t group;     /* values of a group of rows: interleave * k'' */
    uint16_t *bf16;   /* PANELS_PAIRS: [m' / interleave][k'' * 2 / bytes][interleave][bytes / 2] */
    int16_t *s16;     /* PANELS_S8: the same */
    int8_t *s8;       /* PANELS_U8, PANELS_Q4: [m' / interleave][k'' / bytes][interleave][bytes] */
    int32_t *offset;  /* PANELS_U8: [m'], PANELS_Q4: [m' / interleave][groups][interleave] */
    float *row_scale; /* PANELS_S8, PANELS_U8: [m'], PANELS_Q4: as offset */
} GemmInputs;

/* Does this kind of weights want its inputs rounded? If not their rows are used as they are. */
bool gemm_inputs_wanted(PanelsKind kind);

/* x [m, k] -> the gemm's scratch, by all its threads. Valid until the next call. bytes: a multiple
 * of 4. -ENOMEM. */
int gemm_inputs_make(Gemm *gemm, const Panels *panels, const float *x, size_t m, size_t interleave,
                     size_t bytes, GemmInputs *inputs);

#endif

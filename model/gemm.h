/*
 * Large products: y [m, n] = x [m, k] . w [n, k]^T + bias, accumulated in f32 or (integers) s32.
 *
 * A weight is made once and immutable; a Gemm holds the scratch of one thread. How weights are kept
 * and multiplied:
 *   GEMM_F32   as they came (bf16 stays bf16: widening loses nothing), f32 products
 *   GEMM_BF16  rounded to bf16. On a CPU with AVX512_BF16 or AMX activations are rounded too; on
 *              others they stay f32
 *   GEMM_INT8  s8 by the largest of each row of w / 127, activations s8 by the largest of each row
 *              of x / 127; sums are exact
 *   GEMM_INT4  4 bits in groups of 32 of a row of w with a bf16 scale each, activations s8 by the
 *              largest of each group of 32; sums of a group are exact
 * Except with oneDNN, a row of y has the same bits whatever it is computed together with (kernels:
 * kernels_gemm.h, layouts: panels.h). Up to KERNEL_FEW rows, with oneDNN GEMM_FEW, are bound by
 * reading the weights.
 */
#ifndef WHEN_MODEL_GEMM_H
#define WHEN_MODEL_GEMM_H

#include "model/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GEMM_FEW = 4 };

typedef enum GemmDtype { GEMM_F32, GEMM_BF16, GEMM_INT8, GEMM_INT4 } GemmDtype;
/* GEMM_ONEDNN: f32 and bf16, for many rows; gemm_choice.h says when. */
typedef enum GemmLayout { GEMM_PANELS, GEMM_ONEDNN } GemmLayout;

typedef struct Gemm Gemm;
typedef struct GemmWeight GemmWeight;

typedef struct GemmSource {
    size_t n, k;
    const void *values; /* [n, k], bf16 or f32; copied */
    bool is_bf16;
    const float *bias; /* [n], copied; NULL: none */
} GemmSource;

/* Bytes of the block of memory that the weight takes. -ENOMEM: more than can be addressed;
 * -ENOTSUP when GEMM_ONEDNN is asked of a CPU that cannot. */
int gemm_block_bytes(GemmDtype dtype, GemmLayout layout, const GemmSource *source, size_t *bytes);
/* block: where to put it (aligned to 64, kept, not owned), NULL: allocated. source->values NULL:
 * the block holds already what an earlier call put there from the same kind of source (bias: any,
 * but NULL as then). -ENOMEM, -ENOTSUP. */
int gemm_weight_new(GemmDtype dtype, GemmLayout layout, const GemmSource *source, void *block,
                    GemmWeight **weight);
void gemm_weight_free(GemmWeight *weight);
size_t gemm_weight_bytes(const GemmWeight *weight);
const void *gemm_weight_block(const GemmWeight *weight); /* [gemm_weight_bytes] */
/* Row i as the products see it, to out [k]. Not of oneDNN's layouts. */
void gemm_weight_row(const GemmWeight *weight, size_t i, float *out);
/* About the bytes that so many values take, for the estimate before loading. */
size_t gemm_estimate_bytes(GemmDtype dtype, size_t values, bool source_is_bf16);

/* The pool is kept and must outlive it. -ENOMEM. */
int gemm_new(Pool *pool, Gemm **gemm);
void gemm_free(Gemm *gemm);

/* x [m, k], y [m, n], dense, not overlapping. Allocates only while shapes are new. -ENOMEM, or -EIO
 * when oneDNN refuses (logged). */
int gemm_run(Gemm *gemm, const GemmWeight *weight, const float *x, size_t m, float *y);

/* "avx2", "avx512bf16, oneDNN 2.6.3": what decides how a weight's block looks; kept ones are of use
 * only under the same name. */
void gemm_layout_name(GemmLayout layout, char *name, size_t size);

#endif

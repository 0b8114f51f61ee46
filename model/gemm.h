/*
 * Large products: y [m, n] = x [m, k] . w [n, k]^T + bias, accumulated in f32. The only door to
 * oneDNN (2.6 and 3.x).
 *
 * A weight is made once and immutable; a Gemm holds the scratch of one thread. How a weight is kept
 * is decided when it is made (GEMM_AUTO):
 *   GEMM_F32             row after row as it came (bf16 stays bf16: widening loses nothing),
 *                        products by sgemm
 *   GEMM_BF16, CPU with AVX512_BF16 or AMX
 *                        bf16, packed by oneDNN; activations are rounded to bf16
 *   GEMM_BF16, others    rounded to bf16, row after row, widened a panel at a time for sgemm: the
 *                        values of bf16 weights with f32 activations. (oneDNN's own bf16 does not
 *                        exist below AVX-512 and is emulated, slowly, on the first of those.)
 * Up to GEMM_FEW rows go to own matrix-vector kernels, which are bound by reading the weights.
 */
#ifndef WHEN_MODEL_GEMM_H
#define WHEN_MODEL_GEMM_H

#include "model/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GEMM_FEW = 4 };

typedef enum GemmDtype { GEMM_F32, GEMM_BF16 } GemmDtype;
typedef enum GemmLayout { GEMM_AUTO, GEMM_ROWS, GEMM_PACKED } GemmLayout;

typedef struct Gemm Gemm;
typedef struct GemmWeight GemmWeight;

typedef struct GemmSource {
    size_t n, k;
    const void *values; /* [n, k], bf16 or f32; copied */
    bool is_bf16;
    const float *bias; /* [n], copied; NULL: none */
} GemmSource;

/* GEMM_ROWS where gemm_weight_row is wanted. GEMM_PACKED is for tests of that path. -ENOMEM,
 * or -ENOTSUP when GEMM_PACKED is asked of a CPU that cannot. */
int gemm_weight_new(GemmDtype dtype, GemmLayout layout, const GemmSource *source,
                    GemmWeight **weight);
void gemm_weight_free(GemmWeight *weight);
size_t gemm_weight_bytes(const GemmWeight *weight);
/* Row i widened to out [k]. Only of GEMM_ROWS. */
void gemm_weight_row(const GemmWeight *weight, size_t i, float *out);
/* Bytes that one weight takes with GEMM_AUTO, for the estimate before loading. */
size_t gemm_estimate_bytes(GemmDtype dtype, size_t n, size_t k, bool source_is_bf16);

/* The pool is kept and must outlive it. -ENOMEM. */
int gemm_new(Pool *pool, Gemm **gemm);
void gemm_free(Gemm *gemm);

/* x [m, k], y [m, n], dense, not overlapping. Allocates only while shapes are new. -ENOMEM, or -EIO
 * when oneDNN refuses (logged). */
int gemm_run(Gemm *gemm, const GemmWeight *weight, const float *x, size_t m, float *y);

/* "oneDNN 2.6.3 avx2": for the log. */
const char *gemm_description(void);

#endif

/*
 * What one thread needs to run the model: products, attention, and buffers that grow to the largest
 * input seen and then stay.
 */
#ifndef WHEN_MODEL_COMPUTE_H
#define WHEN_MODEL_COMPUTE_H

#include "model/attention.h"
#include "model/gemm.h"
#include "model/pool.h"

#include <stddef.h>

/* Called after a stage with its values [rows, columns]; first: the row of the whole input that
 * rows[0] is. For golden tests; NULL costs one comparison a stage. */
typedef struct ComputeTap {
    void (*seen)(void *user, const char *stage, int layer, size_t first, size_t rows,
                 size_t columns, const float *values);
    void *user;
} ComputeTap;

typedef enum ComputeBuffer {
    COMPUTE_HIDDEN,  /* the residual stream */
    COMPUTE_NORM,    /* its norm, input of products */
    COMPUTE_QKV,     /* queries, keys, values side by side */
    COMPUTE_MIXED,   /* what attention gave */
    COMPUTE_UPDATE,  /* what is added to the stream */
    COMPUTE_GATE_UP, /* both halves of the MLP */
    COMPUTE_PIXELS,
    COMPUTE_COS,
    COMPUTE_SIN,
    COMPUTE_BUFFERS
} ComputeBuffer;

typedef struct Compute {
    Pool *pool;
    Gemm *gemm;
    Attention *attention;
    float *buffers[COMPUTE_BUFFERS];
    size_t floats[COMPUTE_BUFFERS];
    ComputeTap tap;
} Compute;

/* threads >= 1; head_dim: the largest of both transformers. -ENOMEM, -EAGAIN. */
int compute_init(Compute *compute, int threads, int head_dim);
void compute_deinit(Compute *compute); /* safe on zeroed */

/* The buffer with room for rows * columns floats; what was in it is lost when it grows. NULL: no
 * memory. */
float *compute_need(Compute *compute, ComputeBuffer which, size_t rows, size_t columns);

/* Rows of a matrix, spread over the threads. */
void compute_rmsnorm(Compute *compute, float *y, const float *x, const float *weight, size_t rows,
                     size_t n, float eps);
/* x += update, then y = rmsnorm(x): the residual stream is read once. */
void compute_add_rmsnorm(Compute *compute, float *y, float *x, const float *update,
                         const float *weight, size_t rows, size_t n, float eps);
/* y += x */
void compute_add(Compute *compute, float *y, const float *x, size_t rows, size_t n);
void compute_gelu(Compute *compute, float *x, size_t rows, size_t n);
/* gate_up [rows, 2 n] (gate, then up) -> y [rows, n] */
void compute_silu_mul(Compute *compute, float *y, const float *gate_up, size_t rows, size_t n);
/* Turns the first `heads` vectors of 2 * half floats of each row. cos, sin [rows, half]. */
void compute_rope(Compute *compute, float *x, size_t stride, size_t rows, size_t heads,
                  const float *cos, const float *sin, size_t half);

static inline void compute_seen(const Compute *c, const char *stage, int layer, size_t first,
                                size_t rows, size_t columns, const float *values)
{
    if (c->tap.seen)
        c->tap.seen(c->tap.user, stage, layer, first, rows, columns, values);
}

#endif

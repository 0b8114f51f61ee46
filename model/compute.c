/* A thread's scratch, and the row-wise loops over all its threads. */
#include "model/compute.h"

#include "base/mem.h"
#include "model/kernels.h"

#include <errno.h>
#include <string.h>

/* Floats below which another thread is not woken. */
enum { PARALLEL_FLOATS = 1 << 15 };

int compute_init(Compute *c, int threads, int head_dim)
{
    memset(c, 0, sizeof *c);
    int r = gemm_new(threads, &c->gemm);
    if (r == 0)
        r = attention_new(threads, head_dim, &c->attention);
    if (r < 0)
        compute_deinit(c);
    return r;
}

void compute_deinit(Compute *c)
{
    gemm_free(c->gemm);
    attention_free(c->attention);
    for (int i = 0; i < COMPUTE_BUFFERS; i++)
        free(c->buffers[i]);
    memset(c, 0, sizeof *c);
}

float *compute_need(Compute *c, ComputeBuffer which, size_t rows, size_t columns)
{
    size_t floats;
    if (!mem_mul(rows, columns, &floats))
        return NULL;
    if (floats > c->floats[which]) {
        float *bigger = mem_new_aligned(floats, sizeof *bigger);
        if (!bigger)
            return NULL;
        free(c->buffers[which]);
        c->buffers[which] = bigger;
        c->floats[which] = floats;
    }
    return c->buffers[which];
}

void compute_rmsnorm(Compute *c, float *y, const float *x, const float *weight, size_t rows,
                     size_t n, float eps)
{
    const KernelTable *k = kernels();
#pragma omp parallel for schedule(static)                                                          \
    num_threads(gemm_threads(c->gemm)) if (rows * n >= PARALLEL_FLOATS)
    for (size_t i = 0; i < rows; i++)
        k->rmsnorm(y + i * n, x + i * n, weight, n, eps);
}

void compute_silu_mul(Compute *c, float *y, const float *gate_up, size_t rows, size_t n)
{
    const KernelTable *k = kernels();
#pragma omp parallel for schedule(static)                                                          \
    num_threads(gemm_threads(c->gemm)) if (rows * n >= PARALLEL_FLOATS)
    for (size_t i = 0; i < rows; i++)
        k->silu_mul(y + i * n, gate_up + 2 * i * n, gate_up + 2 * i * n + n, n);
}

void compute_rope(Compute *c, float *x, size_t stride, size_t rows, size_t heads, const float *cos,
                  const float *sin, size_t half)
{
    const KernelTable *k = kernels();
#pragma omp parallel for schedule(static)                                                          \
    num_threads(gemm_threads(c->gemm)) if (rows * heads * half >= PARALLEL_FLOATS)
    for (size_t i = 0; i < rows; i++)
        for (size_t h = 0; h < heads; h++)
            k->rope(x + i * stride + h * 2 * half, cos + i * half, sin + i * half, half);
}

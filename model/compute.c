/* A thread's scratch, and the row-wise loops over all its threads. */
#include "model/compute.h"

#include "base/mem.h"
#include "model/kernels.h"

#include <errno.h>
#include <string.h>

/* Floats of one unit of work: about 20 us. */
enum { UNIT_FLOATS = 1 << 15 };

int compute_init(Compute *c, int threads, int head_dim)
{
    memset(c, 0, sizeof *c);
    int r = pool_new(threads, &c->pool);
    if (r == 0)
        r = gemm_new(c->pool, &c->gemm);
    if (r == 0)
        r = attention_new(c->pool, head_dim, &c->attention);
    if (r < 0)
        compute_deinit(c);
    return r;
}

void compute_deinit(Compute *c)
{
    gemm_free(c->gemm);
    attention_free(c->attention);
    pool_free(c->pool);
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

/* A loop over rows, cut into units of `unit` rows. */
typedef struct Rows {
    float *y;
    float *stream;
    const float *x, *weight, *cos, *sin;
    size_t rows, unit, n, stride, heads;
    float eps;
} Rows;

/* The rows of a unit: from and *to. */
static size_t unit_rows(const Rows *r, size_t item, size_t *to)
{
    size_t from = item * r->unit;
    *to = from + r->unit < r->rows ? from + r->unit : r->rows;
    return from;
}

static void run_rows(Compute *c, Rows *r, size_t row_floats,
                     void (*work)(void *user, size_t item, int thread))
{
    r->unit = UNIT_FLOATS / (row_floats ? row_floats : 1);
    r->unit = r->unit ? r->unit : 1;
    pool_run(c->pool, (r->rows + r->unit - 1) / r->unit, work, r);
}

static void rmsnorm_unit(void *user, size_t item, int thread)
{
    const Rows *r = user;
    size_t to, n = r->n;
    (void)thread;
    for (size_t i = unit_rows(r, item, &to); i < to; i++)
        kernels()->rmsnorm(r->y + i * n, r->x + i * n, r->weight, n, r->eps);
}

void compute_rmsnorm(Compute *c, float *y, const float *x, const float *weight, size_t rows,
                     size_t n, float eps)
{
    Rows r = {.y = y, .x = x, .weight = weight, .rows = rows, .n = n, .eps = eps};
    run_rows(c, &r, n, rmsnorm_unit);
}

static void add_rmsnorm_unit(void *user, size_t item, int thread)
{
    const Rows *r = user;
    size_t to, n = r->n;
    (void)thread;
    for (size_t i = unit_rows(r, item, &to); i < to; i++) {
        kernels()->add(r->stream + i * n, r->x + i * n, n);
        kernels()->rmsnorm(r->y + i * n, r->stream + i * n, r->weight, n, r->eps);
    }
}

void compute_add_rmsnorm(Compute *c, float *y, float *x, const float *update, const float *weight,
                         size_t rows, size_t n, float eps)
{
    Rows r = {.y = y, .stream = x, .x = update, .weight = weight, .rows = rows, .n = n, .eps = eps};
    run_rows(c, &r, n, add_rmsnorm_unit);
}

static void add_unit(void *user, size_t item, int thread)
{
    const Rows *r = user;
    size_t to, from = unit_rows(r, item, &to);
    (void)thread;
    kernels()->add(r->y + from * r->n, r->x + from * r->n, (to - from) * r->n);
}

void compute_add(Compute *c, float *y, const float *x, size_t rows, size_t n)
{
    Rows r = {.y = y, .x = x, .rows = rows, .n = n};
    run_rows(c, &r, n, add_unit);
}

static void gelu_unit(void *user, size_t item, int thread)
{
    const Rows *r = user;
    size_t to, from = unit_rows(r, item, &to);
    (void)thread;
    kernel_gelu(r->y + from * r->n, (to - from) * r->n);
}

void compute_gelu(Compute *c, float *x, size_t rows, size_t n)
{
    Rows r = {.y = x, .rows = rows, .n = n};
    run_rows(c, &r, n, gelu_unit);
}

static void silu_mul_unit(void *user, size_t item, int thread)
{
    const Rows *r = user;
    size_t to, n = r->n;
    (void)thread;
    for (size_t i = unit_rows(r, item, &to); i < to; i++)
        kernels()->silu_mul(r->y + i * n, r->x + 2 * i * n, r->x + 2 * i * n + n, n);
}

void compute_silu_mul(Compute *c, float *y, const float *gate_up, size_t rows, size_t n)
{
    Rows r = {.y = y, .x = gate_up, .rows = rows, .n = n};
    run_rows(c, &r, 2 * n, silu_mul_unit);
}

static void rope_unit(void *user, size_t item, int thread)
{
    const Rows *r = user;
    size_t to, half = r->n;
    (void)thread;
    for (size_t i = unit_rows(r, item, &to); i < to; i++)
        for (size_t h = 0; h < r->heads; h++)
            kernels()->rope(r->y + i * r->stride + h * 2 * half, r->cos + i * half,
                            r->sin + i * half, half);
}

void compute_rope(Compute *c, float *x, size_t stride, size_t rows, size_t heads, const float *cos,
                  const float *sin, size_t half)
{
    Rows r = {
        .y = x, .cos = cos, .sin = sin, .rows = rows, .n = half, .stride = stride, .heads = heads};
    run_rows(c, &r, heads * 2 * half, rope_unit);
}

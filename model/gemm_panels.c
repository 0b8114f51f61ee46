/*
 * Products with weights in panels. Many rows: units of GROUP_COLUMNS columns; for each piece of k
 * the unit's weights are widened into the thread's scratch (256 KB, for L2), and rows go over them
 * a tile at a time (24 KB of input, for L1).
 */
#include "model/gemm_private.h"
#include "model/kernels.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum {
    GROUP_COLUMNS = 64,
    COLUMN_BYTES = 4096, /* of a column of a piece of k: 1024 f32, 2048 s16, 4096 int4 as bytes */
    UNITS = 16,          /* at least, so that threads end together; needs this many rows each: */
    UNIT_ROWS = 48,
    /* Weights below which waking another thread costs more than it brings (about 20 us). */
    FEW_PARALLEL = 1 << 19,
    FEW_PANELS = 16, /* a unit of work of few rows */
};

/* What the units of work of one product share. */
typedef struct Job {
    const GemmKernels *k;
    const Panels *w;
    GemmScratch *wide;
    const float *x;
    float *y;
    size_t m, groups, rows; /* groups of columns; rows of a unit */
    /* PANELS_S8, PANELS_Q4: the inputs as integers, `interleave` rows together */
    size_t interleave, steps;
    int16_t *s16;         /* [m'][steps] */
    int8_t *s8;           /* [m'][steps] */
    int32_t *offset;      /* [m'][steps / 32] */
    float *row_scale;     /* [m'], of int4 [m'][steps / 32] */
    int8_t *line;         /* [threads][steps] */
    size_t m_interleaved; /* m' */
} Job;

/* --- inputs as integers --- */

static float factor_of(float largest, float *scale)
{
    if (!(largest < INFINITY)) {
        *scale = NAN; /* stays one through the product */
        return 0;
    }
    *scale = largest / 127.0f;
    return largest > 1e-30f ? 127.0f / largest : 0;
}

static void round_row_s8(const Job *job, size_t row, int8_t *line)
{
    const size_t k = job->w->k, r = row % job->interleave;
    int16_t *out = job->s16 + row / job->interleave * job->interleave * job->steps;
    float scale = 0;
    memset(line, 0, job->steps);
    if (row < job->m) {
        const float *x = job->x + row * k;
        float factor = factor_of(job->k->largest(x, k), &scale);
        if (factor > 0)
            job->k->round_s8(line, x, k, factor);
    }
    job->row_scale[row] = scale;
    for (size_t i = 0; i < job->steps; i += 2) {
        int16_t pair[2] = {line[i], line[i + 1]};
        memcpy(out + (i / 2 * job->interleave + r) * 2, pair, sizeof pair);
    }
}

static void round_row_q4(const Job *job, size_t row, int8_t *line)
{
    const size_t k = job->w->k, r = row % job->interleave, groups = job->steps / KERNEL_GROUP;
    const size_t first = row / job->interleave * job->interleave;
    int8_t *out = job->s8 + first * job->steps;
    memset(line, 0, job->steps);
    for (size_t g = 0; g < groups; g++) {
        const size_t from = g * KERNEL_GROUP, n = k - from < KERNEL_GROUP ? k - from : KERNEL_GROUP;
        float scale = 0;
        if (row < job->m) {
            const float *x = job->x + row * k + from;
            float factor = factor_of(job->k->largest(x, n), &scale);
            if (factor > 0)
                job->k->round_s8(line + from, x, n, factor);
        }
        int16_t sums[2] = {0, 0};
        for (size_t i = from; i < from + KERNEL_GROUP; i++)
            sums[i % 4 / 2] = (int16_t)(sums[i % 4 / 2] - 8 * line[i]);
        const size_t at = first * groups + g * job->interleave + r;
        memcpy(job->offset + at, sums, sizeof sums);
        job->row_scale[at] = scale;
    }
    for (size_t i = 0; i < job->steps; i += 4)
        memcpy(out + (i / 4 * job->interleave + r) * 4, line + i, 4);
}

static void round_rows(void *user, size_t item, int thread)
{
    const Job *job = user;
    int8_t *line = job->line + (size_t)thread * job->steps;
    for (size_t r = item * job->interleave; r < (item + 1) * job->interleave; r++) {
        if (job->w->kind == PANELS_S8)
            round_row_s8(job, r, line);
        else
            round_row_q4(job, r, line);
    }
}

static int round_inputs(Gemm *g, Job *job, size_t interleave)
{
    const size_t steps = job->w->steps, groups = steps / KERNEL_GROUP;
    const size_t m = (job->m + interleave - 1) / interleave * interleave;
    const bool s8 = job->w->kind == PANELS_S8;
    const size_t scales = s8 ? m : m * groups, offsets = s8 ? 0 : m * groups;
    const size_t line = (size_t)pool_threads(g->pool) * steps;
    const size_t values = m * steps * (s8 ? sizeof(int16_t) : 1);
    if (!gemm_scratch_need(&g->inputs, (scales + offsets) * 4 + values + line))
        return -ENOMEM;
    job->interleave = interleave;
    job->steps = steps;
    job->row_scale = g->inputs.data;
    job->offset = (int32_t *)(job->row_scale + scales);
    job->s16 = (int16_t *)(job->offset + offsets);
    job->s8 = (int8_t *)job->s16;
    job->line = job->s8 + values;
    pool_run(g->pool, m / interleave, round_rows, job);
    return 0;
}

/* --- many rows --- */

/* The weights of columns from `column` on, steps at .. at + n - 1, widened. tiles: of the group. */
static void widen(const Job *job, size_t column, size_t columns, size_t at, size_t n, char *wide,
                  float *scales)
{
    const Panels *w = job->w;
    const size_t width = job->k->tile_width, piece = COLUMN_BYTES * width;
    for (size_t c = 0; c < columns; c += KERNEL_PANEL) {
        char *out = wide + c / width * piece;
        const size_t in = c % width, panel = (column + c) / KERNEL_PANEL;
        if (panel >= w->panels) { /* the second half of a tile has no columns */
            for (size_t i = 0; i < COLUMN_BYTES / 4; i++)
                memset(out + (i * width + in) * 4, 0, KERNEL_PANEL * 4);
            for (size_t g = 0; scales && g < n / KERNEL_GROUP; g++)
                memset(scales + (c / width * (COLUMN_BYTES / KERNEL_GROUP) + g) * width + in, 0,
                       KERNEL_PANEL * sizeof *scales);
            continue;
        }
        const size_t first = panel * w->panel;
        switch (w->kind) {
        case PANELS_F32:
            job->k->widen_f32((float *)out + in, width,
                              (const float *)w->values + first + at * KERNEL_PANEL, n);
            break;
        case PANELS_BF16:
            job->k->widen_bf16((float *)out + in, width,
                               (const uint16_t *)w->values + first + at * KERNEL_PANEL, n);
            break;
        case PANELS_S8:
            job->k->widen_s8((int16_t *)out + 2 * in, width,
                             (const int8_t *)w->values + first + at * KERNEL_PANEL, n);
            break;
        case PANELS_Q4: {
            const size_t groups = n / KERNEL_GROUP, all = w->steps / KERNEL_GROUP;
            job->k->widen_q4((uint8_t *)out + 4 * in, width,
                             (const uint8_t *)w->values + first + at / 2 * KERNEL_PANEL, groups);
            const uint16_t *scale =
                w->group_scale + (panel * all + at / KERNEL_GROUP) * KERNEL_PANEL;
            for (size_t g = 0; g < groups; g++)
                kernels()->bf16_to_f32(
                    scales + (c / width * (COLUMN_BYTES / KERNEL_GROUP) + g) * width + in,
                    scale + g * KERNEL_PANEL, KERNEL_PANEL);
            break;
        }
        }
    }
}

/* y [tile_rows, tile_width] of input rows from `row` on; steps at .. at + n - 1. x: the first of
 * them, where inputs are floats. */
static void tile(const Job *job, const float *x, size_t row, const char *wide, const float *scales,
                 size_t at, size_t n, float *y, size_t y_stride)
{
    const GemmKernels *k = job->k;
    const size_t rows = job->interleave, groups = job->steps / KERNEL_GROUP;
    switch (job->w->kind) {
    case PANELS_F32:
    case PANELS_BF16:
        k->tile_f32(y, y_stride, x, job->w->k, (const float *)wide, n, at == 0);
        break;
    case PANELS_S8:
        k->tile_s8((int32_t *)y, y_stride, job->s16 + row * job->steps + at * rows,
                   (const int16_t *)wide, n, at == 0);
        break;
    case PANELS_Q4: {
        const size_t group = row * groups + at / KERNEL_GROUP * rows;
        KernelQ4Rows in = {job->s8 + row * job->steps + at * rows, job->offset + group,
                           job->row_scale + group};
        k->tile_q4(y, y_stride, &in, (const uint8_t *)wide, scales, n / KERNEL_GROUP, at == 0);
        break;
    }
    }
}

static void finish(const Job *job, size_t row, size_t rows, size_t column, size_t columns)
{
    const Panels *w = job->w;
    for (size_t r = row; r < row + rows; r++) {
        float *y = job->y + r * w->n + column;
        if (w->kind == PANELS_S8)
            job->k->finish_s8(y, columns, job->row_scale[r], w->scale + column);
        if (w->bias)
            kernels()->add(y, w->bias + column, columns);
    }
}

static void unit(void *user, size_t item, int thread)
{
    const Job *job = user;
    const Panels *w = job->w;
    const size_t R = job->k->tile_rows, width = job->k->tile_width;
    const size_t column = item % job->groups * GROUP_COLUMNS, row = item / job->groups * job->rows;
    const size_t columns = w->n - column < GROUP_COLUMNS ? w->n - column : GROUP_COLUMNS;
    const size_t to = job->m - row < job->rows ? job->m : row + job->rows;
    const size_t whole = (columns + width - 1) / width * width;
    const bool floats = w->kind == PANELS_F32 || w->kind == PANELS_BF16;
    const size_t piece = floats ? COLUMN_BYTES / 4 : COLUMN_BYTES / (w->kind == PANELS_S8 ? 2 : 1);
    const size_t steps = floats ? w->k : w->steps;
    char *wide = job->wide[thread].data;
    float *scales = (float *)(wide + COLUMN_BYTES * GROUP_COLUMNS);
    float *padded = scales + COLUMN_BYTES / KERNEL_GROUP * GROUP_COLUMNS;
    float part[KERNEL_TILE_ROWS * KERNEL_TILE_WIDTH];

    for (size_t at = 0; at < steps; at += piece) {
        const size_t n = steps - at < piece ? steps - at : piece;
        widen(job, column, whole, at, n, wide, w->kind == PANELS_Q4 ? scales : NULL);
        for (size_t r = row; r < to; r += R) {
            const size_t rows = to - r < R ? to - r : R;
            const float *x = job->x + r * w->k + at;
            if (floats && rows < R) {
                /* The last tile's missing rows: any will do. */
                for (size_t i = 0; i < R; i++)
                    memcpy(padded + i * n, x + (i < rows ? i : 0) * w->k, n * sizeof *x);
            }
            for (size_t c = 0; c < columns; c += width) {
                const char *tile_w = wide + c * COLUMN_BYTES;
                const float *tile_s = scales + c * (COLUMN_BYTES / KERNEL_GROUP);
                float *y = job->y + r * w->n + column + c;
                const size_t inside = columns - c < width ? columns - c : width;
                if (rows == R && inside == width) {
                    tile(job, x, r, tile_w, tile_s, at, n, y, w->n);
                    continue;
                }
                for (size_t i = 0; at > 0 && i < rows; i++)
                    memcpy(part + i * width, y + i * w->n, inside * sizeof *y);
                if (floats && rows < R)
                    job->k->tile_f32(part, width, padded, n, (const float *)tile_w, n, at == 0);
                else
                    tile(job, x, r, tile_w, tile_s, at, n, part, width);
                for (size_t i = 0; i < rows; i++)
                    memcpy(y + i * w->n, part + i * width, inside * sizeof *y);
            }
            if (at + n == steps)
                finish(job, r, rows, column, columns);
        }
    }
}

static int run_many(Gemm *g, Job *job)
{
    const Panels *w = job->w;
    const size_t R = job->k->tile_rows;
    int r = 0;
    job->interleave = R;
    if (w->kind == PANELS_S8 || w->kind == PANELS_Q4)
        r = round_inputs(g, job, R);
    const size_t bytes = COLUMN_BYTES * GROUP_COLUMNS +
                         COLUMN_BYTES / KERNEL_GROUP * GROUP_COLUMNS * sizeof(float) +
                         KERNEL_TILE_ROWS * COLUMN_BYTES;
    for (int i = 0; r == 0 && i < pool_threads(g->pool); i++)
        if (!gemm_scratch_need(&g->wide[i], bytes))
            r = -ENOMEM;
    if (r < 0)
        return r;
    job->wide = g->wide;
    job->groups = (w->n + GROUP_COLUMNS - 1) / GROUP_COLUMNS;
    size_t pieces = (UNITS + job->groups - 1) / job->groups;
    job->rows = (job->m + pieces - 1) / pieces;
    job->rows = job->rows < UNIT_ROWS ? UNIT_ROWS : job->rows;
    job->rows = (job->rows + R - 1) / R * R;
    pool_run(g->pool, job->groups * ((job->m + job->rows - 1) / job->rows), unit, job);
    return 0;
}

/* --- few rows --- */

static void few_of(const Job *job, float *y, size_t y_stride, size_t from, size_t to)
{
    const GemmKernels *k = job->k;
    const Panels *w = job->w;
    const size_t groups = w->steps / KERNEL_GROUP;
    switch (w->kind) {
    case PANELS_F32:
        k->few_f32(y, y_stride, job->x, w->k, job->m, w->values, w->panel, w->k, from, to);
        break;
    case PANELS_BF16:
        k->few_bf16(y, y_stride, job->x, w->k, job->m, w->values, w->panel, w->k, from, to);
        break;
    case PANELS_S8:
        k->few_s8((int32_t *)y, y_stride, job->s16, w->steps, job->m, w->values, w->panel, w->steps,
                  from, to);
        break;
    case PANELS_Q4: {
        KernelQ4Rows x[KERNEL_FEW];
        for (size_t r = 0; r < job->m; r++)
            x[r] = (KernelQ4Rows){job->s8 + r * w->steps, job->offset + r * groups,
                                  job->row_scale + r * groups};
        k->few_q4(y, y_stride, x, job->m, w->values, w->group_scale, groups, from, to);
        break;
    }
    }
}

static void few_panels(void *user, size_t item, int thread)
{
    const Job *job = user;
    const Panels *w = job->w;
    const size_t from = item * job->rows, whole = w->n / KERNEL_PANEL;
    size_t to = from + job->rows < w->panels ? from + job->rows : w->panels;
    (void)thread;
    if (to > whole) { /* the last panel is not full */
        float part[KERNEL_FEW * KERNEL_PANEL];
        few_of(job, part, KERNEL_PANEL, whole, whole + 1);
        for (size_t r = 0; r < job->m; r++)
            memcpy(job->y + r * w->n + whole * KERNEL_PANEL, part + r * KERNEL_PANEL,
                   w->n % KERNEL_PANEL * sizeof *part);
        to = whole;
    }
    if (from < to)
        few_of(job, job->y + from * KERNEL_PANEL, w->n, from, to);
    const size_t column = from * KERNEL_PANEL, end = (item + 1) * job->rows * KERNEL_PANEL;
    finish(job, 0, job->m, column, (end < w->n ? end : w->n) - column);
}

static int run_few(Gemm *g, Job *job)
{
    const Panels *w = job->w;
    int r = 0;
    if (w->kind == PANELS_S8 || w->kind == PANELS_Q4)
        r = round_inputs(g, job, 1);
    if (r < 0)
        return r;
    job->rows = w->n * w->k < FEW_PARALLEL ? w->panels : FEW_PANELS;
    pool_run(g->pool, (w->panels + job->rows - 1) / job->rows, few_panels, job);
    return 0;
}

int gemm_panels_run(Gemm *g, const Panels *panels, const float *x, size_t m, float *y)
{
    Job job = {.k = kernels()->gemm, .w = panels, .x = x, .y = y, .m = m};
    return m <= KERNEL_FEW ? run_few(g, &job) : run_many(g, &job);
}

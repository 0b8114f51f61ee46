/*
 * Products with weights in panels. Many rows: units of some columns; for each piece of k the unit's
 * weights are widened into the thread's scratch (256 KB, for L2), and rows go over them a tile at a
 * time (24 KB of input, for L1); or they are used as they are where the CPU multiplies them so, in
 * blocks of pieces of its own size; or, int4, as they are and all of k at once: sums of floats that
 * leave the registers every few groups cost more than inputs that come from L2.
 */
#include "model/gemm_inputs.h"
#include "model/gemm_private.h"
#include "model/kernels.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum {
    WIDE_COLUMNS = 64,
    DIRECT_COLUMNS = 256,
    COLUMN_BYTES = 4096, /* of a column of a piece of k: 1024 f32, 2048 s16 */
    BLOCK_ROWS = 96,     /* whole groups of all CPUs: their sums are finished while in L2 */
    UNITS = 16,          /* at least, so that threads end together; needs this many rows each: */
    UNIT_ROWS = 48,
    /* Weights below which waking another thread costs more than it brings (about 20 us). */
    FEW_PARALLEL = 1 << 19,
    FEW_COLUMNS = 256, /* a unit of work of few rows */
};

/* What the units of work of one product share. */
typedef struct Job {
    const GemmKernels *k;
    const Panels *w;
    GemmScratch *wide;
    const float *x;
    float *y;
    size_t m, groups, rows; /* groups of columns; rows of a unit */
    size_t group;           /* columns of a unit */
    GemmInputs in;          /* where x is not used as it is */
} Job;

static bool is_float(PanelsKind kind)
{
    return kind == PANELS_F32 || kind == PANELS_BF16;
}

/* Weights that the kernels take as they are packed. */
static bool is_direct(PanelsKind kind)
{
    return kind == PANELS_PAIRS || kind == PANELS_U8;
}

/* --- many rows, weights widened --- */

/* The weights of columns from `column` on, steps at .. at + n - 1, widened. tiles: of the group. */
static void widen(const Job *job, size_t column, size_t columns, size_t at, size_t n, char *wide)
{
    const Panels *w = job->w;
    const size_t width = job->k->tile_width, piece = COLUMN_BYTES * width;
    for (size_t c = 0; c < columns; c += KERNEL_PANEL) {
        char *out = wide + c / width * piece;
        const size_t in = c % width, panel = (column + c) / KERNEL_PANEL;
        if (panel >= w->panels) { /* the second half of a tile has no columns */
            for (size_t i = 0; i < COLUMN_BYTES / 4; i++)
                memset(out + (i * width + in) * 4, 0, KERNEL_PANEL * 4);
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
        default: /* is_direct */
            break;
        }
    }
}

/* y [tile_rows, tile_width] of input rows from `row` on; steps at .. at + n - 1. x: the first of
 * them, where inputs are floats. */
static void tile(const Job *job, const float *x, size_t row, const char *wide, size_t at, size_t n,
                 float *y, size_t y_stride)
{
    const GemmKernels *k = job->k;
    const GemmInputs *in = &job->in;
    switch (job->w->kind) {
    case PANELS_F32:
    case PANELS_BF16:
        k->tile_f32(y, y_stride, x, job->w->k, (const float *)wide, n, at == 0);
        break;
    case PANELS_S8:
        k->tile_s8((int32_t *)y, y_stride, in->s16 + row * in->steps + at * in->interleave,
                   (const int16_t *)wide, n, at == 0);
        break;
    default: /* is_direct */
        break;
    }
}

static void finish(const Job *job, size_t row, size_t rows, size_t column, size_t columns)
{
    const Panels *w = job->w;
    for (size_t r = row; r < row + rows; r++) {
        float *y = job->y + r * w->n + column;
        if (w->kind == PANELS_S8 || w->kind == PANELS_U8)
            job->k->finish_s8(y, columns, job->in.row_scale[r], w->scale + column);
        if (w->bias)
            kernels()->add(y, w->bias + column, columns);
    }
}

static void unit(void *user, size_t item, int thread)
{
    const Job *job = user;
    const Panels *w = job->w;
    const size_t R = job->k->tile_rows, width = job->k->tile_width;
    const size_t column = item % job->groups * job->group, row = item / job->groups * job->rows;
    const size_t columns = w->n - column < job->group ? w->n - column : job->group;
    const size_t to = job->m - row < job->rows ? job->m : row + job->rows;
    const size_t whole = (columns + width - 1) / width * width;
    const bool floats = is_float(w->kind);
    const size_t piece = COLUMN_BYTES / (floats ? 4 : 2);
    const size_t steps = floats ? w->k : w->steps;
    char *wide = job->wide[thread].data;
    float *padded = (float *)(wide + COLUMN_BYTES * WIDE_COLUMNS);
    float part[KERNEL_TILE_ROWS * KERNEL_TILE_WIDTH];

    for (size_t at = 0; at < steps; at += piece) {
        const size_t n = steps - at < piece ? steps - at : piece;
        const bool last = at + n == steps;
        widen(job, column, whole, at, n, wide);
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
                float *y = job->y + r * w->n + column + c;
                const size_t inside = columns - c < width ? columns - c : width;
                if (rows == R && inside == width) {
                    tile(job, x, r, tile_w, at, n, y, w->n);
                    continue;
                }
                for (size_t i = 0; at > 0 && i < rows; i++)
                    memcpy(part + i * width, y + i * w->n, inside * sizeof *y);
                if (floats && rows < R)
                    job->k->tile_f32(part, width, padded, n, (const float *)tile_w, n, at == 0);
                else
                    tile(job, x, r, tile_w, at, n, part, width);
                for (size_t i = 0; i < rows; i++)
                    memcpy(y + i * w->n, part + i * width, inside * sizeof *y);
            }
            if (last)
                finish(job, r, rows, column, columns);
        }
    }
}

/* --- many rows, int4: as they are packed, and all of k at once --- */

static void q4_tile(const Job *job, size_t row, size_t column, float *y, size_t y_stride)
{
    const Panels *w = job->w;
    const GemmInputs *in = &job->in;
    const size_t groups = w->steps / KERNEL_GROUP, panel = column / KERNEL_PANEL;
    const KernelQ4Rows x = {in->s8 + row * w->steps, in->offset + row * groups,
                            in->row_scale + row * groups};
    /* A second panel that is not there: the first again, for columns that nobody takes. */
    job->k->tile_q4(y, y_stride, &x, (const uint8_t *)w->values + panel * w->panel,
                    w->group_scale + panel * groups * KERNEL_PANEL,
                    panel + 1 < w->panels ? groups : 0, groups);
}

static void q4_unit(void *user, size_t item, int thread)
{
    const Job *job = user;
    const Panels *w = job->w;
    const size_t R = job->k->q4_rows, width = job->k->tile_width;
    const size_t column = item % job->groups * job->group, row = item / job->groups * job->rows;
    const size_t columns = w->n - column < job->group ? w->n - column : job->group;
    const size_t to = job->m - row < job->rows ? job->m : row + job->rows;
    float part[KERNEL_TILE_ROWS * KERNEL_TILE_WIDTH];
    (void)thread;

    for (size_t r = row; r < to; r += R) {
        const size_t rows = to - r < R ? to - r : R;
        for (size_t c = 0; c < columns; c += width) {
            float *y = job->y + r * w->n + column + c;
            const size_t inside = columns - c < width ? columns - c : width;
            if (rows == R && inside == width) {
                q4_tile(job, r, column + c, y, w->n);
                continue;
            }
            q4_tile(job, r, column + c, part, width);
            for (size_t i = 0; i < rows; i++)
                memcpy(y + i * w->n, part + i * width, inside * sizeof *y);
        }
        finish(job, r, rows, column, columns);
    }
}

/* --- many rows, weights as they are packed --- */

static size_t value_bytes(PanelsKind kind)
{
    return kind == PANELS_PAIRS ? sizeof(uint16_t) : sizeof(uint8_t);
}

/* Rows from `row` on by panels from `column` on, steps from `at` on, to y. */
static void block(const Job *job, KernelDotBlock *b, size_t row, size_t column, size_t at, float *y)
{
    const Panels *w = job->w;
    const GemmInputs *in = &job->in;
    const size_t x = row / in->interleave * in->group + at * in->interleave;
    const size_t value = column / w->width * w->panel + at * w->width;
    b->x_group = in->group;
    b->w_panel = w->panel;
    b->first = at == 0;
    if (w->kind == PANELS_PAIRS)
        job->k->dot_bf16(b, y, in->bf16 + x, (const uint16_t *)w->values + value);
    else
        job->k->dot_u8(b, (int32_t *)y, in->s8 + x, in->offset + row,
                       (const uint8_t *)w->values + value);
}

/* One group of rows by one panel, where there are fewer rows or columns than that. */
static void edge(const Job *job, size_t row, size_t rows, size_t column, size_t at, size_t n)
{
    const Panels *w = job->w;
    const size_t columns = w->n - column < w->width ? w->n - column : w->width;
    float part[KERNEL_DOT_ROWS * KERNEL_DOT_PANEL];
    float *y = job->y + row * w->n + column;
    for (size_t i = 0; at > 0 && i < rows; i++)
        memcpy(part + i * w->width, y + i * w->n, columns * sizeof *y);
    KernelDotBlock b = {.groups = 1, .panels = 1, .k = n, .y_stride = w->width};
    block(job, &b, row, column, at, part);
    for (size_t i = 0; i < rows; i++)
        memcpy(y + i * w->n, part + i * w->width, columns * sizeof *y);
}

static void direct_unit(void *user, size_t item, int thread)
{
    const Job *job = user;
    const Panels *w = job->w;
    const size_t R = job->k->dot_rows, width = w->width, one = value_bytes(w->kind);
    const size_t column = item % job->groups * job->group, row = item / job->groups * job->rows;
    const size_t columns = w->n - column < job->group ? w->n - column : job->group;
    const size_t to = job->m - row < job->rows ? job->m : row + job->rows;
    const size_t piece = job->k->dot_piece_bytes / one;
    const size_t blocks = (to - row + BLOCK_ROWS - 1) / BLOCK_ROWS;
    (void)thread;

    for (size_t at = 0; at < w->steps; at += piece) {
        const size_t n = w->steps - at < piece ? w->steps - at : piece, next = at + n;
        const size_t ahead = (w->steps - next < piece ? w->steps - next : piece) * width * one;
        for (size_t i = 0; i < blocks; i++) {
            const size_t r = row + i * BLOCK_ROWS;
            const size_t end = to - r < BLOCK_ROWS ? to : r + BLOCK_ROWS, left = (end - r) % R;
            /* Each block fetches its part of the next piece. */
            KernelDotBlock b = {.groups = (end - r) / R,
                                .panels = columns / width,
                                .k = n,
                                .y_stride = w->n,
                                .ahead = n * width * one + ahead * i / blocks,
                                .ahead_bytes = ahead * (i + 1) / blocks - ahead * i / blocks};
            block(job, &b, r, column, at, job->y + r * w->n + column);
            for (size_t g = 0; columns % width > 0 && g < b.groups; g++)
                edge(job, r + g * R, R, column + b.panels * width, at, n);
            for (size_t c = 0; left > 0 && c < columns; c += width)
                edge(job, end - left, left, column + c, at, n);
            if (next == w->steps)
                finish(job, r, end - r, column, columns);
        }
    }
}

/* --- any of both --- */

/* The scratch of widened weights. */
static int need_wide(Gemm *g)
{
    const size_t bytes = COLUMN_BYTES * WIDE_COLUMNS + KERNEL_TILE_ROWS * COLUMN_BYTES;
    for (int i = 0; i < pool_threads(g->pool); i++)
        if (!gemm_scratch_need(&g->wide[i], bytes))
            return -ENOMEM;
    return 0;
}

static int run_many(Gemm *g, Job *job)
{
    const Panels *w = job->w;
    const bool direct = is_direct(w->kind);
    const bool q4 = w->kind == PANELS_Q4;
    const size_t R = direct ? job->k->dot_rows : q4 ? job->k->q4_rows : job->k->tile_rows;
    const size_t most = direct ? job->k->dot_unit_rows : SIZE_MAX;
    int r = direct || q4 ? 0 : need_wide(g);
    if (r == 0 && gemm_inputs_wanted(w->kind))
        r = gemm_inputs_make(g, w, job->x, job->m, R, direct ? job->k->dot_bytes : sizeof(int32_t),
                             &job->in);
    if (r < 0)
        return r;
    job->wide = g->wide;
    job->group = direct ? DIRECT_COLUMNS : WIDE_COLUMNS;
    job->groups = (w->n + job->group - 1) / job->group;
    size_t pieces = (UNITS + job->groups - 1) / job->groups;
    job->rows = (job->m + pieces - 1) / pieces;
    job->rows = job->rows < UNIT_ROWS ? UNIT_ROWS : job->rows > most ? most : job->rows;
    job->rows = (job->rows + R - 1) / R * R;
    pool_run(g->pool, job->groups * ((job->m + job->rows - 1) / job->rows),
             direct ? direct_unit
             : q4   ? q4_unit
                    : unit,
             job);
    return 0;
}

/* --- few rows --- */

static void few_of(const Job *job, float *y, size_t y_stride, size_t from, size_t to)
{
    const GemmKernels *k = job->k;
    const Panels *w = job->w;
    const GemmInputs *in = &job->in;
    const size_t groups = w->steps / KERNEL_GROUP, m = job->m, steps = w->steps;
    switch (w->kind) {
    case PANELS_F32:
        k->few_f32(y, y_stride, job->x, w->k, m, w->values, w->panel, w->k, from, to);
        break;
    case PANELS_BF16:
        k->few_bf16(y, y_stride, job->x, w->k, m, w->values, w->panel, w->k, from, to);
        break;
    case PANELS_PAIRS:
        k->few_dot_bf16(y, y_stride, in->bf16, steps, m, w->values, w->panel, steps, from, to);
        break;
    case PANELS_S8:
        k->few_s8((int32_t *)y, y_stride, in->s16, steps, m, w->values, w->panel, steps, from, to);
        break;
    case PANELS_U8:
        k->few_dot_u8((int32_t *)y, y_stride, in->s8, steps, in->offset, m, w->values, w->panel,
                      steps, from, to);
        break;
    case PANELS_Q4: {
        KernelQ4Rows x[KERNEL_FEW];
        for (size_t r = 0; r < m; r++)
            x[r] = (KernelQ4Rows){in->s8 + r * steps, in->offset + r * groups,
                                  in->row_scale + r * groups};
        k->few_q4(y, y_stride, x, m, w->values, w->group_scale, groups, from, to);
        break;
    }
    }
}

static void few_panels(void *user, size_t item, int thread)
{
    const Job *job = user;
    const Panels *w = job->w;
    const size_t from = item * job->rows, whole = w->n / w->width;
    size_t to = from + job->rows < w->panels ? from + job->rows : w->panels;
    (void)thread;
    if (to > whole) { /* the last panel is not full */
        float part[KERNEL_FEW * KERNEL_DOT_PANEL];
        few_of(job, part, w->width, whole, whole + 1);
        for (size_t r = 0; r < job->m; r++)
            memcpy(job->y + r * w->n + whole * w->width, part + r * w->width,
                   w->n % w->width * sizeof *part);
        to = whole;
    }
    if (from < to)
        few_of(job, job->y + from * w->width, w->n, from, to);
    const size_t column = from * w->width, end = (item + 1) * job->rows * w->width;
    finish(job, 0, job->m, column, (end < w->n ? end : w->n) - column);
}

static int run_few(Gemm *g, Job *job)
{
    const Panels *w = job->w;
    int r =
        gemm_inputs_wanted(w->kind) ? gemm_inputs_make(g, w, job->x, job->m, 1, 4, &job->in) : 0;
    if (r < 0)
        return r;
    job->rows = w->n * w->k < FEW_PARALLEL ? w->panels : FEW_COLUMNS / w->width;
    pool_run(g->pool, (w->panels + job->rows - 1) / job->rows, few_panels, job);
    return 0;
}

int gemm_panels_run(Gemm *g, const Panels *panels, const float *x, size_t m, float *y)
{
    Job job = {.k = kernels()->gemm, .w = panels, .x = x, .y = y, .m = m};
    return m <= KERNEL_FEW ? run_few(g, &job) : run_many(g, &job);
}

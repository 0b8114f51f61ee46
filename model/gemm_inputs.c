/* Rounding of a product's inputs. A unit of work is a group of interleaved rows. */
#include "model/gemm_inputs.h"

#include "model/kernels.h"

#include <errno.h>
#include <math.h>
#include <string.h>

typedef struct Rounding {
    const GemmKernels *kernels;
    const Panels *panels;
    const float *x;
    size_t m;
    const GemmInputs *to;
    char *lines; /* [threads][line_bytes]: a row before it is interleaved */
    size_t line_bytes;
} Rounding;

bool gemm_inputs_wanted(PanelsKind kind)
{
    return kind == PANELS_PAIRS || kind == PANELS_S8 || kind == PANELS_U8 || kind == PANELS_Q4;
}

static float factor_of(float largest, float *scale)
{
    if (!(largest < INFINITY)) {
        *scale = NAN; /* stays one through the product */
        return 0;
    }
    *scale = largest / 127.0f;
    return largest > 1e-30f ? 127.0f / largest : 0;
}

/* A row of n bytes to its place in the group `out`. */
static void spread(const GemmInputs *to, void *out, size_t row, const void *line, size_t n)
{
    const size_t bytes = to->bytes, step = to->interleave * bytes;
    char *at = (char *)out + row % to->interleave * bytes;
    if (step == bytes) {
        memcpy(at, line, n);
    } else if (bytes == sizeof(uint32_t)) {
        for (size_t i = 0; i < n; i += sizeof(uint32_t))
            memcpy(at + i * to->interleave, (const char *)line + i, sizeof(uint32_t));
    } else {
        for (size_t i = 0; i < n; i += bytes, at += step)
            memcpy(at, (const char *)line + i, bytes);
    }
}

/* One row, or zeros, to line; the scale that it was divided by. */
static float round_s8(const Rounding *job, const float *x, size_t n, int8_t *line)
{
    float scale = 0;
    float factor = factor_of(job->kernels->largest(x, n), &scale);
    if (factor > 0)
        job->kernels->round_s8(line, x, n, factor);
    return scale;
}

static int32_t sum_s8(const int8_t *line, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += line[i];
    return sum;
}

static void row_pairs(const Rounding *job, size_t row, uint16_t *line)
{
    const GemmInputs *to = job->to;
    const size_t k = job->panels->k, group = to->group / to->interleave * sizeof *line;
    if (row < job->m)
        kernels()->f32_to_bf16(line, job->x + row * k, k);
    spread(to, to->bf16 + row / to->interleave * to->group, row, line, group);
}

static void row_s8(const Rounding *job, size_t row, int8_t *line)
{
    const GemmInputs *to = job->to;
    const size_t k = job->panels->k, r = row % to->interleave, group = row / to->interleave;
    to->row_scale[row] = row < job->m ? round_s8(job, job->x + row * k, k, line) : 0;
    if (job->panels->kind == PANELS_U8) {
        to->offset[row] = -128 * sum_s8(line, to->steps);
        spread(to, to->s8 + group * to->group, row, line, to->group / to->interleave);
        return;
    }
    int16_t *out = to->s16 + group * to->group;
    for (size_t i = 0; i < to->steps; i += 2) {
        int16_t pair[2] = {line[i], line[i + 1]};
        memcpy(out + (i / 2 * to->interleave + r) * 2, pair, sizeof pair);
    }
}

static void row_q4(const Rounding *job, size_t row, int8_t *line)
{
    const GemmInputs *to = job->to;
    const size_t k = job->panels->k, r = row % to->interleave, first = row - r;
    const size_t groups = to->steps / KERNEL_GROUP;
    for (size_t g = 0; g < groups; g++) {
        const size_t from = g * KERNEL_GROUP, n = k - from < KERNEL_GROUP ? k - from : KERNEL_GROUP;
        const size_t at = first * groups + g * to->interleave + r;
        to->row_scale[at] =
            row < job->m ? round_s8(job, job->x + row * k + from, n, line + from) : 0;
        to->offset[at] = -8 * sum_s8(line + from, KERNEL_GROUP);
    }
    spread(to, to->s8 + first * to->steps, row, line, to->steps);
}

static void round_rows(void *user, size_t item, int thread)
{
    const Rounding *job = user;
    char *line = job->lines + (size_t)thread * job->line_bytes;
    for (size_t r = item * job->to->interleave; r < (item + 1) * job->to->interleave; r++) {
        memset(line, 0, job->line_bytes);
        if (job->panels->kind == PANELS_PAIRS)
            row_pairs(job, r, (uint16_t *)(void *)line);
        else if (job->panels->kind == PANELS_Q4)
            row_q4(job, r, (int8_t *)line);
        else
            row_s8(job, r, (int8_t *)line);
    }
}

int gemm_inputs_make(Gemm *g, const Panels *panels, const float *x, size_t m, size_t interleave,
                     size_t bytes, GemmInputs *inputs)
{
    const PanelsKind kind = panels->kind;
    const size_t steps = panels->steps, groups = steps / KERNEL_GROUP;
    const size_t rows = (m + interleave - 1) / interleave * interleave;
    const size_t scales = kind == PANELS_Q4 ? rows * groups : kind == PANELS_PAIRS ? 0 : rows;
    const size_t offsets = kind == PANELS_S8 ? 0 : scales;
    const size_t one = kind == PANELS_PAIRS || kind == PANELS_S8 ? sizeof(uint16_t) : 1;
    const size_t row = (steps * one + bytes - 1) / bytes * bytes;
    const size_t values = (rows * row + 63) / 64 * 64, line = row / one * sizeof(uint16_t);
    const size_t lines = (size_t)pool_threads(g->pool) * line;
    if (!gemm_scratch_need(&g->inputs, values + (scales + offsets) * sizeof(float) + lines))
        return -ENOMEM;
    char *at = g->inputs.data;
    *inputs = (GemmInputs){.interleave = interleave,
                           .bytes = bytes,
                           .steps = steps,
                           .group = interleave * row / one,
                           .bf16 = (uint16_t *)(void *)at,
                           .s16 = (int16_t *)(void *)at,
                           .s8 = (int8_t *)at,
                           .row_scale = (float *)(void *)(at + values)};
    inputs->offset = (int32_t *)(inputs->row_scale + scales);
    Rounding job = {.kernels = kernels()->gemm,
                    .panels = panels,
                    .x = x,
                    .m = m,
                    .to = inputs,
                    .lines = (char *)(inputs->offset + offsets),
                    .line_bytes = line};
    pool_run(g->pool, rows / interleave, round_rows, &job);
    return 0;
}

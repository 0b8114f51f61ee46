/* The plain kernels of kernels_gemm.h: the definition of each. */
#include "model/kernels_gemm.h"

#include "model/kernels.h"
#include "model/kernels_table.h"

#include <math.h>
#include <string.h>

enum { ROWS = 4, WIDTH = KERNEL_PANEL };

static void plain_widen_f32(float *out, size_t width, const float *panel, size_t k)
{
    for (size_t i = 0; i < k; i++)
        for (size_t c = 0; c < KERNEL_PANEL; c++)
            out[i * width + c] = panel[i * KERNEL_PANEL + c];
}

static void plain_widen_bf16(float *out, size_t width, const uint16_t *panel, size_t k)
{
    for (size_t i = 0; i < (k + 1) / 2 * 2; i++)
        for (size_t c = 0; c < KERNEL_PANEL; c++)
            out[i * width + c] = kernel_bf16(panel[(i / 2 * KERNEL_PANEL + c) * 2 + i % 2]);
}

static void plain_widen_s8(int16_t *out, size_t width, const int8_t *panel, size_t k)
{
    for (size_t i = 0; i < k / 2; i++)
        for (size_t c = 0; c < 2 * KERNEL_PANEL; c++)
            out[i * 2 * width + c] = panel[i * 2 * KERNEL_PANEL + c];
}

/* The weight (plus 8) of step i of a panel of int4. */
static unsigned q4_at(const uint8_t *panel, size_t i, size_t c)
{
    uint8_t both = panel[i / 8 * 4 * KERNEL_PANEL + c * 4 + i % 4];
    return i / 4 % 2 ? both >> 4 : both & 15;
}

static void plain_tile_f32(float *y, size_t y_stride, const float *x, size_t x_stride,
                           const float *w, size_t k, bool first)
{
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < WIDTH; c++) {
            float sum = first ? 0 : y[r * y_stride + c];
            for (size_t i = 0; i < k; i++)
                sum += x[r * x_stride + i] * w[i * WIDTH + c];
            y[r * y_stride + c] = sum;
        }
}

static void plain_tile_s8(int32_t *y, size_t y_stride, const int16_t *x, const int16_t *w, size_t k,
                          bool first)
{
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < WIDTH; c++) {
            int32_t sum = first ? 0 : y[r * y_stride + c];
            for (size_t i = 0; i < k; i++)
                sum += x[(i / 2 * ROWS + r) * 2 + i % 2] * w[(i / 2 * WIDTH + c) * 2 + i % 2];
            y[r * y_stride + c] = sum;
        }
}

static void plain_tile_q4(float *y, size_t y_stride, const KernelQ4Rows *x, const uint8_t *w,
                          const uint16_t *scale, size_t panel, size_t groups)
{
    (void)panel; /* a tile is one */
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < WIDTH; c++) {
            float sum = 0;
            for (size_t g = 0; g < groups; g++) {
                int32_t of_group = 0;
                for (size_t i = g * KERNEL_GROUP; i < (g + 1) * KERNEL_GROUP; i++)
                    of_group +=
                        x->values[(i / 4 * ROWS + r) * 4 + i % 4] * ((int)q4_at(w, i, c) - 8);
                float of_w = kernel_bf16(scale[g * KERNEL_PANEL + c]);
                sum = fmaf(x->scale[g * ROWS + r] * of_w, (float)of_group, sum);
            }
            y[r * y_stride + c] = sum;
        }
}

static void plain_few_f32(float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
                          const float *w, size_t panel, size_t k, size_t from, size_t to)
{
    for (size_t r = 0; r < m; r++)
        for (size_t c = from * KERNEL_PANEL; c < to * KERNEL_PANEL; c++) {
            const float *at = w + c / KERNEL_PANEL * panel + c % KERNEL_PANEL;
            float sum = 0;
            for (size_t i = 0; i < k; i++)
                sum += x[r * x_stride + i] * at[i * KERNEL_PANEL];
            y[r * y_stride + c - from * KERNEL_PANEL] = sum;
        }
}

static void plain_few_bf16(float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
                           const uint16_t *w, size_t panel, size_t k, size_t from, size_t to)
{
    for (size_t r = 0; r < m; r++)
        for (size_t c = from * KERNEL_PANEL; c < to * KERNEL_PANEL; c++) {
            const uint16_t *at = w + c / KERNEL_PANEL * panel + c % KERNEL_PANEL * 2;
            float sum = 0;
            for (size_t i = 0; i < k; i++)
                sum += x[r * x_stride + i] * kernel_bf16(at[i / 2 * 2 * KERNEL_PANEL + i % 2]);
            y[r * y_stride + c - from * KERNEL_PANEL] = sum;
        }
}

static void plain_few_s8(int32_t *y, size_t y_stride, const int16_t *x, size_t x_stride, size_t m,
                         const int8_t *w, size_t panel, size_t k, size_t from, size_t to)
{
    for (size_t r = 0; r < m; r++)
        for (size_t c = from * KERNEL_PANEL; c < to * KERNEL_PANEL; c++) {
            const int8_t *at = w + c / KERNEL_PANEL * panel + c % KERNEL_PANEL * 2;
            int32_t sum = 0;
            for (size_t i = 0; i < k; i++)
                sum += x[r * x_stride + i] * at[i / 2 * 2 * KERNEL_PANEL + i % 2];
            y[r * y_stride + c - from * KERNEL_PANEL] = sum;
        }
}

static void plain_few_q4(float *y, size_t y_stride, const KernelQ4Rows *x, size_t m,
                         const uint8_t *w, const uint16_t *scale, size_t groups, size_t from,
                         size_t to)
{
    for (size_t r = 0; r < m; r++)
        for (size_t c = from * KERNEL_PANEL; c < to * KERNEL_PANEL; c++) {
            const size_t p = c / KERNEL_PANEL, in = c % KERNEL_PANEL;
            const uint8_t *panel = w + p * groups * KERNEL_PANEL * KERNEL_GROUP / 2;
            float sum = 0;
            for (size_t g = 0; g < groups; g++) {
                int32_t of_group = 0;
                for (size_t i = g * KERNEL_GROUP; i < (g + 1) * KERNEL_GROUP; i++)
                    of_group += x[r].values[i] * ((int)q4_at(panel, i, in) - 8);
                float of_w = kernel_bf16(scale[(p * groups + g) * KERNEL_PANEL + in]);
                sum = fmaf(x[r].scale[g] * of_w, (float)of_group, sum);
            }
            y[r * y_stride + c - from * KERNEL_PANEL] = sum;
        }
}

static void plain_finish_s8(float *y, size_t n, float row_scale, const float *scale)
{
    for (size_t i = 0; i < n; i++) {
        int32_t sum;
        memcpy(&sum, y + i, sizeof sum);
        y[i] = (float)sum * (row_scale * scale[i]);
    }
}

static float plain_largest(const float *x, size_t n)
{
    float best = 0, nan = 0;
    for (size_t i = 0; i < n; i++) {
        best = fabsf(x[i]) > best ? fabsf(x[i]) : best;
        nan += x[i] * 0.0f;
    }
    return best + nan;
}

static void plain_round_s8(int8_t *y, const float *x, size_t n, float factor)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (int8_t)rintf(x[i] * factor);
}

/* x of -8..7, or NaN. */
static float round_4(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: what is added to it has no fraction left */
    float q = (x + magic) - magic;
    q = q < -8.0f ? -8.0f : q;
    return q > 7.0f ? 7.0f : q;
}

/*
 * Each column: of the factors (8 +- 0.8) / (largest value, which becomes -8) the one whose rounded
 * values q fit the column best once their scale is the least squares one, d = sum x q / sum q^2:
 * the error is sum x^2 - (sum x q)^2 / sum q^2. A column of nothing (its squares are 0), or with
 * NaN or infinity, has a scale of 0.
 */
static void plain_pack_q4(uint8_t *out, float *scale, const float *values)
{
    enum { W = KERNEL_PANEL, G = KERNEL_GROUP };
    for (size_t c = 0; c < W; c++) {
        float largest = 0, best = 0, factor = 0, d = 0;
        for (size_t i = 0; i < G; i++)
            if (fabsf(values[i * W + c]) > fabsf(largest))
                largest = values[i * W + c];
        for (int t = 0; t < KERNEL_CANDIDATES; t++) {
            const float try = -(8.0f + 0.2f * (float)(t - KERNEL_CANDIDATES / 2)) / largest;
            float xq = 0, qq = 0;
            for (size_t i = 0; i < G; i++) {
                float q = round_4(values[i * W + c] * try);
                xq += values[i * W + c] * q;
                qq += q * q;
            }
            if (xq * xq / qq > best) {
                best = xq * xq / qq;
                d = xq / qq;
                factor = try;
            }
        }
        scale[c] = d;
        for (size_t i = 0; i < G; i++) {
            int q = (int)fmaxf(round_4(values[i * W + c] * factor), -8.0f) + 8;
            uint8_t *byte = out + (i / 8 * W + c) * 4 + i % 4;
            *byte = (uint8_t)(i / 4 % 2 ? *byte | q << 4 : q);
        }
    }
}

const GemmKernels gemm_kernels_plain = {
    .tile_rows = ROWS,
    .tile_width = WIDTH,
    .q4_rows = ROWS,
    .widen_f32 = plain_widen_f32,
    .widen_bf16 = plain_widen_bf16,
    .widen_s8 = plain_widen_s8,
    .tile_f32 = plain_tile_f32,
    .tile_s8 = plain_tile_s8,
    .tile_q4 = plain_tile_q4,
    .few_f32 = plain_few_f32,
    .few_bf16 = plain_few_bf16,
    .few_s8 = plain_few_s8,
    .few_q4 = plain_few_q4,
    .finish_s8 = plain_finish_s8,
    .largest = plain_largest,
    .round_s8 = plain_round_s8,
    .pack_q4 = plain_pack_q4,
};

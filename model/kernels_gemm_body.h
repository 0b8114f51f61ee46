/*
 * The kernels of kernels_gemm.h, written once over the vectors of kernels_body.h (included first)
 * and
 *   IVEC                         a vector of VEC_N s32, 2 VEC_N s16 or 4 VEC_N s8
 *   I_LOAD(p) I_STORE(p, v) I_SET4(p)   the 4 bytes at p in every s32
 *   I_ZERO()
 *   I_ADD32(a, b) I_ADD16(a, b)  acc + v
 *   I_MADD16(a, b)               s16 x s16, neighbours added, to s32
 *   I_MADDU8(a, b)               u8 x s8, neighbours added, to s16
 *   I_PAIRS(v)                   neighbouring s16 added, to s32
 *   I_WIDEN8(p)                  2 VEC_N s8 at p, to s16
 *   I_LOW4(v) I_HIGH4(v)         the nibbles of bytes
 *   I_TO_V(v) V_TO_I(v)          s32 <-> f32, to nearest
 *   V_STORE_S8(p, v)             VEC_N s8, to nearest
 *   I_Q4_BEGIN(p) I_Q4_DOT(sum, w, x) I_Q4_END(sum, p)   sums of u8 x s8 products in fours behind
 *                                the offset at p: where the CPU has no such instruction they are
 *                                s16 in between, which holds a group's
 *   V_ABS(v)
 */
#include "model/kernels_gemm.h"

#define GEMM_VECS (KERNEL_PANEL / VEC_N) /* vectors of a panel's row */

/* --- widening: once a tile row's worth of inputs --- */

static void body_widen_f32(float *out, size_t width, const float *panel, size_t k)
{
    for (size_t i = 0; i < k; i++)
        for (size_t v = 0; v < GEMM_VECS; v++)
            V_STORE(out + i * width + v * VEC_N, V_LOAD(panel + i * KERNEL_PANEL + v * VEC_N));
}

static void body_widen_bf16(float *out, size_t width, const uint16_t *panel, size_t k)
{
    for (size_t i = 0; i < k; i += 2)
        for (size_t v = 0; v < GEMM_VECS; v++) {
            const uint16_t *in = panel + i * KERNEL_PANEL + v * 2 * VEC_N;
            V_STORE(out + i * width + v * VEC_N, V_BF16_EVEN(in));
            V_STORE(out + (i + 1) * width + v * VEC_N, V_BF16_ODD(in));
        }
}

static void body_widen_s8(int16_t *out, size_t width, const int8_t *panel, size_t k)
{
    for (size_t i = 0; i < k; i += 2)
        for (size_t v = 0; v < GEMM_VECS; v++)
            I_STORE(out + i * width + v * 2 * VEC_N,
                    I_WIDEN8(panel + i * KERNEL_PANEL + v * 2 * VEC_N));
}

/* --- tiles --- */

#define TILE_R (VEC_N == 8 ? 6 : 12)
#define TILE_W ((size_t)(2 * VEC_N))

static void body_tile_f32(float *y, size_t y_stride, const float *x, size_t x_stride,
                          const float *w, size_t k, bool first)
{
    VEC sum[TILE_R][2];
#pragma GCC unroll 12
    for (int r = 0; r < TILE_R; r++) {
        sum[r][0] = first ? V_ZERO() : V_LOAD(y + (size_t)r * y_stride);
        sum[r][1] = first ? V_ZERO() : V_LOAD(y + (size_t)r * y_stride + VEC_N);
    }
    const float *lower = x + TILE_R / 2 * x_stride;
    for (size_t i = 0; i < k; i++) {
        VEC w0 = V_LOAD(w + i * TILE_W), w1 = V_LOAD(w + i * TILE_W + VEC_N);
#pragma GCC unroll 12
        for (int r = 0; r < TILE_R; r++) {
            VEC in = V_SET(r < TILE_R / 2 ? x[(size_t)r * x_stride + i]
                                          : lower[(size_t)(r - TILE_R / 2) * x_stride + i]);
            sum[r][0] = V_FMA(in, w0, sum[r][0]);
            sum[r][1] = V_FMA(in, w1, sum[r][1]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < TILE_R; r++) {
        V_STORE(y + (size_t)r * y_stride, sum[r][0]);
        V_STORE(y + (size_t)r * y_stride + VEC_N, sum[r][1]);
    }
}

static void body_tile_s8(int32_t *y, size_t y_stride, const int16_t *x, const int16_t *w, size_t k,
                         bool first)
{
    IVEC sum[TILE_R][2];
#pragma GCC unroll 12
    for (int r = 0; r < TILE_R; r++) {
        sum[r][0] = first ? I_ZERO() : I_LOAD(y + (size_t)r * y_stride);
        sum[r][1] = first ? I_ZERO() : I_LOAD(y + (size_t)r * y_stride + VEC_N);
    }
    for (size_t i = 0; i < k; i += 2) {
        IVEC w0 = I_LOAD(w + i * TILE_W), w1 = I_LOAD(w + i * TILE_W + 2 * VEC_N);
#pragma GCC unroll 12
        for (int r = 0; r < TILE_R; r++) {
            IVEC in = I_SET4(x + i * TILE_R + 2 * r);
            sum[r][0] = I_ADD32(sum[r][0], I_MADD16(in, w0));
            sum[r][1] = I_ADD32(sum[r][1], I_MADD16(in, w1));
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < TILE_R; r++) {
        I_STORE(y + (size_t)r * y_stride, sum[r][0]);
        I_STORE(y + (size_t)r * y_stride + VEC_N, sum[r][1]);
    }
}

/* A group's sums fit s16: 16 products of at most 15 * 127 a lane. The sums over all groups stay in
 * registers beside those of a group, 12 and 12 of 32: what a group costs beyond its 8 products a
 * sum is one conversion, one product of scales and one FMA. */
#define Q4_R 6

static void body_tile_q4(float *y, size_t y_stride, const KernelQ4Rows *x, const uint8_t *w,
                         const uint16_t *scale, size_t panel, size_t groups)
{
    /* The second vector: of the same panel, or of the next. */
    const uint8_t *next_w =
        w + (GEMM_VECS == 2 ? 4 * VEC_N : panel * KERNEL_PANEL * KERNEL_GROUP / 2);
    const uint16_t *next_scale = scale + (GEMM_VECS == 2 ? VEC_N : panel * KERNEL_PANEL);
    const int8_t *in_x = x->values;
    const int32_t *offset = x->offset;
    const float *scale_x = x->scale;
    VEC total[Q4_R][2];
#pragma GCC unroll 6
    for (int r = 0; r < Q4_R; r++)
        total[r][0] = total[r][1] = V_ZERO();
    for (size_t g = 0; g < groups; g++) {
        IVEC sum[Q4_R][2];
#pragma GCC unroll 6
        for (int r = 0; r < Q4_R; r++)
            sum[r][0] = sum[r][1] = I_Q4_BEGIN(offset + r);
#pragma GCC unroll 4
        for (int p = 0; p < KERNEL_GROUP / 8; p++)
#pragma GCC unroll 2
            for (int half = 0; half < 2; half++) {
                IVEC w0 = I_LOAD(w + (size_t)p * 4 * KERNEL_PANEL);
                IVEC w1 = I_LOAD(next_w + (size_t)p * 4 * KERNEL_PANEL);
                w0 = half ? I_HIGH4(w0) : I_LOW4(w0);
                w1 = half ? I_HIGH4(w1) : I_LOW4(w1);
#pragma GCC unroll 6
                for (int r = 0; r < Q4_R; r++) {
                    IVEC in = I_SET4(in_x + ((size_t)(2 * p + half) * Q4_R + (size_t)r) * 4);
                    sum[r][0] = I_Q4_DOT(sum[r][0], w0, in);
                    sum[r][1] = I_Q4_DOT(sum[r][1], w1, in);
                }
            }
        VEC s0 = V_BF16(scale), s1 = V_BF16(next_scale);
#pragma GCC unroll 6
        for (int r = 0; r < Q4_R; r++) {
            VEC of_x = V_SET(scale_x[r]);
            total[r][0] =
                V_FMA(V_MUL(of_x, s0), I_TO_V(I_Q4_END(sum[r][0], offset + r)), total[r][0]);
            total[r][1] =
                V_FMA(V_MUL(of_x, s1), I_TO_V(I_Q4_END(sum[r][1], offset + r)), total[r][1]);
        }
        w += KERNEL_PANEL * KERNEL_GROUP / 2;
        next_w += KERNEL_PANEL * KERNEL_GROUP / 2;
        scale += KERNEL_PANEL;
        next_scale += KERNEL_PANEL;
        in_x += KERNEL_GROUP * Q4_R;
        offset += Q4_R;
        scale_x += Q4_R;
    }
#pragma GCC unroll 6
    for (int r = 0; r < Q4_R; r++) {
        V_STORE(y + (size_t)r * y_stride, total[r][0]);
        V_STORE(y + (size_t)r * y_stride + VEC_N, total[r][1]);
    }
}

/* --- few rows: up to BODY_FEW at once, the rest again while the panel is in cache; `panels` panels
 * at once, so that there are enough sums to hide the latency --- */

#define BODY_FEW            6
/* Of so many rows, how many now: no pass of a row or two behind one of six. */
#define BODY_FEW_ROWS(left) ((left) <= BODY_FEW ? (left) : (left) < 9 ? (left) / 2 : BODY_FEW)

/* Step i + c of k, c being 0 or 1. Many rows: each input is broadcast once, for all columns; few:
 * weights are used as they come. Either way a register is left for everything. */
static inline __attribute__((always_inline)) void
body_few_step(const int m, const int panels, const bool bf16, const size_t c,
              VEC sum[BODY_FEW][4][GEMM_VECS], const float *x, size_t x_stride, const void *w,
              size_t panel, size_t i)
{
    VEC wide[4][GEMM_VECS];
#pragma GCC unroll 4
    for (int p = 0; p < panels; p++)
#pragma GCC unroll 2
        for (int v = 0; v < GEMM_VECS; v++) {
            const size_t at = (size_t)p * panel + i * KERNEL_PANEL;
            if (bf16) {
                const uint16_t *pairs = (const uint16_t *)w + at + (size_t)v * 2 * VEC_N;
                wide[p][v] = c ? V_BF16_ODD(pairs) : V_BF16_EVEN(pairs);
            } else {
                wide[p][v] = V_LOAD((const float *)w + at + c * KERNEL_PANEL + (size_t)v * VEC_N);
            }
        }
#pragma GCC unroll 6
    for (int r = 0; r < m; r++) {
        VEC in = V_SET(x[(size_t)r * x_stride + c]);
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++)
#pragma GCC unroll 2
            for (int v = 0; v < GEMM_VECS; v++)
                sum[r][p][v] = V_FMA(in, wide[p][v], sum[r][p][v]);
    }
}

static inline __attribute__((always_inline)) void
body_few_float(const int m, const int panels, const bool bf16, float *y, size_t y_stride,
               const float *x, size_t x_stride, const void *w, size_t panel, size_t k)
{
    VEC sum[BODY_FEW][4][GEMM_VECS];
#pragma GCC unroll 6
    for (int r = 0; r < m; r++)
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++)
#pragma GCC unroll 2
            for (int v = 0; v < GEMM_VECS; v++)
                sum[r][p][v] = V_ZERO();
    size_t i = 0;
    for (; i + 2 <= k; i += 2) {
        body_few_step(m, panels, bf16, 0, sum, x + i, x_stride, w, panel, i);
        body_few_step(m, panels, bf16, 1, sum, x + i, x_stride, w, panel, i);
    }
    if (i < k)
        body_few_step(m, panels, bf16, 0, sum, x + i, x_stride, w, panel, i);
#pragma GCC unroll 6
    for (int r = 0; r < m; r++)
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++)
#pragma GCC unroll 2
            for (int v = 0; v < GEMM_VECS; v++)
                V_STORE(y + (size_t)r * y_stride + (size_t)p * KERNEL_PANEL + (size_t)v * VEC_N,
                        sum[r][p][v]);
}

/* m rows with one panel. */
static inline __attribute__((always_inline)) void
body_few_one(const bool bf16, float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
             const void *w, size_t panel, size_t k)
{
    switch (m) {
    case 1:
        body_few_float(1, 1, bf16, y, y_stride, x, x_stride, w, panel, k);
        break;
    case 2:
        body_few_float(2, 1, bf16, y, y_stride, x, x_stride, w, panel, k);
        break;
    case 3:
        body_few_float(3, 1, bf16, y, y_stride, x, x_stride, w, panel, k);
        break;
    case 4:
        body_few_float(4, 1, bf16, y, y_stride, x, x_stride, w, panel, k);
        break;
    case 5:
        body_few_float(5, 1, bf16, y, y_stride, x, x_stride, w, panel, k);
        break;
    default:
        body_few_float(6, 1, bf16, y, y_stride, x, x_stride, w, panel, k);
    }
}

static inline __attribute__((always_inline)) void
body_few_floats(const bool bf16, float *y, size_t y_stride, const float *x, size_t x_stride,
                size_t m, const void *w, size_t panel, size_t k, size_t from, size_t to)
{
    const size_t one = bf16 ? sizeof(uint16_t) : sizeof(float);
    for (size_t p = from; p < to;) {
        const char *at = (const char *)w + p * panel * one;
        float *out = y + (p - from) * KERNEL_PANEL;
        const size_t left = to - p;
        if (m == 1 && left >= 4) {
            body_few_float(1, 4, bf16, out, y_stride, x, x_stride, at, panel, k);
            p += 4;
            continue;
        }
        if (m == 2 && left >= 2) {
            body_few_float(2, 2, bf16, out, y_stride, x, x_stride, at, panel, k);
            p += 2;
            continue;
        }
        for (size_t r = 0; r < m;) {
            size_t rows = BODY_FEW_ROWS(m - r);
            body_few_one(bf16, out + r * y_stride, y_stride, x + r * x_stride, x_stride, rows, at,
                         panel, k);
            r += rows;
        }
        p++;
    }
}

static void body_few_f32(float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
                         const float *w, size_t panel, size_t k, size_t from, size_t to)
{
    body_few_floats(false, y, y_stride, x, x_stride, m, w, panel, k, from, to);
}

static void body_few_bf16(float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
                          const uint16_t *w, size_t panel, size_t k, size_t from, size_t to)
{
    body_few_floats(true, y, y_stride, x, x_stride, m, w, panel, k, from, to);
}

static inline __attribute__((always_inline)) void
body_few_s8_of(const int m, const int panels, int32_t *y, size_t y_stride, const int16_t *x,
               size_t x_stride, const int8_t *w, size_t panel, size_t k)
{
    IVEC sum[BODY_FEW][2][GEMM_VECS];
#pragma GCC unroll 6
    for (int r = 0; r < m; r++)
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++)
#pragma GCC unroll 2
            for (int v = 0; v < GEMM_VECS; v++)
                sum[r][p][v] = I_ZERO();
    for (size_t i = 0; i < k; i += 2) {
        IVEC wide[2][GEMM_VECS];
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++)
#pragma GCC unroll 2
            for (int v = 0; v < GEMM_VECS; v++)
                wide[p][v] =
                    I_WIDEN8(w + (size_t)p * panel + i * KERNEL_PANEL + (size_t)v * 2 * VEC_N);
#pragma GCC unroll 6
        for (int r = 0; r < m; r++) {
            IVEC in = I_SET4(x + (size_t)r * x_stride + i);
#pragma GCC unroll 2
            for (int p = 0; p < panels; p++)
#pragma GCC unroll 2
                for (int v = 0; v < GEMM_VECS; v++)
                    sum[r][p][v] = I_ADD32(sum[r][p][v], I_MADD16(in, wide[p][v]));
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < m; r++)
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++)
#pragma GCC unroll 2
            for (int v = 0; v < GEMM_VECS; v++)
                I_STORE(y + (size_t)r * y_stride + (size_t)p * KERNEL_PANEL + (size_t)v * VEC_N,
                        sum[r][p][v]);
}

/* m rows with one panel. */
static inline __attribute__((always_inline)) void body_few_s8_one(int32_t *y, size_t y_stride,
                                                                  const int16_t *x, size_t x_stride,
                                                                  size_t m, const int8_t *w,
                                                                  size_t panel, size_t k)
{
    switch (m) {
    case 1:
        body_few_s8_of(1, 1, y, y_stride, x, x_stride, w, panel, k);
        break;
    case 2:
        body_few_s8_of(2, 1, y, y_stride, x, x_stride, w, panel, k);
        break;
    case 3:
        body_few_s8_of(3, 1, y, y_stride, x, x_stride, w, panel, k);
        break;
    case 4:
        body_few_s8_of(4, 1, y, y_stride, x, x_stride, w, panel, k);
        break;
    case 5:
        body_few_s8_of(5, 1, y, y_stride, x, x_stride, w, panel, k);
        break;
    default:
        body_few_s8_of(6, 1, y, y_stride, x, x_stride, w, panel, k);
    }
}

static void body_few_s8(int32_t *y, size_t y_stride, const int16_t *x, size_t x_stride, size_t m,
                        const int8_t *w, size_t panel, size_t k, size_t from, size_t to)
{
    for (size_t p = from; p < to;) {
        const int8_t *at = w + p * panel;
        int32_t *out = y + (p - from) * KERNEL_PANEL;
        if (m <= 2 && to - p >= 2) {
            if (m == 1)
                body_few_s8_of(1, 2, out, y_stride, x, x_stride, at, panel, k);
            else
                body_few_s8_of(2, 2, out, y_stride, x, x_stride, at, panel, k);
            p += 2;
            continue;
        }
        for (size_t r = 0; r < m;) {
            size_t rows = BODY_FEW_ROWS(m - r);
            body_few_s8_one(out + r * y_stride, y_stride, x + r * x_stride, x_stride, rows, at,
                            panel, k);
            r += rows;
        }
        p++;
    }
}

static inline __attribute__((always_inline)) void
body_few_q4_of(const int m, float *y, size_t y_stride, const KernelQ4Rows *x, const uint8_t *w,
               const uint16_t *scale, size_t groups)
{
    VEC total[4][GEMM_VECS];
#pragma GCC unroll 4
    for (int r = 0; r < m; r++)
#pragma GCC unroll 2
        for (int v = 0; v < GEMM_VECS; v++)
            total[r][v] = V_ZERO();
    for (size_t g = 0; g < groups; g++) {
        IVEC sum[4][GEMM_VECS];
#pragma GCC unroll 4
        for (int r = 0; r < m; r++)
#pragma GCC unroll 2
            for (int v = 0; v < GEMM_VECS; v++)
                sum[r][v] = I_Q4_BEGIN(x[r].offset + g);
#pragma GCC unroll 4
        for (int p = 0; p < KERNEL_GROUP / 8; p++)
#pragma GCC unroll 2
            for (int v = 0; v < GEMM_VECS; v++) {
                IVEC both = I_LOAD(w + g * KERNEL_PANEL * KERNEL_GROUP / 2 +
                                   (size_t)p * 4 * KERNEL_PANEL + (size_t)v * 4 * VEC_N);
                IVEC low = I_LOW4(both), high = I_HIGH4(both);
#pragma GCC unroll 4
                for (int r = 0; r < m; r++) {
                    const int8_t *in = x[r].values + g * KERNEL_GROUP + 8 * p;
                    sum[r][v] = I_Q4_DOT(sum[r][v], low, I_SET4(in));
                    sum[r][v] = I_Q4_DOT(sum[r][v], high, I_SET4(in + 4));
                }
            }
#pragma GCC unroll 2
        for (int v = 0; v < GEMM_VECS; v++) {
            VEC of_w = V_BF16(scale + g * KERNEL_PANEL + (size_t)v * VEC_N);
#pragma GCC unroll 4
            for (int r = 0; r < m; r++)
                total[r][v] = V_FMA(V_MUL(V_SET(x[r].scale[g]), of_w),
                                    I_TO_V(I_Q4_END(sum[r][v], x[r].offset + g)), total[r][v]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < m; r++)
#pragma GCC unroll 2
        for (int v = 0; v < GEMM_VECS; v++)
            V_STORE(y + (size_t)r * y_stride + (size_t)v * VEC_N, total[r][v]);
}

static void body_few_q4(float *y, size_t y_stride, const KernelQ4Rows *x, size_t m,
                        const uint8_t *w, const uint16_t *scale, size_t groups, size_t from,
                        size_t to)
{
    for (size_t p = from; p < to; p++) {
        const uint8_t *at = w + p * groups * KERNEL_PANEL * KERNEL_GROUP / 2;
        const uint16_t *of = scale + p * groups * KERNEL_PANEL;
        float *out = y + (p - from) * KERNEL_PANEL;
        for (size_t r = 0; r < m;) {
            size_t left = m - r, rows = left <= 4 ? left : left == 5 ? 3 : left == 6 ? 3 : 4;
            float *at_row = out + r * y_stride;
            if (rows == 1)
                body_few_q4_of(1, at_row, y_stride, x + r, at, of, groups);
            else if (rows == 2)
                body_few_q4_of(2, at_row, y_stride, x + r, at, of, groups);
            else if (rows == 3)
                body_few_q4_of(3, at_row, y_stride, x + r, at, of, groups);
            else
                body_few_q4_of(4, at_row, y_stride, x + r, at, of, groups);
            r += rows;
        }
    }
}

/* --- around them --- */

static void body_finish_s8(float *y, size_t n, float row_scale, const float *scale)
{
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        V_STORE(y + i, V_MUL(I_TO_V(I_LOAD(y + i)), V_MUL(V_SET(row_scale), V_LOAD(scale + i))));
    for (; i < n; i++) {
        int32_t sum;
        memcpy(&sum, y + i, sizeof sum);
        y[i] = (float)sum * (row_scale * scale[i]);
    }
}

static float body_largest(const float *x, size_t n)
{
    /* x * 0 is NaN of what is not finite, and stays so in the sum. */
    VEC m = V_ZERO(), bad = V_ZERO();
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N) {
        VEC v = V_LOAD(x + i);
        m = V_MAX(m, V_ABS(v));
        bad = V_FMA(v, V_ZERO(), bad);
    }
    float best = V_MAXIMUM(m), nan = V_SUM(bad);
    for (; i < n; i++) {
        best = fabsf(x[i]) > best ? fabsf(x[i]) : best;
        nan += x[i] * 0.0f;
    }
    return best + nan;
}

static void body_round_s8(int8_t *y, const float *x, size_t n, float factor)
{
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        V_STORE_S8(y + i, V_MUL(V_LOAD(x + i), V_SET(factor)));
    for (; i < n; i++)
        y[i] = (int8_t)rintf(x[i] * factor);
}

static inline VEC body_round_4(VEC x)
{
    const VEC magic = V_SET(12582912.0f);
    return V_MIN(V_SET(7.0f), V_MAX(V_SET(-8.0f), V_SUB(V_ADD(x, magic), magic)));
}

/* The largest of each of VEC_N columns by magnitude, the first of equal ones. */
static inline void body_pack_largest(float *largest, const float *values)
{
    VEC high = V_ZERO(), low = V_ZERO();
    for (size_t i = 0; i < KERNEL_GROUP; i++) {
        VEC x = V_LOAD(values + i * KERNEL_PANEL);
        high = V_MAX(x, high);
        low = V_MIN(x, low);
    }
    float above[VEC_N], below[VEC_N];
    V_STORE(above, high);
    V_STORE(below, low);
    for (size_t c = 0; c < VEC_N; c++) {
        largest[c] = above[c] > -below[c] ? above[c] : below[c];
        for (size_t i = 0; above[c] == -below[c] && i < KERNEL_GROUP; i++)
            if (fabsf(values[i * KERNEL_PANEL + c]) == above[c]) {
                largest[c] = values[i * KERNEL_PANEL + c];
                break;
            }
    }
}

static inline void body_pack_columns(uint8_t *out, float *scale, const float *values)
{
    float largest[VEC_N], best[VEC_N] = {0}, factor[VEC_N] = {0};
    body_pack_largest(largest, values);
    V_STORE(scale, V_ZERO());
    for (int t = 0; t < KERNEL_CANDIDATES; t++) {
        const VEC try =
            V_DIV(V_SET(-(8.0f + 0.2f * (float)(t - KERNEL_CANDIDATES / 2))), V_LOAD(largest));
        VEC xq = V_ZERO(), qq = V_ZERO();
        for (size_t i = 0; i < KERNEL_GROUP; i++) {
            VEC x = V_LOAD(values + i * KERNEL_PANEL), q = body_round_4(V_MUL(x, try));
            xq = V_ADD(xq, V_MUL(x, q));
            qq = V_ADD(qq, V_MUL(q, q));
        }
        float fit[VEC_N], d[VEC_N], tried[VEC_N];
        V_STORE(fit, V_DIV(V_MUL(xq, xq), qq)); /* NaN is not better */
        V_STORE(d, V_DIV(xq, qq));
        V_STORE(tried, try);
        for (size_t c = 0; c < VEC_N; c++)
            if (fit[c] > best[c]) {
                best[c] = fit[c];
                scale[c] = d[c];
                factor[c] = tried[c];
            }
    }
    for (size_t p = 0; p < KERNEL_GROUP / 8; p++) {
        VEC byte[4];
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++) {
            const float *at = values + (8 * p + j) * KERNEL_PANEL;
            VEC low = body_round_4(V_MUL(V_LOAD(at), V_LOAD(factor)));
            VEC high = body_round_4(V_MUL(V_LOAD(at + 4 * KERNEL_PANEL), V_LOAD(factor)));
            /* NaN: -8, as in the definition. */
            low = V_ADD(V_MAX(low, V_SET(-8.0f)), V_SET(8.0f));
            high = V_ADD(V_MAX(high, V_SET(-8.0f)), V_SET(8.0f));
            byte[j] = V_FMA(high, V_SET(16.0f), low);
        }
        /* f32 holds two bytes exactly. */
        uint32_t lower[VEC_N], upper[VEC_N];
        I_STORE(lower, V_TO_I(V_FMA(byte[1], V_SET(256.0f), byte[0])));
        I_STORE(upper, V_TO_I(V_FMA(byte[3], V_SET(256.0f), byte[2])));
        for (size_t c = 0; c < VEC_N; c++)
            lower[c] |= upper[c] << 16;
        memcpy(out + p * 4 * KERNEL_PANEL, lower, sizeof lower);
    }
}

static void body_pack_q4(uint8_t *out, float *scale, const float *values)
{
    for (size_t v = 0; v < GEMM_VECS; v++)
        body_pack_columns(out + v * 4 * VEC_N, scale + v * VEC_N, values + v * VEC_N);
}

#define BODY_GEMM                                                                                  \
    .tile_rows = TILE_R, .tile_width = TILE_W, .q4_rows = Q4_R, .widen_f32 = body_widen_f32,       \
    .widen_bf16 = body_widen_bf16, .widen_s8 = body_widen_s8, .tile_f32 = body_tile_f32,           \
    .tile_s8 = body_tile_s8, .tile_q4 = body_tile_q4, .few_f32 = body_few_f32,                     \
    .few_bf16 = body_few_bf16, .few_s8 = body_few_s8, .few_q4 = body_few_q4,                       \
    .finish_s8 = body_finish_s8, .largest = body_largest, .round_s8 = body_round_s8,               \
    .pack_q4 = body_pack_q4

/* The plain kernels, and the choice between them and the wide ones. */
#include "model/kernels.h"

#include "base/log.h"
#include "model/amx.h"
#include "model/kernels_table.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* --- plain C: the definition of each kernel --- */

static void plain_rmsnorm(float *y, const float *x, const float *weight, size_t n, float eps)
{
    float squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    float scale = 1.0f / sqrtf(squares / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * scale * weight[i];
}

static void plain_silu_mul(float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void plain_add(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void plain_scale(float *y, float s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] *= s;
}

static float plain_max(const float *x, size_t n)
{
    float best = x[0];
    for (size_t i = 1; i < n; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

static float plain_exp_sum(float *x, size_t n, float subtract)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] = expf(x[i] - subtract);
    return sum;
}

static float plain_exp_share(uint16_t *y, const float *x, size_t n, float subtract)
{
    float sum = 0;
    for (size_t i = 0; i < KERNEL_BLOCK; i++) {
        float e = i < n ? expf(x[i] - subtract) : 0;
        sum += e;
        y[i] = kernel_to_bf16(e);
    }
    return sum;
}

static void plain_rope(float *x, const float *cos, const float *sin, size_t half)
{
    for (size_t i = 0; i < half; i++) {
        float a = x[i], b = x[half + i];
        x[i] = a * cos[i] - b * sin[i];
        x[half + i] = b * cos[i] + a * sin[i];
    }
}

static void plain_tile(float *c, size_t c_stride, const float *a, size_t a_stride, const float *b,
                       size_t b_stride, size_t rows, size_t inner, size_t cols, bool accumulate)
{
    for (size_t r = 0; r < rows; r++) {
        float *y = c + r * c_stride;
        if (!accumulate)
            memset(y, 0, cols * sizeof(float));
        for (size_t i = 0; i < inner; i++)
            for (size_t j = 0; j < cols; j++)
                y[j] += a[r * a_stride + i] * b[i * b_stride + j];
    }
}

static inline size_t panel_index(const KernelPanels *p, size_t n, size_t k)
{
    return n / p->width * p->panel + k / p->pair * p->width * p->pair + n % p->width * p->pair +
           k % p->pair;
}

static void plain_panels_f32(float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
                             const float *w, const KernelPanels *panels, size_t k, size_t from,
                             size_t to)
{
    for (size_t r = 0; r < m; r++)
        for (size_t i = from; i < to; i++) {
            float sum = 0;
            for (size_t j = 0; j < k; j++)
                sum += w[panel_index(panels, i, j)] * x[r * x_stride + j];
            y[r * y_stride + i] = sum;
        }
}

static void plain_panels_bf16(float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
                              const uint16_t *w, const KernelPanels *panels, size_t k, size_t from,
                              size_t to)
{
    for (size_t r = 0; r < m; r++)
        for (size_t i = from; i < to; i++) {
            float sum = 0;
            for (size_t j = 0; j < k; j++)
                sum += kernel_bf16(w[panel_index(panels, i, j)]) * x[r * x_stride + j];
            y[r * y_stride + i] = sum;
        }
}

static void plain_bf16_to_f32(float *y, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = kernel_bf16(x[i]);
}

static void plain_pairs_to_f32(float *y, const uint16_t *x, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            y[i * columns + j] = kernel_bf16(x[(i / 2 * columns + j) * 2 + i % 2]);
}

static void plain_f32_to_bf16(uint16_t *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = kernel_to_bf16(x[i]);
}

static void plain_s8_scale(float *y, const int8_t *x, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)x[i] * scale;
}

static void plain_s8_mul(float *y, const int8_t *x, const float *scales, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)x[i] * scales[i];
}

static const KernelTable kernels_plain = {
    .cpu = KERNEL_GENERIC,
    .name = "generic",
    .rmsnorm = plain_rmsnorm,
    .silu_mul = plain_silu_mul,
    .add = plain_add,
    .scale = plain_scale,
    .max = plain_max,
    .exp_sum = plain_exp_sum,
    .exp_share = plain_exp_share,
    .rope = plain_rope,
    .tile = plain_tile,
    .panels_f32 = plain_panels_f32,
    .panels_bf16 = plain_panels_bf16,
    .bf16_to_f32 = plain_bf16_to_f32,
    .pairs_to_f32 = plain_pairs_to_f32,
    .f32_to_bf16 = plain_f32_to_bf16,
    .s8_scale = plain_s8_scale,
    .s8_mul = plain_s8_mul,
    .gemm = &gemm_kernels_plain,
};

/* --- the choice --- */

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
}

static bool has_bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512vnni") &&
           __builtin_cpu_supports("avx512bf16");
}

const KernelTable *kernels_of(KernelCpu cpu)
{
    __builtin_cpu_init();
    switch (cpu) {
    case KERNEL_GENERIC:
        return &kernels_plain;
    case KERNEL_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kernels_avx2
                                                                               : NULL;
    case KERNEL_AVX512:
        return has_avx512() ? &kernels_avx512 : NULL;
    case KERNEL_AVX512_VNNI:
        return has_avx512() && __builtin_cpu_supports("avx512vnni") ? &kernels_avx512_vnni : NULL;
    case KERNEL_AVX512_BF16:
        return has_bf16() ? &kernels_avx512_bf16 : NULL;
    case KERNEL_AMX:
        return has_bf16() && amx_usable() ? &kernels_amx : NULL;
    default:
        return NULL;
    }
}

static const KernelTable *chosen;

static void choose(void)
{
    static const char *const names[KERNEL_CPUS] = {"generic",    "avx2",       "avx512",
                                                   "avx512vnni", "avx512bf16", "amx"};
    const char *forced = getenv("WHEN_CPU");
    int limit = KERNEL_CPUS - 1;
    if (forced && forced[0]) {
        int i = 0;
        while (i < KERNEL_CPUS && strcmp(forced, names[i]) != 0)
            i++;
        if (i < KERNEL_CPUS)
            limit = i;
        else
            log_warn("kernels",
                     "WHEN_CPU=%.16s is not generic, avx2, avx512, avx512vnni, avx512bf16 or amx: "
                     "ignored",
                     forced);
    }
    while (limit > KERNEL_GENERIC && !kernels_of((KernelCpu)limit))
        limit--;
    chosen = kernels_of((KernelCpu)limit);
}

const KernelTable *kernels(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose);
    return chosen;
}

/* --- those that have one version --- */

void kernel_gelu(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678118654752f));
}

void kernel_softmax(float *x, size_t n)
{
    const KernelTable *table = kernels();
    float sum = table->exp_sum(x, n, table->max(x, n));
    table->scale(x, 1.0f / sum, n);
}

void kernel_rope_table(float *cos, float *sin, const int32_t *positions, size_t stride, size_t n,
                       const uint8_t *axis_of, const float *frequency, size_t half)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < half; j++) {
            float angle = (float)positions[axis_of[j] * stride + i] * frequency[j];
            cos[i * half + j] = cosf(angle);
            sin[i * half + j] = sinf(angle);
        }
}

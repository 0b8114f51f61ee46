/* Rows of a checkpoint -> panels. Quantised once at load, by one thread, a panel at a time. */
#include "model/panels.h"

#include "base/mem.h"
#include "model/kernels.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum {
    W = KERNEL_PANEL,
    G = KERNEL_GROUP,
    GROUP_BYTES = W * G / 2,
};

static bool part(size_t *at, size_t bytes)
{
    size_t rounded;
    return mem_add(bytes, 63, &rounded) && mem_add(*at, rounded / 64 * 64, at);
}

bool panels_init(Panels *p, PanelsKind kind, size_t n, size_t k, bool bias, void *block)
{
    *p = (Panels){.kind = kind, .n = n, .k = k};
    size_t multiple = kind == PANELS_Q4 ? G : kind == PANELS_U8 ? 4 : 2;
    if (n > SIZE_MAX / 64 || k > SIZE_MAX / 64)
        return false;
    p->width = kind == PANELS_PAIRS || kind == PANELS_U8 ? KERNEL_DOT_PANEL : KERNEL_PANEL;
    p->panels = (n + p->width - 1) / p->width;
    p->steps = (k + multiple - 1) / multiple * multiple;
    const bool bytes = kind == PANELS_S8 || kind == PANELS_U8;
    const size_t one = kind == PANELS_F32           ? sizeof(float)
                       : bytes || kind == PANELS_Q4 ? 1
                                                    : sizeof(uint16_t);
    size_t values, at = 0;
    p->panel = kind == PANELS_Q4 ? p->steps / 2 * p->width : p->steps * p->width;
    if (!mem_mul(p->panels, p->panel, &values) || !mem_mul(values, one, &values) ||
        !part(&at, values))
        return false;
    size_t scale = at;
    if (bytes && !part(&at, p->panels * p->width * sizeof(float)))
        return false;
    if (kind == PANELS_Q4 && !part(&at, values / GROUP_BYTES * W * sizeof(uint16_t)))
        return false;
    size_t bias_at = at;
    if (bias && !part(&at, p->panels * p->width * sizeof(float)))
        return false;
    p->bytes = at;
    if (block) {
        p->values = block;
        if (bytes)
            p->scale = (const float *)((char *)block + scale);
        if (kind == PANELS_Q4)
            p->group_scale = (const uint16_t *)((char *)block + scale);
        if (bias)
            p->bias = (const float *)((char *)block + bias_at);
    }
    return true;
}

/* values [steps][width] -> bytes, `together` steps of a column side by side, `above` what they
 * mean; each column by its own scale. */
static void pack_bytes(const float *values, size_t steps, size_t width, size_t together, int above,
                       void *out, float *scale)
{
    float factor[KERNEL_DOT_PANEL];
    for (size_t c = 0; c < width; c++) {
        float largest = 0;
        for (size_t i = 0; i < steps; i++)
            if (fabsf(values[i * width + c]) > largest)
                largest = fabsf(values[i * width + c]);
        scale[c] = largest / 127.0f;
        /* 1 / scale of subnormal numbers would overflow. */
        factor[c] = largest > 1e-30f ? 127.0f / largest : 0;
    }
    for (size_t i = 0; i < steps; i++)
        for (size_t c = 0; c < width; c++)
            ((uint8_t *)out)[(i / together * width + c) * together + i % together] =
                (uint8_t)((int)rintf(values[i * width + c] * factor[c]) + above);
}

int panels_pack(const Panels *p, const void *rows, bool is_bf16, const float *bias)
{
    const size_t width = p->width;
    float *values = mem_new_aligned(p->steps, width * sizeof *values);
    if (!values)
        return -ENOMEM;
    char *block = (char *)(uintptr_t)p->values;
    for (size_t i = 0; i < p->panels; i++) {
        /* To f32, k running outside. */
        const size_t columns = p->n - i * width < width ? p->n - i * width : width;
        const size_t first = i * width * p->k;
        if (columns < width || p->steps > p->k)
            memset(values, 0, p->steps * width * sizeof *values);
        for (size_t j = 0; j < p->k; j++)
            for (size_t c = 0; c < columns; c++) {
                const size_t at = first + c * p->k + j;
                values[j * width + c] =
                    is_bf16 ? kernel_bf16(((const uint16_t *)rows)[at]) : ((const float *)rows)[at];
            }
        switch (p->kind) {
        case PANELS_F32:
            memcpy(block + i * p->panel * sizeof *values, values, p->panel * sizeof *values);
            break;
        case PANELS_BF16:
        case PANELS_PAIRS: {
            uint16_t *out = (uint16_t *)block + i * p->panel;
            for (size_t j = 0; j < p->steps; j += 2) {
                uint16_t two[2 * KERNEL_DOT_PANEL];
                kernels()->f32_to_bf16(two, values + j * width, 2 * width);
                for (size_t c = 0; c < 2 * width; c++)
                    out[j * width + c % width * 2 + c / width] = two[c];
            }
            break;
        }
        case PANELS_S8:
        case PANELS_U8: {
            const bool fours = p->kind == PANELS_U8;
            pack_bytes(values, p->steps, width, fours ? 4 : 2, fours ? 128 : 0,
                       block + i * p->panel, (float *)(uintptr_t)p->scale + i * width);
            break;
        }
        case PANELS_Q4:
            for (size_t g = 0; g < p->steps / G; g++) {
                const size_t at = i * (p->steps / G) + g;
                float scale[W];
                kernels()->gemm->pack_q4((uint8_t *)block + at * GROUP_BYTES, scale,
                                         values + g * G * W);
                kernels()->f32_to_bf16((uint16_t *)(uintptr_t)p->group_scale + at * W, scale, W);
            }
            break;
        }
    }
    free(values);
    if (p->bias) {
        float *to = (float *)(uintptr_t)p->bias;
        memset(to, 0, p->panels * width * sizeof *to);
        memcpy(to, bias, p->n * sizeof *to);
    }
    return 0;
}

void panels_row(const Panels *p, size_t i, float *out)
{
    const size_t width = p->width, c = i % width, first = i / width * p->panel;
    for (size_t j = 0; j < p->k; j++) {
        const size_t pair = first + (j / 2 * width + c) * 2 + j % 2;
        switch (p->kind) {
        case PANELS_F32:
            out[j] = ((const float *)p->values)[first + j * width + c];
            break;
        case PANELS_BF16:
        case PANELS_PAIRS:
            out[j] = kernel_bf16(((const uint16_t *)p->values)[pair]);
            break;
        case PANELS_S8:
            out[j] = (float)((const int8_t *)p->values)[pair] * p->scale[i];
            break;
        case PANELS_U8:
            out[j] = (float)(((const uint8_t *)p->values)[first + (j / 4 * width + c) * 4 + j % 4] -
                             128) *
                     p->scale[i];
            break;
        case PANELS_Q4: {
            uint8_t both = ((const uint8_t *)p->values)[first + j / 8 * 4 * W + c * 4 + j % 4];
            size_t group = (i / W * p->steps + j) / G;
            int value = (j / 4 % 2 ? both >> 4 : both & 15) - 8;
            out[j] = (float)value * kernel_bf16(p->group_scale[group * W + c]);
            break;
        }
        }
    }
}

/* 4:2:0 to RGB in fixed point. See yuv.h. */
#include "pipeline/yuv.h"

#include <math.h>

YuvMatrix yuv_matrix(double kr, double kb, bool full_range)
{
    const double kg = 1 - kr - kb, one = 8192;
    const double luma = full_range ? 1 : 255.0 / 219, chroma = full_range ? 1 : 255.0 / 224;
    return (YuvMatrix){
        .y_offset = full_range ? 0 : 16 * 8,
        .y = (int16_t)lround(luma * one),
        .v_to_r = (int16_t)lround(2 * (1 - kr) * chroma * one),
        .u_to_b = (int16_t)lround(2 * (1 - kb) * chroma * one),
        .u_to_g = (int16_t)-lround(2 * (1 - kb) * kb / kg * chroma * one),
        .v_to_g = (int16_t)-lround(2 * (1 - kr) * kr / kg * chroma * one),
    };
}

/* The upper half of a 16-bit product: rounds towards minus infinity. */
static inline int16_t upper(int16_t a, int16_t b)
{
    return (int16_t)((int32_t)a * b >> 16);
}

static inline uint8_t clamped(int x)
{
    return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
}

/* One row to three planes: loops without dependencies, which the compiler turns into vectors. */
static void convert_row(const YuvMatrix *m, const uint8_t *restrict y, const uint8_t *restrict u,
                        const uint8_t *restrict v, size_t step, size_t n, uint8_t *restrict r,
                        uint8_t *restrict g, uint8_t *restrict b)
{
    for (size_t i = 0; i < n; i++) {
        const size_t c = i / 2 * step;
        const int16_t luma = upper((int16_t)(y[i] * 8 - m->y_offset), m->y);
        const int16_t cb = (int16_t)(u[c] * 8 - 1024), cr = (int16_t)(v[c] * 8 - 1024);
        r[i] = clamped(luma + upper(cr, m->v_to_r));
        g[i] = clamped(luma + upper(cb, m->u_to_g) + upper(cr, m->v_to_g));
        b[i] = clamped(luma + upper(cb, m->u_to_b));
    }
}

void yuv_to_rgb(const YuvMatrix *m, const YuvPicture *p, uint8_t *row, uint8_t *rgb,
                size_t rgb_stride)
{
    const size_t n = (size_t)p->width;
    for (size_t at = 0; at < (size_t)p->height; at++) {
        uint8_t *out = rgb + at * rgb_stride;
        convert_row(m, p->y + at * p->y_stride, p->u + at / 2 * p->u_stride,
                    p->v + at / 2 * p->v_stride, p->chroma_step, n, row, row + n, row + 2 * n);
        for (size_t i = 0; i < n; i++, out += 3) {
            out[0] = row[i];
            out[1] = row[n + i];
            out[2] = row[2 * n + i];
        }
    }
}

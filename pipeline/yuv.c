/* 4:2:0 to RGB in fixed point. See yuv.h. */
#include "pipeline/yuv.h"

#include "pipeline/rows.h"

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

void yuv_to_rgb(const YuvMatrix *m, const YuvPicture *p, uint8_t *rgb, size_t rgb_stride)
{
    const Rows *r = rows();
    for (size_t at = 0; at < (size_t)p->height; at++)
        r->to_rgb(m, p->y + at * p->y_stride, p->u + at / 2 * p->u_stride,
                  p->v + at / 2 * p->v_stride, p->chroma_step, (size_t)p->width,
                  rgb + at * rgb_stride);
}

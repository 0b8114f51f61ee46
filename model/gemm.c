/* The door: which layout a weight gets, and who multiplies it. */
#include "model/gemm.h"

#include "base/mem.h"
#include "model/gemm_private.h"
#include "model/kernels.h"

#include <errno.h>
#include <stdio.h>

void gemm_layout_name(GemmLayout layout, char *name, size_t size)
{
    snprintf(name, size, "%s%s%s", kernels()->name, layout == GEMM_ONEDNN ? ", " : "",
             layout == GEMM_ONEDNN ? onednn_version() : "");
}

/* --- weights --- */

static PanelsKind kind_of(GemmDtype dtype, bool source_is_bf16)
{
    const GemmKernels *k = kernels()->gemm;
    switch (dtype) {
    case GEMM_INT8:
        return k->few_dot_u8 ? PANELS_U8 : PANELS_S8;
    case GEMM_INT4:
        return PANELS_Q4;
    case GEMM_BF16:
        return k->few_dot_bf16 ? PANELS_PAIRS : PANELS_BF16;
    default:
        return source_is_bf16 ? PANELS_BF16 : PANELS_F32;
    }
}

size_t gemm_estimate_bytes(GemmDtype dtype, size_t values, bool source_is_bf16)
{
    switch (kind_of(dtype, source_is_bf16)) {
    case PANELS_S8:
    case PANELS_U8:
        return values;
    case PANELS_Q4:
        return values / 2 + values / KERNEL_GROUP * sizeof(uint16_t);
    case PANELS_BF16:
    case PANELS_PAIRS:
        return values * sizeof(uint16_t);
    default:
        return values * sizeof(float);
    }
}

int gemm_block_bytes(GemmDtype dtype, GemmLayout layout, const GemmSource *source, size_t *bytes)
{
    if (layout == GEMM_ONEDNN)
        return onednn_weight_bytes(dtype == GEMM_BF16, source, bytes);
    Panels panels;
    if (!panels_init(&panels, kind_of(dtype, source->is_bf16), source->n, source->k,
                     source->bias != NULL, NULL))
        return -ENOMEM;
    *bytes = panels.bytes;
    return 0;
}

int gemm_weight_new(GemmDtype dtype, GemmLayout layout, const GemmSource *source, void *block,
                    GemmWeight **weight)
{
    GemmWeight *w = mem_new_array(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->n = source->n;
    w->k = source->k;
    int r = gemm_block_bytes(dtype, layout, source, &w->bytes);
    if (r == 0 && !block) {
        block = w->own = mem_new_aligned(w->bytes, 1);
        if (!block)
            r = -ENOMEM;
    }
    w->block = block;
    if (r == 0 && layout == GEMM_ONEDNN) {
        r = onednn_weight_new(dtype == GEMM_BF16, source, block, &w->packed);
    } else if (r == 0) {
        panels_init(&w->panels, kind_of(dtype, source->is_bf16), source->n, source->k,
                    source->bias != NULL, block);
        if (source->values)
            r = panels_pack(&w->panels, source->values, source->is_bf16, source->bias);
    }
    if (r < 0) {
        gemm_weight_free(w);
        return r;
    }
    *weight = w;
    return 0;
}

void gemm_weight_free(GemmWeight *w)
{
    if (!w)
        return;
    onednn_weight_free(w->packed);
    free(w->own);
    free(w);
}

size_t gemm_weight_bytes(const GemmWeight *w)
{
    return w->bytes;
}

const void *gemm_weight_block(const GemmWeight *w)
{
    return w->block;
}

void gemm_weight_row(const GemmWeight *w, size_t i, float *out)
{
    panels_row(&w->panels, i, out);
}

/* --- products --- */

bool gemm_scratch_need(GemmScratch *s, size_t bytes)
{
    if (s->bytes >= bytes)
        return true;
    void *data = mem_new_aligned(bytes, 1);
    if (!data)
        return false;
    free(s->data);
    *s = (GemmScratch){data, bytes};
    return true;
}

int gemm_new(Pool *pool, Gemm **gemm)
{
    Gemm *g = mem_new_array(1, sizeof *g);
    if (!g)
        return -ENOMEM;
    g->pool = pool;
    g->wide = mem_new_array((size_t)pool_threads(pool), sizeof *g->wide);
    if (!g->wide) {
        free(g);
        return -ENOMEM;
    }
    *gemm = g;
    return 0;
}

void gemm_free(Gemm *g)
{
    if (!g)
        return;
    onednn_free(g->onednn);
    for (int i = 0; i < pool_threads(g->pool); i++)
        free(g->wide[i].data);
    free(g->wide);
    free(g->inputs.data);
    free(g);
}

int gemm_run(Gemm *g, const GemmWeight *w, const float *x, size_t m, float *y)
{
    if (m == 0)
        return 0;
    return w->packed ? onednn_run(g, w->packed, x, m, y) : gemm_panels_run(g, &w->panels, x, m, y);
}

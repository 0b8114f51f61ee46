/*
 * Weights as oneDNN packs them, and its matmul: only for gemm_onednn*.c, which alone include oneDNN
 * (2.6 and 3.x).
 *
 * A weight's columns are cut into panels, each packed as a matrix of its own and multiplied by one
 * thread, oneDNN having one thread only: the blocking that it chooses for a whole large weight
 * reads the weight from memory again and again, which AMX does not bear.
 */
#ifndef WHEN_MODEL_GEMM_ONEDNN_H
#define WHEN_MODEL_GEMM_ONEDNN_H

#include "model/gemm_private.h"
#include "model/kernels.h"

#include <dnnl.h>

/* A description of memory is a struct in oneDNN 2 and a handle in 3. */
typedef dnnl_memory_desc_t Md;
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t MdView;

static inline MdView md_view(const Md *md)
{
    return *md;
}
#else
typedef const dnnl_memory_desc_t *MdView;

static inline MdView md_view(const Md *md)
{
    return md;
}
#endif

/* How the panels of one width lie in memory. */
typedef struct OnednnLayout {
    size_t columns;
    size_t bytes; /* from one panel to the next: a multiple of 64 */
    Md md;
    bool has_md, has_few;
    KernelPanels few; /* how the matrix-vector kernels read it, if they can */
} OnednnLayout;

struct OnednnWeight {
    size_t n, k;
    bool is_bf16;
    size_t width, panels;    /* columns of a panel, and how many; the last one may be narrower */
    OnednnLayout layouts[2]; /* of all panels; where the last one is narrower: the second is its */
    int n_layouts;
    char *values; /* [panels], one after the other */
    float *bias;  /* [n] or NULL */
};

static inline int onednn_layout_of(const OnednnWeight *w, size_t panel)
{
    return panel + 1 == w->panels ? w->n_layouts - 1 : 0;
}

static inline char *onednn_panel(const OnednnWeight *w, size_t panel)
{
    return w->values + panel * w->layouts[0].bytes;
}

static inline size_t onednn_value_bytes(bool is_bf16)
{
    return is_bf16 ? sizeof(uint16_t) : sizeof(float);
}

dnnl_engine_t onednn_engine(void); /* NULL: there is none */

/* The matmul of `rows` dense rows and a panel of so many columns to dense f32, which takes its
 * scratchpad from the caller. weights NULL: oneDNN chooses their layout. It is for as many threads
 * as OpenMP has then. */
bool onednn_matmul(dnnl_primitive_desc_t *pd, const OnednnWeight *w, size_t columns, MdView weights,
                   size_t rows);

#endif

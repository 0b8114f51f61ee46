/* The layouts of panels, and packing through oneDNN's reorder. */
#include "model/gemm_onednn.h"

#include "base/mem.h"

#include <errno.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    /* A panel's weights shall fit half of L2, which has 2 MB where there is AMX. */
    PANEL_BYTES = 1 << 20,
    PANEL_MIN = 256, /* columns; with fewer the input is read too often */
    PANEL_MAX = 1024,
    PANEL_STEP = 64, /* oneDNN's blocks of columns */
    PACK_ROWS = 256, /* for which the packed layout is chosen */
    BEHIND = 256,    /* bytes: kernels read whole vectors behind the last column */
};

/* --- oneDNN 2 and 3 --- */

#if DNNL_VERSION_MAJOR >= 3
static bool md_init(Md *md, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t type,
                    dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(md, n_dims, dims, type, tag) == dnnl_success;
}

static bool md_copy(Md *md, MdView from)
{
    return dnnl_memory_desc_clone(md, from) == dnnl_success;
}

static void md_deinit(Md *md)
{
    if (*md)
        dnnl_memory_desc_destroy(*md);
    *md = NULL;
}

static bool matmul_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, MdView x, MdView w, MdView y,
                      const_dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(pd, engine, x, w, NULL, y, attr) == dnnl_success;
}

/* Strides of the blocks (k, n), and the blocks inside: number, sizes, dimensions. */
static bool md_blocks(MdView md, dnnl_dim_t strides[2], int *n, dnnl_dim_t sizes[4],
                      dnnl_dim_t dims[4])
{
    dnnl_format_kind_t kind;
    const dnnl_dims_t *outer, *inner, *of;
    if (dnnl_memory_desc_query(md, dnnl_query_format_kind, &kind) != dnnl_success ||
        kind != dnnl_blocked ||
        dnnl_memory_desc_query(md, dnnl_query_strides, &outer) != dnnl_success ||
        dnnl_memory_desc_query(md, dnnl_query_inner_nblks_s32, n) != dnnl_success ||
        dnnl_memory_desc_query(md, dnnl_query_inner_blks, &inner) != dnnl_success ||
        dnnl_memory_desc_query(md, dnnl_query_inner_idxs, &of) != dnnl_success || *n > 4)
        return false;
    memcpy(strides, *outer, 2 * sizeof strides[0]);
    for (int i = 0; i < *n; i++) {
        sizes[i] = (*inner)[i];
        dims[i] = (*of)[i];
    }
    return true;
}
#else
static bool md_init(Md *md, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t type,
                    dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(md, n_dims, dims, type, tag) == dnnl_success;
}

static bool md_copy(Md *md, MdView from)
{
    *md = *from;
    return true;
}

static void md_deinit(Md *md)
{
    (void)md;
}

static bool matmul_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, MdView x, MdView w, MdView y,
                      const_dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t desc;
    return dnnl_matmul_desc_init(&desc, x, w, NULL, y) == dnnl_success &&
           dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL) == dnnl_success;
}

static bool md_blocks(MdView md, dnnl_dim_t strides[2], int *n, dnnl_dim_t sizes[4],
                      dnnl_dim_t dims[4])
{
    const dnnl_blocking_desc_t *blocking = &md->format_desc.blocking;
    if (md->format_kind != dnnl_blocked || blocking->inner_nblks > 4)
        return false;
    memcpy(strides, blocking->strides, 2 * sizeof strides[0]);
    *n = blocking->inner_nblks;
    for (int i = 0; i < *n; i++) {
        sizes[i] = blocking->inner_blks[i];
        dims[i] = blocking->inner_idxs[i];
    }
    return true;
}
#endif

static dnnl_engine_t cpu_engine;

static void make_engine(void)
{
    if (dnnl_engine_create(&cpu_engine, dnnl_cpu, 0) != dnnl_success)
        cpu_engine = NULL;
}

dnnl_engine_t onednn_engine(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_engine);
    return cpu_engine;
}

const char *onednn_version(void)
{
    static char text[32];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

bool onednn_multiplies_bf16(void)
{
    return kernels()->cpu >= KERNEL_AVX512_BF16;
}

/* --- weights --- */

static size_t round_up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

static size_t clamp(size_t n, size_t least, size_t most)
{
    return n < least ? least : n > most ? most : n;
}

/* Packed layouts of the shape [n / width][k / block][block / pair][width][pair], and plain ones
 * with n running fastest, are what the matrix-vector kernels read. */
static bool find_few(MdView md, KernelPanels *panels)
{
    dnnl_dim_t strides[2], sizes[4], dims[4];
    int n;
    if (!md_blocks(md, strides, &n, sizes, dims))
        return false;
    if (n == 0 && strides[1] == 1) {
        *panels = (KernelPanels){.width = (size_t)strides[0], .pair = 1};
        return true;
    }
    dnnl_dim_t block = 1;
    int i = 0;
    if (i < n && dims[i] == 0)
        block *= sizes[i++];
    if (i >= n || dims[i] != 1 || sizes[i] % KERNEL_ALIGN != 0)
        return false;
    dnnl_dim_t width = sizes[i++], pair = 1;
    if (i < n && dims[i] == 0)
        pair = sizes[i++];
    if (i != n || pair > 2 || strides[0] != block * pair * width)
        return false;
    *panels =
        (KernelPanels){.width = (size_t)width, .pair = (size_t)pair, .panel = (size_t)strides[1]};
    return true;
}

bool onednn_matmul(dnnl_primitive_desc_t *pd, const OnednnWeight *w, size_t columns, MdView weights,
                   size_t rows)
{
    dnnl_data_type_t type = w->is_bf16 ? dnnl_bf16 : dnnl_f32;
    dnnl_dims_t x_dims = {(dnnl_dim_t)rows, (dnnl_dim_t)w->k};
    dnnl_dims_t w_dims = {(dnnl_dim_t)w->k, (dnnl_dim_t)columns};
    dnnl_dims_t y_dims = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    Md x, any, y;
    memset(&x, 0, sizeof x);
    memset(&any, 0, sizeof any);
    memset(&y, 0, sizeof y);
    dnnl_primitive_attr_t attr = NULL;
    bool ok =
        md_init(&x, 2, x_dims, type, dnnl_ab) &&
        md_init(&any, 2, w_dims, type, dnnl_format_tag_any) &&
        md_init(&y, 2, y_dims, dnnl_f32, dnnl_ab) &&
        dnnl_primitive_attr_create(&attr) == dnnl_success &&
        dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success &&
        matmul_pd(pd, onednn_engine(), md_view(&x), weights ? weights : md_view(&any), md_view(&y),
                  attr);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    md_deinit(&x);
    md_deinit(&any);
    md_deinit(&y);
    return ok;
}

/* What oneDNN wants for panels of so many columns. */
static int layout_init(OnednnLayout *layout, const OnednnWeight *w, size_t columns)
{
    dnnl_primitive_desc_t pd = NULL;
    if (!onednn_engine() || !onednn_matmul(&pd, w, columns, NULL, PACK_ROWS))
        return -ENOTSUP;
    layout->columns = columns;
    layout->has_md =
        md_copy(&layout->md, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
    dnnl_primitive_desc_destroy(pd);
    if (!layout->has_md)
        return -ENOMEM;
    layout->bytes = round_up(dnnl_memory_desc_get_size(md_view(&layout->md)), 64);
    layout->has_few = find_few(md_view(&layout->md), &layout->few);
    return 0;
}

static void weight_deinit(OnednnWeight *w)
{
    for (int i = 0; i < w->n_layouts; i++)
        if (w->layouts[i].has_md)
            md_deinit(&w->layouts[i].md);
}

/* All but where it lies; weight_deinit is due after a failure too. values_bytes: of all panels and
 * what is read behind them. */
static int weight_init(OnednnWeight *w, bool is_bf16, const GemmSource *source,
                       size_t *values_bytes)
{
    size_t values;
    if (!mem_mul(source->n, source->k, &values) ||
        !mem_mul(values, 2 * onednn_value_bytes(is_bf16), &values))
        return -ENOMEM;
    omp_set_num_threads(1); /* of this thread: what oneDNN chooses depends on it */
    *w = (OnednnWeight){.n = source->n, .k = source->k, .is_bf16 = is_bf16};
    const size_t most =
        clamp(PANEL_BYTES / (w->k * onednn_value_bytes(is_bf16)) / PANEL_STEP * PANEL_STEP,
              PANEL_MIN, PANEL_MAX);
    const size_t about = (w->n + most - 1) / most;
    w->width = round_up((w->n + about - 1) / about, PANEL_STEP);
    w->panels = (w->n + w->width - 1) / w->width;
    const size_t last = w->n - (w->panels - 1) * w->width;
    int r = 0;
    if (w->panels > 1)
        r = layout_init(&w->layouts[w->n_layouts++], w, w->width);
    if (r == 0 && (w->panels == 1 || last < w->width))
        r = layout_init(&w->layouts[w->n_layouts++], w, last);
    if (r == 0)
        *values_bytes =
            (w->panels - 1) * w->layouts[0].bytes + w->layouts[w->n_layouts - 1].bytes + BEHIND;
    return r;
}

int onednn_weight_bytes(bool is_bf16, const GemmSource *source, size_t *bytes)
{
    OnednnWeight w = {0};
    int r = weight_init(&w, is_bf16, source, bytes);
    if (r == 0 && source->bias)
        *bytes += round_up(w.n * sizeof *w.bias, 64);
    weight_deinit(&w);
    return r;
}

/* Rows [columns, k] of the source's type, through oneDNN's reorder, to panels from .. to - 1, which
 * have the same layout. */
static bool pack_panels(const OnednnWeight *w, const OnednnLayout *layout, const GemmSource *source,
                        size_t from, size_t to)
{
    const size_t row = w->k * onednn_value_bytes(source->is_bf16);
    const size_t bytes = dnnl_memory_desc_get_size(md_view(&layout->md));
    dnnl_dims_t dims = {(dnnl_dim_t)w->k, (dnnl_dim_t)layout->columns};
    Md rows;
    memset(&rows, 0, sizeof rows);
    dnnl_memory_t in = NULL, out = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_engine_t engine = onednn_engine();
    bool ok =
        md_init(&rows, 2, dims, source->is_bf16 ? dnnl_bf16 : dnnl_f32, dnnl_ba) &&
        dnnl_memory_create(&in, md_view(&rows), engine, DNNL_MEMORY_NONE) == dnnl_success &&
        dnnl_memory_create(&out, md_view(&layout->md), engine, DNNL_MEMORY_NONE) == dnnl_success &&
        dnnl_reorder_primitive_desc_create(&pd, md_view(&rows), engine, md_view(&layout->md),
                                           engine, NULL) == dnnl_success &&
        dnnl_primitive_create(&primitive, pd) == dnnl_success &&
        dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success;
    for (size_t panel = from; ok && panel < to; panel++) {
        char *values = onednn_panel(w, panel);
        dnnl_memory_set_data_handle(in, (char *)(uintptr_t)source->values + panel * w->width * row);
        dnnl_memory_set_data_handle(out, values);
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, in}, {DNNL_ARG_TO, out}};
        ok = dnnl_primitive_execute(primitive, stream, 2, args) == dnnl_success &&
             dnnl_stream_wait(stream) == dnnl_success;
        memset(values + bytes, 0, layout->bytes - bytes);
    }
    if (stream)
        dnnl_stream_destroy(stream);
    if (primitive)
        dnnl_primitive_destroy(primitive);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (in)
        dnnl_memory_destroy(in);
    if (out)
        dnnl_memory_destroy(out);
    md_deinit(&rows);
    return ok;
}

/* values_bytes: as weight_init says. */
static int pack(const OnednnWeight *w, const GemmSource *source, size_t values_bytes)
{
    const size_t whole = w->n_layouts > 1 ? w->panels - 1 : w->panels;
    if (!pack_panels(w, &w->layouts[0], source, 0, whole) ||
        (whole < w->panels && !pack_panels(w, &w->layouts[1], source, whole, w->panels)))
        return -ENOTSUP;
    memset(w->values + values_bytes - BEHIND, 0, BEHIND);
    if (w->bias)
        memcpy(w->bias, source->bias, w->n * sizeof *w->bias);
    return 0;
}

int onednn_weight_new(bool is_bf16, const GemmSource *source, void *block, OnednnWeight **weight)
{
    OnednnWeight *w = mem_new_array(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    size_t values_bytes;
    int r = weight_init(w, is_bf16, source, &values_bytes);
    if (r == 0) {
        w->values = block;
        w->bias = source->bias ? (float *)(void *)(w->values + values_bytes) : NULL;
        if (source->values)
            r = pack(w, source, values_bytes);
    }
    if (r < 0) {
        onednn_weight_free(w);
        return r;
    }
    *weight = w;
    return 0;
}

void onednn_weight_free(OnednnWeight *w)
{
    if (!w)
        return;
    weight_deinit(w);
    free(w);
}

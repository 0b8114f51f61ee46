/*
 * Weights as rows: matrix-vector kernels, and sgemm over the rows or over panels of them widened
 * from bf16. Weights packed by oneDNN: matmul primitives for a few numbers of rows (buckets), the
 * input padded up to the next, made when first needed and kept by the thread's Gemm; oneDNN's own
 * cache makes the second thread's cheap.
 */
#include "model/gemm.h"

#include "base/log.h"
#include "base/mem.h"
#include "model/kernels.h"

#include <dnnl.h>
#include <errno.h>
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
    /* A unit of work of the pool is this much of y. Fixed by the shape alone, so that the result
     * does not depend on the number of threads. */
    PANEL_FLOATS = 1 << 19, /* of the weights: 2 MB, so that sgemm's own packing of x pays */
    PANEL_MIN = 64,         /* columns */
    PANEL_MAX = 512,
    PANEL_ROWS = 1024,
    BUCKET_MAX = 1024, /* rows of one primitive; more are cut */
    PACK_BUCKET = 512, /* rows for which the packed layout is chosen */
    /* Weights below which waking another thread costs more than it brings (about 20 us). */
    FEW_PARALLEL = 1 << 19,
    FEW_COLUMNS = 256, /* a unit of work of matrix-vector products */
};

/* --- oneDNN 2 and 3 --- */

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t Md;
typedef const_dnnl_memory_desc_t MdView;

static MdView md_view(const Md *md)
{
    return *md;
}

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

static bool matmul_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, MdView x, MdView w,
                      MdView bias, MdView y, const_dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(pd, engine, x, w, bias, y, attr) == dnnl_success;
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
typedef dnnl_memory_desc_t Md;
typedef const dnnl_memory_desc_t *MdView;

static MdView md_view(const Md *md)
{
    return md;
}

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

static bool matmul_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, MdView x, MdView w,
                      MdView bias, MdView y, const_dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t desc;
    return dnnl_matmul_desc_init(&desc, x, w, bias, y) == dnnl_success &&
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

static dnnl_engine_t engine_get(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_engine);
    return cpu_engine;
}

const char *gemm_description(void)
{
    static char text[64];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d %s", v->major, v->minor, v->patch,
             kernels()->name);
    return text;
}

/* --- weights --- */

struct GemmWeight {
    size_t n, k;
    bool is_bf16, packed;
    void *values; /* rows [n, k], or as `md` says */
    size_t bytes;
    float *bias; /* [n] or NULL */

    /* packed only */
    Md md;
    bool has_md, has_panels;
    KernelPanels panels; /* how the kernels read `values` */
    dnnl_memory_t memory, bias_memory;
};

static bool cpu_multiplies_bf16(void)
{
    __builtin_cpu_init();
    return kernels()->cpu == KERNEL_AVX512 && __builtin_cpu_supports("avx512bf16");
}

static GemmLayout layout_of(GemmDtype dtype, GemmLayout layout)
{
    if (layout != GEMM_AUTO)
        return layout;
    return dtype == GEMM_BF16 && cpu_multiplies_bf16() ? GEMM_PACKED : GEMM_ROWS;
}

size_t gemm_estimate_bytes(GemmDtype dtype, size_t n, size_t k, bool source_is_bf16)
{
    return n * k * (dtype == GEMM_BF16 || source_is_bf16 ? sizeof(uint16_t) : sizeof(float));
}

/* Packed layouts of the shape [n / width][k / block][block / pair][width][pair], and plain ones
 * with n running fastest, are what the matrix-vector kernels read. */
static bool find_panels(MdView md, KernelPanels *panels)
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

/* The matmul of `rows` rows. weights NULL: oneDNN chooses their layout. */
static bool make_pd(dnnl_primitive_desc_t *pd, const GemmWeight *w, MdView weights, size_t rows)
{
    dnnl_data_type_t type = w->is_bf16 ? dnnl_bf16 : dnnl_f32;
    dnnl_dims_t x_dims = {(dnnl_dim_t)rows, (dnnl_dim_t)w->k};
    dnnl_dims_t w_dims = {(dnnl_dim_t)w->k, (dnnl_dim_t)w->n};
    dnnl_dims_t y_dims = {(dnnl_dim_t)rows, (dnnl_dim_t)w->n};
    dnnl_dims_t bias_dims = {1, (dnnl_dim_t)w->n};
    Md x, any, y, bias;
    memset(&x, 0, sizeof x);
    memset(&any, 0, sizeof any);
    memset(&y, 0, sizeof y);
    memset(&bias, 0, sizeof bias);
    dnnl_primitive_attr_t attr = NULL;
    bool ok =
        md_init(&x, 2, x_dims, type, dnnl_ab) &&
        md_init(&any, 2, w_dims, type, dnnl_format_tag_any) &&
        md_init(&y, 2, y_dims, dnnl_f32, dnnl_ab) &&
        md_init(&bias, 2, bias_dims, dnnl_f32, dnnl_ab) &&
        dnnl_primitive_attr_create(&attr) == dnnl_success &&
        dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success &&
        matmul_pd(pd, engine_get(), md_view(&x), weights ? weights : md_view(&any),
                  w->bias ? md_view(&bias) : NULL, md_view(&y), attr);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    md_deinit(&x);
    md_deinit(&any);
    md_deinit(&y);
    md_deinit(&bias);
    return ok;
}

/* values [n, k] of the given type, through oneDNN's reorder, into w->values as w->md says. */
static bool reorder(GemmWeight *w, const GemmSource *source)
{
    dnnl_dims_t dims = {(dnnl_dim_t)w->k, (dnnl_dim_t)w->n};
    Md rows;
    memset(&rows, 0, sizeof rows);
    dnnl_memory_t from = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_engine_t engine = engine_get();
    bool ok = md_init(&rows, 2, dims, source->is_bf16 ? dnnl_bf16 : dnnl_f32, dnnl_ba) &&
              dnnl_memory_create(&from, md_view(&rows), engine,
                                 (void *)(uintptr_t)source->values) == dnnl_success &&
              dnnl_reorder_primitive_desc_create(&pd, md_view(&rows), engine, md_view(&w->md),
                                                 engine, NULL) == dnnl_success &&
              dnnl_primitive_create(&primitive, pd) == dnnl_success &&
              dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success;
    if (ok) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, w->memory}};
        ok = dnnl_primitive_execute(primitive, stream, 2, args) == dnnl_success &&
             dnnl_stream_wait(stream) == dnnl_success;
    }
    if (stream)
        dnnl_stream_destroy(stream);
    if (primitive)
        dnnl_primitive_destroy(primitive);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (from)
        dnnl_memory_destroy(from);
    md_deinit(&rows);
    return ok;
}

static int pack(GemmWeight *w, const GemmSource *source)
{
    dnnl_engine_t engine = engine_get();
    dnnl_primitive_desc_t pd = NULL;
    if (!engine || !make_pd(&pd, w, NULL, PACK_BUCKET))
        return -ENOTSUP;
    w->has_md = md_copy(&w->md, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
    dnnl_primitive_desc_destroy(pd);
    if (!w->has_md)
        return -ENOMEM;
    w->bytes = dnnl_memory_desc_get_size(md_view(&w->md));
    /* The kernels read whole vectors: room behind the last column. */
    w->values = mem_new_aligned(w->bytes + 256, 1);
    if (!w->values)
        return -ENOMEM;
    memset((char *)w->values + w->bytes, 0, 256);
    w->has_panels = find_panels(md_view(&w->md), &w->panels);
    if (dnnl_memory_create(&w->memory, md_view(&w->md), engine, w->values) != dnnl_success ||
        !reorder(w, source))
        return -ENOTSUP;
    if (w->bias) {
        dnnl_dims_t dims = {1, (dnnl_dim_t)w->n};
        Md bias;
        memset(&bias, 0, sizeof bias);
        bool ok =
            md_init(&bias, 2, dims, dnnl_f32, dnnl_ab) &&
            dnnl_memory_create(&w->bias_memory, md_view(&bias), engine, w->bias) == dnnl_success;
        md_deinit(&bias);
        if (!ok)
            return -ENOMEM;
    }
    return 0;
}

static int copy_rows(GemmWeight *w, const GemmSource *source)
{
    size_t n;
    if (!mem_mul(w->n, w->k, &n) || !mem_mul(n, w->is_bf16 ? 2 : 4, &w->bytes))
        return -ENOMEM;
    w->values = mem_new_aligned(w->bytes, 1);
    if (!w->values)
        return -ENOMEM;
    if (w->is_bf16 == source->is_bf16)
        memcpy(w->values, source->values, w->bytes);
    else
        kernel_f32_to_bf16(w->values, source->values, n);
    return 0;
}

int gemm_weight_new(GemmDtype dtype, GemmLayout layout, const GemmSource *source,
                    GemmWeight **weight)
{
    GemmWeight *w = mem_new_array(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->n = source->n;
    w->k = source->k;
    w->packed = layout_of(dtype, layout) == GEMM_PACKED;
    w->is_bf16 = dtype == GEMM_BF16 || (source->is_bf16 && !w->packed);
    int r = 0;
    if (source->bias) {
        w->bias = mem_new_aligned(w->n, sizeof *w->bias);
        if (w->bias)
            memcpy(w->bias, source->bias, w->n * sizeof *w->bias);
        else
            r = -ENOMEM;
    }
    if (r == 0)
        r = w->packed ? pack(w, source) : copy_rows(w, source);
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
    if (w->memory)
        dnnl_memory_destroy(w->memory);
    if (w->bias_memory)
        dnnl_memory_destroy(w->bias_memory);
    if (w->has_md)
        md_deinit(&w->md);
    free(w->values);
    free(w->bias);
    free(w);
}

size_t gemm_weight_bytes(const GemmWeight *w)
{
    return w->bytes + (w->bias ? w->n * sizeof *w->bias : 0);
}

void gemm_weight_row(const GemmWeight *w, size_t i, float *out)
{
    if (w->is_bf16)
        kernels()->bf16_to_f32(out, (const uint16_t *)w->values + i * w->k, w->k);
    else
        memcpy(out, (const float *)w->values + i * w->k, w->k * sizeof *out);
}

/* --- one thread's products --- */

/* A primitive for one shape and number of rows, with its memory objects. */
typedef struct Product {
    size_t n, k, rows;
    bool is_bf16, has_bias;
    dnnl_primitive_t primitive;
    dnnl_memory_t x, y, scratchpad;
    size_t scratchpad_bytes;
} Product;

/* Memory that grows and is not copied when it does. */
typedef struct Scratch {
    void *data;
    size_t bytes;
} Scratch;

struct Gemm {
    Pool *pool;
    dnnl_stream_t stream;
    Product *products;
    size_t n_products, products_capacity;
    Scratch *wide;      /* [threads] a panel of weights, f32 */
    Scratch x, y;       /* input and output of a bucket */
    Scratch scratchpad; /* oneDNN's */
};

static bool scratch_need(Scratch *s, size_t bytes)
{
    if (s->bytes >= bytes)
        return true;
    void *data = mem_new_aligned(bytes, 1);
    if (!data)
        return false;
    free(s->data);
    *s = (Scratch){data, bytes};
    return true;
}

int gemm_new(Pool *pool, Gemm **gemm)
{
    Gemm *g = mem_new_array(1, sizeof *g);
    if (!g)
        return -ENOMEM;
    g->pool = pool;
    g->wide = mem_new_array((size_t)pool_threads(pool), sizeof *g->wide);
    if (!g->wide || !engine_get() ||
        dnnl_stream_create(&g->stream, cpu_engine, dnnl_stream_default_flags) != dnnl_success) {
        gemm_free(g);
        return -ENOMEM;
    }
    *gemm = g;
    return 0;
}

static void product_deinit(Product *p)
{
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    if (p->x)
        dnnl_memory_destroy(p->x);
    if (p->y)
        dnnl_memory_destroy(p->y);
    if (p->scratchpad)
        dnnl_memory_destroy(p->scratchpad);
}

void gemm_free(Gemm *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_products; i++)
        product_deinit(&g->products[i]);
    if (g->stream)
        dnnl_stream_destroy(g->stream);
    free(g->products);
    for (int i = 0; g->wide && i < pool_threads(g->pool); i++)
        free(g->wide[i].data);
    free(g->wide);
    free(g->x.data);
    free(g->y.data);
    free(g->scratchpad.data);
    free(g);
}

static void add_bias(const GemmWeight *w, size_t m, float *y)
{
    if (w->bias)
        for (size_t r = 0; r < m; r++)
            kernels()->add(y + r * w->n, w->bias, w->n);
}

/* What the units of work of one product share. */
typedef struct Job {
    Gemm *gemm;
    const GemmWeight *w;
    const float *x;
    float *y;
    size_t m, panel, panels; /* columns of a panel, panels of a row of units */
    _Atomic int result;
} Job;

static void few_columns(void *user, size_t item, int thread)
{
    const Job *job = user;
    const GemmWeight *w = job->w;
    const KernelTable *k = kernels();
    size_t from = item * job->panel, to = from + job->panel;
    to = to < w->n ? to : w->n;
    (void)thread;
    if (w->packed && w->is_bf16)
        k->panels_bf16(job->y, w->n, job->x, w->k, job->m, w->values, &w->panels, w->k, from, to);
    else if (w->packed)
        k->panels_f32(job->y, w->n, job->x, w->k, job->m, w->values, &w->panels, w->k, from, to);
    else if (w->is_bf16)
        k->matvec_bf16(job->y, w->n, job->x, w->k, job->m, w->values, w->k, from, to);
    else
        k->matvec_f32(job->y, w->n, job->x, w->k, job->m, w->values, w->k, from, to);
}

/* m <= GEMM_FEW: bound by reading the weights. */
static void run_few(Gemm *g, const GemmWeight *w, const float *x, size_t m, float *y)
{
    Job job = {.w = w, .x = x, .y = y, .m = m};
    job.panel = w->n * w->k < FEW_PARALLEL ? w->n : FEW_COLUMNS;
    pool_run(g->pool, (w->n + job.panel - 1) / job.panel, few_columns, &job);
    add_bias(w, m, y);
}

/* One panel of columns of one piece of rows. */
static void rows_panel(void *user, size_t item, int thread)
{
    Job *job = user;
    const GemmWeight *w = job->w;
    size_t from = item % job->panels * job->panel, row = item / job->panels * PANEL_ROWS;
    size_t n = w->n - from < job->panel ? w->n - from : job->panel;
    size_t m = job->m - row < PANEL_ROWS ? job->m - row : PANEL_ROWS;
    const float *values = (const float *)w->values + from * w->k;
    if (w->is_bf16) {
        Scratch *wide = &job->gemm->wide[thread];
        if (!scratch_need(wide, job->panel * w->k * sizeof(float))) {
            job->result = -ENOMEM;
            return;
        }
        kernels()->bf16_to_f32(wide->data, (const uint16_t *)w->values + from * w->k, n * w->k);
        values = wide->data;
    }
    dnnl_status_t status =
        dnnl_sgemm('N', 'T', (dnnl_dim_t)m, (dnnl_dim_t)n, (dnnl_dim_t)w->k, 1.0f,
                   job->x + row * w->k, (dnnl_dim_t)w->k, values, (dnnl_dim_t)w->k, 0.0f,
                   job->y + row * w->n + from, (dnnl_dim_t)w->n);
    if (status != dnnl_success) {
        log_error("gemm", "sgemm m=%zu n=%zu k=%zu failed: oneDNN status %d", m, n, w->k,
                  (int)status);
        job->result = -EIO;
    }
}

static int run_rows(Gemm *g, const GemmWeight *w, const float *x, size_t m, float *y)
{
    Job job = {.gemm = g, .w = w, .x = x, .y = y, .m = m};
    size_t panel = PANEL_FLOATS / w->k / KERNEL_ALIGN * KERNEL_ALIGN;
    panel = panel < PANEL_MIN ? PANEL_MIN : panel > PANEL_MAX ? PANEL_MAX : panel;
    job.panel = panel < w->n ? panel : w->n;
    job.panels = (w->n + job.panel - 1) / job.panel;
    pool_run(g->pool, job.panels * ((m + PANEL_ROWS - 1) / PANEL_ROWS), rows_panel, &job);
    if (job.result == 0)
        add_bias(w, m, y);
    return job.result;
}

/* Rows are padded up to one of few numbers, by a third at most from 8 rows on. */
static size_t bucket_of(size_t m)
{
    size_t step = m <= 16 ? 8 : m <= 64 ? 16 : m <= 256 ? 64 : 128;
    return (m + step - 1) / step * step;
}

static int product_find(Gemm *g, const GemmWeight *w, size_t rows, Product **product)
{
    for (size_t i = 0; i < g->n_products; i++) {
        Product *p = &g->products[i];
        if (p->rows == rows && p->n == w->n && p->k == w->k && p->is_bf16 == w->is_bf16 &&
            p->has_bias == (w->bias != NULL)) {
            *product = p;
            return 0;
        }
    }
    int r = mem_grow((void **)&g->products, &g->products_capacity, g->n_products + 1,
                     sizeof *g->products);
    if (r < 0)
        return r;
    Product *p = &g->products[g->n_products];
    *p = (Product){
        .n = w->n, .k = w->k, .rows = rows, .is_bf16 = w->is_bf16, .has_bias = w->bias != NULL};
    dnnl_engine_t engine = engine_get();
    dnnl_primitive_desc_t pd = NULL;
    bool ok = make_pd(&pd, w, md_view(&w->md), rows);
    if (ok) {
        MdView pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
        p->scratchpad_bytes = dnnl_memory_desc_get_size(pad);
        MdView x = dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0);
        MdView y = dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
        ok = dnnl_memory_create(&p->scratchpad, pad, engine, DNNL_MEMORY_NONE) == dnnl_success &&
             dnnl_memory_create(&p->x, x, engine, DNNL_MEMORY_NONE) == dnnl_success &&
             dnnl_memory_create(&p->y, y, engine, DNNL_MEMORY_NONE) == dnnl_success &&
             dnnl_primitive_create(&p->primitive, pd) == dnnl_success;
        dnnl_primitive_desc_destroy(pd);
    }
    if (!ok) {
        product_deinit(p);
        log_error("gemm", "oneDNN has no product for m=%zu n=%zu k=%zu bf16=%d", rows, w->n, w->k,
                  w->is_bf16);
        return -EIO;
    }
    g->n_products++;
    *product = p;
    return 0;
}

/* At most BUCKET_MAX rows. */
static int run_packed(Gemm *g, const GemmWeight *w, const float *x, size_t m, float *y)
{
    size_t rows = bucket_of(m);
    Product *p;
    /* Here oneDNN shares the work itself; a primitive keeps the number it was made for. */
    omp_set_num_threads(pool_threads(g->pool));
    int r = product_find(g, w, rows, &p);
    if (r < 0)
        return r;
    void *in = (void *)(uintptr_t)x;
    if (w->is_bf16 || rows != m) {
        size_t one = w->is_bf16 ? sizeof(uint16_t) : sizeof(float);
        if (!scratch_need(&g->x, rows * w->k * one))
            return -ENOMEM;
        in = g->x.data;
        if (w->is_bf16)
            kernel_f32_to_bf16(in, x, m * w->k);
        else
            memcpy(in, x, m * w->k * one);
        memset((char *)in + m * w->k * one, 0, (rows - m) * w->k * one);
    }
    void *out = y;
    if (rows != m) {
        if (!scratch_need(&g->y, rows * w->n * sizeof(float)))
            return -ENOMEM;
        out = g->y.data;
    }
    if (!scratch_need(&g->scratchpad, p->scratchpad_bytes))
        return -ENOMEM;
    dnnl_memory_set_data_handle(p->x, in);
    dnnl_memory_set_data_handle(p->y, out);
    dnnl_memory_set_data_handle(p->scratchpad, g->scratchpad.data);
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, p->x},
                              {DNNL_ARG_WEIGHTS, w->memory},
                              {DNNL_ARG_DST, p->y},
                              {DNNL_ARG_SCRATCHPAD, p->scratchpad},
                              {DNNL_ARG_BIAS, w->bias_memory}};
    dnnl_status_t status =
        dnnl_primitive_execute(p->primitive, g->stream, w->bias_memory ? 5 : 4, args);
    if (status == dnnl_success)
        status = dnnl_stream_wait(g->stream);
    if (status != dnnl_success) {
        log_error("gemm", "matmul m=%zu n=%zu k=%zu failed: oneDNN status %d", rows, w->n, w->k,
                  (int)status);
        return -EIO;
    }
    if (out != y)
        memcpy(y, out, m * w->n * sizeof(float));
    return 0;
}

int gemm_run(Gemm *g, const GemmWeight *w, const float *x, size_t m, float *y)
{
    if (m == 0)
        return 0;
    omp_set_num_threads(1); /* of this thread: the pool shares the work */
    if (m <= GEMM_FEW && (!w->packed || w->has_panels)) {
        run_few(g, w, x, m, y);
        return 0;
    }
    if (!w->packed)
        return run_rows(g, w, x, m, y);
    for (size_t from = 0; from < m; from += BUCKET_MAX) {
        size_t rows = m - from < BUCKET_MAX ? m - from : BUCKET_MAX;
        int r = run_packed(g, w, x + from * w->k, rows, y + from * w->n);
        if (r < 0)
            return r;
    }
    return 0;
}

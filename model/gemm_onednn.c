/*
 * Weights packed by oneDNN (2.6 and 3.x), for CPUs whose bf16 instructions it uses: matmul
 * primitives for a few numbers of rows (buckets), the input padded up to the next, made when first
 * needed and kept by the thread's Gemm; oneDNN's own cache makes the second thread's cheap. The
 * only file that includes oneDNN.
 */
#include "base/log.h"
#include "base/mem.h"
#include "model/gemm_private.h"
#include "model/kernels.h"

#include <dnnl.h>
#include <errno.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    BUCKET_MAX = 1024, /* rows of one primitive; more are cut */
    PACK_BUCKET = 512, /* rows for which the packed layout is chosen */
    BEHIND = 256,      /* bytes: kernels read whole vectors behind the last column */
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

struct OnednnWeight {
    size_t n, k;
    bool is_bf16;
    void *values; /* as `md` says */
    float *bias;  /* [n] or NULL */
    Md md;
    bool has_md, has_panels;
    KernelPanels panels; /* how the kernels read `values` */
    dnnl_memory_t memory, bias_memory;
};

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
static bool make_pd(dnnl_primitive_desc_t *pd, const OnednnWeight *w, MdView weights, size_t rows)
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
static bool reorder(OnednnWeight *w, const GemmSource *source)
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

/* What oneDNN wants for these weights. */
static int choose_layout(OnednnWeight *w)
{
    dnnl_primitive_desc_t pd = NULL;
    if (!engine_get() || !make_pd(&pd, w, NULL, PACK_BUCKET))
        return -ENOTSUP;
    w->has_md = md_copy(&w->md, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
    dnnl_primitive_desc_destroy(pd);
    return w->has_md ? 0 : -ENOMEM;
}

static size_t values_bytes(const OnednnWeight *w)
{
    return (dnnl_memory_desc_get_size(md_view(&w->md)) + BEHIND + 63) / 64 * 64;
}

int onednn_weight_bytes(bool is_bf16, const GemmSource *source, size_t *bytes)
{
    float bias;
    OnednnWeight w = {
        .n = source->n, .k = source->k, .is_bf16 = is_bf16, .bias = source->bias ? &bias : NULL};
    int r = choose_layout(&w);
    if (r < 0)
        return r;
    *bytes = values_bytes(&w) + (source->bias ? (w.n * sizeof bias + 63) / 64 * 64 : 0);
    md_deinit(&w.md);
    return 0;
}

static int fill(OnednnWeight *w, const GemmSource *source)
{
    dnnl_engine_t engine = engine_get();
    size_t bytes = dnnl_memory_desc_get_size(md_view(&w->md));
    w->has_panels = find_panels(md_view(&w->md), &w->panels);
    if (dnnl_memory_create(&w->memory, md_view(&w->md), engine, w->values) != dnnl_success)
        return -ENOTSUP;
    if (source->values) {
        memset((char *)w->values + bytes, 0, BEHIND);
        if (!reorder(w, source))
            return -ENOTSUP;
    }
    if (w->bias) {
        if (source->values)
            memcpy(w->bias, source->bias, w->n * sizeof *w->bias);
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

int onednn_weight_new(bool is_bf16, const GemmSource *source, void *block, OnednnWeight **weight)
{
    OnednnWeight *w = mem_new_array(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    *w = (OnednnWeight){.n = source->n, .k = source->k, .is_bf16 = is_bf16, .values = block};
    /* Its address is known only when the layout is; that there is one matters to the layout. */
    w->bias = source->bias ? block : NULL;
    int r = choose_layout(w);
    if (r == 0) {
        if (source->bias)
            w->bias = (float *)((char *)block + values_bytes(w));
        r = fill(w, source);
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
    if (w->memory)
        dnnl_memory_destroy(w->memory);
    if (w->bias_memory)
        dnnl_memory_destroy(w->bias_memory);
    if (w->has_md)
        md_deinit(&w->md);
    free(w);
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

struct Onednn {
    dnnl_stream_t stream;
    Product *products;
    size_t n_products, products_capacity;
    GemmScratch x, y; /* input and output of a bucket */
    GemmScratch scratchpad;
};

static int onednn_new(Onednn **onednn)
{
    Onednn *o = mem_new_array(1, sizeof *o);
    if (!o || !engine_get() ||
        dnnl_stream_create(&o->stream, cpu_engine, dnnl_stream_default_flags) != dnnl_success) {
        free(o);
        return -ENOMEM;
    }
    *onednn = o;
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

void onednn_free(Onednn *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->n_products; i++)
        product_deinit(&o->products[i]);
    dnnl_stream_destroy(o->stream);
    free(o->products);
    free(o->x.data);
    free(o->y.data);
    free(o->scratchpad.data);
    free(o);
}

/* What the units of work of one product share. */
typedef struct Job {
    const OnednnWeight *w;
    const float *x;
    float *y;
    size_t m, columns; /* columns of a unit */
} Job;

static void few_columns(void *user, size_t item, int thread)
{
    const Job *job = user;
    const OnednnWeight *w = job->w;
    const KernelTable *k = kernels();
    size_t from = item * job->columns, to = from + job->columns;
    to = to < w->n ? to : w->n;
    (void)thread;
    if (w->is_bf16)
        k->panels_bf16(job->y, w->n, job->x, w->k, job->m, w->values, &w->panels, w->k, from, to);
    else
        k->panels_f32(job->y, w->n, job->x, w->k, job->m, w->values, &w->panels, w->k, from, to);
}

/* m <= GEMM_FEW: bound by reading the weights. */
static void run_few(Gemm *g, const OnednnWeight *w, const float *x, size_t m, float *y)
{
    Job job = {.w = w, .x = x, .y = y, .m = m};
    job.columns = w->n * w->k < FEW_PARALLEL ? w->n : FEW_COLUMNS;
    pool_run(g->pool, (w->n + job.columns - 1) / job.columns, few_columns, &job);
    for (size_t r = 0; w->bias && r < m; r++)
        kernels()->add(y + r * w->n, w->bias, w->n);
}

/* Rows are padded up to one of few numbers, by a third at most from 8 rows on. */
static size_t bucket_of(size_t m)
{
    size_t step = m <= 16 ? 8 : m <= 64 ? 16 : m <= 256 ? 64 : 128;
    return (m + step - 1) / step * step;
}

static int product_find(Onednn *g, const OnednnWeight *w, size_t rows, Product **product)
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
static int run_bucket(Gemm *gemm, const OnednnWeight *w, const float *x, size_t m, float *y)
{
    Onednn *g = gemm->onednn;
    size_t rows = bucket_of(m);
    Product *p;
    /* Here oneDNN shares the work itself; a primitive keeps the number it was made for. */
    omp_set_num_threads(pool_threads(gemm->pool));
    int r = product_find(g, w, rows, &p);
    if (r < 0)
        return r;
    void *in = (void *)(uintptr_t)x;
    if (w->is_bf16 || rows != m) {
        size_t one = w->is_bf16 ? sizeof(uint16_t) : sizeof(float);
        if (!gemm_scratch_need(&g->x, rows * w->k * one))
            return -ENOMEM;
        in = g->x.data;
        if (w->is_bf16)
            kernels()->f32_to_bf16(in, x, m * w->k);
        else
            memcpy(in, x, m * w->k * one);
        memset((char *)in + m * w->k * one, 0, (rows - m) * w->k * one);
    }
    void *out = y;
    if (rows != m) {
        if (!gemm_scratch_need(&g->y, rows * w->n * sizeof(float)))
            return -ENOMEM;
        out = g->y.data;
    }
    if (!gemm_scratch_need(&g->scratchpad, p->scratchpad_bytes))
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

int onednn_run(Gemm *g, const OnednnWeight *w, const float *x, size_t m, float *y)
{
    omp_set_num_threads(1); /* of this thread: the pool shares the work */
    if (m <= GEMM_FEW && w->has_panels) {
        run_few(g, w, x, m, y);
        return 0;
    }
    int r = g->onednn ? 0 : onednn_new(&g->onednn);
    for (size_t from = 0; r == 0 && from < m; from += BUCKET_MAX) {
        size_t rows = m - from < BUCKET_MAX ? m - from : BUCKET_MAX;
        r = run_bucket(g, w, x + from * w->k, rows, y + from * w->n);
    }
    return r;
}

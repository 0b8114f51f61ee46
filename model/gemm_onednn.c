/*
 * Products of weights that oneDNN packed. A unit of work is a panel and all rows, or a part of them
 * where there are few panels; rows go over the panel in cuts, so that its weights, the cut's input
 * and its result stay near the processor. The result goes to y with the bias added.
 *
 * Primitives are made for a few numbers of rows (buckets), the input padded up to the next, when
 * first needed, and kept by the Gemm.
 */
#include "model/gemm_onednn.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <omp.h>
#include <stdatomic.h>
#include <string.h>

enum {
    CUT_ROWS = 256,  /* at most: with k = 2048 as large as a panel's weights */
    UNITS = 4,       /* of work a thread, at least, so that threads end together; of: */
    UNIT_ROWS = 64,  /* at least */
    INPUT_ROWS = 16, /* rounded by one unit of work */
    /* Weights below which waking another thread costs more than it brings (about 20 us). */
    FEW_PARALLEL = 1 << 19,
};

/* --- primitives --- */

/* What one thread gives to a primitive. */
typedef struct Arguments {
    dnnl_memory_t x, w, y, scratchpad;
} Arguments;

/* A primitive for a panel's shape and a number of rows. It is immutable: all threads execute it,
 * each with arguments of its own. */
typedef struct Product {
    struct Product *next;
    size_t columns, k, rows;
    bool is_bf16;
    dnnl_primitive_t primitive;
    size_t scratchpad_bytes;
    Arguments *arguments; /* [threads] */
} Product;

/* What belongs to one thread of the pool. */
typedef struct Lane {
    dnnl_stream_t stream;
    GemmScratch y; /* a panel's result, dense: with strides oneDNN 3 takes a slow kernel */
    GemmScratch scratchpad;
} Lane;

struct Onednn {
    int threads;
    Lane *lanes; /* [threads] */
    Product *products;
    GemmScratch x; /* the input of the weight's type, rows padded */
};

static void product_free(Product *p, int threads)
{
    for (int i = 0; p->arguments && i < threads; i++) {
        const Arguments *a = &p->arguments[i];
        const dnnl_memory_t memories[] = {a->x, a->w, a->y, a->scratchpad};
        for (size_t j = 0; j < sizeof memories / sizeof memories[0]; j++)
            if (memories[j])
                dnnl_memory_destroy(memories[j]);
    }
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    free(p->arguments);
    free(p);
}

static int onednn_new(int threads, Onednn **onednn)
{
    Onednn *o = mem_new_array(1, sizeof *o);
    bool ok = o && onednn_engine();
    if (ok) {
        o->threads = threads;
        o->lanes = mem_new_array((size_t)threads, sizeof *o->lanes);
        ok = o->lanes != NULL;
    }
    for (int i = 0; ok && i < threads; i++)
        ok = dnnl_stream_create(&o->lanes[i].stream, onednn_engine(), dnnl_stream_default_flags) ==
             dnnl_success;
    if (!ok) {
        onednn_free(o);
        return -ENOMEM;
    }
    *onednn = o;
    return 0;
}

void onednn_free(Onednn *o)
{
    if (!o)
        return;
    for (Product *p = o->products, *next; p; p = next) {
        next = p->next;
        product_free(p, o->threads);
    }
    for (int i = 0; o->lanes && i < o->threads; i++) {
        if (o->lanes[i].stream)
            dnnl_stream_destroy(o->lanes[i].stream);
        free(o->lanes[i].y.data);
        free(o->lanes[i].scratchpad.data);
    }
    free(o->lanes);
    free(o->x.data);
    free(o);
}

static bool product_init(Product *p, int threads, const OnednnWeight *w, MdView weights)
{
    dnnl_engine_t engine = onednn_engine();
    dnnl_primitive_desc_t pd = NULL;
    p->arguments = mem_new_array((size_t)threads, sizeof *p->arguments);
    if (!p->arguments || !onednn_matmul(&pd, w, p->columns, weights, p->rows))
        return false;
    MdView pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    MdView x = dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0);
    MdView y = dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
    p->scratchpad_bytes = dnnl_memory_desc_get_size(pad);
    bool ok = dnnl_primitive_create(&p->primitive, pd) == dnnl_success;
    for (int i = 0; ok && i < threads; i++) {
        Arguments *a = &p->arguments[i];
        ok = dnnl_memory_create(&a->x, x, engine, DNNL_MEMORY_NONE) == dnnl_success &&
             dnnl_memory_create(&a->w, weights, engine, DNNL_MEMORY_NONE) == dnnl_success &&
             dnnl_memory_create(&a->y, y, engine, DNNL_MEMORY_NONE) == dnnl_success &&
             dnnl_memory_create(&a->scratchpad, pad, engine, DNNL_MEMORY_NONE) == dnnl_success;
    }
    dnnl_primitive_desc_destroy(pd);
    return ok;
}

/* Also makes room in the lanes for it. */
static int product_find(Onednn *o, const OnednnWeight *w, int layout, size_t rows,
                        Product **product)
{
    const size_t columns = w->layouts[layout].columns;
    Product *p = o->products;
    while (p &&
           !(p->rows == rows && p->columns == columns && p->k == w->k && p->is_bf16 == w->is_bf16))
        p = p->next;
    if (!p) {
        p = mem_new_array(1, sizeof *p);
        if (!p)
            return -ENOMEM;
        *p = (Product){.columns = columns, .k = w->k, .rows = rows, .is_bf16 = w->is_bf16};
        if (!product_init(p, o->threads, w, md_view(&w->layouts[layout].md))) {
            product_free(p, o->threads);
            log_error("gemm", "oneDNN has no product for m=%zu n=%zu k=%zu bf16=%d", rows, columns,
                      w->k, w->is_bf16);
            return -EIO;
        }
        p->next = o->products;
        o->products = p;
    }
    for (int i = 0; i < o->threads; i++)
        if (!gemm_scratch_need(&o->lanes[i].y, rows * columns * sizeof(float)) ||
            !gemm_scratch_need(&o->lanes[i].scratchpad, p->scratchpad_bytes))
            return -ENOMEM;
    *product = p;
    return 0;
}

/* --- products --- */

/* What the units of work of one product share. */
typedef struct Job {
    const OnednnWeight *w;
    const float *x;
    float *y;
    size_t m;
    /* Many rows: */
    Lane *lanes;
    void *in;                /* x as the weight's type, the last cut's rows padded */
    size_t rows, cuts;       /* rows of a cut, and how many cuts */
    size_t last_rows;        /* of the last cut, padded */
    size_t parts;            /* that the cuts are shared out in */
    Product *products[2][2]; /* [layout][the last cut?] */
    atomic_int status;
} Job;

static void add_bias(const OnednnWeight *w, size_t column, size_t columns, float *y)
{
    if (w->bias)
        kernels()->add(y, w->bias + column, columns);
}

static void few_panel(void *user, size_t panel, int thread)
{
    const Job *job = user;
    const OnednnWeight *w = job->w;
    const OnednnLayout *layout = &w->layouts[onednn_layout_of(w, panel)];
    const size_t column = panel * w->width, columns = layout->columns;
    const void *values = onednn_panel(w, panel);
    float *y = job->y + column;
    (void)thread;
    if (w->is_bf16)
        kernels()->panels_bf16(y, w->n, job->x, w->k, job->m, values, &layout->few, w->k, 0,
                               columns);
    else
        kernels()->panels_f32(y, w->n, job->x, w->k, job->m, values, &layout->few, w->k, 0,
                              columns);
    for (size_t r = 0; r < job->m; r++)
        add_bias(w, column, columns, y + r * w->n);
}

/* m <= GEMM_FEW: bound by reading the weights. */
static void run_few(Gemm *g, Job *job)
{
    const OnednnWeight *w = job->w;
    if (w->n * w->k >= FEW_PARALLEL)
        pool_run(g->pool, w->panels, few_panel, job);
    else
        for (size_t panel = 0; panel < w->panels; panel++)
            few_panel(job, panel, 0);
}

/* Rows are padded up to one of few numbers, so that there are few primitives: whole tiles of 16
 * rows, by a quarter at most from 64 on. */
static size_t bucket_of(size_t m)
{
    size_t step = 8;
    if (m > 8)
        for (step = 16; m > 8 * step; step *= 2)
            ;
    return (m + step - 1) / step * step;
}

/* How m rows are cut. */
static void cut_rows(Job *job, int threads)
{
    const size_t panels = job->w->panels, units = threads > 1 ? UNITS * (size_t)threads : 1;
    const size_t parts = (units + panels - 1) / panels;
    const size_t useful = (job->m + UNIT_ROWS - 1) / UNIT_ROWS;
    size_t cuts = (job->m + CUT_ROWS - 1) / CUT_ROWS;
    if (cuts < parts)
        cuts = parts < useful ? parts : useful;
    job->rows = bucket_of((job->m + cuts - 1) / cuts);
    job->cuts = (job->m + job->rows - 1) / job->rows;
    job->parts = parts < job->cuts ? parts : job->cuts;
    job->last_rows = bucket_of(job->m - (job->cuts - 1) * job->rows);
}

/* Rows of the input, padded ones too. */
static size_t input_rows(const Job *job)
{
    return (job->cuts - 1) * job->rows + job->last_rows;
}

static void make_input(void *user, size_t item, int thread)
{
    const Job *job = user;
    const OnednnWeight *w = job->w;
    const size_t row = w->k * onednn_value_bytes(w->is_bf16);
    (void)thread;
    for (size_t r = item * INPUT_ROWS; r < (item + 1) * INPUT_ROWS && r < input_rows(job); r++) {
        void *to = (char *)job->in + r * row;
        if (r >= job->m)
            memset(to, 0, row);
        else if (w->is_bf16)
            kernels()->f32_to_bf16(to, job->x + r * w->k, w->k);
        else
            memcpy(to, job->x + r * w->k, row);
    }
}

static void multiply(Job *job, size_t panel, size_t cut, int thread)
{
    const OnednnWeight *w = job->w;
    Lane *lane = &job->lanes[thread];
    const Product *p = job->products[onednn_layout_of(w, panel)][cut + 1 == job->cuts];
    const Arguments *a = &p->arguments[thread];
    const size_t from = cut * job->rows, column = panel * w->width;
    dnnl_memory_set_data_handle(a->x,
                                (char *)job->in + from * w->k * onednn_value_bytes(w->is_bf16));
    dnnl_memory_set_data_handle(a->w, onednn_panel(w, panel));
    dnnl_memory_set_data_handle(a->y, lane->y.data);
    dnnl_memory_set_data_handle(a->scratchpad, lane->scratchpad.data);
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, a->x},
                                    {DNNL_ARG_WEIGHTS, a->w},
                                    {DNNL_ARG_DST, a->y},
                                    {DNNL_ARG_SCRATCHPAD, a->scratchpad}};
    dnnl_status_t status = dnnl_primitive_execute(p->primitive, lane->stream, 4, args);
    if (status == dnnl_success)
        status = dnnl_stream_wait(lane->stream);
    if (status != dnnl_success) {
        atomic_store(&job->status, (int)status);
        return;
    }
    const float *out = lane->y.data;
    for (size_t r = from; r < job->m && r < from + job->rows; r++, out += p->columns) {
        float *y = job->y + r * w->n + column;
        memcpy(y, out, p->columns * sizeof *y);
        add_bias(w, column, p->columns, y);
    }
}

/* A panel, whose weights stay in the thread's L2 while cuts of rows go over them. */
static void unit(void *user, size_t item, int thread)
{
    Job *job = user;
    const size_t panel = item / job->parts, part = item % job->parts;
    for (size_t cut = job->cuts * part / job->parts; cut < job->cuts * (part + 1) / job->parts;
         cut++)
        multiply(job, panel, cut, thread);
}

static int run_many(Gemm *g, Job *job)
{
    const OnednnWeight *w = job->w;
    int r = g->onednn ? 0 : onednn_new(pool_threads(g->pool), &g->onednn);
    if (r < 0)
        return r;
    Onednn *o = g->onednn;
    cut_rows(job, o->threads);
    for (int i = 0; i < w->n_layouts; i++) {
        r = product_find(o, w, i, job->rows, &job->products[i][0]);
        if (r == 0)
            r = product_find(o, w, i, job->last_rows, &job->products[i][1]);
        if (r < 0)
            return r;
    }
    job->lanes = o->lanes;
    job->in = (void *)(uintptr_t)job->x;
    const size_t rows = input_rows(job);
    if (w->is_bf16 || rows != job->m) {
        if (!gemm_scratch_need(&o->x, rows * w->k * onednn_value_bytes(w->is_bf16)))
            return -ENOMEM;
        job->in = o->x.data;
        pool_run(g->pool, (rows + INPUT_ROWS - 1) / INPUT_ROWS, make_input, job);
    }
    pool_run(g->pool, w->panels * job->parts, unit, job);
    const int status = atomic_load(&job->status);
    if (status != 0) {
        log_error("gemm", "matmul m=%zu n=%zu k=%zu failed: oneDNN status %d", job->m, w->n, w->k,
                  status);
        return -EIO;
    }
    return 0;
}

int onednn_run(Gemm *g, const OnednnWeight *w, const float *x, size_t m, float *y)
{
    Job job = {.w = w, .x = x, .y = y, .m = m};
    omp_set_num_threads(1); /* of this thread: the pool shares the work */
    if (m <= GEMM_FEW && w->layouts[0].has_few && w->layouts[w->n_layouts - 1].has_few) {
        run_few(g, &job);
        return 0;
    }
    return run_many(g, &job);
}

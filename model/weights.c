/* Tensors [n, k] (+ B A of an adapter) -> stacked, of one type -> GemmWeight; a weight an item of
 * the pool, from its tensors to its place in the cache. */
#include "model/weights.h"

#include "base/mem.h"
#include "model/kernels.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static int no_memory(Weights *w, const char *name)
{
    return error_set(w->err, ENOMEM, EX_OSERR,
                     "no memory for tensor %s: close other programs, or use a smaller model", name);
}

/* rows [n, k] += scaling * b [n, r] a [r, k] */
static int merge(const LoraPair *pair, float *rows, size_t n, size_t k, Error *err)
{
    size_t r = (size_t)pair->r;
    if (pair->a->n != r * k || pair->b->n != n * r)
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: adapter of %s is for a tensor of another size than [%zu, %zu]: it "
                         "belongs to another model",
                         pair->a->file, pair->target, n, k);
    _cleanup_free_ float *a = mem_new_aligned(r * k, sizeof *a);
    _cleanup_free_ float *b = mem_new_aligned(n * r, sizeof *b);
    _cleanup_free_ float *sum = mem_new_aligned(k, sizeof *sum);
    if (!a || !b || !sum)
        return -ENOMEM;
    tensor_to_f32(pair->a, 0, r * k, a);
    tensor_to_f32(pair->b, 0, n * r, b);
    for (size_t i = 0; i < n; i++) {
        memset(sum, 0, k * sizeof *sum);
        for (size_t j = 0; j < r; j++) {
            float factor = b[i * r + j] * pair->scaling;
            const float *row = a + j * k;
            for (size_t t = 0; t < k; t++)
                sum[t] += factor * row[t];
        }
        kernels()->add(rows + i * k, sum, k);
    }
    return 0;
}

static int cannot_pack(Weights *w, const WeightsJob *job, int r)
{
    if (r == -ENOMEM)
        return no_memory(w, job->key);
    char layout[64];
    gemm_layout_name(job->layout, layout, sizeof layout);
    return error_set(w->err, -r, EX_SOFTWARE, "%s cannot pack %s [%zu, %zu]", layout, job->key,
                     job->n, job->k);
}

/* 1: taken from the cache; 0: it is not there. */
static int from_cache(Weights *w, const WeightsJob *job, const GemmSource *source,
                      GemmWeight **weight)
{
    const void *block = packed_cache_find(w->cache, job->key, job->bytes);
    if (!block)
        return 0;
    int r = gemm_weight_new(job->dtype, job->layout, source, (void *)(uintptr_t)block, weight);
    if (r < 0)
        return r;
    for (int i = 0; i < job->n_parts; i++)
        w->merged += job->pairs[i] != NULL;
    w->bytes += job->bytes;
    return 1;
}

/* The tensors and pairs of the adapter that the matrix is made of. */
static int find_parts(Weights *w, const WeightsMatrix *m, WeightsJob *job)
{
    char name[160];
    job->is_bf16 = true;
    for (int i = 0; i < m->n_parts; i++) {
        snprintf(name, sizeof name, "%s%s.weight", m->prefix, m->names[i]);
        int64_t shape[] = {m->rows[i], m->k};
        int r = safetensors_need(w->tensors, name, 2, shape, &job->tensors[i], w->err);
        if (r < 0)
            return r;
        job->is_bf16 = job->is_bf16 && job->tensors[i]->dtype == TENSOR_BF16;
        if (w->lora && lora_find(w->lora, name, &job->pairs[i]) == 0)
            job->is_bf16 = false;
        snprintf(name, sizeof name, "%s%s.bias", m->prefix, m->names[i]);
        r = m->bias ? safetensors_need(w->tensors, name, 1, shape, &job->biases[i], w->err) : 0;
        if (r < 0)
            return r;
        job->rows[i] = (size_t)m->rows[i];
        job->n += job->rows[i];
    }
    return 0;
}

int weights_matrix(Weights *w, const WeightsMatrix *m, GemmWeight **weight)
{
    WeightsJob job = {.n_parts = m->n_parts,
                      .k = (size_t)m->k,
                      .layout = m->table ? GEMM_PANELS : w->layout,
                      .weight = weight};
    snprintf(job.key, sizeof job.key, "%s%s", m->prefix, m->names[0]);
    int r = find_parts(w, m, &job);
    if (r < 0)
        return r;
    /* A token's embedding is a row of a table. */
    job.dtype = w->dtype == GEMM_INT4 && m->table ? GEMM_INT8 : w->dtype;
    const float some = 0;
    const GemmSource source = {
        .n = job.n, .k = job.k, .is_bf16 = job.is_bf16, .bias = m->bias ? &some : NULL};
    r = gemm_block_bytes(job.dtype, job.layout, &source, &job.bytes);
    if (r == 0)
        r = from_cache(w, &job, &source, weight);
    if (r != 0)
        return r < 0 ? cannot_pack(w, &job, r) : 0;
    /* One bf16 tensor is packed from where it is mapped. */
    const bool in_place =
        job.is_bf16 && m->n_parts == 1 && (uintptr_t)job.tensors[0]->data % 2 == 0;
    size_t values;
    if (!mem_mul(job.n, job.k, &values) ||
        !mem_mul(in_place ? 0 : values, job.is_bf16 ? sizeof(uint16_t) : sizeof(float),
                 &job.copy_bytes) ||
        mem_grow((void **)&w->jobs, &w->jobs_capacity, w->n_jobs + 1, sizeof *w->jobs) < 0)
        return no_memory(w, job.key);
    w->jobs[w->n_jobs++] = job;
    return 0;
}

/* --- making them --- */

/* Rows [n, k] of one type, the adapter merged in, to `rows`. */
static int copy_rows(const WeightsJob *job, void *rows, Error *err)
{
    const size_t one = job->is_bf16 ? sizeof(uint16_t) : sizeof(float);
    char *to = rows;
    for (int i = 0; i < job->n_parts; i++) {
        const size_t values = job->rows[i] * job->k;
        if (job->is_bf16)
            tensor_to_bf16(job->tensors[i], 0, values, (uint16_t *)to);
        else
            tensor_to_f32(job->tensors[i], 0, values, (float *)to);
        int r = job->pairs[i] ? merge(job->pairs[i], (float *)to, job->rows[i], job->k, err) : 0;
        if (r < 0)
            return r;
        to += values * one;
    }
    return 0;
}

static int make(const WeightsJob *job, GemmWeight **weight, Error *err)
{
    GemmSource source = {
        .n = job->n, .k = job->k, .is_bf16 = job->is_bf16, .values = job->tensors[0]->data};
    _cleanup_free_ void *rows = job->copy_bytes ? mem_new_aligned(job->copy_bytes, 1) : NULL;
    _cleanup_free_ float *bias = job->biases[0] ? mem_new_aligned(job->n, sizeof *bias) : NULL;
    if ((job->copy_bytes && !rows) || (job->biases[0] && !bias))
        return -ENOMEM;
    if (rows) {
        int r = copy_rows(job, rows, err);
        if (r < 0)
            return r;
        source.values = rows;
    }
    for (size_t i = 0, at = 0; bias && i < (size_t)job->n_parts; at += job->rows[i++])
        tensor_to_f32(job->biases[i], 0, job->rows[i], bias + at);
    source.bias = bias;
    return gemm_weight_new(job->dtype, job->layout, &source, NULL, weight);
}

/* Copies of tensors that are there at once: together at most `most` bytes, or one alone. */
typedef struct Room {
    pthread_mutex_t lock; /* used */
    pthread_cond_t freed;
    size_t used, most;
} Room;

static void room_take(Room *room, size_t bytes)
{
    pthread_mutex_lock(&room->lock);
    while (room->used > 0 && (bytes > room->most || room->used > room->most - bytes))
        pthread_cond_wait(&room->freed, &room->lock);
    room->used += bytes;
    pthread_mutex_unlock(&room->lock);
}

static void room_give(Room *room, size_t bytes)
{
    pthread_mutex_lock(&room->lock);
    room->used -= bytes;
    pthread_cond_broadcast(&room->freed);
    pthread_mutex_unlock(&room->lock);
}

typedef struct Packing {
    Weights *w;
    Room room;
    int *results; /* [n_jobs] */
    Error *errors;
    atomic_bool failed;
} Packing;

static void pack_one(void *user, size_t item, int thread)
{
    Packing *p = user;
    const WeightsJob *job = &p->w->jobs[item];
    (void)thread;
    if (atomic_load(&p->failed))
        return;
    room_take(&p->room, job->copy_bytes);
    int r = make(job, job->weight, &p->errors[item]);
    room_give(&p->room, job->copy_bytes);
    if (r == 0)
        packed_cache_write(p->w->cache, job->place, gemm_weight_block(*job->weight));
    else
        atomic_store(&p->failed, true);
    p->results[item] = r;
}

uint64_t weights_needed_bytes(const Weights *w)
{
    uint64_t needed = 0, copy = 0;
    for (size_t i = 0; i < w->n_jobs; i++) {
        needed += w->jobs[i].bytes;
        copy = w->jobs[i].copy_bytes > copy ? w->jobs[i].copy_bytes : copy;
    }
    return needed + copy;
}

/* The first job that failed says why. */
static int result_of(Weights *w, const Packing *p)
{
    for (size_t i = 0; i < w->n_jobs; i++) {
        const WeightsJob *job = &w->jobs[i];
        if (p->results[i] < 0 && p->errors[i].exit_code)
            return error_set(w->err, -p->results[i], p->errors[i].exit_code, "%s",
                             p->errors[i].text);
        if (p->results[i] < 0)
            return cannot_pack(w, job, p->results[i]);
        for (int part = 0; part < job->n_parts; part++)
            w->merged += job->pairs[part] != NULL;
        w->bytes += job->bytes;
    }
    return 0;
}

int weights_pack(Weights *w, Pool *pool)
{
    Packing p = {.w = w, .room = {.most = 0}};
    _cleanup_free_ int *results = mem_new_array(w->n_jobs + 1, sizeof *results);
    _cleanup_free_ Error *errors = mem_new_array(w->n_jobs + 1, sizeof *errors);
    if (!results || !errors)
        return error_set(w->err, ENOMEM, EX_OSERR, "no memory for the weights");
    p.results = results;
    p.errors = errors;
    for (size_t i = 0; i < w->n_jobs; i++) {
        WeightsJob *job = &w->jobs[i];
        job->place = packed_cache_reserve(w->cache, job->key, job->bytes);
        p.room.most = job->copy_bytes > p.room.most ? job->copy_bytes : p.room.most;
    }
    pthread_mutex_init(&p.room.lock, NULL);
    pthread_cond_init(&p.room.freed, NULL);
    pool_run(pool, w->n_jobs, pack_one, &p);
    pthread_cond_destroy(&p.room.freed);
    pthread_mutex_destroy(&p.room.lock);
    return result_of(w, &p);
}

void weights_deinit(Weights *w)
{
    free(w->jobs);
    w->jobs = NULL;
    w->n_jobs = w->jobs_capacity = 0;
}

int weights_vector(Weights *w, const char *prefix, const char *name, int n, float **vector)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const Tensor *tensor;
    int64_t shape[] = {n};
    int r = safetensors_need(w->tensors, full, 1, shape, &tensor, w->err);
    if (r < 0)
        return r;
    *vector = mem_new_aligned((size_t)n, sizeof **vector);
    if (!*vector)
        return no_memory(w, full);
    tensor_to_f32(tensor, 0, (size_t)n, *vector);
    w->bytes += (size_t)n * sizeof **vector;
    return 0;
}

/* Tensors [n, k] (+ B A of an adapter) -> stacked, of one type -> GemmWeight. */
#include "model/weights.h"

#include "base/mem.h"
#include "model/kernels.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int no_memory(Weights *w, const char *name)
{
    return error_set(w->err, ENOMEM, EX_OSERR,
                     "no memory for tensor %s: close other programs, or use a smaller model", name);
}

/* rows [n, k] += scaling * b [n, r] a [r, k] */
static int merge(Weights *w, const LoraPair *pair, float *rows, size_t n, size_t k)
{
    size_t r = (size_t)pair->r;
    if (pair->a->n != r * k || pair->b->n != n * r)
        return error_set(w->err, EINVAL, EX_DATAERR,
                         "%s: adapter of %s is for a tensor of another size than [%zu, %zu]: it "
                         "belongs to another model",
                         pair->a->file, pair->target, n, k);
    _cleanup_free_ float *a = mem_new_aligned(r * k, sizeof *a);
    _cleanup_free_ float *b = mem_new_aligned(n * r, sizeof *b);
    _cleanup_free_ float *sum = mem_new_aligned(k, sizeof *sum);
    if (!a || !b || !sum)
        return no_memory(w, pair->target);
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
    w->merged++;
    return 0;
}

static int cannot_pack(Weights *w, const char *name, size_t n, size_t k, int r)
{
    if (r == -ENOMEM)
        return no_memory(w, name);
    return error_set(w->err, -r, EX_SOFTWARE, "%s cannot pack %s [%zu, %zu]", gemm_description(),
                     name, n, k);
}

/* 1: taken from the cache; 0: it is not there. */
static int from_cache(Weights *w, const WeightsMatrix *m, GemmDtype dtype, const char *key,
                      GemmSource source, GemmWeight **weight)
{
    const float some = 0;
    size_t bytes;
    source.bias = m->bias ? &some : NULL;
    if (!packed_cache_is_filled(w->cache) ||
        gemm_block_bytes(dtype, m->layout, &source, &bytes) < 0)
        return 0;
    const void *block = packed_cache_find(w->cache, key, bytes);
    if (!block)
        return 0;
    int r = gemm_weight_new(dtype, m->layout, &source, (void *)(uintptr_t)block, weight);
    if (r < 0)
        return r;
    char name[160];
    const LoraPair *pair;
    for (int i = 0; w->lora && i < m->n_parts; i++) {
        snprintf(name, sizeof name, "%s%s.weight", m->prefix, m->names[i]);
        w->merged += lora_find(w->lora, name, &pair) == 0;
    }
    w->bytes += bytes;
    return 1;
}

int weights_matrix(Weights *w, const WeightsMatrix *m, GemmWeight **weight)
{
    const Tensor *tensors[WEIGHTS_MAX_PARTS], *biases[WEIGHTS_MAX_PARTS];
    const LoraPair *pairs[WEIGHTS_MAX_PARTS] = {0};
    char name[160];
    size_t n = 0, k = (size_t)m->k;
    bool bf16 = true;
    for (int i = 0; i < m->n_parts; i++) {
        snprintf(name, sizeof name, "%s%s.weight", m->prefix, m->names[i]);
        int64_t shape[] = {m->rows[i], m->k};
        int r = safetensors_need(w->tensors, name, 2, shape, &tensors[i], w->err);
        if (r < 0)
            return r;
        bf16 = bf16 && tensors[i]->dtype == TENSOR_BF16;
        if (w->lora && lora_find(w->lora, name, &pairs[i]) == 0)
            bf16 = false;
        snprintf(name, sizeof name, "%s%s.bias", m->prefix, m->names[i]);
        r = m->bias ? safetensors_need(w->tensors, name, 1, shape, &biases[i], w->err) : 0;
        if (r < 0)
            return r;
        n += (size_t)m->rows[i];
    }

    GemmSource source = {.n = n, .k = k, .is_bf16 = bf16};
    /* A table of rows that are looked up keeps 8 bits: a token's embedding is one of them. */
    GemmDtype dtype = w->dtype == GEMM_INT4 && m->layout == GEMM_PANELS ? GEMM_INT8 : w->dtype;
    char key[160];
    snprintf(key, sizeof key, "%s%s", m->prefix, m->names[0]);
    int r = from_cache(w, m, dtype, key, source, weight);
    if (r != 0)
        return r < 0 ? cannot_pack(w, key, n, k, r) : 0;

    size_t values, one = bf16 ? sizeof(uint16_t) : sizeof(float);
    if (!mem_mul(n, k, &values))
        return no_memory(w, name);
    /* One bf16 tensor is packed from where it is mapped. */
    const bool in_place = bf16 && m->n_parts == 1 && (uintptr_t)tensors[0]->data % 2 == 0;
    _cleanup_free_ void *rows = in_place ? NULL : mem_new_aligned(values, one);
    _cleanup_free_ float *bias = m->bias ? mem_new_aligned(n, sizeof *bias) : NULL;
    if ((!in_place && !rows) || (m->bias && !bias))
        return no_memory(w, name);
    size_t at = 0;
    for (int i = 0; i < m->n_parts; i++) {
        size_t part = (size_t)m->rows[i];
        void *to = rows ? (char *)rows + at * k * one : NULL;
        if (rows && bf16)
            tensor_to_bf16(tensors[i], 0, part * k, to);
        else if (rows)
            tensor_to_f32(tensors[i], 0, part * k, to);
        r = pairs[i] ? merge(w, pairs[i], to, part, k) : 0;
        if (r < 0)
            return r;
        if (m->bias)
            tensor_to_f32(biases[i], 0, part, bias + at);
        at += part;
    }
    source.values = in_place ? tensors[0]->data : rows;
    source.bias = bias;
    r = gemm_weight_new(dtype, m->layout, &source, NULL, weight);
    if (r < 0)
        return cannot_pack(w, key, n, k, r);
    packed_cache_add(w->cache, key, gemm_weight_block(*weight), gemm_weight_bytes(*weight));
    w->bytes += gemm_weight_bytes(*weight);
    return 0;
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

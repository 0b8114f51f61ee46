/* Keys and values in chunks. See kv_cache.h. */
#include "model/kv_cache.h"

#include "base/mem.h"
#include "model/kernels.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static size_t element_bytes(KvDtype dtype)
{
    return dtype == KV_F32 ? sizeof(float) : dtype == KV_BF16 ? sizeof(uint16_t) : sizeof(int8_t);
}

static size_t chunks_of(size_t tokens)
{
    return tokens / KV_CACHE_CHUNK + (tokens % KV_CACHE_CHUNK != 0);
}

void kv_cache_init(KvCache *cache, KvDtype dtype, int layers, int kv_heads, int head_dim)
{
    assert(head_dim > 0 && head_dim % 2 == 0);
    *cache =
        (KvCache){.dtype = dtype, .layers = layers, .kv_heads = kv_heads, .head_dim = head_dim};
    const size_t d = (size_t)head_dim, one = element_bytes(dtype);
    const size_t scales = dtype == KV_INT8 ? round_up(d, KV_CACHE_GROUP) / KV_CACHE_GROUP : 0;
    cache->padded = round_up(d, dtype == KV_INT8 ? KV_CACHE_GROUP : KERNEL_ALIGN);
    cache->groups = scales;
    cache->values_at = KV_CACHE_CHUNK * d * one;
    cache->key_scales_at = cache->values_at + KV_CACHE_CHUNK * cache->padded * one;
    cache->value_scales_at = cache->key_scales_at + KV_CACHE_CHUNK * scales * sizeof(float);
    cache->head_bytes = cache->value_scales_at + KV_CACHE_CHUNK * scales * sizeof(float);
    cache->chunk_bytes = (size_t)layers * (size_t)kv_heads * cache->head_bytes;
}

/* --- chunks --- */

static KvChunk *chunk_new(KvCache *cache)
{
    KvChunk *chunk = cache->spare;
    if (chunk) {
        cache->spare = chunk->next;
    } else {
        chunk = mem_new_array(1, sizeof *chunk);
        if (!chunk)
            return NULL;
        chunk->data = mem_new_aligned(cache->chunk_bytes, 1);
        if (!chunk->data) {
            free(chunk);
            return NULL;
        }
        /* Blocks are read whole: what is unused must be finite. */
        memset(chunk->data, 0, cache->chunk_bytes);
    }
    chunk->owners = 1;
    return chunk;
}

static void chunk_release(KvCache *cache, KvChunk *chunk)
{
    if (--chunk->owners > 0)
        return;
    chunk->next = cache->spare;
    cache->spare = chunk;
}

void kv_cache_deinit(KvCache *cache)
{
    for (size_t i = 0; i < cache->n_chunks; i++)
        chunk_release(cache, cache->chunks[i]);
    while (cache->spare) {
        KvChunk *next = cache->spare->next;
        free(cache->spare->data);
        free(cache->spare);
        cache->spare = next;
    }
    free(cache->chunks);
    memset(cache, 0, sizeof *cache);
}

/* Makes the chunks from index `from` on its own. */
static int own(KvCache *cache, size_t from)
{
    for (size_t i = from; i < cache->n_chunks; i++) {
        KvChunk *shared = cache->chunks[i];
        if (shared->owners == 1)
            continue;
        KvChunk *copy = chunk_new(cache);
        if (!copy)
            return -ENOMEM;
        if (i * KV_CACHE_CHUNK < cache->n)
            memcpy(copy->data, shared->data, cache->chunk_bytes);
        cache->chunks[i] = copy;
        chunk_release(cache, shared);
    }
    return 0;
}

int kv_cache_reserve(KvCache *cache, size_t tokens)
{
    size_t wanted = chunks_of(tokens);
    int r =
        mem_grow((void **)&cache->chunks, &cache->chunks_capacity, wanted, sizeof *cache->chunks);
    if (r == 0)
        r = own(cache, cache->n / KV_CACHE_CHUNK);
    while (r == 0 && cache->n_chunks < wanted) {
        KvChunk *chunk = chunk_new(cache);
        if (!chunk)
            return -ENOMEM;
        cache->chunks[cache->n_chunks++] = chunk;
    }
    return r;
}

size_t kv_cache_bytes(const KvCache *cache, size_t tokens)
{
    return chunks_of(tokens) * cache->chunk_bytes;
}

void kv_cache_truncate(KvCache *cache, size_t n)
{
    assert(n <= cache->n);
    cache->n = n;
}

int kv_cache_fork(KvCache *to, const KvCache *from)
{
    assert(to->chunk_bytes == from->chunk_bytes && to != from);
    const size_t n = chunks_of(from->n);
    int r = mem_grow((void **)&to->chunks, &to->chunks_capacity, n, sizeof *to->chunks);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        from->chunks[i]->owners++;
    for (size_t i = 0; i < to->n_chunks; i++)
        chunk_release(to, to->chunks[i]);
    if (n)
        memcpy(to->chunks, from->chunks, n * sizeof *to->chunks);
    to->n_chunks = n;
    to->n = from->n;
    return 0;
}

size_t kv_cache_shared(const KvCache *a, const KvCache *b)
{
    size_t most = a->n < b->n ? a->n : b->n, i = 0;
    while (i * KV_CACHE_CHUNK < most && a->chunks[i] == b->chunks[i])
        i++;
    return i * KV_CACHE_CHUNK < most ? i * KV_CACHE_CHUNK : most;
}

/* --- tokens --- */

static unsigned char *head_at(const KvCache *cache, int layer, size_t head, size_t token)
{
    assert(token / KV_CACHE_CHUNK < cache->n_chunks);
    return cache->chunks[token / KV_CACHE_CHUNK]->data +
           ((size_t)layer * (size_t)cache->kv_heads + head) * cache->head_bytes;
}

/* Where element j of a token's key and value are, in elements. */
static size_t key_index(const KvCache *cache, size_t token, size_t j)
{
    const size_t block = token / KERNEL_BLOCK * (size_t)cache->head_dim, in = token % KERNEL_BLOCK;
    if (cache->dtype == KV_BF16)
        return block * KERNEL_BLOCK + (j / 2 * KERNEL_BLOCK + in) * 2 + j % 2;
    return (block + j) * KERNEL_BLOCK + in;
}

static size_t value_index(const KvCache *cache, size_t token, size_t j)
{
    if (cache->dtype == KV_BF16)
        return (token / 2 * cache->padded + j) * 2 + token % 2;
    return token * cache->padded + j;
}

/* Where a key's scale is, in floats. */
static size_t key_scale_index(const KvCache *cache, size_t token, size_t group)
{
    return (token / KERNEL_BLOCK * cache->groups + group) * KERNEL_BLOCK + token % KERNEL_BLOCK;
}

/* x [n] = scale * q, q in -127 .. 127 */
static float quantise(int8_t *q, const float *x, size_t n)
{
    float largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    if (!(largest > 0) || !isfinite(largest)) {
        memset(q, 0, n);
        return 0;
    }
    float scale = largest / 127.0f, inverse = 127.0f / largest;
    for (size_t i = 0; i < n; i++)
        q[i] = (int8_t)lrintf(x[i] * inverse);
    return scale;
}

static void put_int8(const KvCache *cache, unsigned char *head, size_t token, const float *key,
                     const float *value)
{
    const size_t d = (size_t)cache->head_dim;
    int8_t *keys = (int8_t *)head, *row = (int8_t *)head + cache->values_at + token * cache->padded;
    float *key_scales = (float *)(void *)(head + cache->key_scales_at);
    float *value_scales = (float *)(void *)(head + cache->value_scales_at) + token * cache->groups;
    for (size_t g = 0; g < cache->groups; g++) {
        int8_t q[KV_CACHE_GROUP];
        size_t at = g * KV_CACHE_GROUP, n = d - at < KV_CACHE_GROUP ? d - at : KV_CACHE_GROUP;
        key_scales[key_scale_index(cache, token, g)] = quantise(q, key + at, n);
        for (size_t j = 0; j < n; j++)
            keys[key_index(cache, token, at + j)] = q[j];
        value_scales[g] = quantise(row + at, value + at, n);
    }
}

static void put_one(const KvCache *cache, unsigned char *head, size_t token, const float *key,
                    const float *value)
{
    const size_t d = (size_t)cache->head_dim;
    unsigned char *values = head + cache->values_at;
    if (cache->dtype == KV_F32) {
        float *keys = (float *)(void *)head;
        for (size_t j = 0; j < d; j++)
            keys[key_index(cache, token, j)] = key[j];
        memcpy((float *)(void *)values + token * cache->padded, value, d * sizeof *value);
    } else if (cache->dtype == KV_BF16) {
        uint16_t *keys = (uint16_t *)(void *)head, *rows = (uint16_t *)(void *)values;
        for (size_t j = 0; j < d; j++) {
            keys[key_index(cache, token, j)] = kernel_to_bf16(key[j]);
            rows[value_index(cache, token, j)] = kernel_to_bf16(value[j]);
        }
    } else {
        put_int8(cache, head, token, key, value);
    }
}

void kv_cache_put(KvCache *cache, int layer, size_t first, size_t n, const float *keys,
                  const float *values, size_t stride)
{
    const size_t d = (size_t)cache->head_dim, heads = (size_t)cache->kv_heads;
    assert(first + n <= cache->n_chunks * KV_CACHE_CHUNK);
    for (size_t i = 0; i < n; i++) {
        assert(cache->chunks[(first + i) / KV_CACHE_CHUNK]->owners == 1);
        for (size_t h = 0; h < heads; h++)
            put_one(cache, head_at(cache, layer, h, first + i), (first + i) % KV_CACHE_CHUNK,
                    keys + i * stride + h * d, values + i * stride + h * d);
    }
}

size_t kv_cache_block_floats(int head_dim)
{
    return KERNEL_BLOCK * ((size_t)head_dim + round_up((size_t)head_dim, KV_CACHE_GROUP));
}

void kv_cache_block_pairs(const KvCache *cache, int layer, int head, size_t token,
                          const uint16_t **keys, const uint16_t **values)
{
    const unsigned char *base = head_at(cache, layer, (size_t)head, token);
    const size_t in = token % KV_CACHE_CHUNK;
    assert(cache->dtype == KV_BF16 && in % KERNEL_BLOCK == 0);
    *keys = (const uint16_t *)(const void *)base + in * (size_t)cache->head_dim;
    *values = (const uint16_t *)(const void *)(base + cache->values_at) + in * cache->padded;
}

void kv_cache_block(const KvCache *cache, int layer, int head, size_t token, float *room,
                    const float **keys, const float **values)
{
    const KernelTable *k = kernels();
    const size_t d = (size_t)cache->head_dim, padded = cache->padded, in = token % KV_CACHE_CHUNK;
    const unsigned char *base = head_at(cache, layer, (size_t)head, token);
    if (cache->dtype == KV_F32) {
        *keys = (const float *)(const void *)base + in * d;
        *values = (const float *)(const void *)(base + cache->values_at) + in * padded;
        return;
    }
    float *wide_values = room + KERNEL_BLOCK * d;
    *keys = room;
    *values = wide_values;
    if (cache->dtype == KV_BF16) {
        const uint16_t *key_pairs, *value_pairs;
        kv_cache_block_pairs(cache, layer, head, token, &key_pairs, &value_pairs);
        k->pairs_to_f32(room, key_pairs, d, KERNEL_BLOCK);
        k->pairs_to_f32(wide_values, value_pairs, KERNEL_BLOCK, padded);
        return;
    }
    const int8_t *narrow = (const int8_t *)base + in * d;
    const float *scales =
        (const float *)(const void *)(base + cache->key_scales_at) + in * cache->groups;
    for (size_t j = 0; j < d; j++)
        k->s8_mul(room + j * KERNEL_BLOCK, narrow + j * KERNEL_BLOCK,
                  scales + j / KV_CACHE_GROUP * KERNEL_BLOCK, KERNEL_BLOCK);
    narrow = (const int8_t *)base + cache->values_at + in * padded;
    scales = (const float *)(const void *)(base + cache->value_scales_at) + in * cache->groups;
    for (size_t i = 0; i < KERNEL_BLOCK * cache->groups; i++)
        k->s8_scale(wide_values + i * KV_CACHE_GROUP, narrow + i * KV_CACHE_GROUP, scales[i],
                    KV_CACHE_GROUP);
}

/* Copies what a token has in one head, whatever the type. */
static void move_token(const KvCache *cache, unsigned char *to_head, size_t to,
                       const unsigned char *from_head, size_t from)
{
    const size_t d = (size_t)cache->head_dim, one = element_bytes(cache->dtype);
    for (size_t j = 0; j < d; j++) {
        memcpy(to_head + key_index(cache, to, j) * one, from_head + key_index(cache, from, j) * one,
               one);
        memcpy(to_head + cache->values_at + value_index(cache, to, j) * one,
               from_head + cache->values_at + value_index(cache, from, j) * one, one);
    }
    float *to_scales = (float *)(void *)(to_head + cache->key_scales_at);
    const float *from_scales = (const float *)(const void *)(from_head + cache->key_scales_at);
    for (size_t g = 0; g < cache->groups; g++)
        to_scales[key_scale_index(cache, to, g)] = from_scales[key_scale_index(cache, from, g)];
    const size_t scales = cache->groups * sizeof(float);
    memmove(to_head + cache->value_scales_at + to * scales,
            from_head + cache->value_scales_at + from * scales, scales);
}

int kv_cache_remove(KvCache *cache, size_t first, size_t n)
{
    assert(first <= cache->n && n <= cache->n - first);
    int r = n ? own(cache, first / KV_CACHE_CHUNK) : 0;
    if (r < 0 || n == 0)
        return r;
    for (int layer = 0; layer < cache->layers; layer++)
        for (size_t head = 0; head < (size_t)cache->kv_heads; head++)
            for (size_t to = first, from = first + n; from < cache->n; to++, from++)
                move_token(cache, head_at(cache, layer, head, to), to % KV_CACHE_CHUNK,
                           head_at(cache, layer, head, from), from % KV_CACHE_CHUNK);
    cache->n -= n;
    return 0;
}

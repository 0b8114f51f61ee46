/* Keys and values in chunks. See kv_cache.h. */
#include "model/kv_cache.h"

#include "base/mem.h"
#include "model/kernels.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

void kv_cache_init(KvCache *cache, int layers, int kv_heads, int head_dim)
{
    *cache = (KvCache){.layers = layers, .kv_heads = kv_heads, .head_dim = head_dim};
    cache->padded = ((size_t)head_dim + KERNEL_ALIGN - 1) / KERNEL_ALIGN * KERNEL_ALIGN;
    cache->head_floats = KV_CACHE_CHUNK * ((size_t)head_dim + cache->padded);
    cache->chunk_floats = (size_t)layers * (size_t)kv_heads * cache->head_floats;
}

void kv_cache_deinit(KvCache *cache)
{
    for (size_t i = 0; i < cache->n_chunks; i++)
        free(cache->chunks[i]);
    free(cache->chunks);
    memset(cache, 0, sizeof *cache);
}

int kv_cache_reserve(KvCache *cache, size_t tokens)
{
    size_t wanted = tokens / KV_CACHE_CHUNK + (tokens % KV_CACHE_CHUNK != 0);
    int r =
        mem_grow((void **)&cache->chunks, &cache->chunks_capacity, wanted, sizeof *cache->chunks);
    if (r < 0)
        return r;
    while (cache->n_chunks < wanted) {
        float *chunk = mem_new_aligned(cache->chunk_floats, sizeof *chunk);
        if (!chunk)
            return -ENOMEM;
        /* Score tiles and padded values are read whole: what is unused must be finite. */
        memset(chunk, 0, cache->chunk_floats * sizeof *chunk);
        cache->chunks[cache->n_chunks++] = chunk;
    }
    return 0;
}

size_t kv_cache_bytes(const KvCache *cache, size_t tokens)
{
    size_t chunks = tokens / KV_CACHE_CHUNK + (tokens % KV_CACHE_CHUNK != 0);
    return chunks * cache->chunk_floats * sizeof(float);
}

void kv_cache_put(KvCache *cache, int layer, size_t first, size_t n, const float *keys,
                  const float *values, size_t stride)
{
    const size_t d = (size_t)cache->head_dim, heads = (size_t)cache->kv_heads;
    assert(first + n <= cache->n_chunks * KV_CACHE_CHUNK);
    for (size_t i = 0; i < n; i++) {
        size_t token = (first + i) % KV_CACHE_CHUNK;
        float *base = cache->chunks[(first + i) / KV_CACHE_CHUNK] +
                      (size_t)layer * heads * cache->head_floats;
        for (size_t h = 0; h < heads; h++) {
            float *block = base + h * cache->head_floats;
            float *column = block + token / KERNEL_BLOCK * d * KERNEL_BLOCK + token % KERNEL_BLOCK;
            const float *key = keys + i * stride + h * d;
            for (size_t j = 0; j < d; j++)
                column[j * KERNEL_BLOCK] = key[j];
            memcpy(block + KV_CACHE_CHUNK * d + token * cache->padded, values + i * stride + h * d,
                   d * sizeof(float));
        }
    }
}

void kv_cache_truncate(KvCache *cache, size_t n)
{
    assert(n <= cache->n);
    cache->n = n;
}

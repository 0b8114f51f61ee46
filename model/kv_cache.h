/*
 * Keys and values of one timeline, for all layers, in chunks of KV_CACHE_CHUNK tokens that never
 * move: it grows by chunks, and truncating (a rollback) only lowers the count.
 *
 * Layout of a chunk, f32: for each layer, for each key-value head
 *   keys   [KV_CACHE_CHUNK / 64][head_dim][64]   64 tokens run fastest: a score tile is a product
 *   values [KV_CACHE_CHUNK][padded]              padded = head_dim up to KERNEL_ALIGN, zeros behind
 */
#ifndef WHEN_MODEL_KV_CACHE_H
#define WHEN_MODEL_KV_CACHE_H

#include <stddef.h>

#define KV_CACHE_CHUNK 256

typedef struct KvCache {
    int layers, kv_heads, head_dim;
    size_t padded;       /* floats of one value vector */
    size_t head_floats;  /* keys and values of one head in a chunk */
    size_t chunk_floats; /* all layers and heads */
    float **chunks;      /* [n_chunks] */
    size_t n_chunks, chunks_capacity;
    size_t n; /* tokens that are there */
} KvCache;

void kv_cache_init(KvCache *cache, int layers, int kv_heads, int head_dim);
void kv_cache_deinit(KvCache *cache); /* safe on zeroed */

/* Room for `tokens` altogether. -ENOMEM leaves the cache as it was. */
int kv_cache_reserve(KvCache *cache, size_t tokens);
size_t kv_cache_bytes(const KvCache *cache, size_t tokens); /* that many would take */

/* Writes tokens first .. first + n - 1 of one layer: keys and values [n, kv_heads * head_dim], rows
 * `stride` floats apart. Room must have been reserved. They count once cache->n is raised. */
void kv_cache_put(KvCache *cache, int layer, size_t first, size_t n, const float *keys,
                  const float *values, size_t stride);

/* Forgets all tokens from n on; keeps the memory. */
void kv_cache_truncate(KvCache *cache, size_t n);

#endif

/*
 * Keys and values of one timeline, for all layers, in chunks of KV_CACHE_CHUNK tokens that never
 * move: it grows by chunks, and truncating (a rollback) only lowers the count. A fork shares the
 * chunks of what it was forked from; a chunk is copied when one of those that share it is about to
 * write there. Caches that share chunks belong to one thread.
 *
 * Layout of a chunk: for each layer, for each key-value head, `head_bytes` of
 *   keys   [KV_CACHE_CHUNK / 64][head_dim][64]   64 tokens run fastest: a score tile is a product
 *   values [KV_CACHE_CHUNK][padded]              padded = head_dim up to 32 (f32, bf16: 16)
 * in f32; in bf16 (rounded to nearest), with neighbours of what a product sums side by side:
 *   keys   [KV_CACHE_CHUNK / 64][head_dim / 2][64][2], values [KV_CACHE_CHUNK / 2][padded][2]
 * or as signed bytes with one f32 scale for each token and KV_CACHE_GROUP neighbouring dimensions
 * (largest magnitude / 127):
 *   scales of keys [KV_CACHE_CHUNK / 64][groups][64], of values [KV_CACHE_CHUNK][groups]
 */
#ifndef WHEN_MODEL_KV_CACHE_H
#define WHEN_MODEL_KV_CACHE_H

#include <stddef.h>
#include <stdint.h>

#define KV_CACHE_CHUNK 256
#define KV_CACHE_GROUP 32

typedef enum KvDtype { KV_F32, KV_BF16, KV_INT8 } KvDtype;

typedef struct KvChunk {
    struct KvChunk *next; /* among the spare ones */
    size_t owners;        /* caches that hold it */
    unsigned char *data;  /* [layers][kv_heads][head_bytes], aligned */
} KvChunk;

typedef struct KvCache {
    KvDtype dtype;
    int layers, kv_heads, head_dim;
    size_t padded;                                    /* elements of one value vector */
    size_t groups;                                    /* scales of one vector */
    size_t values_at, key_scales_at, value_scales_at; /* bytes within a head */
    size_t head_bytes, chunk_bytes;                   /* keys and values of one head; of all */
    KvChunk **chunks;                                 /* [n_chunks] */
    size_t n_chunks, chunks_capacity;
    KvChunk *spare; /* were its own, wait for use */
    size_t n;       /* tokens that are there */
} KvCache;

/* head_dim is even. */
void kv_cache_init(KvCache *cache, KvDtype dtype, int layers, int kv_heads, int head_dim);
void kv_cache_deinit(KvCache *cache); /* safe on zeroed */

/* Room for `tokens` altogether, and the right to write behind the n that are there. -ENOMEM leaves
 * the tokens as they were. */
int kv_cache_reserve(KvCache *cache, size_t tokens);
size_t kv_cache_bytes(const KvCache *cache, size_t tokens); /* that many would take */

/* Writes tokens first .. first + n - 1 of one layer: keys and values [n, kv_heads * head_dim], rows
 * `stride` floats apart. Room must have been reserved. They count once cache->n is raised. */
void kv_cache_put(KvCache *cache, int layer, size_t first, size_t n, const float *keys,
                  const float *values, size_t stride);

/* The KERNEL_BLOCK tokens from `token` (a multiple of that) of one layer and head in f32: *keys
 * [head_dim][KERNEL_BLOCK] and *values [KERNEL_BLOCK][padded]. They point into the cache when that
 * is f32, else to room [kv_cache_block_floats()], aligned. What is behind n is finite. */
void kv_cache_block(const KvCache *cache, int layer, int head, size_t token, float *room,
                    const float **keys, const float **values);
size_t kv_cache_block_floats(int head_dim);
/* The same of a cache of bf16, as it lies there: *keys [head_dim / 2][KERNEL_BLOCK][2] and *values
 * [KERNEL_BLOCK / 2][padded][2]. */
void kv_cache_block_pairs(const KvCache *cache, int layer, int head, size_t token,
                          const uint16_t **keys, const uint16_t **values);

/* Forgets all tokens from n on; keeps the memory. */
void kv_cache_truncate(KvCache *cache, size_t n);

/* `to`, made by kv_cache_init with the same sizes, becomes the same as `from`, whatever it was.
 * -ENOMEM: it is as before. */
int kv_cache_fork(KvCache *to, const KvCache *from);

/* How many of the first tokens lie in the same memory in both, thus are the same. */
size_t kv_cache_shared(const KvCache *a, const KvCache *b);

/* Forgets tokens first .. first + n - 1; those behind move up and stay bit for bit what they are.
 * Reads and writes all that is behind. -ENOMEM: as before. */
int kv_cache_remove(KvCache *cache, size_t first, size_t n);

#endif

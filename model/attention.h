/*
 * softmax(q k^T / sqrt(d)) v without ever holding the scores of more than one block of keys: blocks
 * of KERNEL_BLOCK keys, running maximum and sum (flash attention), f32.
 *
 * A row's result depends only on its query and its keys, never on what else is computed with it or
 * by how many threads. An Attention is the scratch of one timeline's thread.
 */
#ifndef WHEN_MODEL_ATTENTION_H
#define WHEN_MODEL_ATTENTION_H

#include "model/kv_cache.h"
#include "model/pool.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Attention Attention;

/* The pool is kept and must outlive it. head_dim: the largest that will come. -ENOMEM. */
int attention_new(Pool *pool, int head_dim, Attention **attention);
void attention_free(Attention *attention);

/* Causal over a cache that already holds the keys of these queries: query i, token first + i, sees
 * tokens 0 .. first + i. q and out [n, heads * head_dim], rows q_stride and out_stride floats
 * apart; heads is a multiple of cache->kv_heads (grouped queries). */
void attention_causal(Attention *attention, const KvCache *cache, int layer, const float *q,
                      size_t q_stride, size_t first, size_t n, int heads, float *out,
                      size_t out_stride);

/* Segments of patches, each over itself: rows begins[i] .. begins[i + 1] - 1 of qkv
 * [n, 3 * heads * head_dim] (q, k, v of all heads side by side). out [n, heads * head_dim]. Rows of
 * other segments are not touched. -ENOMEM. */
int attention_segments(Attention *attention, const float *qkv, const int32_t *begins,
                       size_t n_segments, int heads, int head_dim, float *out);

#endif

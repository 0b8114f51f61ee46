/*
 * softmax(q k^T / sqrt(d)) v without ever holding the scores of more than one block of keys: blocks
 * of KERNEL_BLOCK keys, running maximum and sum (flash attention). In f32; where keys and values
 * are bf16 and the CPU multiplies that, queries and the weights of values are rounded to it too,
 * and sums are f32.
 *
 * A row's result depends only on its query and its keys, never on what else is computed with it or
 * by how many threads: to the last bit. An Attention is the scratch of one timeline's thread.
 */
#ifndef WHEN_MODEL_ATTENTION_H
#define WHEN_MODEL_ATTENTION_H

#include "model/kv_cache.h"
#include "model/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Attention Attention;

/* The pool is kept and must outlive it. head_dim: the largest that will come. -ENOMEM. */
int attention_new(Pool *pool, int head_dim, Attention **attention);
void attention_free(Attention *attention);

/* The queries of one sequence: tokens first .. first + n - 1 of its cache, which already holds
 * their keys. Query i sees tokens 0 .. first + i. */
typedef struct AttentionQueries {
    KvCache *cache;
    size_t first, n;
} AttentionQueries;

/* Causal attention of several sequences, whose queries lie one behind the other in q and out [sum
 * of n, heads * head_dim], rows q_stride and out_stride floats apart; heads is a multiple of
 * kv_heads (grouped queries). What sequences share (kv_cache_fork) is read once for all of them. */
void attention_causal(Attention *attention, const AttentionQueries *sequences, size_t n_sequences,
                      int layer, const float *q, size_t q_stride, int heads, float *out,
                      size_t out_stride);

/* Segments of patches, each over itself: rows begins[i] .. begins[i + 1] - 1 of qkv
 * [n, 3 * heads * head_dim] (q, k, v of all heads side by side). out [n, heads * head_dim]. Rows of
 * other segments are not touched. bf16: keys and values may be rounded, where that is faster.
 * -ENOMEM. */
int attention_segments(Attention *attention, const float *qkv, const int32_t *begins,
                       size_t n_segments, int heads, int head_dim, bool bf16, float *out);

#endif

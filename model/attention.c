/*
 * A tile: up to TILE_ROWS query rows of one key-value head (several tokens times the queries that
 * share it). For each block of 64 keys: scores [rows, 64] = q k, running maximum, exp, and
 * sums [rows, d] += p v; at the end the rows are divided by their sums.
 */
#include "model/attention.h"

#include "base/mem.h"
#include "model/kernels.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum {
    /* A block of keys and values, widened or not, is used for this many rows: more, and the tile
     * leaves L2. */
    TILE_ROWS = 192,
    /* Multiply-adds below which other threads are left asleep. */
    PARALLEL_MACS = 1 << 19
};

/* Scratch of one thread. */
typedef struct Tile {
    float *q;             /* [TILE_ROWS, d] scaled */
    uint16_t *q_bf16;     /* the same, when keys are pairs of bf16 */
    float *scores;        /* [TILE_ROWS, KERNEL_BLOCK] */
    uint16_t *share_bf16; /* exp of them, when values are pairs */
    float *sums;          /* [TILE_ROWS, padded d] */
    void *keys;           /* of a segment, blocks as in Block */
    void *values;
    float *room; /* a block of the cache in f32 */
    float max[TILE_ROWS], total[TILE_ROWS];
    size_t limit[TILE_ROWS]; /* keys that the row sees: 0 .. limit - 1 */
    float *out[TILE_ROWS];
} Tile;

/* KERNEL_BLOCK keys and values: f32 [d][KERNEL_BLOCK] and [KERNEL_BLOCK][padded d], or pairs of
 * bf16, [d / 2][KERNEL_BLOCK][2] and [KERNEL_BLOCK / 2][padded d][2]. */
typedef struct Block {
    const float *keys, *values;
    const uint16_t *key_pairs, *value_pairs; /* NULL: f32 */
} Block;

struct Attention {
    Pool *pool;
    int threads;
    Tile *tiles;                        /* [threads] */
    size_t segment_tokens, segment_dim; /* room of keys and values */
};

static size_t padded_of(size_t d)
{
    return (d + KERNEL_ALIGN - 1) / KERNEL_ALIGN * KERNEL_ALIGN;
}

int attention_new(Pool *pool, int head_dim, Attention **attention)
{
    Attention *a = mem_new_array(1, sizeof *a);
    if (!a)
        return -ENOMEM;
    const int threads = pool_threads(pool);
    a->pool = pool;
    a->threads = threads;
    a->tiles = mem_new_array((size_t)threads, sizeof *a->tiles);
    /* A cache of signed bytes pads to its groups. */
    size_t padded = padded_of((size_t)head_dim) + KV_CACHE_GROUP;
    for (int i = 0; a->tiles && i < threads; i++) {
        Tile *t = &a->tiles[i];
        t->q = mem_new_aligned(TILE_ROWS * padded, sizeof *t->q);
        t->scores = mem_new_aligned(TILE_ROWS * KERNEL_BLOCK, sizeof *t->scores);
        t->sums = mem_new_aligned(TILE_ROWS * padded, sizeof *t->sums);
        t->room = mem_new_aligned(kv_cache_block_floats(head_dim), sizeof *t->room);
        t->q_bf16 = mem_new_aligned(TILE_ROWS * padded, sizeof *t->q_bf16);
        t->share_bf16 = mem_new_aligned(TILE_ROWS * KERNEL_BLOCK, sizeof *t->share_bf16);
        if (!t->q || !t->scores || !t->sums || !t->room || !t->q_bf16 || !t->share_bf16) {
            attention_free(a);
            return -ENOMEM;
        }
    }
    if (!a->tiles) {
        attention_free(a);
        return -ENOMEM;
    }
    *attention = a;
    return 0;
}

void attention_free(Attention *a)
{
    if (!a)
        return;
    for (int i = 0; a->tiles && i < a->threads; i++) {
        free(a->tiles[i].q);
        free(a->tiles[i].scores);
        free(a->tiles[i].sums);
        free(a->tiles[i].room);
        free(a->tiles[i].q_bf16);
        free(a->tiles[i].share_bf16);
        free(a->tiles[i].keys);
        free(a->tiles[i].values);
    }
    free(a->tiles);
    free(a);
}

/* Adds a row of the tile: its query, scaled, where its result goes, and what it sees. */
static void tile_add(Tile *t, size_t row, const float *q, size_t d, float scale, size_t limit,
                     float *out)
{
    for (size_t j = 0; j < d; j++)
        t->q[row * d + j] = q[j] * scale;
    t->limit[row] = limit;
    t->max[row] = -INFINITY;
    t->total[row] = 0;
    t->out[row] = out;
}

/* All rows are there: their queries as the keys are. */
static void tile_ready(Tile *t, size_t rows, size_t d, bool pairs)
{
    if (pairs)
        kernels()->f32_to_bf16(t->q_bf16, t->q, rows * d);
}

/* Rows from .. to - 1: scores of keys begin .. begin + KERNEL_BLOCK - 1 -> their exp, less the
 * running maximum, in bf16 to `share` where values are pairs; zeros for those that the row does not
 * see. The most that one sees. */
static size_t tile_softmax(Tile *t, size_t from, size_t to, size_t padded, size_t begin, bool pairs)
{
    const KernelTable *k = kernels();
    size_t most = 0;
    for (size_t r = from; r < to; r++) {
        float *scores = t->scores + r * KERNEL_BLOCK;
        uint16_t *share = t->share_bf16 + r * KERNEL_BLOCK;
        size_t seen = t->limit[r] > begin ? t->limit[r] - begin : 0;
        seen = seen < KERNEL_BLOCK ? seen : KERNEL_BLOCK;
        most = seen > most ? seen : most;
        float max = seen > 0 ? k->max(scores, seen) : -INFINITY;
        if (max > t->max[r]) {
            if (begin > 0) {
                float shrink = expf(t->max[r] - max);
                k->scale(t->sums + r * padded, shrink, padded);
                t->total[r] *= shrink;
            }
            t->max[r] = max;
        }
        if (pairs) {
            t->total[r] += k->exp_share(share, scores, seen, t->max[r]);
            continue;
        }
        memset(scores + seen, 0, (KERNEL_BLOCK - seen) * sizeof *scores);
        if (seen > 0)
            t->total[r] += k->exp_sum(scores, seen, t->max[r]);
    }
    return most;
}

/* Rows from .. to - 1 with one block of keys: those of `begin` .. begin + KERNEL_BLOCK - 1. */
static void tile_block(Tile *t, size_t from, size_t to, size_t d, size_t padded, size_t begin,
                       const Block *b)
{
    const KernelTable *k = kernels();
    const size_t rows = to - from;
    float *scores = t->scores + from * KERNEL_BLOCK, *sums = t->sums + from * padded;
    if (!b->key_pairs) {
        k->tile(scores, KERNEL_BLOCK, t->q + from * d, d, b->keys, KERNEL_BLOCK, rows, d,
                KERNEL_BLOCK, false);
        const size_t most = tile_softmax(t, from, to, padded, begin, false);
        k->tile(sums, padded, scores, KERNEL_BLOCK, b->values, padded, rows, most, padded,
                begin > 0);
        return;
    }
    k->tile_pairs(scores, KERNEL_BLOCK, t->q_bf16 + from * d, d, b->key_pairs, KERNEL_BLOCK, rows,
                  d, KERNEL_BLOCK, false);
    const size_t most = tile_softmax(t, from, to, padded, begin, true);
    k->tile_pairs(sums, padded, t->share_bf16 + from * KERNEL_BLOCK, KERNEL_BLOCK, b->value_pairs,
                  padded, rows, (most + 1) / 2 * 2, padded, begin > 0);
}

static void tile_end(Tile *t, size_t rows, size_t d, size_t padded)
{
    for (size_t r = 0; r < rows; r++) {
        float *sums = t->sums + r * padded;
        kernels()->scale(sums, 1.0f / t->total[r], d);
        memcpy(t->out[r], sums, d * sizeof *sums);
    }
}

/* What the tiles of one layer share. */
typedef struct Causal {
    Tile *tiles_of;
    const AttentionQueries *sequences;
    size_t shared; /* tokens that all sequences have in common, whole blocks */
    int layer;
    const float *q;
    float *out;
    size_t q_stride, out_stride, n, d, padded, kv_heads;
    size_t group, parts, tokens, tiles; /* queries a key head; cuts of that; tokens a tile */
    float scale;
    bool pairs;
} Causal;

/* Blocks of keys from `begin` to `end` of one cache, for the tile's rows from .. to - 1. */
static void causal_blocks(const Causal *c, Tile *t, const KvCache *cache, size_t head, size_t from,
                          size_t to, size_t begin, size_t end)
{
    for (size_t key = begin; key < end; key += KERNEL_BLOCK) {
        Block b = {0};
        if (c->pairs)
            kv_cache_block_pairs(cache, c->layer, (int)head, key, &b.key_pairs, &b.value_pairs);
        else
            kv_cache_block(cache, c->layer, (int)head, key, t->room, &b.keys, &b.values);
        tile_block(t, from, to, c->d, c->padded, key, &b);
    }
}

static void causal_tile(void *user, size_t item, int thread)
{
    const Causal *c = user;
    Tile *t = &c->tiles_of[thread];
    size_t head = item % c->kv_heads, part = item / c->kv_heads % c->parts;
    /* The last tiles are the longest: first. */
    size_t begin = (c->tiles - 1 - item / c->kv_heads / c->parts) * c->tokens;
    size_t end = begin + c->tokens < c->n ? begin + c->tokens : c->n;
    size_t from = part * TILE_ROWS;
    size_t to = from + TILE_ROWS < c->group ? from + TILE_ROWS : c->group;
    /* The sequence of the first token, and its first row. */
    const AttentionQueries *s = c->sequences;
    size_t s_begin = 0, rows = 0;
    for (; s_begin + s->n <= begin; s++)
        s_begin += s->n;

    const AttentionQueries *s_of = s;
    for (size_t i = begin, at = s_begin; i < end; i++) {
        for (; at + s_of->n <= i; s_of++)
            at += s_of->n;
        for (size_t g = from; g < to; g++) {
            size_t column = (head * c->group + g) * c->d;
            tile_add(t, rows++, c->q + i * c->q_stride + column, c->d, c->scale,
                     s_of->first + (i - at) + 1, c->out + i * c->out_stride + column);
        }
    }
    tile_ready(t, rows, c->d, c->pairs);
    causal_blocks(c, t, s->cache, head, 0, rows, 0, c->shared);
    for (size_t row = 0; row < rows; s++) {
        size_t last = s_begin + s->n < end ? s_begin + s->n : end;
        size_t until = (last - begin) * (to - from);
        causal_blocks(c, t, s->cache, head, row, until, c->shared, s->first + (last - s_begin));
        row = until;
        s_begin += s->n;
    }
    tile_end(t, rows, c->d, c->padded);
}

/* Items one after another in this thread: for work too small to wake others. */
static void run_alone(size_t items, void (*work)(void *, size_t, int), void *user)
{
    for (size_t i = 0; i < items; i++)
        work(user, i, 0);
}

/* Blocks that are the same memory in all sequences, and before every query. */
static size_t shared_tokens(const AttentionQueries *sequences, size_t n)
{
    size_t shared = sequences[0].first;
    for (size_t i = 1; i < n; i++) {
        size_t common = kv_cache_shared(sequences[0].cache, sequences[i].cache);
        shared = common < shared ? common : shared;
        shared = sequences[i].first < shared ? sequences[i].first : shared;
    }
    return n > 1 ? shared / KERNEL_BLOCK * KERNEL_BLOCK : 0;
}

void attention_causal(Attention *a, const AttentionQueries *sequences, size_t n_sequences,
                      int layer, const float *q, size_t q_stride, int heads, float *out,
                      size_t out_stride)
{
    const KvCache *cache = sequences[0].cache;
    Causal c = {.tiles_of = a->tiles,
                .sequences = sequences,
                .shared = shared_tokens(sequences, n_sequences),
                .layer = layer,
                .q = q,
                .out = out,
                .q_stride = q_stride,
                .out_stride = out_stride,
                .d = (size_t)cache->head_dim,
                .padded = cache->padded,
                .kv_heads = (size_t)cache->kv_heads,
                .group = (size_t)heads / (size_t)cache->kv_heads,
                .scale = 1.0f / sqrtf((float)cache->head_dim),
                .pairs = cache->dtype == KV_BF16 && kernels()->tile_pairs};
    size_t scores = 0;
    for (size_t i = 0; i < n_sequences; i++) {
        c.n += sequences[i].n;
        scores += (sequences[i].first + sequences[i].n) * sequences[i].n;
    }
    c.tokens = c.group < TILE_ROWS ? TILE_ROWS / c.group : 1;
    c.tiles = (c.n + c.tokens - 1) / c.tokens;
    /* A group of more queries than a tile has rows is cut. */
    c.parts = (c.group + TILE_ROWS - 1) / TILE_ROWS;
    size_t items = c.tiles * c.kv_heads * c.parts;
    if (scores * (size_t)heads * c.d < PARALLEL_MACS)
        run_alone(items, causal_tile, &c);
    else
        pool_run(a->pool, items, causal_tile, &c);
}

/* Room for the keys and values of the longest segment, in every thread. */
static int segment_room(Attention *a, size_t tokens, size_t d)
{
    if (tokens <= a->segment_tokens && d <= a->segment_dim)
        return 0;
    size_t blocks = (tokens + KERNEL_BLOCK - 1) / KERNEL_BLOCK * KERNEL_BLOCK;
    for (int i = 0; i < a->threads; i++) {
        Tile *t = &a->tiles[i];
        free(t->keys);
        free(t->values);
        t->keys = mem_new_aligned(blocks * d, sizeof(float));
        t->values = mem_new_aligned(blocks * padded_of(d), sizeof(float));
        if (!t->keys || !t->values) {
            a->segment_tokens = 0;
            return -ENOMEM;
        }
    }
    a->segment_tokens = blocks;
    a->segment_dim = d;
    return 0;
}

/* Keys of one head to blocks, values to padded rows; zeros where there is nothing. */
static void segment_pack(Tile *t, const float *keys, const float *values, size_t stride, size_t n,
                         size_t d, size_t padded)
{
    size_t room = (n + KERNEL_BLOCK - 1) / KERNEL_BLOCK * KERNEL_BLOCK;
    float *to_keys = t->keys, *to_values = t->values;
    for (size_t i = 0; i < room; i++) {
        float *column = to_keys + i / KERNEL_BLOCK * d * KERNEL_BLOCK + i % KERNEL_BLOCK;
        for (size_t j = 0; j < d; j++)
            column[j * KERNEL_BLOCK] = i < n ? keys[i * stride + j] : 0;
        float *row = to_values + i * padded;
        if (i < n)
            memcpy(row, values + i * stride, d * sizeof *row);
        memset(row + (i < n ? d : 0), 0, (padded - (i < n ? d : 0)) * sizeof *row);
    }
}

/* Row i, or zeros behind the last, in bf16; d is even. */
static void segment_row(uint16_t *line, const float *rows, size_t stride, size_t i, size_t n,
                        size_t d)
{
    if (i < n)
        kernels()->f32_to_bf16(line, rows + i * stride, d);
    else
        memset(line, 0, d * sizeof *line);
}

/* The same in pairs of bf16: of a key's neighbours, and of two values' same places. */
static void segment_pack_pairs(Tile *t, const float *keys, const float *values, size_t stride,
                               size_t n, size_t d, size_t padded)
{
    const size_t room = (n + KERNEL_BLOCK - 1) / KERNEL_BLOCK * KERNEL_BLOCK;
    uint16_t *to_keys = t->keys, *to_values = t->values;
    uint16_t *even = t->q_bf16, *odd = even + padded; /* free until there are queries */
    for (size_t i = 0; i < room; i++) {
        uint16_t *column = to_keys + i / KERNEL_BLOCK * d * KERNEL_BLOCK + i % KERNEL_BLOCK * 2;
        segment_row(even, keys, stride, i, n, d);
        for (size_t j = 0; j < d; j += 2)
            memcpy(column + j * KERNEL_BLOCK, even + j, 2 * sizeof *even);
    }
    for (size_t i = 0; i < room; i += 2) {
        uint16_t *row = to_values + i * padded;
        segment_row(even, values, stride, i, n, d);
        segment_row(odd, values, stride, i + 1, n, d);
        for (size_t j = 0; j < d; j++) {
            row[2 * j] = even[j];
            row[2 * j + 1] = odd[j];
        }
        memset(row + 2 * d, 0, 2 * (padded - d) * sizeof *row);
    }
}

typedef struct Segments {
    Tile *tiles_of;
    const float *qkv;
    const int32_t *begins;
    float *out;
    size_t heads, d;
    bool pairs;
} Segments;

/* The packed block that begins with key `key`. */
static Block segment_block(const Tile *t, size_t key, size_t d, size_t padded, bool pairs)
{
    if (pairs)
        return (Block){.key_pairs = (const uint16_t *)t->keys + key * d,
                       .value_pairs = (const uint16_t *)t->values + key * padded};
    return (Block){.keys = (const float *)t->keys + key * d,
                   .values = (const float *)t->values + key * padded};
}

/* One head of one segment. */
static void segment_head(void *user, size_t item, int thread)
{
    const Segments *s = user;
    const size_t d = s->d, padded = padded_of(d), width = s->heads * d, stride = 3 * width;
    const float scale = 1.0f / sqrtf((float)d);
    Tile *t = &s->tiles_of[thread];
    size_t segment = item / s->heads, at = item % s->heads * d;
    size_t begin = (size_t)s->begins[segment], n = (size_t)s->begins[segment + 1] - begin;
    const float *rows = s->qkv + begin * stride + at;
    (s->pairs ? segment_pack_pairs : segment_pack)(t, rows + width, rows + 2 * width, stride, n, d,
                                                   padded);
    for (size_t i = 0; i < n; i += TILE_ROWS) {
        size_t count = n - i < TILE_ROWS ? n - i : TILE_ROWS;
        for (size_t j = 0; j < count; j++)
            tile_add(t, j, rows + (i + j) * stride, d, scale, n,
                     s->out + (begin + i + j) * width + at);
        tile_ready(t, count, d, s->pairs);
        for (size_t key = 0; key < n; key += KERNEL_BLOCK) {
            const Block b = segment_block(t, key, d, padded, s->pairs);
            tile_block(t, 0, count, d, padded, key, &b);
        }
        tile_end(t, count, d, padded);
    }
}

int attention_segments(Attention *a, const float *qkv, const int32_t *begins, size_t n_segments,
                       int heads, int head_dim, bool bf16, float *out)
{
    Segments s = {.tiles_of = a->tiles,
                  .pairs = bf16 && kernels()->tile_pairs && head_dim % 2 == 0,
                  .qkv = qkv,
                  .begins = begins,
                  .out = out,
                  .heads = (size_t)heads,
                  .d = (size_t)head_dim};
    size_t longest = 0, macs = 0;
    for (size_t i = 0; i < n_segments; i++) {
        size_t n = (size_t)(begins[i + 1] - begins[i]);
        longest = n > longest ? n : longest;
        macs += 2 * n * n * s.heads * s.d;
    }
    int r = segment_room(a, longest, s.d);
    if (r < 0)
        return r;
    if (macs < PARALLEL_MACS)
        run_alone(n_segments * s.heads, segment_head, &s);
    else
        pool_run(a->pool, n_segments * s.heads, segment_head, &s);
    return 0;
}

/* The layout that attention reads, growth without moving, and truncation. */
#include "model/kernels.h"
#include "model/kv_cache.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 2, HEADS = 3, DIM = 20, ROW = HEADS * DIM };

/* A value that says where it belongs. */
static float mark(int layer, size_t token, size_t at, bool key)
{
    return (float)(layer * 1000000 + (int)token * 1000 + (int)at) * (key ? 1.0f : -1.0f);
}

static void put(KvCache *cache, size_t first, size_t n)
{
    float *keys = calloc(n * (ROW + 7), sizeof *keys);
    float *values = calloc(n * (ROW + 7), sizeof *values);
    assert_true(keys && values);
    for (int layer = 0; layer < LAYERS; layer++) {
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < ROW; j++) {
                keys[i * (ROW + 7) + j] = mark(layer, first + i, j, true);
                values[i * (ROW + 7) + j] = mark(layer, first + i, j, false);
            }
        kv_cache_put(cache, layer, first, n, keys, values, ROW + 7);
    }
    free(keys);
    free(values);
    cache->n = first + n;
}

/* Tokens 0 .. n - 1 are those with the names from[token]; NULL: their own. */
static void check_names(const KvCache *cache, size_t n, const size_t *from)
{
    float *room = aligned_alloc(64, kv_cache_block_floats(DIM) * sizeof *room);
    assert_non_null(room);
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t h = 0; h < HEADS; h++)
            for (size_t t = 0; t < n; t++) {
                const float *keys, *values;
                size_t in = t % KERNEL_BLOCK, name = from ? from[t] : t;
                kv_cache_block(cache, layer, (int)h, t - in, room, &keys, &values);
                for (size_t j = 0; j < DIM; j++) {
                    assert_true(keys[j * KERNEL_BLOCK + in] ==
                                mark(layer, name, h * DIM + j, true));
                    assert_true(values[in * cache->padded + j] ==
                                mark(layer, name, h * DIM + j, false));
                }
                for (size_t j = DIM; j < cache->padded; j++)
                    assert_true(values[in * cache->padded + j] == 0);
            }
    free(room);
}

static void check(const KvCache *cache, size_t n)
{
    check_names(cache, n, NULL);
}

static void test_put(void **state)
{
    (void)state;
    KvCache cache;
    kv_cache_init(&cache, KV_F32, LAYERS, HEADS, DIM);
    assert_int_equal(cache.padded, 32);
    /* One by one, across a block's and a chunk's border, in pieces. */
    assert_int_equal(kv_cache_reserve(&cache, 3), 0);
    put(&cache, 0, 3);
    const KvChunk *first = cache.chunks[0];
    assert_int_equal(kv_cache_reserve(&cache, 600), 0);
    put(&cache, 3, 60);
    put(&cache, 63, 1);
    put(&cache, 64, 1);
    put(&cache, 65, 400);
    assert_ptr_equal(cache.chunks[0], first);
    assert_int_equal(cache.n_chunks, 3);
    check(&cache, 465);
    kv_cache_deinit(&cache);
}

static void test_truncate(void **state)
{
    (void)state;
    KvCache cache;
    kv_cache_init(&cache, KV_F32, LAYERS, HEADS, DIM);
    assert_int_equal(kv_cache_reserve(&cache, 300), 0);
    put(&cache, 0, 300);
    kv_cache_truncate(&cache, 100);
    assert_int_equal(cache.n, 100);
    assert_int_equal(cache.n_chunks, 2); /* kept for what comes */
    put(&cache, 100, 157);
    check(&cache, 257);
    kv_cache_truncate(&cache, 0);
    assert_int_equal(cache.n, 0);
    kv_cache_deinit(&cache);
    kv_cache_deinit(&cache); /* safe twice */
}

/* What one writes, the other does not see, whoever writes first; and a fork is used again. */
static void test_fork(void **state)
{
    (void)state;
    KvCache a, b;
    kv_cache_init(&a, KV_F32, LAYERS, HEADS, DIM);
    kv_cache_init(&b, KV_F32, LAYERS, HEADS, DIM);
    assert_int_equal(kv_cache_reserve(&a, 300), 0);
    put(&a, 0, 300);
    for (int again = 0; again < 3; again++) {
        assert_int_equal(kv_cache_fork(&b, &a), 0);
        assert_int_equal(kv_cache_shared(&a, &b), a.n);
        assert_ptr_equal(a.chunks[0], b.chunks[0]);
        check(&b, 300);
        kv_cache_truncate(&b, 270);
        assert_int_equal(kv_cache_reserve(&b, 290), 0);
        float *other = calloc(20 * ROW, sizeof *other);
        assert_non_null(other);
        for (int layer = 0; layer < LAYERS; layer++)
            kv_cache_put(&b, layer, 270, 20, other, other, ROW);
        b.n = 290;
        free(other);
        assert_int_equal(kv_cache_shared(&a, &b), KV_CACHE_CHUNK);
        check(&a, 300);
        check(&b, 270);
    }
    /* The one that was forked writes into a chunk that its fork still reads. */
    assert_int_equal(kv_cache_fork(&b, &a), 0);
    kv_cache_truncate(&a, 100);
    assert_int_equal(kv_cache_reserve(&a, 101), 0);
    float *other = calloc(ROW, sizeof *other);
    assert_non_null(other);
    kv_cache_put(&a, 0, 100, 1, other, other, ROW);
    free(other);
    check(&b, 300);
    kv_cache_deinit(&a);
    check(&b, 300);
    kv_cache_deinit(&b);
}

static void test_remove(void **state)
{
    (void)state;
    static const KvDtype DTYPES[] = {KV_F32, KV_BF16, KV_INT8};
    /* In every type the tokens behind are bit for bit what they were. */
    for (size_t i = 0; i < 3; i++) {
        KvCache a, b;
        kv_cache_init(&a, DTYPES[i], LAYERS, HEADS, DIM);
        kv_cache_init(&b, DTYPES[i], LAYERS, HEADS, DIM);
        assert_int_equal(kv_cache_reserve(&a, 700), 0);
        put(&a, 0, 700);
        assert_int_equal(kv_cache_fork(&b, &a), 0);
        assert_int_equal(kv_cache_remove(&b, 70, 0), 0);
        assert_int_equal(b.n, 700);
        assert_int_equal(kv_cache_remove(&b, 70, 333), 0);
        assert_int_equal(b.n, 367);
        float *room = aligned_alloc(64, 2 * kv_cache_block_floats(DIM) * sizeof *room);
        assert_non_null(room);
        for (int layer = 0; layer < LAYERS; layer++)
            for (int h = 0; h < HEADS; h++)
                for (size_t t = 0; t < b.n; t++) {
                    const float *k[2], *v[2];
                    size_t was = t < 70 ? t : t + 333, in = t % KERNEL_BLOCK;
                    size_t was_in = was % KERNEL_BLOCK;
                    kv_cache_block(&b, layer, h, t - in, room, &k[0], &v[0]);
                    kv_cache_block(&a, layer, h, was - was_in, room + kv_cache_block_floats(DIM),
                                   &k[1], &v[1]);
                    for (size_t j = 0; j < DIM; j++) {
                        assert_true(k[0][j * KERNEL_BLOCK + in] == k[1][j * KERNEL_BLOCK + was_in]);
                        assert_true(v[0][in * b.padded + j] == v[1][was_in * a.padded + j]);
                    }
                }
        free(room);
        if (DTYPES[i] == KV_F32)
            check(&a, 700); /* what it was forked from has all */
        kv_cache_deinit(&a);
        kv_cache_deinit(&b);
    }
}

/* A value comes back within half a step of its type. */
static void test_precision(void **state)
{
    (void)state;
    enum { N = 100 };
    float *keys = malloc(N * ROW * sizeof *keys), *values = malloc(N * ROW * sizeof *values);
    float *room = aligned_alloc(64, kv_cache_block_floats(DIM) * sizeof *room);
    assert_true(keys && values && room);
    for (size_t i = 0; i < N * ROW; i++) {
        keys[i] = sinf((float)i) * (i % 7 == 0 ? 40.0f : 1.0f);
        values[i] = i / ROW == 50 ? 0 : cosf((float)i * 1.7f);
    }
    for (int dtype = KV_BF16; dtype <= KV_INT8; dtype++) {
        KvCache cache;
        kv_cache_init(&cache, (KvDtype)dtype, 1, HEADS, DIM);
        assert_int_equal(kv_cache_reserve(&cache, N), 0);
        kv_cache_put(&cache, 0, 0, N, keys, values, ROW);
        for (size_t h = 0; h < HEADS; h++)
            for (size_t t = 0; t < N; t++) {
                const float *k, *v;
                size_t in = t % KERNEL_BLOCK;
                kv_cache_block(&cache, 0, (int)h, t - in, room, &k, &v);
                float largest[2] = {0};
                for (size_t j = 0; j < DIM; j++) {
                    largest[0] = fmaxf(largest[0], fabsf(keys[t * ROW + h * DIM + j]));
                    largest[1] = fmaxf(largest[1], fabsf(values[t * ROW + h * DIM + j]));
                }
                for (size_t j = 0; j < DIM; j++) {
                    float key = keys[t * ROW + h * DIM + j], value = values[t * ROW + h * DIM + j];
                    float step[2] = {fabsf(key) / 128, fabsf(value) / 128};
                    if (dtype == KV_INT8) {
                        step[0] = largest[0] / 127;
                        step[1] = largest[1] / 127;
                    }
                    assert_true(fabsf(k[j * KERNEL_BLOCK + in] - key) <= 0.5001f * step[0]);
                    assert_true(fabsf(v[in * cache.padded + j] - value) <= 0.5001f * step[1]);
                }
            }
        kv_cache_deinit(&cache);
    }
    free(keys);
    free(values);
    free(room);
}

static void test_bytes(void **state)
{
    (void)state;
    KvCache cache;
    kv_cache_init(&cache, KV_F32, 36, 2, 128);
    assert_int_equal(kv_cache_bytes(&cache, 0), 0);
    assert_int_equal(kv_cache_bytes(&cache, 1), kv_cache_bytes(&cache, KV_CACHE_CHUNK));
    /* 3B: 36 layers, 2 heads of 128, keys and values, 4 bytes */
    assert_int_equal(kv_cache_bytes(&cache, 1024), 1024 * 36 * 2 * 2 * 128 * 4);
    kv_cache_deinit(&cache);
    kv_cache_init(&cache, KV_BF16, 36, 2, 128);
    assert_int_equal(kv_cache_bytes(&cache, 1024), 1024 * 36864);
    kv_cache_deinit(&cache);
    /* One scale of 4 bytes for 32 of one byte. */
    kv_cache_init(&cache, KV_INT8, 36, 2, 128);
    assert_int_equal(kv_cache_bytes(&cache, 1024), 1024 * (36864 / 2) * 9 / 8);
    kv_cache_deinit(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put),       cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_fork),      cmocka_unit_test(test_remove),
        cmocka_unit_test(test_precision), cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The layout that attention reads, growth without moving, and truncation. */
#include "model/kernels.h"
#include "model/kv_cache.h"

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

static void check(const KvCache *cache, size_t n)
{
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t h = 0; h < HEADS; h++)
            for (size_t t = 0; t < n; t++) {
                const float *base = cache->chunks[t / KV_CACHE_CHUNK] +
                                    ((size_t)layer * HEADS + h) * cache->head_floats;
                size_t in = t % KV_CACHE_CHUNK;
                for (size_t j = 0; j < DIM; j++) {
                    float key = base[in / KERNEL_BLOCK * DIM * KERNEL_BLOCK + j * KERNEL_BLOCK +
                                     in % KERNEL_BLOCK];
                    float value = base[KV_CACHE_CHUNK * DIM + in * cache->padded + j];
                    assert_true(key == mark(layer, t, h * DIM + j, true));
                    assert_true(value == mark(layer, t, h * DIM + j, false));
                }
                for (size_t j = DIM; j < cache->padded; j++)
                    assert_true(base[KV_CACHE_CHUNK * DIM + in * cache->padded + j] == 0);
            }
}

static void test_put(void **state)
{
    (void)state;
    KvCache cache;
    kv_cache_init(&cache, LAYERS, HEADS, DIM);
    assert_int_equal(cache.padded, 32);
    /* One by one, across a block's and a chunk's border, in pieces. */
    assert_int_equal(kv_cache_reserve(&cache, 3), 0);
    put(&cache, 0, 3);
    const float *first = cache.chunks[0];
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
    kv_cache_init(&cache, LAYERS, HEADS, DIM);
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

static void test_bytes(void **state)
{
    (void)state;
    KvCache cache;
    kv_cache_init(&cache, 36, 2, 128);
    assert_int_equal(kv_cache_bytes(&cache, 0), 0);
    assert_int_equal(kv_cache_bytes(&cache, 1), kv_cache_bytes(&cache, KV_CACHE_CHUNK));
    /* 3B: 36 layers, 2 heads of 128, keys and values, 4 bytes */
    assert_int_equal(kv_cache_bytes(&cache, 1024), 1024 * 36 * 2 * 2 * 128 * 4);
    kv_cache_deinit(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

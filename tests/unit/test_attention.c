/* Blockwise attention against the definition in double precision. */
#include "model/attention.h"
#include "model/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float value_at(size_t i)
{
    uint32_t x = (uint32_t)i * 2654435761u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return (float)x / 4294967296.0f * 2 - 1;
}

static float *values(size_t n, size_t seed, float scale)
{
    float *v = malloc(n * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < n; i++)
        v[i] = value_at(i + seed * 1000003) * scale;
    return v;
}

/* One query over keys and values rows `stride` apart. */
static void reference(double *out, const float *q, const float *keys, const float *vals,
                      size_t stride, size_t n, size_t d)
{
    double *p = malloc(n * sizeof *p);
    assert_non_null(p);
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) {
        p[i] = 0;
        for (size_t j = 0; j < d; j++)
            p[i] += (double)q[j] * (double)keys[i * stride + j];
        p[i] /= sqrt((double)d);
        max = p[i] > max ? p[i] : max;
    }
    for (size_t i = 0; i < n; i++)
        sum += p[i] = exp(p[i] - max);
    for (size_t j = 0; j < d; j++) {
        out[j] = 0;
        for (size_t i = 0; i < n; i++)
            out[j] += p[i] / sum * (double)vals[i * stride + j];
    }
    free(p);
}

static void check_within(double tolerance, const float *got, const double *want, size_t d,
                         const char *what, size_t row)
{
    for (size_t j = 0; j < d; j++)
        if (!(fabs((double)got[j] - want[j]) < tolerance))
            fail_msg("%s: row %zu, element %zu is %.8g, expected %.8g", what, row, j,
                     (double)got[j], want[j]);
}

static void check(const float *got, const double *want, size_t d, const char *what, size_t row)
{
    check_within(1e-5, got, want, d, what, row);
}

/* n tokens in pieces: each piece's queries over all that is there by then. */
static void causal(int heads, int kv_heads, int dim, int threads, size_t piece)
{
    const size_t n = 331, d = (size_t)dim, h = (size_t)heads, g = h / (size_t)kv_heads;
    const size_t kv = (size_t)kv_heads * d, layer = 1;
    float *q = values(n * h * d, 1, 4), *k = values(n * kv, 2, 4), *v = values(n * kv, 3, 1);
    float *out = values(n * h * d, 4, 1);
    KvCache cache;
    Attention *attention = NULL;
    kv_cache_init(&cache, KV_F32, 2, kv_heads, dim);
    Pool *pool = NULL;
    assert_int_equal(pool_new(threads, &pool), 0);
    assert_int_equal(attention_new(pool, dim, &attention), 0);
    assert_int_equal(kv_cache_reserve(&cache, n), 0);
    for (size_t at = 0; at < n; at += piece) {
        size_t count = n - at < piece ? n - at : piece;
        kv_cache_put(&cache, (int)layer, at, count, k + at * kv, v + at * kv, kv);
        AttentionQueries some = {&cache, at, count};
        attention_causal(attention, &some, 1, (int)layer, q + at * h * d, h * d, heads,
                         out + at * h * d, h * d);
        cache.n = at + count;
    }
    double want[128];
    for (size_t i = 0; i < n; i += 1 + i / 3)
        for (size_t head = 0; head < h; head++) {
            reference(want, q + (i * h + head) * d, k + head / g * d, v + head / g * d, kv, i + 1,
                      d);
            check(out + (i * h + head) * d, want, d, "causal", i);
        }
    attention_free(attention);
    pool_free(pool);
    kv_cache_deinit(&cache);
    free(q);
    free(k);
    free(v);
    free(out);
}

static void test_causal(void **state)
{
    (void)state;
    causal(6, 3, 32, 2, 331);
    causal(6, 2, 16, 1, 100);
    causal(5, 1, 32, 3, 64);
    causal(16, 2, 128, 2, 331);
    causal(40, 1, 20, 2, 33); /* more queries a key head than a tile has rows */
    causal(4, 4, 20, 1, 1);   /* token after token */
}

/* A token's result has the same bits alone and among others. */
static void test_alone(void **state)
{
    (void)state;
    enum { N = 150, D = 32, H = 4 };
    float *q = values((size_t)N * H * D, 5, 2), *k = values((size_t)N * D, 6, 2);
    float *together = values((size_t)N * H * D, 7, 1), *alone = values((size_t)N * H * D, 8, 1);
    KvCache cache;
    Attention *attention = NULL;
    kv_cache_init(&cache, KV_F32, 1, 1, D);
    Pool *pool = NULL;
    assert_int_equal(pool_new(2, &pool), 0);
    assert_int_equal(attention_new(pool, D, &attention), 0);
    assert_int_equal(kv_cache_reserve(&cache, N), 0);
    kv_cache_put(&cache, 0, 0, N, k, k, D);
    AttentionQueries all = {&cache, 0, N};
    attention_causal(attention, &all, 1, 0, q, H * D, H, together, H * D);
    for (size_t i = 0; i < N; i++) {
        AttentionQueries one = {&cache, i, 1};
        attention_causal(attention, &one, 1, 0, q + i * H * D, H * D, H, alone + i * H * D, H * D);
    }
    assert_memory_equal(together, alone, sizeof(float) * N * H * D);
    attention_free(attention);
    pool_free(pool);
    kv_cache_deinit(&cache);
    free(q);
    free(k);
    free(together);
    free(alone);
}

/* Three sequences that share 300 tokens, then differ, all at once: the same bits as each alone, and
 * the definition. In every type of cache, as exact as that type is. */
static void forks(KvDtype dtype, double tolerance)
{
    enum { SHARED = 300, D = 36, H = 6, KV = 2, MANY = 3 };
    static const size_t MORE[MANY] = {1, 70, 9};
    const size_t total = SHARED + 70;
    Pool *pool = NULL;
    Attention *attention = NULL;
    assert_int_equal(pool_new(2, &pool), 0);
    assert_int_equal(attention_new(pool, D, &attention), 0);
    KvCache caches[MANY];
    float *k[MANY], *v[MANY];
    AttentionQueries queries[MANY];
    size_t rows = 0;
    for (size_t s = 0; s < MANY; s++) {
        kv_cache_init(&caches[s], dtype, 1, KV, D);
        k[s] = values(total * KV * D, 20, 2);
        v[s] = values(total * KV * D, 21, 1);
        if (s == 0) {
            assert_int_equal(kv_cache_reserve(&caches[0], SHARED), 0);
            kv_cache_put(&caches[0], 0, 0, SHARED, k[0], v[0], KV * D);
            caches[0].n = SHARED;
        } else {
            assert_int_equal(kv_cache_fork(&caches[s], &caches[0]), 0);
        }
    }
    for (size_t s = 0; s < MANY; s++) {
        float *own = values(70 * KV * D, 30 + s, 2);
        memcpy(k[s] + SHARED * KV * D, own, 70 * KV * D * sizeof *own);
        memcpy(v[s] + SHARED * KV * D, own, 70 * KV * D * sizeof *own);
        assert_int_equal(kv_cache_reserve(&caches[s], SHARED + MORE[s]), 0);
        kv_cache_put(&caches[s], 0, SHARED, MORE[s], own, own, KV * D);
        queries[s] = (AttentionQueries){&caches[s], SHARED, MORE[s]};
        rows += MORE[s];
        free(own);
    }
    assert_int_equal(kv_cache_shared(&caches[0], &caches[2]), KV_CACHE_CHUNK);
    float *q = values(rows * H * D, 40, 2), *out = values(rows * H * D, 41, 1);
    float *alone = values(rows * H * D, 42, 1);
    attention_causal(attention, queries, MANY, 0, q, H * D, H, out, H * D);
    double want[64];
    for (size_t s = 0, row = 0; s < MANY; row += MORE[s], s++) {
        attention_causal(attention, &queries[s], 1, 0, q + row * H * D, H * D, H,
                         alone + row * H * D, H * D);
        for (size_t i = 0; i < MORE[s]; i++)
            for (size_t h = 0; h < H; h++) {
                const float *got = out + ((row + i) * H + h) * D;
                reference(want, q + ((row + i) * H + h) * D, k[s] + h / (H / KV) * D,
                          v[s] + h / (H / KV) * D, KV * D, SHARED + i + 1, D);
                for (size_t j = 0; j < D; j++)
                    if (!(fabs((double)got[j] - want[j]) < tolerance))
                        fail_msg("type %d, sequence %zu, row %zu: %.8g, expected %.8g", (int)dtype,
                                 s, i, (double)got[j], want[j]);
            }
    }
    assert_memory_equal(out, alone, rows * H * D * sizeof *out);
    for (size_t s = 0; s < MANY; s++) {
        kv_cache_deinit(&caches[s]);
        free(k[s]);
        free(v[s]);
    }
    attention_free(attention);
    pool_free(pool);
    free(q);
    free(out);
    free(alone);
}

static void test_forks(void **state)
{
    (void)state;
    forks(KV_F32, 1e-5);
    forks(KV_BF16, 3e-2);
    forks(KV_INT8, 5e-2);
}

/* bf16: inputs that are bf16 already, so that where attention rounds only the weights of the values
 * are off, by 2^-9 of each, and queries where their scale is no power of two. */
static void segments(int heads, int dim, int threads, bool bf16, double tolerance)
{
    const int32_t begins[] = {0, 64, 80, 84, 84 + 200, 84 + 201};
    const size_t n = 285, d = (size_t)dim, width = (size_t)heads * d;
    float *qkv = values(n * 3 * width, 9, 3), *out = values(n * width, 10, 1);
    for (size_t i = 0; bf16 && i < n * 3 * width; i++)
        qkv[i] = kernel_bf16(kernel_to_bf16(qkv[i]));
    Attention *attention = NULL;
    Pool *pool = NULL;
    assert_int_equal(pool_new(threads, &pool), 0);
    assert_int_equal(attention_new(pool, dim, &attention), 0);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(attention_segments(attention, qkv, begins, 5, heads, dim, bf16, out), 0);
        double want[128];
        for (size_t s = 0; s < 5; s++)
            for (size_t i = (size_t)begins[s]; i < (size_t)begins[s + 1]; i += 7)
                for (size_t h = 0; h < (size_t)heads; h++) {
                    size_t begin = (size_t)begins[s], count = (size_t)begins[s + 1] - begin;
                    const float *rows = qkv + begin * 3 * width + h * d;
                    reference(want, qkv + i * 3 * width + h * d, rows + width, rows + 2 * width,
                              3 * width, count, d);
                    check_within(tolerance, out + i * width + h * d, want, d, "segments", i);
                }
    }
    attention_free(attention);
    pool_free(pool);
    free(qkv);
    free(out);
}

static void test_segments(void **state)
{
    (void)state;
    segments(4, 16, 2, false, 1e-5);
    segments(4, 20, 1, false, 1e-5);
    segments(3, 32, 3, false, 1e-5);
    segments(2, 80, 2, false, 1e-5);
    segments(4, 16, 2, true, 6e-3);
    segments(2, 64, 3, true, 6e-3);
    segments(2, 80, 2, true, 3e-2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_causal),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_forks),
        cmocka_unit_test(test_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Blockwise attention against the definition in double precision. */
#include "model/attention.h"
#include "model/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
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

static void check(const float *got, const double *want, size_t d, const char *what, size_t row)
{
    for (size_t j = 0; j < d; j++)
        if (!(fabs((double)got[j] - want[j]) < 1e-5))
            fail_msg("%s: row %zu, element %zu is %.8g, expected %.8g", what, row, j,
                     (double)got[j], want[j]);
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
    kv_cache_init(&cache, 2, kv_heads, dim);
    Pool *pool = NULL;
    assert_int_equal(pool_new(threads, &pool), 0);
    assert_int_equal(attention_new(pool, dim, &attention), 0);
    assert_int_equal(kv_cache_reserve(&cache, n), 0);
    for (size_t at = 0; at < n; at += piece) {
        size_t count = n - at < piece ? n - at : piece;
        kv_cache_put(&cache, (int)layer, at, count, k + at * kv, v + at * kv, kv);
        attention_causal(attention, &cache, (int)layer, q + at * h * d, h * d, at, count, heads,
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
    kv_cache_init(&cache, 1, 1, D);
    Pool *pool = NULL;
    assert_int_equal(pool_new(2, &pool), 0);
    assert_int_equal(attention_new(pool, D, &attention), 0);
    assert_int_equal(kv_cache_reserve(&cache, N), 0);
    kv_cache_put(&cache, 0, 0, N, k, k, D);
    attention_causal(attention, &cache, 0, q, H * D, 0, N, H, together, H * D);
    for (size_t i = 0; i < N; i++)
        attention_causal(attention, &cache, 0, q + i * H * D, H * D, i, 1, H, alone + i * H * D,
                         H * D);
    assert_memory_equal(together, alone, sizeof(float) * N * H * D);
    attention_free(attention);
    pool_free(pool);
    kv_cache_deinit(&cache);
    free(q);
    free(k);
    free(together);
    free(alone);
}

static void segments(int heads, int dim, int threads)
{
    const int32_t begins[] = {0, 64, 80, 84, 84 + 200, 84 + 201};
    const size_t n = 285, d = (size_t)dim, width = (size_t)heads * d;
    float *qkv = values(n * 3 * width, 9, 3), *out = values(n * width, 10, 1);
    Attention *attention = NULL;
    Pool *pool = NULL;
    assert_int_equal(pool_new(threads, &pool), 0);
    assert_int_equal(attention_new(pool, dim, &attention), 0);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(attention_segments(attention, qkv, begins, 5, heads, dim, out), 0);
        double want[128];
        for (size_t s = 0; s < 5; s++)
            for (size_t i = (size_t)begins[s]; i < (size_t)begins[s + 1]; i += 7)
                for (size_t h = 0; h < (size_t)heads; h++) {
                    size_t begin = (size_t)begins[s], count = (size_t)begins[s + 1] - begin;
                    const float *rows = qkv + begin * 3 * width + h * d;
                    reference(want, qkv + i * 3 * width + h * d, rows + width, rows + 2 * width,
                              3 * width, count, d);
                    check(out + i * width + h * d, want, d, "segments", i);
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
    segments(4, 16, 2);
    segments(4, 20, 1);
    segments(3, 32, 3);
    segments(2, 80, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_causal),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

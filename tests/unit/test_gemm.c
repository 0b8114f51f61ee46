/*
 * Products of every layout that this CPU can do, against double precision: numbers of rows on both
 * sides of each switch (matrix-vector kernels, buckets, pieces), odd sizes, with and without bias.
 */
#include "model/gemm.h"
#include "model/kernels.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

typedef struct Inputs {
    size_t n, k, m;
    float *w, *x, *bias, *y;
    uint16_t *narrow; /* w rounded to bf16 */
} Inputs;

static float value_at(size_t i)
{
    uint32_t x = (uint32_t)i * 2654435761u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return (float)x / 4294967296.0f * 2 - 1;
}

static Inputs make(size_t n, size_t k, size_t m)
{
    Inputs in = {.n = n, .k = k, .m = m};
    in.w = malloc(n * k * sizeof(float));
    in.x = malloc(m * k * sizeof(float));
    in.bias = malloc(n * sizeof(float));
    in.y = malloc(m * n * sizeof(float));
    in.narrow = malloc(n * k * sizeof(uint16_t));
    assert_true(in.w && in.x && in.bias && in.y && in.narrow);
    for (size_t i = 0; i < n * k; i++)
        in.w[i] = value_at(i);
    for (size_t i = 0; i < m * k; i++)
        in.x[i] = value_at(i + 7777777);
    for (size_t i = 0; i < n; i++)
        in.bias[i] = value_at(i + 99) * 3;
    kernels()->f32_to_bf16(in.narrow, in.w, n * k);
    return in;
}

static void drop(Inputs *in)
{
    free(in->w);
    free(in->x);
    free(in->bias);
    free(in->y);
    free(in->narrow);
}

/* narrow_w, narrow_x: the reference rounds them too. */
static void check(const Inputs *in, size_t m, bool bias, bool narrow_w, bool narrow_x,
                  double tolerance)
{
    /* Every row of few, some of many with the last; columns likewise. */
    for (size_t r = 0; r < m; r += r + 20 < m ? 19 : 1)
        for (size_t i = 0; i < in->n; i += i + 20 < in->n ? 13 : 1) {
            double want = bias ? (double)in->bias[i] : 0;
            for (size_t j = 0; j < in->k; j++) {
                float x = in->x[r * in->k + j];
                want += (double)(narrow_x ? kernel_bf16(kernel_to_bf16(x)) : x) *
                        (double)(narrow_w ? kernel_bf16(in->narrow[i * in->k + j])
                                          : in->w[i * in->k + j]);
            }
            double got = (double)in->y[r * in->n + i];
            if (!(fabs(got - want) <= tolerance * sqrt((double)in->k)))
                fail_msg("m=%zu n=%zu k=%zu: element (%zu, %zu) is %.7g, expected %.7g", m, in->n,
                         in->k, r, i, got, want);
        }
}

static const size_t ROWS[] = {1, 2, 3, 4, 5, 8, 9, 17, 64, 65, 130, 1025};
enum { N_ROWS = sizeof ROWS / sizeof ROWS[0] };

static const struct {
    size_t n, k;
} SHAPES[] = {{16, 16}, {192, 192}, {83, 136}, {1, 20}, {260, 68}, {1536, 96}};
enum { N_SHAPES = sizeof SHAPES / sizeof SHAPES[0] };

/* 0: this CPU cannot. */
static int run(GemmDtype dtype, GemmLayout layout, bool from_bf16, bool with_bias, int threads)
{
    for (size_t s = 0; s < N_SHAPES; s++) {
        Inputs in = make(SHAPES[s].n, SHAPES[s].k, ROWS[N_ROWS - 1]);
        GemmSource source = {.n = in.n,
                             .k = in.k,
                             .values = from_bf16 ? (void *)in.narrow : (void *)in.w,
                             .is_bf16 = from_bf16,
                             .bias = with_bias ? in.bias : NULL};
        GemmWeight *weight = NULL;
        int r = gemm_weight_new(dtype, layout, &source, NULL, &weight);
        if (r == -ENOTSUP) {
            drop(&in);
            return 0;
        }
        assert_int_equal(r, 0);
        Gemm *gemm = NULL;
        Pool *pool = NULL;
        assert_int_equal(pool_new(threads, &pool), 0);
        assert_int_equal(gemm_new(pool, &gemm), 0);
        for (size_t i = 0; i < N_ROWS; i++) {
            size_t m = ROWS[i];
            memset(in.y, 0xff, in.m * in.n * sizeof(float));
            assert_int_equal(gemm_run(gemm, weight, in.x, m, in.y), 0);
            bool rounds_x =
                dtype == GEMM_BF16 &&
                (layout == GEMM_ONEDNN ? m > GEMM_FEW : kernels()->gemm->few_dot_bf16 != NULL);
            check(&in, m, with_bias, from_bf16 || dtype == GEMM_BF16, rounds_x, 4e-6);
            if (m < in.m) /* nothing behind the last row */
                assert_true(isnan(in.y[m * in.n]));
        }
        gemm_free(gemm);
        pool_free(pool);
        gemm_weight_free(weight);
        drop(&in);
    }
    return 1;
}

static void test_rows(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        assert_true(run(GEMM_F32, GEMM_PANELS, false, true, threads));
        assert_true(run(GEMM_F32, GEMM_PANELS, true, false, threads));
        assert_true(run(GEMM_BF16, GEMM_PANELS, false, true, threads));
    }
}

static void test_packed_f32(void **state)
{
    (void)state;
    assert_true(run(GEMM_F32, GEMM_ONEDNN, false, true, 2));
    assert_true(run(GEMM_F32, GEMM_ONEDNN, true, false, 1));
}

static void test_packed_bf16(void **state)
{
    (void)state;
    if (!run(GEMM_BF16, GEMM_ONEDNN, false, true, 2) ||
        !run(GEMM_BF16, GEMM_ONEDNN, true, false, 1)) {
        print_message("not run: oneDNN has no bf16 on this CPU\n");
        skip();
    }
}

/* Whole numbers, whose sums are exact in any order and any type here: each element of the result
 * is that of plain C. Rows repeat after PERIOD, which no cut of rows is a multiple of. */
enum { PERIOD = 61, MOST_ROWS = 601 };

static float whole_at(size_t i)
{
    return rintf(value_at(i) * 4);
}

static Inputs make_whole(size_t n, size_t k)
{
    Inputs in = make(n, k, MOST_ROWS + 1);
    for (size_t i = 0; i < n * k; i++)
        in.w[i] = whole_at(i);
    for (size_t i = 0; i < in.m * k; i++)
        in.x[i] = whole_at(i % (PERIOD * k) + 7777777);
    for (size_t i = 0; i < n; i++)
        in.bias[i] = whole_at(i + 99) * 100;
    kernels()->f32_to_bf16(in.narrow, in.w, n * k);
    return in;
}

/* [PERIOD, n], without bias */
static float *exact_of(const Inputs *in)
{
    float *exact = malloc(PERIOD * in->n * sizeof *exact);
    assert_non_null(exact);
    for (size_t r = 0; r < PERIOD; r++)
        for (size_t i = 0; i < in->n; i++) {
            float sum = 0;
            for (size_t j = 0; j < in->k; j++)
                sum += in->x[r * in->k + j] * in->w[i * in->k + j];
            exact[r * in->n + i] = sum;
        }
    return exact;
}

static void check_exact(const Inputs *in, const float *exact, size_t m, bool bias)
{
    for (size_t r = 0; r < m; r++)
        for (size_t i = 0; i < in->n; i++) {
            float want = exact[r % PERIOD * in->n + i] + (bias ? in->bias[i] : 0);
            if (!(in->y[r * in->n + i] == want))
                fail_msg("m=%zu n=%zu k=%zu: element (%zu, %zu) is %.9g, expected %.9g", m, in->n,
                         in->k, r, i, (double)in->y[r * in->n + i], (double)want);
        }
    for (size_t i = 0; i < in->n; i++)
        assert_true(isnan(in->y[m * in->n + i]));
}

/* oneDNN's panels: one, several, a narrower last one; rows on both sides of each cut. */
static void test_packed_panels(void **state)
{
    (void)state;
    static const struct {
        size_t n, k;
    } shapes[] = {{64, 33}, {1100, 97}, {1300, 515}, {300, 2049}, {512, 2049}};
    static const size_t rows[] = {1, 4, 5, 9, 63, 64, 65, 128, 129, 256, 257, 513, MOST_ROWS};
    bool has_bf16 = true;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        Inputs in = make_whole(shapes[s].n, shapes[s].k);
        float *exact = exact_of(&in);
        for (int variant = 0; variant < 12; variant++) {
            const bool bf16 = variant % 2, bias = variant / 2 % 2;
            const int threads = variant / 4 + 1;
            GemmSource source = {.n = in.n,
                                 .k = in.k,
                                 .values = bias ? (void *)in.narrow : (void *)in.w,
                                 .is_bf16 = bias,
                                 .bias = bias ? in.bias : NULL};
            GemmWeight *weight = NULL;
            int r =
                gemm_weight_new(bf16 ? GEMM_BF16 : GEMM_F32, GEMM_ONEDNN, &source, NULL, &weight);
            if (bf16 && r == -ENOTSUP) {
                has_bf16 = false;
                continue;
            }
            assert_int_equal(r, 0);
            Pool *pool = NULL;
            Gemm *gemm = NULL;
            assert_int_equal(pool_new(threads, &pool), 0);
            assert_int_equal(gemm_new(pool, &gemm), 0);
            for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                memset(in.y, 0xff, in.m * in.n * sizeof(float));
                assert_int_equal(gemm_run(gemm, weight, in.x, rows[i], in.y), 0);
                check_exact(&in, exact, rows[i], bias);
            }
            gemm_free(gemm);
            pool_free(pool);
            gemm_weight_free(weight);
        }
        free(exact);
        drop(&in);
    }
    if (!has_bf16)
        print_message("bf16 not run: oneDNN has none on this CPU\n");
}

/* A block that oneDNN filled is used again elsewhere, where nothing may be written. */
static void test_packed_block(void **state)
{
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        const GemmDtype dtype = variant % 2 ? GEMM_BF16 : GEMM_F32;
        const bool bias = variant / 2;
        Inputs in = make_whole(1100, 97);
        float *exact = exact_of(&in);
        GemmSource source = {.n = in.n, .k = in.k, .values = in.w, .bias = bias ? in.bias : NULL};
        size_t bytes;
        int r = gemm_block_bytes(dtype, GEMM_ONEDNN, &source, &bytes);
        if (dtype == GEMM_BF16 && r == -ENOTSUP) {
            print_message("bf16 not run: oneDNN has none on this CPU\n");
            free(exact);
            drop(&in);
            continue;
        }
        assert_int_equal(r, 0);
        GemmWeight *weight = NULL;
        Pool *pool = NULL;
        Gemm *gemm = NULL;
        assert_int_equal(gemm_weight_new(dtype, GEMM_ONEDNN, &source, NULL, &weight), 0);
        assert_int_equal(gemm_weight_bytes(weight), bytes);
        void *kept = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(kept != MAP_FAILED);
        memcpy(kept, gemm_weight_block(weight), bytes);
        assert_int_equal(mprotect(kept, bytes, PROT_READ), 0);
        gemm_weight_free(weight);

        const float some = 0;
        source.values = NULL;
        source.bias = bias ? &some : NULL;
        assert_int_equal(gemm_weight_new(dtype, GEMM_ONEDNN, &source, kept, &weight), 0);
        assert_int_equal(gemm_weight_bytes(weight), bytes);
        assert_int_equal(pool_new(2, &pool), 0);
        assert_int_equal(gemm_new(pool, &gemm), 0);
        for (size_t m = 1; m < MOST_ROWS; m += 130) {
            memset(in.y, 0xff, in.m * in.n * sizeof(float));
            assert_int_equal(gemm_run(gemm, weight, in.x, m, in.y), 0);
            check_exact(&in, exact, m, bias);
        }
        gemm_free(gemm);
        pool_free(pool);
        gemm_weight_free(weight);
        munmap(kept, bytes);
        free(exact);
        drop(&in);
    }
}

/* The same call gives the same bits, whatever ran in between. */
static void test_repeats(void **state)
{
    (void)state;
    Inputs in = make(192, 512, 40);
    GemmSource source = {.n = in.n, .k = in.k, .values = in.narrow, .is_bf16 = true};
    GemmWeight *weight = NULL;
    Gemm *gemm = NULL;
    assert_int_equal(gemm_weight_new(GEMM_BF16, GEMM_PANELS, &source, NULL, &weight), 0);
    Pool *pool = NULL;
    assert_int_equal(pool_new(2, &pool), 0);
    assert_int_equal(gemm_new(pool, &gemm), 0);
    float *first = malloc(in.m * in.n * sizeof *first);
    assert_non_null(first);
    for (size_t m = 1; m <= in.m; m += 13) {
        assert_int_equal(gemm_run(gemm, weight, in.x, m, first), 0);
        assert_int_equal(gemm_run(gemm, weight, in.x + in.k, m - 1, in.y), 0);
        assert_int_equal(gemm_run(gemm, weight, in.x, m, in.y), 0);
        assert_memory_equal(first, in.y, m * in.n * sizeof *first);
    }
    free(first);
    gemm_free(gemm);
    pool_free(pool);
    gemm_weight_free(weight);
    drop(&in);
}

static void test_row(void **state)
{
    (void)state;
    Inputs in = make(10, 33, 1);
    for (int from_bf16 = 0; from_bf16 < 2; from_bf16++) {
        GemmSource source = {.n = in.n,
                             .k = in.k,
                             .values = from_bf16 ? (void *)in.narrow : (void *)in.w,
                             .is_bf16 = from_bf16};
        GemmWeight *weight = NULL;
        assert_int_equal(gemm_weight_new(GEMM_F32, GEMM_PANELS, &source, NULL, &weight), 0);
        float row[33];
        gemm_weight_row(weight, 7, row);
        for (size_t j = 0; j < 33; j++) {
            float want = from_bf16 ? kernel_bf16(in.narrow[7 * 33 + j]) : in.w[7 * 33 + j];
            assert_true(row[j] == want);
        }
        gemm_weight_free(weight);
    }
    drop(&in);
}

/* What an input is as s8: its values times scale of the row, or of the group of 32. */
static void rounded(const float *x, size_t k, size_t group, float *out)
{
    for (size_t from = 0; from < k; from += group) {
        size_t to = from + group < k ? from + group : k;
        float largest = 0;
        for (size_t i = from; i < to; i++)
            largest = fmaxf(largest, fabsf(x[i]));
        for (size_t i = from; i < to; i++)
            out[i] = rintf(x[i] * (127 / largest)) * (largest / 127);
    }
}

/* The integer modes: products of what weights and inputs were rounded to, over pieces of k; and a
 * row has the same bits alone, among few and among many. */
static void test_integers(void **state)
{
    (void)state;
    static const struct {
        size_t n, k, m;
    } cases[] = {{83, 136, 65}, {1, 20, 9}, {260, 68, 30}, {40, 4230, 13}, {192, 192, 130}};
    for (size_t s = 0; s < sizeof cases / sizeof cases[0]; s++)
        for (int dtype = GEMM_INT8; dtype <= GEMM_INT4; dtype++) {
            Inputs in = make(cases[s].n, cases[s].k, cases[s].m);
            GemmSource source = {.n = in.n, .k = in.k, .values = in.w, .bias = in.bias};
            GemmWeight *weight = NULL;
            Pool *pool = NULL;
            Gemm *gemm = NULL;
            assert_int_equal(gemm_weight_new((GemmDtype)dtype, GEMM_PANELS, &source, NULL, &weight),
                             0);
            assert_int_equal(pool_new(2, &pool), 0);
            assert_int_equal(gemm_new(pool, &gemm), 0);
            for (size_t i = 0; i < in.k; i++)
                in.x[in.k + i] = 0; /* a row of zeros */
            assert_int_equal(gemm_run(gemm, weight, in.x, in.m, in.y), 0);
            float *w = malloc(in.n * in.k * sizeof *w), *x = malloc(in.k * sizeof *x);
            float *alone = malloc(GEMM_FEW * in.n * sizeof *alone);
            assert_true(w && x && alone);
            for (size_t i = 0; i < in.n; i++)
                gemm_weight_row(weight, i, w + i * in.k);
            for (size_t r = 0; r < in.m; r++) {
                rounded(in.x + r * in.k, in.k, dtype == GEMM_INT8 ? in.k : 32, x);
                for (size_t i = 0; i < in.n; i++) {
                    double want = (double)in.bias[i], got = (double)in.y[r * in.n + i];
                    for (size_t j = 0; r != 1 && j < in.k; j++)
                        want += (double)x[j] * (double)w[i * in.k + j];
                    if (!(fabs(got - want) <= 3e-6 * sqrt((double)in.k)))
                        fail_msg("dtype %d n=%zu k=%zu: (%zu, %zu) is %.7g, expected %.7g", dtype,
                                 in.n, in.k, r, i, got, want);
                }
            }
            for (size_t m = 1; m <= GEMM_FEW; m++)
                for (size_t r = 0; r + m <= in.m; r += 5) {
                    assert_int_equal(gemm_run(gemm, weight, in.x + r * in.k, m, alone), 0);
                    assert_memory_equal(alone, in.y + r * in.n, m * in.n * sizeof *alone);
                }
            in.x[0] = NAN;
            in.x[2 * in.k + in.k - 1] = -INFINITY;
            assert_int_equal(gemm_run(gemm, weight, in.x, in.m, in.y), 0);
            assert_true(isnan(in.y[0]) && isnan(in.y[2 * in.n]) && isfinite(in.y[in.n]));
            free(w);
            free(x);
            free(alone);
            gemm_free(gemm);
            pool_free(pool);
            gemm_weight_free(weight);
            drop(&in);
        }
}

/* Floats too: alone, in a tile's last rows and in pieces of k, the same bits. */
static void test_rows_are_independent(void **state)
{
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        Inputs in = make(200, 2500, 40);
        GemmSource source = {.n = in.n, .k = in.k, .values = in.w, .bias = in.bias};
        GemmWeight *weight = NULL;
        Pool *pool = NULL;
        Gemm *gemm = NULL;
        assert_int_equal(
            gemm_weight_new(bf16 ? GEMM_BF16 : GEMM_F32, GEMM_PANELS, &source, NULL, &weight), 0);
        assert_int_equal(pool_new(2, &pool), 0);
        assert_int_equal(gemm_new(pool, &gemm), 0);
        assert_int_equal(gemm_run(gemm, weight, in.x, in.m, in.y), 0);
        check(&in, in.m, true, bf16, bf16 && kernels()->gemm->few_dot_bf16, 4e-6);
        float *part = malloc(in.m * in.n * sizeof *part);
        assert_non_null(part);
        for (size_t m = 1; m < in.m; m += m < 8 ? 1 : 7) {
            assert_int_equal(gemm_run(gemm, weight, in.x + (in.m - m) * in.k, m, part), 0);
            assert_memory_equal(part, in.y + (in.m - m) * in.n, m * in.n * sizeof *part);
        }
        free(part);
        gemm_free(gemm);
        pool_free(pool);
        gemm_weight_free(weight);
        drop(&in);
    }
}

/* A block that was filled once is used again in place. */
static void test_block(void **state)
{
    (void)state;
    for (int dtype = GEMM_F32; dtype <= GEMM_INT4; dtype++) {
        Inputs in = make(50, 70, 9);
        GemmSource source = {.n = in.n, .k = in.k, .values = in.w, .bias = in.bias};
        size_t bytes;
        assert_int_equal(gemm_block_bytes((GemmDtype)dtype, GEMM_PANELS, &source, &bytes), 0);
        void *block = aligned_alloc(64, bytes);
        assert_non_null(block);
        GemmWeight *weight = NULL;
        Pool *pool = NULL;
        Gemm *gemm = NULL;
        float *first = malloc(in.m * in.n * sizeof *first);
        assert_non_null(first);
        assert_int_equal(pool_new(1, &pool), 0);
        assert_int_equal(gemm_new(pool, &gemm), 0);
        for (int again = 0; again < 2; again++) {
            assert_int_equal(
                gemm_weight_new((GemmDtype)dtype, GEMM_PANELS, &source, block, &weight), 0);
            assert_int_equal(gemm_weight_bytes(weight), bytes);
            assert_int_equal(gemm_run(gemm, weight, in.x, in.m, again ? in.y : first), 0);
            gemm_weight_free(weight);
            source.values = NULL;
        }
        assert_memory_equal(first, in.y, in.m * in.n * sizeof *first);
        free(first);
        free(block);
        gemm_free(gemm);
        pool_free(pool);
        drop(&in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_packed_f32),
        cmocka_unit_test(test_packed_bf16),
        cmocka_unit_test(test_packed_panels),
        cmocka_unit_test(test_packed_block),
        cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_row),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_rows_are_independent),
        cmocka_unit_test(test_block),
    };
    printf("%s\n", kernels()->name);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

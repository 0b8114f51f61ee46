/*
 * Each kernel: the plain version against the same in double precision, then every wide version that
 * this CPU has against the plain one, over sizes that end in the middle of a vector. The source of
 * the wide versions runs once more over plain arrays of 16, so that its loops are proved for
 * AVX-512 on CPUs that lack it (the intrinsics themselves are not: reported as not run).
 */
#include "model/kernels.h"
#include "model/kernels_table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vectors16.h"

#include "model/kernels_body.h"

static const KernelTable kernels_arrays = {BODY_TABLE(KERNEL_AVX512, "arrays of 16", NULL)};

/* --- inputs --- */

static uint64_t state = 88172645463325252u;

/* -1..1, the same in every run */
static float random_value(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)((double)(state >> 11) / (double)(UINT64_C(1) << 53) * 2 - 1);
}

static float *random_values(size_t n, float scale)
{
    float *values = malloc((n ? n : 1) * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++)
        values[i] = random_value() * scale;
    return values;
}

static void assert_close(const float *got, const float *want, size_t n, double tolerance,
                         const char *kernel, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        double scale = fabs((double)want[i]) > 1 ? fabs((double)want[i]) : 1;
        if (!(fabs((double)got[i] - (double)want[i]) <= tolerance * scale))
            fail_msg("%s of %s: element %zu of %zu is %.9g, expected %.9g", what, kernel, i, n,
                     (double)got[i], (double)want[i]);
    }
}

static const size_t SIZES[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 68, 80, 108, 136, 164, 192, 257};
enum { N_SIZES = sizeof SIZES / sizeof SIZES[0] };

/* All tables that can run here: the plain one, the wide ones, the arrays, NULL. */
static const KernelTable *table_after(const KernelTable *last)
{
    if (last == &kernels_arrays)
        return NULL;
    for (int cpu = last ? (int)last->cpu + 1 : 0; cpu < KERNEL_CPUS; cpu++)
        if (kernels_of((KernelCpu)cpu))
            return kernels_of((KernelCpu)cpu);
    return &kernels_arrays;
}

#define FOR_EACH_TABLE(k) for (const KernelTable *k = table_after(NULL); k; k = table_after(k))

/* --- tests --- */

static void test_rmsnorm(void **user)
{
    (void)user;
    FOR_EACH_TABLE(k)
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = SIZES[s];
        float *x = random_values(n, 3), *w = random_values(n, 1), *y = random_values(n, 0);
        float *want = random_values(n, 0);
        double squares = 0;
        for (size_t i = 0; i < n; i++)
            squares += (double)x[i] * (double)x[i];
        for (size_t i = 0; i < n; i++)
            want[i] = (float)((double)x[i] / sqrt(squares / (double)n + 1e-6) * (double)w[i]);
        k->rmsnorm(y, x, w, n, 1e-6f);
        assert_close(y, want, n, 2e-6, k->name, "rmsnorm");
        free(x);
        free(w);
        free(y);
        free(want);
    }
}

static void test_silu_mul(void **user)
{
    (void)user;
    FOR_EACH_TABLE(k)
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = SIZES[s];
        float *gate = random_values(n, 12), *up = random_values(n, 2);
        float *y = random_values(n, 0), *want = random_values(n, 0);
        if (n > 2) {
            gate[0] = -200;
            gate[1] = 200;
        }
        for (size_t i = 0; i < n; i++)
            want[i] = (float)((double)gate[i] / (1 + exp(-(double)gate[i])) * (double)up[i]);
        k->silu_mul(y, gate, up, n);
        assert_close(y, want, n, 1e-6, k->name, "silu_mul");
        k->silu_mul(gate, gate, up, n);
        assert_close(gate, want, n, 1e-6, k->name, "silu_mul in place");
        free(gate);
        free(up);
        free(y);
        free(want);
    }
}

static void test_add_scale_max(void **user)
{
    (void)user;
    FOR_EACH_TABLE(k)
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = SIZES[s];
        float *x = random_values(n, 1), *y = random_values(n, 1), *want = random_values(n, 0);
        float best = -INFINITY;
        for (size_t i = 0; i < n; i++) {
            want[i] = (x[i] + y[i]) * 0.25f;
            best = want[i] > best ? want[i] : best;
        }
        k->add(y, x, n);
        k->scale(y, 0.25f, n);
        assert_close(y, want, n, 0, k->name, "add and scale");
        assert_true(k->max(y, n) == best);
        /* The largest in any place, also in the part behind the last vector. */
        for (size_t i = 0; i < n; i++) {
            y[i] += 8;
            assert_true(k->max(y, n) == y[i]);
            y[i] -= 8;
        }
        free(x);
        free(y);
        free(want);
    }
}

static void test_exp_sum(void **user)
{
    (void)user;
    FOR_EACH_TABLE(k)
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = SIZES[s];
        float *x = random_values(n, 40), *want = random_values(n, 0);
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            x[i] -= 40;
            double e = exp((double)x[i] - 0.5);
            want[i] = (float)e;
            sum += e;
        }
        float got = k->exp_sum(x, n, 0.5f), total = (float)sum;
        assert_close(x, want, n, 3e-7, k->name, "exp_sum");
        assert_close(&got, &total, 1, 1e-6, k->name, "exp_sum's sum");
        free(x);
        free(want);
    }
    /* Relative precision over the whole range, and the ends. */
    FOR_EACH_TABLE(k)
    {
        for (int i = -8600; i <= 8700; i++) {
            float x[1] = {(float)i * 0.01f}, at = x[0];
            k->exp_sum(x, 1, 0);
            double want = exp((double)at);
            if (fabs((double)x[0] / want - 1) > 4e-7)
                fail_msg("exp of %s: e^%g is %.9g, expected %.9g", k->name, (double)at,
                         (double)x[0], want);
        }
        float ends[2] = {-1e4f, -INFINITY};
        k->exp_sum(ends, 2, 0);
        assert_true(ends[0] >= 0 && ends[0] < 1e-37f && ends[1] >= 0 && ends[1] < 1e-37f);
        float bad[2] = {NAN, 0};
        k->exp_sum(bad, 2, 0);
        assert_true(isnan(bad[0]));
    }
}

/* The same in bf16: each of exp_sum's values rounded, zeros behind the last. */
static void test_exp_share(void **user)
{
    (void)user;
    FOR_EACH_TABLE(k)
    for (size_t n = 0; n <= KERNEL_BLOCK; n++)
        for (int special = 0; special < 3; special++) {
            float *x = random_values(KERNEL_BLOCK, 50), exps[KERNEL_BLOCK];
            uint16_t got[KERNEL_BLOCK];
            for (size_t i = 0; i < KERNEL_BLOCK; i++)
                x[i] -= 50;
            if (special > 0 && n > 0)
                x[n / 2] = special == 1 ? NAN : -INFINITY;
            memcpy(exps, x, sizeof exps);
            memset(got, 0x55, sizeof got);
            float sum = n > 0 ? k->exp_sum(exps, n, 0.5f) : 0;
            float got_sum = k->exp_share(got, x, n, 0.5f);
            if (special == 1 && n > 0)
                assert_true(isnan(got_sum));
            else
                assert_close(&got_sum, &sum, 1, 1e-6, k->name, "exp_share's sum");
            for (size_t i = 0; i < KERNEL_BLOCK; i++)
                if (got[i] != (i < n ? kernel_to_bf16(exps[i]) : 0))
                    fail_msg("exp_share of %s, n=%zu: value %zu is %04x, exp %g", k->name, n, i,
                             got[i], (double)exps[i]);
            free(x);
        }
}

static void test_rope(void **user)
{
    (void)user;
    FOR_EACH_TABLE(k)
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t half = SIZES[s];
        float *x = random_values(2 * half, 2), *want = random_values(2 * half, 0);
        float *cos_ = random_values(half, 1), *sin_ = random_values(half, 1);
        for (size_t i = 0; i < half; i++) {
            want[i] = x[i] * cos_[i] - x[half + i] * sin_[i];
            want[half + i] = x[half + i] * cos_[i] + x[i] * sin_[i];
        }
        k->rope(x, cos_, sin_, half);
        assert_close(x, want, 2 * half, 1e-7, k->name, "rope");
        free(x);
        free(want);
        free(cos_);
        free(sin_);
    }
}

static void test_tile(void **user)
{
    (void)user;
    static const size_t ROWS[] = {1, 2, 3, 4, 5, 7, 8, 9, 32}, INNER[] = {1, 16, 20, 64},
                        COLS[] = {16, 32, 48, 64, 80};
    FOR_EACH_TABLE(k)
    for (size_t a = 0; a < 9; a++)
        for (size_t b = 0; b < 4; b++)
            for (size_t d = 0; d < 5; d++) {
                size_t rows = ROWS[a], inner = INNER[b], cols = COLS[d];
                float *x = random_values(rows * (inner + 3), 1);
                float *w = aligned_alloc(64, inner * cols * sizeof *w);
                float *y = random_values(rows * (cols + 5), 1);
                float *want = malloc(rows * (cols + 5) * sizeof *want);
                assert_non_null(w);
                assert_non_null(want);
                for (size_t i = 0; i < inner * cols; i++)
                    w[i] = random_value();
                for (int accumulate = 0; accumulate < 2; accumulate++) {
                    memcpy(want, y, rows * (cols + 5) * sizeof *want);
                    for (size_t r = 0; r < rows; r++)
                        for (size_t j = 0; j < cols; j++) {
                            double sum = accumulate ? (double)want[r * (cols + 5) + j] : 0;
                            for (size_t i = 0; i < inner; i++)
                                sum += (double)x[r * (inner + 3) + i] * (double)w[i * cols + j];
                            want[r * (cols + 5) + j] = (float)sum;
                        }
                    k->tile(y, cols + 5, x, inner + 3, w, cols, rows, inner, cols, accumulate);
                    assert_close(y, want, rows * (cols + 5) - 5, 5e-6, k->name, "tile");
                }
                free(x);
                free(w);
                free(y);
                free(want);
            }
}

static void test_panels(void **user)
{
    (void)user;
    static const KernelPanels LAYOUTS[] = {{64, 2, 0}, {48, 2, 0}, {16, 1, 0}, {64, 1, 0}};
    FOR_EACH_TABLE(k)
    for (size_t l = 0; l < 4; l++)
        for (size_t s = 0; s < N_SIZES; s++)
            for (size_t m = 1; m <= 3; m++) {
                KernelPanels p = LAYOUTS[l];
                size_t inner = SIZES[s], n = 83, padded = (inner + 31) / 32 * 32;
                p.panel = padded * p.width;
                size_t room = (n + p.width - 1) / p.width * p.panel + 128;
                float *x = random_values(m * inner, 1), *packed = random_values(room, 0);
                float *y = random_values(m * n, 0), *want = random_values(m * n, 0);
                uint16_t *narrow = calloc(room, sizeof *narrow);
                assert_non_null(narrow);
                for (size_t i = 0; i < n; i++)
                    for (size_t j = 0; j < inner; j++) {
                        size_t at = i / p.width * p.panel + j / p.pair * p.width * p.pair +
                                    i % p.width * p.pair + j % p.pair;
                        float value = random_value();
                        narrow[at] = kernel_to_bf16(value);
                        packed[at] = kernel_bf16(narrow[at]);
                        if (i >= 16)
                            for (size_t r = 0; r < m; r++)
                                want[r * n + i] += x[r * inner + j] * packed[at];
                    }
                k->panels_bf16(y, n, x, inner, m, narrow, &p, inner, 16, n);
                assert_close(y, want, m * n, 2e-5, k->name, "panels_bf16");
                memset(y, 0, m * n * sizeof *y);
                if (p.pair == 1) {
                    k->panels_f32(y, n, x, inner, m, packed, &p, inner, 16, n);
                    assert_close(y, want, m * n, 2e-5, k->name, "panels_f32");
                }
                free(x);
                free(packed);
                free(y);
                free(want);
                free(narrow);
            }
}

static void test_pairs(void **user)
{
    (void)user;
    enum { ROWS = 6, COLUMNS = 48 };
    uint16_t x[ROWS * COLUMNS];
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        x[i] = kernel_to_bf16(random_value());
    FOR_EACH_TABLE(k)
    {
        float y[ROWS * COLUMNS + 1];
        y[ROWS * COLUMNS] = 7;
        k->pairs_to_f32(y, x, ROWS, COLUMNS);
        for (size_t i = 0; i < ROWS; i++)
            for (size_t j = 0; j < COLUMNS; j++)
                assert_true(y[i * COLUMNS + j] ==
                            kernel_bf16(x[i / 2 * 2 * COLUMNS + 2 * j + i % 2]));
        assert_true(y[ROWS * COLUMNS] == 7);
    }
}

static void test_bf16(void **user)
{
    (void)user;
    /* Ties go to the even neighbour; infinity stays; NaN stays NaN even when its low bits go. */
    static const struct {
        uint32_t bits;
        uint16_t want;
    } cases[] = {{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82},
                 {0x3f808001, 0x3f81}, {0x3f807fff, 0x3f80}, {0x7f800000, 0x7f80},
                 {0xff800000, 0xff80}, {0x7f7fffff, 0x7f80}, {0x80000000, 0x8000},
                 {0x7f800001, 0x7fc0}, {0xff812345, 0xffc1}, {0x00018000, 0x0002}};
    enum { N = sizeof cases / sizeof cases[0] };
    FOR_EACH_TABLE(k)
    {
        /* Each at every place of a vector and behind it. */
        for (size_t shift = 0; shift < 37; shift++) {
            float x[37];
            uint16_t y[38];
            y[37] = 0x1234;
            for (size_t i = 0; i < 37; i++)
                memcpy(x + i, &cases[(i + shift) % N].bits, sizeof *x);
            k->f32_to_bf16(y, x, 37);
            for (size_t i = 0; i < 37; i++)
                assert_int_equal(y[i], cases[(i + shift) % N].want);
            assert_int_equal(y[37], 0x1234);
        }
    }

    FOR_EACH_TABLE(k)
    {
        uint16_t in[37];
        float out[37];
        for (size_t i = 0; i < 37; i++)
            in[i] = (uint16_t)(i * 1771);
        k->bf16_to_f32(out, in, 37);
        for (size_t i = 0; i < 37; i++) {
            float want = kernel_bf16(in[i]);
            assert_memory_equal(&out[i], &want, sizeof want);
        }
    }
}

static void test_s8(void **user)
{
    (void)user;
    FOR_EACH_TABLE(k)
    {
        int8_t in[48];
        float scales[48], out[48];
        for (size_t i = 0; i < 48; i++) {
            in[i] = (int8_t)(i * 11 - 128);
            scales[i] = random_value();
        }
        k->s8_mul(out, in, scales, 48);
        for (size_t i = 0; i < 48; i++)
            assert_true(out[i] == (float)in[i] * scales[i]);
        k->s8_scale(out, in, scales[3], 32);
        for (size_t i = 0; i < 48; i++)
            assert_true(out[i] == (float)in[i] * scales[i < 32 ? 3 : i]);
    }
}

static void test_gelu_softmax(void **user)
{
    (void)user;
    float x[] = {-3, -1, -0.5f, 0, 0.5f, 1, 3}, want[7], sum = 0;
    for (int i = 0; i < 7; i++)
        want[i] = (float)(0.5 * (double)x[i] * (1 + erf((double)x[i] / sqrt(2.0))));
    kernel_gelu(x, 7);
    assert_close(x, want, 7, 2e-7, "plain", "gelu");
    float y[] = {1000, 999, 998};
    kernel_softmax(y, 3);
    for (int i = 0; i < 3; i++)
        sum += y[i];
    assert_true(fabsf(sum - 1) < 1e-6f);
    assert_true(fabsf(y[0] / y[1] - 2.7182818f) < 1e-5f);
}

static void test_rope_table(void **user)
{
    (void)user;
    const int32_t positions[] = {0, 5, 1, 1, 7, 9}; /* t: 0 5, h: 1 1, w: 7 9 */
    const uint8_t axis_of[] = {0, 1, 2};
    const float frequency[] = {1, 0.5f, 0.25f};
    float c[6], s[6];
    kernel_rope_table(c, s, positions, 2, 2, axis_of, frequency, 3);
    const float angles[] = {0, 0.5f, 1.75f, 5, 0.5f, 2.25f};
    for (int i = 0; i < 6; i++) {
        assert_true(fabsf(c[i] - cosf(angles[i])) < 1e-6f);
        assert_true(fabsf(s[i] - sinf(angles[i])) < 1e-6f);
    }
}

/* WHEN_CPU is read once a process: ctest runs this test again with it set. */
static void test_choice(void **user)
{
    (void)user;
    const char *forced = getenv("WHEN_CPU");
    if (forced && strcmp(forced, "generic") == 0)
        assert_int_equal(kernels()->cpu, KERNEL_GENERIC);
    else if (forced && strcmp(forced, "avx2") == 0)
        assert_true(kernels()->cpu <= KERNEL_AVX2);
    else if (!forced)
        assert_non_null(kernels_of(kernels()->cpu));
    for (int cpu = 0; cpu < KERNEL_CPUS; cpu++)
        if (!kernels_of((KernelCpu)cpu))
            printf("not run: this CPU lacks %s\n", cpu == KERNEL_AVX2 ? "avx2" : "avx512");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm),
        cmocka_unit_test(test_silu_mul),
        cmocka_unit_test(test_add_scale_max),
        cmocka_unit_test(test_exp_sum),
        cmocka_unit_test(test_exp_share),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_tile),
        cmocka_unit_test(test_panels),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_s8),
        cmocka_unit_test(test_gelu_softmax),
        cmocka_unit_test(test_rope_table),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

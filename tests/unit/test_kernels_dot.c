/*
 * Products in pairs of bf16 and fours of bytes: every version that this CPU has, and the source
 * over arrays of 16, against the definition; bytes exactly, bf16 to f32's rounding. A row has the
 * same bits in a tile, among few, alone, and when k is cut.
 */
#include "model/kernels_gemm.h"
#include "model/kernels_table.h"
#include "vectors16.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "model/kernels_dot_body.h"

static const GemmKernels gemm_arrays = {BODY_GEMM_U8, BODY_GEMM_BF16};
static const KernelTable kernels_arrays = {
    .name = "arrays of 16", .tile_pairs = body_tile_pairs, .gemm = &gemm_arrays};

enum { R = DOT_ROWS, P = KERNEL_DOT_PANEL, PANELS = 4 };

static size_t versions(const KernelTable *out[KERNEL_CPUS + 1])
{
    size_t n = 0;
    out[n++] = &kernels_arrays;
    for (int cpu = 0; cpu < KERNEL_CPUS; cpu++) {
        const KernelTable *table = kernels_of((KernelCpu)cpu);
        if (table && table->gemm->few_dot_u8) {
            assert_int_equal(table->gemm->tile_rows, R);
            assert_int_equal(table->gemm->tile_width, P);
            out[n++] = table;
        }
    }
    return n;
}

static uint32_t state = 4711;

static uint32_t next(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    assert_non_null(p);
    memset(p, 0x55, (bytes + 127) / 64 * 64);
    return p;
}

/* --- bytes --- */

/* extreme: the largest products, of either sign, and the most of them. */
static void bytes_of(const KernelTable *table, size_t k, int extreme)
{
    const GemmKernels *kernel = table->gemm;
    int8_t *x = room(R * k), *tiled = room(R * k);
    uint8_t *w = room(PANELS * P * k);
    int32_t offset[R] = {0}, want[R][PANELS * P], got[R][PANELS * P + 3];
    for (size_t r = 0; r < R; r++)
        for (size_t i = 0; i < k; i++) {
            int value = extreme ? (extreme > 1 && r % 2 ? -127 : 127) : (int)(next() % 255) - 127;
            x[r * k + i] = (int8_t)value;
            offset[r] -= 128 * value;
            tiled[(i / 4 * R + r) * 4 + i % 4] = (int8_t)value;
        }
    memset(want, 0, sizeof want);
    for (size_t c = 0; c < PANELS * P; c++)
        for (size_t i = 0; i < k; i++) {
            int value = extreme ? (c % 3 ? 127 : -127) : (int)(next() % 255) - 127;
            w[c / P * P * k + (i / 4 * P + c % P) * 4 + i % 4] = (uint8_t)(value + 128);
            for (size_t r = 0; r < R; r++)
                want[r][c] += x[r * k + i] * value;
        }
    const size_t half = k / 8 * 4;
    for (size_t p = 0; p < PANELS; p++) {
        const uint8_t *at = w + p * P * k;
        if (half)
            kernel->tile_dot_u8(got[0], PANELS * P + 3, tiled, offset, at, half, true);
        kernel->tile_dot_u8(got[0], PANELS * P + 3, tiled + half * R, offset, at + half * P,
                            k - half, half == 0);
        for (size_t r = 0; r < R; r++)
            assert_memory_equal(got[r], want[r] + p * P, P * sizeof(int32_t));
    }
    for (size_t m = 1; m <= KERNEL_FEW; m++)
        for (size_t from = 0; from < PANELS; from++) {
            memset(got, 0x55, sizeof got);
            kernel->few_dot_u8(got[0], PANELS * P + 3, x, k, offset, m, w, P * k, k, from, PANELS);
            for (size_t r = 0; r < m; r++)
                assert_memory_equal(got[r], want[r] + from * P,
                                    (PANELS - from) * P * sizeof(int32_t));
            for (size_t c = (PANELS - from) * P; c < PANELS * P + 3; c++)
                assert_int_equal(got[m - 1][c], 0x55555555); /* nothing behind the last panel */
        }
    free(x);
    free(tiled);
    free(w);
}

static void test_bytes(void **user)
{
    (void)user;
    const KernelTable *all[KERNEL_CPUS + 1];
    for (size_t v = 0, n = versions(all); v < n; v++)
        for (int extreme = 0; extreme < 3; extreme++) {
            bytes_of(all[v], 4, extreme);
            bytes_of(all[v], 60, extreme);
            bytes_of(all[v], 256, extreme);
        }
}

/* --- bf16 --- */

static uint16_t half_of(void)
{
    return kernel_to_bf16((float)next() / 4294967296.0f * 2 - 1);
}

static void assert_near(const float *got, const float *want, size_t n, size_t k, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= 2e-7 * (double)(k + 8)))
            fail_msg("%s, k=%zu: element %zu is %.9g, expected %.9g", name, k, i, (double)got[i],
                     (double)want[i]);
}

static void pairs_of(const KernelTable *table, size_t k)
{
    const GemmKernels *kernel = table->gemm;
    uint16_t *x = room(R * k * 2), *tiled = room(R * k * 2), *w = room(PANELS * P * k * 2);
    float want[R][PANELS * P], few[R][PANELS * P + 3], tile[R][P + 1];
    for (size_t r = 0; r < R; r++)
        for (size_t i = 0; i < k; i++)
            tiled[(i / 2 * R + r) * 2 + i % 2] = x[r * k + i] = half_of();
    for (size_t i = 0; i < PANELS * P * k; i++)
        w[i] = half_of();
    for (size_t r = 0; r < R; r++)
        for (size_t c = 0; c < PANELS * P; c++) {
            double sum = 0;
            for (size_t i = 0; i < k; i++)
                sum += (double)kernel_bf16(x[r * k + i]) *
                       (double)kernel_bf16(w[c / P * P * k + (i / 2 * P + c % P) * 2 + i % 2]);
            want[r][c] = (float)sum;
        }
    memset(few, 0x55, sizeof few);
    kernel->few_dot_bf16(few[0], PANELS * P + 3, x, k, R, w, P * k, k, 0, PANELS);
    for (size_t r = 0; r < R; r++)
        assert_near(few[r], want[r], PANELS * P, k, table->name);
    for (size_t m = 1; m < KERNEL_FEW; m++) {
        float again[R][PANELS * P];
        for (size_t from = 0; from < PANELS; from++) {
            kernel->few_dot_bf16(again[0], PANELS * P, x + k, k, m, w, P * k, k, from, PANELS);
            for (size_t r = 0; r < m; r++)
                assert_memory_equal(again[r], few[r + 1] + from * P,
                                    (PANELS - from) * P * sizeof(float));
        }
    }
    const size_t half = k / 4 * 2;
    for (size_t p = 0; p < PANELS; p++) {
        const uint16_t *at = w + p * P * k;
        if (half)
            kernel->tile_dot_bf16(tile[0], P + 1, tiled, at, half, true);
        kernel->tile_dot_bf16(tile[0], P + 1, tiled + half * R, at + half * P, k - half, half == 0);
        for (size_t r = 0; r < R; r++)
            assert_memory_equal(tile[r], few[r] + p * P, P * sizeof(float));
    }
    free(x);
    free(tiled);
    free(w);
}

static void test_pairs(void **user)
{
    (void)user;
    static const size_t KS[] = {2, 4, 34, 250};
    const KernelTable *all[KERNEL_CPUS + 1];
    for (size_t v = 0, n = versions(all); v < n; v++)
        for (size_t s = 0; all[v]->gemm->few_dot_bf16 && s < 4; s++)
            pairs_of(all[v], KS[s]);
}

/* Attention's tiles: any number of rows, columns in vectors, added to what is there or not. */
static void test_tile_pairs(void **user)
{
    (void)user;
    enum { ROWS = 27, INNER = 36, COLS = 112 };
    const KernelTable *all[KERNEL_CPUS + 1];
    uint16_t *a = room(ROWS * (INNER + 2) * 2), *b = room(INNER * (COLS + 16) * 2);
    float *c = room(ROWS * (COLS + 1) * sizeof *c), *first = room(ROWS * COLS * sizeof *first);
    for (size_t v = 0, n = versions(all); v < n; v++) {
        if (!all[v]->tile_pairs)
            continue;
        for (size_t i = 0; i < ROWS * (INNER + 2); i++)
            a[i] = half_of();
        for (size_t i = 0; i < INNER * (COLS + 16); i++)
            b[i] = half_of();
        for (size_t r = 0; r < ROWS; r++)
            all[v]->tile_pairs(first + r * COLS, COLS, a + r * (INNER + 2), INNER + 2, b, COLS + 16,
                               1, INNER, COLS, false);
        for (size_t rows = 1; rows <= ROWS; rows += rows < 13 ? 1 : 7)
            for (size_t cols = 16; cols <= COLS; cols += 48) {
                memset(c, 0x55, ROWS * (COLS + 1) * sizeof *c);
                all[v]->tile_pairs(c, COLS + 1, a, INNER + 2, b, COLS + 16, rows, 20, cols, false);
                /* The rest of the inner dimension: 20 is 10 rows of pairs. */
                all[v]->tile_pairs(c, COLS + 1, a + 20, INNER + 2, b + 10 * 2 * (COLS + 16),
                                   COLS + 16, rows, INNER - 20, cols, true);
                for (size_t r = 0; r < rows; r++) {
                    assert_memory_equal(c + r * (COLS + 1), first + r * COLS, cols * sizeof *c);
                    assert_true(memcmp(c + r * (COLS + 1) + cols, "UUUU", 4) == 0);
                }
            }
        for (size_t r = 0; r < ROWS; r++)
            for (size_t j = 0; j < COLS; j++) {
                double sum = 0;
                for (size_t i = 0; i < INNER; i++)
                    sum += (double)kernel_bf16(a[r * (INNER + 2) + i]) *
                           (double)kernel_bf16(b[(i / 2 * (COLS + 16) + j) * 2 + i % 2]);
                float want = (float)sum;
                assert_near(first + r * COLS + j, &want, 1, INNER, all[v]->name);
            }
    }
    free(a);
    free(b);
    free(c);
    free(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_tile_pairs),
    };
    const KernelTable *all[KERNEL_CPUS + 1];
    for (size_t v = 0, n = versions(all); v < n; v++)
        printf("runs: %s%s\n", all[v]->name, all[v]->tile_pairs ? "" : " (no bf16)");
    return cmocka_run_group_tests(tests, NULL, NULL);
}

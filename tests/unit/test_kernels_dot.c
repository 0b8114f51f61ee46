/*
 * Products in pairs of bf16 and fours of bytes: every version that this CPU has, and the source
 * over arrays of 16, against the definition; bytes exactly, bf16 to f32's rounding. A row has the
 * same bits in a block, among few, alone, and when k is cut.
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

enum { P = KERNEL_DOT_PANEL, PANELS = 4, GROUPS = 2, ROWS = GROUPS * KERNEL_DOT_ROWS };

static size_t versions(const KernelTable *out[KERNEL_CPUS + 1])
{
    size_t n = 0;
    out[n++] = &kernels_arrays;
    for (int cpu = 0; cpu < KERNEL_CPUS; cpu++) {
        const KernelTable *table = kernels_of((KernelCpu)cpu);
        if (table && table->gemm->few_dot_u8) {
            assert_true(table->gemm->dot_rows <= KERNEL_DOT_ROWS);
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

/* Bytes of a row of `bytes` in a group: whole turns. */
static size_t padded(const GemmKernels *kernel, size_t bytes)
{
    return (bytes + kernel->dot_bytes - 1) / kernel->dot_bytes * kernel->dot_bytes;
}

/* Rows of `bytes` -> groups as blocks take them; what is behind a row's end is not zero. */
static void *interleave(const GemmKernels *kernel, const void *rows, size_t bytes)
{
    const size_t R = kernel->dot_rows, group = R * padded(kernel, bytes), turn = kernel->dot_bytes;
    char *out = room(GROUPS * group);
    for (size_t r = 0; r < GROUPS * R; r++)
        for (size_t i = 0; i < bytes; i++)
            out[r / R * group + (i / turn * R + r % R) * turn + i % turn] =
                ((const char *)rows)[r * bytes + i];
    return out;
}

/* A block over steps at .. at + n - 1 of k, of values of `bytes`. */
static KernelDotBlock block_of(const GemmKernels *kernel, size_t groups, size_t panels, size_t k,
                               size_t at, size_t n, size_t bytes)
{
    return (KernelDotBlock){.groups = groups,
                            .panels = panels,
                            .k = n,
                            .y_stride = PANELS * P + 3,
                            .x_group = kernel->dot_rows * padded(kernel, k * bytes) / bytes,
                            .w_panel = P * k,
                            .first = at == 0,
                            .ahead = n * P * bytes,
                            .ahead_bytes = (k - at - n) * P * bytes};
}

/* About half of k, where a product may be cut. */
static size_t half_of(const GemmKernels *kernel, size_t k, size_t bytes)
{
    return k * bytes / 2 / kernel->dot_bytes * kernel->dot_bytes / bytes;
}

/* --- bytes --- */

/* extreme: the largest products, of either sign, and the most of them. */
static void bytes_of(const KernelTable *table, size_t k, int extreme)
{
    const GemmKernels *kernel = table->gemm;
    const size_t R = kernel->dot_rows;
    int8_t *x = room(ROWS * k);
    uint8_t *w = room(PANELS * P * k);
    int32_t offset[ROWS] = {0}, want[ROWS][PANELS * P], got[ROWS][PANELS * P + 3];
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = 0; i < k; i++) {
            int value = extreme ? (extreme > 1 && r % 2 ? -127 : 127) : (int)(next() % 255) - 127;
            x[r * k + i] = (int8_t)value;
            offset[r] -= 128 * value;
        }
    memset(want, 0, sizeof want);
    for (size_t c = 0; c < PANELS * P; c++)
        for (size_t i = 0; i < k; i++) {
            int value = extreme ? (c % 3 ? 127 : -127) : (int)(next() % 255) - 127;
            w[c / P * P * k + (i / 4 * P + c % P) * 4 + i % 4] = (uint8_t)(value + 128);
            for (size_t r = 0; r < ROWS; r++)
                want[r][c] += x[r * k + i] * value;
        }
    int8_t *tiled = interleave(kernel, x, k);
    const size_t half = half_of(kernel, k, 1);
    for (size_t groups = 1; groups <= GROUPS; groups++)
        for (size_t panels = 1; panels <= PANELS; panels++) {
            memset(got, 0x55, sizeof got);
            KernelDotBlock b = block_of(kernel, groups, panels, k, 0, half, 1);
            if (half)
                kernel->dot_u8(&b, got[0], tiled, offset, w);
            b = block_of(kernel, groups, panels, k, half, k - half, 1);
            kernel->dot_u8(&b, got[0], tiled + half * R, offset, w + half * P);
            for (size_t r = 0; r < groups * R; r++) {
                assert_memory_equal(got[r], want[r], panels * P * sizeof(int32_t));
                assert_int_equal(got[r][panels * P], 0x55555555);
            }
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

static uint16_t any_bf16(void)
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
    const size_t R = kernel->dot_rows;
    uint16_t *x = room(ROWS * k * 2), *w = room(PANELS * P * k * 2);
    float want[ROWS][PANELS * P], few[ROWS][PANELS * P + 3], got[ROWS][PANELS * P + 3];
    for (size_t i = 0; i < ROWS * k; i++)
        x[i] = any_bf16();
    for (size_t i = 0; i < PANELS * P * k; i++)
        w[i] = any_bf16();
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < PANELS * P; c++) {
            double sum = 0;
            for (size_t i = 0; i < k; i++)
                sum += (double)kernel_bf16(x[r * k + i]) *
                       (double)kernel_bf16(w[c / P * P * k + (i / 2 * P + c % P) * 2 + i % 2]);
            want[r][c] = (float)sum;
        }
    memset(few, 0x55, sizeof few);
    for (size_t r = 0; r < ROWS; r += KERNEL_FEW) {
        const size_t m = ROWS - r < KERNEL_FEW ? ROWS - r : KERNEL_FEW;
        kernel->few_dot_bf16(few[r], PANELS * P + 3, x + r * k, k, m, w, P * k, k, 0, PANELS);
    }
    for (size_t r = 0; r < ROWS; r++)
        assert_near(few[r], want[r], PANELS * P, k, table->name);
    for (size_t m = 1; m < KERNEL_FEW; m++) {
        float again[KERNEL_FEW][PANELS * P];
        for (size_t from = 0; from < PANELS; from++) {
            kernel->few_dot_bf16(again[0], PANELS * P, x + k, k, m, w, P * k, k, from, PANELS);
            for (size_t r = 0; r < m; r++)
                assert_memory_equal(again[r], few[r + 1] + from * P,
                                    (PANELS - from) * P * sizeof(float));
        }
    }
    uint16_t *tiled = interleave(kernel, x, k * 2);
    const size_t half = half_of(kernel, k, 2);
    for (size_t groups = 1; groups <= GROUPS; groups++)
        for (size_t panels = 1; panels <= PANELS; panels++) {
            memset(got, 0x55, sizeof got);
            KernelDotBlock b = block_of(kernel, groups, panels, k, 0, half, 2);
            if (half)
                kernel->dot_bf16(&b, got[0], tiled, w);
            b = block_of(kernel, groups, panels, k, half, k - half, 2);
            kernel->dot_bf16(&b, got[0], tiled + half * R, w + half * P);
            for (size_t r = 0; r < groups * R; r++) {
                assert_memory_equal(got[r], few[r], panels * P * sizeof(float));
                assert_true(memcmp(got[r] + panels * P, "UUUU", 4) == 0);
            }
        }
    free(x);
    free(tiled);
    free(w);
}

static void test_pairs(void **user)
{
    (void)user;
    static const size_t KS[] = {2, 4, 34, 64, 250};
    const KernelTable *all[KERNEL_CPUS + 1];
    for (size_t v = 0, n = versions(all); v < n; v++)
        for (size_t s = 0; all[v]->gemm->few_dot_bf16 && s < 5; s++)
            pairs_of(all[v], KS[s]);
}

/* Attention's tiles: any number of rows, columns in vectors, added to what is there or not. */
static void test_tile_pairs(void **user)
{
    (void)user;
    enum { MOST = 91, INNER = 100, COLS = 112, CUT = 64 };
    const KernelTable *all[KERNEL_CPUS + 1];
    uint16_t *a = room(MOST * (INNER + 2) * 2), *b = room(INNER * (COLS + 16) * 2);
    float *c = room(MOST * (COLS + 1) * sizeof *c), *first = room(MOST * COLS * sizeof *first);
    for (size_t v = 0, n = versions(all); v < n; v++) {
        if (!all[v]->tile_pairs)
            continue;
        for (size_t i = 0; i < MOST * (INNER + 2); i++)
            a[i] = any_bf16();
        for (size_t i = 0; i < INNER * (COLS + 16); i++)
            b[i] = any_bf16();
        for (size_t r = 0; r < MOST; r++)
            all[v]->tile_pairs(first + r * COLS, COLS, a + r * (INNER + 2), INNER + 2, b, COLS + 16,
                               1, INNER, COLS, false);
        for (size_t rows = 1; rows <= MOST; rows += rows < 13 ? 1 : 13)
            for (size_t cols = 16; cols <= COLS; cols += 48) {
                memset(c, 0x55, MOST * (COLS + 1) * sizeof *c);
                all[v]->tile_pairs(c, COLS + 1, a, INNER + 2, b, COLS + 16, rows, CUT, cols, false);
                /* The rest of the inner dimension. */
                all[v]->tile_pairs(c, COLS + 1, a + CUT, INNER + 2, b + CUT * (COLS + 16),
                                   COLS + 16, rows, INNER - CUT, cols, true);
                for (size_t r = 0; r < rows; r++) {
                    assert_memory_equal(c + r * (COLS + 1), first + r * COLS, cols * sizeof *c);
                    assert_true(memcmp(c + r * (COLS + 1) + cols, "UUUU", 4) == 0);
                }
            }
        for (size_t r = 0; r < MOST; r++)
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

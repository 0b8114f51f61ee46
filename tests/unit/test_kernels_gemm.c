/*
 * The kernels of large products: every version that this CPU has, and the wide version's source
 * over arrays of 16, against the plain one; integers exactly, floats to rounding. The plain ones
 * against the definition, through rows that panels_row gives back. Extremes: the largest products
 * that the sums of 16 bits must hold, zeros, odd k, NaN and infinities in the inputs.
 */
#include "model/kernels_gemm.h"
#include "model/kernels_table.h"
#include "model/panels.h"
#include "vectors16.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "model/kernels_body.h"

#include "model/kernels_gemm_body.h"

static const GemmKernels gemm_arrays = {BODY_GEMM};
/* That table's other kernels are test_kernels.c's. */
static const KernelTable kernels_arrays
    __attribute__((unused)) = {BODY_TABLE(KERNEL_AVX512, "arrays of 16", &gemm_arrays)};

typedef struct Version {
    const char *name;
    const GemmKernels *k;
} Version;

/* The plain one first. */
static size_t versions(Version out[KERNEL_CPUS + 1])
{
    size_t n = 0;
    for (int cpu = 0; cpu < KERNEL_CPUS; cpu++)
        if (kernels_of((KernelCpu)cpu))
            out[n++] =
                (Version){kernels_of((KernelCpu)cpu)->name, kernels_of((KernelCpu)cpu)->gemm};
    out[n++] = (Version){"arrays of 16", &gemm_arrays};
    return n;
}

static uint32_t state = 12345;

static uint32_t next(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static float value(void)
{
    return (float)next() / 4294967296.0f * 2 - 1;
}

/* How the integers of a test are drawn. */
typedef enum Draw { DRAW_ANY, DRAW_LARGEST, DRAW_SMALLEST, DRAW_OPPOSITE, DRAW_ZERO, DRAWS } Draw;

static int draw(Draw how, int low, int high, bool weight)
{
    switch (how) {
    case DRAW_ANY:
        return low + (int)(next() % (unsigned)(high - low + 1));
    case DRAW_LARGEST:
        return high;
    case DRAW_SMALLEST:
        return low;
    case DRAW_OPPOSITE:
        return weight ? low : high;
    default:
        return 0;
    }
}

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    assert_non_null(p);
    memset(p, 0, (bytes + 127) / 64 * 64);
    return p;
}

static void assert_floats(const float *got, const float *want, size_t n, double tolerance,
                          const char *name, const char *kernel)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= tolerance))
            fail_msg("%s of %s: element %zu is %.9g, expected %.9g", kernel, name, i,
                     (double)got[i], (double)want[i]);
}

/* --- s8 --- */

/* y[r][c] of x rows [rows][k] and panels. */
static int32_t dot_s8(const int16_t *x, const int8_t *panel, size_t k, size_t c)
{
    int64_t sum = 0;
    for (size_t i = 0; i < k; i++)
        sum += (int64_t)x[i] * panel[(i / 2 * KERNEL_PANEL + c) * 2 + i % 2];
    assert_true(sum >= INT32_MIN && sum <= INT32_MAX);
    return (int32_t)sum;
}

static void test_s8(void **user)
{
    (void)user;
    enum { PANELS = 5 };
    static const size_t KS[] = {2, 4, 34, 250};
    Version all[KERNEL_CPUS + 1];
    for (size_t v = 0, n = versions(all); v < n; v++)
        for (int how = 0; how < DRAWS; how++)
            for (size_t s = 0; s < 4; s++) {
                const GemmKernels *kernel = all[v].k;
                const size_t k = KS[s], R = kernel->tile_rows, W = kernel->tile_width;
                int8_t *w = room(PANELS * k * KERNEL_PANEL);
                int16_t *x = room(KERNEL_FEW * k * sizeof *x), *tiled = room(R * k * sizeof *x);
                int16_t *wide = room(W * k * sizeof *wide);
                int32_t *y = room(R * (W + 3) * sizeof *y);
                for (size_t i = 0; i < PANELS * k * KERNEL_PANEL; i++)
                    w[i] = (int8_t)draw((Draw)how, -127, 127, true);
                for (size_t i = 0; i < KERNEL_FEW * k; i++)
                    x[i] = (int16_t)draw((Draw)how, -127, 127, false);
                for (size_t r = 0; r < R; r++)
                    for (size_t i = 0; i < k; i++)
                        tiled[(i / 2 * R + r) * 2 + i % 2] = x[r * k + i];
                for (size_t p = 0; p < W / KERNEL_PANEL; p++)
                    kernel->widen_s8(wide + 2 * p * KERNEL_PANEL, W, w + p * k * KERNEL_PANEL, k);
                /* In two pieces. */
                size_t half = k / 4 * 2;
                kernel->tile_s8(y, W + 3, tiled, wide, half, true);
                kernel->tile_s8(y, W + 3, tiled + half * R, wide + half * W, k - half, false);
                for (size_t r = 0; r < R; r++)
                    for (size_t c = 0; c < W; c++)
                        assert_int_equal(y[r * (W + 3) + c],
                                         dot_s8(x + r * k, w + c / KERNEL_PANEL * k * KERNEL_PANEL,
                                                k, c % KERNEL_PANEL));
                int32_t few[KERNEL_FEW * PANELS * KERNEL_PANEL];
                for (size_t m = 1; m <= KERNEL_FEW; m++)
                    for (size_t from = 0; from < PANELS; from++) {
                        memset(few, 0x55, sizeof few);
                        kernel->few_s8(few, PANELS * KERNEL_PANEL, x, k, m, w, k * KERNEL_PANEL, k,
                                       from, PANELS);
                        for (size_t r = 0; r < m; r++)
                            for (size_t c = 0; c < (PANELS - from) * KERNEL_PANEL; c++)
                                assert_int_equal(
                                    few[r * PANELS * KERNEL_PANEL + c],
                                    dot_s8(x + r * k,
                                           w + (from + c / KERNEL_PANEL) * k * KERNEL_PANEL, k,
                                           c % KERNEL_PANEL));
                    }
                free(w);
                free(x);
                free(tiled);
                free(wide);
                free(y);
            }
}

/* --- int4 --- */

enum { Q4_PANELS = 3, Q4_MAX_GROUPS = 5 };

typedef struct Q4 {
    size_t groups;
    uint8_t w[Q4_PANELS * Q4_MAX_GROUPS * KERNEL_PANEL * KERNEL_GROUP / 2];
    uint16_t scale[Q4_PANELS * Q4_MAX_GROUPS * KERNEL_PANEL];
    int8_t x[KERNEL_TILE_ROWS][Q4_MAX_GROUPS * KERNEL_GROUP];
    float x_scale[KERNEL_TILE_ROWS][Q4_MAX_GROUPS];
} Q4;

static int32_t q4_offset(const int8_t *x)
{
    int32_t sum = 0;
    for (size_t i = 0; i < KERNEL_GROUP; i++)
        sum -= 8 * x[i];
    return sum;
}

static float dot_q4(const Q4 *q, size_t r, size_t c)
{
    const size_t p = c / KERNEL_PANEL, in = c % KERNEL_PANEL;
    float sum = 0;
    for (size_t g = 0; g < q->groups; g++) {
        int of_group = 0;
        for (size_t i = 0; i < KERNEL_GROUP; i++) {
            size_t at = (p * q->groups + g) * KERNEL_PANEL * KERNEL_GROUP / 2 +
                        i / 8 * 4 * KERNEL_PANEL + in * 4 + i % 4;
            int w = (i / 4 % 2 ? q->w[at] >> 4 : q->w[at] & 15) - 8;
            of_group += w * q->x[r][g * KERNEL_GROUP + i];
        }
        float scale =
            q->x_scale[r][g] * kernel_bf16(q->scale[(p * q->groups + g) * KERNEL_PANEL + in]);
        sum = fmaf(scale, (float)of_group, sum);
    }
    return sum;
}

static void test_q4(void **user)
{
    (void)user;
    Version all[KERNEL_CPUS + 1];
    Q4 *q = calloc(1, sizeof *q);
    assert_non_null(q);
    for (size_t v = 0, n = versions(all); v < n; v++)
        for (int how = 0; how < DRAWS; how++)
            for (q->groups = 1; q->groups <= Q4_MAX_GROUPS; q->groups++) {
                const GemmKernels *kernel = all[v].k;
                const size_t R = kernel->q4_rows, W = kernel->tile_width, groups = q->groups;
                const size_t k = groups * KERNEL_GROUP;
                for (size_t i = 0; i < sizeof q->w; i++)
                    q->w[i] = (uint8_t)(draw((Draw)how, -8, 7, true) + 8) |
                              (uint8_t)((draw((Draw)how, -8, 7, true) + 8) << 4);
                for (size_t i = 0; i < sizeof q->scale / sizeof q->scale[0]; i++) {
                    q->scale[i] = kernel_to_bf16(value());
                }
                int8_t *values = room(R * k);
                int32_t *offset = room(R * groups * 4);
                float *scale = room(R * groups * sizeof *scale);
                for (size_t r = 0; r < KERNEL_FEW; r++) {
                    for (size_t i = 0; i < k; i++)
                        q->x[r][i] = (int8_t)draw((Draw)how, -127, 127, false);
                    for (size_t g = 0; g < groups; g++)
                        q->x_scale[r][g] = value();
                }
                for (size_t r = 0; r < R; r++)
                    for (size_t i = 0; i < k; i++)
                        values[(i / 4 * R + r) * 4 + i % 4] = q->x[r][i];
                for (size_t r = 0; r < R; r++)
                    for (size_t g = 0; g < groups; g++) {
                        scale[g * R + r] = q->x_scale[r][g];
                        offset[g * R + r] = q4_offset(q->x[r] + g * KERNEL_GROUP);
                    }
                float *y = room(R * (W + 5) * sizeof *y);
                KernelQ4Rows in = {values, offset, scale};
                for (size_t p = 0; p < Q4_PANELS; p++) {
                    /* The last one is alone: where a tile is two panels, it is both. */
                    const bool alone = p + 1 == Q4_PANELS;
                    kernel->tile_q4(
                        y, W + 5, &in, q->w + p * groups * KERNEL_PANEL * KERNEL_GROUP / 2,
                        q->scale + p * groups * KERNEL_PANEL, alone ? 0 : groups, groups);
                    for (size_t r = 0; r < R; r++)
                        for (size_t c = 0; c < W; c++) {
                            size_t of = p * KERNEL_PANEL + (alone ? c % KERNEL_PANEL : c);
                            float want = dot_q4(q, r, of);
                            assert_memory_equal(&y[r * (W + 5) + c], &want, sizeof want);
                        }
                }
                for (size_t m = 1; m <= KERNEL_FEW; m++) {
                    float few[KERNEL_FEW * Q4_PANELS * KERNEL_PANEL];
                    int32_t offsets[KERNEL_FEW][Q4_MAX_GROUPS];
                    KernelQ4Rows rows[KERNEL_FEW];
                    for (size_t r = 0; r < m; r++) {
                        for (size_t g = 0; g < groups; g++)
                            offsets[r][g] = q4_offset(q->x[r] + g * KERNEL_GROUP);
                        rows[r] = (KernelQ4Rows){q->x[r], offsets[r], q->x_scale[r]};
                    }
                    kernel->few_q4(few, Q4_PANELS * KERNEL_PANEL, rows, m, q->w, q->scale, groups,
                                   1, Q4_PANELS);
                    for (size_t r = 0; r < m; r++)
                        for (size_t c = 0; c < (Q4_PANELS - 1) * KERNEL_PANEL; c++) {
                            float want = dot_q4(q, r, c + KERNEL_PANEL);
                            assert_memory_equal(&few[r * Q4_PANELS * KERNEL_PANEL + c], &want,
                                                sizeof want);
                        }
                }
                free(values);
                free(offset);
                free(scale);
                free(y);
            }
    free(q);
}

/* --- floats --- */

static void test_floats(void **user)
{
    (void)user;
    enum { PANELS = 9 };
    static const size_t KS[] = {1, 2, 7, 64, 129};
    Version all[KERNEL_CPUS + 1];
    for (size_t v = 0, n = versions(all); v < n; v++)
        for (int bf16 = 0; bf16 < 2; bf16++)
            for (size_t s = 0; s < 5; s++) {
                const GemmKernels *kernel = all[v].k;
                const size_t k = KS[s], steps = (k + 1) / 2 * 2, panel = steps * KERNEL_PANEL;
                const size_t R = kernel->tile_rows, W = kernel->tile_width;
                float *w = room(PANELS * panel * sizeof *w), *x = room(KERNEL_FEW * k * sizeof *x);
                uint16_t *narrow = room(PANELS * panel * sizeof *narrow);
                /* As rows: [column][k] */
                float *rows = room(PANELS * KERNEL_PANEL * k * sizeof *rows);
                for (size_t c = 0; c < PANELS * KERNEL_PANEL; c++)
                    for (size_t i = 0; i < k; i++) {
                        float one = value();
                        uint16_t half = kernel_to_bf16(one);
                        size_t p = c / KERNEL_PANEL * panel, in = c % KERNEL_PANEL;
                        rows[c * k + i] = w[p + i * KERNEL_PANEL + in] = kernel_bf16(half);
                        narrow[p + (i / 2 * KERNEL_PANEL + in) * 2 + i % 2] = half;
                    }
                for (size_t i = 0; i < KERNEL_FEW * k; i++)
                    x[i] = value();
                float *wide = room(W * steps * sizeof *wide);
                float *y = room(R * (W + 1) * sizeof *y);
                float *want = room(KERNEL_FEW * PANELS * KERNEL_PANEL * sizeof *want);
                for (size_t r = 0; r < KERNEL_FEW; r++)
                    for (size_t c = 0; c < PANELS * KERNEL_PANEL; c++) {
                        double sum = 0;
                        for (size_t i = 0; i < k; i++)
                            sum += (double)x[r * k + i] * (double)rows[c * k + i];
                        want[r * PANELS * KERNEL_PANEL + c] = (float)sum;
                    }
                for (size_t p = 0; p < W / KERNEL_PANEL; p++)
                    if (bf16)
                        kernel->widen_bf16(wide + p * KERNEL_PANEL, W, narrow + p * panel, k);
                    else
                        kernel->widen_f32(wide + p * KERNEL_PANEL, W, w + p * panel, k);
                size_t half = k / 4 * 2;
                kernel->tile_f32(y, W + 1, x, k, wide, half, true);
                kernel->tile_f32(y, W + 1, x + half, k, wide + half * W, k - half, false);
                for (size_t r = 0; r < R; r++)
                    assert_floats(y + r * (W + 1), want + r * PANELS * KERNEL_PANEL, W, 1e-5,
                                  all[v].name, "tile_f32");
                for (size_t m = 1; m <= KERNEL_FEW; m++) {
                    float few[KERNEL_FEW][PANELS * KERNEL_PANEL];
                    if (bf16)
                        kernel->few_bf16(few[0], PANELS * KERNEL_PANEL, x, k, m, narrow, panel, k,
                                         0, PANELS);
                    else
                        kernel->few_f32(few[0], PANELS * KERNEL_PANEL, x, k, m, w, panel, k, 0,
                                        PANELS);
                    for (size_t r = 0; r < m; r++) {
                        assert_floats(few[r], want + r * PANELS * KERNEL_PANEL,
                                      PANELS * KERNEL_PANEL, 1e-5, all[v].name, "few");
                        /* The same bits as in a tile. */
                        if (r < R)
                            assert_memory_equal(few[r], y + r * (W + 1), W * sizeof(float));
                    }
                }
                free(w);
                free(x);
                free(narrow);
                free(rows);
                free(wide);
                free(y);
                free(want);
            }
}

/* --- around them --- */

static void test_rounding(void **user)
{
    (void)user;
    Version all[KERNEL_CPUS + 1];
    for (size_t v = 0, n = versions(all); v < n; v++)
        for (size_t size = 1; size < 70; size++) {
            const GemmKernels *kernel = all[v].k, *plain = all[0].k;
            float x[70], y[70], want[70], scale[70];
            int8_t got[70], expected[70];
            for (size_t i = 0; i < size; i++) {
                x[i] = value();
                scale[i] = value();
                int32_t sum = (int32_t)next() / 64;
                memcpy(y + i, &sum, sizeof sum);
            }
            x[size / 2] = 1;
            memcpy(want, y, sizeof want);
            assert_true(kernel->largest(x, size) == plain->largest(x, size));
            assert_true(kernel->largest(x, size) == 1);
            kernel->round_s8(got, x, size, 127);
            for (size_t i = 0; i < size; i++)
                expected[i] = (int8_t)rintf(x[i] * 127);
            assert_memory_equal(got, expected, size);
            kernel->finish_s8(y, size, 0.37f, scale);
            plain->finish_s8(want, size, 0.37f, scale);
            assert_memory_equal(y, want, size * sizeof *y);
            /* In every place, also behind the last whole vector. */
            for (size_t i = 0; i < size; i++) {
                float kept = x[i];
                x[i] = -3;
                assert_true(kernel->largest(x, size) == 3);
                x[i] = NAN;
                assert_false(isfinite(kernel->largest(x, size)));
                x[i] = -INFINITY;
                assert_false(isfinite(kernel->largest(x, size)));
                x[i] = kept;
            }
        }
}

/* Quantising gives the same bits on all CPUs, whatever a column holds. */
static void test_pack_q4(void **user)
{
    (void)user;
    enum { W = KERNEL_PANEL, BYTES = KERNEL_PANEL * KERNEL_GROUP / 2 };
    Version all[KERNEL_CPUS + 1];
    const size_t n = versions(all);
    for (int round = 0; round < 200; round++) {
        float values[KERNEL_GROUP * W], scale[W], want_scale[W];
        uint8_t got[BYTES], want[BYTES];
        for (size_t i = 0; i < KERNEL_GROUP * W; i++) {
            float x = value() * 0.03f, magnitude = fabsf(value());
            values[i] = kernel_bf16(kernel_to_bf16(x * magnitude));
        }
        for (size_t i = 0; i < KERNEL_GROUP; i++) {
            float *row = values + i * W;
            row[round % W] = 0;
            row[(round + 1) % W] = (float)(int)(next() % 16) - 8;         /* many equal ones */
            row[(round + 2) % W] = value() * 5e-31f * (float)(round % 4); /* squares are 0 */
            row[(round + 3) % W] = value() * 1e19f;                       /* sums overflow */
        }
        /* The largest of both signs, and any of them first. */
        values[next() % 16 * W + (round + 4) % W] = 1;
        values[next() % 32 * W + (round + 4) % W] = -1;
        values[next() % 32 * W + (round + 5) % W] = NAN;
        values[next() % 32 * W + (round + 6) % W] = -INFINITY;
        all[0].k->pack_q4(want, want_scale, values);
        assert_true(want_scale[(round + 6) % W] == 0 && want_scale[round % W] == 0);
        assert_true(want_scale[(round + 4) % W] != 0);
        for (size_t v = 1; v < n; v++) {
            memset(got, 0x55, sizeof got);
            all[v].k->pack_q4(got, scale, values);
            for (size_t c = 0; c < W; c++)
                if (memcmp(&scale[c], &want_scale[c], sizeof *scale) != 0)
                    fail_msg("pack_q4 of %s: scale %zu of round %d is %.9g, expected %.9g",
                             all[v].name, c, round, (double)scale[c], (double)want_scale[c]);
            assert_memory_equal(got, want, sizeof want);
        }
    }
}

/* What is packed comes back within half a step of its scale, and the scale is the best. */
static void test_panels(void **user)
{
    (void)user;
    static const size_t NS[] = {1, 16, 37}, KS[] = {1, 31, 64, 129};
    for (size_t a = 0; a < 3; a++)
        for (size_t b = 0; b < 4; b++)
            for (int kind = PANELS_F32; kind <= PANELS_Q4; kind++) {
                const size_t n = NS[a], k = KS[b];
                float *rows = room(n * k * sizeof *rows), *row = room(k * sizeof *row);
                for (size_t i = 0; i < n * k; i++)
                    rows[i] = value() * (float)(1 + i / k);
                if (n > 2) /* a row of zeros, and one outlier */
                    memset(rows + k, 0, k * sizeof *rows);
                rows[0] = 50;
                Panels p;
                assert_true(panels_init(&p, (PanelsKind)kind, n, k, true, NULL));
                void *block = room(p.bytes);
                assert_true(panels_init(&p, (PanelsKind)kind, n, k, true, block));
                float *bias = room(n * sizeof *bias);
                bias[n - 1] = 4;
                assert_int_equal(panels_pack(&p, rows, false, bias), 0);
                assert_true(p.bias[n - 1] == 4);
                for (size_t r = 0; r < n; r++) {
                    panels_row(&p, r, row);
                    for (size_t i = 0; i < k; i++) {
                        float largest = 0;
                        size_t from = kind == PANELS_Q4 ? i / 32 * 32 : 0;
                        size_t to = kind == PANELS_Q4 && from + 32 < k ? from + 32 : k;
                        for (size_t j = from; j < to; j++)
                            largest = fmaxf(largest, fabsf(rows[r * k + j]));
                        float bound =
                            kind == PANELS_F32 ? 0
                            : kind == PANELS_BF16 || kind == PANELS_PAIRS
                                ? fabsf(rows[r * k + i]) / 256
                            : kind == PANELS_S8 || kind == PANELS_U8
                                ? largest * 0.501f / 127
                                : largest / 6; /* the largest may be cut, and the scale is bf16 */
                        if (!(fabsf(row[i] - rows[r * k + i]) <= bound))
                            fail_msg("kind %d n=%zu k=%zu: (%zu, %zu) is %g, was %g", kind, n, k, r,
                                     i, (double)row[i], (double)rows[r * k + i]);
                    }
                }
                free(rows);
                free(row);
                free(block);
                free(bias);
            }
    /* Values that 4 bits can hold exactly, come back exactly. */
    float exact[32], out[32];
    for (int i = 0; i < 32; i++)
        exact[i] = (float)(i % 16 - 8) * 0.5f;
    Panels p;
    assert_true(panels_init(&p, PANELS_Q4, 1, 32, false, NULL));
    void *block = room(p.bytes);
    assert_true(panels_init(&p, PANELS_Q4, 1, 32, false, block));
    assert_int_equal(panels_pack(&p, exact, false, NULL), 0);
    panels_row(&p, 0, out);
    assert_memory_equal(out, exact, sizeof exact);
    free(block);
    assert_false(panels_init(&p, PANELS_F32, SIZE_MAX / 8, 16, false, NULL));
    assert_false(panels_init(&p, PANELS_F32, SIZE_MAX / 100, SIZE_MAX / 100, false, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_s8),      cmocka_unit_test(test_q4),
        cmocka_unit_test(test_floats),  cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_pack_q4), cmocka_unit_test(test_panels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

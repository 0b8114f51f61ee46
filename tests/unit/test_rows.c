/* Row loops in the form that runs here: the same bits as plain arithmetic, nothing outside. */
#include "pipeline/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static uint32_t seed = 3;

static uint8_t any(void)
{
    seed = seed * 1664525 + 1013904223;
    return (uint8_t)(seed >> 24);
}

static uint8_t clamped(int x)
{
    return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
}

static void test_to_rgb(void **state)
{
    (void)state;
    enum { MOST = 131 };
    const YuvMatrix m = yuv_matrix(0.2126, 0.0722, false);
    for (size_t n = 1; n <= MOST; n++)
        for (size_t step = 1; step <= 2; step++) {
            /* Exactly as long as it must be: what reads beyond is seen by the address sanitizer. */
            uint8_t y[MOST], uv[2 * MOST], rgb[3 * MOST + 1];
            size_t n_chroma = (n + 1) / 2;
            for (size_t i = 0; i < n; i++)
                y[i] = any();
            for (size_t i = 0; i < 2 * n_chroma; i++)
                uv[i] = any();
            const uint8_t *u = uv, *v = step == 2 ? uv + 1 : uv + n_chroma;
            rgb[3 * n] = 77;
            rows()->to_rgb(&m, y, u, v, step, n, rgb);
            for (size_t i = 0; i < n; i++) {
                int l = (y[i] * 8 - m.y_offset) * m.y >> 16;
                int cb = u[i / 2 * step] * 8 - 1024, cr = v[i / 2 * step] * 8 - 1024;
                assert_int_equal(rgb[3 * i], clamped(l + (cr * m.v_to_r >> 16)));
                assert_int_equal(rgb[3 * i + 1],
                                 clamped(l + (cb * m.u_to_g >> 16) + (cr * m.v_to_g >> 16)));
                assert_int_equal(rgb[3 * i + 2], clamped(l + (cb * m.u_to_b >> 16)));
            }
            assert_int_equal(rgb[3 * n], 77);
        }
}

static void test_weigh(void **state)
{
    (void)state;
    enum { MOST = 90, TAPS = 19 };
    for (size_t n = 1; n <= MOST; n++)
        for (int taps = 1; taps <= TAPS; taps++) {
            uint8_t src[TAPS * MOST];
            float weights[TAPS], out[MOST + 1];
            for (size_t i = 0; i < (size_t)taps * n; i++)
                src[i] = any();
            for (int j = 0; j < taps; j++)
                weights[j] = ((float)any() - 60) / 977;
            out[n] = 77;
            rows()->weigh(src, n, n, weights, taps, out);
            for (size_t i = 0; i < n; i++) {
                float sum = 0; /* in fours, as rows.h promises the same floats everywhere */
                int j = 0;
                for (; j + 4 <= taps; j += 4) {
                    const float *w = weights + j;
                    const uint8_t *p = src + (size_t)j * n + i;
                    sum += (w[0] * (float)p[0] + w[1] * (float)p[n]) +
                           (w[2] * (float)p[2 * n] + w[3] * (float)p[3 * n]);
                }
                for (; j < taps; j++)
                    sum += weights[j] * (float)src[(size_t)j * n + i];
                assert_true(out[i] == sum);
            }
            assert_true(out[n] == 77);
        }
}

int main(void)
{
    print_message("rows: %s\n", rows()->name);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_to_rgb), cmocka_unit_test(test_weigh)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

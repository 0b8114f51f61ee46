/* YUV to RGB: against the standards' formulas, every layout and size alike, nothing outside. */
#include "pipeline/yuv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void one_pixel(const YuvMatrix *m, int y, int u, int v, uint8_t rgb[3])
{
    const uint8_t yuv[3] = {(uint8_t)y, (uint8_t)u, (uint8_t)v};
    const YuvPicture p = {&yuv[0], &yuv[1], &yuv[2], 1, 1, 1, 1, 1, 1};
    yuv_to_rgb(m, &p, rgb, 3);
}

static double bounded(double x)
{
    return x < 0 ? 0 : x > 255 ? 255 : x;
}

/* All values: below the real result, by less than one level for each product cut. */
static void test_formula(void **state)
{
    (void)state;
    static const struct {
        double kr, kb;
        bool full;
    } KINDS[] = {{0.299, 0.114, false}, {0.2126, 0.0722, false}, {0.299, 0.114, true}};
    for (size_t k = 0; k < sizeof KINDS / sizeof KINDS[0]; k++) {
        const double kr = KINDS[k].kr, kb = KINDS[k].kb, kg = 1 - kr - kb;
        const bool full = KINDS[k].full;
        const YuvMatrix m = yuv_matrix(kr, kb, full);
        for (int y = 0; y < 256; y += 5)
            for (int u = 0; u < 256; u += 15)
                for (int v = 0; v < 256; v += 15) {
                    const double l = full ? y : (y - 16) * 255.0 / 219;
                    const double cb = (u - 128) * (full ? 1 : 255.0 / 224);
                    const double cr = (v - 128) * (full ? 1 : 255.0 / 224);
                    const double want[3] = {l + 2 * (1 - kr) * cr,
                                            l - 2 * (1 - kb) * kb / kg * cb -
                                                2 * (1 - kr) * kr / kg * cr,
                                            l + 2 * (1 - kb) * cb};
                    uint8_t rgb[3];
                    one_pixel(&m, y, u, v, rgb);
                    for (int i = 0; i < 3; i++)
                        if (rgb[i] > bounded(want[i] + 0.1) || rgb[i] < bounded(want[i] - 3.1))
                            fail_msg("yuv %d %d %d: value %d is %d, %.2f by the formula", y, u, v,
                                     i, rgb[i], want[i]);
                }
    }
}

static void test_known_values(void **state)
{
    (void)state;
    const YuvMatrix m = yuv_matrix(0.299, 0.114, false);
    assert_int_equal(m.y, 9539);
    assert_int_equal(m.v_to_r, 13075);
    assert_int_equal(m.u_to_b, 16525);
    assert_int_equal(m.u_to_g, -3209);
    assert_int_equal(m.v_to_g, -6660);
    uint8_t rgb[3];
    one_pixel(&m, 16, 128, 128, rgb);
    assert_true(rgb[0] == 0 && rgb[1] == 0 && rgb[2] == 0);
    one_pixel(&m, 235, 128, 128, rgb);
    assert_true(rgb[0] == 255 && rgb[1] == 255 && rgb[2] == 255);
}

/* Planes and NV12, padded rows, odd sides: the same pixels, and no byte beside them. */
static void test_layouts(void **state)
{
    (void)state;
    enum { W = 37, H = 11, CW = 19, CH = 6, PAD = 5 };
    static uint8_t y[H * (W + PAD)], u[CH * (CW + PAD)], v[CH * (CW + PAD)], uv[CH * 2 * CW];
    static uint8_t planes[H * (3 * W + PAD)], together[H * (3 * W + PAD)];
    const YuvMatrix m = yuv_matrix(0.2126, 0.0722, false);
    srand(1);
    for (size_t i = 0; i < sizeof y; i++)
        y[i] = (uint8_t)rand();
    for (size_t i = 0; i < CH; i++)
        for (size_t k = 0; k < CW; k++) {
            u[i * (CW + PAD) + k] = uv[i * 2 * CW + 2 * k] = (uint8_t)rand();
            v[i * (CW + PAD) + k] = uv[i * 2 * CW + 2 * k + 1] = (uint8_t)rand();
        }
    memset(planes, 7, sizeof planes);
    memset(together, 7, sizeof together);
    const YuvPicture p = {y, u, v, W + PAD, CW + PAD, CW + PAD, 1, W, H};
    const YuvPicture nv12 = {y, uv, uv + 1, W + PAD, 2 * CW, 2 * CW, 2, W, H};
    yuv_to_rgb(&m, &p, planes, 3 * W + PAD);
    yuv_to_rgb(&m, &nv12, together, 3 * W + PAD);
    assert_memory_equal(planes, together, sizeof planes);
    for (size_t i = 0; i < H; i++) {
        for (size_t k = 0; k < PAD; k++)
            assert_int_equal(planes[i * (3 * W + PAD) + 3 * W + k], 7);
        for (size_t k = 0; k < W; k++) {
            uint8_t rgb[3];
            one_pixel(&m, y[i * (W + PAD) + k], u[i / 2 * (CW + PAD) + k / 2],
                      v[i / 2 * (CW + PAD) + k / 2], rgb);
            assert_memory_equal(rgb, planes + i * (3 * W + PAD) + 3 * k, 3);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_formula),
                                       cmocka_unit_test(test_known_values),
                                       cmocka_unit_test(test_layouts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

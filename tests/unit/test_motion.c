/* Motion: nothing in noise and in changes of light, a walker is seen, a flicker is learnt. */
#include "pipeline/motion.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { W = 320, H = 180 };

static uint8_t picture[W * H];
static uint32_t seed = 7;

static int noise(int levels)
{
    seed = seed * 1664525 + 1013904223;
    return levels ? (int)((seed >> 16) % (uint32_t)(2 * levels + 1)) - levels : 0;
}

static float show(Motion *m, int i, int light, int levels, int box_x)
{
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            int v = 90 + x / 8 + light + noise(levels);
            if (x >= box_x && x < box_x + 24 && y >= 60 && y < 130)
                v += 60;
            picture[y * W + x] = (uint8_t)v;
        }
    return motion_measure(m, i * INT64_C(100000), picture, W, 1, W, H);
}

static void test_still(void **state)
{
    (void)state;
    Motion m = {0};
    for (int i = 0; i < 50; i++)
        assert_true(show(&m, i, 0, 12, -100) < 0.004f);
}

static void test_light(void **state)
{
    (void)state;
    Motion m = {0};
    for (int i = 0; i < 50; i++)
        assert_true(show(&m, i, i < 20 ? 0 : 15, 4, -100) < 0.004f);
}

static void test_walker(void **state)
{
    (void)state;
    Motion m = {0};
    for (int i = 0; i < 20; i++)
        show(&m, i, 0, 6, -100);
    for (int i = 20; i < 60; i++)
        assert_true(show(&m, i, 0, 6, (i - 20) * 7) > 0.01f);
    for (int i = 60; i < 110; i++)
        show(&m, i, 0, 6, -100);
    assert_true(show(&m, 110, 0, 6, -100) < 0.004f); /* gone and forgotten */
}

static void test_small_and_odd(void **state)
{
    (void)state;
    Motion m = {0};
    uint8_t tiny[5 * 3 * 3] = {0};
    assert_true(motion_measure(&m, 0, tiny, 15, 3, 5, 3) == 0);
    for (size_t i = 0; i < sizeof tiny; i++)
        tiny[i] = (uint8_t)(i % 15 < 6 ? 200 : 0);
    assert_true(motion_measure(&m, 100000, tiny, 15, 3, 5, 3) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_still), cmocka_unit_test(test_light),
                                       cmocka_unit_test(test_walker),
                                       cmocka_unit_test(test_small_and_odd)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

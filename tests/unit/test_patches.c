/* Where each pixel of two frames goes, and the odd last frame. */
#include "model/patches.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const VisionHparams VISION = {
    .in_channels = 3, .patch = 14, .merge = 2, .temporal_patch = 2};
/* Then a value is simply the level. */
static const PixelHparams PLAIN = {.mean = {0, 0, 0}, .std = {1 / 255.0f, 1 / 255.0f, 1 / 255.0f}};

enum { HEIGHT = 56, WIDTH = 84, VALUES = 1176 };

static uint8_t level(size_t frame, size_t y, size_t x, size_t c)
{
    return (uint8_t)(frame * 71 + y * 3 + x * 7 + c * 101 + y * x);
}

static void test_order(void **state)
{
    (void)state;
    enum { FRAMES = 3 };
    uint8_t *pixels[FRAMES];
    for (size_t f = 0; f < FRAMES; f++) {
        pixels[f] = malloc(HEIGHT * WIDTH * 3);
        assert_non_null(pixels[f]);
        for (size_t i = 0; i < (size_t)HEIGHT * WIDTH * 3; i++)
            pixels[f][i] = level(f, i / 3 / WIDTH, i / 3 % WIDTH, i % 3);
    }
    int32_t grid[3];
    assert_int_equal(patches_grid(&VISION, FRAMES, HEIGHT, WIDTH, grid), 0);
    assert_int_equal(grid[0], 2);
    assert_int_equal(grid[1], 4);
    assert_int_equal(grid[2], 6);
    size_t per_grid = 24;
    float *out = malloc(2 * per_grid * VALUES * sizeof *out);
    assert_non_null(out);
    patches_make(&VISION, &PLAIN, (const uint8_t *const *)pixels, FRAMES, HEIGHT, WIDTH, 0, 2, out);
    for (size_t t = 0; t < 2; t++)
        for (size_t row = 0; row < 4; row++)
            for (size_t column = 0; column < 6; column++)
                for (size_t v = 0; v < VALUES; v++) {
                    size_t cell = row / 2 * 3 + column / 2, in = row % 2 * 2 + column % 2;
                    size_t c = v / 392, f = v / 196 % 2, y = v / 14 % 14, x = v % 14;
                    size_t frame = t * 2 + f < FRAMES ? t * 2 + f : FRAMES - 1;
                    float want = level(frame, row * 14 + y, column * 14 + x, c);
                    float got = out[(t * per_grid + cell * 4 + in) * VALUES + v];
                    if (fabsf(got - want) > 1e-3f)
                        fail_msg("grid %zu patch (%zu, %zu) value %zu is %g, expected %g", t, row,
                                 column, v, (double)got, (double)want);
                }
    /* A grid alone is the same as among others. */
    float *alone = malloc(per_grid * VALUES * sizeof *alone);
    assert_non_null(alone);
    patches_make(&VISION, &PLAIN, (const uint8_t *const *)pixels, FRAMES, HEIGHT, WIDTH, 1, 1,
                 alone);
    assert_memory_equal(alone, out + per_grid * VALUES, per_grid * VALUES * sizeof *alone);
    free(alone);
    free(out);
    for (size_t f = 0; f < FRAMES; f++)
        free(pixels[f]);
}

static void test_scale(void **state)
{
    (void)state;
    PixelHparams scale = {.mean = {0.5f, 0.25f, 0}, .std = {0.5f, 0.25f, 1}};
    uint8_t *pixels = malloc(28 * 28 * 3);
    float *out = malloc(4 * VALUES * sizeof *out);
    assert_true(pixels && out);
    memset(pixels, 255, 28 * 28 * 3);
    const uint8_t *frames[] = {pixels};
    patches_make(&VISION, &scale, frames, 1, 28, 28, 0, 1, out);
    assert_true(fabsf(out[0] - 1) < 1e-6f);
    assert_true(fabsf(out[392] - 3) < 1e-6f);
    assert_true(fabsf(out[2 * 392] - 1) < 1e-6f);
    free(out);
    free(pixels);
}

static void test_refused(void **state)
{
    (void)state;
    int32_t grid[3];
    assert_int_equal(patches_grid(&VISION, 0, 28, 28, grid), -EINVAL);
    assert_int_equal(patches_grid(&VISION, 1, 28, 30, grid), -EINVAL);
    assert_int_equal(patches_grid(&VISION, 1, 14, 28, grid), -EINVAL);
    assert_int_equal(patches_grid(&VISION, 1, 0, 28, grid), -EINVAL);
    assert_int_equal(patches_grid(&VISION, 1, -28, 28, grid), -EINVAL);
    assert_int_equal(patches_grid(&VISION, 1, 28, 28, grid), 0);
    assert_int_equal(grid[0], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_scale),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Masks: which pixels are blanked, also when the picture is turned; and that motion leaves them. */
#include "pipeline/mask.h"
#include "pipeline/motion.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { W = 40, H = 20 };

static const float CORNER[] = {0, 0, 0.5f, 0, 0.5f, 0.25f, 0, 0.25f}; /* left half, top quarter */
static const float TRIANGLE[] = {0.5f, 0.5f, 1, 1, 0, 1};
static const MaskShape SHAPES[] = {{CORNER, 4}, {TRIANGLE, 3}};

static bool blank(const uint8_t *rgb, int x, int y)
{
    const uint8_t *p = rgb + (y * W + x) * 3;
    return p[0] == MASK_LEVEL && p[1] == MASK_LEVEL && p[2] == MASK_LEVEL;
}

static void test_blank(void **state)
{
    (void)state;
    uint8_t rgb[W * H * 3];
    Mask *mask;
    memset(rgb, 7, sizeof rgb);
    assert_int_equal(mask_new(SHAPES, 2, (MaskTurn){0}, W, H, &mask), 0);
    mask_blank(mask, rgb, W * 3);
    size_t n = 0;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            bool in = (x < 20 && y < 5) || mask_contains(SHAPES, 2, (x + 0.5) / W, (y + 0.5) / H);
            assert_int_equal(blank(rgb, x, y), in);
            n += in;
        }
    assert_int_equal(mask_pixels(mask), n);
    assert_true(n > 100 + 190 && n < 100 + 210); /* the triangle has a quarter of the picture */
    assert_true(blank(rgb, 20, 19) && !blank(rgb, 0, 12) && !blank(rgb, 20, 0));
    mask_free(mask);
}

/* The displayed top left quarter is elsewhere in the decoded picture. */
static void test_turned(void **state)
{
    (void)state;
    static const float quarter[] = {0, 0, 0.5f, 0, 0.5f, 0.5f, 0, 0.5f};
    const MaskShape shape = {quarter, 4};
    static const struct {
        MaskTurn turn;
        int x, y; /* a decoded pixel within it */
    } cases[] = {{{false, false, false}, 5, 2}, {{false, true, false}, 35, 2},
                 {{false, false, true}, 5, 17}, {{false, true, true}, 35, 17},
                 {{true, false, false}, 5, 2},  {{true, true, false}, 5, 17},
                 {{true, false, true}, 35, 2},  {{true, true, true}, 35, 17}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t rgb[W * H * 3] = {0};
        Mask *mask;
        assert_int_equal(mask_new(&shape, 1, cases[i].turn, W, H, &mask), 0);
        mask_blank(mask, rgb, W * 3);
        assert_int_equal(mask_pixels(mask), W * H / 4);
        assert_true(blank(rgb, cases[i].x, cases[i].y));
        mask_free(mask);
    }
}

static void test_motion(void **state)
{
    (void)state;
    enum { PW = 320, PH = 180 };
    static uint8_t luma[PW * PH];
    for (int masked = 0; masked < 2; masked++) {
        Motion m = {0};
        float most = 0;
        motion_set_mask(&m, SHAPES, masked ? 2 : 0, (MaskTurn){0});
        for (int i = 0; i < 20; i++) {
            memset(luma, 80, sizeof luma);
            for (int y = 10; y < 30; y++) /* a flag in the corner */
                memset(luma + y * PW + 20 + i * 4, 200, 30);
            float motion = motion_measure(&m, i * INT64_C(100000), luma, PW, 1, PW, PH);
            most = motion > most ? motion : most;
        }
        assert_true(masked ? most == 0 : most > 0.01f);
    }
    Motion all = {0};
    static const float whole[] = {0, 0, 1, 0, 1, 1, 0, 1};
    motion_set_mask(&all, &(MaskShape){whole, 4}, 1, (MaskTurn){0});
    for (int i = 0; i < 3; i++) {
        memset(luma, 80 * i, sizeof luma);
        assert_true(motion_measure(&all, i * INT64_C(100000), luma, PW, 1, PW, PH) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blank), cmocka_unit_test(test_turned),
                                       cmocka_unit_test(test_motion)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Told seconds against frames: what stands, what moves, and that nothing is turned round. */
#include "model/answer_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MOST = 40, PAIR = 2 };

static uint32_t seed = 5;

/* 0 <= x < 1 */
static double any(void)
{
    seed = seed * 1664525 + 1013904223;
    return (double)(seed >> 8) / (1 << 24);
}

static bool near(double a, double b)
{
    return a - b < 1e-9 && b - a < 1e-9;
}

static void check_even(size_t n, double spacing_s)
{
    double seconds[MOST];
    for (size_t i = 0; i < n; i++)
        seconds[i] = spacing_s * (double)i;
    AnswerClock clock = answer_clock(seconds, n, PAIR);
    const double last_s = seconds[n - 1];
    for (double told_s = 0; told_s <= last_s; told_s += 0.01)
        assert_true(near(answer_clock_seconds(&clock, told_s), told_s));
    assert_true(near(answer_clock_seconds(&clock, last_s), last_s));
    assert_true(near(answer_clock_seconds(&clock, last_s + 0.25), last_s));
    assert_true(near(answer_clock_seconds(&clock, 1e6), last_s));
}

/* Evenly spaced, in pairs or with an odd one: as told, up to the last frame. */
static void test_even(void **state)
{
    (void)state;
    const double spacings[] = {0.25, 1.0 / 3, 0.5, 1, 2};
    for (size_t s = 0; s < sizeof spacings / sizeof spacings[0]; s++)
        for (size_t n = 2; n <= MOST; n++)
            check_even(n, spacings[s]);
}

/* Any spacing: never falling, untouched up to the last grid, never behind the last frame, and the
 * last frame can be said. */
static void test_any(void **state)
{
    (void)state;
    for (int round = 0; round < 2000; round++) {
        double seconds[MOST] = {0};
        const size_t n = 2 + (size_t)(any() * (MOST - 2));
        for (size_t i = 1; i < n; i++)
            seconds[i] = seconds[i - 1] + (any() < 0.1 ? 0 : any() * 2);
        const double known_s = seconds[(n - 1) / PAIR * PAIR], last_s = seconds[n - 1];
        if (last_s <= 0)
            continue;
        AnswerClock clock = answer_clock(seconds, n, PAIR);
        double before_s = 0;
        for (double told_s = 0; told_s < last_s + 2; told_s += 0.03) {
            double real_s = answer_clock_seconds(&clock, told_s);
            assert_true(real_s >= before_s && real_s <= last_s);
            if (told_s <= known_s)
                assert_true(real_s == told_s);
            before_s = real_s;
        }
        assert_true(answer_clock_seconds(&clock, last_s) == last_s);
    }
}

/* Frames half a second apart, the last one later than that: where a model takes it to be, it is;
 * half way there is half way. Earlier than that: there is nothing behind it. */
static void test_last_pair(void **state)
{
    (void)state;
    double seconds[] = {0, 0.5, 1, 1.5, 2, 3};
    AnswerClock clock = answer_clock(seconds, 6, PAIR);
    assert_true(near(answer_clock_seconds(&clock, 2), 2));
    assert_true(near(answer_clock_seconds(&clock, 2.25), 2.5));
    assert_true(near(answer_clock_seconds(&clock, 2.5), 3));
    assert_true(near(answer_clock_seconds(&clock, 2.75), 3));
    seconds[5] = 2.25;
    clock = answer_clock(seconds, 6, PAIR);
    assert_true(near(answer_clock_seconds(&clock, 2.125), 2.125));
    assert_true(near(answer_clock_seconds(&clock, 2.5), 2.25));
    /* A first grid alone has no spacing before it. */
    clock = answer_clock(seconds + 4, 2, PAIR);
    assert_true(near(answer_clock_seconds(&clock, 2.125), 2.125));
    assert_true(near(answer_clock_seconds(&clock, 9), 2.25));
}

/* Nothing is known of how long a single moment lasted. */
static void test_moment(void **state)
{
    (void)state;
    const double seconds[] = {0, 0, 0};
    for (size_t n = 1; n <= 3; n++) {
        AnswerClock clock = answer_clock(seconds, n, PAIR);
        assert_true(answer_clock_seconds(&clock, 0) == 0);
        assert_true(answer_clock_seconds(&clock, 0.75) == 0.75);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even),
        cmocka_unit_test(test_any),
        cmocka_unit_test(test_last_pair),
        cmocka_unit_test(test_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

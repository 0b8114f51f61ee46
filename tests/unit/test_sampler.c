/* Which pictures become frames: the fixed rule, and the rate that follows motion. */
#include "pipeline/sampler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define S INT64_C(1000000)

static void check_fixed(double picture_fps, double fps, const int *want, size_t n)
{
    Sampler s;
    size_t got = 0;
    sampler_init(&s, fps, fps, fps);
    for (int i = 0; got < n; i++) {
        assert_true(i < 10000);
        if (!sampler_pass(&s, (int64_t)(i * 1e6 / picture_fps), 1))
            continue;
        assert_int_equal(i, want[got]);
        got++;
    }
}

static void test_fixed(void **state)
{
    (void)state;
    check_fixed(10, 2, (const int[]){0, 5, 10, 15, 20, 25}, 6);
    check_fixed(30000 / 1001.0, 2, (const int[]){0, 15, 30, 45, 60, 75}, 6);
    check_fixed(12.5, 2, (const int[]){0, 7, 13, 19, 25, 32}, 6);
    check_fixed(10, 4, (const int[]){0, 3, 5, 8, 10, 13}, 6);
    check_fixed(10, 0.5, (const int[]){0, 20, 40}, 3);
    check_fixed(10, 25, (const int[]){0, 1, 2, 3}, 4); /* more than there is */
    check_fixed(10, 0, (const int[]){0, 1, 2, 3}, 4);  /* all */
}

static void test_fixed_rounded_and_gaps(void **state)
{
    (void)state;
    Sampler s;
    sampler_init(&s, 2, 2, 2);
    assert_true(sampler_pass(&s, 0, 0));
    assert_false(sampler_pass(&s, 467000, 0));
    assert_true(sampler_pass(&s, 499000, 0)); /* 0.5 as a container rounds it */
    assert_false(sampler_pass(&s, 533000, 0));
    assert_true(sampler_pass(&s, 5300000, 0)); /* after a gap: at once, and once */
    assert_false(sampler_pass(&s, 5400000, 0));
    assert_true(sampler_pass(&s, 5500000, 0));
    assert_true(sampler_pass(&s, 1000000, 0)); /* the stream began anew */
    assert_false(sampler_pass(&s, 1100000, 0));
}

/* Pictures passed in seconds [from, to) of 25 a second with this motion. */
static int run(Sampler *s, int from_s, int to_s, float motion)
{
    int n = 0;
    for (int i = from_s * 25; i < to_s * 25; i++)
        n += sampler_pass(s, i * S / 25, motion);
    return n;
}

static void test_motion(void **state)
{
    (void)state;
    Sampler s;
    sampler_init(&s, 0.5, 2, 8);
    int first = run(&s, 0, 3, 0);
    assert_in_range(first, 5, 7); /* base while nothing is known to be still */
    run(&s, 3, 12, 0);
    assert_in_range(run(&s, 12, 32, 0), 9, 11); /* min */
    assert_in_range(run(&s, 32, 33, 0.2f), 5, 9);
    assert_in_range(run(&s, 33, 43, 0.2f), 78, 82); /* max */
    assert_in_range(run(&s, 43, 47, 0), 8, 24);     /* falls smoothly */
    run(&s, 47, 60, 0);
    assert_in_range(run(&s, 60, 80, -1), 36, 42); /* not known: base */
}

static void test_limits_pulled_to_base(void **state)
{
    (void)state;
    Sampler s;
    sampler_init(&s, 9, 2, 1);
    assert_true(s.fixed);
    assert_int_equal(run(&s, 0, 10, 1), 20);
}

/* No 60 s have more than the budget; what there is of it is used; it is spent smoothly. */
static void check_budget(Sampler *s, uint32_t budget, int seconds, const float *motion)
{
    enum { MOST = 25 * 600 };
    static int64_t passed[MOST];
    size_t n = 0;
    for (int i = 0; i < seconds * 25; i++)
        if (sampler_pass(s, i * S / 25, motion[i / 25 / 60]))
            passed[n++] = i * S / 25;
    for (size_t i = 0, j = 0; i < n; i++) {
        while (passed[i] - passed[j] >= 60 * S)
            j++;
        assert_true(i - j + 1 <= budget);
    }
    /* In the last minute, which is steady. */
    size_t last = 0;
    int64_t gap = 0;
    for (size_t i = 1; i < n; i++)
        if (passed[i] >= (seconds - 60) * S) {
            last++;
            gap = passed[i] - passed[i - 1] > gap ? passed[i] - passed[i - 1] : gap;
        }
    assert_true(last >= budget * 3 / 4);
    if (gap > 4 * 60 * S / (int64_t)last) /* an even spacing, four times */
        fail_msg("a gap of %g s with %zu frames a minute", (double)gap / 1e6, last);
}

static void test_budget(void **state)
{
    (void)state;
    Sampler s;
    static const float moving[] = {1, 1, 1, 1}, burst[] = {0, 0, 1, 1, 1};
    sampler_init(&s, 0.5, 2, 8);
    sampler_set_budget(&s, 60);
    check_budget(&s, 60, 240, moving);
    sampler_init(&s, 0.5, 2, 8);
    sampler_set_budget(&s, 60);
    check_budget(&s, 60, 300, burst);
    sampler_init(&s, 4, 4, 4); /* a fixed rate that is too high */
    sampler_set_budget(&s, 100);
    check_budget(&s, 100, 240, moving);
    sampler_init(&s, 2, 2, 2); /* one that is not: as without a budget */
    sampler_set_budget(&s, 200);
    assert_int_equal(run(&s, 0, 100, 1), 200);
    sampler_set_budget(&s, 0);
    sampler_init(&s, 0.5, 2, 8);
    sampler_set_budget(&s, 60); /* after a quiet time a burst gets its full rate at first */
    run(&s, 0, 60, 0);
    assert_in_range(run(&s, 60, 62, 1), 5, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fixed),
                                       cmocka_unit_test(test_fixed_rounded_and_gaps),
                                       cmocka_unit_test(test_motion), cmocka_unit_test(test_budget),
                                       cmocka_unit_test(test_limits_pulled_to_base)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

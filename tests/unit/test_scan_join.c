/* Answers of overlapping windows become events: one of each, thing by thing where they differ. */
#include "client/scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S INT64_C(1000000)

/* Window k looks at [12 k, 12 k + 16) seconds, as whenscan's default does. */
static ScanAnswer window(int k, size_t question, bool last)
{
    return (ScanAnswer){.question = question,
                        .start_us = 12 * k * S,
                        .end_us = (12 * k + 16) * S,
                        .settled_us = (12 * k + (last ? 16 : 12)) * S,
                        .intervals = calloc(8, sizeof(SegmenterInterval))};
}

static void add(ScanAnswer *a, double start_s, double end_s, const char *description)
{
    a->intervals[a->n++] = (SegmenterInterval){.start_us = (int64_t)(start_s * 1e6),
                                               .end_us = (int64_t)(end_s * 1e6),
                                               .start_err_us = S / 2,
                                               .end_err_us = S / 2,
                                               .confidence = 0.9,
                                               .description = strdup(description)};
}

static void expect(const ScanResult *r, size_t i, double start_s, double end_s, size_t question,
                   const char *description)
{
    assert_true(i < r->n);
    const ScanEvent *e = &r->events[i];
    assert_int_equal(e->event.start_us, (int64_t)(start_s * 1e6));
    assert_int_equal(e->event.end_us, (int64_t)(end_s * 1e6));
    assert_int_equal(e->question, question);
    assert_string_equal(e->event.description, description);
}

static void test_joined_over_windows(void **state)
{
    (void)state;
    ScanAnswer a[] = {window(0, 0, false), window(0, 1, false), window(1, 0, true),
                      window(1, 1, true)};
    add(&a[0], 13, 16, "a red car drives past"); /* cut by the window's end */
    add(&a[2], 13, 18, "a red car drives past");
    add(&a[1], 3, 5, "a dog runs past");
    add(&a[2], 22, 25, "a red car drives past");
    ScanResult r = {0};
    assert_int_equal(scan_join(a, 4, &r), 0);
    assert_int_equal(r.n, 3);
    expect(&r, 0, 3, 5, 1, "a dog runs past");
    expect(&r, 1, 13, 18, 0, "a red car drives past");
    expect(&r, 2, 22, 25, 0, "a red car drives past");
    scan_result_deinit(&r);
    for (size_t i = 0; i < 4; i++)
        scan_answer_deinit(&a[i]);
}

/* "List all events": things that happen at the same time are not one thing. */
static void test_different_things(void **state)
{
    (void)state;
    ScanAnswer a[] = {window(0, 0, false), window(1, 0, true)};
    add(&a[0], 2, 6, "the lamp is on");
    add(&a[0], 4, 8, "a red car drives past");
    add(&a[0], 13, 16, "the lamp is on");
    add(&a[1], 13, 20, "the lamp is on");
    ScanResult r = {0};
    assert_int_equal(scan_join(a, 2, &r), 0);
    assert_int_equal(r.n, 3);
    expect(&r, 0, 2, 6, 0, "the lamp is on");
    expect(&r, 1, 4, 8, 0, "a red car drives past");
    expect(&r, 2, 13, 20, 0, "the lamp is on");
    scan_result_deinit(&r);
    for (size_t i = 0; i < 2; i++)
        scan_answer_deinit(&a[i]);
}

/* One thing that two windows call by different names stays one event. */
static void test_different_words(void **state)
{
    (void)state;
    ScanAnswer a[] = {window(0, 0, false), window(1, 0, true)};
    add(&a[0], 10, 16, "a man walks");
    add(&a[1], 12, 20, "a person walks by");
    ScanResult r = {0};
    assert_int_equal(scan_join(a, 2, &r), 0);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.events[0].event.start_us, 10 * S);
    assert_int_equal(r.events[0].event.end_us, 20 * S);
    scan_result_deinit(&r);
    for (size_t i = 0; i < 2; i++)
        scan_answer_deinit(&a[i]);
}

static void test_nothing(void **state)
{
    (void)state;
    ScanAnswer a[] = {window(0, 0, true)};
    ScanResult r = {0};
    assert_int_equal(scan_join(a, 1, &r), 0);
    assert_int_equal(r.n, 0);
    assert_int_equal(scan_join(NULL, 0, &r), 0);
    scan_result_deinit(&r);
    scan_answer_deinit(&a[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joined_over_windows),
        cmocka_unit_test(test_different_things),
        cmocka_unit_test(test_different_words),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

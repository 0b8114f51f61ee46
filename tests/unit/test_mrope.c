/* Position ids: small cases worked out by hand, uneven times, and what is refused. */
#include "model/mrope.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_text_image_text(void **state)
{
    (void)state;
    const MropeSegment segments[] = {{.kind = MROPE_TEXT, .length = 2},
                                     {.kind = MROPE_IMAGE, .grid_thw = {1, 4, 6}},
                                     {.kind = MROPE_TEXT, .length = 1}};
    const int32_t want[3][9] = {
        {0, 1, 2, 2, 2, 2, 2, 2, 5}, {0, 1, 2, 2, 2, 3, 3, 3, 5}, {0, 1, 2, 3, 4, 2, 3, 4, 5}};
    int32_t got[3][9], next;
    size_t length;
    assert_int_equal(mrope_length(segments, 3, 2, &length), 0);
    assert_int_equal(length, 9);
    assert_int_equal(mrope_positions(segments, 3, 2, 2, 0, got[0], 9, &next), 0);
    assert_memory_equal(got, want, sizeof want);
    assert_int_equal(next, 6);
}

/* Frames that are not evenly spaced keep their times; text goes on behind the last of them. */
static void test_uneven_times(void **state)
{
    (void)state;
    const double seconds[] = {0.0, 0.49, 0.5, 3.0, 60.25};
    const MropeSegment segments[] = {
        {.kind = MROPE_VIDEO, .grid_thw = {5, 2, 2}, .seconds = seconds},
        {.kind = MROPE_TEXT, .length = 1}};
    const int32_t t[] = {10, 10, 11, 16, 130, 131};
    int32_t got[3][8], next; /* stride wider than the length */
    assert_int_equal(mrope_positions(segments, 2, 2, 2, 10, got[0], 8, &next), 0);
    assert_memory_equal(got[0], t, sizeof t);
    assert_int_equal(got[1][0], 10);
    assert_int_equal(got[2][4], 10);
    assert_int_equal(got[2][5], 131);
    assert_int_equal(next, 132);
}

/* Segment by segment, each begun where the last ended, equals all at once: what a timeline does. */
static void test_in_parts(void **state)
{
    (void)state;
    const MropeSegment segments[] = {
        {.kind = MROPE_TEXT, .length = 5},
        {.kind = MROPE_VIDEO, .grid_thw = {3, 4, 8}, .second_per_grid = 1.4},
        {.kind = MROPE_TEXT, .length = 4},
        {.kind = MROPE_IMAGE, .grid_thw = {1, 6, 2}},
        {.kind = MROPE_TEXT, .length = 2}};
    int32_t whole[3][64], parts[3][64], next = 0, end;
    size_t at = 0;
    memset(whole, 0, sizeof whole);
    memset(parts, 0, sizeof parts);
    assert_int_equal(mrope_positions(segments, 5, 2, 2, 0, whole[0], 64, &end), 0);
    for (size_t s = 0; s < 5; s++) {
        size_t length;
        assert_int_equal(mrope_positions(&segments[s], 1, 2, 2, next, parts[0] + at, 64, &next), 0);
        assert_int_equal(mrope_length(&segments[s], 1, 2, &length), 0);
        at += length;
    }
    assert_memory_equal(whole, parts, sizeof whole);
    assert_int_equal(next, end);
}

static void test_time_id(void **state)
{
    (void)state;
    assert_int_equal(mrope_time_id(0, 2), 0);
    assert_int_equal(mrope_time_id(-1, 2), 0);
    assert_int_equal(mrope_time_id(1.4999, 2), 2);
    assert_int_equal(mrope_time_id(1.5, 2), 3);
    assert_int_equal(mrope_time_id(0.1 * 3 * 5, 2), 3);
    assert_int_equal(mrope_time_id(3600, 2), 7200);
    assert_int_equal(mrope_time_id(1e300, 2), INT32_MAX / 2);
    assert_int_equal(mrope_time_id(NAN, 2), 0);
}

static int refused(MropeSegment segment)
{
    int32_t got[3 * 64], next;
    return mrope_positions(&segment, 1, 2, 2, 0, got, 64, &next);
}

static void test_refused(void **state)
{
    (void)state;
    static const double falling[] = {1, 0.4}, broken[] = {0, NAN};
    int32_t next;
    assert_int_equal(refused((MropeSegment){.kind = MROPE_IMAGE, .grid_thw = {1, 3, 4}}), -EINVAL);
    assert_int_equal(refused((MropeSegment){.kind = MROPE_IMAGE, .grid_thw = {0, 4, 4}}), -EINVAL);
    assert_int_equal(refused((MropeSegment){.kind = MROPE_IMAGE, .grid_thw = {1, -4, 4}}), -EINVAL);
    assert_int_equal(
        refused((MropeSegment){.kind = MROPE_VIDEO, .grid_thw = {1 << 30, 1 << 30, 1 << 30}}),
        -EOVERFLOW);
    assert_int_equal(
        refused((MropeSegment){.kind = MROPE_VIDEO, .grid_thw = {2, 2, 2}, .seconds = falling}),
        -EINVAL);
    assert_int_equal(
        refused((MropeSegment){.kind = MROPE_VIDEO, .grid_thw = {2, 2, 2}, .seconds = broken}),
        -EINVAL);
    assert_int_equal(refused((MropeSegment){.kind = MROPE_TEXT, .length = 65}), -EINVAL);
    assert_int_equal(refused((MropeSegment){.kind = MROPE_TEXT, .length = SIZE_MAX}), -EOVERFLOW);
    const MropeSegment text = {.kind = MROPE_TEXT, .length = 1};
    int32_t got[3];
    assert_int_equal(mrope_positions(&text, 1, 2, 0, 0, got, 1, &next), -EINVAL);
    assert_int_equal(mrope_positions(&text, 1, 2, 2, -1, got, 1, &next), -EINVAL);
    assert_int_equal(mrope_positions(&text, 1, 2, 2, INT32_MAX, got, 1, &next), -EOVERFLOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_image_text), cmocka_unit_test(test_uneven_times),
        cmocka_unit_test(test_in_parts),        cmocka_unit_test(test_time_id),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

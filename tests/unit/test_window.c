/* Windows cut from frames, and the way back from seconds to UTC. */
#include "daemon/window.h"

#include "base/clock.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define S   US_PER_S
#define UTC (1700000000 * S)

static Cutter *make(void)
{
    CutterOptions options = {.window_us = 16 * S,
                             .overlap_us = 4 * S,
                             .gap_us = 5 * S,
                             .rest_us = S,
                             .max_frames = 1000,
                             .max_bytes = 1 << 20};
    Cutter *cutter = cutter_new(&options);
    assert_non_null(cutter);
    return cutter;
}

static int add(Cutter *cutter, uint64_t session, int64_t pts_us)
{
    WindowFrame frame = {.pts_us = pts_us,
                         .utc_us = UTC + pts_us,
                         .utc_err_us = 1000,
                         .utc_source = 2,
                         .width = 28,
                         .height = 28,
                         .session = session};
    return cutter_add(cutter, &frame);
}

static void add_many(Cutter *cutter, uint64_t session, int64_t from_us, int64_t to_us,
                     int64_t step_us)
{
    for (int64_t pts = from_us; pts < to_us; pts += step_us)
        assert_int_equal(add(cutter, session, pts), 0);
}

/* Takes a window and checks where it begins, ends and leaves off, in pts. */
static void expect(Cutter *cutter, int64_t start_us, int64_t end_us, int64_t settled_us,
                   WindowEnd end)
{
    Window window;
    assert_int_equal(cutter_take(cutter, &window), 0);
    assert_int_equal(window.frames[0].pts_us, start_us);
    assert_int_equal(window.end_pts_us, end_us);
    assert_int_equal(window.settled_pts_us, settled_us);
    assert_int_equal(window.end, end);
    for (size_t i = 1; i < window.n; i++)
        assert_true(window.frames[i].pts_us > window.frames[i - 1].pts_us);
    assert_true(window.frames[window.n - 1].pts_us < end_us);
    window_deinit(&window);
}

static void expect_none(Cutter *cutter)
{
    Window window;
    assert_int_equal(cutter_take(cutter, &window), CUTTER_NOTHING);
}

static void overlapping_windows(void **state)
{
    (void)state;
    Cutter *cutter = make();
    add_many(cutter, 1, 0, 17 * S, S / 2);
    expect_none(cutter); /* the rest behind it is not known to be a second yet */
    assert_int_equal(add(cutter, 1, 17 * S), 0);
    expect(cutter, 0, 16 * S, 12 * S, WINDOW_GOES_ON);
    add_many(cutter, 1, 17 * S + S / 2, 40 * S, S / 2);
    expect(cutter, 12 * S, 28 * S, 24 * S, WINDOW_GOES_ON);
    expect_none(cutter);
    assert_int_equal(cutter_end(cutter), 0);
    expect(cutter, 24 * S, 40 * S, 40 * S, WINDOW_LAST);
    expect_none(cutter);
    assert_int_equal(cutter_frames(cutter), 0);
    cutter_free(cutter);
}

static void short_rest_joins(void **state)
{
    (void)state;
    Cutter *cutter = make();
    add_many(cutter, 1, 0, 16 * S + S / 2, S / 4);
    cutter_end(cutter);
    expect(cutter, 0, 16 * S + S / 2, 16 * S + S / 2, WINDOW_LAST);
    expect_none(cutter);

    /* A rest of a second and more is a window of its own. */
    add_many(cutter, 2, 0, 17 * S + S / 4, S / 4);
    cutter_end(cutter);
    expect(cutter, 0, 16 * S, 12 * S, WINDOW_GOES_ON);
    expect(cutter, 12 * S, 17 * S + S / 4, 17 * S + S / 4, WINDOW_LAST);
    cutter_free(cutter);
}

static void breaks(void **state)
{
    (void)state;
    Cutter *cutter = make();
    add_many(cutter, 1, 0, 3 * S, S);
    assert_int_equal(add(cutter, 2, 0), 0); /* a new session */
    expect(cutter, 0, 3 * S, 3 * S, WINDOW_BREAK);
    assert_int_equal(add(cutter, 2, 5 * S), 0); /* not yet a hole */
    expect_none(cutter);
    assert_int_equal(add(cutter, 2, 10 * S + 1), 0); /* a hole */
    expect(cutter, 0, 6 * S, 6 * S, WINDOW_BREAK);
    WindowFrame larger = {.pts_us = 11 * S, .utc_us = UTC, .width = 56, .height = 28, .session = 2};
    assert_int_equal(cutter_add(cutter, &larger), 0); /* another size */
    expect(cutter, 10 * S + 1, 10 * S + 1 + S / 2, 10 * S + 1 + S / 2, WINDOW_BREAK);
    cutter_free(cutter);
}

static void stale_frames(void **state)
{
    (void)state;
    Cutter *cutter = make();
    assert_int_equal(add(cutter, 1, 10 * S), 0);
    assert_int_equal(add(cutter, 1, 10 * S), CUTTER_STALE);
    assert_int_equal(add(cutter, 1, 9 * S), CUTTER_STALE);
    assert_int_equal(cutter_frames(cutter), 1);
    assert_int_equal(add(cutter, 1, 2 * S), 0); /* far back: the stream began anew */
    expect(cutter, 10 * S, 10 * S + S / 2, 10 * S + S / 2, WINDOW_BREAK);
    cutter_free(cutter);
}

static void bounded(void **state)
{
    (void)state;
    CutterOptions options = {.window_us = 1000 * S,
                             .overlap_us = 900 * S,
                             .gap_us = 5 * S,
                             .rest_us = S,
                             .max_frames = 10,
                             .max_bytes = 1 << 20};
    Cutter *cutter = cutter_new(&options);
    size_t windows = 0;
    int64_t settled = 0;
    for (int64_t i = 0; i < 1000; i++) {
        assert_int_equal(add(cutter, 1, i * S / 10), 0);
        assert_true(cutter_frames(cutter) <= options.max_frames + 1);
        Window window;
        while (cutter_take(cutter, &window) == 0) {
            assert_true(window.n <= options.max_frames);
            assert_int_equal(window.frames[0].pts_us, settled); /* no hole between them */
            settled = window.settled_pts_us;
            windows++;
            window_deinit(&window);
        }
    }
    assert_true(windows > 100 && windows < 400);
    cutter_free(cutter);
}

static void to_utc(void **state)
{
    (void)state;
    /* Unevenly spaced, and a clock that runs a little fast between the last two. */
    WindowFrame frames[] = {{.pts_us = 5 * S, .utc_us = UTC, .utc_err_us = 1000},
                            {.pts_us = 6 * S, .utc_us = UTC + S, .utc_err_us = 3000},
                            {.pts_us = 10 * S, .utc_us = UTC + 6 * S, .utc_err_us = 1000}};
    Window window = {frames, 3, 11 * S, 11 * S, WINDOW_LAST};
    assert_int_equal(window_utc_us(&window, 8 * S), UTC + S + 5 * S / 2);
    assert_int_equal(window_end_us(&window), UTC + 7 * S);
    assert_int_equal(window_start_us(&window), UTC);

    SegmenterInterval interval;
    assert_int_equal(window_interval(&window, 0.5, 3.0, 0.9, "x", 100000, &interval), 0);
    assert_int_equal(interval.start_us, UTC + S / 2);
    assert_int_equal(interval.end_us, UTC + S + 5 * S / 2);
    /* half the spacing + the worse of the neighbours' clocks + rounding + the model's own */
    assert_int_equal(interval.start_err_us, S / 2 + 3000 + 5000 + 100000);
    assert_int_equal(interval.end_err_us, 2 * S + 3000 + 5000 + 100000);

    /* Reversed, outside, not a number. */
    assert_int_equal(window_interval(&window, 99.0, -7.0, 5.0, "x", 0, &interval), 0);
    assert_int_equal(interval.start_us, UTC);
    assert_int_equal(interval.end_us, UTC + 7 * S);
    assert_true(interval.confidence == 1.0);
    assert_int_equal(window_interval(&window, 1e300, 1e308, 0.5, "x", 0, &interval), -ERANGE);
    assert_int_equal(window_interval(&window, -2.0, -1e300, 0.5, "x", 0, &interval), -ERANGE);
    assert_int_equal(window_interval(&window, 6.0, 1e300, 0.5, "x", 0, &interval), 0);
    assert_int_equal(interval.start_us, UTC + 7 * S);
    assert_int_equal(window_interval(&window, (double)NAN, 1.0, 0.5, "x", 0, &interval), -EINVAL);
    assert_int_equal(window_interval(&window, 0.0, (double)INFINITY, 0.5, "x", 0, &interval),
                     -EINVAL);
}

static void corrected(void **state)
{
    (void)state;
    Cutter *cutter = make();
    add_many(cutter, 1, 0, 18 * S, S); /* a window is ready, a rest is buffered */
    assert_int_equal(add(cutter, 2, 0), 0);
    cutter_retime(cutter, 1, UTC + 300, 50, 1);
    cutter_end(cutter);
    Window window;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cutter_take(cutter, &window), 0);
        for (size_t k = 0; k < window.n; k++) {
            assert_int_equal(window.frames[k].utc_us, UTC + 300 + window.frames[k].pts_us);
            assert_int_equal(window.frames[k].utc_err_us, 50);
        }
        /* What has that source already is not touched again. */
        window_retime(&window, 1, UTC + 999, 1, 1);
        assert_int_equal(window.frames[0].utc_us, UTC + 300 + window.frames[0].pts_us);
        window_deinit(&window);
    }
    assert_int_equal(cutter_take(cutter, &window), 0); /* the other session */
    assert_int_equal(window.frames[0].utc_us, UTC);
    window_deinit(&window);
    cutter_free(cutter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlapping_windows),
        cmocka_unit_test(short_rest_joins),
        cmocka_unit_test(breaks),
        cmocka_unit_test(stale_frames),
        cmocka_unit_test(bounded),
        cmocka_unit_test(to_utc),
        cmocka_unit_test(corrected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Days and hours on a wall's clock, also when that leaps. */
#include "config/schedule.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"

static int64_t utc(const char *text)
{
    int64_t us = 0;
    assert_int_equal(clock_parse_utc(text, &us), 0);
    return us;
}

static Schedule *schedule_of(const char *days, const char *hours)
{
    Schedule *schedule;
    Error err = {0};
    if (schedule_new(days, hours, BERLIN, &schedule, &err) < 0)
        fail_msg("%s", err.text);
    return schedule;
}

static void next_is(const Schedule *schedule, const char *at, const char *from, const char *to)
{
    int64_t start_us, end_us;
    schedule_next(schedule, utc(at), &start_us, &end_us);
    char text[2][CLOCK_UTC_TEXT_BYTES];
    clock_format_utc(start_us, text[0]);
    clock_format_utc(end_us, text[1]);
    assert_int_equal(start_us, utc(from));
    assert_int_equal(end_us, utc(to));
}

static void days_and_hours(void **state)
{
    (void)state;
    Schedule *s = schedule_of("mon-fri", "08:00-18:00");
    next_is(s, "2026-11-18T06:00:00Z", "2026-11-18T07:00:00Z", "2026-11-18T17:00:00Z");
    next_is(s, "2026-11-18T12:00:00Z", "2026-11-18T07:00:00Z", "2026-11-18T17:00:00Z");
    next_is(s, "2026-11-18T17:00:00Z", "2026-11-19T07:00:00Z", "2026-11-19T17:00:00Z");
    next_is(s, "2026-11-20T17:00:00Z", "2026-11-23T07:00:00Z", "2026-11-23T17:00:00Z");
    assert_true(schedule_touches(s, utc("2026-11-18T16:59:59Z"), utc("2026-11-18T17:10:00Z")));
    assert_false(schedule_touches(s, utc("2026-11-18T17:00:00Z"), utc("2026-11-19T07:00:00Z")));
    assert_true(schedule_touches(s, utc("2026-11-18T17:00:00Z"), utc("2026-11-19T07:00:01Z")));
    schedule_free(s);
    s = schedule_of("fri", "22-6"); /* Friday night */
    next_is(s, "2026-11-21T04:59:59Z", "2026-11-20T21:00:00Z", "2026-11-21T05:00:00Z");
    next_is(s, "2026-11-21T05:00:00Z", "2026-11-27T21:00:00Z", "2026-11-28T05:00:00Z");
    schedule_free(s);
    s = schedule_of("sat, sun,wed", "");
    next_is(s, "2026-11-19T12:00:00Z", "2026-11-20T23:00:00Z", "2026-11-21T23:00:00Z");
    schedule_free(s);
    assert_null(schedule_of("", ""));
    assert_null(schedule_of("mon-sun", "00:00-24:00"));
    assert_true(schedule_touches(NULL, 1, 2));
}

static void clocks_leap(void **state)
{
    (void)state;
    Schedule *s = schedule_of("", "01:00-04:00");
    next_is(s, "2026-03-28T12:00:00Z", "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"); /* 2 h */
    next_is(s, "2026-10-24T12:00:00Z", "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z"); /* 4 h */
    schedule_free(s);
    s = schedule_of("", "02:00-03:00"); /* an hour that is not there */
    next_is(s, "2026-03-28T12:00:00Z", "2026-03-30T00:00:00Z", "2026-03-30T01:00:00Z");
    schedule_free(s);
}

static void refuses(void **state)
{
    (void)state;
    static const char *const BAD[][3] = {
        {"man", "", ""},     {"mon-", "", ""},    {"mon,", "", ""},  {"", "8", ""},
        {"", "8-25", ""},    {"", "8:5-9", ""},   {"", "24-8", ""},  {"", "8-18x", ""},
        {"", "", "Nowhere"}, {"mon fri", "", ""}, {"", "8:60-9", ""}};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        Schedule *schedule;
        Error err = {0};
        if (schedule_new(BAD[i][0], BAD[i][1], BAD[i][2], &schedule, &err) == 0)
            fail_msg("%s %s %s: not refused", BAD[i][0], BAD[i][1], BAD[i][2]);
        assert_int_equal(err.exit_code, EX_DATAERR);
        assert_null(schedule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_and_hours),
        cmocka_unit_test(clocks_leap),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* base/clock: texts and times go both ways; nonsense is refused. */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void utc_both_ways(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"1970-01-01", 0},
        {"1970-01-01T00:00:01Z", US_PER_S},
        {"1970-01-01 00:01", 60 * US_PER_S},
        {"2026-11-23T08:27:47.25Z", INT64_C(1795422467250000)},
        {"2026-11-23T09:27:47.25+01:00", INT64_C(1795422467250000)},
        {"2026-11-23T04:57:47.250000-0330", INT64_C(1795422467250000)},
        {"1969-12-31T23:59:59.5Z", -US_PER_S / 2},
        {"2024-02-29", INT64_C(1709164800000000)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t us = -1;
        assert_int_equal(clock_parse_utc(cases[i].text, &us), 0);
        assert_true(us == cases[i].us);
    }
    srand(7);
    for (int i = 0; i < 10000; i++) {
        int64_t us = ((int64_t)rand() * 4000 - INT64_C(2000000000000)) * 1000, back;
        char text[CLOCK_UTC_TEXT_BYTES];
        clock_format_utc(us, text);
        assert_int_equal(clock_parse_utc(text, &back), 0);
        assert_true(back == us);
    }
}

static void utc_nonsense(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "yesterday",
                                      "2026",
                                      "2026-13-01",
                                      "2026-02-30",
                                      "2026-11-23T",
                                      "2026-11-23T25:00",
                                      "2026-11-23T08:61",
                                      "2026-11-23T08:27x",
                                      "2026-11-23T08:27:47+25:00",
                                      "2026-11-23Z08:00"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t us = 42;
        assert_true(clock_parse_utc(bad[i], &us) < 0);
        assert_true(us == 42);
    }
    char text[CLOCK_UTC_TEXT_BYTES];
    clock_format_utc(INT64_MAX, text); /* must not overrun */
    clock_format_utc(INT64_MIN, text);
}

static void mmss_both_ways(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double s;
    } cases[] = {{"00:03.50", 3.5}, {"75:00.25", 4500.25}, {"01:00:00.5", 3600.5}, {"7.25", 7.25}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double s = -1;
        assert_int_equal(clock_parse_mmss(cases[i].text, &s), 0);
        assert_true(s == cases[i].s);
    }
    char text[CLOCK_MMSS_TEXT_BYTES];
    clock_format_mmss(59.999, text);
    assert_string_equal(text, "01:00.00");
    clock_format_mmss(-1, text);
    assert_string_equal(text, "00:00.00");
    clock_format_mmss(1e300, text);
    clock_format_mmss(0.0 / 0.0, text);
    assert_string_equal(text, "00:00.00");
    static const char *const bad[] = {"",    ":",    "a",   "1:",      "-1",
                                      "1e3", "0x10", "inf", "1:2:3:4", "1:-2"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        double s;
        assert_true(clock_parse_mmss(bad[i], &s) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utc_both_ways),
        cmocka_unit_test(utc_nonsense),
        cmocka_unit_test(mmss_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

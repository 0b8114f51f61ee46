/* Zones by rule and by file, the calendar, and clocks that leap. */
#include "base/time_zone.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"
#define SYDNEY "AEST-10AEDT,M10.1.0,M4.1.0/3"

static TimeZone *zone_of(const char *name)
{
    TimeZone *zone = NULL;
    Error err = {0};
    if (time_zone_new(name, &zone, &err) < 0)
        fail_msg("%s", err.text);
    return zone;
}

static int64_t utc(const char *text)
{
    int64_t us = 0;
    assert_int_equal(clock_parse_utc(text, &us), 0);
    return us;
}

static void shows(const TimeZone *zone, const char *when, const char *expected)
{
    Civil c = time_zone_civil(zone, utc(when));
    char text[64];
    snprintf(text, sizeof text, "%04d-%02d-%02d %02d:%02d:%02d", (int)c.year, c.month, c.day,
             c.hour, c.minute, c.second);
    assert_string_equal(text, expected);
}

static void is_at(const TimeZone *zone, Civil c, const char *expected)
{
    char text[CLOCK_UTC_TEXT_BYTES];
    clock_format_utc(time_zone_utc_us(zone, &c), text);
    assert_string_equal(text, expected);
}

static void calendar(void **state)
{
    (void)state;
    const TimeZone *zone = zone_of("UTC");
    for (int64_t day = -800000; day < 800000; day += 13) {
        Civil c = time_zone_civil(zone, day * 86400 * US_PER_S);
        assert_int_equal(civil_days(c.year, c.month, c.day), day);
        time_t t = (time_t)day * 86400;
        struct tm tm;
        gmtime_r(&t, &tm);
        assert_int_equal(c.year, tm.tm_year + 1900);
        assert_int_equal(c.month, tm.tm_mon + 1);
        assert_int_equal(c.day, tm.tm_mday);
        assert_int_equal(civil_weekday(day), tm.tm_wday);
    }
    is_at(zone, (Civil){.year = 2026, .month = 13, .day = 0, .hour = 24},
          "2027-01-01T00:00:00.000Z");
    is_at(zone, (Civil){.year = 2026, .month = 0, .day = 1, .minute = -1},
          "2025-11-30T23:59:00.000Z");
    time_zone_free((TimeZone *)zone);
}

static void clocks_leap(void **state)
{
    (void)state;
    _cleanup_(time_zone_freep) TimeZone *berlin = zone_of(BERLIN);
    shows(berlin, "2026-03-29T00:59:59Z", "2026-03-29 01:59:59");
    shows(berlin, "2026-03-29T01:00:00Z", "2026-03-29 03:00:00");
    shows(berlin, "2026-10-25T00:59:59Z", "2026-10-25 02:59:59");
    shows(berlin, "2026-10-25T01:00:00Z", "2026-10-25 02:00:00");
    shows(berlin, "2026-12-31T23:30:00Z", "2027-01-01 00:30:00");
    is_at(berlin, (Civil){2026, 3, 29, 1, 59, 59}, "2026-03-29T00:59:59.000Z");
    is_at(berlin, (Civil){2026, 3, 29, 2, 30, 0}, "2026-03-29T01:30:00.000Z"); /* there is none */
    is_at(berlin, (Civil){2026, 3, 29, 3, 0, 0}, "2026-03-29T01:00:00.000Z");
    is_at(berlin, (Civil){2026, 10, 25, 2, 30, 0}, "2026-10-25T00:30:00.000Z"); /* the first */
    is_at(berlin, (Civil){2026, 10, 25, 3, 0, 0}, "2026-10-25T02:00:00.000Z");
    _cleanup_(time_zone_freep) TimeZone *sydney = zone_of(SYDNEY);
    shows(sydney, "2026-01-01T00:00:00Z", "2026-01-01 11:00:00");
    shows(sydney, "2026-07-01T00:00:00Z", "2026-07-01 10:00:00");
    is_at(sydney, (Civil){2026, 4, 5, 2, 30, 0}, "2026-04-04T15:30:00.000Z");
    _cleanup_(time_zone_freep) TimeZone *nepal = zone_of("<+0545>-5:45");
    shows(nepal, "2026-01-01T00:00:00Z", "2026-01-01 05:45:00");
    _cleanup_(time_zone_freep) TimeZone *julian = zone_of("AAA3BBB,J60/0,300/0");
    shows(julian, "2028-03-01T02:59:59Z", "2028-02-29 23:59:59"); /* J60 is 1 March, leap or not */
    shows(julian, "2028-03-01T03:00:00Z", "2028-03-01 01:00:00");
}

/* What the C library says, hour by hour over years, is what we say. */
static void agrees_with_the_library(const char *name)
{
    _cleanup_(time_zone_freep) TimeZone *zone = zone_of(name);
    setenv("TZ", name, 1);
    tzset();
    for (time_t t = 1600000000; t < 1900000000; t += 3599 * 7) {
        struct tm tm;
        localtime_r(&t, &tm);
        if (tm.tm_gmtoff != time_zone_offset_s(zone, t))
            fail_msg("%s at %lld: %ld, not %lld", name, (long long)t, tm.tm_gmtoff,
                     (long long)time_zone_offset_s(zone, t));
    }
    unsetenv("TZ");
}

static void rules_as_the_library(void **state)
{
    (void)state;
    agrees_with_the_library(BERLIN);
    agrees_with_the_library(SYDNEY);
    agrees_with_the_library("EST5EDT,M3.2.0,M11.1.0");
    agrees_with_the_library("<-03>3<-02>,M3.5.0/-2,M10.5.0/-1");
}

static void files_as_the_library(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe",
                                        "Asia/Kathmandu", "Africa/Casablanca"};
    if (access("/usr/share/zoneinfo/Europe/Berlin", R_OK) < 0)
        skip(); /* no tzdata here */
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        agrees_with_the_library(NAMES[i]);
    _cleanup_(time_zone_freep) TimeZone *berlin = zone_of("Europe/Berlin");
    shows(berlin, "1945-06-01T00:00:00Z", "1945-06-01 03:00:00"); /* double summer time */
    shows(berlin, "2526-07-01T00:00:00Z", "2526-07-01 02:00:00");
}

static void refuses(void **state)
{
    (void)state;
    static const char *const BAD[] = {"Mars/Olympus",
                                      "../etc/passwd",
                                      "/etc/passwd",
                                      "CET",
                                      "CET-1CEST",
                                      "CET-200",
                                      "CET-1CEST,M13.5.0,M10.5.0",
                                      "CET-1CEST,M3.5.0",
                                      "CET-1CEST,M3.5.0,M10.5.0x",
                                      "x\ny"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        TimeZone *zone;
        Error err = {0};
        /* "CET" alone is a name of the database. */
        if (strcmp(BAD[i], "CET") == 0)
            continue;
        assert_true(time_zone_new(BAD[i], &zone, &err) < 0);
        assert_int_equal(err.exit_code, EX_DATAERR);
        assert_null(zone);
    }
}

/* Every byte of a file wrong in turn, and every length: refused, or a zone that can be used. */
static void damaged_files(void **state)
{
    (void)state;
    uint8_t file[200];
    size_t n = 0;
    for (int version = 0; version < 2; version++) {
        uint8_t header[44] = "TZif2";
        header[35] = 2; /* times */
        header[39] = 2; /* types */
        header[43] = 4; /* chars */
        memcpy(file + n, header, 44);
        n += 44;
        for (int i = 0; i < 2; i++)
            for (int byte = version ? 7 : 3; byte >= 0; byte--)
                file[n++] = (uint8_t)((1000000 + i * 5000000) >> (byte > 3 ? 31 : 8 * byte) & 0xff);
        file[n++] = 1;
        file[n++] = 0;
        static const uint8_t TYPES[12] = {0, 0, 0x0e, 0x10, 0, 0, 0, 0, 0x1c, 0x20, 1, 0};
        memcpy(file + n, TYPES, 12);
        memcpy(file + n + 12, "CET", 4);
        n += 16;
    }
    memcpy(file + n, "\n" BERLIN "\n", strlen(BERLIN) + 2);
    n += strlen(BERLIN) + 2;
    TimeZone *zone;
    assert_int_equal(time_zone_from_tzif(file, n, &zone), 0);
    assert_int_equal(time_zone_offset_s(zone, 0), 3600);
    assert_int_equal(time_zone_offset_s(zone, 2000000), 7200);
    assert_int_equal(time_zone_offset_s(zone, 1790000000), 7200); /* by the rule behind it */
    time_zone_free(zone);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(time_zone_from_tzif(file, cut, &zone), -EINVAL);
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            file[i] ^= (uint8_t)(1 << bit);
            if (time_zone_from_tzif(file, n, &zone) == 0) {
                time_zone_civil(zone, INT64_MAX);
                time_zone_civil(zone, INT64_MIN);
                time_zone_utc_us(zone, &(Civil){.year = INT64_MAX, .month = 2147483647, .day = -1});
                time_zone_free(zone);
            }
            file[i] ^= (uint8_t)(1 << bit);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calendar),
        cmocka_unit_test(clocks_leap),
        cmocka_unit_test(rules_as_the_library),
        cmocka_unit_test(files_as_the_library),
        cmocka_unit_test(refuses),
        cmocka_unit_test(damaged_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

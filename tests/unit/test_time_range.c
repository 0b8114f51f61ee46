/* What people say, on Wednesday 2026-11-18 at 14:30 in Berlin, and around changes of the clocks. */
#include "base/time_range.h"

#include "base/clock.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"

static TimeZone *zone;

static int setup(void **state)
{
    (void)state;
    return time_zone_new(BERLIN, &zone, NULL);
}

static int teardown(void **state)
{
    (void)state;
    time_zone_free(zone);
    return 0;
}

/* "2026-11-17T16:00 .. 2026-11-17T21:00" in UTC; "-" is no bound. */
static void describe(const TimeRange *range, char *text, size_t bytes)
{
    char since[CLOCK_UTC_TEXT_BYTES] = "-", until[CLOCK_UTC_TEXT_BYTES] = "-";
    if (range->since_us)
        clock_format_utc(range->since_us, since);
    if (range->until_us)
        clock_format_utc(range->until_us, until);
    snprintf(text, bytes, "%s .. %s", since, until);
    char *at; /* whole minutes are enough where they are whole */
    while ((at = strstr(text, ":00.000Z")))
        memmove(at, at + 8, strlen(at + 8) + 1);
}

typedef struct Case {
    const char *said, *means;
} Case;

static void check(const char *now, const Case *cases, size_t n)
{
    int64_t now_us;
    assert_int_equal(clock_parse_utc(now, &now_us), 0);
    for (size_t i = 0; i < n; i++) {
        TimeRange range;
        Error err = {0};
        char text[200];
        if (time_range_parse(cases[i].said, zone, now_us, &range, &err) < 0)
            fail_msg("%s", err.text);
        describe(&range, text, sizeof text);
        if (strcmp(text, cases[i].means) != 0)
            fail_msg("%s: %s, not %s", cases[i].said, text, cases[i].means);
    }
}

static void means(void **state)
{
    (void)state;
    static const Case CASES[] = {
        {"", "- .. -"},
        {"today", "2026-11-17T23:00 .. 2026-11-18T23:00"},
        {"Yesterday", "2026-11-16T23:00 .. 2026-11-17T23:00"},
        {"the day before yesterday", "2026-11-15T23:00 .. 2026-11-16T23:00"},
        {"yesterday evening", "2026-11-17T16:00 .. 2026-11-17T21:00"},
        {"yesterday morning", "2026-11-17T04:00 .. 2026-11-17T11:00"},
        {"this morning", "2026-11-18T04:00 .. 2026-11-18T11:00"},
        {"in the morning", "2026-11-18T04:00 .. 2026-11-18T11:00"},
        {"evening", "2026-11-17T16:00 .. 2026-11-17T21:00"}, /* today's has not come yet */
        {"this evening", "2026-11-18T16:00 .. 2026-11-18T21:00"},
        {"last night", "2026-11-17T21:00 .. 2026-11-18T05:00"},
        {"tonight", "2026-11-18T16:00 .. 2026-11-19T05:00"},
        {"night of monday", NULL},
        {"monday", "2026-11-15T23:00 .. 2026-11-16T23:00"},
        {"on Mon", "2026-11-15T23:00 .. 2026-11-16T23:00"},
        {"wednesday", "2026-11-17T23:00 .. 2026-11-18T23:00"},
        {"last wednesday", "2026-11-10T23:00 .. 2026-11-11T23:00"},
        {"thursday night", "2026-11-12T21:00 .. 2026-11-13T05:00"},
        {"morning on monday", "2026-11-16T04:00 .. 2026-11-16T11:00"},
        {"this week", "2026-11-15T23:00 .. 2026-11-22T23:00"},
        {"last week", "2026-11-08T23:00 .. 2026-11-15T23:00"},
        {"last month", "2026-09-30T22:00 .. 2026-10-31T23:00"},
        {"this year", "2025-12-31T23:00 .. 2026-12-31T23:00"},
        {"last 3 days", "2026-11-15T13:30 .. 2026-11-18T13:30"},
        {"in the last 3 days", "2026-11-15T13:30 .. 2026-11-18T13:30"},
        {"past 2 weeks", "2026-11-04T13:30 .. 2026-11-18T13:30"},
        {"last hour", "2026-11-18T12:30 .. 2026-11-18T13:30"},
        {"90 minutes", "2026-11-18T12:00 .. 2026-11-18T13:30"},
        {"2h", "2026-11-18T11:30 .. 2026-11-18T13:30"},
        {"2 hours ago", "2026-11-18T11:30 .. 2026-11-18T11:30:01.000Z"},
        {"since 2 hours ago", "2026-11-18T11:30 .. -"},
        {"8", "2026-11-18T07:00 .. 2026-11-18T08:00"},
        {"at 8:30", "2026-11-18T07:30 .. 2026-11-18T07:31"},
        {"8:30:15", "2026-11-18T07:30:15.000Z .. 2026-11-18T07:30:16.000Z"},
        {"8pm", "2026-11-17T19:00 .. 2026-11-17T20:00"},
        {"noon", "2026-11-18T11:00 .. 2026-11-18T11:01"},
        {"yesterday at 8:30 pm", "2026-11-17T19:30 .. 2026-11-17T19:31"},
        {"8:30 yesterday", "2026-11-17T07:30 .. 2026-11-17T07:31"},
        {"between 8 and 10", "2026-11-18T07:00 .. 2026-11-18T09:00"},
        {"between 20 and 22", "2026-11-17T19:00 .. 2026-11-17T21:00"},
        {"between 8 and 10 yesterday", "2026-11-17T07:00 .. 2026-11-17T09:00"},
        {"yesterday between 8 and 10", "2026-11-17T07:00 .. 2026-11-17T09:00"},
        {"yesterday from 22:00 to 6:00", "2026-11-17T21:00 .. 2026-11-18T05:00"},
        {"between 22 and 6", "2026-11-17T21:00 .. 2026-11-18T05:00"},
        {"8 to 10pm", "2026-11-17T19:00 .. 2026-11-17T21:00"},
        {"11 to 1pm", "2026-11-18T10:00 .. 2026-11-18T12:00"},
        {"8am-10am", "2026-11-18T07:00 .. 2026-11-18T09:00"},
        {"monday to wednesday", "2026-11-15T23:00 .. 2026-11-18T23:00"},
        {"from monday 8:00 until tuesday 9:00", "2026-11-16T07:00 .. 2026-11-17T08:00"},
        {"from yesterday 8:00 to now", "2026-11-17T07:00 .. 2026-11-18T13:30"},
        {"since yesterday", "2026-11-16T23:00 .. -"},
        {"since 8", "2026-11-18T07:00 .. -"},
        {"after monday", "2026-11-16T23:00 .. -"},
        {"until monday", "- .. 2026-11-16T23:00"},
        {"before monday", "- .. 2026-11-15T23:00"},
        {"before 8", "- .. 2026-11-18T07:00"},
        {"2026-11", "2026-10-31T23:00 .. 2026-11-30T23:00"},
        {"2026-11-03", "2026-11-02T23:00 .. 2026-11-03T23:00"},
        {"2026-11-03 evening", "2026-11-03T16:00 .. 2026-11-03T21:00"},
        {"2026-11-03 between 8 and 10", "2026-11-03T07:00 .. 2026-11-03T09:00"},
        {"2026-11-03T08:27", "2026-11-03T07:27 .. 2026-11-03T07:28"},
        {"2026-11-03 08:27:47", "2026-11-03T07:27:47.000Z .. 2026-11-03T07:27:48.000Z"},
        {"2026-11-03T08:27:47.25Z", "2026-11-03T08:27:47.250Z .. 2026-11-03T08:27:48.250Z"},
        {"2026-11-03T08:27+05:30", "2026-11-03T02:57 .. 2026-11-03T02:57:01.000Z"},
        {"2026-11-03T08:00Z/2026-11-03T09:00Z", "2026-11-03T08:00 .. 2026-11-03T09:00"},
        {"2026-11-03 - 2026-11-05", "2026-11-02T23:00 .. 2026-11-05T23:00"},
        {"2026-11-03..2026-11-05", "2026-11-02T23:00 .. 2026-11-05T23:00"},
        {"2026-11-03 08:00 to 2026-11-03 09:00", "2026-11-03T07:00 .. 2026-11-03T08:00"},
        {"2026-02-29", NULL},
        {"yesterday tomorrow", NULL},
        {"when pigs fly", NULL},
        {"between 8", NULL},
        {"between and", NULL},
        {"25:00", NULL},
        {"8:60", NULL},
        {"13pm", NULL},
        {"last", NULL},
        {"since", NULL},
        {"-", NULL},
        {"2026-11-05 to 2026-11-03", NULL},
        {"8 or 9", NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        if (CASES[i].means) {
            check("2026-11-18T13:30:00Z", &CASES[i], 1);
            continue;
        }
        TimeRange range = {7, 7};
        Error err = {0};
        if (time_range_parse(CASES[i].said, zone, INT64_C(1795008600) * US_PER_S, &range, &err) ==
            0)
            fail_msg("%s: not refused", CASES[i].said);
        assert_int_equal(err.exit_code, EX_DATAERR);
        assert_int_equal(range.since_us, 7); /* untouched */
    }
}

static void clocks_leap(void **state)
{
    (void)state;
    /* Sunday 2026-03-29: two becomes three. Asked on Monday at noon. */
    static const Case SPRING[] = {
        {"yesterday", "2026-03-28T23:00 .. 2026-03-29T22:00"}, /* 23 hours */
        {"sunday between 1 and 4", "2026-03-29T00:00 .. 2026-03-29T02:00"},
        {"sunday between 2:30 and 3:30", "2026-03-29T01:30 .. 2026-03-29T01:30"},
        {"sunday morning", "2026-03-29T03:00 .. 2026-03-29T10:00"},
        {"last 2 days", "2026-03-28T11:00 .. 2026-03-30T10:00"}, /* by the clock on the wall */
        {"last 48 hours", "2026-03-28T10:00 .. 2026-03-30T10:00"},
        {"last week", "2026-03-22T23:00 .. 2026-03-29T22:00"},
    };
    for (size_t i = 0; i < sizeof SPRING / sizeof SPRING[0]; i++) {
        if (i == 2)
            continue; /* an hour that is not there: below */
        check("2026-03-30T10:00:00Z", &SPRING[i], 1);
    }
    TimeRange range;
    Error err = {0};
    int64_t now_us;
    assert_int_equal(clock_parse_utc("2026-03-30T10:00:00Z", &now_us), 0);
    /* 2:30 was leapt over and is 3:30: nothing lies between. */
    assert_true(time_range_parse(SPRING[2].said, zone, now_us, &range, &err) < 0 ||
                range.until_us > range.since_us);
    /* Sunday 2026-10-25: three becomes two. */
    static const Case AUTUMN[] = {
        {"yesterday", "2026-10-24T22:00 .. 2026-10-25T23:00"}, /* 25 hours */
        {"sunday between 1 and 4", "2026-10-24T23:00 .. 2026-10-25T03:00"},
        {"sunday 2:30", "2026-10-25T00:30 .. 2026-10-25T00:31"},
        {"last 2 days", "2026-10-24T10:00 .. 2026-10-26T11:00"},
    };
    check("2026-10-26T11:00:00Z", AUTUMN, sizeof AUTUMN / sizeof AUTUMN[0]);
    static const Case MONTHS[] = {
        {"last 1 month", "2026-02-28T11:00 .. 2026-03-31T10:00"}, /* there is no 31 February */
        {"last month", "2026-01-31T23:00 .. 2026-02-28T23:00"},
        {"last year", "2024-12-31T23:00 .. 2025-12-31T23:00"},
    };
    check("2026-03-31T10:00:00Z", MONTHS, sizeof MONTHS / sizeof MONTHS[0]);
}

/* Anything may be said: refused with one line, or understood with a begin before its end. */
static void any_text(void **state)
{
    (void)state;
    static const char *const WORDS[] = {
        "yesterday", "last",       "3",  "days",   "between", "and",    "8",     ":",       "30",
        "pm",        "2026-11-18", "T",  "Z",      "-",       "to",     "since", "evening", "ago",
        "/",         "monday",     " ",  "99999",  "week",    "h",      "now",   "until",   "this",
        "\xc3\xbc",  ",",          "24", "+02:00", "night",   "before", "\t",    "."};
    uint64_t seed = 1;
    size_t understood = 0;
    for (int i = 0; i < 200000; i++) {
        char text[300] = "";
        for (uint64_t k = 0; k < 1 + seed % 7; k++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            strcat(text, WORDS[(seed >> 33) % (sizeof WORDS / sizeof WORDS[0])]);
            if (seed >> 62)
                strcat(text, " ");
        }
        TimeRange range;
        Error err = {0};
        if (time_range_parse(text, zone, INT64_C(1795008600) * US_PER_S, &range, &err) == 0) {
            understood++;
            if (range.since_us && range.until_us && range.since_us >= range.until_us)
                fail_msg("%s", text);
        } else {
            assert_true(err.text[0] && !strchr(err.text, '\n'));
        }
    }
    assert_true(understood > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means),
        cmocka_unit_test(clocks_leap),
        cmocka_unit_test(any_text),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

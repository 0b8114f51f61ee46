/*
 * Stretches of time as people say them, to UTC. Pure: the present and the zone are given.
 *
 * | said                                               | means
 * | today, yesterday, day before yesterday             | that day, midnight to midnight
 * | monday, last monday                                | the latest one that has begun; before
 * today | this week/month/year, last week/month/year         | of the calendar; a week begins on
 * Monday | last hour, last 3 days, 90 minutes, 2h             | up to now; days, weeks and months
 * keep the |                                                    | clock's time over a change of the
 * clocks | morning 5-12, afternoon 12-17, evening 17-22,      | of today, or of the day beside it
 * ("yesterday | night 22-6 (of the day on which it begins)         | evening"); tonight, last
 * night, this morning | 8, 8:30, 8:30:15, 8am, noon, midnight              | that hour, minute or
 * second | 2026-11, 2026-11-23, 2026-11-23T08:27[:47][Z]      | ISO 8601; without an offset in the
 * zone | 2 hours ago, now                                   | that moment | between 8 and 10, from
 * A to B, A - B, A/B          | from A's begin; to B's begin when B is a time of | | day or a
 * moment, to its end when it is a day | since A, after A, until A, before A                | open
 * on the other side
 *
 * A time of day without a day is today's, or yesterday's when today's has not begun yet. Where B
 * is not later than A, B is of the day after. Words like "on", "at", "in the" may stand before. A
 * time that comes twice when the clocks go back is the first one as a begin; as an end, too.
 */
#ifndef WHEN_BASE_TIME_RANGE_H
#define WHEN_BASE_TIME_RANGE_H

#include "base/err.h"
#include "base/time_zone.h"

#include <stdint.h>

enum { TIME_RANGE_MAX_BYTES = 200 };

typedef struct TimeRange {
    int64_t since_us, until_us; /* UTC, [since, until); 0: no bound */
} TimeRange;

/* Text without anything in it: no bounds. EX_DATAERR, -EINVAL: names what was not understood. */
int time_range_parse(const char *text, const TimeZone *zone, int64_t now_us, TimeRange *range,
                     Error *err);

#endif

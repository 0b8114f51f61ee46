/*
 * Time zones, for one thread as for many: nothing here looks at TZ or changes it.
 *
 * A zone is named as in the tz database ("Europe/Berlin", read from /usr/share/zoneinfo or $TZDIR)
 * or written as a POSIX rule ("CET-1CEST,M3.5.0,M10.5.0/3"), which needs no file. "" and "UTC" are
 * UTC. Sources: RFC 8536 (TZif), POSIX.1 chapter 8.3 (TZ).
 */
#ifndef WHEN_BASE_TIME_ZONE_H
#define WHEN_BASE_TIME_ZONE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct TimeZone TimeZone; /* immutable */

/* EX_DATAERR when there is no such zone or its file is damaged. */
int time_zone_new(const char *name, TimeZone **zone, Error *err);
/* From the bytes of a TZif file of version 2 or later. -EINVAL, -ENOMEM. */
int time_zone_from_tzif(const uint8_t *data, size_t bytes, TimeZone **zone);
void time_zone_free(TimeZone *zone); /* safe on NULL */
static inline void time_zone_freep(TimeZone **zone)
{
    time_zone_free(*zone);
}

/* What clock and calendar on a wall there show. */
typedef struct Civil {
    int64_t year;
    int month, day;           /* from 1 */
    int hour, minute, second; /* 0..23, 0..59, 0..59 */
} Civil;

/* Seconds to be added to UTC. */
int64_t time_zone_offset_s(const TimeZone *zone, int64_t utc_s);
Civil time_zone_civil(const TimeZone *zone, int64_t utc_us);
/* The fields may lie outside of their ranges (month 13, day 0, hour 24): they carry. A time that
 * the clocks leap over is taken as much later as they leap; of one that comes twice the first. */
int64_t time_zone_utc_us(const TimeZone *zone, const Civil *civil);

/* Days since 1970-01-01 of the proleptic Gregorian calendar; month and day may carry. */
int64_t civil_days(int64_t year, int64_t month, int64_t day);
/* 0: Sunday ... 6: Saturday. */
int civil_weekday(int64_t days);

#endif

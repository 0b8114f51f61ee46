/* When a watch is asked. See schedule.h. */
#include "config/schedule.h"

#include "base/time_zone.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ALL_DAYS = 0x7f, DAY_MIN = 24 * 60 };

struct Schedule {
    unsigned days;        /* bit 0: Sunday */
    int from_min, to_min; /* of the day; to_min > from_min, up to a day after it */
    TimeZone *zone;
};

static int read_day(const char **p)
{
    static const char NAMES[] = "sunmontuewedthufrisat";
    for (int i = 0; i < 7; i++)
        if (strncmp(*p, NAMES + 3 * i, 3) == 0) {
            *p += 3;
            return i;
        }
    return -1;
}

static bool read_days(const char *text, unsigned *days)
{
    const char *p = text;
    *days = 0;
    for (;;) {
        int first = read_day(&p), last = first;
        if (*p == '-') {
            p++;
            last = read_day(&p);
        }
        if (first < 0 || last < 0)
            return false;
        for (int day = first;; day = (day + 1) % 7) {
            *days |= 1U << day;
            if (day == last)
                break;
        }
        if (!*p)
            return true;
        if (*p++ != ',')
            return false;
        p += strspn(p, " ");
    }
}

/* "8", "08:30", "24". */
static bool read_minute(const char **p, int *minute)
{
    int h = 0, m = 0, digits = 0;
    for (; **p >= '0' && **p <= '9' && digits < 2; digits++, ++*p)
        h = h * 10 + (**p - '0');
    if (digits == 0)
        return false;
    if (**p == ':') {
        ++*p;
        for (digits = 0; **p >= '0' && **p <= '9' && digits < 2; digits++, ++*p)
            m = m * 10 + (**p - '0');
        if (digits != 2)
            return false;
    }
    *minute = h * 60 + m;
    return m < 60 && *minute <= DAY_MIN;
}

static bool read_hours(const char *text, int *from, int *to)
{
    const char *p = text;
    if (!read_minute(&p, from) || *from == DAY_MIN || *p++ != '-' || !read_minute(&p, to) || *p)
        return false;
    if (*to <= *from)
        *to += DAY_MIN;
    return true;
}

int schedule_new(const char *days, const char *hours, const char *zone, Schedule **out, Error *err)
{
    Schedule found = {.days = ALL_DAYS, .to_min = DAY_MIN};
    *out = NULL;
    if (days[0] && !read_days(days, &found.days))
        return error_set(err, EINVAL, EX_DATAERR, "days: %.64s: not days (like mon-fri or sat,sun)",
                         days);
    if (hours[0] && !read_hours(hours, &found.from_min, &found.to_min))
        return error_set(err, EINVAL, EX_DATAERR, "hours: %.64s: not hours (like 08:00-18:00)",
                         hours);
    int r = time_zone_new(zone, &found.zone, err);
    if (r < 0)
        return r;
    if (found.days == ALL_DAYS && found.to_min - found.from_min == DAY_MIN) {
        time_zone_free(found.zone);
        return 0;
    }
    if (!(*out = malloc(sizeof **out))) {
        time_zone_free(found.zone);
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    }
    **out = found;
    return 0;
}

void schedule_free(Schedule *schedule)
{
    if (schedule)
        time_zone_free(schedule->zone);
    free(schedule);
}

void schedule_next(const Schedule *s, int64_t at_us, int64_t *start_us, int64_t *end_us)
{
    *start_us = INT64_MIN;
    *end_us = INT64_MAX;
    if (!s)
        return;
    Civil c = time_zone_civil(s->zone, at_us);
    /* From the day before, whose hours may last into this one; a week on there is one for sure. */
    for (int i = -1; i <= 8; i++) {
        Civil from = {.year = c.year, .month = c.month, .day = c.day + i, .minute = s->from_min};
        Civil to = from;
        to.minute = s->to_min;
        if (!(s->days >> civil_weekday(civil_days(from.year, from.month, from.day)) & 1))
            continue;
        *start_us = time_zone_utc_us(s->zone, &from);
        *end_us = time_zone_utc_us(s->zone, &to);
        if (*end_us > at_us && *end_us > *start_us)
            return;
    }
}

bool schedule_touches(const Schedule *s, int64_t start_us, int64_t end_us)
{
    int64_t from_us, to_us;
    schedule_next(s, start_us, &from_us, &to_us);
    return from_us < end_us;
}

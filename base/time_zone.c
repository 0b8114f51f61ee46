/* Time zones. See time_zone.h. */
#include "base/time_zone.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_FILE_BYTES = 1 << 20,
    MAX_TRANSITIONS = 20000,
    MAX_TYPES = 256,
    MAX_NAME_BYTES = 128,
    DAY_S = 86400,
    HEADER_BYTES = 44
};

/* Beyond this many seconds from 1970 a time is taken as this: no sum overflows, nor does it in
 * microseconds. */
#define LIMIT_S (INT64_C(1) << 43)

/* When summer time begins or ends, by a POSIX rule. */
typedef struct Change {
    char kind; /* 'M': week `week` of `month`, weekday `day`; 'J': day 1..365; 'D': day 0..365 */
    int month, week, day;
    int64_t time_s; /* of that day, on the clock that is left */
} Change;

typedef struct Rule {
    int64_t standard_s, summer_s; /* offsets */
    bool has_summer;
    Change begin, end;
} Rule;

struct TimeZone {
    int64_t *at_s;     /* [n], UTC */
    int64_t *offset_s; /* [n]: from at_s on */
    size_t n;
    int64_t first_s; /* before the first transition */
    Rule rule;       /* after the last one */
    bool has_rule;
};

/* --- the calendar --- */

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

int64_t civil_days(int64_t year, int64_t month, int64_t day)
{
    year += floor_div(month - 1, 12);
    month = month - 1 - 12 * floor_div(month - 1, 12); /* 0..11 */
    /* Years begin in March here, so that the leap day is the last. */
    int64_t y = month < 2 ? year - 1 : year;
    int64_t m = month < 2 ? month + 10 : month - 2;
    int64_t era = floor_div(y, 400), of_era = y - era * 400;
    int64_t of_year = (153 * m + 2) / 5;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year + day - 1 - 719468;
}

int civil_weekday(int64_t days)
{
    return (int)(days + 4 - 7 * floor_div(days + 4, 7));
}

static Civil civil_of(int64_t local_s)
{
    int64_t days = floor_div(local_s, DAY_S), s = local_s - days * DAY_S;
    int64_t z = days + 719468, era = floor_div(z, 146097), of_era = z - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t m = (5 * of_year + 2) / 153;
    return (Civil){.year = year + era * 400 + (m >= 10),
                   .month = (int)(m < 10 ? m + 3 : m - 9),
                   .day = (int)(of_year - (153 * m + 2) / 5 + 1),
                   .hour = (int)(s / 3600),
                   .minute = (int)(s / 60 % 60),
                   .second = (int)(s % 60)};
}

/* --- rules --- */

static int64_t change_s(const Change *change, int64_t year)
{
    int64_t day;
    if (change->kind == 'M') {
        int64_t first = civil_days(year, change->month, 1);
        day = first + (change->day - civil_weekday(first) + 7) % 7 + 7 * (change->week - 1);
        if (day >= civil_days(year, change->month + 1, 1))
            day -= 7; /* the fifth is the last */
    } else {
        bool leap = civil_days(year, 3, 1) - civil_days(year, 2, 1) == 29;
        day = civil_days(year, 1, 1) + change->day;
        if (change->kind == 'J') /* 29 February is never counted */
            day += leap && change->day >= 60 ? 0 : -1;
    }
    return day * DAY_S + change->time_s;
}

static int64_t rule_offset_s(const Rule *rule, int64_t utc_s)
{
    if (!rule->has_summer)
        return rule->standard_s;
    int64_t year = civil_of(utc_s + rule->standard_s).year;
    int64_t begin = change_s(&rule->begin, year) - rule->standard_s;
    int64_t end = change_s(&rule->end, year) - rule->summer_s;
    bool summer = begin < end ? utc_s >= begin && utc_s < end : !(utc_s >= end && utc_s < begin);
    return summer ? rule->summer_s : rule->standard_s;
}

static bool read_number(const char **p, int max, int *number)
{
    if (**p < '0' || **p > '9')
        return false;
    for (*number = 0; **p >= '0' && **p <= '9'; ++*p)
        if ((*number = *number * 10 + (**p - '0')) > max)
            return false;
    return true;
}

/* [+-]hh[:mm[:ss]] */
static bool read_time(const char **p, int64_t *seconds)
{
    int sign = **p == '-' ? -1 : 1, h, m = 0, s = 0;
    if (**p == '-' || **p == '+')
        ++*p;
    if (!read_number(p, 167, &h))
        return false;
    if (**p == ':' && (++*p, !read_number(p, 59, &m)))
        return false;
    if (**p == ':' && (++*p, !read_number(p, 59, &s)))
        return false;
    *seconds = sign * ((int64_t)h * 3600 + m * 60 + s);
    return true;
}

static bool read_abbreviation(const char **p)
{
    const char *start = *p;
    if (**p == '<') {
        const char *end = strchr(*p, '>');
        if (!end)
            return false;
        *p = end + 1;
        return end - start >= 4;
    }
    while ((**p >= 'a' && **p <= 'z') || (**p >= 'A' && **p <= 'Z'))
        ++*p;
    return *p - start >= 3;
}

static bool read_change(const char **p, Change *change)
{
    if (*(*p)++ != ',')
        return false;
    change->kind = 'D';
    if (**p == 'M' || **p == 'J')
        change->kind = *(*p)++;
    if (change->kind == 'M') {
        if (!read_number(p, 12, &change->month) || change->month < 1 || *(*p)++ != '.' ||
            !read_number(p, 5, &change->week) || change->week < 1 || *(*p)++ != '.' ||
            !read_number(p, 6, &change->day))
            return false;
    } else if (!read_number(p, 365, &change->day) || (change->kind == 'J' && change->day < 1)) {
        return false;
    }
    change->time_s = 7200;
    return **p != '/' || (++*p, read_time(p, &change->time_s));
}

static bool read_rule(const char *text, Rule *rule)
{
    const char *p = text;
    *rule = (Rule){0};
    if (!read_abbreviation(&p) || !read_time(&p, &rule->standard_s))
        return false;
    rule->standard_s = -rule->standard_s; /* POSIX counts westward */
    if (!*p)
        return true;
    rule->has_summer = true;
    rule->summer_s = rule->standard_s + 3600;
    if (!read_abbreviation(&p))
        return false;
    if (*p != ',') {
        if (!read_time(&p, &rule->summer_s))
            return false;
        rule->summer_s = -rule->summer_s;
    }
    return read_change(&p, &rule->begin) && read_change(&p, &rule->end) && !*p;
}

/* --- TZif --- */

static int64_t read_be(const uint8_t *p, int bytes)
{
    uint64_t value = p[0] & 0x80 ? UINT64_MAX : 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | p[i];
    return (int64_t)value;
}

typedef struct Header {
    size_t is_ut, is_std, leap, time, type, chars;
} Header;

static bool read_header(const uint8_t *p, size_t bytes, Header *h)
{
    if (bytes < HEADER_BYTES || memcmp(p, "TZif", 4) != 0 || p[4] < '2')
        return false;
    size_t *const fields[] = {&h->is_ut, &h->is_std, &h->leap, &h->time, &h->type, &h->chars};
    for (size_t i = 0; i < 6; i++) {
        int64_t n = read_be(p + 20 + 4 * i, 4);
        if (n < 0 || n > MAX_TRANSITIONS)
            return false;
        *fields[i] = (size_t)n;
    }
    return true;
}

static size_t block_bytes(const Header *h, size_t time_bytes)
{
    return h->time * time_bytes + h->time + h->type * 6 + h->chars + h->leap * (time_bytes + 4) +
           h->is_std + h->is_ut;
}

static int read_block(const uint8_t *p, const Header *h, TimeZone *zone)
{
    const uint8_t *types = p + h->time * 8, *infos = types + h->time;
    int64_t offsets[MAX_TYPES];
    if (h->type == 0 || h->type > MAX_TYPES)
        return -EINVAL;
    for (size_t i = 0; i < h->type; i++) {
        offsets[i] = read_be(infos + 6 * i, 4);
        if (offsets[i] < -7 * DAY_S || offsets[i] > 7 * DAY_S)
            return -EINVAL;
    }
    zone->first_s = offsets[0];
    zone->at_s = mem_new_array(h->time, sizeof *zone->at_s);
    zone->offset_s = mem_new_array(h->time, sizeof *zone->offset_s);
    if (!zone->at_s || !zone->offset_s)
        return -ENOMEM;
    for (size_t i = 0; i < h->time; i++) {
        zone->at_s[i] = read_be(p + 8 * i, 8);
        if (types[i] >= h->type || (i > 0 && zone->at_s[i] <= zone->at_s[i - 1]))
            return -EINVAL;
        zone->offset_s[i] = offsets[types[i]];
    }
    zone->n = h->time;
    return 0;
}

/* "\nRULE\n" behind the second block; the rule may be empty. */
static int read_footer(const uint8_t *p, size_t bytes, TimeZone *zone)
{
    char text[MAX_NAME_BYTES];
    if (bytes < 2 || p[0] != '\n')
        return -EINVAL;
    const uint8_t *end = memchr(p + 1, '\n', bytes - 1);
    if (!end || (size_t)(end - p - 1) >= sizeof text)
        return -EINVAL;
    size_t length = (size_t)(end - p - 1);
    memcpy(text, p + 1, length);
    text[length] = '\0';
    if (!length)
        return 0;
    zone->has_rule = strlen(text) == length && read_rule(text, &zone->rule);
    return zone->has_rule ? 0 : -EINVAL;
}

int time_zone_from_tzif(const uint8_t *data, size_t bytes, TimeZone **zone_out)
{
    Header first, second;
    *zone_out = NULL;
    if (!read_header(data, bytes, &first))
        return -EINVAL;
    size_t skip = HEADER_BYTES + block_bytes(&first, 4);
    if (skip > bytes || !read_header(data + skip, bytes - skip, &second))
        return -EINVAL;
    size_t begin = skip + HEADER_BYTES, footer = begin + block_bytes(&second, 8);
    if (footer > bytes)
        return -EINVAL;
    TimeZone *zone = calloc(1, sizeof *zone);
    int r = zone ? read_block(data + begin, &second, zone) : -ENOMEM;
    if (r == 0)
        r = read_footer(data + footer, bytes - footer, zone);
    if (r < 0) {
        time_zone_free(zone);
        return r;
    }
    *zone_out = zone;
    return 0;
}

/* --- zones --- */

/* Names of the database: letters, digits and _+-/ ; no point, so that no path leads out of it. */
static bool is_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/");
    return n > 0 && n < MAX_NAME_BYTES && name[n] == '\0' && name[0] != '/';
}

static int load(const char *name, TimeZone **zone, Error *err)
{
    const char *dir = getenv("TZDIR");
    _cleanup_free_ char *path = file_join(dir && dir[0] ? dir : "/usr/share/zoneinfo", name);
    _cleanup_free_ char *data = NULL;
    size_t bytes;
    Error cause = {0};
    if (!path)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    if (file_read(path, MAX_FILE_BYTES, &data, &bytes, &cause) < 0)
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: no such time zone (like Europe/Berlin; the package tzdata has them)",
                         name);
    int r = time_zone_from_tzif((const uint8_t *)data, bytes, zone);
    if (r == -ENOMEM)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    return r < 0 ? error_set(err, EINVAL, EX_DATAERR,
                             "%s: not a time zone's file, or damaged (install tzdata again)", path)
                 : 0;
}

int time_zone_new(const char *name, TimeZone **zone, Error *err)
{
    *zone = NULL;
    Rule rule = {0};
    bool utc = !name[0] || strcmp(name, "UTC") == 0;
    if (utc || (strlen(name) < MAX_NAME_BYTES && read_rule(name, &rule))) {
        if (!(*zone = calloc(1, sizeof **zone)))
            return error_set(err, ENOMEM, EX_OSERR, "no memory");
        (*zone)->rule = rule;
        (*zone)->has_rule = true;
        return 0;
    }
    if (!is_name(name))
        return error_set(err, EINVAL, EX_DATAERR, "%.64s: not a time zone (like Europe/Berlin)",
                         name);
    return load(name, zone, err);
}

void time_zone_free(TimeZone *zone)
{
    if (!zone)
        return;
    free(zone->at_s);
    free(zone->offset_s);
    free(zone);
}

int64_t time_zone_offset_s(const TimeZone *zone, int64_t utc_s)
{
    if (zone->n == 0 || (zone->has_rule && utc_s >= zone->at_s[zone->n - 1]))
        return zone->has_rule ? rule_offset_s(&zone->rule, utc_s) : zone->first_s;
    size_t low = 0, high = zone->n; /* the last one at or before it */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (zone->at_s[mid] <= utc_s)
            low = mid + 1;
        else
            high = mid;
    }
    return low == 0 ? zone->first_s : zone->offset_s[low - 1];
}

static int64_t clamp_s(int64_t s)
{
    return s < -LIMIT_S ? -LIMIT_S : s > LIMIT_S ? LIMIT_S : s;
}

Civil time_zone_civil(const TimeZone *zone, int64_t utc_us)
{
    int64_t utc_s = clamp_s(floor_div(utc_us, US_PER_S));
    return civil_of(utc_s + time_zone_offset_s(zone, utc_s));
}

int64_t time_zone_utc_us(const TimeZone *zone, const Civil *civil)
{
    int64_t year = civil->year < -100000 ? -100000 : civil->year > 100000 ? 100000 : civil->year;
    int64_t local_s = civil_days(year, civil->month, civil->day) * DAY_S +
                      (int64_t)civil->hour * 3600 + (int64_t)civil->minute * 60 + civil->second;
    int64_t before_s = time_zone_offset_s(zone, local_s - DAY_S);
    int64_t after_s = time_zone_offset_s(zone, local_s + DAY_S);
    int64_t utc_s = local_s - before_s;
    /* Shown by the clocks before the change; or by those after it; or by none: leapt over. */
    if (time_zone_offset_s(zone, utc_s) != before_s &&
        time_zone_offset_s(zone, local_s - after_s) == after_s)
        utc_s = local_s - after_s;
    return clamp_s(utc_s) * US_PER_S;
}

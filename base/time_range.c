/* "yesterday evening" to UTC. See time_range.h. */
#include "base/time_range.h"

#include "base/clock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_COUNT = 100000,
};

typedef enum Unit { SECONDS, MINUTES, HOURS, DAYS, WEEKS, MONTHS, YEARS } Unit;

typedef struct Reader {
    char text[TIME_RANGE_MAX_BYTES + 1]; /* in lower case */
    const char *at;
    const TimeZone *zone;
    int64_t now_us;
    Civil today;
} Reader;

/* One end of a range, or all of it. */
typedef struct Part {
    bool absolute; /* start_us, end_us count; else date, hours and clock as far as they were said */
    int64_t start_us, end_us;
    bool has_date, has_hours, has_clock;
    Civil date;           /* its first day; the fields of the clock are 0 */
    int months, days;     /* how long the date is */
    int from_min, to_min; /* has_hours: a part of the day; to_min may pass midnight */
    int hour, minute, second, unit_s;
    bool meridiem; /* has_clock: am or pm stood there */
} Part;

/* --- words --- */

static void skip_space(Reader *r)
{
    while (*r->at == ' ' || *r->at == '\t' || *r->at == ',' || *r->at == '\n')
        r->at++;
}

static bool is_letter(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Takes the word if it comes next; a whole one. */
static bool take_word(Reader *r, const char *word)
{
    skip_space(r);
    size_t n = strlen(word);
    if (strncmp(r->at, word, n) != 0 || is_letter(r->at[n]))
        return false;
    r->at += n;
    skip_space(r);
    return true;
}

/* All of them, one behind the other, or none. */
static bool take_words(Reader *r, const char *first, const char *second)
{
    const char *before = r->at;
    if (take_word(r, first) && take_word(r, second))
        return true;
    r->at = before;
    return false;
}

static bool take_char(Reader *r, char c)
{
    if (*r->at != c)
        return false;
    r->at++;
    return true;
}

/* Words that say nothing. */
static void skip_filler(Reader *r)
{
    static const char *const FILLER[] = {"in", "on", "at", "during", "within", "the", "for"};
    for (size_t i = 0; i < sizeof FILLER / sizeof FILLER[0]; i++)
        if (take_word(r, FILLER[i]))
            i = (size_t)-1;
}

static bool take_number(Reader *r, int max_digits, int max, int *number)
{
    int n = 0, digits = 0;
    while (is_digit(r->at[digits]) && digits < max_digits)
        n = n * 10 + (r->at[digits++] - '0');
    if (digits == 0 || is_digit(r->at[digits]) || n > max)
        return false;
    r->at += digits;
    *number = n;
    return true;
}

static bool take_unit(Reader *r, Unit *unit)
{
    static const struct {
        const char *word;
        Unit unit;
    } UNITS[] = {{"second", SECONDS}, {"seconds", SECONDS}, {"sec", SECONDS},  {"s", SECONDS},
                 {"minute", MINUTES}, {"minutes", MINUTES}, {"min", MINUTES},  {"mins", MINUTES},
                 {"m", MINUTES},      {"hour", HOURS},      {"hours", HOURS},  {"h", HOURS},
                 {"day", DAYS},       {"days", DAYS},       {"d", DAYS},       {"week", WEEKS},
                 {"weeks", WEEKS},    {"w", WEEKS},         {"month", MONTHS}, {"months", MONTHS},
                 {"year", YEARS},     {"years", YEARS}};
    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++)
        if (take_word(r, UNITS[i].word)) {
            *unit = UNITS[i].unit;
            return true;
        }
    return false;
}

static int take_weekday(Reader *r)
{
    static const char *const DAYS_OF_WEEK[] = {"sunday",   "monday", "tuesday", "wednesday",
                                               "thursday", "friday", "saturday"};
    for (int i = 0; i < 7; i++) {
        char shorter[4] = {DAYS_OF_WEEK[i][0], DAYS_OF_WEEK[i][1], DAYS_OF_WEEK[i][2]};
        if (take_word(r, DAYS_OF_WEEK[i]) || take_word(r, shorter))
            return i;
    }
    return -1;
}

/* --- times --- */

static Civil midnight(Civil c)
{
    c.hour = c.minute = c.second = 0;
    return c;
}

/* `n` units before the present. */
static int64_t ago(const Reader *r, int n, Unit unit)
{
    static const int64_t LENGTHS_US[] = {US_PER_S, 60 * US_PER_S, 3600 * US_PER_S};
    if (unit <= HOURS)
        return r->now_us - n * LENGTHS_US[unit];
    Civil c = r->today;
    int64_t days = civil_days(c.year, c.month, c.day);
    if (unit == DAYS || unit == WEEKS) {
        c.day -= unit == WEEKS ? 7 * n : n;
    } else {
        c.month -= unit == YEARS ? 12 * n : n;
        /* 31 March less a month is the last of February. */
        int64_t end = civil_days(c.year, (int64_t)c.month + 1, 1);
        int64_t first = civil_days(c.year, c.month, 1);
        if (c.day > end - first)
            c.day = (int)(end - first);
    }
    if (n == 0 && civil_days(c.year, c.month, c.day) == days)
        return r->now_us;
    int64_t within_us = r->now_us % US_PER_S;
    return time_zone_utc_us(r->zone, &c) + (within_us < 0 ? within_us + US_PER_S : within_us);
}

static int64_t day_us(const Reader *r, const Civil *date, int months, int days, int minutes)
{
    Civil c = *date;
    c.month += months;
    c.day += days;
    c.minute += minutes;
    return time_zone_utc_us(r->zone, &c);
}

static void set_stretch(Part *part, int64_t start_us, int64_t end_us)
{
    *part = (Part){.absolute = true, .start_us = start_us, .end_us = end_us};
}

static void set_date(Part *part, Civil date, int back_days, int months, int days)
{
    part->has_date = true;
    part->date = midnight(date);
    part->date.day -= back_days;
    part->months = months;
    part->days = days;
}

/* --- parts --- */

static bool take_hours(Reader *r, Part *part)
{
    static const struct {
        const char *word;
        int from_h, to_h;
    } HOURS_OF_DAY[] = {
        {"morning", 5, 12}, {"afternoon", 12, 17}, {"evening", 17, 22}, {"night", 22, 30}};
    for (size_t i = 0; i < sizeof HOURS_OF_DAY / sizeof HOURS_OF_DAY[0]; i++)
        if (take_word(r, HOURS_OF_DAY[i].word)) {
            part->has_hours = true;
            part->from_min = 60 * HOURS_OF_DAY[i].from_h;
            part->to_min = 60 * HOURS_OF_DAY[i].to_h;
            return true;
        }
    return false;
}

/* "8", "8:30", "8:30:15", with am or pm behind it, "noon", "midnight". */
static bool take_clock(Reader *r, Part *part)
{
    const char *before = r->at;
    int h, m = 0, s = 0, unit_s = 3600;
    part->meridiem = false;
    if (take_word(r, "noon") || take_word(r, "midnight")) {
        bool noon = r->at > before && strncmp(before + strspn(before, " "), "noon", 4) == 0;
        part->has_clock = part->meridiem = true;
        part->hour = noon ? 12 : 0;
        part->minute = part->second = 0;
        part->unit_s = 60;
        return true;
    }
    if (!take_number(r, 2, 24, &h))
        return false;
    bool good = true;
    if (take_char(r, ':')) {
        unit_s = 60;
        good = take_number(r, 2, 59, &m);
        if (good && take_char(r, ':')) {
            unit_s = 1;
            good = take_number(r, 2, 59, &s);
        }
    }
    const char *end = r->at;
    bool am = take_word(r, "am"), pm = !am && take_word(r, "pm");
    if (am || pm) {
        good = good && h >= 1 && h <= 12;
        h = h % 12 + (pm ? 12 : 0);
        part->meridiem = true;
    }
    bool hours = !am && !pm && unit_s == 3600 && (take_word(r, "o'clock") || take_word(r, "h"));
    if (!am && !pm && !hours) {
        r->at = end;
        good = good && (!is_letter(*end) || *end == 'z'); /* the Z of UTC */
    }
    if (!good || (h == 24 && (m || s))) {
        r->at = before;
        return false;
    }
    part->has_clock = true;
    part->hour = h;
    part->minute = m;
    part->second = s;
    part->unit_s = unit_s;
    return true;
}

/* Behind 'T' or a space: hh:mm[:ss[.f]] and an offset, which makes it absolute. */
static bool take_iso_time(Reader *r, Part *part)
{
    int64_t fraction_us = 0, unit_us = US_PER_S;
    if (!take_clock(r, part))
        return false;
    if (part->unit_s == 1 && *r->at == '.' && is_digit(r->at[1]))
        for (r->at++; is_digit(*r->at); r->at++) {
            unit_us /= 10;
            fraction_us += unit_us * (*r->at - '0');
        }
    int offset_s = 0, h, m = 0;
    if (!take_char(r, 'z')) {
        bool east = *r->at == '+';
        if ((!east && *r->at != '-') || !is_digit(r->at[1]) || !is_digit(r->at[2]))
            return true;
        const char *before = r->at++;
        h = 10 * (r->at[0] - '0') + r->at[1] - '0';
        r->at += 2;
        take_char(r, ':');
        if (h > 23 || !take_number(r, 2, 59, &m)) {
            r->at = before;
            return true;
        }
        offset_s = (east ? 1 : -1) * (h * 3600 + m * 60);
    }
    const Civil *d = &part->date;
    int64_t s = civil_days(d->year, d->month, d->day) * 86400 + part->hour * 3600 +
                part->minute * 60 + part->second - offset_s;
    int64_t start_us = s * US_PER_S + fraction_us;
    set_stretch(part, start_us, start_us);
    return true;
}

/* "2026-11", "2026-11-23" and what may follow. */
static bool take_iso(Reader *r, Part *part)
{
    const char *before = r->at;
    int year, month, day = 0;
    if (!take_number(r, 4, 9999, &year) || r->at - before != 4 || !take_char(r, '-') ||
        !take_number(r, 2, 12, &month) || month < 1) {
        r->at = before;
        return false;
    }
    if (*r->at == '-' && is_digit(r->at[1])) {
        r->at++;
        if (!take_number(r, 2, 31, &day) || day < 1 ||
            day > civil_days(year, month + 1, 1) - civil_days(year, month, 1)) {
            r->at = before;
            return false;
        }
    }
    Civil date = {.year = year, .month = month, .day = day ? day : 1};
    set_date(part, date, 0, day ? 0 : 1, day ? 1 : 0);
    if (day && take_char(r, 't') && !take_iso_time(r, part)) {
        r->at = before;
        *part = (Part){0};
        return false;
    }
    /* A time behind a space: not "2026-11-23 - 2026-11-25". */
    const char *gap = r->at;
    if (day && *gap == ' ' && is_digit(gap[1]) && (gap[2] == ':' || gap[3] == ':')) {
        r->at++;
        if (!take_iso_time(r, part))
            r->at = gap;
    }
    return true;
}

static bool take_day(Reader *r, Part *part)
{
    if (take_word(r, "today"))
        set_date(part, r->today, 0, 0, 1);
    else if (take_word(r, "yesterday"))
        set_date(part, r->today, 1, 0, 1);
    else if (take_words(r, "day", "before") && take_word(r, "yesterday"))
        set_date(part, r->today, 2, 0, 1);
    else {
        const char *before = r->at;
        bool last = take_word(r, "last");
        int wanted = take_weekday(r);
        if (wanted < 0) {
            r->at = before;
            return false;
        }
        int now = civil_weekday(civil_days(r->today.year, r->today.month, r->today.day));
        int back = (now - wanted + 7) % 7;
        set_date(part, r->today, back == 0 && last ? 7 : back, 0, 1);
    }
    return true;
}

/* "this week", "last month": of the calendar. */
static bool take_period(Reader *r, Part *part)
{
    const char *before = r->at;
    bool this_one = take_word(r, "this"), last = !this_one && take_word(r, "last");
    Unit unit;
    if ((!this_one && !last) || !take_unit(r, &unit) || unit < WEEKS) {
        r->at = before;
        return false;
    }
    Civil date = midnight(r->today);
    if (unit == WEEKS) {
        int weekday = civil_weekday(civil_days(date.year, date.month, date.day));
        set_date(part, date, (weekday + 6) % 7 + (last ? 7 : 0), 0, 7);
        return true;
    }
    date.day = 1;
    if (unit == YEARS)
        date.month = 1;
    int months = unit == YEARS ? 12 : 1;
    date.month -= last ? months : 0;
    set_date(part, date, 0, months, 0);
    return true;
}

/* "last 3 days", "last hour", "90 minutes", "2h ago". */
static bool take_count(Reader *r, Part *part)
{
    const char *before = r->at;
    bool last = take_word(r, "last") || take_word(r, "past");
    int n = 1;
    Unit unit;
    bool counted = take_number(r, 6, MAX_COUNT, &n);
    if ((!last && !counted) || !take_unit(r, &unit)) {
        r->at = before;
        return false;
    }
    int64_t then_us = ago(r, n, unit);
    set_stretch(part, then_us, take_word(r, "ago") ? then_us : r->now_us);
    return true;
}

static bool take_part(Reader *r, Part *part)
{
    *part = (Part){0};
    skip_filler(r);
    if (take_word(r, "now")) {
        set_stretch(part, r->now_us, r->now_us);
        return true;
    }
    if (take_words(r, "last", "night")) {
        set_date(part, r->today, 1, 0, 1);
        part->has_hours = true;
        part->from_min = 22 * 60;
        part->to_min = 30 * 60;
        return true;
    }
    if (take_word(r, "tonight")) {
        set_date(part, r->today, 0, 0, 1);
        part->has_hours = true;
        part->from_min = 17 * 60;
        part->to_min = 30 * 60;
        return true;
    }
    if (take_iso(r, part) || take_day(r, part)) {
        if (part->absolute || part->has_clock || part->months)
            return true;
        skip_filler(r);
        if (!take_hours(r, part))
            take_clock(r, part);
        return true;
    }
    if (take_period(r, part) || take_count(r, part))
        return true;
    const char *before = r->at;
    if (take_word(r, "this") && !take_hours(r, part)) {
        r->at = before;
        return false;
    }
    if (!part->has_hours && !take_hours(r, part) && !take_clock(r, part))
        return false;
    if (r->at > before && part->has_hours && strncmp(before, "this", 4) == 0)
        set_date(part, r->today, 0, 0, 1);
    before = r->at;
    skip_filler(r);
    Part day = {0};
    if (take_iso(r, &day) && (day.absolute || day.has_clock || day.months))
        r->at = before; /* not a day */
    else if (day.has_date || take_day(r, &day))
        set_date(part, day.date, 0, 0, 1);
    else
        r->at = before;
    return true;
}

/* --- parts to UTC --- */

/* Its begin; without a date, of `date`. */
static int64_t start_of(const Reader *r, const Part *part, const Civil *date)
{
    if (part->absolute)
        return part->start_us;
    Civil day = part->has_date ? part->date : *date;
    if (part->has_clock) {
        day.hour = part->hour;
        day.minute = part->minute;
        day.second = part->second;
    }
    return day_us(r, &day, 0, 0, part->has_hours ? part->from_min : 0);
}

static int64_t end_of(const Reader *r, const Part *part, const Civil *date)
{
    if (part->absolute)
        return part->end_us;
    if (part->has_clock)
        return start_of(r, part, date) + part->unit_s * US_PER_S;
    Civil day = part->has_date ? part->date : *date;
    if (part->has_hours)
        return day_us(r, &day, 0, 0, part->to_min);
    return day_us(r, &day, part->months, part->days, 0);
}

/* As the end of "A to B". */
static int64_t last_of(const Reader *r, const Part *part, const Civil *date)
{
    return part->absolute || part->has_clock ? start_of(r, part, date) : end_of(r, part, date);
}

/* The day of a part that names none: today, or yesterday when that has not come yet. */
static Civil day_of(const Reader *r, const Part *part)
{
    Civil day = midnight(r->today);
    if (!part->has_date && !part->absolute && start_of(r, part, &day) > r->now_us)
        day.day--;
    return day;
}

/* "between 8 and 10": the second part's day is the first one's, or the next. */
static void join(const Reader *r, Part *a, Part *b, TimeRange *range)
{
    /* "8 to 10pm": both are; "11 to 1pm": only the second is. */
    if (a->has_clock && !a->meridiem && b->has_clock && b->meridiem && b->hour >= 12 &&
        a->hour < 12 && a->hour + 12 < b->hour)
        a->hour += 12;
    if (b->has_date && !a->has_date && !a->absolute && !b->months) {
        a->has_date = true; /* "between 8 and 10 yesterday" */
        a->date = b->date;
        a->days = 1;
        if (last_of(r, b, &b->date) <= start_of(r, a, &a->date))
            b->date.day++;
    }
    Civil day = a->has_date ? a->date : day_of(r, a);
    range->since_us = start_of(r, a, &day);
    if (a->absolute && !b->has_date)
        day = midnight(time_zone_civil(r->zone, a->start_us));
    range->until_us = last_of(r, b, &day);
    if (!b->has_date && !b->absolute && range->until_us <= range->since_us) {
        day.day++;
        range->until_us = last_of(r, b, &day);
    }
}

static bool take_to(Reader *r)
{
    static const char *const WORDS[] = {"to", "until", "till", "and", "through"};
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++)
        if (take_word(r, WORDS[i]))
            return true;
    skip_space(r);
    if (strncmp(r->at, "..", 2) == 0) {
        r->at += 2;
        return true;
    }
    return take_char(r, '-') || take_char(r, '/');
}

static bool take_range(Reader *r, TimeRange *range)
{
    Part a, b, day = {0};
    bool since = take_word(r, "since"), after = !since && take_word(r, "after");
    bool until = take_word(r, "until") || take_word(r, "till");
    bool before = !until && take_word(r, "before");
    if (since || after || until || before) {
        if (!take_part(r, &a))
            return false;
        Civil today = day_of(r, &a);
        if (since || after)
            range->since_us = after ? last_of(r, &a, &today) : start_of(r, &a, &today);
        else
            range->until_us = before ? start_of(r, &a, &today) : last_of(r, &a, &today);
        return true;
    }
    /* "yesterday between 8 and 10" */
    const char *begin = r->at;
    skip_filler(r);
    bool dated = take_iso(r, &day) || take_day(r, &day);
    bool pair = take_word(r, "between") || take_word(r, "from");
    if (dated && (!pair || day.absolute || day.has_clock || day.months)) {
        r->at = begin;
        dated = pair = false;
    }
    if (!take_part(r, &a))
        return false;
    if (dated && !a.has_date && !a.absolute)
        set_date(&a, day.date, 0, 0, 1);
    if (!take_to(r)) {
        Civil today = day_of(r, &a);
        range->since_us = start_of(r, &a, &today);
        range->until_us = end_of(r, &a, &today);
        if (range->until_us <= range->since_us) /* a moment: its second */
            range->until_us = range->since_us + US_PER_S;
        return !pair;
    }
    if (!take_part(r, &b))
        return false;
    join(r, &a, &b, range);
    return true;
}

int time_range_parse(const char *text, const TimeZone *zone, int64_t now_us, TimeRange *range,
                     Error *err)
{
    Reader r = {.zone = zone, .now_us = now_us, .today = time_zone_civil(zone, now_us)};
    TimeRange found = {0};
    size_t n = strlen(text);
    if (n > TIME_RANGE_MAX_BYTES)
        return error_set(err, EINVAL, EX_DATAERR,
                         "a stretch of time of %zu bytes: at most %d are read", n,
                         TIME_RANGE_MAX_BYTES);
    for (size_t i = 0; i < n; i++)
        r.text[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] - 'A' + 'a') : text[i];
    r.at = r.text;
    skip_space(&r);
    if (*r.at) {
        bool good = take_range(&r, &found);
        skip_space(&r);
        if (!good || *r.at)
            return error_set(err, EINVAL, EX_DATAERR,
                             "\"%s\": not a stretch of time (like yesterday evening, last 3 days, "
                             "between 8 and 10, 2026-11-23)",
                             text);
        if (found.since_us && found.until_us && found.since_us >= found.until_us)
            return error_set(err, EINVAL, EX_DATAERR, "\"%s\": it ends before it begins", text);
    }
    *range = found;
    return 0;
}

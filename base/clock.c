/* Time. See clock.h. */
#include "base/clock.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * US_PER_S + ts.tv_nsec / 1000;
}

int64_t clock_utc_us(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_monotonic_us(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

void clock_format_utc(int64_t utc_us, char text[CLOCK_UTC_TEXT_BYTES])
{
    int64_t rest = utc_us % 1000;
    int64_t ms = floor_div(utc_us, 1000) + ((rest < 0 ? rest + 1000 : rest) >= 500);
    int64_t s = floor_div(ms, 1000);
    struct tm tm;
    time_t t = (time_t)s;
    if (!gmtime_r(&t, &tm)) {
        snprintf(text, CLOCK_UTC_TEXT_BYTES, "@%lldus", (long long)utc_us);
        return;
    }
    snprintf(text, CLOCK_UTC_TEXT_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms - s * 1000));
}

/* Reads exactly `digits` decimal digits and moves *p behind them; -1 when they are not there. */
static int read_digits(const char **p, int digits)
{
    int value = 0;
    for (int i = 0; i < digits; i++) {
        if ((*p)[i] < '0' || (*p)[i] > '9')
            return -1;
        value = value * 10 + ((*p)[i] - '0');
    }
    *p += digits;
    return value;
}

/* A fraction ".25" to microseconds; digits past the sixth are cut. */
static int64_t read_fraction_us(const char **p)
{
    if (**p != '.')
        return 0;
    int64_t value = 0, unit = US_PER_S;
    for (++*p; **p >= '0' && **p <= '9'; ++*p) {
        unit /= 10;
        value += unit * (**p - '0');
    }
    return value;
}

static int read_offset_s(const char **p, int *offset_s)
{
    *offset_s = 0;
    if (**p == 'Z') {
        ++*p;
        return 0;
    }
    if (**p != '+' && **p != '-')
        return 0;
    int sign = **p == '-' ? -1 : 1;
    ++*p;
    int h = read_digits(p, 2);
    if (**p == ':')
        ++*p;
    int m = read_digits(p, 2);
    if (h < 0 || h > 23 || m < 0 || m > 59)
        return -EINVAL;
    *offset_s = sign * (h * 3600 + m * 60);
    return 0;
}

int clock_parse_utc(const char *text, int64_t *utc_us)
{
    const char *p = text;
    struct tm tm = {0};
    int64_t fraction_us = 0;
    int year = read_digits(&p, 4);
    if (year < 0 || *p++ != '-')
        return -EINVAL;
    int month = read_digits(&p, 2);
    if (month < 1 || month > 12 || *p++ != '-')
        return -EINVAL;
    int day = read_digits(&p, 2);
    if (day < 1 || day > 31)
        return -EINVAL;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    int offset_s = 0;
    if (*p == 'T' || *p == ' ') {
        p++;
        tm.tm_hour = read_digits(&p, 2);
        if (tm.tm_hour < 0 || tm.tm_hour > 23 || *p++ != ':')
            return -EINVAL;
        tm.tm_min = read_digits(&p, 2);
        if (tm.tm_min < 0 || tm.tm_min > 59)
            return -EINVAL;
        if (*p == ':') {
            p++;
            tm.tm_sec = read_digits(&p, 2);
            if (tm.tm_sec < 0 || tm.tm_sec > 60)
                return -EINVAL;
            fraction_us = read_fraction_us(&p);
        }
        if (read_offset_s(&p, &offset_s) < 0)
            return -EINVAL;
    }
    if (*p)
        return -EINVAL;
    time_t s = timegm(&tm);
    if (tm.tm_mday != day) /* 31 February was carried into March */
        return -EINVAL;
    *utc_us = ((int64_t)s - offset_s) * US_PER_S + fraction_us;
    return 0;
}

void clock_format_mmss(double seconds, char text[CLOCK_MMSS_TEXT_BYTES])
{
    if (!(seconds > 0))
        seconds = 0;
    if (seconds > 5999999)
        seconds = 5999999;
    long hundredths = lround(seconds * 100);
    snprintf(text, CLOCK_MMSS_TEXT_BYTES, "%02ld:%02ld.%02ld", hundredths / 6000,
             hundredths / 100 % 60, hundredths % 100);
}

int clock_parse_mmss(const char *text, double *seconds)
{
    double total = 0;
    const char *p = text;
    for (int field = 0; field < 3; field++) {
        if (*p < '0' || *p > '9')
            return -EINVAL;
        char *end;
        errno = 0;
        double value = strtod(p, &end);
        /* strtod also reads hex and exponents, which no time has. */
        if (errno || strspn(p, "0123456789.") < (size_t)(end - p) || !isfinite(value))
            return -EINVAL;
        total = total * 60 + value;
        if (*end == '\0') {
            *seconds = total;
            return 0;
        }
        if (*end != ':')
            return -EINVAL;
        p = end + 1;
    }
    return -EINVAL;
}

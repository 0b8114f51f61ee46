/*
 * Time. UTC is int64 microseconds since 1970-01-01T00:00:00Z everywhere ("_us"); model time is
 * double seconds from a timeline's origin.
 */
#ifndef WHEN_BASE_CLOCK_H
#define WHEN_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define US_PER_S INT64_C(1000000)

#define CLOCK_UTC_TEXT_BYTES  80 /* enough for clock_format_utc of any int64, with its NUL */
#define CLOCK_MMSS_TEXT_BYTES 32

int64_t clock_utc_us(void);
int64_t clock_monotonic_us(void);

/* "2026-11-23T08:27:47.250Z", milliseconds, rounded to nearest. Any int64 gives a text. */
void clock_format_utc(int64_t utc_us, char text[CLOCK_UTC_TEXT_BYTES]);

/* ISO 8601: "2026-11-23", "2026-11-23T08:27[:47[.25]]", 'T' or a space, then "Z", "+hh:mm" or
 * nothing (then UTC). 0, or -EINVAL with *utc_us unchanged. */
int clock_parse_utc(const char *text, int64_t *utc_us);

/* "mm:ss.ff" as the model writes times (minutes may pass 59). seconds < 0 becomes 0. */
void clock_format_mmss(double seconds, char text[CLOCK_MMSS_TEXT_BYTES]);

/* "mm:ss", "mm:ss.ff", "hh:mm:ss.ff" or plain seconds to *seconds; -EINVAL otherwise. */
int clock_parse_mmss(const char *text, double *seconds);

#endif

/* What a video file says without being decoded. See container.h. */
#include "pipeline/container.h"

#include "base/clock.h"
#include "base/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_BOXES = 1 << 16 };
enum { LONGEST_LEAP_S = 3 * 3600 }; /* of clocks that are put forward or back */

/* `digits` digits at p as a number, or -1. */
static int number(const char *p, int digits)
{
    int value = 0;
    for (int i = 0; i < digits; i++) {
        if (p[i] < '0' || p[i] > '9')
            return -1;
        value = value * 10 + (p[i] - '0');
    }
    return value;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Two digits after an optional separator out of `separators`; -1 when they are not there. */
static int field(const char **p, const char *separators)
{
    const char *q = *p;
    if (*q && strchr(separators, *q))
        q++;
    int value = number(q, 2);
    if (value >= 0)
        *p = q + 2;
    return value;
}

static void of_zone(const TimeZone *zone, const Civil *civil, int ms, NameTime *time)
{
    int64_t utc_us = time_zone_utc_us(zone, civil), utc_s = utc_us / US_PER_S;
    time->utc_us = utc_us + ms * INT64_C(1000);
    /* Clocks that are put back soon show the same once more. */
    int64_t before_s = time_zone_offset_s(zone, utc_s);
    int64_t back_s = before_s - time_zone_offset_s(zone, utc_s + LONGEST_LEAP_S);
    if (back_s > 0 && time_zone_offset_s(zone, utc_s + back_s) == before_s - back_s)
        time->unsure_us = back_s * US_PER_S;
}

static bool time_at(const char *p, const TimeZone *zone, NameTime *time)
{
    int year = number(p, 4);
    if (year < 1990 || year > 2100)
        return false;
    p += 4;
    bool spaced = *p == '-' || *p == '_' || *p == '.';
    int month = field(&p, "-_.");
    int day = month < 0 ? -1 : field(&p, spaced ? "-_." : "");
    int hour = day < 0 ? -1 : field(&p, "T_- ");
    int minute = hour < 0 ? -1 : field(&p, "-_.:h");
    int second = minute < 0 ? -1 : field(&p, "-_.:m");
    if (second < 0 || second > 60)
        return false;
    int ms = 0;
    if ((*p == '.' || *p == '-' || *p == '_') && number(p + 1, 3) >= 0 && !is_digit(p[4])) {
        ms = number(p + 1, 3);
        p += 4;
    } else if (is_digit(*p)) {
        return false; /* a longer number, no time */
    }
    char text[64];
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", year, month, day, hour,
             minute, second, ms);
    *time = (NameTime){.says_utc = *p == 'Z'};
    if (clock_parse_utc(text, &time->utc_us) < 0)
        return false;
    Civil civil = {year, month, day, hour, minute, second};
    if (zone && !time->says_utc)
        of_zone(zone, &civil, ms, time);
    return true;
}

bool container_name_time(const char *path, const TimeZone *zone, NameTime *time)
{
    const char *slash = strrchr(path, '/');
    for (const char *p = slash ? slash + 1 : path; *p; p++)
        if (is_digit(*p) && (p == path || !is_digit(p[-1])) && time_at(p, zone, time))
            return true;
    return false;
}

static uint64_t big(const uint8_t *p, int n)
{
    uint64_t value = 0;
    for (int i = 0; i < n; i++)
        value = value << 8 | p[i];
    return value;
}

static int64_t missing_of_riff(const uint8_t head[16], int64_t size)
{
    int64_t end = 8 + (int64_t)(head[4] | (uint32_t)head[5] << 8 | (uint32_t)head[6] << 16 |
                                (uint32_t)head[7] << 24);
    return end > size ? end - size : 0;
}

int64_t container_missing_bytes(const char *path, ContainerIndex *index)
{
    *index = CONTAINER_INDEX_WHOLE;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    uint8_t head[16];
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || pread(fd, head, 16, 0) != 16)
        return 0;
    if (memcmp(head, "RIFF", 4) == 0)
        return missing_of_riff(head, st.st_size);
    if (memcmp(head + 4, "ftyp", 4) != 0)
        return 0;
    /* MP4: boxes follow each other from the begin to the end of the file. */
    bool moov = false, moof = false;
    int64_t at = 0, missing = 0;
    for (int i = 0; i < MAX_BOXES && at < st.st_size; i++) {
        ssize_t n = pread(fd, head, 16, at);
        if (n < 8) {
            missing = 8 - n;
            break;
        }
        uint64_t length = big(head, 4);
        if (length == 1 && n == 16)
            length = big(head + 8, 8);
        if (length == 0) /* to the end of the file */
            length = (uint64_t)(st.st_size - at);
        if (length < 8 || length > (uint64_t)INT64_MAX / 2)
            break; /* no box: leave the judgement to the demuxer */
        at += (int64_t)length;
        missing = at > st.st_size ? at - st.st_size : 0;
        moov |= memcmp(head + 4, "moov", 4) == 0 && missing == 0;
        moof |= memcmp(head + 4, "moof", 4) == 0;
    }
    *index = !moov  ? CONTAINER_INDEX_NONE
             : moof ? CONTAINER_INDEX_FRAGMENTS
                    : CONTAINER_INDEX_WHOLE;
    return missing;
}

/* Stretches of time and zones from anybody: a range in order, or one line of why not. */
#include "base/time_range.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const ZONES[] = {"UTC", "CET-1CEST,M3.5.0,M10.5.0/3",
                                    "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45",
                                    "NST3:30NDT,M3.2.0,M11.1.0"};

/* 2026-03-29T00:59:30Z: half a minute before the clocks of the second zone leap. */
#define NOW_US INT64_C(1774745970000000)

static void parse(const char *text, const TimeZone *zone)
{
    TimeRange range = {0};
    Error err = {0};
    int r = time_range_parse(text, zone, NOW_US, &range, &err);
    if (r == 0) {
        assert(!range.since_us || !range.until_us || range.since_us <= range.until_us);
    } else {
        assert(r < 0 && err.exit_code && err.text[0] && !strchr(err.text, '\n'));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    TimeZone *zone = NULL;
    if (size == 0)
        return 0;
    char *text = malloc(size);
    assert(text);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (data[0] == 'Z') { /* the rest is a zone's name, or its file */
        Error err = {0};
        if (time_zone_new(text, &zone, &err) < 0)
            assert(err.exit_code && !strchr(err.text, '\n'));
        else
            parse("last night", zone);
        time_zone_free(zone);
        zone = NULL;
        if (time_zone_from_tzif(data + 1, size - 1, &zone) == 0)
            parse("yesterday evening", zone);
    } else if (time_zone_new(ZONES[data[0] % 4], &zone, NULL) == 0) {
        parse(text, zone);
    }
    time_zone_free(zone);
    free(text);
    return 0;
}

/* UTC of a stream's frames. See timebase.h. */
#include "pipeline/timebase.h"

#include "base/clock.h"

#include <stdlib.h>

#define NTP_TO_UNIX_S INT64_C(2208988800)
#define NTP_ERA_S     (INT64_C(1) << 32)
#define DAY_US        (INT64_C(86400) * US_PER_S)

enum { DRIFT_PPM = 200 }; /* more than any crystal */
enum { NEAR_US = 2 * 1000000 };
enum { LATE_US = 3 * 1000000 }; /* a hiccup of the network ends sooner */

void timebase_init(Timebase *t, int64_t hold_us, int64_t arrival_err_us)
{
    *t = (Timebase){.hold_us = hold_us, .arrival_err_us = arrival_err_us, .session = 0};
}

void timebase_new_session(Timebase *t)
{
    t->session++;
    t->observed = t->reported = t->hold_over = t->sent_by_arrival = false;
}

static bool is_step(int64_t a, int64_t b)
{
    return llabs(a - b) > TIMEBASE_STEP_US;
}

/* The sender's clock jumped, or by arrival ours did. */
static bool has_stepped(Timebase *t, int64_t pts_us, int64_t reference_offset_us, bool by_reference,
                        int64_t arrival_offset_us)
{
    if (t->reported)
        return by_reference && is_step(reference_offset_us, t->offset_us);
    if (by_reference)
        return false; /* the first report corrects, however far */
    if (arrival_offset_us - t->offset_us <= TIMEBASE_STEP_US)
        t->late_since_pts_us = -1;
    else if (t->late_since_pts_us < 0)
        t->late_since_pts_us = pts_us;
    /* While frames are held, those of a first burst may be as late as they like. */
    return t->hold_over &&
           ((t->late_since_pts_us >= 0 && pts_us - t->late_since_pts_us > LATE_US) ||
            t->offset_us - arrival_offset_us > TIMEBASE_STEP_US);
}

static void follow_arrival(Timebase *t, int64_t pts_us, int64_t arrival_offset_us)
{
    int64_t passed_us = pts_us > t->last_pts_us ? pts_us - t->last_pts_us : 0;
    int64_t most_us = t->offset_us + passed_us * DRIFT_PPM / 1000000;
    t->offset_us = arrival_offset_us < most_us ? arrival_offset_us : most_us;
}

int timebase_observe(Timebase *t, int64_t pts_us, int64_t reference_utc_us,
                     int64_t arrival_offset_us)
{
    int found = 0;
    int64_t reference_offset_us = reference_utc_us - pts_us;
    bool by_reference = reference_utc_us != 0;
    if (t->observed &&
        has_stepped(t, pts_us, reference_offset_us, by_reference, arrival_offset_us)) {
        timebase_new_session(t);
        t->steps++;
        t->hold_over = true; /* this stream was waited for before */
        found |= TIMEBASE_STEPPED;
    }
    if (!t->observed) {
        t->observed = true;
        t->first_pts_us = t->last_pts_us = pts_us;
        t->late_since_pts_us = -1;
        t->offset_us = arrival_offset_us;
    }
    if (by_reference) {
        if (!t->reported)
            found |= TIMEBASE_FIRST_REPORT;
        t->reported = true;
        t->reported_pts_us = pts_us;
        t->offset_us = reference_offset_us;
    } else if (!t->reported) {
        follow_arrival(t, pts_us, arrival_offset_us);
        if (pts_us - t->first_pts_us >= t->hold_us)
            t->hold_over = true;
    }
    t->last_pts_us = pts_us;
    return found;
}

void timebase_end_hold(Timebase *t)
{
    t->hold_over = true;
}

UtcStamp timebase_estimate(const Timebase *t, int64_t pts_us)
{
    UtcStamp stamp = {.utc_us = pts_us + t->offset_us};
    if (!t->reported) {
        stamp.source = UTC_ARRIVAL;
        stamp.err_us = t->arrival_err_us;
        return stamp;
    }
    int64_t away_us = llabs(pts_us - t->reported_pts_us);
    stamp.source = UTC_RTCP;
    stamp.err_us = TIMEBASE_RTCP_ERR_US + away_us / 1000000 * DRIFT_PPM;
    /* Some frames carry no reference though their neighbours do: nothing was lost between. */
    if (away_us > NEAR_US && stamp.err_us < TIMEBASE_CORRECTED_ERR_US)
        stamp.err_us = TIMEBASE_CORRECTED_ERR_US;
    return stamp;
}

int timebase_stamp(Timebase *t, int64_t pts_us, int64_t reference_utc_us, UtcStamp *stamp)
{
    if (reference_utc_us) {
        *stamp = (UtcStamp){reference_utc_us, TIMEBASE_RTCP_ERR_US, UTC_RTCP};
        return 0;
    }
    if (!t->reported && !t->hold_over)
        return TIMEBASE_HOLD;
    *stamp = timebase_estimate(t, pts_us);
    t->sent_by_arrival |= stamp->source == UTC_ARRIVAL;
    return 0;
}

bool timebase_correction(Timebase *t, int64_t *utc_minus_pts_us, int64_t *err_us)
{
    if (!t->reported || !t->sent_by_arrival)
        return false;
    t->sent_by_arrival = false;
    *utc_minus_pts_us = t->offset_us;
    *err_us = TIMEBASE_CORRECTED_ERR_US;
    return true;
}

int64_t timebase_ntp_to_utc_us(uint64_t ntp_ns, int64_t near_utc_us)
{
    int64_t utc_us = (int64_t)(ntp_ns / 1000) - NTP_TO_UNIX_S * US_PER_S;
    int64_t era_us = NTP_ERA_S * US_PER_S;
    if (near_utc_us - utc_us > era_us / 2)
        utc_us += era_us;
    return llabs(utc_us - near_utc_us) > DAY_US ? 0 : utc_us;
}

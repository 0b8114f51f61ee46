/*
 * UTC of a stream's frames with an error bound. Pure: all clocks are given by the caller.
 *
 * A live stream's best time is the sender's own (reference timestamps, from RTCP sender reports);
 * they begin some seconds after the stream. Until then frames are held back, at most for hold_us;
 * then they go out by their arrival, and when the first report comes later, what was sent by
 * arrival is corrected (TimeCorrection). A jump of the sender's clock against its running estimate
 * by more than half a second starts a new session; slower drift is followed.
 *
 * By arrival, the least delayed frame counts: UTC less pts is followed downwards at once and
 * upwards only as fast as clocks drift, so that a burst or a hiccup of the network moves nothing.
 * If it stays up for seconds, our own clock was set, which is a jump too.
 */
#ifndef WHEN_PIPELINE_TIMEBASE_H
#define WHEN_PIPELINE_TIMEBASE_H

#include "pipeline/frame.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    TIMEBASE_RTCP_ERR_US = 50000,       /* what reports are off by, clock of the sender aside */
    TIMEBASE_CORRECTED_ERR_US = 100000, /* of frames before the first report */
    TIMEBASE_STEP_US = 500000,
    TIMEBASE_HOLD_US = 4000000
};

typedef struct UtcStamp {
    int64_t utc_us, err_us;
    UtcSource source;
} UtcStamp;

typedef struct Timebase {
    int64_t hold_us, arrival_err_us;
    uint64_t session; /* of the newest frame; a new one starts at 1 more than before */
    uint64_t steps;   /* clock jumps seen */
    bool observed;    /* a frame of this session was seen */
    bool reported;    /* a reference time was seen in this session */
    bool hold_over;   /* frames without a report no longer wait */
    bool sent_by_arrival;
    int64_t first_pts_us;
    int64_t reported_pts_us; /* of the frame with the newest reference */
    int64_t offset_us;       /* UTC less pts: by reference once reported, else by arrival */
    int64_t last_pts_us;
    int64_t late_since_pts_us; /* frames have come over TIMEBASE_STEP_US late since; -1: not */
} Timebase;

/* What timebase_observe found, as bits. */
enum {
    TIMEBASE_FIRST_REPORT = 1, /* frames held can go; see timebase_correction */
    TIMEBASE_STEPPED = 2       /* a new session began with this frame */
};

/* arrival_err_us: the jitter buffer's latency and what network and encoder may add. */
void timebase_init(Timebase *t, int64_t hold_us, int64_t arrival_err_us);

/* The stream was opened anew. */
void timebase_new_session(Timebase *t);

/* Every frame, in order. reference_utc_us: 0 when it has none. arrival_offset_us: UTC when it came
 * less its pts. */
int timebase_observe(Timebase *t, int64_t pts_us, int64_t reference_utc_us,
                     int64_t arrival_offset_us);

/* No more reports are to be waited for (the stream ended or stalls). */
void timebase_end_hold(Timebase *t);

enum { TIMEBASE_HOLD = 1 };

/* UTC of an observed frame of this session: 0, or TIMEBASE_HOLD: ask again later. */
int timebase_stamp(Timebase *t, int64_t pts_us, int64_t reference_utc_us, UtcStamp *stamp);

/* After TIMEBASE_FIRST_REPORT: were frames of this session sent by arrival? Then what their UTC is.
 */
bool timebase_correction(Timebase *t, int64_t *utc_minus_pts_us, int64_t *err_us);

/* Best estimate at any time, without holding: for recordings and health. */
UtcStamp timebase_estimate(const Timebase *t, int64_t pts_us);

/* Nanoseconds since 1900 (modulo the 136 years of NTP, settled by near_utc_us) to UTC; 0 when it is
 * more than a day off near_utc_us: then the sender has no wall clock. */
int64_t timebase_ntp_to_utc_us(uint64_t ntp_ns, int64_t near_utc_us);

#endif

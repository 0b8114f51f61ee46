/*
 * A sender's clock that is set back. GStreamer from 1.24 on looks at no RTCP sender report whose
 * time is before that of an earlier one, so that frames would keep the old time for as long as the
 * clock went back: an hour, when it went back an hour. Here reports are watched on their way in,
 * and from the first one that goes back they are shown to GStreamer some days later, by a number
 * that is taken off again from the frames' reference times.
 */
#ifndef WHEN_PIPELINE_SENDER_CLOCK_H
#define WHEN_PIPELINE_SENDER_CLOCK_H

#include <gst/gst.h>
#include <stdatomic.h>
#include <stdint.h>

typedef struct SenderClock {
    atomic_uint steps; /* times it went back */
} SenderClock;

/* The handler of rtpbin's "new-jitterbuffer"; clock: a SenderClock that outlives the pipeline. */
void sender_clock_watch(GstElement *manager, GstElement *jitterbuffer, guint session, guint ssrc,
                        gpointer clock);

/* As timebase_ntp_to_utc_us, of a frame's reference time. */
int64_t sender_clock_utc_us(SenderClock *clock, uint64_t ntp_ns, int64_t near_utc_us);

#endif

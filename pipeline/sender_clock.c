/* Sender reports made to go forward only. See sender_clock.h. */
#include "pipeline/sender_clock.h"

#include "pipeline/timebase.h"

#include <gst/rtp/gstrtcpbuffer.h>
#include <stdbool.h>

/* What is added at each step. Times count when they lie within a day of ours: with three days no
 * time can be taken for one of another step. */
#define STEP_S  (UINT64_C(3) * 86400)
#define STEP_NS (STEP_S * 1000000000)
#define ERA_NS  ((UINT64_C(1) << 32) * 1000000000) /* NTP begins anew after that */

/* One stream's reports; only in the thread that receives them. */
typedef struct Watch {
    SenderClock *clock;
    bool reported;
    uint64_t ntp; /* of the newest report, in 2^-32 s */
    uint32_t rtp;
    unsigned steps;
} Watch;

/* The time to be shown in the place of a report's own. */
static uint64_t shown(Watch *w, uint64_t ntp, uint32_t rtp)
{
    bool newer = !w->reported || (int32_t)(rtp - w->rtp) > 0; /* one may be overtaken on the way */
    if (newer && w->reported && ntp < w->ntp) {
        w->steps++;
        if (w->steps > atomic_load(&w->clock->steps))
            atomic_store(&w->clock->steps, w->steps);
    }
    if (newer) {
        w->reported = true;
        w->ntp = ntp;
        w->rtp = rtp;
    }
    return ntp + (w->steps * STEP_S << 32);
}

static GstPadProbeReturn on_report(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    (void)pad;
    Watch *w = data;
    GstBuffer *buffer = gst_buffer_make_writable(GST_PAD_PROBE_INFO_BUFFER(info));
    GST_PAD_PROBE_INFO_DATA(info) = buffer;
    GstRTCPBuffer rtcp = GST_RTCP_BUFFER_INIT;
    GstRTCPPacket packet;
    if (!gst_rtcp_buffer_validate_reduced(buffer) ||
        !gst_rtcp_buffer_map(buffer, GST_MAP_READWRITE, &rtcp))
        return GST_PAD_PROBE_OK;
    for (gboolean more = gst_rtcp_buffer_get_first_packet(&rtcp, &packet); more;
         more = gst_rtcp_packet_move_to_next(&packet)) {
        if (gst_rtcp_packet_get_type(&packet) != GST_RTCP_TYPE_SR)
            continue;
        guint32 ssrc, rtp, packets, octets;
        guint64 ntp;
        gst_rtcp_packet_sr_get_sender_info(&packet, &ssrc, &ntp, &rtp, &packets, &octets);
        gst_rtcp_packet_sr_set_sender_info(&packet, ssrc, shown(w, ntp, rtp), rtp, packets, octets);
    }
    gst_rtcp_buffer_unmap(&rtcp);
    return GST_PAD_PROBE_OK;
}

static void on_pad(GstElement *jitterbuffer, GstPad *pad, gpointer clock)
{
    (void)jitterbuffer;
    if (g_strcmp0(GST_OBJECT_NAME(pad), "sink_rtcp") != 0)
        return;
    Watch *w = g_new0(Watch, 1);
    w->clock = clock;
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, on_report, w, g_free);
}

void sender_clock_watch(GstElement *manager, GstElement *jitterbuffer, guint session, guint ssrc,
                        gpointer clock)
{
    (void)manager;
    (void)session;
    (void)ssrc;
    g_signal_connect(jitterbuffer, "pad-added", G_CALLBACK(on_pad), clock);
}

int64_t sender_clock_utc_us(SenderClock *clock, uint64_t ntp_ns, int64_t near_utc_us)
{
    /* Frames that were on their way when the newest step was seen belong to the one before. */
    int64_t utc_us = 0;
    for (uint64_t left = (uint64_t)atomic_load(&clock->steps) + 1; utc_us == 0 && left > 0;
         left--) {
        uint64_t added_ns = (left - 1) * STEP_NS % ERA_NS;
        utc_us = timebase_ntp_to_utc_us((ntp_ns + ERA_NS - added_ns) % ERA_NS, near_utc_us);
    }
    return utc_us;
}

/* Reports as a jitter buffer gets them, from a sender whose clock goes back: times shown never go
 * back, and come out as they were. */
#include "pipeline/sender_clock.h"

#include <gst/rtp/gstrtcpbuffer.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const uint64_t NTP_S = 3976000000;                          /* some day of 2025 */
static const int64_t UTC_US = (3976000000 - 2208988800) * 1000000; /* the same */

typedef struct Stream {
    GstElement *jitterbuffer;
    GstPad *reports;
    SenderClock clock;
    uint64_t shown; /* of the newest report that came through */
} Stream;

static GstPadProbeReturn on_shown(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    (void)pad;
    Stream *s = data;
    GstRTCPBuffer rtcp = GST_RTCP_BUFFER_INIT;
    GstRTCPPacket packet;
    assert_true(gst_rtcp_buffer_map(GST_PAD_PROBE_INFO_BUFFER(info), GST_MAP_READ, &rtcp));
    assert_true(gst_rtcp_buffer_get_first_packet(&rtcp, &packet));
    guint32 ssrc, rtp, packets, octets;
    gst_rtcp_packet_sr_get_sender_info(&packet, &ssrc, &s->shown, &rtp, &packets, &octets);
    assert_true(ssrc == 7 && packets == 10 && octets == 1000);
    gst_rtcp_buffer_unmap(&rtcp);
    return GST_PAD_PROBE_OK;
}

static void open_stream(Stream *s)
{
    *s = (Stream){.jitterbuffer = gst_element_factory_make("rtpjitterbuffer", NULL)};
    assert_non_null(s->jitterbuffer);
    sender_clock_watch(NULL, s->jitterbuffer, 0, 7, &s->clock);
    s->reports = gst_element_request_pad_simple(s->jitterbuffer, "sink_rtcp");
    gst_pad_add_probe(s->reports, GST_PAD_PROBE_TYPE_BUFFER, on_shown, s, NULL);
    gst_element_set_state(s->jitterbuffer, GST_STATE_PAUSED);
    GstSegment segment;
    gst_segment_init(&segment, GST_FORMAT_TIME);
    gst_pad_send_event(s->reports, gst_event_new_stream_start("reports"));
    gst_pad_send_event(s->reports, gst_event_new_segment(&segment));
}

static void close_stream(Stream *s)
{
    gst_element_set_state(s->jitterbuffer, GST_STATE_NULL);
    gst_object_unref(s->reports);
    gst_object_unref(s->jitterbuffer);
}

/* A report of `clock_s` by the sender's clock at `media_s` of the stream; what came of its time. */
static int64_t report(Stream *s, double clock_s, double media_s)
{
    GstBuffer *buffer = gst_rtcp_buffer_new(200);
    GstRTCPBuffer rtcp = GST_RTCP_BUFFER_INIT;
    GstRTCPPacket packet;
    gst_rtcp_buffer_map(buffer, GST_MAP_READWRITE, &rtcp);
    gst_rtcp_buffer_add_packet(&rtcp, GST_RTCP_TYPE_SR, &packet);
    uint64_t ntp = (NTP_S << 32) + (uint64_t)((int64_t)(clock_s * 4294967296));
    uint32_t rtp = 4294900000u + (uint32_t)(media_s * 90000); /* wraps within the first second */
    gst_rtcp_packet_sr_set_sender_info(&packet, 7, ntp, rtp, 10, 1000);
    gst_rtcp_buffer_unmap(&rtcp);
    uint64_t before = s->shown;
    assert_int_equal(gst_pad_chain(s->reports, buffer), GST_FLOW_OK);
    assert_true(before != s->shown);
    uint64_t ns = gst_util_uint64_scale(s->shown, GST_SECOND, G_GUINT64_CONSTANT(1) << 32);
    return sender_clock_utc_us(&s->clock, ns, UTC_US + (int64_t)(media_s * 1e6)) - UTC_US;
}

static void expect(Stream *s, double clock_s, double media_s)
{
    int64_t off_us = report(s, clock_s, media_s) - (int64_t)(clock_s * 1e6);
    assert_true(off_us >= -1 && off_us <= 1);
}

static void test_goes_on(void **state)
{
    (void)state;
    Stream s;
    open_stream(&s);
    for (int i = 0; i < 10; i++)
        expect(&s, 5 * i, 5 * i);
    expect(&s, 3600, 50); /* set ahead: nothing to do */
    assert_int_equal(atomic_load(&s.clock.steps), 0);
    close_stream(&s);
}

static void test_goes_back(void **state)
{
    (void)state;
    Stream s;
    open_stream(&s);
    uint64_t before = 0;
    const double offsets[] = {0, -30, -30, -3600, 7200, 7199.5, -40000};
    for (int i = 0; i < 7; i++) {
        expect(&s, 5 * i + offsets[i], 5 * i);
        assert_true(s.shown > before);
        before = s.shown;
    }
    assert_int_equal(atomic_load(&s.clock.steps), 3);
    close_stream(&s);
}

/* One that was overtaken on the way is no step, and says its own time. */
static void test_out_of_order(void **state)
{
    (void)state;
    Stream s;
    open_stream(&s);
    expect(&s, 0, 0);
    expect(&s, 10, 10);
    expect(&s, 5, 5);
    assert_int_equal(atomic_load(&s.clock.steps), 0);
    expect(&s, 8, 11);
    assert_int_equal(atomic_load(&s.clock.steps), 1);
    close_stream(&s);
}

/* Far off is far off, also by what is added at a step. */
static void test_no_wall_clock(void **state)
{
    (void)state;
    Stream s;
    open_stream(&s);
    assert_true(report(&s, 3 * 86400, 0) + UTC_US == 0);
    expect(&s, 5, 5);
    assert_true(report(&s, 2 * 86400, 10) + UTC_US == 0);
    close_stream(&s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_goes_back),
        cmocka_unit_test(test_out_of_order),
        cmocka_unit_test(test_no_wall_clock),
    };
    gst_init(&argc, &argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

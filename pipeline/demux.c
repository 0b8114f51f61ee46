/*
 * Compressed pictures of a file: filesrc ! parsebin ! appsink. See demux.h.
 */
#include "pipeline/demux.h"

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/fault.h"

#include <errno.h>
#include <gst/app/gstappsink.h>
#include <stdatomic.h>
#include <string.h>

static const int64_t LIMIT_US = 30 * US_PER_S;

struct Demux {
    char *path;
    GstElement *pipeline;
    GstAppSink *sink;
    GstBus *bus;
    atomic_bool has_video, pads_done;
    GstSample *first;
    int64_t first_us; /* stream time of the first picture */
};

static void on_pad(GstElement *bin, GstPad *pad, gpointer data)
{
    Demux *d = data;
    GstCaps *caps = gst_pad_get_current_caps(pad);
    if (!caps)
        caps = gst_pad_query_caps(pad, NULL);
    const char *name = gst_caps_is_empty(caps) || gst_caps_is_any(caps)
                           ? ""
                           : gst_structure_get_name(gst_caps_get_structure(caps, 0));
    bool video = g_str_has_prefix(name, "video/") || g_str_has_prefix(name, "image/");
    GstElement *to = GST_ELEMENT(d->sink);
    if (!video || atomic_load(&d->has_video)) {
        /* Everything else is swallowed, so that no demuxer waits for it. */
        to = gst_element_factory_make("fakesink", NULL);
        g_object_set(to, "sync", FALSE, "async", FALSE, NULL);
        gst_bin_add(GST_BIN(d->pipeline), to);
        gst_element_sync_state_with_parent(to);
        video = false;
    }
    GstPad *sink = gst_element_get_static_pad(to, "sink");
    if (gst_pad_link(pad, sink) == GST_PAD_LINK_OK && video)
        atomic_store(&d->has_video, true);
    gst_object_unref(sink);
    gst_caps_unref(caps);
    (void)bin;
}

static void on_no_more_pads(GstElement *bin, gpointer data)
{
    (void)bin;
    atomic_store(&((Demux *)data)->pads_done, true);
}

static int build(Demux *d, Error *err)
{
    GstElement *source = gst_element_factory_make("filesrc", NULL);
    GstElement *parse = gst_element_factory_make("parsebin", NULL);
    GstElement *sink = gst_element_factory_make("appsink", NULL);
    if (!source || !parse || !sink) {
        g_clear_object(&source);
        g_clear_object(&parse);
        g_clear_object(&sink);
        return error_set(err, ENOSYS, EX_UNAVAILABLE,
                         "GStreamer's base plugins are missing (apt-get install "
                         "gstreamer1.0-plugins-base)");
    }
    d->pipeline = gst_pipeline_new("demux");
    d->bus = gst_element_get_bus(d->pipeline);
    d->sink = GST_APP_SINK(gst_object_ref(sink));
    g_object_set(source, "location", d->path, NULL);
    g_object_set(sink, "sync", FALSE, "max-buffers", 8u, "drop", FALSE, "enable-last-sample", FALSE,
                 NULL);
    g_signal_connect(parse, "pad-added", G_CALLBACK(on_pad), d);
    g_signal_connect(parse, "no-more-pads", G_CALLBACK(on_no_more_pads), d);
    gst_bin_add_many(GST_BIN(d->pipeline), source, parse, sink, NULL);
    gst_element_link(source, parse);
    gst_element_set_state(d->pipeline, GST_STATE_PLAYING);
    return 0;
}

static int64_t stream_us(GstSample *sample)
{
    GstClockTime pts = GST_BUFFER_PTS(gst_sample_get_buffer(sample));
    guint64 at = 0;
    if (!GST_CLOCK_TIME_IS_VALID(pts))
        return 0;
    int sign =
        gst_segment_to_stream_time_full(gst_sample_get_segment(sample), GST_FORMAT_TIME, pts, &at);
    return sign * (int64_t)(at / 1000);
}

static int pull(Demux *d, GstSample **sample, Error *err)
{
    int64_t begin_us = clock_monotonic_us();
    for (;;) {
        *sample = gst_app_sink_try_pull_sample(d->sink, 50 * GST_MSECOND);
        if (*sample)
            return 0;
        GstMessage *message = gst_bus_pop_filtered(d->bus, GST_MESSAGE_ERROR);
        if (message) {
            int r = fault_of_file(message, d->path, err);
            gst_message_unref(message);
            return r;
        }
        if (gst_app_sink_is_eos(d->sink) && atomic_load(&d->has_video))
            return DEMUX_END;
        if (atomic_load(&d->pads_done) && !atomic_load(&d->has_video))
            return error_set(err, EINVAL, EX_DATAERR, "%s: no video in it", d->path);
        if (clock_monotonic_us() - begin_us > LIMIT_US)
            return error_set(err, ETIMEDOUT, EX_DATAERR,
                             "%s: nothing within %d s: damaged, or the disk hangs", d->path,
                             (int)(LIMIT_US / US_PER_S));
    }
}

int demux_open(const char *path, Demux **demux, Error *err)
{
    int r = fault_init_gst(err);
    if (r < 0)
        return r;
    Demux *d = calloc(1, sizeof *d);
    if (!d || !(d->path = strdup(path))) {
        free(d);
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", path);
    }
    r = build(d, err);
    if (r == 0)
        r = pull(d, &d->first, err);
    if (r == DEMUX_END)
        r = error_set(err, EINVAL, EX_DATAERR, "%s: no picture in it", path);
    if (r < 0) {
        demux_free(d);
        return r;
    }
    d->first_us = stream_us(d->first);
    *demux = d;
    return 0;
}

void demux_free(Demux *d)
{
    if (!d)
        return;
    if (d->pipeline)
        gst_element_set_state(d->pipeline, GST_STATE_NULL);
    g_clear_pointer(&d->first, gst_sample_unref);
    g_clear_object(&d->bus);
    g_clear_object(&d->sink);
    g_clear_object(&d->pipeline);
    free(d->path);
    free(d);
}

int demux_seek(Demux *d, int64_t pts_us, Error *err)
{
    g_clear_pointer(&d->first, gst_sample_unref);
    if (gst_element_seek_simple(d->pipeline, GST_FORMAT_TIME,
                                GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_KEY_UNIT |
                                    GST_SEEK_FLAG_SNAP_BEFORE,
                                (pts_us + d->first_us) * 1000))
        return 0;
    return error_set(err, ESPIPE, EX_DATAERR, "%s: cannot be read from its middle", d->path);
}

int demux_next(Demux *d, GstSample **sample, Error *err)
{
    *sample = d->first;
    d->first = NULL;
    return *sample ? 0 : pull(d, sample, err);
}

int64_t demux_pts_us(const Demux *d, GstSample *sample)
{
    return stream_us(sample) - d->first_us;
}

int64_t demux_duration_us(GstSample *sample)
{
    GstClockTime duration = GST_BUFFER_DURATION(gst_sample_get_buffer(sample));
    return GST_CLOCK_TIME_IS_VALID(duration) ? (int64_t)(duration / 1000) : 0;
}

bool demux_is_key(GstSample *sample)
{
    return !GST_BUFFER_FLAG_IS_SET(gst_sample_get_buffer(sample), GST_BUFFER_FLAG_DELTA_UNIT);
}

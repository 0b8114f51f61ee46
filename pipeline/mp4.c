/* Compressed pictures into an MP4. See mp4.h. */
#include "pipeline/mp4.h"

#include <string.h>

static const guint64 QUEUE_BYTES = (guint64)32 << 20;

/* Streams with B-frames come without decoding times, which MP4 needs: this element finds them. */
static const char *timestamper_for(GstCaps *caps)
{
    const char *name = gst_structure_get_name(gst_caps_get_structure(caps, 0));
    return strcmp(name, "video/x-h264") == 0   ? "h264timestamper"
           : strcmp(name, "video/x-h265") == 0 ? "h265timestamper"
                                               : "identity";
}

/* MP4 wants H.264 and H.265 with lengths, not start codes: the parser turns one into the other. */
static const char *parser_for(GstCaps *caps)
{
    const GstStructure *s = gst_caps_get_structure(caps, 0);
    const char *format = gst_structure_get_string(s, "stream-format");
    if (!format || strcmp(format, "byte-stream") != 0)
        return "identity";
    return gst_structure_has_name(s, "video/x-h264") ? "h264parse" : "h265parse";
}

bool mp4_open(Mp4 *mp4, const char *path, GstCaps *caps, const Mp4Options *options)
{
    *mp4 = (Mp4){.pipeline = gst_pipeline_new("mp4")};
    mp4->bus = gst_element_get_bus(mp4->pipeline);
    GstElement *source = gst_element_factory_make("appsrc", NULL);
    GstElement *parse = gst_element_factory_make(parser_for(caps), NULL);
    GstElement *stamp = gst_element_factory_make(timestamper_for(caps), NULL);
    GstElement *mux = gst_element_factory_make("mp4mux", NULL);
    GstElement *sink = gst_element_factory_make("filesink", NULL);
    if (!stamp) /* gstreamer1.0-plugins-bad is not there: right without B-frames */
        stamp = gst_element_factory_make("identity", NULL);
    if (!parse)
        parse = gst_element_factory_make("identity", NULL);
    if (!source || !parse || !stamp || !mux || !sink) {
        g_clear_object(&source);
        g_clear_object(&parse);
        g_clear_object(&stamp);
        g_clear_object(&mux);
        g_clear_object(&sink);
        mp4_close(mp4);
        return false;
    }
    mp4->source = GST_APP_SRC(gst_object_ref(source));
    g_object_set(source, "caps", caps, "format", GST_FORMAT_TIME, "is-live", options->live, "block",
                 !options->live, "max-bytes", QUEUE_BYTES, NULL);
    if (options->live)
        g_object_set(source, "leaky-type", 2 /* drop the oldest */, NULL);
    if (options->fragment_ms)
        g_object_set(mux, "fragment-duration", options->fragment_ms, "fragment-mode",
                     1 /* finalise at the end */, NULL);
    g_object_set(sink, "location", path, "sync", FALSE, "async", FALSE, NULL);
    if (options->fragment_ms)
        g_object_set(sink, "buffer-mode",
                     2 /* unbuffered: a fragment is on its way to the disk at once */, NULL);
    gst_bin_add_many(GST_BIN(mp4->pipeline), source, parse, stamp, mux, sink, NULL);
    gst_element_link_many(source, parse, stamp, mux, sink, NULL);
    gst_element_set_state(mp4->pipeline, GST_STATE_PLAYING);
    return true;
}

void mp4_close(Mp4 *mp4)
{
    if (mp4->pipeline)
        gst_element_set_state(mp4->pipeline, GST_STATE_NULL);
    g_clear_object(&mp4->source);
    g_clear_object(&mp4->bus);
    g_clear_object(&mp4->pipeline);
}

void mp4_push(Mp4 *mp4, GstBuffer *buffer, GstClockTime pts)
{
    GstBuffer *copy = gst_buffer_copy(buffer); /* shares the bytes */
    GST_BUFFER_PTS(copy) = pts;
    GST_BUFFER_DTS(copy) = GST_CLOCK_TIME_NONE;
    gst_app_src_push_buffer(mp4->source, copy);
}

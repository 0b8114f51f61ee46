/*
 * A GStreamer plugin for the tests: "brokenhwdec" says that it decodes H.264 in hardware, ranks
 * before all others, and fails on the first picture, as a VA-API driver may.
 */
#define PACKAGE "whend-tests"

#include <gst/gst.h>

typedef struct Broken {
    GstElement element;
} Broken;

typedef struct BrokenClass {
    GstElementClass parent;
} BrokenClass;

GType broken_get_type(void);
G_DEFINE_TYPE(Broken, broken, GST_TYPE_ELEMENT)

static GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS("video/x-h264"));
static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS("video/x-raw"));

static GstFlowReturn on_buffer(GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
    (void)pad;
    gst_buffer_unref(buffer);
    GST_ELEMENT_ERROR(GST_ELEMENT(parent), STREAM, DECODE, ("the device is gone"), (NULL));
    return GST_FLOW_ERROR;
}

/* Promises pictures, so that it is taken. */
static gboolean on_event(GstPad *pad, GstObject *parent, GstEvent *event)
{
    Broken *broken = (Broken *)parent;
    if (GST_EVENT_TYPE(event) != GST_EVENT_CAPS)
        return gst_pad_event_default(pad, parent, event);
    gst_event_unref(event);
    GstPad *src = gst_element_get_static_pad(&broken->element, "src");
    GstCaps *caps =
        gst_caps_from_string("video/x-raw,format=I420,width=64,height=64,framerate=25/1");
    gboolean taken = gst_pad_push_event(src, gst_event_new_caps(caps));
    gst_caps_unref(caps);
    gst_object_unref(src);
    return taken;
}

static void broken_class_init(BrokenClass *class)
{
    GstElementClass *element = GST_ELEMENT_CLASS(class);
    gst_element_class_add_static_pad_template(element, &sink_template);
    gst_element_class_add_static_pad_template(element, &src_template);
    gst_element_class_set_static_metadata(element, "A broken decoder",
                                          "Codec/Decoder/Video/Hardware", "Fails", "tests");
}

static void broken_init(Broken *broken)
{
    GstPad *sink = gst_pad_new_from_static_template(&sink_template, "sink");
    gst_pad_set_chain_function(sink, on_buffer);
    gst_pad_set_event_function(sink, on_event);
    gst_element_add_pad(&broken->element, sink);
    gst_element_add_pad(&broken->element, gst_pad_new_from_static_template(&src_template, "src"));
}

static gboolean plugin_init(GstPlugin *plugin)
{
    return gst_element_register(plugin, "brokenhwdec", GST_RANK_NONE, broken_get_type());
}

GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, brokenhwdec, "A broken decoder for tests",
                  plugin_init, "1", "MIT/X11", "whend-tests", "https://localhost")

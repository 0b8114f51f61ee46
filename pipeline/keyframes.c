/* Key frames alone. See keyframes.h. */
#include "pipeline/keyframes.h"

#include <string.h>

/* Containers round times to a millisecond or so. */
static const int64_t SLACK_US = 2000;

static bool marks_key_frames(GstPad *pad)
{
    static const char *const known[] = {"video/x-h264", "video/x-h265", "video/x-vp8",
                                        "video/x-vp9", "image/jpeg"};
    GstCaps *caps = gst_pad_get_current_caps(pad);
    bool found = false;
    for (size_t i = 0; caps && i < sizeof known / sizeof *known; i++)
        found |= gst_structure_has_name(gst_caps_get_structure(caps, 0), known[i]);
    if (caps)
        gst_caps_unref(caps);
    return found;
}

static GstPadProbeReturn on_buffer(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    KeyFrames *k = data;
    GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER(info);
    GstClockTime pts = GST_BUFFER_PTS(buffer);
    bool key = !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
    if (!GST_CLOCK_TIME_IS_VALID(pts)) {
        atomic_store(&k->usable, false);
        return GST_PAD_PROBE_OK;
    }
    if (!GST_CLOCK_TIME_IS_VALID(k->last_key))
        atomic_store(&k->usable, marks_key_frames(pad));
    if (key)
        k->last_key = pts;
    if (!atomic_load(&k->on)) {
        if (key)
            k->last_passed = pts;
        return GST_PAD_PROBE_OK;
    }
    int64_t from_key_us = (int64_t)(pts / 1000) - (int64_t)(k->last_key / 1000);
    if (!key && from_key_us > k->spacing_us + SLACK_US)
        atomic_store(&k->sparse, true);
    int64_t from_passed_us = (int64_t)(pts / 1000) - (int64_t)(k->last_passed / 1000);
    bool near = from_passed_us >= 0 && from_passed_us * 2 <= k->spacing_us;
    if (!key || atomic_load(&k->sparse) || near)
        return GST_PAD_PROBE_DROP;
    k->last_passed = pts;
    return GST_PAD_PROBE_OK;
}

void keyframes_attach(KeyFrames *k, GstElement *element)
{
    GstElementFactory *factory = gst_element_get_factory(element);
    if (!factory ||
        !gst_element_factory_list_is_type(factory, GST_ELEMENT_FACTORY_TYPE_DECODER |
                                                       GST_ELEMENT_FACTORY_TYPE_MEDIA_VIDEO))
        return;
    GstPad *sink = gst_element_get_static_pad(element, "sink");
    if (!sink)
        return;
    k->last_key = k->last_passed = GST_CLOCK_TIME_NONE;
    gst_pad_add_probe(sink, GST_PAD_PROBE_TYPE_BUFFER, on_buffer, k, NULL);
    gst_object_unref(sink);
}

bool keyframes_begin(KeyFrames *k, int64_t spacing_us)
{
    if (!atomic_load(&k->usable))
        return false;
    k->spacing_us = spacing_us;
    atomic_store(&k->on, true);
    return true;
}

bool keyframes_sparse(KeyFrames *k)
{
    return atomic_load(&k->on) && atomic_load(&k->sparse);
}

void keyframes_end(KeyFrames *k)
{
    atomic_store(&k->on, false);
}

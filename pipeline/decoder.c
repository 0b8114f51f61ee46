/* Which decoder. See decoder.h. */
#include "pipeline/decoder.h"

#include <pthread.h>
#include <string.h>

/* GstAutoplugSelectResult of decodebin, which no header has. */
enum { AUTOPLUG_TRY = 0, AUTOPLUG_SKIP = 2 };

static bool is_video_decoder(GstElementFactory *factory, bool *hardware)
{
    const char *class = gst_element_factory_get_metadata(factory, GST_ELEMENT_METADATA_KLASS);
    *hardware = class && strstr(class, "Hardware");
    return class && strstr(class, "Decoder") && (strstr(class, "Video") || strstr(class, "Image"));
}

/* Debian 12's GStreamer leaves VA-API decoders without a rank; where such an element exists, its
 * device does too. Drivers differ: who opens a stream falls back to software when one fails. */
static void prefer_hardware(void)
{
    GList *all = gst_element_factory_list_get_elements(
        GST_ELEMENT_FACTORY_TYPE_DECODER | GST_ELEMENT_FACTORY_TYPE_MEDIA_VIDEO, GST_RANK_NONE);
    for (GList *item = all; item; item = item->next) {
        bool hardware;
        if (is_video_decoder(item->data, &hardware) && hardware)
            gst_plugin_feature_set_rank(item->data, GST_RANK_PRIMARY + 64);
    }
    gst_plugin_feature_list_free(all);
}

static gint on_select(GstElement *bin, GstPad *pad, GstCaps *caps, GstElementFactory *factory,
                      gpointer data)
{
    (void)bin;
    (void)pad;
    (void)caps;
    (void)data;
    bool hardware;
    return is_video_decoder(factory, &hardware) && hardware ? AUTOPLUG_SKIP : AUTOPLUG_TRY;
}

GstElement *decoder_new(bool software)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prefer_hardware);
    GstElement *decode = gst_element_factory_make("decodebin", NULL);
    if (decode && software)
        g_signal_connect(decode, "autoplug-select", G_CALLBACK(on_select), NULL);
    return decode;
}

bool decoder_is(GstElement *element, bool *hardware)
{
    GstElementFactory *factory = gst_element_get_factory(element);
    *hardware = false;
    return factory && is_video_decoder(factory, hardware);
}

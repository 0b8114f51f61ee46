/* GStreamer's errors in words for users. See fault.h. */
#include "pipeline/fault.h"

#include <errno.h>
#include <gst/pbutils/pbutils.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
/* GLib keeps 16 kB that it allocates while it is loaded; whole stacks, which would tell that from
 * a leak of ours, make every allocation of GStreamer slow. Objects (g_malloc0) are still watched.
 */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:^g_malloc$\n";
}
#endif

int fault_init_gst(Error *err)
{
    GError *error = NULL;
    if (gst_is_initialized())
        return 0;
    /* The registry scan in a child process costs a fork per start and buys nothing here. */
    gst_registry_fork_set_enabled(FALSE);
    if (!gst_init_check(NULL, NULL, &error)) {
        int r = error_set(err, ENOSYS, EX_SOFTWARE, "GStreamer does not start: %s",
                          error ? error->message : "no reason given");
        g_clear_error(&error);
        return r;
    }
    gst_pb_utils_init();
    return 0;
}

const char *fault_package_for(const char *caps_name)
{
    static const struct {
        const char *part, *package;
    } known[] = {
        {"video/x-vp", "gstreamer1.0-plugins-good"},
        {"video/x-av1", "gstreamer1.0-plugins-bad"},
        {"video/mpegts", "gstreamer1.0-plugins-bad"},
        {"video/quicktime", "gstreamer1.0-plugins-good"},
        {"video/x-msvideo", "gstreamer1.0-plugins-good"},
        {"video/x-matroska", "gstreamer1.0-plugins-good"},
        {"video/webm", "gstreamer1.0-plugins-good"},
        {"video/x-flv", "gstreamer1.0-plugins-good"},
        {"image/", "gstreamer1.0-plugins-good"},
        {"application/ogg", "gstreamer1.0-plugins-base"},
        {"video/x-theora", "gstreamer1.0-plugins-base"},
        {"application/x-rtp", "gstreamer1.0-plugins-good"},
    };
    for (size_t i = 0; caps_name && i < sizeof known / sizeof *known; i++)
        if (strstr(caps_name, known[i].part))
            return known[i].package;
    return "gstreamer1.0-libav"; /* H.264, H.265, MPEG-4 and everything old */
}

int fault_missing_plugin(GstMessage *message, Error *err)
{
    if (!gst_is_missing_plugin_message(message))
        return 0;
    /* "gstreamer|1.0|whend|H.265 decoder|decoder-video/x-h265, ..." */
    gchar *detail = gst_missing_plugin_message_get_installer_detail(message);
    gchar *what = gst_missing_plugin_message_get_description(message);
    const char *caps = detail ? strrchr(detail, '|') : NULL;
    int r = 0;
    if (caps && !strstr(caps, "video/") && !strstr(caps, "image/") && !strstr(caps, "audio/") &&
        !strstr(caps, "x-rtp") && !strstr(caps, "ogg") && !strstr(caps, "mxf"))
        r = error_set(err, EINVAL, EX_DATAERR, "not a video");
    else if (!caps || !strstr(caps, "audio/")) /* sound is not looked at */
        r = error_set(err, ENOTSUP, EX_DATAERR, "no %s is installed (apt-get install %s)",
                      what ? what : "decoder", fault_package_for(caps));
    g_free(detail);
    g_free(what);
    return r;
}

int fault_of_file(GstMessage *message, const char *path, Error *err)
{
    GError *error = NULL;
    gchar *debug = NULL;
    int r;
    gst_message_parse_error(message, &error, &debug);
    if (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND))
        r = error_set(err, ENOENT, EX_NOINPUT, "%s: no such file", path);
    else if (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ) ||
             g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ))
        r = error_set(err, EIO, EX_IOERR, "%s: cannot be read: %s", path, error->message);
    else if (g_error_matches(error, GST_STREAM_ERROR, GST_STREAM_ERROR_TYPE_NOT_FOUND) ||
             g_error_matches(error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE))
        r = error_set(err, EINVAL, EX_DATAERR, "%s: not a video", path);
    else if (g_error_matches(error, GST_STREAM_ERROR, GST_STREAM_ERROR_CODEC_NOT_FOUND))
        r = error_set(err, ENOTSUP, EX_DATAERR,
                      "%s: no decoder is installed for it (apt-get install gstreamer1.0-libav)",
                      path);
    else
        r = error_set(err, EIO, EX_DATAERR, "%s: damaged: %s", path, error->message);
    g_clear_error(&error);
    g_free(debug);
    return r;
}

/*
 * rtsp-server: plays a video file as a camera on loopback, for the demo and the tests.
 *
 *   rtsp-server [--port P] [--path /cam] [--user U --password W] [--once] FILE
 *
 * The file's own H.264 or H.265 goes out as it is, in real time, from its begin when the first
 * client plays; later clients join what is running. When it is over and the clients have left, the
 * next client gets it from the begin again; with --once it gets "not found". Lines on stdout:
 *
 *   url rtsp://127.0.0.1:PORT/PATH
 *   client connected
 *   first-frame-utc-us N      UTC of the first picture: truth in UTC = N + seconds of the file
 *   end of stream
 */
#include <glib-unix.h>
#include <gst/gst.h>
#include <gst/rtsp-server/rtsp-server.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

typedef struct Server {
    char *file, *path, *user, *password;
    int port;
    gboolean once;
    GstRTSPMountPoints *mounts;
    GMainLoop *loop;
} Server;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

static void on_client(GstRTSPServer *server, GstRTSPClient *client, gpointer data)
{
    (void)server;
    (void)client;
    (void)data;
    say("client connected");
}

static GstPadProbeReturn on_event(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    (void)pad;
    (void)data;
    if (GST_EVENT_TYPE(GST_PAD_PROBE_INFO_EVENT(info)) != GST_EVENT_EOS)
        return GST_PAD_PROBE_OK;
    say("end of stream");
    return GST_PAD_PROBE_REMOVE;
}

/* The server sends a picture when its running time is reached on the pipeline's clock, so the UTC
 * of the first one (running time 0) is the base time on that clock. It is known once the pipeline
 * really plays, a little after the client was told so. */
static gboolean say_first_frame(gpointer data)
{
    GstRTSPMedia *media = data;
    GstElement *element = gst_rtsp_media_get_element(media);
    GstElement *pipeline = GST_ELEMENT(gst_element_get_parent(element));
    GstState state = GST_STATE_NULL;
    GstClock *clock = NULL;
    gst_object_unref(element);
    if (!pipeline)
        return G_SOURCE_REMOVE; /* gone before it played */
    if (gst_element_get_state(pipeline, &state, NULL, 0) == GST_STATE_CHANGE_SUCCESS &&
        state == GST_STATE_PLAYING)
        clock = gst_element_get_clock(pipeline);
    if (clock) {
        gint64 now_us = (gint64)(gst_clock_get_time(clock) / 1000);
        gint64 utc_us = g_get_real_time();
        gint64 base_us = (gint64)(gst_element_get_base_time(pipeline) / 1000);
        say("first-frame-utc-us %" G_GINT64_FORMAT, utc_us - (now_us - base_us));
        gst_object_unref(clock);
    }
    gst_object_unref(pipeline);
    return clock ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

static void on_new_state(GstRTSPMedia *media, gint state, gpointer data)
{
    (void)data;
    if (state != GST_STATE_PLAYING || g_object_get_data(G_OBJECT(media), "asked"))
        return;
    g_object_set_data(G_OBJECT(media), "asked", media);
    g_timeout_add_full(G_PRIORITY_DEFAULT, 20, say_first_frame, g_object_ref(media),
                       g_object_unref);
}

static void on_configure(GstRTSPMediaFactory *factory, GstRTSPMedia *media, gpointer data)
{
    (void)factory;
    Server *s = data;
    GstElement *element = gst_rtsp_media_get_element(media);
    GstElement *pay = gst_bin_get_by_name(GST_BIN(element), "pay0");
    GstPad *pad = gst_element_get_static_pad(pay, "src");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_event, NULL, NULL);
    gst_object_unref(pad);
    gst_object_unref(pay);
    gst_object_unref(element);
    g_signal_connect(media, "new-state", G_CALLBACK(on_new_state), s);
}

static void on_unprepared(GstRTSPMedia *media, gpointer data)
{
    (void)media;
    Server *s = data;
    gst_rtsp_mount_points_remove_factory(s->mounts, s->path);
}

static void on_constructed(GstRTSPMediaFactory *factory, GstRTSPMedia *media, gpointer data)
{
    (void)factory;
    Server *s = data;
    if (s->once)
        g_signal_connect(media, "unprepared", G_CALLBACK(on_unprepared), s);
}

static gboolean on_signal(gpointer data)
{
    g_main_loop_quit(((Server *)data)->loop);
    return G_SOURCE_CONTINUE;
}

static gboolean clean_sessions(gpointer data)
{
    GstRTSPSessionPool *pool = gst_rtsp_server_get_session_pool(data);
    gst_rtsp_session_pool_cleanup(pool);
    g_object_unref(pool);
    return G_SOURCE_CONTINUE;
}

/* The name of the parser and payloader for the file's video, by its extension and content. */
static const char *codec_of(const char *file)
{
    GstElement *pipeline = gst_pipeline_new(NULL);
    GstElement *source = gst_element_factory_make("filesrc", NULL);
    GstElement *parse = gst_element_factory_make("parsebin", NULL);
    const char *codec = NULL;
    if (!pipeline || !source || !parse)
        return NULL;
    g_object_set(source, "location", file, NULL);
    gst_bin_add_many(GST_BIN(pipeline), source, parse, NULL);
    gst_element_link(source, parse);
    gst_element_set_state(pipeline, GST_STATE_PAUSED);
    GstBus *bus = gst_element_get_bus(pipeline);
    for (int i = 0; i < 100 && !codec; i++) {
        GstMessage *message = gst_bus_timed_pop_filtered(
            bus, 50 * GST_MSECOND, GST_MESSAGE_ERROR | GST_MESSAGE_STREAM_COLLECTION);
        if (!message)
            continue;
        bool failed = GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR;
        if (!failed) {
            GstStreamCollection *all = NULL;
            gst_message_parse_stream_collection(message, &all);
            for (guint k = 0; all && k < gst_stream_collection_get_size(all); k++) {
                GstCaps *caps = gst_stream_get_caps(gst_stream_collection_get_stream(all, k));
                const char *name =
                    caps ? gst_structure_get_name(gst_caps_get_structure(caps, 0)) : "";
                if (strcmp(name, "video/x-h264") == 0)
                    codec = "h264";
                else if (strcmp(name, "video/x-h265") == 0)
                    codec = "h265";
                if (caps)
                    gst_caps_unref(caps);
            }
            g_clear_object(&all);
        }
        gst_message_unref(message);
        if (failed)
            break;
    }
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(bus);
    gst_object_unref(pipeline);
    return codec;
}

static void require_password(Server *s, GstRTSPServer *server, GstRTSPMediaFactory *factory)
{
    GstRTSPAuth *auth = gst_rtsp_auth_new();
    GstRTSPToken *token =
        gst_rtsp_token_new(GST_RTSP_TOKEN_MEDIA_FACTORY_ROLE, G_TYPE_STRING, "viewer", NULL);
    gchar *basic = gst_rtsp_auth_make_basic(s->user, s->password ? s->password : "");
    gst_rtsp_auth_add_basic(auth, basic, token);
    gst_rtsp_media_factory_add_role(factory, "viewer", GST_RTSP_PERM_MEDIA_FACTORY_ACCESS,
                                    G_TYPE_BOOLEAN, TRUE, GST_RTSP_PERM_MEDIA_FACTORY_CONSTRUCT,
                                    G_TYPE_BOOLEAN, TRUE, NULL);
    gst_rtsp_server_set_auth(server, auth);
    g_free(basic);
    gst_rtsp_token_unref(token);
    g_object_unref(auth);
}

static int serve(Server *s)
{
    const char *codec = codec_of(s->file);
    if (!codec) {
        fprintf(stderr, "rtsp-server: %s: no H.264 or H.265 video in it\n", s->file);
        return EX_DATAERR;
    }
    gchar *quoted = g_strescape(s->file, NULL);
    /* Names of video pads differ between demuxers: parsebin finds the one that the payloader takes.
     */
    gchar *launch =
        g_strdup_printf("( filesrc location=\"%s\" ! parsebin ! %sparse ! rtp%spay name=pay0 pt=96 "
                        "config-interval=-1 )",
                        quoted, codec, codec);
    GstRTSPServer *server = gst_rtsp_server_new();
    GstRTSPMediaFactory *factory = gst_rtsp_media_factory_new();
    gchar *service = g_strdup_printf("%d", s->port);
    gst_rtsp_server_set_address(server, "127.0.0.1");
    gst_rtsp_server_set_service(server, service);
    gst_rtsp_media_factory_set_launch(factory, launch);
    gst_rtsp_media_factory_set_shared(factory, TRUE);
    gst_rtsp_media_factory_set_latency(factory, 0);
    gst_rtsp_media_factory_set_eos_shutdown(factory, FALSE);
    g_signal_connect(factory, "media-constructed", G_CALLBACK(on_constructed), s);
    g_signal_connect(factory, "media-configure", G_CALLBACK(on_configure), s);
    g_signal_connect(server, "client-connected", G_CALLBACK(on_client), s);
    if (s->user)
        require_password(s, server, factory);
    s->mounts = gst_rtsp_server_get_mount_points(server);
    gst_rtsp_mount_points_add_factory(s->mounts, s->path, factory);
    int result = EX_UNAVAILABLE;
    if (gst_rtsp_server_attach(server, NULL) == 0) {
        fprintf(stderr, "rtsp-server: port %d is taken (--port 0 picks a free one)\n", s->port);
    } else {
        g_timeout_add_seconds(2, clean_sessions, server);
        say("url rtsp://127.0.0.1:%d%s", gst_rtsp_server_get_bound_port(server), s->path);
        g_main_loop_run(s->loop);
        result = 0;
    }
    g_object_unref(s->mounts);
    g_object_unref(server);
    g_free(service);
    g_free(launch);
    g_free(quoted);
    return result;
}

int main(int argc, char **argv)
{
    Server s = {0};
    gchar **rest = NULL;
    const GOptionEntry options[] = {
        {"port", 0, 0, G_OPTION_ARG_INT, &s.port, "TCP port; 0: a free one", "P"},
        {"path", 0, 0, G_OPTION_ARG_STRING, &s.path, "path of the URL (/cam)", "PATH"},
        {"user", 0, 0, G_OPTION_ARG_STRING, &s.user, "ask for this user", "U"},
        {"password", 0, 0, G_OPTION_ARG_STRING, &s.password, "and this password", "W"},
        {"file", 0, 0, G_OPTION_ARG_FILENAME, &s.file, "the video", "FILE"},
        {"once", 0, 0, G_OPTION_ARG_NONE, &s.once, "play one time, then: not found", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &rest, NULL, "FILE"},
        {NULL},
    };
    GOptionContext *context = g_option_context_new("- plays a video file as an RTSP camera");
    g_option_context_add_main_entries(context, options, NULL);
    g_option_context_add_group(context, gst_init_get_option_group());
    GError *error = NULL;
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "rtsp-server: %s\n", error->message);
        return EX_USAGE;
    }
    g_option_context_free(context);
    if (!s.file && rest && rest[0])
        s.file = rest[0];
    if (!s.file || s.port < 0 || s.port > 65535) {
        fprintf(stderr, "rtsp-server: usage: rtsp-server [--port P] [--once] FILE\n");
        return EX_USAGE;
    }
    if (access(s.file, R_OK) < 0) {
        perror(s.file);
        return EX_NOINPUT;
    }
    if (!s.path)
        s.path = g_strdup("/cam");
    s.loop = g_main_loop_new(NULL, FALSE);
    g_unix_signal_add(SIGTERM, on_signal, &s);
    g_unix_signal_add(SIGINT, on_signal, &s);
    int result = serve(&s);
    g_main_loop_unref(s.loop);
    return result;
}

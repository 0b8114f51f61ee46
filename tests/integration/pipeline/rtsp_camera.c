/*
 * rtsp-camera: an RTSP server, by default on loopback, that behaves like cameras of all kinds, for
 * the tests.
 *
 *   rtsp-camera --codec h264|h265|mpeg4|jpeg [OPTIONS] FILE
 *
 * FILE's video goes out as it is, in real time, from its begin whenever a first client comes. What
 * it can do besides, see main(). Lines on stdout:
 *
 *   url rtsp://ADDRESS:PORT/cam
 *   client connected
 *   first-frame-utc-us N      UTC of running time 0: truth of picture k in UTC = N + its pts
 *   closing
 */
#include <glib-unix.h>
#include <gst/gst.h>
#include <gst/rtsp-server/rtsp-server.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

typedef struct Options {
    gchar *codec, *address, *auth, *user, *password, *tls;
    gint port, lose, corrupt, clock_offset_s;
    gdouble step_s, step_after_s, close_after_s;
    gboolean no_reports;
    gchar **rest;
} Options;

typedef struct Server {
    Options options;
    GMainLoop *loop;
    GstRTSPServer *server;
    guint64 packets;
    gint64 first_report_us; /* monotonic; 0: none was sent */
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

/* --- what is done to packets --- */

static GstPadProbeReturn on_rtp(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    (void)pad;
    Server *s = data;
    s->packets++;
    if (s->options.lose > 0 && s->packets % (guint64)s->options.lose == 0)
        return GST_PAD_PROBE_DROP;
    if (s->options.corrupt > 0 && s->packets % (guint64)s->options.corrupt == 0) {
        GstBuffer *buffer = gst_buffer_make_writable(GST_PAD_PROBE_INFO_BUFFER(info));
        GST_PAD_PROBE_INFO_DATA(info) = buffer;
        gsize bytes = gst_buffer_get_size(buffer);
        guint8 noise[16];
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (guint8)(s->packets * 31 + i * 7);
        /* Behind the RTP header and the first bytes of the payload: it arrives, and is wrong. */
        for (gsize at = 20; at + sizeof noise < bytes; at += sizeof noise)
            gst_buffer_fill(buffer, at, noise, sizeof noise);
    }
    return GST_PAD_PROBE_OK;
}

static void shift_ntp(GstBuffer *buffer, double seconds)
{
    guint8 head[16];
    if (gst_buffer_extract(buffer, 0, head, sizeof head) != sizeof head || head[1] != 200)
        return;
    guint64 ntp = GST_READ_UINT64_BE(head + 8);
    ntp += (guint64)(gint64)(seconds * 4294967296.0);
    GST_WRITE_UINT64_BE(head + 8, ntp);
    gst_buffer_fill(buffer, 8, head + 8, 8);
}

/* A camera's clock that is off, or jumps: its sender reports say so. */
static GstPadProbeReturn on_rtcp(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    (void)pad;
    Server *s = data;
    const Options *o = &s->options;
    if (o->no_reports)
        return GST_PAD_PROBE_DROP;
    if (!s->first_report_us)
        s->first_report_us = g_get_monotonic_time();
    double shift_s = o->clock_offset_s;
    if (o->step_s != 0 &&
        (double)(g_get_monotonic_time() - s->first_report_us) > o->step_after_s * 1e6)
        shift_s += o->step_s;
    if (shift_s != 0) {
        GstBuffer *buffer = gst_buffer_make_writable(GST_PAD_PROBE_INFO_BUFFER(info));
        GST_PAD_PROBE_INFO_DATA(info) = buffer;
        shift_ntp(buffer, shift_s);
    }
    return GST_PAD_PROBE_OK;
}

static void probe(GstElement *element, const char *name,
                  GstPadProbeReturn (*function)(GstPad *, GstPadProbeInfo *, gpointer), Server *s)
{
    GstPad *pad = gst_element_get_static_pad(element, name);
    if (!pad)
        return;
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, function, s, NULL);
    gst_object_unref(pad);
}

/* --- media --- */

static GstElement *pipeline_of(GstRTSPMedia *media)
{
    GstElement *element = gst_rtsp_media_get_element(media);
    GstElement *pipeline = GST_ELEMENT(gst_element_get_parent(element));
    gst_object_unref(element);
    return pipeline;
}

static void on_prepared(GstRTSPMedia *media, gpointer data)
{
    GstElement *pipeline = pipeline_of(media);
    GValue item = G_VALUE_INIT;
    GstIterator *all = gst_bin_iterate_elements(GST_BIN(pipeline));
    while (gst_iterator_next(all, &item) == GST_ITERATOR_OK) {
        GstElement *element = g_value_get_object(&item);
        GstElementFactory *factory = gst_element_get_factory(element);
        if (factory && strcmp(GST_OBJECT_NAME(factory), "rtpbin") == 0)
            probe(element, "send_rtcp_src_0", on_rtcp, data);
        g_value_reset(&item);
    }
    g_value_unset(&item);
    gst_iterator_free(all);
    gst_object_unref(pipeline);
}

static gboolean say_first_frame(gpointer data)
{
    GstElement *pipeline = pipeline_of(data);
    GstState state = GST_STATE_NULL;
    if (!pipeline)
        return G_SOURCE_REMOVE;
    bool plays = gst_element_get_state(pipeline, &state, NULL, 0) == GST_STATE_CHANGE_SUCCESS &&
                 state == GST_STATE_PLAYING;
    GstClock *clock = plays ? gst_element_get_clock(pipeline) : NULL;
    if (clock) {
        gint64 now_us = (gint64)(gst_clock_get_time(clock) / 1000), utc_us = g_get_real_time();
        gint64 base_us = (gint64)(gst_element_get_base_time(pipeline) / 1000);
        say("first-frame-utc-us %" G_GINT64_FORMAT, utc_us - (now_us - base_us));
        gst_object_unref(clock);
    }
    gst_object_unref(pipeline);
    return clock ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

static GstRTSPFilterResult close_client(GstRTSPServer *server, GstRTSPClient *client, gpointer data)
{
    (void)server;
    (void)data;
    gst_rtsp_client_close(client);
    return GST_RTSP_FILTER_REMOVE;
}

static gboolean close_all(gpointer data)
{
    Server *s = data;
    say("closing");
    gst_rtsp_server_client_filter(s->server, close_client, s);
    return G_SOURCE_REMOVE;
}

static void on_new_state(GstRTSPMedia *media, gint state, gpointer data)
{
    Server *s = data;
    if (state != GST_STATE_PLAYING || g_object_get_data(G_OBJECT(media), "asked"))
        return;
    g_object_set_data(G_OBJECT(media), "asked", media);
    g_timeout_add_full(G_PRIORITY_DEFAULT, 20, say_first_frame, g_object_ref(media),
                       g_object_unref);
    if (s->options.close_after_s > 0)
        g_timeout_add((guint)(s->options.close_after_s * 1000), close_all, s);
}

static void on_configure(GstRTSPMediaFactory *factory, GstRTSPMedia *media, gpointer data)
{
    (void)factory;
    GstElement *element = gst_rtsp_media_get_element(media);
    GstElement *pay = gst_bin_get_by_name(GST_BIN(element), "pay0");
    g_object_set(pay, "perfect-rtptime", FALSE, NULL);
    probe(pay, "src", on_rtp, data);
    gst_object_unref(pay);
    gst_object_unref(element);
    g_signal_connect(media, "prepared", G_CALLBACK(on_prepared), data);
    g_signal_connect(media, "new-state", G_CALLBACK(on_new_state), data);
}

static void on_client(GstRTSPServer *server, GstRTSPClient *client, gpointer data)
{
    (void)server;
    (void)client;
    (void)data;
    say("client connected");
}

static gchar *launch_line(const Options *o)
{
    static const struct {
        const char *codec, *line;
    } known[] = {
        {"h264", "h264parse ! rtph264pay config-interval=-1 pt=96"},
        {"h265", "h265parse ! rtph265pay config-interval=-1 pt=96"},
        /* A packet may hold several pictures under one time; cameras send them apart. */
        {"mpeg4", "mpeg4videoparse ! rtpmp4vpay config-interval=1 max-ptime=1 pt=96"},
        {"jpeg", "jpegparse ! rtpjpegpay pt=26"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(o->codec, known[i].codec) != 0)
            continue;
        gchar *quoted = g_strescape(o->rest[0], NULL);
        /* Packets of one picture are probed one by one: no lists. */
        gchar *line = g_strdup_printf("( filesrc location=\"%s\" ! parsebin ! %s name=pay0 )",
                                      quoted, known[i].line);
        g_free(quoted);
        return line;
    }
    return NULL;
}

/* --- who may look --- */

static int set_auth(Server *s, GstRTSPMediaFactory *factory)
{
    const Options *o = &s->options;
    GstRTSPAuth *auth = gst_rtsp_auth_new();
    if (o->tls) {
        GError *error = NULL;
        GTlsCertificate *certificate = g_tls_certificate_new_from_file(o->tls, &error);
        if (!certificate) {
            fprintf(stderr, "rtsp-camera: %s: %s\n", o->tls, error->message);
            g_clear_error(&error);
            return EX_DATAERR;
        }
        gst_rtsp_auth_set_tls_certificate(auth, certificate);
        g_object_unref(certificate);
    }
    if (o->user) {
        GstRTSPToken *token =
            gst_rtsp_token_new(GST_RTSP_TOKEN_MEDIA_FACTORY_ROLE, G_TYPE_STRING, "viewer", NULL);
        bool digest = o->auth && strcmp(o->auth, "digest") == 0;
        gst_rtsp_auth_set_supported_methods(auth,
                                            digest ? GST_RTSP_AUTH_DIGEST : GST_RTSP_AUTH_BASIC);
        if (digest) {
            gst_rtsp_auth_add_digest(auth, o->user, o->password, token);
        } else {
            gchar *basic = gst_rtsp_auth_make_basic(o->user, o->password);
            gst_rtsp_auth_add_basic(auth, basic, token);
            g_free(basic);
        }
        gst_rtsp_token_unref(token);
        gst_rtsp_media_factory_add_role(factory, "viewer", GST_RTSP_PERM_MEDIA_FACTORY_ACCESS,
                                        G_TYPE_BOOLEAN, TRUE, GST_RTSP_PERM_MEDIA_FACTORY_CONSTRUCT,
                                        G_TYPE_BOOLEAN, TRUE, NULL);
    } else {
        GstRTSPToken *token =
            gst_rtsp_token_new(GST_RTSP_TOKEN_MEDIA_FACTORY_ROLE, G_TYPE_STRING, "anyone", NULL);
        gst_rtsp_auth_set_default_token(auth, token);
        gst_rtsp_token_unref(token);
        gst_rtsp_media_factory_add_role(factory, "anyone", GST_RTSP_PERM_MEDIA_FACTORY_ACCESS,
                                        G_TYPE_BOOLEAN, TRUE, GST_RTSP_PERM_MEDIA_FACTORY_CONSTRUCT,
                                        G_TYPE_BOOLEAN, TRUE, NULL);
    }
    gst_rtsp_server_set_auth(s->server, auth);
    g_object_unref(auth);
    return 0;
}

static gboolean on_signal(gpointer data)
{
    g_main_loop_quit(((Server *)data)->loop);
    return G_SOURCE_CONTINUE;
}

static int serve(Server *s)
{
    gchar *line = launch_line(&s->options);
    if (!line) {
        fprintf(stderr, "rtsp-camera: --codec %s: h264, h265, mpeg4 or jpeg\n", s->options.codec);
        return EX_USAGE;
    }
    GstRTSPMediaFactory *factory = gst_rtsp_media_factory_new();
    gchar *service = g_strdup_printf("%d", s->options.port);
    s->server = gst_rtsp_server_new();
    gst_rtsp_server_set_address(s->server, s->options.address);
    gst_rtsp_server_set_service(s->server, service);
    gst_rtsp_media_factory_set_launch(factory, line);
    gst_rtsp_media_factory_set_shared(factory, TRUE);
    gst_rtsp_media_factory_set_latency(factory, 0);
    g_signal_connect(factory, "media-configure", G_CALLBACK(on_configure), s);
    g_signal_connect(s->server, "client-connected", G_CALLBACK(on_client), s);
    int result = s->options.user || s->options.tls ? set_auth(s, factory) : 0;
    GstRTSPMountPoints *mounts = gst_rtsp_server_get_mount_points(s->server);
    gst_rtsp_mount_points_add_factory(mounts, "/cam", factory);
    g_object_unref(mounts);
    if (result == 0 && gst_rtsp_server_attach(s->server, NULL) == 0) {
        fprintf(stderr, "rtsp-camera: port %d is taken\n", s->options.port);
        result = EX_UNAVAILABLE;
    }
    if (result == 0) {
        say("url %s://%s:%d/cam", s->options.tls ? "rtsps" : "rtsp", s->options.address,
            gst_rtsp_server_get_bound_port(s->server));
        g_main_loop_run(s->loop);
    }
    g_object_unref(s->server);
    g_free(service);
    g_free(line);
    return result;
}

int main(int argc, char **argv)
{
    Server s = {.options.codec = (gchar *)"h264", .options.address = (gchar *)"127.0.0.1"};
    Options *o = &s.options;
    const GOptionEntry entries[] = {
        {"port", 0, 0, G_OPTION_ARG_INT, &o->port, "TCP port; 0: a free one", "P"},
        {"address", 0, 0, G_OPTION_ARG_STRING, &o->address, "to listen at", "A"},
        {"codec", 0, 0, G_OPTION_ARG_STRING, &o->codec, "what FILE holds", "C"},
        {"auth", 0, 0, G_OPTION_ARG_STRING, &o->auth, "basic or digest", "KIND"},
        {"user", 0, 0, G_OPTION_ARG_STRING, &o->user, "ask for this user", "U"},
        {"password", 0, 0, G_OPTION_ARG_STRING, &o->password, "and this password", "W"},
        {"tls", 0, 0, G_OPTION_ARG_FILENAME, &o->tls, "rtsps with this certificate and key", "PEM"},
        {"lose", 0, 0, G_OPTION_ARG_INT, &o->lose, "every Nth packet is lost", "N"},
        {"corrupt", 0, 0, G_OPTION_ARG_INT, &o->corrupt, "every Nth packet is damaged", "N"},
        {"no-reports", 0, 0, G_OPTION_ARG_NONE, &o->no_reports, "no RTCP sender reports", NULL},
        {"clock-offset", 0, 0, G_OPTION_ARG_INT, &o->clock_offset_s, "the clock is off by", "S"},
        {"step", 0, 0, G_OPTION_ARG_DOUBLE, &o->step_s, "the clock jumps by", "S"},
        {"step-after", 0, 0, G_OPTION_ARG_DOUBLE, &o->step_after_s, "after the first report", "S"},
        {"close-after", 0, 0, G_OPTION_ARG_DOUBLE, &o->close_after_s, "throws clients out", "S"},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &o->rest, "the video", "FILE"},
        {NULL},
    };
    GOptionContext *context = g_option_context_new("- an RTSP camera of any kind");
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_add_group(context, gst_init_get_option_group());
    GError *error = NULL;
    if (!g_option_context_parse(context, &argc, &argv, &error) || !o->rest) {
        fprintf(stderr, "rtsp-camera: %s\n", error ? error->message : "no FILE");
        return EX_USAGE;
    }
    g_option_context_free(context);
    s.loop = g_main_loop_new(NULL, FALSE);
    g_unix_signal_add(SIGTERM, on_signal, &s);
    int result = serve(&s);
    g_main_loop_unref(s.loop);
    return result;
}

/*
 * A live stream. See source.h.
 *
 * Locks: `lock` protects queue, stats and the clean-picture clock; it is held for moments only and
 * nothing is called under it that could wait.
 */
#include "pipeline/source.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pipeline/decoder.h"
#include "pipeline/fault.h"
#include "pipeline/motion.h"
#include "pipeline/picture.h"
#include "pipeline/sender_clock.h"
#include "pipeline/timebase.h"
#include "pipeline/url.h"
#include "pipeline/watchdog.h"

#include <errno.h>
#include <gst/app/gstappsink.h>
#include <gst/video/video.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Pictures that may be inside a decoder: reordering, and one a thread. */
enum { IN_DECODER = 24 };

enum { RTSP_UDP = 1, RTSP_TCP = 4, RTSP_TLS = 32 };

/* How long a stream may give nothing but damaged pictures before they are taken as its best: one
 * with intra refresh never gives a clean start. */
static const int64_t CLEAN_US = 5 * US_PER_S;
static const int64_t CLOSE_LIMIT_US = 10 * US_PER_S;
static const int64_t LATE_US = US_PER_S; /* a packet that comes later is lost */
static const int64_t OPEN_LIMIT_US = 15 * US_PER_S;
/* Data without a picture: some cameras send a key frame every 20 s only. */
static const int64_t PICTURE_LIMIT_US = 30 * US_PER_S;

struct Source {
    SourceOptions options;
    GstElement *pipeline, *input, *decode;
    GstElement *manager; /* rtpbin, under `lock` like the next two */
    guint rtp_session, ssrc;
    GstBus *bus;
    GstCaps *ntp_caps;
    SenderClock sender_clock;
    bool is_http;
    bool has_video; /* one thread at a time adds pads */
    atomic_bool unsupported, hardware, untrusted;
    char unsupported_why[160]; /* set before `unsupported` */
    atomic_llong last_data_us, last_picture_us;
    atomic_llong packed, packed_damaged; /* compressed pictures, and those behind a hole */
    bool after_hole;                     /* only in the thread in front of the decoder */
    atomic_uint budget;                  /* frames a minute */
    int64_t opened_us;
    /* Only in the decoder's thread. */
    Sampler sampler;
    GstCaps *caps; /* of the last picture */
    int width, height;
    Motion motion;
    uint64_t index;
    int64_t last_clean_us;
    /* Only in the owner's thread. */
    int64_t missing, missed_us; /* packets, as of when */
    int64_t lost;
    pthread_mutex_t lock;
    SourceFrame queue[SOURCE_QUEUE]; /* ring of n from head */
    size_t head, n;
    SourceStats stats;
};

bool source_is_hls(const char *url)
{
    size_t n = strcspn(url, "?#");
    return n > 5 && g_ascii_strncasecmp(url, "http", 4) == 0 &&
           g_ascii_strncasecmp(url + n - 5, ".m3u8", 5) == 0;
}

static void push(Source *s, const SourceFrame *frame)
{
    GstSample *dropped = NULL;
    pthread_mutex_lock(&s->lock);
    if (s->n == SOURCE_QUEUE) {
        dropped = s->queue[s->head].sample;
        s->head = (s->head + 1) % SOURCE_QUEUE;
        s->n--;
        s->stats.dropped++;
    }
    s->queue[(s->head + s->n++) % SOURCE_QUEUE] = *frame;
    s->stats.passed++;
    pthread_mutex_unlock(&s->lock);
    if (dropped)
        gst_sample_unref(dropped);
    uint64_t one = 1;
    ssize_t written = write(s->options.wake_fd, &one, sizeof one);
    (void)written; /* a full eventfd wakes as well */
}

bool source_pull(Source *s, SourceFrame *frame)
{
    pthread_mutex_lock(&s->lock);
    bool any = s->n > 0;
    if (any) {
        *frame = s->queue[s->head];
        s->head = (s->head + 1) % SOURCE_QUEUE;
        s->n--;
    }
    pthread_mutex_unlock(&s->lock);
    return any;
}

void source_set_budget(Source *s, uint32_t frames_per_minute)
{
    atomic_store(&s->budget, frames_per_minute);
}

SourceStats source_stats(Source *s)
{
    pthread_mutex_lock(&s->lock);
    SourceStats stats = s->stats;
    pthread_mutex_unlock(&s->lock);
    int64_t lost = atomic_load(&s->packed) - (int64_t)stats.decoded - IN_DECODER;
    stats.damaged += (uint64_t)atomic_load(&s->packed_damaged) + (uint64_t)(lost > 0 ? lost : 0);
    return stats;
}

/* By RTP's own sum: what should have come less what came. (The jitter buffer counts what it no
 * longer waits for, though much of that comes a moment later.) */
static int64_t missing_packets(Source *s)
{
    pthread_mutex_lock(&s->lock);
    GstElement *manager = s->manager ? gst_object_ref(s->manager) : NULL;
    guint number = s->rtp_session, ssrc = s->ssrc;
    pthread_mutex_unlock(&s->lock);
    GObject *session = NULL, *sender = NULL;
    GstStructure *counts = NULL;
    gint missing = 0;
    if (manager)
        g_signal_emit_by_name(manager, "get-internal-session", number, &session);
    if (session)
        g_signal_emit_by_name(session, "get-source-by-ssrc", ssrc, &sender);
    if (sender)
        g_object_get(sender, "stats", &counts, NULL);
    if (counts)
        gst_structure_get_int(counts, "packets-lost", &missing);
    g_clear_pointer(&counts, gst_structure_free);
    g_clear_object(&sender);
    g_clear_object(&session);
    g_clear_object(&manager);
    return missing > 0 ? missing : 0; /* packets that come twice count against it */
}

uint64_t source_lost_packets(Source *s)
{
    int64_t now_us = clock_monotonic_us();
    if (now_us - s->missed_us < LATE_US)
        return (uint64_t)s->lost;
    /* What is only late is missing for a moment. */
    int64_t missing = missing_packets(s), both = missing < s->missing ? missing : s->missing;
    s->lost = both > s->lost ? both : s->lost;
    s->missing = missing;
    s->missed_us = now_us;
    return (uint64_t)s->lost;
}

/* In the decoder's thread. true: pictures of another size than before come now. */
static bool note_format(Source *s, GstCaps *caps)
{
    GstVideoInfo info;
    if (caps == s->caps || !gst_video_info_from_caps(&info, caps))
        return false;
    bool changed = s->width && (s->width != info.width || s->height != info.height);
    gst_caps_replace(&s->caps, caps);
    s->width = info.width;
    s->height = info.height;
    return changed;
}

/* Damaged pictures are kept back while clean ones come. */
static bool is_usable(Source *s, GstBuffer *buffer)
{
    int64_t now_us = clock_monotonic_us();
    if (!GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_CORRUPTED)) {
        s->last_clean_us = now_us;
        return true;
    }
    return now_us - s->last_clean_us > CLEAN_US;
}

static GstFlowReturn on_picture(GstAppSink *sink, gpointer data)
{
    Source *s = data;
    GstSample *sample = gst_app_sink_pull_sample(sink);
    if (!sample)
        return GST_FLOW_EOS;
    GstBuffer *buffer = gst_sample_get_buffer(sample);
    GstClockTime at = gst_segment_to_running_time(gst_sample_get_segment(sample), GST_FORMAT_TIME,
                                                  GST_BUFFER_PTS(buffer));
    SourceFrame frame = {.sample = sample, .index = s->index++};
    atomic_store(&s->last_picture_us, clock_monotonic_us());
    bool usable = GST_CLOCK_TIME_IS_VALID(at) && is_usable(s, buffer);
    bool refused = false, changed = note_format(s, gst_sample_get_caps(sample));
    if (usable) {
        frame.pts_us = (int64_t)(at / 1000);
        frame.arrival_offset_us = clock_utc_us() - frame.pts_us;
        GstReferenceTimestampMeta *meta =
            gst_buffer_get_reference_timestamp_meta(buffer, s->ntp_caps);
        if (meta) {
            frame.reference_utc_us = sender_clock_utc_us(&s->sender_clock, meta->timestamp,
                                                         frame.pts_us + frame.arrival_offset_us);
            refused = frame.reference_utc_us == 0;
        }
        if (!s->sampler.fixed)
            frame.motion = picture_motion(&s->motion, frame.pts_us, sample);
        sampler_set_budget(&s->sampler, atomic_load(&s->budget));
        usable = sampler_pass(&s->sampler, frame.pts_us, frame.motion);
        frame.motion = frame.motion > 0 ? frame.motion : 0;
    }
    pthread_mutex_lock(&s->lock);
    s->stats.decoded++;
    s->stats.refused_references += refused;
    s->stats.damaged += GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_CORRUPTED) != 0;
    s->stats.format_changes += changed;
    s->stats.width = s->width;
    s->stats.height = s->height;
    s->stats.playing = true;
    pthread_mutex_unlock(&s->lock);
    if (usable)
        push(s, &frame);
    else
        gst_sample_unref(sample);
    return GST_FLOW_OK;
}

static GstFlowReturn on_compressed(GstAppSink *sink, gpointer data)
{
    Source *s = data;
    GstSample *sample = gst_app_sink_pull_sample(sink);
    if (!sample)
        return GST_FLOW_EOS;
    s->options.on_compressed(sample, s->options.data);
    gst_sample_unref(sample);
    return GST_FLOW_OK;
}

static GstPadProbeReturn on_packed(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    (void)pad;
    Source *s = data;
    GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER(info);
    /* Behind a hole all pictures lean on one that is wrong, until a key frame. */
    if (!GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT))
        s->after_hole = false;
    else if (GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DISCONT) && atomic_load(&s->packed) > 0)
        s->after_hole = true;
    atomic_fetch_add(&s->packed, 1);
    if (s->after_hole || GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_CORRUPTED))
        atomic_fetch_add(&s->packed_damaged, 1);
    return GST_PAD_PROBE_OK;
}

static GstPadProbeReturn on_data(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    (void)pad;
    (void)info;
    atomic_store(&((Source *)data)->last_data_us, clock_monotonic_us());
    return GST_PAD_PROBE_OK;
}

static GstElement *add(Source *s, const char *factory)
{
    GstElement *element = gst_element_factory_make(factory, NULL);
    if (element && !gst_bin_add(GST_BIN(s->pipeline), element))
        element = NULL;
    return element;
}

static GstElement *add_sink(Source *s, GstFlowReturn (*on_sample)(GstAppSink *, gpointer))
{
    GstElement *sink = add(s, "appsink");
    if (!sink)
        return NULL;
    GstAppSinkCallbacks callbacks = {.new_sample = on_sample};
    /* HLS comes a segment at once: it is played by its own clock. */
    g_object_set(sink, "sync", s->is_http && source_is_hls(s->options.url), "async", FALSE,
                 "max-buffers", 4u, "enable-last-sample", FALSE, NULL);
    gst_app_sink_set_callbacks(GST_APP_SINK(sink), &callbacks, s, NULL);
    return sink;
}

/* Drops its oldest data rather than wait: one slow branch must not hold up the other. */
static GstElement *add_queue(Source *s)
{
    GstElement *queue = add(s, "queue");
    if (queue)
        g_object_set(queue, "max-size-buffers", 0u, "max-size-bytes", 16u << 20, "max-size-time",
                     (guint64)4 * GST_SECOND, "leaky", 2 /* downstream: the oldest */, NULL);
    return queue;
}

typedef struct Codec {
    const char *encoding, *name, *depay, *parse, *caps;
} Codec;

static const Codec CODECS[] = {
    {"H264", "video/x-h264", "rtph264depay", "h264parse",
     "video/x-h264,stream-format=avc,alignment=au"},
    {"H265", "video/x-h265", "rtph265depay", "h265parse",
     "video/x-h265,stream-format=hvc1,alignment=au"},
    {"MP4V-ES", "video/mpeg", "rtpmp4vdepay", "mpeg4videoparse", "video/mpeg,mpegversion=4"},
    {"JPEG", "image/jpeg", "rtpjpegdepay", "jpegparse", "image/jpeg"},
};

static const Codec *codec_of(GstCaps *caps)
{
    const GstStructure *structure = gst_caps_get_structure(caps, 0);
    const char *encoding = gst_structure_get_string(structure, "encoding-name");
    for (size_t i = 0; i < sizeof CODECS / sizeof *CODECS; i++)
        if (encoding ? g_ascii_strcasecmp(encoding, CODECS[i].encoding) == 0
                     : gst_structure_has_name(structure, CODECS[i].name))
            return &CODECS[i];
    return NULL;
}

static void set_unsupported(Source *s, const char *format, const char *name)
    __attribute__((format(printf, 2, 0)));
static void set_unsupported(Source *s, const char *format, const char *name)
{
    if (atomic_load(&s->unsupported))
        return;
    snprintf(s->unsupported_why, sizeof s->unsupported_why, format, name);
    atomic_store(&s->unsupported, true);
}

/* Only the first video stream is asked for: sound is not looked at. */
static gboolean on_select(GstElement *rtsp, guint number, GstCaps *caps, gpointer data)
{
    (void)rtsp;
    (void)number;
    Source *s = data;
    const GstStructure *structure = gst_caps_get_structure(caps, 0);
    const char *media = gst_structure_get_string(structure, "media");
    if (!media || strcmp(media, "video") != 0)
        return FALSE;
    if (!codec_of(caps)) {
        const char *encoding = gst_structure_get_string(structure, "encoding-name");
        set_unsupported(s, "its video (%s) is not supported: H.264, H.265, MPEG-4, JPEG are",
                        encoding ? encoding : "unnamed");
        return FALSE;
    }
    return TRUE;
}

static void on_decoded_pad(GstElement *decode, GstPad *pad, gpointer data)
{
    (void)decode;
    GstPad *sink = gst_element_get_static_pad(data, "sink");
    if (!gst_pad_is_linked(sink))
        gst_pad_link(pad, sink);
    gst_object_unref(sink);
}

/* Which decoder decodebin took; an element that fails must be known before it fails. */
static void on_element(GstBin *bin, GstBin *parent, GstElement *element, gpointer data)
{
    (void)bin;
    (void)parent;
    Source *s = data;
    bool hardware;
    GstElementFactory *factory = gst_element_get_factory(element);
    if (!factory || !decoder_is(element, &hardware))
        return;
    atomic_store(&s->hardware, hardware);
    pthread_mutex_lock(&s->lock);
    snprintf(s->stats.decoder, sizeof s->stats.decoder, "%s", GST_OBJECT_NAME(factory));
    pthread_mutex_unlock(&s->lock);
}

/* The end of a stream goes around rtpjitterbuffer. In there (1.22) it waits for the thread of the
 * timers, which nobody wakes when the last one was set by its own pusher, and from then on the
 * element cannot be stopped: two threads wait on a condition that is signalled once. What goes
 * around with it is at most what waits behind a packet that is missing. */
static GstPadProbeReturn on_end(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    (void)data;
    GstEvent *event = GST_PAD_PROBE_INFO_EVENT(info);
    GstElement *jitterbuffer = gst_pad_get_parent_element(pad);
    if (GST_EVENT_TYPE(event) != GST_EVENT_EOS || !jitterbuffer) {
        g_clear_object(&jitterbuffer);
        return GST_PAD_PROBE_OK;
    }
    GstPad *out = gst_element_get_static_pad(jitterbuffer, "src");
    gst_pad_push_event(out, gst_event_ref(event));
    gst_object_unref(out);
    gst_object_unref(jitterbuffer);
    return GST_PAD_PROBE_DROP;
}

static void on_jitterbuffer(GstElement *manager, GstElement *jitterbuffer, guint session,
                            guint ssrc, gpointer data)
{
    Source *s = data;
    GstPad *sink = gst_element_get_static_pad(jitterbuffer, "sink");
    gst_pad_add_probe(sink, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_end, NULL, NULL);
    gst_object_unref(sink);
    pthread_mutex_lock(&s->lock);
    gst_object_replace((GstObject **)&s->manager, GST_OBJECT(manager));
    s->rtp_session = session;
    s->ssrc = ssrc;
    pthread_mutex_unlock(&s->lock);
}

static void on_manager(GstElement *rtsp, GstElement *manager, gpointer data)
{
    (void)rtsp;
    if (!g_signal_lookup("new-jitterbuffer", G_OBJECT_TYPE(manager)))
        return;
    Source *s = data;
    g_signal_connect(manager, "new-jitterbuffer", G_CALLBACK(on_jitterbuffer), s);
    g_signal_connect(manager, "new-jitterbuffer", G_CALLBACK(sender_clock_watch), &s->sender_clock);
}

static gboolean on_certificate(GstElement *rtsp, GTlsConnection *connection,
                               GTlsCertificate *certificate, GTlsCertificateFlags errors,
                               gpointer data)
{
    (void)rtsp;
    (void)connection;
    (void)errors;
    Source *s = data;
    bool accepted = tls_trust_accepts(s->options.trust, certificate);
    atomic_store(&s->untrusted, !accepted);
    return accepted;
}

/* The parts of a chain that GStreamer has not; true when it has all. */
static bool has_elements(Source *s, const Codec *codec)
{
    const struct {
        const char *factory, *package;
    } parts[] = {{codec->depay, "gstreamer1.0-plugins-good"},
                 {codec->parse, "gstreamer1.0-plugins-bad"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        GstElementFactory *factory = gst_element_factory_find(parts[i].factory);
        char why[128];
        if (factory) {
            gst_object_unref(factory);
            continue;
        }
        snprintf(why, sizeof why, "GStreamer has no %s (apt-get install %s)", parts[i].factory,
                 parts[i].package);
        set_unsupported(s, "%s", why);
        return false;
    }
    return true;
}

static bool link_branches(Source *s, const Codec *codec, GstPad *pad)
{
    GstElement *parse = add(s, codec->parse);
    GstElement *first = s->is_http ? parse : add(s, codec->depay);
    GstElement *filter = add(s, "capsfilter"), *tee = add(s, "tee");
    GstElement *queue = add_queue(s), *decode = decoder_new(s->options.software);
    GstElement *pictures = add_sink(s, on_picture);
    GstElement *queue2 = NULL, *compressed = NULL;
    if (decode && !gst_bin_add(GST_BIN(s->pipeline), decode))
        decode = NULL;
    if (!first || !parse || !filter || !tee || !queue || !decode || !pictures)
        return false;
    GstCaps *caps = gst_caps_from_string(codec->caps);
    g_object_set(filter, "caps", caps, NULL);
    gst_caps_unref(caps);
    caps = gst_caps_new_empty_simple("video/x-raw");
    g_object_set(pictures, "caps", caps, NULL);
    gst_caps_unref(caps);
    g_signal_connect(decode, "pad-added", G_CALLBACK(on_decoded_pad), pictures);
    if ((first != parse && !gst_element_link(first, parse)) ||
        !gst_element_link_many(parse, filter, tee, queue, decode, NULL))
        return false;
    if (s->options.on_compressed) {
        queue2 = add_queue(s);
        compressed = add_sink(s, on_compressed);
        if (!queue2 || !compressed || !gst_element_link_many(tee, queue2, compressed, NULL))
            return false;
    }
    GstPad *data_pad = gst_element_get_static_pad(first, "src");
    gst_pad_add_probe(data_pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST, on_data,
                      s, NULL);
    gst_object_unref(data_pad);
    data_pad = gst_element_get_static_pad(queue, "src");
    gst_pad_add_probe(data_pad, GST_PAD_PROBE_TYPE_BUFFER, on_packed, s, NULL);
    gst_object_unref(data_pad);
    GstElement *const all[] = {pictures, decode, queue, compressed, queue2,
                               tee,      filter, parse, first};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            gst_element_sync_state_with_parent(all[i]);
    GstPad *sink = gst_element_get_static_pad(first, "sink");
    bool linked = gst_pad_link(pad, sink) == GST_PAD_LINK_OK;
    gst_object_unref(sink);
    return linked;
}

static void add_hole(Source *s, GstPad *pad)
{
    GstElement *hole = add(s, "fakesink");
    if (!hole)
        return;
    g_object_set(hole, "sync", FALSE, "async", FALSE, NULL);
    gst_element_sync_state_with_parent(hole);
    GstPad *sink = gst_element_get_static_pad(hole, "sink");
    gst_pad_link(pad, sink);
    gst_object_unref(sink);
}

static void on_pad(GstElement *rtsp, GstPad *pad, gpointer data)
{
    (void)rtsp;
    Source *s = data;
    GstCaps *caps = gst_pad_get_current_caps(pad);
    if (!caps)
        caps = gst_pad_query_caps(pad, NULL);
    const Codec *codec = gst_caps_is_empty(caps) || gst_caps_is_any(caps) ? NULL : codec_of(caps);
    if (codec && !s->has_video) {
        s->has_video = true;
        pthread_mutex_lock(&s->lock);
        snprintf(s->stats.codec, sizeof s->stats.codec, "%s", codec->encoding);
        pthread_mutex_unlock(&s->lock);
        if (has_elements(s, codec) && !link_branches(s, codec, pad))
            set_unsupported(s, "its video (%s) does not fit GStreamer's elements", codec->encoding);
    } else if (s->is_http) {
        add_hole(s, pad); /* a demuxer waits for every pad */
    }
    gst_caps_unref(caps);
}

static int build_rtsp(Source *s, Error *err)
{
    const SourceOptions *options = &s->options;
    s->input = add(s, "rtspsrc");
    if (!s->input)
        return error_set(err, ENOSYS, EX_UNAVAILABLE,
                         "GStreamer has no rtspsrc (apt-get install gstreamer1.0-plugins-good)");
    bool udp = options->transport && strcmp(options->transport, "udp") == 0;
    bool tls = g_ascii_strncasecmp(options->url, "rtsps", 5) == 0;
    g_object_set(s->input, "location", options->url, "protocols",
                 (tls ? RTSP_TLS : 0) | (udp ? RTSP_UDP : RTSP_TCP), "buffer-mode",
                 0 /* none: pts are the sender's own, see source.h */, "latency",
                 (guint)SOURCE_LATENCY_MS, "tcp-timeout", (guint64)5000000, "timeout",
                 (guint64)5000000, "add-reference-timestamp-meta", TRUE, NULL);
    if (options->user && *options->user)
        g_object_set(s->input, "user-id", options->user, "user-pw",
                     options->password ? options->password : "", NULL);
    if (options->trust && options->trust->database)
        g_object_set(s->input, "tls-database", options->trust->database, NULL);
    if (options->trust)
        g_signal_connect(s->input, "accept-certificate", G_CALLBACK(on_certificate), s);
    g_signal_connect(s->input, "new-manager", G_CALLBACK(on_manager), s);
    g_signal_connect(s->input, "select-stream", G_CALLBACK(on_select), s);
    g_signal_connect(s->input, "pad-added", G_CALLBACK(on_pad), s);
    return 0;
}

/* What has no times of its own (MJPEG) gets that of its coming. */
static int build_http(Source *s, Error *err)
{
    const SourceOptions *o = &s->options;
    s->input = add(s, "souphttpsrc");
    GstElement *parse = add(s, "parsebin");
    if (!s->input || !parse || !gst_element_link(s->input, parse))
        return error_set(
            err, ENOSYS, EX_UNAVAILABLE,
            "GStreamer has no souphttpsrc (apt-get install gstreamer1.0-plugins-good)");
    bool live = !source_is_hls(o->url);
    g_object_set(s->input, "location", o->url, "is-live", live, "do-timestamp", live, "timeout",
                 10u, "retries", 0, NULL);
    if (o->user && *o->user)
        g_object_set(s->input, "user-id", o->user, "user-pw", o->password ? o->password : "", NULL);
    if (o->trust && o->trust->database)
        g_object_set(s->input, "tls-database", o->trust->database, NULL);
    if (o->trust && o->trust->unchecked)
        g_object_set(s->input, "ssl-strict", FALSE, NULL);
    g_signal_connect(parse, "pad-added", G_CALLBACK(on_pad), s);
    return 0;
}

int source_open(const SourceOptions *options, Source **source, Error *err)
{
    int r = fault_init_gst(err);
    if (r < 0)
        return r;
    Source *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, ENOMEM, EX_OSERR, "no memory for a stream");
    pthread_mutex_init(&s->lock, NULL);
    s->options = *options;
    sampler_init(&s->sampler, options->fps_min, options->fps_base, options->fps_max);
    motion_set_mask(&s->motion, options->shapes, options->n_shapes, (MaskTurn){0});
    s->opened_us = s->last_clean_us = clock_monotonic_us();
    s->ntp_caps = gst_caps_new_empty_simple("timestamp/x-ntp");
    s->pipeline = gst_pipeline_new("source");
    s->bus = gst_element_get_bus(s->pipeline);
    s->is_http = g_ascii_strncasecmp(options->url, "http", 4) == 0;
    r = s->is_http ? build_http(s, err) : build_rtsp(s, err);
    if (r < 0) {
        source_close(s);
        return r;
    }
    g_signal_connect(s->pipeline, "deep-element-added", G_CALLBACK(on_element), s);
    gst_element_set_state(s->pipeline, GST_STATE_PLAYING); /* what goes wrong comes on the bus */
    *source = s;
    return 0;
}

void source_close(Source *s)
{
    if (!s)
        return;
    /* Joins every thread of GStreamer's: one that hangs would hang us. */
    Watchdog watchdog;
    watchdog_begin(&watchdog, "closing the stream", CLOSE_LIMIT_US);
    gst_element_set_state(s->pipeline, GST_STATE_NULL);
    watchdog_end(&watchdog);
    g_clear_object(&s->manager);
    SourceFrame frame;
    while (source_pull(s, &frame))
        gst_sample_unref(frame.sample);
    gst_object_unref(s->bus);
    gst_object_unref(s->pipeline);
    gst_caps_replace(&s->caps, NULL);
    gst_caps_unref(s->ntp_caps);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void take_tags(Source *s, GstMessage *message)
{
    GstTagList *tags = NULL;
    gchar *text = NULL;
    gst_message_parse_tag(message, &tags);
    if (gst_tag_list_get_string(tags, GST_TAG_IMAGE_ORIENTATION, &text)) {
        pthread_mutex_lock(&s->lock);
        s->stats.format_changes += *s->stats.orientation && strcmp(s->stats.orientation, text);
        snprintf(s->stats.orientation, sizeof s->stats.orientation, "%s", text);
        pthread_mutex_unlock(&s->lock);
        g_free(text);
    }
    gst_tag_list_unref(tags);
}

static SourceFault read_error(Source *s, GstMessage *message, char *reason, size_t size)
{
    GError *error = NULL;
    gchar *debug = NULL;
    bool hardware = false;
    gst_message_parse_error(message, &error, &debug);
    SourceFault fault = SOURCE_FAILED;
    if (atomic_load(&s->untrusted))
        snprintf(reason, size,
                 "its TLS certificate is not trusted (tls_ca: a PEM file with it; tls_verify: no "
                 "trusts any)");
    else
        fault = source_fault(s->options.url, error, debug, reason, size);
    char text[1024];
    url_redact(debug ? debug : "", text, sizeof text);
    g_strdelimit(text, "\r\n\t", ' ');
    log_debug("source", "code=%d %s: %s", error->code, reason, text);
    g_clear_error(&error);
    g_free(debug);
    if (GST_IS_ELEMENT(GST_MESSAGE_SRC(message)) &&
        decoder_is(GST_ELEMENT(GST_MESSAGE_SRC(message)), &hardware) && hardware)
        return SOURCE_HARDWARE;
    /* It may also fail by what it hands on: then another element complains. */
    if (fault == SOURCE_FAILED && atomic_load(&s->hardware) && !source_stats(s).playing)
        return SOURCE_HARDWARE;
    return fault;
}

static SourceFault read_message(Source *s, GstMessage *message, char *reason, size_t size)
{
    Error err = {0};
    switch (GST_MESSAGE_TYPE(message)) {
    case GST_MESSAGE_ERROR:
        return read_error(s, message, reason, size);
    case GST_MESSAGE_EOS:
        snprintf(reason, size, "the server ended the stream");
        return SOURCE_ENDED;
    case GST_MESSAGE_TAG:
        take_tags(s, message);
        return SOURCE_RUNNING;
    case GST_MESSAGE_ELEMENT:
        if (fault_missing_plugin(message, &err) == 0)
            return SOURCE_RUNNING;
        snprintf(reason, size, "%s", err.text);
        return SOURCE_UNSUPPORTED;
    default:
        return SOURCE_RUNNING;
    }
}

SourceFault source_check(Source *s, char *reason, size_t size)
{
    GstMessage *message;
    while ((message = gst_bus_pop(s->bus))) {
        SourceFault fault = read_message(s, message, reason, size);
        gst_message_unref(message);
        if (fault != SOURCE_RUNNING)
            return fault;
    }
    if (atomic_load(&s->unsupported)) {
        snprintf(reason, size, "%s", s->unsupported_why);
        return SOURCE_UNSUPPORTED;
    }
    int64_t now_us = clock_monotonic_us(), data_us = atomic_load(&s->last_data_us);
    if (data_us == 0 && now_us - s->opened_us > OPEN_LIMIT_US) {
        snprintf(reason, size, "no video within %d s", (int)(OPEN_LIMIT_US / US_PER_S));
        return SOURCE_TIMEOUT;
    }
    if (data_us > 0 && s->options.stall_us > 0 && now_us - data_us > s->options.stall_us) {
        snprintf(reason, size, "no data for %.1f s", (double)(now_us - data_us) / 1e6);
        return SOURCE_STALLED;
    }
    int64_t picture_us = atomic_load(&s->last_picture_us);
    if (picture_us == 0)
        picture_us = s->opened_us;
    if (data_us > 0 && now_us - picture_us > PICTURE_LIMIT_US) {
        snprintf(reason, size, "data comes, but no picture in it could be decoded for %d s",
                 (int)(PICTURE_LIMIT_US / US_PER_S));
        return atomic_load(&s->hardware) ? SOURCE_HARDWARE : SOURCE_STALLED;
    }
    return SOURCE_RUNNING;
}

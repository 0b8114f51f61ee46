/*
 * Reads a video file. See reader.h.
 *
 * filesrc ! decodebin ! appsink, unsynchronised. Decoded pictures come to the caller's thread raw;
 * those that the sampler refuses are dropped before any conversion. The appsink's queue of two
 * pictures makes the decoder wait for the caller. Only video is decoded.
 */
#include "pipeline/reader.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pipeline/container.h"
#include "pipeline/fault.h"
#include "pipeline/keyframes.h"
#include "pipeline/motion.h"
#include "pipeline/picture.h"
#include "pipeline/sampler.h"
#include "pipeline/url.h"

#include <errno.h>
#include <gst/app/gstappsink.h>
#include <gst/video/video.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const int64_t OPEN_LIMIT_US = 30 * US_PER_S; /* for the first picture */
static const int64_t NEXT_LIMIT_US = 30 * US_PER_S; /* for any other */
static const int64_t COARSE_UTC_ERR_US = US_PER_S;
static const double EARLY_END_S = 0.5;

struct Reader {
    char *path;
    ReaderOptions options;
    ReaderInfo info;
    GstElement *pipeline;
    GstAppSink *sink;
    GstBus *bus;
    atomic_bool has_video; /* set by the demuxer's thread */
    atomic_bool pads_done;
    Picture *picture;
    Sampler sampler;
    Motion motion;
    GstSample *first; /* pulled by reader_open, not yet looked at by reader_next */
    int64_t first_stream_us;
    int64_t last_pts_us; /* of the last picture decoded */
    uint64_t decoded, index;
    KeyFrames keyframes;
    bool keyed;            /* key frames alone were decoded, up to here or all along */
    int64_t again_from_us; /* after the way back: pictures up to here were seen */
    int64_t missing_bytes;
    ContainerIndex container;
    bool is_mp4; /* set by the demuxer's thread before the first picture */
    bool ended;
    Frame still;        /* nothing changed in it: returned only if something does in the next */
    uint8_t *still_rgb; /* [still.height, still.width, 3], then an empty bitmap of its cells */
    size_t still_bytes;
    Frame next; /* converted already */
    bool has_still, has_next;
    uint64_t n_still;
};

/* Sound and subtitles are not decoded: their pads come out as they are. */
static gboolean on_continue(GstElement *bin, GstPad *pad, GstCaps *caps, gpointer data)
{
    (void)bin;
    (void)pad;
    (void)data;
    const char *name = gst_structure_get_name(gst_caps_get_structure(caps, 0));
    return !g_str_has_prefix(name, "audio/") && !g_str_has_prefix(name, "text/") &&
           !g_str_has_prefix(name, "subpicture/");
}

static void on_pad(GstElement *bin, GstPad *pad, gpointer data)
{
    Reader *r = data;
    GstCaps *caps = gst_pad_get_current_caps(pad);
    if (!caps)
        caps = gst_pad_query_caps(pad, NULL);
    const char *name = gst_caps_is_empty(caps) || gst_caps_is_any(caps)
                           ? ""
                           : gst_structure_get_name(gst_caps_get_structure(caps, 0));
    if (g_str_has_prefix(name, "video/x-raw") && !atomic_load(&r->has_video)) {
        GstPad *sink = gst_element_get_static_pad(GST_ELEMENT(r->sink), "sink");
        if (gst_pad_link(pad, sink) == GST_PAD_LINK_OK)
            atomic_store(&r->has_video, true);
        gst_object_unref(sink);
    } else {
        /* Everything else is swallowed, so that no demuxer waits for it. */
        GstElement *hole = gst_element_factory_make("fakesink", NULL);
        g_object_set(hole, "sync", FALSE, "async", FALSE, NULL);
        gst_bin_add(GST_BIN(r->pipeline), hole);
        gst_element_sync_state_with_parent(hole);
        GstPad *sink = gst_element_get_static_pad(hole, "sink");
        gst_pad_link(pad, sink);
        gst_object_unref(sink);
    }
    (void)bin;
    gst_caps_unref(caps);
}

static void on_no_more_pads(GstElement *bin, gpointer data)
{
    (void)bin;
    atomic_store(&((Reader *)data)->pads_done, true);
}

/* avidemux gives key frames their place in the file as pts, though with B-frames they are shown
 * later. Without it the decoder counts, as AVI means it. */
static GstPadProbeReturn on_avi_data(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    (void)pad;
    (void)data;
    GstBuffer *buffer = gst_buffer_make_writable(GST_PAD_PROBE_INFO_BUFFER(info));
    GST_BUFFER_PTS(buffer) = GST_CLOCK_TIME_NONE;
    GST_PAD_PROBE_INFO_DATA(info) = buffer;
    return GST_PAD_PROBE_OK;
}

static void on_avi_pad(GstElement *demux, GstPad *pad, gpointer data)
{
    (void)demux;
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, on_avi_data, data, NULL);
}

static void on_element(GstBin *bin, GstBin *parent, GstElement *element, gpointer data)
{
    (void)bin;
    (void)parent;
    GstElementFactory *factory = gst_element_get_factory(element);
    const char *name = factory ? GST_OBJECT_NAME(factory) : "";
    if (strcmp(name, "avidemux") == 0)
        g_signal_connect(element, "pad-added", G_CALLBACK(on_avi_pad), data);
    else if (strcmp(name, "qtdemux") == 0)
        ((Reader *)data)->is_mp4 = true;
    keyframes_attach(&((Reader *)data)->keyframes, element);
}

static int build(Reader *r, Error *err)
{
    GstElement *source =
        gst_element_factory_make(url_is_http(r->path) ? "souphttpsrc" : "filesrc", NULL);
    GstElement *decode = gst_element_factory_make("decodebin", NULL);
    GstElement *sink = gst_element_factory_make("appsink", NULL);
    if (!source || !decode || !sink) {
        g_clear_pointer(&source, gst_object_unref);
        g_clear_pointer(&decode, gst_object_unref);
        g_clear_pointer(&sink, gst_object_unref);
        return error_set(err, ENOSYS, EX_UNAVAILABLE,
                         "GStreamer's base plugins are missing (apt-get install "
                         "gstreamer1.0-plugins-base)");
    }
    r->pipeline = gst_pipeline_new("reader");
    r->bus = gst_element_get_bus(r->pipeline);
    r->sink = GST_APP_SINK(gst_object_ref(sink));
    GstCaps *raw = gst_caps_new_empty_simple("video/x-raw");
    g_object_set(source, "location", r->path, NULL);
    if (url_is_http(r->path) && r->options.user && *r->options.user)
        g_object_set(source, "user-id", r->options.user, "user-pw",
                     r->options.password ? r->options.password : "", NULL);
    g_object_set(sink, "sync", FALSE, "max-buffers", 2u, "drop", FALSE, "caps", raw,
                 "enable-last-sample", FALSE, NULL);
    gst_caps_unref(raw);
    g_signal_connect(r->pipeline, "deep-element-added", G_CALLBACK(on_element), r);
    g_signal_connect(decode, "autoplug-continue", G_CALLBACK(on_continue), r);
    g_signal_connect(decode, "pad-added", G_CALLBACK(on_pad), r);
    g_signal_connect(decode, "no-more-pads", G_CALLBACK(on_no_more_pads), r);
    gst_bin_add_many(GST_BIN(r->pipeline), source, decode, sink, NULL);
    gst_element_link(source, decode);
    gst_element_set_state(r->pipeline, GST_STATE_PLAYING);
    return 0;
}

static void take_tags(Reader *r, GstMessage *message)
{
    GstTagList *tags = NULL;
    gst_message_parse_tag(message, &tags);
    GstDateTime *when = NULL;
    gchar *text = NULL;
    if (r->info.creation_utc_us == 0 &&
        gst_tag_list_get_date_time(tags, GST_TAG_DATE_TIME, &when) &&
        gst_date_time_has_second(when)) {
        GDateTime *exact = gst_date_time_to_g_date_time(when);
        int64_t utc_us =
            exact ? g_date_time_to_unix(exact) * US_PER_S + g_date_time_get_microsecond(exact) : 0;
        /* Containers whose writer had no clock say 1904, 1970 or the like. */
        if (utc_us > INT64_C(631152000) * US_PER_S) {
            r->info.creation_utc_us = utc_us;
            r->info.utc_source = UTC_FILE;
        }
        g_clear_pointer(&exact, g_date_time_unref);
    }
    if (gst_tag_list_get_string(tags, GST_TAG_IMAGE_ORIENTATION, &text)) {
        picture_set_orientation(r->picture, text);
        g_clear_pointer(&text, g_free);
    }
    if (!r->info.codec[0] && gst_tag_list_get_string(tags, GST_TAG_VIDEO_CODEC, &text)) {
        snprintf(r->info.codec, sizeof r->info.codec, "%s", text);
        g_clear_pointer(&text, g_free);
    }
    g_clear_pointer(&when, gst_date_time_unref);
    gst_tag_list_unref(tags);
}

/* Reads what waits on the bus. -errno when the pipeline failed. */
static int read_bus(Reader *r, Error *err)
{
    int result = 0;
    GstMessage *message;
    while (result == 0 && (message = gst_bus_pop(r->bus))) {
        if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_TAG) {
            take_tags(r, message);
        } else if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ELEMENT) {
            result = fault_missing_plugin(message, err);
            if (result < 0)
                error_prefix(err, "%s", r->path);
        } else if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
            if (r->missing_bytes > 0)
                result = error_set(err, EIO, EX_DATAERR,
                                   "%s: truncated: its end is missing (copy it again from where "
                                   "it was recorded)",
                                   r->path);
            else
                result = fault_of_file(message, r->path, err);
        }
        gst_message_unref(message);
    }
    return result;
}

/* The next decoded picture to *sample; READER_END; -errno. */
static int pull(Reader *r, int64_t limit_us, GstSample **sample, Error *err)
{
    int64_t begin_us = clock_monotonic_us();
    for (;;) {
        *sample = gst_app_sink_try_pull_sample(r->sink, 50 * GST_MSECOND);
        if (*sample) {
            r->decoded++;
            return 0;
        }
        int result = read_bus(r, err);
        if (result < 0)
            return result;
        if (gst_app_sink_is_eos(r->sink) && atomic_load(&r->has_video))
            return READER_END;
        if (atomic_load(&r->pads_done) && !atomic_load(&r->has_video))
            return error_set(err, EINVAL, EX_DATAERR, "%s: no video in it", r->path);
        if (clock_monotonic_us() - begin_us > limit_us)
            return error_set(err, ETIMEDOUT, EX_DATAERR,
                             "%s: no picture within %d s: damaged, or the disk hangs", r->path,
                             (int)(limit_us / US_PER_S));
    }
}

static int64_t stream_us(GstSample *sample)
{
    GstClockTime pts = GST_BUFFER_PTS(gst_sample_get_buffer(sample));
    if (!GST_CLOCK_TIME_IS_VALID(pts))
        return -1;
    guint64 at = 0;
    GstSegment *segment = gst_sample_get_segment(sample);
    int sign = gst_segment_to_stream_time_full(segment, GST_FORMAT_TIME, pts, &at);
    return sign == 0 ? -1 : sign * (int64_t)(at / 1000);
}

static int check_file(const char *path, Error *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return error_set(err, errno, EX_NOINPUT, "%s: %s", path,
                         errno == ENOENT ? "no such file" : strerror(errno));
    if (S_ISDIR(st.st_mode))
        return error_set(err, EISDIR, EX_NOINPUT, "%s: a folder, not a video file", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, EX_NOINPUT, "%s: not a regular file", path);
    if (access(path, R_OK) < 0)
        return error_set(err, errno, EX_NOINPUT, "%s: %s (let the user that runs this read it)",
                         path, strerror(errno));
    if (st.st_size == 0)
        return error_set(err, EINVAL, EX_DATAERR, "%s: an empty file, not a video", path);
    return 0;
}

static void settle_start(Reader *r)
{
    ReaderInfo *info = &r->info;
    NameTime name = {0};
    /* A name that says UTC was meant to tell it; others may be the time of any zone. */
    if (container_name_time(r->path, r->options.time_zone, &name) &&
        (name.says_utc || r->options.time_zone || info->creation_utc_us == 0)) {
        info->creation_utc_us = name.utc_us;
        info->utc_source = UTC_NAME;
    } else {
        name.unsure_us = 0;
    }
    info->start_utc_us = info->creation_utc_us;
    info->start_utc_err_us = info->creation_utc_us ? COARSE_UTC_ERR_US + name.unsure_us : 0;
    if (r->options.start_utc_us) {
        info->utc_source = UTC_CONFIG;
        info->start_utc_us = r->options.start_utc_us;
        info->start_utc_err_us = r->options.start_utc_err_us;
    }
}

static int seek(Reader *r, int64_t pts_us, Error *err)
{
    gint64 to_ns = (pts_us + r->first_stream_us) * 1000;
    if (gst_element_seek_simple(
            r->pipeline, GST_FORMAT_TIME,
            GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_KEY_UNIT | GST_SEEK_FLAG_SNAP_BEFORE, to_ns))
        return 0;
    return error_set(err, ESPIPE, EX_DATAERR, "%s: cannot be read from its middle", r->path);
}

static bool is_seekable(Reader *r)
{
    GstQuery *query = gst_query_new_seeking(GST_FORMAT_TIME);
    gboolean seekable = FALSE;
    if (gst_element_query(r->pipeline, query))
        gst_query_parse_seeking(query, NULL, &seekable, NULL, NULL);
    gst_query_unref(query);
    return seekable;
}

/* Only once the first picture is there: it is the origin of pts, whatever it is. */
static void begin_keyframes(Reader *r)
{
    const ReaderOptions *o = &r->options;
    /* No key frames are that near each other, unless all pictures are. */
    bool sparse_wanted = r->info.fps <= 0 || o->fps * 2 <= r->info.fps;
    /* In fragments the way back would not do: qtdemux shifts the times of the first one it comes
     * to, and begins in the middle of one that has no key frame. */
    r->keyed = o->any_instant && r->sampler.fixed && o->fps > 0 && sparse_wanted &&
               r->container != CONTAINER_INDEX_FRAGMENTS && is_seekable(r) &&
               keyframes_begin(&r->keyframes, (int64_t)(1e6 / o->fps));
}

/* Key frames are too far apart: back to the last one that was seen, and all of it from there. */
static int end_keyframes(Reader *r, Error *err)
{
    keyframes_end(&r->keyframes);
    r->keyed = false;
    bool some = r->index > 0; /* have been handed on or passed over */
    r->again_from_us = some ? r->last_pts_us : INT64_MIN;
    log_debug("reader", "%s: its key frames are farther apart than %.2f s: everything is decoded",
              r->path, 1 / r->options.fps);
    return seek(r, some ? r->last_pts_us : r->options.from_pts_us, err);
}

/* The first picture tells size, rate and the origin of pts; then go to where reading begins. */
static int begin(Reader *r, Error *err)
{
    GstSample *sample = NULL;
    int result = pull(r, OPEN_LIMIT_US, &sample, err);
    if (result == READER_END)
        return error_set(err, EINVAL, EX_DATAERR, "%s: no picture in it could be decoded", r->path);
    if (result < 0)
        return result;
    result = read_bus(r, err); /* the tags came before the picture */
    if (result == 0)
        result = picture_prepare(r->picture, gst_sample_get_caps(sample), err);
    if (result < 0) {
        error_prefix(err, "%s", r->path);
        gst_sample_unref(sample);
        return result;
    }
    GstVideoInfo video;
    if (gst_video_info_from_caps(&video, gst_sample_get_caps(sample)) && video.fps_d > 0)
        r->info.fps = (double)video.fps_n / video.fps_d;
    sampler_set_budget(&r->sampler,
                       picture_frames_for_tokens(r->picture, r->options.max_tokens_per_minute));
    picture_mask_motion(r->picture, &r->motion); /* its orientation is known now */
    picture_source_size(r->picture, &r->info.width, &r->info.height);
    gint64 duration_ns = 0;
    if (gst_element_query_duration(r->pipeline, GST_FORMAT_TIME, &duration_ns) && duration_ns > 0)
        r->info.duration_s = (double)duration_ns / 1e9;
    r->first_stream_us = stream_us(sample);
    if (r->first_stream_us == -1)
        r->first_stream_us = 0;
    settle_start(r);
    /* Near enough to decode up to there; or in fragments, where a seek may land in the middle of a
     * group of pictures that cannot be decoded from there. */
    if (r->options.from_pts_us <= 2 * US_PER_S || r->container == CONTAINER_INDEX_FRAGMENTS) {
        r->first = sample;
        begin_keyframes(r);
        return 0;
    }
    gst_sample_unref(sample);
    result = seek(r, r->options.from_pts_us, err);
    begin_keyframes(r);
    return result;
}

int reader_open(const char *path, const ReaderOptions *options, Reader **reader, Error *err)
{
    int result = url_is_http(path) ? 0 : check_file(path, err);
    if (result == 0)
        result = fault_init_gst(err);
    if (result < 0)
        return result;
    Reader *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", path);
    r->options = *options;
    r->again_from_us = INT64_MIN;
    r->path = strdup(path);
    r->picture = picture_new(&(PictureLimits){.cell_px = options->cell_px,
                                              .min_pixels = options->min_pixels,
                                              .max_pixels = options->max_pixels,
                                              .shapes = options->shapes,
                                              .n_shapes = options->n_shapes,
                                              .gate_sensitivity = options->gate_sensitivity,
                                              .gate_refresh_us = options->gate_refresh_us});
    if (options->fps_min > 0 && options->fps_max > 0 && options->fps > 0)
        sampler_init(&r->sampler, options->fps_min, options->fps, options->fps_max);
    else
        sampler_init(&r->sampler, options->fps, options->fps, options->fps);
    r->missing_bytes = container_missing_bytes(path, &r->container);
    result = r->path && r->picture ? 0 : error_set(err, ENOMEM, EX_OSERR, "%s: no memory", path);
    if (result == 0 && r->container == CONTAINER_INDEX_NONE)
        result = error_set(err, EIO, EX_DATAERR,
                           "%s: truncated: its index is missing (copy it again from where it was "
                           "recorded)",
                           path);
    if (result == 0)
        result = build(r, err);
    if (result == 0)
        result = begin(r, err);
    if (result < 0) {
        reader_free(r);
        return result;
    }
    *reader = r;
    return 0;
}

void reader_free(Reader *r)
{
    if (!r)
        return;
    if (r->pipeline)
        gst_element_set_state(r->pipeline, GST_STATE_NULL);
    g_clear_pointer(&r->first, gst_sample_unref);
    g_clear_object(&r->bus);
    g_clear_object(&r->sink);
    g_clear_object(&r->pipeline);
    picture_free(r->picture);
    free(r->still_rgb);
    free(r->path);
    free(r);
}

const ReaderInfo *reader_info(const Reader *reader)
{
    return &reader->info;
}

void reader_position(const Reader *reader, uint64_t *decoded, int64_t *pts_us)
{
    *decoded = reader->decoded;
    *pts_us = reader->last_pts_us;
}

/* pts of a picture from the file's first one. Pictures without a pts follow the last by one step.
 */
static int64_t pts_of(Reader *r, GstSample *sample)
{
    int64_t at_us = stream_us(sample);
    if (at_us == -1)
        return r->last_pts_us + (r->info.fps > 0 ? (int64_t)(1e6 / r->info.fps) : 40000);
    return at_us - r->first_stream_us;
}

static int at_end(Reader *r, Error *err)
{
    r->ended = true;
    if (r->missing_bytes > 0)
        return error_set(err, EIO, EX_DATAERR,
                         "%s: truncated: it breaks off after %.1f s (%lld bytes are missing)",
                         r->path, (double)r->last_pts_us / 1e6, (long long)r->missing_bytes);
    /* qtdemux (1.22 to 1.26) stops short where an edit list begins inside a group of pictures. */
    double rest_s = r->info.duration_s - (double)r->last_pts_us / 1e6;
    if (r->is_mp4 && !r->keyed && rest_s > EARLY_END_S)
        log_warn("reader",
                 "%s: its last %.1f s were not read: it was cut between key frames (encode "
                 "it anew, or cut it at a key frame)",
                 r->path, rest_s);
    return READER_END;
}

static int next_frame(Reader *r, Frame *frame, Error *err)
{
    const ReaderOptions *o = &r->options;
    while (!r->ended) {
        GstSample *sample = r->first;
        r->first = NULL;
        int result = sample ? 0 : pull(r, NEXT_LIMIT_US, &sample, err);
        if (result >= 0 && keyframes_sparse(&r->keyframes)) {
            g_clear_pointer(&sample, gst_sample_unref);
            result = end_keyframes(r, err);
            if (result == 0)
                continue;
        }
        if (result == READER_END)
            return at_end(r, err);
        if (result < 0) {
            r->ended = true;
            return result;
        }
        int64_t pts_us = pts_of(r, sample);
        if (pts_us <= r->again_from_us) {
            gst_sample_unref(sample);
            r->index = 0;
            continue;
        }
        if ((r->index == 0 || r->keyed) && r->info.fps > 0) /* after a seek: where it landed */
            r->index = (uint64_t)(((double)pts_us / 1e6) * r->info.fps + 0.5);
        uint64_t index = r->index++;
        r->last_pts_us = pts_us;
        if (o->to_pts_us > 0 && pts_us >= o->to_pts_us) {
            gst_sample_unref(sample);
            r->ended = true;
            return READER_END;
        }
        float motion = r->sampler.fixed ? 0 : picture_motion(&r->motion, pts_us, sample);
        if (pts_us < o->from_pts_us || !sampler_pass(&r->sampler, pts_us, motion)) {
            gst_sample_unref(sample);
            continue;
        }
        *frame = (Frame){.pts_us = pts_us, .index = index, .motion = motion > 0 ? motion : 0};
        if (r->info.utc_source != UTC_NONE) {
            frame->utc_source = r->info.utc_source;
            frame->utc_us = r->info.start_utc_us + pts_us;
            frame->utc_err_us = r->info.start_utc_err_us;
        }
        result = picture_convert(r->picture, sample, frame, err);
        gst_sample_unref(sample);
        if (result < 0)
            error_prefix(err, "%s", r->path);
        return result;
    }
    return READER_END;
}

static int keep_still(Reader *r, const Frame *frame, Error *err)
{
    size_t rgb_bytes = (size_t)frame->width * (size_t)frame->height * 3;
    size_t cell_bytes = (frame->n_cells + 7) / 8;
    r->n_still += r->has_still;
    r->has_still = false;
    if (rgb_bytes + cell_bytes > r->still_bytes) {
        free(r->still_rgb);
        r->still_bytes = 0;
        r->still_rgb = mem_new_aligned(rgb_bytes + cell_bytes, 1);
        if (!r->still_rgb)
            return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", r->path);
        r->still_bytes = rgb_bytes + cell_bytes;
    }
    memcpy(r->still_rgb, frame->rgb, rgb_bytes);
    memset(r->still_rgb + rgb_bytes, 0, cell_bytes);
    r->still = *frame;
    r->still.rgb = r->still_rgb;
    r->still.cells = r->still_rgb + rgb_bytes;
    r->has_still = true;
    return 0;
}

int reader_next(Reader *r, Frame *frame, Error *err)
{
    if (r->has_next) {
        r->has_next = false;
        *frame = r->next;
        return 0;
    }
    for (;;) {
        int result = next_frame(r, frame, err);
        if (result == READER_END && r->has_still) {
            r->has_still = false;
            *frame = r->still;
            return 0;
        }
        if (result != 0)
            return result;
        if (frame->n_cells > 0 && frame->n_kept == 0) {
            if ((result = keep_still(r, frame, err)) < 0)
                return result;
            continue;
        }
        if (r->has_still && frame->n_changed > 0) {
            r->next = *frame;
            r->has_next = true;
            *frame = r->still;
        }
        r->n_still += r->has_still && !r->has_next;
        r->has_still = false;
        return 0;
    }
}

uint64_t reader_still(const Reader *reader)
{
    return reader->n_still;
}

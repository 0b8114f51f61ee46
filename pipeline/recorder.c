/*
 * Keeps a camera's compressed video as it is. See recorder.h.
 *
 * One small pipeline a file (mp4.h). recorder_push cuts: at the
 * first key frame after a segment's length it ends the current writer and starts the next. Ended
 * writers finish in their own threads; the owner's thread collects them in recorder_tick.
 * (splitmuxsink would hold back a whole group of pictures, which a kill would lose.)
 *
 * Lock: `lock` protects `writers`, `failed` and `stopped`; recorder_push holds it while it makes a
 * writer.
 */
#include "pipeline/recorder.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "pipeline/container.h"
#include "pipeline/demux.h"
#include "pipeline/fault.h"
#include "pipeline/mp4.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { MAX_WRITERS = 8, NAME_BYTES = 64, MAX_FILES = 1 << 20 };

static const uint64_t RESERVE_BYTES = UINT64_C(64) << 20;
static const int64_t DISK_EVERY_US = US_PER_S;
static const int64_t AFTER_FAULT_US = 30 * US_PER_S;
static const int64_t FINISH_US = 3 * US_PER_S;
static const int64_t RETAIN_EVERY_US = 60 * US_PER_S; /* files grow old without new ones, too */
static const unsigned FRAGMENT_MS = 500;
static const char PART[] = ".part";

/* One file being written. */
typedef struct Writer {
    Mp4 mp4;
    GstCaps *caps;
    char *path; /* with .part */
    int64_t start_pts_us, end_pts_us;
    int64_t named_utc_us; /* what its name says */
    bool ended;           /* EOS was sent */
    int64_t ended_us;
} Writer;

struct Recorder {
    char *dir;
    RecorderOptions options;
    RecorderClosed *closed;
    void *data;
    pthread_mutex_t lock;
    Writer *writers[MAX_WRITERS]; /* in order; only the last may be open */
    size_t n_writers;
    bool stopped; /* disk full: nothing is taken */
    bool failed;  /* a writer broke: noticed at the next tick */
    bool lacks;   /* GStreamer has no muxer: for good */
    char reason[160];
    uint64_t bytes;
    uint64_t file_bytes; /* of the last file: what the next one may need */
    int64_t disk_due_us, retain_due_us;
};

typedef struct Kept {
    char *name;
    int64_t utc_us;
    uint64_t bytes;
} Kept;

static int by_time(const void *a, const void *b)
{
    const Kept *x = a, *y = b;
    return x->utc_us < y->utc_us ? -1 : x->utc_us > y->utc_us ? 1 : strcmp(x->name, y->name);
}

static bool has_end(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && strcmp(name + n - m, end) == 0;
}

/* Files of this folder that end so and have a time in their name. */
static Kept *list(const Recorder *r, const char *end, size_t *n)
{
    Kept *kept = NULL;
    size_t capacity = 0;
    *n = 0;
    DIR *dir = opendir(r->dir);
    for (struct dirent *e; dir && *n < MAX_FILES && (e = readdir(dir));) {
        NameTime time;
        struct stat st;
        if (!has_end(e->d_name, end) || !container_name_time(e->d_name, NULL, &time) ||
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
            mem_grow((void **)&kept, &capacity, *n + 1, sizeof *kept) < 0)
            continue;
        char *name = strdup(e->d_name);
        if (name)
            kept[(*n)++] = (Kept){name, time.utc_us, (uint64_t)st.st_size};
    }
    if (dir)
        closedir(dir);
    if (*n > 1)
        qsort(kept, *n, sizeof *kept, by_time);
    return kept;
}

static void list_free(Kept *kept, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(kept[i].name);
    free(kept);
}

/* 20261123T084500.123Z.mp4 */
static void name_of(int64_t utc_us, char name[NAME_BYTES])
{
    char text[CLOCK_UTC_TEXT_BYTES]; /* 2026-11-23T08:45:00.123Z */
    size_t n = 0;
    clock_format_utc(utc_us, text);
    for (const char *p = text; *p && n < NAME_BYTES - 8; p++)
        if (*p != '-' && *p != ':')
            name[n++] = *p;
    strcpy(name + n, ".mp4");
}

static void sync_path(const char *path, int flags)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0 || fsync(fd) < 0)
        log_warn("recorder", "fsync %s: %s", path, strerror(errno));
}

/* Fsyncs path.part, gives it the name of its start, reports it with what retention removed. */
static void finish(Recorder *r, const char *part, UtcStamp start, int64_t end_us, char **removed,
                   size_t n_removed)
{
    struct stat st;
    char name[NAME_BYTES];
    name_of(start.utc_us, name);
    _cleanup_free_ char *path = file_join(r->dir, name);
    if (!path || stat(part, &st) < 0)
        return;
    if (st.st_size == 0 || end_us <= start.utc_us) {
        unlink(part); /* nothing in it */
        return;
    }
    chmod(part, 0640);
    sync_path(part, 0);
    if (rename(part, path) < 0) {
        log_error("recorder", "rename %s: %s", part, strerror(errno));
        return;
    }
    sync_path(r->dir, O_DIRECTORY);
    r->file_bytes = (uint64_t)st.st_size;
    RecorderFile file = {path, start, end_us, (uint64_t)st.st_size, removed, n_removed};
    r->closed(&file, r->data);
}

/* --- writers --- */

static void writer_free(Writer *w)
{
    if (!w)
        return;
    mp4_close(&w->mp4);
    gst_clear_caps(&w->caps);
    free(w->path);
    free(w);
}

static Writer *writer_new(Recorder *r, GstCaps *caps, int64_t pts_us, int64_t utc_us)
{
    Writer *w = calloc(1, sizeof *w);
    char name[NAME_BYTES], part[NAME_BYTES + sizeof PART];
    if (!w)
        return NULL;
    name_of(utc_us, name);
    snprintf(part, sizeof part, "%s%s", name, PART);
    w->path = file_join(r->dir, part);
    w->caps = gst_caps_ref(caps);
    w->start_pts_us = w->end_pts_us = pts_us;
    w->named_utc_us = utc_us;
    Mp4Options options = {.fragment_ms = FRAGMENT_MS, .live = true};
    if (w->path && mp4_open(&w->mp4, w->path, caps, &options))
        return w;
    r->lacks = w->path != NULL;
    writer_free(w);
    return NULL;
}

static Writer *open_writer(Recorder *r)
{
    Writer *last = r->n_writers ? r->writers[r->n_writers - 1] : NULL;
    return last && !last->ended ? last : NULL;
}

static void end_writer(Writer *w)
{
    gst_app_src_end_of_stream(w->mp4.source);
    w->ended = true;
    w->ended_us = clock_monotonic_us();
}

void recorder_push(Recorder *r, GstSample *sample, int64_t arrival_utc_us)
{
    GstBuffer *buffer = gst_sample_get_buffer(sample);
    GstCaps *caps = gst_sample_get_caps(sample);
    GstClockTime at = gst_segment_to_running_time(gst_sample_get_segment(sample), GST_FORMAT_TIME,
                                                  GST_BUFFER_PTS(buffer));
    if (!caps || !GST_CLOCK_TIME_IS_VALID(at))
        return;
    int64_t pts_us = (int64_t)(at / 1000);
    bool key = !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
    pthread_mutex_lock(&r->lock);
    Writer *w = open_writer(r);
    bool other = w && !gst_caps_is_equal(w->caps, caps);
    if (w && (other || pts_us < w->start_pts_us ||
              (key && pts_us - w->start_pts_us >= r->options.segment_us))) {
        w->end_pts_us = key && pts_us > w->end_pts_us && !other ? pts_us : w->end_pts_us;
        end_writer(w);
        w = NULL;
    }
    if (!w && key && !r->stopped && !r->lacks && r->n_writers < MAX_WRITERS) {
        w = writer_new(r, caps, pts_us, arrival_utc_us);
        if (w)
            r->writers[r->n_writers++] = w;
        else
            r->failed = true;
    }
    if (w) {
        GstClockTime duration = GST_BUFFER_DURATION(buffer);
        int64_t end_us =
            pts_us + (GST_CLOCK_TIME_IS_VALID(duration) ? (int64_t)(duration / 1000) : 0);
        w->end_pts_us = end_us > w->end_pts_us ? end_us : w->end_pts_us;
        mp4_push(&w->mp4, buffer, at - (guint64)w->start_pts_us * 1000);
    }
    pthread_mutex_unlock(&r->lock);
}

/* --- the owner's thread --- */

static bool is_too_much(const Recorder *r, const Kept *oldest, bool newest, int64_t now_us)
{
    const RecorderOptions *o = &r->options;
    if (o->keep_for_us > 0 && now_us - oldest->utc_us > o->keep_for_us)
        return true;
    if (o->keep_bytes == 0)
        return false;
    /* Room for the next file, but not at the cost of the newest. */
    return r->bytes > o->keep_bytes || (!newest && r->bytes + r->file_bytes > o->keep_bytes);
}

/* Deletes the oldest until what is left fits. [n] paths to *removed, owned by the caller. */
static void retain(Recorder *r, char ***removed, size_t *n_removed)
{
    size_t n, capacity = 0;
    Kept *kept = list(r, ".mp4", &n);
    *removed = NULL;
    *n_removed = 0;
    r->bytes = 0;
    for (size_t i = 0; i < n; i++)
        r->bytes += kept[i].bytes;
    int64_t now_us = clock_utc_us();
    r->retain_due_us = clock_monotonic_us() + RETAIN_EVERY_US;
    for (size_t i = 0; i < n && is_too_much(r, &kept[i], i + 1 == n, now_us); i++) {
        char *path = file_join(r->dir, kept[i].name);
        if (!path || mem_grow((void **)removed, &capacity, *n_removed + 1, sizeof **removed) < 0 ||
            (unlink(path) < 0 && errno != ENOENT)) {
            free(path);
            continue;
        }
        r->bytes -= kept[i].bytes;
        (*removed)[(*n_removed)++] = path;
    }
    list_free(kept, n);
}

static void removed_free(char **removed, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(removed[i]);
    free(removed);
}

static void retain_and_report(Recorder *r)
{
    char **removed;
    size_t n;
    retain(r, &removed, &n);
    if (n > 0) {
        RecorderFile file = {.removed = removed, .n_removed = n};
        r->closed(&file, r->data);
    }
    removed_free(removed, n);
}

static void close_writer(Recorder *r, Writer *w, const Timebase *timebase)
{
    UtcStamp start = {w->named_utc_us, US_PER_S, UTC_ARRIVAL};
    if (timebase && timebase->observed)
        start = timebase_estimate(timebase, w->start_pts_us);
    /* The estimate's distance from its newest report says nothing of a file that lay under it. */
    if (start.source == UTC_RTCP)
        start.err_us = TIMEBASE_CORRECTED_ERR_US;
    int64_t end_us = start.utc_us + (w->end_pts_us - w->start_pts_us);
    _cleanup_free_ char *part = strdup(w->path);
    writer_free(w);
    if (part)
        finish(r, part, start, end_us, NULL, 0);
    retain_and_report(r);
}

static bool is_disk_full(const char *text)
{
    return strstr(text, "No space left") || strstr(text, "space left");
}

/* Has this writer written all it will? Errors of its pipeline end it too. */
static bool is_over(Recorder *r, Writer *w)
{
    bool over = w->ended && clock_monotonic_us() - w->ended_us > FINISH_US;
    GstMessage *message;
    while ((message = gst_bus_pop_filtered(w->mp4.bus, GST_MESSAGE_EOS | GST_MESSAGE_ERROR))) {
        over = true;
        if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
            GError *error = NULL;
            gchar *debug = NULL;
            gst_message_parse_error(message, &error, &debug);
            bool full =
                g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT) ||
                is_disk_full(error->message) || (debug && is_disk_full(debug));
            snprintf(r->reason, sizeof r->reason, "%s",
                     full ? "the disk is full: free space, or lower keep" : error->message);
            g_clear_error(&error);
            g_free(debug);
            if (!r->stopped)
                log_error("recorder", "recording stopped: %s; frames go on", r->reason);
            pthread_mutex_lock(&r->lock);
            r->stopped = true; /* until the disk is looked at again */
            r->disk_due_us = clock_monotonic_us() + AFTER_FAULT_US;
            w->ended = true;
            pthread_mutex_unlock(&r->lock);
        }
        gst_message_unref(message);
    }
    return over;
}

static void collect(Recorder *r, const Timebase *timebase)
{
    for (;;) {
        pthread_mutex_lock(&r->lock);
        Writer *first = r->n_writers ? r->writers[0] : NULL;
        pthread_mutex_unlock(&r->lock);
        if (!first || !is_over(r, first))
            return;
        pthread_mutex_lock(&r->lock);
        r->n_writers--;
        memmove(r->writers, r->writers + 1, r->n_writers * sizeof *r->writers);
        pthread_mutex_unlock(&r->lock);
        close_writer(r, first, timebase);
    }
}

static void look_at_disk(Recorder *r)
{
    struct statvfs fs;
    int64_t now_us = clock_monotonic_us();
    if (now_us < r->disk_due_us)
        return;
    r->disk_due_us = now_us + DISK_EVERY_US;
    if (statvfs(r->dir, &fs) < 0) {
        snprintf(r->reason, sizeof r->reason, "%s: %s", r->dir, strerror(errno));
        r->failed = true;
        return;
    }
    uint64_t reserve = r->options.reserve_bytes ? r->options.reserve_bytes : RESERVE_BYTES;
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    pthread_mutex_lock(&r->lock);
    bool was = r->stopped;
    /* The file that is being written has its room already, as far as it is written. It begins again
     * with some room, not at the first byte. */
    bool writing = open_writer(r) != NULL;
    if (free_bytes < reserve + (writing ? 0 : r->file_bytes)) {
        r->stopped = true;
        snprintf(r->reason, sizeof r->reason,
                 "the disk is full (%llu MB free, %llu are needed): free space, or lower keep",
                 (unsigned long long)(free_bytes >> 20),
                 (unsigned long long)((reserve + r->file_bytes) >> 20));
        Writer *w = open_writer(r);
        if (w)
            end_writer(w);
    } else if (free_bytes > reserve + reserve / 2 + r->file_bytes && !r->lacks) {
        r->stopped = false;
    }
    if (r->lacks) {
        r->stopped = true;
        snprintf(r->reason, sizeof r->reason,
                 "GStreamer has no mp4mux (apt-get install gstreamer1.0-plugins-good)");
    }
    bool is = r->stopped;
    pthread_mutex_unlock(&r->lock);
    if (is && !was)
        log_error("recorder", "recording stopped: %s; frames go on", r->reason);
    else if (was && !is)
        log_info("recorder", "recording begins again");
}

void recorder_tick(Recorder *r, const Timebase *timebase)
{
    collect(r, timebase);
    look_at_disk(r);
    if (clock_monotonic_us() >= r->retain_due_us)
        retain_and_report(r);
}

void recorder_end(Recorder *r, const Timebase *timebase)
{
    pthread_mutex_lock(&r->lock);
    Writer *w = open_writer(r);
    if (w)
        end_writer(w);
    pthread_mutex_unlock(&r->lock);
    for (;;) {
        pthread_mutex_lock(&r->lock);
        Writer *first = r->n_writers ? r->writers[0] : NULL;
        pthread_mutex_unlock(&r->lock);
        if (!first)
            return;
        GstMessage *message = gst_bus_timed_pop_filtered(
            first->mp4.bus, (GstClockTime)FINISH_US * 1000, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
        if (message)
            gst_bus_post(first->mp4.bus, message); /* is_over reads it */
        else
            first->ended_us = 0; /* it had its time */
        collect(r, timebase);
    }
}

/* How long a file is that nobody closed, by its pictures. */
static int64_t length_us(const char *path)
{
    Demux *demux = NULL;
    GstSample *sample = NULL;
    Error err = {0};
    int64_t end_us = 0;
    int e = demux_open(path, &demux, &err);
    while (e == 0 && (e = demux_next(demux, &sample, &err)) == 0) {
        int64_t at_us = demux_pts_us(demux, sample) + demux_duration_us(sample);
        end_us = at_us > end_us ? at_us : end_us;
        gst_sample_unref(sample);
    }
    if (e < 0)
        log_warn("recorder", "%s", err.text);
    demux_free(demux);
    return end_us;
}

/* What a crash left: its start by its name, its end by its pictures. */
static void recover(Recorder *r)
{
    size_t n;
    Kept *kept = list(r, ".mp4.part", &n);
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *path = file_join(r->dir, kept[i].name);
        if (!path)
            continue;
        ContainerIndex container;
        container_missing_bytes(path, &container);
        if (container == CONTAINER_INDEX_NONE) {
            unlink(path); /* killed before its first fragment: nothing can be read */
            continue;
        }
        UtcStamp start = {kept[i].utc_us, US_PER_S, UTC_NAME};
        int64_t end_us = start.utc_us + length_us(path);
        log_info("recorder", "file=%s was left by a crash: kept", path);
        finish(r, path, start, end_us, NULL, 0);
    }
    list_free(kept, n);
}

int recorder_open(const RecorderOptions *options, RecorderClosed *closed, void *data,
                  Recorder **recorder, Error *err)
{
    int e = file_make_dir(options->dir, err);
    if (e == 0)
        e = fault_init_gst(err);
    if (e < 0)
        return e;
    Recorder *r = calloc(1, sizeof *r);
    if (!r || !(r->dir = strdup(options->dir))) {
        free(r);
        return error_set(err, ENOMEM, EX_OSERR, "no memory to record");
    }
    pthread_mutex_init(&r->lock, NULL);
    r->options = *options;
    r->options.dir = r->dir;
    if (r->options.segment_us < US_PER_S)
        r->options.segment_us = 60 * US_PER_S;
    r->closed = closed;
    r->data = data;
    recover(r);
    retain_and_report(r);
    look_at_disk(r);
    *recorder = r;
    return 0;
}

void recorder_free(Recorder *r)
{
    if (!r)
        return;
    recorder_end(r, NULL);
    pthread_mutex_destroy(&r->lock);
    free(r->dir);
    free(r);
}

bool recorder_stopped(const Recorder *r)
{
    return r->stopped;
}

const char *recorder_reason(const Recorder *r)
{
    return r->reason;
}

uint64_t recorder_bytes(const Recorder *r)
{
    return r->bytes;
}

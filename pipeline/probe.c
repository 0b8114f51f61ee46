/* What a source offers. See probe.h. */
#include "pipeline/probe.h"

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/reader.h"
#include "pipeline/source.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Long enough for the rate of pictures; then until the first sender report. They are 5 s apart
 * times 0.5 to 1.5 over 1.218 (RFC 3550, 6.3.1): 6.2 s at most. */
static const int64_t LEAST_US = 3 * US_PER_S, MOST_US = 8 * US_PER_S;

static int exit_code_of(SourceFault fault)
{
    switch (fault) {
    case SOURCE_UNAUTHORIZED:
        return EX_NOPERM;
    case SOURCE_NOT_FOUND:
        return EX_NOINPUT;
    case SOURCE_UNSUPPORTED:
        return EX_DATAERR;
    default:
        return EX_UNAVAILABLE;
    }
}

/* Takes the frames that wait: the first and last tell the rate, reports the clock. */
static void take_frames(Source *source, Probe *f, int64_t *first_pts_us)
{
    SourceFrame frame;
    while (source_pull(source, &frame)) {
        if (f->pictures++ == 0)
            *first_pts_us = frame.pts_us;
        int64_t arrival_us = frame.pts_us + frame.arrival_offset_us;
        f->utc_us = frame.reference_utc_us ? frame.reference_utc_us : arrival_us;
        f->utc_source = frame.reference_utc_us ? "rtcp" : "arrival";
        f->utc_err_us = frame.reference_utc_us ? 50000 : 700000;
        f->clock_off_us = frame.reference_utc_us ? frame.reference_utc_us - arrival_us : 0;
        if (frame.pts_us > *first_pts_us)
            f->fps = (double)(f->pictures - 1) * 1e6 / (double)(frame.pts_us - *first_pts_us);
        gst_sample_unref(frame.sample);
    }
}

/* begin_us: when the first picture came; 0: none did. */
static bool looked_enough(const Probe *f, int64_t begin_us)
{
    const int64_t looked_us = begin_us ? clock_monotonic_us() - begin_us : 0;
    return looked_us >= (strcmp(f->utc_source, "rtcp") == 0 ? LEAST_US : MOST_US);
}

static int look_at_stream(const ProbeSource *options, Probe *f, Error *err)
{
    TlsTrust trust = {0};
    bool tls =
        strncasecmp(options->url, "rtsps", 5) == 0 || strncasecmp(options->url, "https", 5) == 0;
    int r = tls ? tls_trust_init(&trust, options->tls_ca, options->tls_unchecked, err) : 0;
    if (r < 0)
        return r;
    _cleanup_close_ int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    SourceOptions source_options = {.url = options->url,
                                    .user = options->user,
                                    .password = options->password,
                                    .transport = options->transport,
                                    .trust = &trust,
                                    .stall_us = 5 * US_PER_S,
                                    .wake_fd = wake_fd};
    Source *source = NULL;
    int64_t first_pts_us = 0, begin_us = 0;
    SourceFault fault = SOURCE_RUNNING;
    char reason[256] = "";
    r = source_open(&source_options, &source, err);
    while (r == 0 && fault == SOURCE_RUNNING && !looked_enough(f, begin_us)) {
        struct pollfd item = {.fd = wake_fd, .events = POLLIN};
        uint64_t count;
        if (poll(&item, 1, 100) == 1 && read(wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
            break;
        take_frames(source, f, &first_pts_us);
        if (f->pictures && !begin_us)
            begin_us = clock_monotonic_us();
        fault = source_check(source, reason, sizeof reason);
    }
    if (source) {
        SourceStats stats = source_stats(source);
        snprintf(f->codec, sizeof f->codec, "%s", stats.codec);
        snprintf(f->decoder, sizeof f->decoder, "%s", stats.decoder);
        f->width = stats.width;
        f->height = stats.height;
    }
    source_close(source);
    tls_trust_deinit(&trust);
    if (r == 0 && f->pictures == 0)
        r = error_set(err, EIO, exit_code_of(fault), "%s: %s", options->url, reason);
    return r;
}

static int look_at_file(const char *path, Probe *f, Error *err)
{
    static const char *const NAMES[] = {"", "rtcp", "file", "name", "config", "arrival"};
    ReaderOptions options = {.cell_px = 28, .min_pixels = 28 * 28, .max_pixels = 1 << 20};
    Reader *reader = NULL;
    int r = reader_open(path, &options, &reader, err);
    if (r < 0)
        return r;
    const ReaderInfo *info = reader_info(reader);
    snprintf(f->codec, sizeof f->codec, "%s", info->codec);
    f->width = info->width;
    f->height = info->height;
    f->fps = info->fps;
    f->duration_s = info->duration_s;
    f->utc_source = NAMES[info->utc_source];
    f->utc_us = info->start_utc_us;
    f->utc_err_us = info->start_utc_err_us;
    reader_free(reader);
    return 0;
}

int probe_look(const ProbeSource *source, Probe *found, Error *err)
{
    *found = (Probe){.utc_source = ""};
    return source->is_stream ? look_at_stream(source, found, err)
                             : look_at_file(source->url, found, err);
}

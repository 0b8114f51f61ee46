/*
 * A live stream: rtspsrc -> depay (or souphttpsrc -> parsebin) -> parse -> tee: (a) the compressed
 * video as it is, for the recorder; (b) decoder -> sampler -> a bounded queue of raw pictures for
 * the owner's thread.
 *
 * GStreamer's threads decode, measure motion and sample; they push to the queue, which drops its
 * oldest picture when it is full and counts that, and write to an eventfd. Nothing waits in a pad
 * probe. The owner's thread pulls, looks at the bus and at the stall clock by source_check, and
 * closes. A source is opened once: after a fault it is closed and another is opened.
 *
 * The jitter buffer puts packets in order but does not touch their times (mode "none"): pts differ
 * exactly as the sender's RTP timestamps do. Its other modes bend them towards the arrival, by over
 * 100 ms at the begin of a stream with B-frames. Nothing here plays by the local clock, so that the
 * two drift apart is no harm; timebase.h follows it.
 */
#ifndef WHEN_PIPELINE_SOURCE_H
#define WHEN_PIPELINE_SOURCE_H

#include "base/err.h"
#include "pipeline/mask.h"
#include "pipeline/sampler.h"
#include "pipeline/source_fault.h"
#include "pipeline/tls.h"

#include <gst/gst.h>
#include <stdbool.h>
#include <stdint.h>

enum { SOURCE_LATENCY_MS = 200, SOURCE_QUEUE = 16 };

typedef struct Source Source;

typedef struct SourceOptions {
    const char *url; /* without user and password */
    const char *user, *password;
    const char *transport; /* "tcp" or "udp" */
    const TlsTrust *trust; /* of rtsps: outlives the source */
    bool software;         /* no hardware decoder */
    double fps_min, fps_base, fps_max;
    const MaskShape *shapes; /* [n_shapes] motion in there does not count */
    size_t n_shapes;
    int64_t stall_us;
    int wake_fd; /* eventfd: written when a picture waits */
    /* Compressed video, from a GStreamer thread; NULL: not wanted. Must not block. */
    void (*on_compressed)(GstSample *sample, void *data);
    void *data;
} SourceOptions;

typedef struct SourceFrame {
    GstSample *sample;         /* raw; the receiver unrefs */
    int64_t pts_us;            /* running time of the stream */
    int64_t reference_utc_us;  /* by the sender's reports; 0: none yet */
    int64_t arrival_offset_us; /* UTC when it came out of the decoder, less pts */
    float motion;
    uint64_t index;
} SourceFrame;

typedef struct SourceStats {
    uint64_t decoded, passed, dropped; /* dropped: passed by the sampler, but the queue was full */
    uint64_t refused_references;       /* sender's times that are no wall clock times */
    bool playing;                      /* a picture was decoded */
    uint64_t damaged;                  /* incomplete, leaning on such a one, or never decoded */
    uint64_t format_changes;           /* pictures of another size than the one before */
    int width, height;                 /* of the last picture; 0: none yet */
    char codec[16], decoder[40];       /* "H264", "avdec_h264" */
    char orientation[24];              /* its tag ("rotate-90"); "": none seen */
} SourceStats;

/* A playlist over http. */
bool source_is_hls(const char *url);

int source_open(const SourceOptions *options, Source **source, Error *err);
void source_close(Source *source); /* NULL is fine */

/* The oldest picture that waits: true, or false when there is none. */
bool source_pull(Source *source, SourceFrame *frame);

/* At most so many pictures a minute pass; 0: no bound. */
void source_set_budget(Source *source, uint32_t frames_per_minute);

/* SOURCE_RUNNING, or what ended it, with one line in reason. */
SourceFault source_check(Source *source, char *reason, size_t size);

SourceStats source_stats(Source *source);
/* What the network lost, by RTP's sequence numbers; what comes within a second is only late. */
uint64_t source_lost_packets(Source *source);

#endif

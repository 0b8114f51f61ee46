/*
 * Reads a video file from begin to end, in the caller's thread: for whenscan, file cameras and
 * archive jobs. Frames come sampled, sized for the model and with their UTC where the file knows
 * it.
 *
 * pts_us counts from the file's first picture (0), in order of presentation, whatever the container
 * calls that moment. A sampled frame is the first picture at or after each multiple of 1/fps.
 * UTC of the first picture, best first: start_utc_us of the options; a time in the file's name that
 * ends in Z, or any in it where its zone is known (time_zone); the container's creation time; any
 * other time in the name, taken as UTC; else unknown. All but the first count as known to a second.
 */
#ifndef WHEN_PIPELINE_READER_H
#define WHEN_PIPELINE_READER_H

#include "base/err.h"
#include "base/time_zone.h"
#include "pipeline/frame.h"
#include "pipeline/mask.h"

typedef struct Reader Reader;

typedef struct ReaderOptions {
    const char *user, *password; /* of an http URL, or NULL */
    double fps;                  /* sampled at this rate, by presentation time; 0: every picture */
    int cell_px;                 /* 28 */
    int64_t min_pixels, max_pixels;
    const MaskShape *shapes; /* [n_shapes] never looked at; outlive the reader */
    size_t n_shapes;
    float gate_sensitivity;         /* see gate.h */
    int64_t gate_refresh_us;        /* 0: no gate */
    uint32_t max_tokens_per_minute; /* picture_frames_for_tokens; 0: no bound */
    int64_t start_utc_us; /* configured UTC of the first picture; 0: from the container, if there */
    int64_t start_utc_err_us;
    const TimeZone *time_zone; /* of times in names, or NULL; outlives reader_open */
    int64_t from_pts_us; /* pictures before this are not returned (seeks); 0: from the begin */
    int64_t to_pts_us;   /* nor at or after this; 0: to the end */
    /* A picture near each multiple of 1/fps will do as well (its pts is its own): where key frames
     * are no farther apart than that, nothing else is decoded. For fixed rates. */
    bool any_instant;
    double fps_min, fps_max; /* both > 0: fps moves between them with motion (sampler.h) */
} ReaderOptions;

typedef struct ReaderInfo {
    int width, height;       /* of the file's pictures, after rotation */
    double fps;              /* nominal, 0 if unknown */
    double duration_s;       /* 0 if unknown */
    int64_t creation_utc_us; /* 0 if unknown; from the container, else from the file's name */
    UtcSource utc_source;    /* what start_utc_us below comes from; UTC_NONE: unknown */
    int64_t start_utc_us;    /* of the first picture */
    int64_t start_utc_err_us;
    char codec[32];
} ReaderInfo;

enum { READER_END = 1 };

/* gst_init is done by the first call. EX_NOINPUT: no such file; EX_DATAERR: not a video, truncated
 * beyond use, or no decoder (then the Debian package that has it is named). */
int reader_open(const char *path, const ReaderOptions *options, Reader **reader, Error *err);
void reader_free(Reader *reader);
const ReaderInfo *reader_info(const Reader *reader);

/* The next sampled frame; frame->rgb is borrowed until the next call. With a gate, frames in which
 * nothing changed are left out, but for the one before a change. 0, READER_END, or -errno. A
 * file that breaks off in the middle gives what could be decoded, then an error. */
int reader_next(Reader *reader, Frame *frame, Error *err);

/* Frames left out so far because nothing had changed. */
uint64_t reader_still(const Reader *reader);

/* Pictures decoded so far, and the pts of the last one. */
void reader_position(const Reader *reader, uint64_t *decoded, int64_t *pts_us);

#endif

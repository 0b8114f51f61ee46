/*
 * A frame: one decoded picture that the sampler let through, sized for the model, with its time.
 */
#ifndef WHEN_PIPELINE_FRAME_H
#define WHEN_PIPELINE_FRAME_H

#include <stddef.h>
#include <stdint.h>

/* Where a frame's UTC comes from, best first; numbers as in proto/worker.proto. */
typedef enum UtcSource {
    UTC_NONE = 0,
    UTC_RTCP = 1,
    UTC_FILE = 2,
    UTC_NAME = 3,
    UTC_CONFIG = 4,
    UTC_ARRIVAL = 5
} UtcSource;

typedef struct Frame {
    uint8_t *rgb;      /* [height, width, 3], no padding */
    int width, height; /* pixels, multiples of the model's cell */
    int64_t pts_us;    /* stream time */
    int64_t utc_us;    /* 0 when unknown (source UTC_NONE) */
    int64_t utc_err_us;
    UtcSource utc_source;
    uint64_t index; /* of the picture in decoding order of presentation, from 0 */
    float motion;   /* 0..1 */
    /* By the gate (gate.h); all zero when it is off. */
    const uint8_t *cells; /* bitmap of cells to keep; borrowed like rgb */
    size_t n_cells, n_kept, n_changed;
} Frame;

#endif

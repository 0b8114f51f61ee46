/*
 * The gate: which cells of a frame changed since the model last saw them. A cell is cell_px x
 * cell_px pixels of the frame as the model gets it: one visual token of a grid. Pure: no clock, no
 * GStreamer; one thread.
 *
 * Each cell is compared with what it was when it was last sent, as 4 x 4 blocks of mean luma and
 * colour differences. Taken out before: a change of the whole picture's light (offset and gain of
 * luma, offset of colour: slow light, auto exposure, white balance). Below notice: what a block's
 * noise explains, learnt from frame to frame and never above a ceiling, and what codecs flicker. A
 * slow change adds up against what was sent, so it is noticed as well.
 */
#ifndef WHEN_PIPELINE_GATE_H
#define WHEN_PIPELINE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Gate Gate;

typedef struct GateOptions {
    int cell_px;
    float sensitivity;  /* 1; 2: half the change suffices */
    int64_t refresh_us; /* all cells count as changed at least so often, by pts */
} GateOptions;

typedef struct GateLook {
    const uint8_t *cells; /* [(n_cells + 7) / 8] bitmap, row after row, lowest bit first, 1 = keep;
                             borrowed until the next call */
    size_t n_cells, n_kept;
    size_t n_changed; /* of those kept; the others only refreshed */
    bool refreshed;   /* all are kept because it was time, or the first frame of its kind */
} GateLook;

Gate *gate_new(const GateOptions *options); /* NULL: no memory */
void gate_free(Gate *gate);

/* rgb [height, width, 3], both sides multiples of cell_px. Cells kept count as sent. Another size,
 * or a pts that goes back, begins anew. Allocates only when the size changes. 0 or -ENOMEM. */
int gate_look(Gate *gate, int64_t pts_us, const uint8_t *rgb, int width, int height,
              GateLook *look);

/* What was sent was lost: the next frame counts as changed altogether. */
void gate_reset(Gate *gate);

#endif

/*
 * Windows: the frames of one camera, cut into overlapping stretches for the model, and the way back
 * from the model's seconds to UTC. Pure: no clock, no I/O.
 *
 * A run is a stretch of frames without a break; a break is a new session, another picture size, or
 * a hole in pts. Windows of a run are window_us long and overlap by overlap_us; the last one ends
 * with the run, and a rest of less than rest_us joins it (so a window may be that much longer).
 * "pts" counts only within a session.
 */
#ifndef WHEN_DAEMON_WINDOW_H
#define WHEN_DAEMON_WINDOW_H

#include "daemon/pixels.h"
#include "daemon/segmenter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct WindowFrame {
    int64_t pts_us;
    int64_t utc_us, utc_err_us;
    int utc_source; /* UtcSource */
    uint32_t width, height;
    uint64_t session;
    float motion;
    Pixels *pixels; /* counted; may be NULL in tests */
} WindowFrame;

typedef enum WindowEnd {
    WINDOW_GOES_ON, /* the next window of the run follows */
    WINDOW_BREAK,   /* last of its run: a new session, a hole, another size */
    WINDOW_LAST     /* nothing more comes for now: the file is over, the stream is silent */
} WindowEnd;

typedef struct Window {
    WindowFrame *frames; /* [n], n > 0, owned */
    size_t n;
    int64_t end_pts_us;     /* looked at: [frames[0].pts_us, end_pts_us) */
    int64_t settled_pts_us; /* where the next window of the run starts; end_pts_us if none does */
    WindowEnd end;
} Window;

void window_deinit(Window *window); /* safe on zeroed */

/* UTC at a pts: piecewise linear between the window's frames, one to one outside of them. */
int64_t window_utc_us(const Window *window, int64_t pts_us);
int64_t window_start_us(const Window *window);
int64_t window_end_us(const Window *window);
int64_t window_settled_us(const Window *window);
double window_fps(const Window *window); /* density of its frames; 0 for a single one */
size_t window_bytes(const Window *window);

/* What a model answered, in seconds from the first frame's pts, as UTC, clipped to the window. The
 * error of a boundary: half the local frame spacing + the frames' own error + rounding of mm:ss.ff
 * + boundary_error_us. -EINVAL when a number is not finite, -ERANGE when all of it lies outside of
 * the window. description is borrowed. */
int window_interval(const Window *window, double start_s, double end_s, double confidence,
                    const char *description, int64_t boundary_error_us,
                    SegmenterInterval *interval);

/* The clock of `session` is known better: utc = pts + utc_minus_pts_us for its frames that have not
 * got their time from `utc_source` already. */
void window_retime(Window *window, uint64_t session, int64_t utc_minus_pts_us, int64_t utc_err_us,
                   int utc_source);

typedef struct Cutter Cutter;

typedef struct CutterOptions {
    int64_t window_us, overlap_us; /* 0 <= overlap_us < window_us */
    int64_t gap_us;                /* a hole this long in pts ends the run */
    int64_t rest_us;
    size_t max_frames; /* a window is cut early rather than pass these: memory stays bounded */
    size_t max_bytes;
} CutterOptions;

enum { CUTTER_NOTHING = 1, CUTTER_STALE = 2 };

Cutter *cutter_new(const CutterOptions *options); /* NULL: no memory */
void cutter_free(Cutter *cutter);

/* Takes over the frame's hold on its pixels, whatever is returned: 0, CUTTER_STALE when its pts is
 * not above the last one's (it is left out), -ENOMEM. */
int cutter_add(Cutter *cutter, const WindowFrame *frame);

/* Nothing more comes for now: what is buffered becomes windows, the last one WINDOW_LAST. 0 or
 * -ENOMEM. */
int cutter_end(Cutter *cutter);

/* The next finished window, handed over; or CUTTER_NOTHING. */
int cutter_take(Cutter *cutter, Window *window);

void cutter_retime(Cutter *cutter, uint64_t session, int64_t utc_minus_pts_us, int64_t utc_err_us,
                   int utc_source);

size_t cutter_frames(const Cutter *cutter); /* buffered, finished windows not counted */

#endif

/* Windows of frames. See window.h. */
#include "daemon/window.h"

#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How long a lone frame stands for, and the most that a run's last frame does. */
#define LONE_FRAME_US (US_PER_S / 2)
#define LAST_FRAME_US US_PER_S
/* The model writes hundredths of a second. */
#define ROUNDING_US   5000

typedef struct Ready {
    Window window;
    struct Ready *next;
} Ready;

struct Cutter {
    CutterOptions options;
    WindowFrame *frames; /* [n], the run that is being filled */
    size_t n, capacity;
    size_t bytes;
    bool any; /* last_session and last_pts_us are known */
    uint64_t last_session;
    int64_t last_pts_us;
    Ready *first, **tail; /* finished windows, oldest first */
};

void window_deinit(Window *window)
{
    for (size_t i = 0; i < window->n; i++)
        pixels_unref(window->frames[i].pixels);
    free(window->frames);
    *window = (Window){0};
}

/* The last frame at or before pts (0 when pts lies before all). */
static size_t frame_at(const Window *window, int64_t pts_us)
{
    size_t low = 0, high = window->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (window->frames[middle].pts_us <= pts_us)
            low = middle;
        else
            high = middle;
    }
    return low;
}

int64_t window_utc_us(const Window *window, int64_t pts_us)
{
    assert(window->n > 0);
    size_t i = frame_at(window, pts_us);
    const WindowFrame *a = &window->frames[i];
    if (pts_us <= a->pts_us || i + 1 == window->n)
        return a->utc_us + (pts_us - a->pts_us);
    const WindowFrame *b = a + 1;
    double share = (double)(pts_us - a->pts_us) / (double)(b->pts_us - a->pts_us);
    return a->utc_us + (int64_t)llround(share * (double)(b->utc_us - a->utc_us));
}

int64_t window_start_us(const Window *window)
{
    return window->frames[0].utc_us;
}

int64_t window_end_us(const Window *window)
{
    return window_utc_us(window, window->end_pts_us);
}

int64_t window_settled_us(const Window *window)
{
    return window_utc_us(window, window->settled_pts_us);
}

double window_fps(const Window *window)
{
    int64_t span = window->frames[window->n - 1].pts_us - window->frames[0].pts_us;
    return span > 0 ? (double)(window->n - 1) * (double)US_PER_S / (double)span : 0.0;
}

size_t window_bytes(const Window *window)
{
    size_t bytes = 0;
    for (size_t i = 0; i < window->n; i++)
        bytes += pixels_bytes(window->frames[i].pixels);
    return bytes;
}

/* How far the UTC of a boundary at this pts may be off. */
static int64_t error_at(const Window *window, int64_t pts_us)
{
    size_t i = frame_at(window, pts_us);
    const WindowFrame *a = &window->frames[i];
    const WindowFrame *b = i + 1 < window->n ? a + 1 : a;
    int64_t spacing;
    if (a != b)
        spacing = b->pts_us - a->pts_us;
    else if (i > 0)
        spacing = a->pts_us - a[-1].pts_us;
    else
        spacing = window->end_pts_us - a->pts_us;
    int64_t clock = a->utc_err_us > b->utc_err_us ? a->utc_err_us : b->utc_err_us;
    return spacing / 2 + clock + ROUNDING_US;
}

static int64_t clip(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

int window_interval(const Window *window, double start_s, double end_s, double confidence,
                    const char *description, int64_t boundary_error_us, SegmenterInterval *interval)
{
    if (!isfinite(start_s) || !isfinite(end_s) || !isfinite(confidence))
        return -EINVAL;
    int64_t first = window->frames[0].pts_us, last = window->end_pts_us;
    /* A year is more than any window: the product below cannot overflow. */
    double year = 366.0 * 86400.0;
    int64_t start = first + llround(fmax(-year, fmin(year, start_s)) * (double)US_PER_S);
    int64_t end = first + llround(fmax(-year, fmin(year, end_s)) * (double)US_PER_S);
    if (end < start) {
        int64_t swap = start;
        start = end;
        end = swap;
    }
    if (end < first || start > last)
        return -ERANGE;
    start = clip(start, first, last);
    end = clip(end, first, last);
    *interval = (SegmenterInterval){
        .start_us = window_utc_us(window, start),
        .end_us = window_utc_us(window, end),
        .start_err_us = error_at(window, start) + boundary_error_us,
        .end_err_us = error_at(window, end) + boundary_error_us,
        .confidence = fmax(0.0, fmin(1.0, confidence)),
        .description = description,
    };
    return 0;
}

static void retime(WindowFrame *frames, size_t n, uint64_t session, int64_t utc_minus_pts_us,
                   int64_t utc_err_us, int utc_source)
{
    for (size_t i = 0; i < n; i++) {
        WindowFrame *f = &frames[i];
        if (f->session != session || f->utc_source == utc_source)
            continue;
        f->utc_us = f->pts_us + utc_minus_pts_us;
        f->utc_err_us = utc_err_us;
        f->utc_source = utc_source;
    }
}

void window_retime(Window *window, uint64_t session, int64_t utc_minus_pts_us, int64_t utc_err_us,
                   int utc_source)
{
    retime(window->frames, window->n, session, utc_minus_pts_us, utc_err_us, utc_source);
}

Cutter *cutter_new(const CutterOptions *options)
{
    assert(options->window_us > 0 && options->overlap_us >= 0 &&
           options->overlap_us < options->window_us);
    assert(options->max_frames >= 2);
    Cutter *cutter = calloc(1, sizeof *cutter);
    if (!cutter)
        return NULL;
    cutter->options = *options;
    cutter->tail = &cutter->first;
    return cutter;
}

void cutter_free(Cutter *cutter)
{
    if (!cutter)
        return;
    for (size_t i = 0; i < cutter->n; i++)
        pixels_unref(cutter->frames[i].pixels);
    free(cutter->frames);
    while (cutter->first) {
        Ready *next = cutter->first->next;
        window_deinit(&cutter->first->window);
        free(cutter->first);
        cutter->first = next;
    }
    free(cutter);
}

size_t cutter_frames(const Cutter *cutter)
{
    return cutter->n;
}

/* The first n frames become a finished window; those from `keep` on stay for the next one. */
static int finish_window(Cutter *cutter, size_t n, size_t keep, int64_t end_pts_us,
                         int64_t settled_pts_us, WindowEnd end)
{
    assert(n > 0 && keep > 0 && keep <= cutter->n);
    Ready *ready = calloc(1, sizeof *ready);
    WindowFrame *frames = mem_new_array(n, sizeof *frames);
    if (!ready || !frames) {
        free(ready);
        free(frames);
        return -ENOMEM;
    }
    memcpy(frames, cutter->frames, n * sizeof *frames);
    for (size_t i = 0; i < n; i++)
        pixels_ref(frames[i].pixels);
    ready->window = (Window){frames, n, end_pts_us, settled_pts_us, end};
    *cutter->tail = ready;
    cutter->tail = &ready->next;

    for (size_t i = 0; i < keep; i++) {
        cutter->bytes -= pixels_bytes(cutter->frames[i].pixels);
        pixels_unref(cutter->frames[i].pixels);
    }
    cutter->n -= keep;
    memmove(cutter->frames, cutter->frames + keep, cutter->n * sizeof *cutter->frames);
    return 0;
}

/* One full window from the front of a run that reaches beyond it. */
static int cut_full(Cutter *cutter)
{
    const WindowFrame *f = cutter->frames;
    int64_t limit = f[0].pts_us + cutter->options.window_us;
    int64_t restart = limit - cutter->options.overlap_us;
    size_t n = 1, keep = 1;
    while (f[n].pts_us < limit)
        n++;
    while (keep < n && f[keep].pts_us < restart)
        keep++;
    return finish_window(cutter, n, keep, f[n].pts_us, f[keep].pts_us, WINDOW_GOES_ON);
}

/* All but the newest frame, because the bounds are reached; at least half of them is new next time,
 * so that this ends. */
static int cut_early(Cutter *cutter)
{
    const WindowFrame *f = cutter->frames;
    size_t n = cutter->n - 1, keep = (n + 1) / 2;
    while (keep < n && f[keep].pts_us < f[n].pts_us - cutter->options.overlap_us)
        keep++;
    return finish_window(cutter, n, keep, f[n].pts_us, f[keep].pts_us, WINDOW_GOES_ON);
}

static int64_t run_us(const Cutter *cutter)
{
    return cutter->frames[cutter->n - 1].pts_us - cutter->frames[0].pts_us;
}

static int end_run(Cutter *cutter, WindowEnd end)
{
    while (cutter->n > 0) {
        int r;
        if (run_us(cutter) >= cutter->options.window_us + cutter->options.rest_us) {
            r = cut_full(cutter);
        } else {
            size_t n = cutter->n;
            const WindowFrame *last = &cutter->frames[n - 1];
            int64_t stands_us = n > 1 ? last->pts_us - last[-1].pts_us : LONE_FRAME_US;
            int64_t end_pts_us = last->pts_us + clip(stands_us, 1, LAST_FRAME_US);
            r = finish_window(cutter, n, n, end_pts_us, end_pts_us, end);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static bool breaks_run(const Cutter *cutter, const WindowFrame *frame)
{
    if (frame->session != cutter->last_session)
        return true;
    int64_t step = frame->pts_us - cutter->last_pts_us;
    if (step > cutter->options.gap_us || step < -cutter->options.gap_us)
        return true;
    const WindowFrame *last = cutter->n ? &cutter->frames[cutter->n - 1] : NULL;
    return last && (frame->width != last->width || frame->height != last->height);
}

int cutter_add(Cutter *cutter, const WindowFrame *frame)
{
    int r = 0;
    if (cutter->any && breaks_run(cutter, frame))
        r = end_run(cutter, WINDOW_BREAK);
    else if (cutter->any && frame->pts_us <= cutter->last_pts_us)
        r = CUTTER_STALE;
    void *frames = cutter->frames;
    if (r == 0)
        r = mem_grow(&frames, &cutter->capacity, cutter->n + 1, sizeof *cutter->frames);
    cutter->frames = frames;
    if (r != 0) {
        pixels_unref(frame->pixels);
        return r;
    }
    cutter->frames[cutter->n++] = *frame;
    cutter->bytes += pixels_bytes(frame->pixels);
    cutter->any = true;
    cutter->last_session = frame->session;
    cutter->last_pts_us = frame->pts_us;

    /* A window waits until the rest behind it is known to be worth a window of its own. */
    while (r == 0 && run_us(cutter) >= cutter->options.window_us + cutter->options.rest_us)
        r = cut_full(cutter);
    while (r == 0 && cutter->n > 1 &&
           (cutter->n > cutter->options.max_frames || cutter->bytes > cutter->options.max_bytes))
        r = cut_early(cutter);
    return r;
}

int cutter_end(Cutter *cutter)
{
    return end_run(cutter, WINDOW_LAST);
}

int cutter_take(Cutter *cutter, Window *window)
{
    Ready *ready = cutter->first;
    if (!ready)
        return CUTTER_NOTHING;
    cutter->first = ready->next;
    if (!cutter->first)
        cutter->tail = &cutter->first;
    *window = ready->window;
    free(ready);
    return 0;
}

void cutter_retime(Cutter *cutter, uint64_t session, int64_t utc_minus_pts_us, int64_t utc_err_us,
                   int utc_source)
{
    retime(cutter->frames, cutter->n, session, utc_minus_pts_us, utc_err_us, utc_source);
    for (Ready *ready = cutter->first; ready; ready = ready->next)
        window_retime(&ready->window, session, utc_minus_pts_us, utc_err_us, utc_source);
}

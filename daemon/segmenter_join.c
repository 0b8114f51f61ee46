/*
 * Joining one window to the earlier ones. See segmenter_join.h.
 *
 * Two windows that overlap in [w0, c1] (w0: the new one's start, c1: the earlier one's end) are
 * both bad at their own edges, so each is believed on its own side of the middle, boundary by
 * boundary:
 *
 *      earlier  ...--------------------|c1
 *      new                  w0|--------------------...
 *      better seen by   earlier   |   new
 */
#include "daemon/segmenter_join.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CUT_US     INT64_C(500000)  /* a boundary this near to a window's edge is a cut */
#define CUT_MAX_US INT64_C(1000000) /* ... or nearer than its own error, up to this */

static int64_t min_us(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_us(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t seen_clamp(int64_t us)
{
    return max_us(-SEEN_LIMIT_US, min_us(us, SEEN_LIMIT_US));
}

bool seen_overlap(const Seen *a, const Seen *b)
{
    return max_us(a->start.us, b->start.us) <= min_us(a->end.us, b->end.us);
}

/* How near to the window's edge a boundary of this error is a cut. Never more than an eighth of the
 * window, or a short window would have nothing but cuts. */
static int64_t cut_us(const Sight *sight, int64_t err_us)
{
    int64_t near = max_us(CUT_US, min_us(err_us, CUT_MAX_US));
    return min_us(near, (sight->end_us - sight->start_us) / 8);
}

static int64_t depth(const Sight *sight, int64_t us)
{
    return min_us(us - sight->start_us, sight->end_us - us);
}

static int64_t earlier_depth(const Sight *sight, int64_t us)
{
    if (!sight->has_earlier)
        return -1;
    return min_us(us - sight->earlier_start_us, sight->earlier_end_us - us);
}

/* Where the new window begins to see better than the earlier one. */
static int64_t middle(const Sight *sight)
{
    return sight->start_us + (sight->earlier_end_us - sight->start_us) / 2;
}

static bool windows_overlap(const Sight *sight)
{
    return sight->has_earlier && sight->earlier_start_us <= sight->start_us &&
           sight->start_us < sight->earlier_end_us;
}

bool sight_denies_event(const Sight *sight, const Seen *event)
{
    return windows_overlap(sight) && event->end.cut && event->start.us >= middle(sight) &&
           event->end.us <= sight->end_us;
}

bool sight_denies_interval(const Sight *sight, const Seen *interval)
{
    return windows_overlap(sight) && interval->start.cut && interval->end.us <= middle(sight);
}

static int by_start(const void *a, const void *b)
{
    const Seen *x = a, *y = b;
    if (x->start.us != y->start.us)
        return x->start.us < y->start.us ? -1 : 1;
    return (x->end.us > y->end.us) - (x->end.us < y->end.us);
}

static Edge edge_of(const Sight *sight, int64_t us, int64_t err_us, int64_t window_edge_us)
{
    Edge edge = {.us = us, .err_us = min_us(max_us(err_us, 0), SEEN_LIMIT_US), .reach_us = us};
    edge.cut = llabs(us - window_edge_us) <= cut_us(sight, edge.err_us);
    edge.reach_us = edge.cut ? window_edge_us : us;
    edge.depth_us = edge.cut ? 0 : max_us(depth(sight, us), 0);
    return edge;
}

/* As many whole UTF-8 characters of text as fit. */
static void copy_text(char out[EVENT_DESCRIPTION_BYTES], const char *text)
{
    size_t n = text ? strnlen(text, EVENT_DESCRIPTION_BYTES) : 0;
    if (n == EVENT_DESCRIPTION_BYTES) {
        n--;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
    }
    if (n > 0)
        memcpy(out, text, n);
    memset(out + n, 0, EVENT_DESCRIPTION_BYTES - n);
}

static bool better(const Seen *a, const Seen *b)
{
    if (a->best_depth_us != b->best_depth_us)
        return a->best_depth_us > b->best_depth_us;
    return a->best_length_us > b->best_length_us;
}

void seen_take_best(Seen *into, const Seen *from)
{
    if (!better(from, into))
        return;
    into->best_depth_us = from->best_depth_us;
    into->best_length_us = from->best_length_us;
    into->confidence = from->confidence;
    memcpy(into->description, from->description, sizeof into->description);
}

static void rate(Seen *seen)
{
    seen->best_depth_us = min_us(seen->start.depth_us, seen->end.depth_us);
    seen->best_length_us = seen->end.us - seen->start.us;
}

size_t seen_read(const Sight *sight, const SegmenterInterval *intervals, size_t n, Seen *seen)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const SegmenterInterval *in = &intervals[i];
        bool reversed = in->start_us > in->end_us;
        int64_t start = seen_clamp(reversed ? in->end_us : in->start_us);
        int64_t end = seen_clamp(reversed ? in->start_us : in->end_us);
        if (end < sight->start_us || start > sight->end_us)
            continue;
        start = max_us(start, sight->start_us);
        end = min_us(end, sight->end_us);
        Seen *s = &seen[count++];
        s->start =
            edge_of(sight, start, reversed ? in->end_err_us : in->start_err_us, sight->start_us);
        s->end = edge_of(sight, end, reversed ? in->start_err_us : in->end_err_us, sight->end_us);
        s->confidence = in->confidence >= 0 ? (in->confidence <= 1 ? in->confidence : 1) : 0;
        copy_text(s->description, in->description);
        rate(s);
    }
    qsort(seen, count, sizeof *seen, by_start);
    size_t joined = 0;
    for (size_t i = 0; i < count; i++) {
        if (joined > 0 && seen[i].start.us - seen[joined - 1].end.us <= sight->join_gap_us) {
            Seen *last = &seen[joined - 1];
            if (seen[i].best_length_us > last->best_length_us) {
                last->best_length_us = seen[i].best_length_us;
                last->confidence = seen[i].confidence;
                memcpy(last->description, seen[i].description, sizeof last->description);
            }
            if (seen[i].end.us > last->end.us)
                last->end = seen[i].end;
        } else {
            if (joined != i)
                seen[joined] = seen[i];
            joined++;
        }
    }
    for (size_t i = 0; i < joined; i++)
        rate(&seen[i]);
    return joined;
}

/* The start of something that both windows saw. */
static Edge pick_start(const Sight *sight, const Edge *event, const Edge *interval)
{
    if (event->us < sight->start_us + cut_us(sight, 0))
        return *event; /* out of the new window's sight */
    return interval->depth_us > event->depth_us ? *interval : *event;
}

static Edge pick_end(const Sight *sight, const Edge *event, const Edge *interval)
{
    if (!sight->has_earlier || interval->us > sight->earlier_end_us - cut_us(sight, 0))
        return *interval; /* out of the earlier window's sight */
    return interval->depth_us > event->depth_us ? *interval : *event;
}

/* A stretch in which the thing does not happen, between two in which it does. */
typedef struct Gap {
    Edge from, to;
} Gap;

static bool gap_is(const Gap *gap)
{
    return gap->from.us < gap->to.us;
}

static int64_t gap_middle(const Gap *gap)
{
    return gap->from.us + (gap->to.us - gap->from.us) / 2;
}

/* The new window saw the thing go on where the earlier one saw a gap: keep two events unless both
 * lie in the new window and it sees the gap better. */
static bool keep_event_gap(const Sight *sight, const Gap *gap, const Seen *before,
                           const Seen *after)
{
    bool both_inside = before->start.us >= sight->start_us && after->end.us <= sight->end_us;
    int64_t at = gap_middle(gap);
    return !(both_inside && depth(sight, at) > earlier_depth(sight, at));
}

static bool keep_interval_gap(const Sight *sight, const Gap *gap)
{
    int64_t at = gap_middle(gap);
    return depth(sight, at) > earlier_depth(sight, at);
}

static Gap join_gaps(const Sight *sight, const Gap *event_gap, const Gap *interval_gap)
{
    Gap both = {pick_end(sight, &event_gap->from, &interval_gap->from),
                pick_start(sight, &event_gap->to, &interval_gap->to)};
    if (both.to.us - both.from.us > sight->join_gap_us)
        return both;
    return keep_interval_gap(sight, interval_gap) ? *interval_gap : *event_gap;
}

/* Keeps gaps in order and apart from each other: those that overlap become one. */
static size_t add_gap(Seen *out, size_t n, const Gap *gap)
{
    /* A gap lies between out[n].end and out[n + 1].start; all gaps come in order of `from`. */
    if (n > 0 && gap->from.us <= out[n].start.us) {
        if (gap->to.us > out[n].start.us)
            out[n].start = gap->to;
        return n;
    }
    out[n].end = gap->from;
    out[n + 1].start = gap->to;
    return n + 1;
}

/* The earlier window saw it end just where the new one begins, and the new one sees it go on: that
 * end is at the new window's edge, where the new one cannot confirm it, and it is gainsaid. */
static bool goes_on(const Sight *sight, const Seen *event, const Seen *interval)
{
    return interval->start.cut && event->end.us <= sight->start_us + cut_us(sight, 0) &&
           !sight_denies_interval(sight, interval);
}

static void outline(const Sight *sight, const Seen *const *events, size_t n_events,
                    const Seen *intervals, size_t n_intervals, Edge *start, Edge *end)
{
    const Seen *e0 = events[0], *i0 = &intervals[0];
    const Seen *e1 = events[n_events - 1], *i1 = &intervals[n_intervals - 1];
    if (n_events == 1 && n_intervals == 1 && !seen_overlap(e0, i0)) {
        /* Near, but apart. One of them may be an error of a window's edge. */
        const Seen *only = sight_denies_event(sight, e0)      ? i0
                           : sight_denies_interval(sight, i0) ? e0
                                                              : NULL;
        *start = only ? only->start : e0->start.us <= i0->start.us ? e0->start : i0->start;
        *end = only ? only->end : e0->end.us >= i0->end.us ? e0->end : i0->end;
        return;
    }
    if (seen_overlap(e0, i0))
        *start = pick_start(sight, &e0->start, &i0->start);
    else
        *start = e0->start.us <= i0->start.us ? e0->start : i0->start;
    if (seen_overlap(e1, i1) && !goes_on(sight, e1, i1))
        *end = pick_end(sight, &e1->end, &i1->end);
    else
        *end = e1->end.us >= i1->end.us ? e1->end : i1->end;
}

size_t sight_join(const Sight *sight, const Seen *const *events, size_t n_events,
                  const Seen *intervals, size_t n_intervals, Seen *out)
{
    assert(n_events > 0 && n_intervals > 0);
    Edge start, end;
    outline(sight, events, n_events, intervals, n_intervals, &start, &end);
    memset(out, 0, sizeof *out * (n_events + n_intervals));
    out[0].start = start;
    size_t n = 0;
    size_t e = 0, i = 0;
    while (e + 1 < n_events || i + 1 < n_intervals) {
        Gap event_gap = {0}, interval_gap = {0};
        bool has_event_gap = e + 1 < n_events, has_interval_gap = i + 1 < n_intervals;
        if (has_event_gap) {
            event_gap = (Gap){events[e]->end, events[e + 1]->start};
            if (!gap_is(&event_gap)) { /* restored events may touch */
                e++;
                continue;
            }
        }
        if (has_interval_gap)
            interval_gap = (Gap){intervals[i].end, intervals[i + 1].start};
        bool together = has_event_gap && has_interval_gap &&
                        max_us(event_gap.from.us, interval_gap.from.us) <
                            min_us(event_gap.to.us, interval_gap.to.us);
        if (together) {
            Gap gap = join_gaps(sight, &event_gap, &interval_gap);
            n = add_gap(out, n, &gap);
            e++;
            i++;
        } else if (has_event_gap &&
                   (!has_interval_gap || event_gap.from.us < interval_gap.from.us)) {
            if (keep_event_gap(sight, &event_gap, events[e], events[e + 1]))
                n = add_gap(out, n, &event_gap);
            e++;
        } else {
            if (keep_interval_gap(sight, &interval_gap))
                n = add_gap(out, n, &interval_gap);
            i++;
        }
    }
    out[n].end = end;
    return n + 1;
}

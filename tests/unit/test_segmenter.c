/*
 * daemon/segmenter: single cases, and properties over random truths: the same truth cut into
 * different windows gives the same events, absurd input breaks no invariant, a sink that fails
 * changes nothing, a restart keeps the ids.
 */
#include "daemon/segmenter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S(x) ((int64_t)((x)*1e6))

enum { MOST = 512 };

/* What was handed out: every revision checked, the newest of each event kept. */
typedef struct Heard {
    Event events[MOST];
    size_t n;
    size_t revisions, retracted;
    long fail_after; /* this many calls succeed; < 0: all */
} Heard;

static int hear(const Event *event, void *context)
{
    Heard *heard = context;
    if (heard->fail_after == 0)
        return -5;
    if (heard->fail_after > 0)
        heard->fail_after--;
    assert_true(event->start_us <= event->end_us);
    assert_true(event->confidence >= 0 && event->confidence <= 1);
    assert_true(event->start_err_us >= 0 && event->end_err_us >= 0);
    heard->revisions++;
    for (size_t i = 0; i < heard->n; i++) {
        Event *known = &heard->events[i];
        if (strcmp(known->id, event->id) != 0)
            continue;
        assert_int_equal(event->revision, known->revision + 1);
        assert_int_equal(known->state, EVENT_OPEN);
        bool changed =
            event->state != known->state || event->start_us != known->start_us ||
            event->end_us != known->end_us || event->start_err_us != known->start_err_us ||
            event->end_err_us != known->end_err_us || event->confidence != known->confidence ||
            strcmp(event->description, known->description) != 0;
        assert_true(changed);
        *known = *event;
        return 0;
    }
    assert_int_equal(event->revision, 1);
    assert_true(heard->n < MOST);
    heard->events[heard->n++] = *event;
    return 0;
}

static Segmenter *make(double join_gap_s, double min_duration_s)
{
    SegmenterOptions options = {.camera = "gate",
                                .watch = "car",
                                .id_prefix = "e",
                                .next_id = 1,
                                .join_gap_us = S(join_gap_s),
                                .min_duration_us = S(min_duration_s)};
    Segmenter *segmenter = segmenter_new(&options);
    assert_non_null(segmenter);
    return segmenter;
}

typedef struct Span {
    double start, end;
} Span;

/* A window with intervals of 0.1 s error each. */
static int feed(Segmenter *segmenter, Heard *heard, double start, double end, double settled,
                const Span *spans, size_t n)
{
    SegmenterInterval intervals[64];
    for (size_t i = 0; i < n; i++)
        intervals[i] = (SegmenterInterval){.start_us = S(spans[i].start),
                                           .end_us = S(spans[i].end),
                                           .start_err_us = S(0.1),
                                           .end_err_us = S(0.1),
                                           .confidence = 0.9,
                                           .description = "a red car"};
    SegmenterWindow window = {S(start), S(end), S(settled), intervals, n};
    return segmenter_add(segmenter, &window, hear, heard);
}

static const Event *nth(const Heard *heard, EventState state, size_t n)
{
    for (size_t i = 0; i < heard->n; i++)
        if (heard->events[i].state == state && n-- == 0)
            return &heard->events[i];
    return NULL;
}

static size_t count(const Heard *heard, EventState state)
{
    size_t n = 0;
    while (nth(heard, state, n))
        n++;
    return n;
}

static void is_event(const Event *event, EventState state, double start, double end)
{
    assert_non_null(event);
    assert_int_equal(event->state, state);
    assert_int_equal(event->start_us, S(start));
    assert_int_equal(event->end_us, S(end));
}

static void cut_event_is_joined(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0.5, 0);
    Heard heard = {.fail_after = -1};
    feed(segmenter, &heard, 0, 16, 12, &(Span){10, 16}, 1);
    is_event(&heard.events[0], EVENT_OPEN, 10, 16);
    assert_string_equal(heard.events[0].id, "e-1");
    assert_string_equal(heard.events[0].camera, "gate");
    feed(segmenter, &heard, 12, 28, 24, &(Span){12, 20}, 1);
    assert_int_equal(heard.n, 1);
    is_event(&heard.events[0], EVENT_FINAL, 10, 20);
    assert_int_equal(heard.events[0].revision, 2);
    assert_int_equal(segmenter_next_id(segmenter), 2);
    segmenter_free(segmenter);
}

static void each_boundary_from_the_window_that_saw_it_best(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0.5, 0);
    Heard heard = {.fail_after = -1};
    /* The start at 12.9 is deeper in the first window, the end at 15.2 deeper in the second. */
    feed(segmenter, &heard, 0, 16, 12, &(Span){12.9, 15.5}, 1);
    feed(segmenter, &heard, 12, 28, 24, &(Span){12.6, 15.2}, 1);
    assert_int_equal(heard.n, 1);
    is_event(&heard.events[0], EVENT_FINAL, 12.9, 15.2);
    /* the other way round: an end near the second's edge, a start near the first's */
    feed(segmenter, &heard, 24, 40, 36, (Span[]){{30, 37}, {38.9, 40}}, 2);
    feed(segmenter, &heard, 36, 52, 48, (Span[]){{36, 37.3}, {39.1, 44}}, 2);
    assert_int_equal(heard.n, 3);
    is_event(&heard.events[1], EVENT_FINAL, 30, 37);
    is_event(&heard.events[2], EVENT_FINAL, 39.1, 44);
    segmenter_free(segmenter);
}

/* The earlier window saw it end just where the later one begins, and the later one sees it go on.
 */
static void end_at_the_later_windows_edge_is_gainsaid(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0.5, 0);
    Heard heard = {.fail_after = -1};
    feed(segmenter, &heard, 0, 16, 12, &(Span){9.5, 12}, 1);
    feed(segmenter, &heard, 12, 28, 24, &(Span){12, 14.5}, 1);
    assert_int_equal(heard.n, 1);
    is_event(&heard.events[0], EVENT_FINAL, 9.5, 14.5);
    segmenter_free(segmenter);

    segmenter = make(0.5, 0); /* a sliver in the half that the earlier window sees better: denied */
    heard = (Heard){.fail_after = -1};
    feed(segmenter, &heard, 0, 16, 12, &(Span){9.5, 12}, 1);
    feed(segmenter, &heard, 12, 28, 24, &(Span){12, 13}, 1);
    assert_int_equal(heard.n, 1);
    is_event(&heard.events[0], EVENT_FINAL, 9.5, 12);
    segmenter_free(segmenter);
}

static void slivers_at_window_edges_are_errors(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0.5, 0);
    Heard heard = {.fail_after = -1};
    feed(segmenter, &heard, 0, 16, 12, &(Span){15.2, 16}, 1);
    is_event(&heard.events[0], EVENT_OPEN, 15.2, 16);
    feed(segmenter, &heard, 12, 28, 24, NULL, 0);
    assert_int_equal(heard.events[0].state, EVENT_RETRACTED);
    /* the other side: the earlier window saw [24, 28] and nothing in it */
    feed(segmenter, &heard, 24, 40, 36, &(Span){24, 25}, 1);
    assert_int_equal(heard.n, 1);
    segmenter_free(segmenter);
}

static void inner_events_are_kept_though_one_window_denies_them(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0.5, 0);
    Heard heard = {.fail_after = -1};
    feed(segmenter, &heard, 0, 16, 12, &(Span){12.6, 14}, 1);
    feed(segmenter, &heard, 12, 28, 24, NULL, 0);
    is_event(&heard.events[0], EVENT_FINAL, 12.6, 14);
    feed(segmenter, &heard, 24, 40, 36, &(Span){26, 27.5}, 1);
    is_event(&heard.events[1], EVENT_FINAL, 26, 27.5);
    /* began before the second window: no sliver, stays as far as it was seen */
    feed(segmenter, &heard, 36, 52, 48, &(Span){46, 52}, 1);
    feed(segmenter, &heard, 48, 64, 60, NULL, 0);
    is_event(&heard.events[2], EVENT_FINAL, 46, 52);
    segmenter_free(segmenter);
}

static void bridging_keeps_two(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0.5, 0);
    Heard heard = {.fail_after = -1};
    feed(segmenter, &heard, 0, 16, 12, (Span[]){{9, 12.5}, {14, 16}}, 2);
    feed(segmenter, &heard, 12, 28, 24, &(Span){12, 20}, 1);
    assert_int_equal(count(&heard, EVENT_FINAL), 2);
    is_event(&heard.events[0], EVENT_FINAL, 9, 12.5);
    is_event(&heard.events[1], EVENT_FINAL, 14, 20);
    segmenter_free(segmenter);

    /* both inside what the second window saw, the gap better seen by it: one event */
    segmenter = make(0.5, 0);
    Heard other = {.fail_after = -1};
    feed(segmenter, &other, 0, 16, 12, (Span[]){{13, 14.2}, {15, 16}}, 2);
    feed(segmenter, &other, 12, 28, 24, &(Span){13.1, 20}, 1);
    assert_int_equal(count(&other, EVENT_RETRACTED), 1);
    is_event(&other.events[0], EVENT_FINAL, 13, 20);
    segmenter_free(segmenter);
}

static void gap_seen_by_the_later_window_splits(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0.5, 0);
    Heard heard = {.fail_after = -1};
    feed(segmenter, &heard, 0, 16, 12, &(Span){5, 16}, 1);
    feed(segmenter, &heard, 12, 28, 24, (Span[]){{12, 14.2}, {15.2, 20}}, 2);
    assert_int_equal(count(&heard, EVENT_FINAL), 2);
    is_event(nth(&heard, EVENT_FINAL, 0), EVENT_FINAL, 5, 14.2);
    is_event(nth(&heard, EVENT_FINAL, 1), EVENT_FINAL, 15.2, 20);
    segmenter_free(segmenter);
}

/* The earlier window, which sees better there, saw it go on. */
static void gap_at_the_later_windows_edge_is_none(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0.3, 0);
    Heard heard = {.fail_after = -1};
    feed(segmenter, &heard, 0, 16, 12, &(Span){5, 16}, 1);
    feed(segmenter, &heard, 12, 28, 24, (Span[]){{12, 12.8}, {13.3, 20}}, 2);
    assert_int_equal(heard.n, 1);
    is_event(&heard.events[0], EVENT_FINAL, 5, 20);
    segmenter_free(segmenter);
}

/* Of what an earlier run found only the index knows. */
static void cool_down_outlives_a_restart(void **state)
{
    (void)state;
    static const struct {
        Span seen;
        size_t events;
    } CASES[] = {
        {{24, 26}, 0},   /* within the cool-down */
        {{30.1, 33}, 1}, /* after it */
        {{20, 23}, 1},   /* at the window's begin: the rest of the earlier one */
        {{20.7, 23}, 0}, /* as near to its end, but begun in sight */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        SegmenterOptions options = {.camera = "gate",
                                    .watch = "car",
                                    .id_prefix = "e",
                                    .next_id = 8,
                                    .join_gap_us = S(0.5),
                                    .cool_down_us = S(10)};
        Segmenter *segmenter = segmenter_new(&options);
        assert_non_null(segmenter);
        Event earlier = {.id = "e-7", .revision = 2, .state = EVENT_FINAL};
        earlier.start_us = S(12);
        earlier.end_us = S(20);
        earlier.end_err_us = S(0.1);
        assert_int_equal(segmenter_restore(segmenter, &earlier), 0);
        earlier.start_us = earlier.end_us = S(3); /* an older one says nothing more */
        assert_int_equal(segmenter_restore(segmenter, &earlier), 0);
        Heard heard = {.fail_after = -1};
        feed(segmenter, &heard, 20, 36, 32, &CASES[i].seen, 1);
        assert_int_equal(segmenter_finish(segmenter, hear, &heard), 0);
        assert_int_equal(heard.n, CASES[i].events);
        /* What comes after segmenter_finish may be of any time. */
        feed(segmenter, &heard, 0, 12, 8, &(Span){4, 6}, 1);
        assert_int_equal(segmenter_finish(segmenter, hear, &heard), 0);
        assert_int_equal(heard.n, CASES[i].events + 1);
        segmenter_free(segmenter);
    }
}

static void short_ones_are_retracted_or_never_told(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0.2, 1.0);
    Heard heard = {.fail_after = -1};
    feed(segmenter, &heard, 0, 16, 12, (Span[]){{3, 3.5}, {13, 13.5}}, 2);
    assert_int_equal(heard.n, 1); /* [3, 3.5] was settled at once */
    is_event(&heard.events[0], EVENT_OPEN, 13, 13.5);
    assert_int_equal(segmenter_finish(segmenter, hear, &heard), 0);
    assert_int_equal(heard.events[0].state, EVENT_RETRACTED);
    segmenter_free(segmenter);
}

static void long_event_is_one(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0.5, 0);
    Heard heard = {.fail_after = -1};
    for (int i = 0; i < 300; i++)
        feed(segmenter, &heard, i * 12.0, i * 12.0 + 16, i * 12.0 + 12,
             &(Span){i * 12.0, i * 12.0 + 16}, 1);
    assert_int_equal(heard.n, 1);
    is_event(&heard.events[0], EVENT_OPEN, 0, 299 * 12.0 + 16);
    assert_int_equal(segmenter_finish(segmenter, hear, &heard), 0);
    assert_int_equal(heard.events[0].state, EVENT_FINAL);
    segmenter_free(segmenter);
}

static void windows_without_overlap_are_joined_at_the_edge(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0, 0);
    Heard heard = {.fail_after = -1};
    feed(segmenter, &heard, 0, 16, 16, &(Span){10, 15.8}, 1);
    feed(segmenter, &heard, 16, 32, 32, &(Span){16.1, 20}, 1);
    assert_int_equal(heard.n, 1);
    is_event(&heard.events[0], EVENT_FINAL, 10, 20);
    segmenter_free(segmenter);
}

static void confidence_of_the_best_window(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0.5, 0);
    Heard heard = {.fail_after = -1};
    SegmenterInterval cut = {S(11), S(16), S(0.1), S(0.1), 0.3, "something"};
    SegmenterInterval whole = {S(11.2), S(17), S(0.1), S(0.1), 0.8, "a red car drives past"};
    SegmenterWindow first = {0, S(16), S(8), &cut, 1}, second = {S(8), S(24), S(20), &whole, 1};
    assert_int_equal(segmenter_add(segmenter, &first, hear, &heard), 0);
    assert_int_equal(segmenter_add(segmenter, &second, hear, &heard), 0);
    is_event(&heard.events[0], EVENT_FINAL, 11, 17);
    assert_string_equal(heard.events[0].description, "a red car drives past");
    assert_true(heard.events[0].confidence == 0.8);
    segmenter_free(segmenter);
}

/* --- properties --- */

static uint64_t random_state;

static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static double uniform(double low, double high)
{
    return low + (high - low) * (double)(random_u64() >> 11) / 9007199254740992.0;
}

/* Events of 1-40 s, apart by more than the join gap and twice the noise. */
static size_t make_truth(Span *truth, double total)
{
    size_t n = 0;
    double t = uniform(0, 12);
    while (n < 40) {
        double length = uniform(0, 1) < 0.2 ? uniform(10, 40) : uniform(1, 6);
        if (t + length > total - 1)
            break;
        truth[n++] = (Span){t, t + length};
        t += length + uniform(1.8, 15);
    }
    return n;
}

static double near(double at, double low, double high, double noise)
{
    double t = at <= low ? low : at >= high ? high : at + uniform(-noise, noise);
    return t < low ? low : t > high ? high : t;
}

/* A model that sees everything within its window, each boundary off by up to `noise`. */
static void watch(Segmenter *segmenter, Heard *heard, const Span *truth, size_t n, double start,
                  double end, double settled, double noise)
{
    Span seen[64];
    size_t n_seen = 0;
    for (size_t i = 0; i < n; i++)
        if (truth[i].start < end && truth[i].end > start) {
            Span span = {near(truth[i].start, start, end, noise),
                         near(truth[i].end, start, end, noise)};
            seen[n_seen++] = span;
        }
    assert_int_equal(feed(segmenter, heard, start, end, settled, seen, n_seen), 0);
}

static void compare(const Heard *heard, const Span *truth, size_t n, double noise)
{
    assert_int_equal(count(heard, EVENT_OPEN), 0);
    assert_int_equal(count(heard, EVENT_FINAL), n);
    /* Events come out in order of start. */
    for (size_t i = 0; i < n; i++) {
        const Event *event = nth(heard, EVENT_FINAL, i);
        int64_t allowed = S(noise) + 2;
        assert_true(llabs(event->start_us - S(truth[i].start)) <= allowed);
        assert_true(llabs(event->end_us - S(truth[i].end)) <= allowed);
    }
}

static void run_truth(double noise)
{
    Span truth[40];
    double total = uniform(30, 200);
    size_t n = make_truth(truth, total);
    Segmenter *segmenter = make(0.5, 0);
    Heard *heard = calloc(1, sizeof *heard);
    heard->fail_after = -1;
    double start = 0;
    bool last = false;
    while (!last) {
        double end = start + uniform(8, 24);
        last = end >= total;
        double overlap = uniform(3, 6);
        double next = last ? total : end - overlap;
        watch(segmenter, heard, truth, n, start, last ? total : end, next, noise);
        start = next;
    }
    assert_int_equal(segmenter_finish(segmenter, hear, heard), 0);
    compare(heard, truth, n, noise);
    free(heard);
    segmenter_free(segmenter);
}

static void same_truth_same_events(void **state)
{
    (void)state;
    random_state = 1;
    for (int i = 0; i < 3000; i++)
        run_truth(0);
    for (int i = 0; i < 3000; i++)
        run_truth(0.3);
}

static int64_t absurd_time(void)
{
    switch (random_u64() % 6) {
    case 0:
        return INT64_MIN;
    case 1:
        return INT64_MAX;
    case 2:
        return (int64_t)random_u64();
    default:
        return S(uniform(-10, 60));
    }
}

static void absurd_input_breaks_nothing(void **state)
{
    (void)state;
    random_state = 2;
    Heard *heard = calloc(1, sizeof *heard);
    for (int i = 0; i < 3000; i++) {
        Segmenter *segmenter = make(uniform(-1, 3), uniform(-1, 3));
        memset(heard, 0, sizeof *heard);
        heard->fail_after = -1;
        for (int w = 0; w < 12; w++) {
            SegmenterInterval intervals[6];
            size_t n = random_u64() % 7;
            for (size_t k = 0; k < n; k++)
                intervals[k] =
                    (SegmenterInterval){absurd_time(), absurd_time(),  absurd_time(),
                                        absurd_time(), uniform(-2, 3), k % 2 ? NULL : "x"};
            SegmenterWindow window = {absurd_time(), absurd_time(), absurd_time(), intervals, n};
            assert_int_equal(segmenter_add(segmenter, &window, hear, heard), 0);
        }
        /* and windows as they come, with intervals that make no sense */
        for (int w = 0; w < 12; w++) {
            Span spans[6];
            size_t n = random_u64() % 7;
            for (size_t k = 0; k < n; k++)
                spans[k] = (Span){w * 5 + uniform(-2, 12), w * 5 + uniform(-2, 12)};
            assert_int_equal(feed(segmenter, heard, w * 5, w * 5 + 10, w * 5 + 5, spans, n), 0);
        }
        assert_int_equal(segmenter_finish(segmenter, hear, heard), 0);
        assert_int_equal(count(heard, EVENT_OPEN), 0);
        segmenter_free(segmenter);
    }
    free(heard);
}

/* Any answers whatever in well-formed windows: final events are apart by more than the gap. */
static void final_events_do_not_overlap(void **state)
{
    (void)state;
    random_state = 3;
    Heard *heard = calloc(1, sizeof *heard);
    for (int i = 0; i < 3000; i++) {
        Segmenter *segmenter = make(0.3, 0);
        memset(heard, 0, sizeof *heard);
        heard->fail_after = -1;
        for (int w = 0; w < 10; w++) {
            Span spans[6];
            size_t n = random_u64() % 7;
            for (size_t k = 0; k < n; k++) {
                double at = w * 6 + uniform(0, 10);
                spans[k] = (Span){at, at + uniform(0, 4)};
            }
            feed(segmenter, heard, w * 6, w * 6 + 10, w * 6 + 6, spans, n);
        }
        assert_int_equal(segmenter_finish(segmenter, hear, heard), 0);
        for (size_t a = 0; a < heard->n; a++)
            for (size_t b = 0; b < a; b++) {
                const Event *x = &heard->events[a], *y = &heard->events[b];
                if (x->state == EVENT_FINAL && y->state == EVENT_FINAL)
                    assert_true(x->end_us < y->start_us || y->end_us < x->start_us);
            }
        segmenter_free(segmenter);
    }
    free(heard);
}

static void failing_sink_changes_nothing(void **state)
{
    (void)state;
    random_state = 4;
    Heard *plain = calloc(1, sizeof *plain), *tried = calloc(1, sizeof *tried);
    Heard *before = calloc(1, sizeof *before);
    for (int i = 0; i < 300; i++) {
        Segmenter *a = make(0.3, 0.5), *b = make(0.3, 0.5);
        memset(plain, 0, sizeof *plain);
        memset(tried, 0, sizeof *tried);
        plain->fail_after = tried->fail_after = -1;
        for (int w = 0; w < 8; w++) {
            Span spans[5];
            size_t n = random_u64() % 6;
            for (size_t k = 0; k < n; k++) {
                double at = w * 6 + uniform(0, 10);
                spans[k] = (Span){at, at + uniform(0, 4)};
            }
            feed(a, plain, w * 6, w * 6 + 10, w * 6 + 6, spans, n);
            /* what a transaction does: on an error all that was heard is forgotten */
            memcpy(before, tried, sizeof *before);
            for (long fail = 0;; fail++) {
                memcpy(tried, before, sizeof *before);
                tried->fail_after = fail;
                int r = feed(b, tried, w * 6, w * 6 + 10, w * 6 + 6, spans, n);
                if (r == 0)
                    break;
                assert_int_equal(r, -5);
            }
            tried->fail_after = -1;
        }
        memcpy(before, tried, sizeof *before);
        tried->fail_after = 0;
        int r = segmenter_finish(b, hear, tried);
        assert_true(r == 0 || r == -5);
        memcpy(tried, before, sizeof *before);
        if (r != 0)
            assert_int_equal(segmenter_finish(b, hear, tried), 0);
        assert_int_equal(segmenter_finish(a, hear, plain), 0);
        assert_int_equal(plain->n, tried->n);
        assert_memory_equal(plain->events, tried->events, plain->n * sizeof *plain->events);
        assert_int_equal(segmenter_next_id(a), segmenter_next_id(b));
        segmenter_free(a);
        segmenter_free(b);
    }
    free(plain);
    free(tried);
    free(before);
}

static void restart_keeps_the_ids(void **state)
{
    (void)state;
    random_state = 5;
    for (int i = 0; i < 500; i++) {
        Span truth[40];
        size_t n = make_truth(truth, 160);
        Segmenter *segmenter = make(0.5, 0);
        Heard *heard = calloc(1, sizeof *heard);
        heard->fail_after = -1;
        for (double start = 0; start < 160; start += 12) {
            watch(segmenter, heard, truth, n, start, start + 16, start + 12, 0);
            if (random_u64() % 3 == 0) { /* stopped and started: only open events are known */
                Segmenter *again = make(0.5, 0);
                SegmenterOptions options = {.camera = "gate",
                                            .watch = "car",
                                            .id_prefix = "e",
                                            .next_id = segmenter_next_id(segmenter),
                                            .join_gap_us = S(0.5)};
                segmenter_free(again);
                again = segmenter_new(&options);
                for (size_t k = 0; k < heard->n; k++)
                    if (heard->events[k].state == EVENT_OPEN)
                        assert_int_equal(segmenter_restore(again, &heard->events[k]), 0);
                segmenter_free(segmenter);
                segmenter = again;
            }
        }
        assert_int_equal(segmenter_finish(segmenter, hear, heard), 0);
        assert_int_equal(heard->n, n); /* no event became two */
        compare(heard, truth, n, 0);
        segmenter_free(segmenter);
        free(heard);
    }
}

static void restore_refuses_what_is_retracted(void **state)
{
    (void)state;
    Segmenter *segmenter = make(0.5, 0);
    Event event = {
        .id = "e-7", .revision = 2, .state = EVENT_RETRACTED, .start_us = 1, .end_us = 2};
    assert_int_equal(segmenter_restore(segmenter, &event), -22);
    event.state = EVENT_OPEN;
    assert_int_equal(segmenter_restore(segmenter, &event), 0);
    Heard heard = {.fail_after = -1};
    heard.events[heard.n++] = event;
    assert_int_equal(segmenter_finish(segmenter, hear, &heard), 0);
    assert_int_equal(heard.events[0].revision, 3);
    assert_string_equal(heard.events[0].id, "e-7");
    segmenter_free(segmenter);
    segmenter_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_event_is_joined),
        cmocka_unit_test(each_boundary_from_the_window_that_saw_it_best),
        cmocka_unit_test(end_at_the_later_windows_edge_is_gainsaid),
        cmocka_unit_test(slivers_at_window_edges_are_errors),
        cmocka_unit_test(inner_events_are_kept_though_one_window_denies_them),
        cmocka_unit_test(bridging_keeps_two),
        cmocka_unit_test(gap_seen_by_the_later_window_splits),
        cmocka_unit_test(gap_at_the_later_windows_edge_is_none),
        cmocka_unit_test(cool_down_outlives_a_restart),
        cmocka_unit_test(short_ones_are_retracted_or_never_told),
        cmocka_unit_test(long_event_is_one),
        cmocka_unit_test(windows_without_overlap_are_joined_at_the_edge),
        cmocka_unit_test(confidence_of_the_best_window),
        cmocka_unit_test(same_truth_same_events),
        cmocka_unit_test(absurd_input_breaks_nothing),
        cmocka_unit_test(final_events_do_not_overlap),
        cmocka_unit_test(failing_sink_changes_nothing),
        cmocka_unit_test(restart_keeps_the_ids),
        cmocka_unit_test(restore_refuses_what_is_retracted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

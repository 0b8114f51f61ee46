/*
 * daemon/segmenter, by properties over thousands of random cases, from a model's words on:
 *
 *  - Any cut of the same answers into windows gives the same final events: what really happens is
 *    chosen at random (touching, apart by a little less and a little more than the join gap,
 *    shorter than the minimum, within the cool-down, unsure), a plain reference says which events
 *    that is, and each of several random cuts must give just those. On the way windows come twice,
 *    answers in any order, in pieces, reversed, with absurd ones among them, and whend is
 * restarted.
 *  - Whatever a model says, of windows in any order, no invariant breaks.
 *
 * SEED=N CASES=N in the environment choose others than the usual ones.
 */
#include "daemon/segmenter.h"
#include "daemon/window.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S      ((int64_t)1000000)
#define UTC_US (INT64_C(1767594600) * S)

enum { MOST_TRUTH = 48, MOST_EVENTS = 4096, MOST_SAID = 256, CUTS = 4 };

static uint64_t random_state;

static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* A multiple of 10 ms, as models say times; low and high are, too. */
static int64_t between(int64_t low, int64_t high)
{
    return low + (int64_t)(random_u64() % (uint64_t)((high - low) / 10000 + 1)) * 10000;
}

static bool one_in(unsigned n)
{
    return random_u64() % n == 0;
}

static long from_environment(const char *name, long usual)
{
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : usual;
}

/* --- what is heard --- */

typedef struct Heard {
    Event events[MOST_EVENTS]; /* [n]: the newest revision of each */
    size_t n, run;             /* those from `run` on are of this run of the segmenter */
} Heard;

static bool same_but_state(const Event *a, const Event *b)
{
    return a->start_us == b->start_us && a->end_us == b->end_us &&
           a->start_err_us == b->start_err_us && a->end_err_us == b->end_err_us &&
           a->confidence == b->confidence && strcmp(a->description, b->description) == 0;
}

/* Every invariant that one revision can show. */
static int hear(const Event *event, void *context)
{
    Heard *heard = context;
    assert_true(event->start_us <= event->end_us);
    assert_true(event->confidence >= 0 && event->confidence <= 1);
    assert_true(event->start_err_us >= 0 && event->end_err_us >= 0);
    assert_true(event->state >= EVENT_OPEN && event->state <= EVENT_RETRACTED);
    for (size_t i = 0; i < heard->n; i++) {
        Event *known = &heard->events[i];
        if (strcmp(known->id, event->id) != 0)
            continue;
        assert_int_equal(event->revision, known->revision + 1);
        assert_int_equal(known->state, EVENT_OPEN);
        assert_true(event->state != EVENT_OPEN || !same_but_state(event, known));
        *known = *event;
        return 0;
    }
    assert_int_equal(event->revision, 1);
    assert_true(event->state != EVENT_RETRACTED); /* nobody has heard of it */
    assert_true(heard->n < MOST_EVENTS);
    heard->events[heard->n++] = *event;
    return 0;
}

/* Final events of one run are apart. */
static void check_apart(const Heard *heard)
{
    for (size_t a = heard->run; a < heard->n; a++)
        for (size_t b = heard->run; b < a; b++) {
            const Event *x = &heard->events[a], *y = &heard->events[b];
            if (x->state == EVENT_FINAL && y->state == EVENT_FINAL)
                assert_true(x->end_us < y->start_us || y->end_us < x->start_us);
        }
}

/* --- what happens --- */

typedef struct Stretch {
    int64_t start_us, end_us; /* from UTC_US */
    double confidence;
} Stretch;

typedef struct World {
    SegmenterOptions options;
    int64_t overlap_us; /* windows overlap by so much at least */
    Stretch truth[MOST_TRUTH];
    size_t n;
    int64_t total_us;
    Stretch expected[MOST_TRUTH]; /* what of it is an event */
    size_t n_expected;
} World;

static int64_t random_length(void)
{
    switch (random_u64() % 4) {
    case 0:
        return between(10000, S);
    case 1:
        return between(S, 4 * S);
    case 2:
        return between(4 * S, 12 * S);
    default:
        return between(12 * S, 60 * S);
    }
}

/* Touching, joined, just not joined any more, near, far. Nearer than a second to its edges a window
 * is not believed (segmenter_join.c): where windows do not overlap enough to make up for that, a
 * pause must be longer to be seen. */
static int64_t random_pause(int64_t join_gap_us, int64_t overlap_us)
{
    if (overlap_us == 0) {
        int64_t long_us = join_gap_us + between(2 * S + 10000, 30 * S);
        return one_in(3) ? between(0, join_gap_us) : long_us;
    }
    switch (random_u64() % 5) {
    case 0:
        return 0;
    case 1:
        return between(0, join_gap_us);
    case 2:
        return join_gap_us + 10000;
    case 3:
        return join_gap_us + between(10000, 3 * S);
    default:
        return join_gap_us + between(3 * S, 40 * S);
    }
}

/* The reference: what is said of events in docs/design.md and whend.yaml, without windows. */
static void expect(World *w)
{
    Stretch joined[MOST_TRUTH];
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (n > 0 && w->truth[i].start_us - joined[n - 1].end_us <= w->options.join_gap_us)
            joined[n - 1].end_us = w->truth[i].end_us;
        else
            joined[n++] = w->truth[i];
    }
    int64_t quiet_us = INT64_MIN;
    w->n_expected = 0;
    for (size_t i = 0; i < n; i++) {
        const Stretch *s = &joined[i];
        if (s->end_us - s->start_us < w->options.min_duration_us ||
            s->confidence < w->options.min_confidence || s->start_us < quiet_us)
            continue;
        w->expected[w->n_expected++] = *s;
        quiet_us = s->end_us + w->options.cool_down_us;
    }
}

static void make_world(World *w)
{
    static const int64_t GAPS[] = {0, S / 5, S / 2, S, 3 * S};
    *w = (World){.options = {.camera = "gate", .watch = "car", .id_prefix = "e", .next_id = 1}};
    w->options.join_gap_us = GAPS[random_u64() % 5];
    w->options.min_duration_us = one_in(2) ? 0 : between(0, 3 * S);
    w->options.cool_down_us = one_in(2) ? 0 : between(0, 30 * S);
    w->options.min_confidence = one_in(2) ? 0 : 0.5;
    w->overlap_us = one_in(3) ? 0 : S + w->options.join_gap_us;
    w->total_us = between(20 * S, 240 * S);
    int64_t at = between(0, 10 * S);
    double confidence = 0.9;
    while (w->n < MOST_TRUTH) {
        int64_t length = random_length();
        if (at + length > w->total_us)
            break;
        /* What is joined is one thing, and the model is as sure of all of it. */
        bool goes_on = w->n > 0 && at - w->truth[w->n - 1].end_us <= w->options.join_gap_us;
        if (!goes_on)
            confidence = one_in(3) ? 0.3 : 0.9;
        w->truth[w->n++] = (Stretch){at, at + length, confidence};
        at += length + random_pause(w->options.join_gap_us, w->overlap_us);
    }
    expect(w);
}

/* --- a model --- */

typedef struct Said {
    double start_s, end_s, confidence;
} Said;

typedef struct Words {
    Said said[MOST_SAID];
    size_t n;
} Words;

static void say(Words *words, int64_t start_us, int64_t end_us, double confidence)
{
    assert_true(words->n < MOST_SAID);
    bool reversed = one_in(8);
    double start_s = (double)start_us / 1e6, end_s = (double)end_us / 1e6;
    words->said[words->n++] =
        (Said){reversed ? end_s : start_s, reversed ? start_s : end_s, confidence};
}

/* Times that are none, and times that no window has. */
static void say_nonsense(Words *words)
{
    static const double ABSURD[] = {NAN, INFINITY, -INFINITY, 1e300, -1e300, -5, -1e-300 - 3, 1e9};
    assert_true(words->n < MOST_SAID);
    double a = ABSURD[random_u64() % 8];
    double b = isfinite(a) ? a + (a < 0 ? -1 : 1) : ABSURD[random_u64() % 8];
    words->said[words->n++] = (Said){a, b, one_in(4) ? (double)NAN : 0.9};
}

static void shuffle(Words *words)
{
    for (size_t i = words->n; i > 1; i--) {
        size_t k = random_u64() % i;
        Said swap = words->said[i - 1];
        words->said[i - 1] = words->said[k];
        words->said[k] = swap;
    }
}

/* All that happens within [start, end], exactly, in words that differ from time to time: whole or
 * in pieces that touch or overlap, in any order, in the window or beyond its edges. */
static void tell(const World *w, int64_t start_us, int64_t end_us, Words *words)
{
    words->n = 0;
    for (size_t i = 0; i < w->n; i++) {
        const Stretch *s = &w->truth[i];
        if (s->start_us > end_us || s->end_us < start_us)
            continue;
        int64_t from = s->start_us - start_us, to = s->end_us - start_us;
        if (one_in(2)) { /* beyond the window it knows nothing */
            from = from < 0 ? 0 : from;
            to = to > end_us - start_us ? end_us - start_us : to;
        }
        if (one_in(4)) {
            int64_t middle = between(from / 10000 * 10000, (to + 9999) / 10000 * 10000);
            middle = middle < from ? from : middle > to ? to : middle;
            int64_t back = one_in(2) ? 0 : (middle - from) / 2;
            say(words, from, middle, s->confidence);
            say(words, middle - back, to, s->confidence);
        } else {
            say(words, from, to, s->confidence);
        }
    }
    while (one_in(3))
        say_nonsense(words);
    shuffle(words);
}

/* A window of frames that are 250 ms apart, and what is said of it, to the segmenter. */
static void look(Segmenter *segmenter, Heard *heard, int64_t start_us, int64_t end_us,
                 int64_t settled_us, const Words *words)
{
    size_t n = (size_t)((end_us - start_us) / (S / 4)) + 2;
    WindowFrame *frames = calloc(n, sizeof *frames);
    SegmenterInterval intervals[MOST_SAID];
    size_t count = 0;
    assert_non_null(frames);
    for (size_t i = 0; i < n; i++) {
        int64_t pts = i + 1 < n ? start_us + (int64_t)i * (S / 4) : end_us;
        frames[i] = (WindowFrame){.pts_us = pts, .utc_us = UTC_US + pts, .utc_err_us = 1000};
    }
    Window window = {.frames = frames, .n = n, .end_pts_us = end_us, .settled_pts_us = settled_us};
    for (size_t i = 0; i < words->n; i++)
        count += window_interval(&window, words->said[i].start_s, words->said[i].end_s,
                                 words->said[i].confidence, "a car", 0, &intervals[count]) == 0;
    SegmenterWindow looked = {UTC_US + start_us, UTC_US + end_us, UTC_US + settled_us, intervals,
                              count};
    assert_int_equal(segmenter_add(segmenter, &looked, hear, heard), 0);
    free(frames);
}

/* Of what is never said nobody knows after a restart. Is all that happens in [start, end] an event?
 */
static bool all_is_said(const World *w, int64_t start_us, int64_t end_us)
{
    for (size_t i = 0; i < w->n; i++) {
        const Stretch *s = &w->truth[i];
        bool said = s->start_us > end_us || s->end_us + w->options.join_gap_us < start_us;
        for (size_t k = 0; !said && k < w->n_expected; k++)
            said = s->start_us >= w->expected[k].start_us && s->end_us <= w->expected[k].end_us;
        if (!said)
            return false;
    }
    return true;
}

/* whend was ended and started: what a new segmenter knows it knows from the index. */
static Segmenter *restart(const World *w, Segmenter *segmenter, const Heard *heard)
{
    SegmenterOptions options = w->options;
    options.next_id = segmenter_next_id(segmenter);
    segmenter_free(segmenter);
    segmenter = segmenter_new(&options);
    assert_non_null(segmenter);
    for (size_t i = 0; i < heard->n; i++)
        if (heard->events[i].state != EVENT_RETRACTED)
            assert_int_equal(segmenter_restore(segmenter, &heard->events[i]), 0);
    return segmenter;
}

static void describe(const World *w, const Heard *heard)
{
    printf("join gap %g, min duration %g, cool-down %g, confidence %g\ntruth:",
           (double)w->options.join_gap_us / 1e6, (double)w->options.min_duration_us / 1e6,
           (double)w->options.cool_down_us / 1e6, w->options.min_confidence);
    for (size_t i = 0; i < w->n; i++)
        printf(" [%.2f %.2f]%s", (double)w->truth[i].start_us / 1e6,
               (double)w->truth[i].end_us / 1e6, w->truth[i].confidence < 0.5 ? "?" : "");
    printf("\nexpected:");
    for (size_t i = 0; i < w->n_expected; i++)
        printf(" [%.2f %.2f]", (double)w->expected[i].start_us / 1e6,
               (double)w->expected[i].end_us / 1e6);
    printf("\nfinal:");
    for (size_t i = 0; i < heard->n; i++)
        if (heard->events[i].state == EVENT_FINAL)
            printf(" [%.6f %.6f]", (double)(heard->events[i].start_us - UTC_US) / 1e6,
                   (double)(heard->events[i].end_us - UTC_US) / 1e6);
    printf("\n");
}

static int by_start(const void *a, const void *b)
{
    const Event *x = a, *y = b;
    return x->start_us < y->start_us ? -1 : x->start_us > y->start_us;
}

static bool agrees(const World *w, const Heard *heard)
{
    static Event final[MOST_EVENTS];
    size_t n = 0;
    for (size_t i = 0; i < heard->n; i++) {
        assert_int_not_equal(heard->events[i].state, EVENT_OPEN);
        if (heard->events[i].state == EVENT_FINAL)
            final[n++] = heard->events[i];
    }
    qsort(final, n, sizeof *final, by_start);
    if (n != w->n_expected)
        return false;
    for (size_t i = 0; i < n; i++)
        if (final[i].start_us - UTC_US != w->expected[i].start_us ||
            final[i].end_us - UTC_US != w->expected[i].end_us ||
            final[i].confidence != w->expected[i].confidence)
            return false;
    return true;
}

static void cut(const World *w, bool restarts, Heard *heard)
{
    static Words words;
    Segmenter *segmenter = segmenter_new(&w->options);
    assert_non_null(segmenter);
    heard->n = heard->run = 0;
    int64_t start = 0, end = 0;
    while (end < w->total_us) {
        int64_t length = between(6 * S, 30 * S), least = w->overlap_us;
        int64_t most = length / 20000 * 10000 > least ? length / 20000 * 10000 : least;
        end = start + length > end ? start + length : end + S; /* none ends before another */
        end = end < w->total_us ? end : w->total_us;
        int64_t next = end == w->total_us ? end : end - between(least, most);
        next = next > start ? next : start + S;
        do {
            tell(w, start, end, &words);
            look(segmenter, heard, start, end, next, &words);
        } while (one_in(10)); /* once more: it was on its way twice */
        if (restarts && one_in(3) && all_is_said(w, next, end))
            segmenter = restart(w, segmenter, heard);
        start = next;
    }
    assert_int_equal(segmenter_finish(segmenter, hear, heard), 0);
    segmenter_free(segmenter);
    check_apart(heard);
}

static void any_cut_gives_the_same_events(void **state)
{
    (void)state;
    static World world;
    static Heard heard;
    random_state = (uint64_t)from_environment("SEED", 11);
    long cases = from_environment("CASES", 4000);
    size_t events = 0, happened = 0;
    for (long i = 0; i < cases; i++) {
        make_world(&world);
        for (int k = 0; k < CUTS; k++) {
            cut(&world, k % 2 == 1, &heard);
            if (!agrees(&world, &heard)) {
                describe(&world, &heard);
                fail_msg("case %ld, cut %d", i, k);
            }
        }
        events += world.n_expected;
        happened += world.n;
    }
    print_message("%ld worlds of %zu stretches, %zu of them events, in %d cuts each\n", cases,
                  happened, events, CUTS);
    assert_true(events > 0 && events < happened);
}

/* Windows that come as they should not, of words that make no sense. */
static void no_word_breaks_an_invariant(void **state)
{
    (void)state;
    static World world;
    static Heard heard;
    static Words words;
    random_state = (uint64_t)from_environment("SEED", 12);
    long cases = from_environment("CASES", 4000);
    for (long i = 0; i < cases; i++) {
        make_world(&world);
        Segmenter *segmenter = segmenter_new(&world.options);
        assert_non_null(segmenter);
        heard.n = heard.run = 0;
        int64_t start = 0;
        for (int k = 0; k < 24; k++) {
            int64_t end = start + between(20000, 20 * S);
            words.n = 0;
            while (words.n < 12 && !one_in(8)) {
                int64_t at = between(-10 * S, 30 * S);
                if (one_in(4))
                    say_nonsense(&words);
                else
                    say(&words, at, at + between(-5 * S, 20 * S),
                        (double)(random_u64() % 400) / 100 - 1);
            }
            look(segmenter, &heard, start, end, start + between(-5 * S, end - start + 5 * S),
                 &words);
            check_apart(&heard);
            /* On, back, far away, and anew. */
            start += one_in(4) ? between(-40 * S, 10 * S) : between(0, 10 * S);
            start += one_in(30) ? between(-10000 * S, 10000 * S) : 0;
            if (one_in(12)) {
                assert_int_equal(segmenter_finish(segmenter, hear, &heard), 0);
                check_apart(&heard);
                heard.run = heard.n;
            }
        }
        assert_int_equal(segmenter_finish(segmenter, hear, &heard), 0);
        check_apart(&heard);
        for (size_t e = 0; e < heard.n; e++)
            assert_int_not_equal(heard.events[e].state, EVENT_OPEN);
        segmenter_free(segmenter);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_gives_the_same_events),
        cmocka_unit_test(no_word_breaks_an_invariant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

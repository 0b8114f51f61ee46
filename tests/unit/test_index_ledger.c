/*
 * daemon/ledger, daemon/index_ledger: what is said of a stretch, against an array that holds what
 * was said of each second.
 */
#include "daemon/ledger.h"
#include "tests/unit/index_fixture.h"

#include <errno.h>

enum { SECONDS = 200, MODELS = 3 };

typedef struct SpanList {
    LedgerSpan spans[SECONDS + 8];
    size_t n;
} SpanList;

static int keep_span(const LedgerSpan *span, void *context)
{
    SpanList *list = context;
    assert_true(list->n < sizeof list->spans / sizeof list->spans[0]);
    list->spans[list->n++] = *span;
    return 0;
}

static LedgerSpan make_span(int64_t start, int64_t end, SpanState state)
{
    LedgerSpan span = {
        .camera = "gate", .watch = "car", .start_us = start, .end_us = end, .state = state};
    if (state == SPAN_EXAMINED) {
        span.fps = 2;
        snprintf(span.model, sizeof span.model, "m0");
    }
    return span;
}

static void mark(Fixture *f, const LedgerSpan *span)
{
    Error err = {0};
    if (index_ledger_mark(f->index, span, &err) < 0)
        fail_msg("%s", err.text);
}

static void read_spans(Fixture *f, const char *camera, SpanList *list)
{
    const char *const cameras[] = {camera};
    IndexFilter filter = {.cameras = cameras, .n_cameras = 1};
    list->n = 0;
    assert_int_equal(index_ledger_spans(f->index, &filter, 0, keep_span, list, NULL), 0);
}

/* Spans as text: "0-10w 10-20e". */
static void is_ledger(Fixture *f, const char *expected)
{
    SpanList *list = calloc(1, sizeof *list);
    read_spans(f, "gate", list);
    char text[1024] = "";
    for (size_t i = 0; i < list->n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d-%d%c", i ? " " : "",
                 (int)list->spans[i].start_us, (int)list->spans[i].end_us,
                 " wel"[list->spans[i].state]);
    free(list);
    assert_string_equal(text, expected);
}

static void cuts_and_joins(void **state)
{
    Fixture *f = *state;
    int64_t end;
    assert_int_equal(index_ledger_end(f->index, "gate", "car", &end, NULL), 0);
    assert_int_equal(end, 0);
    begin(f);
    LedgerSpan s = make_span(0, 100, SPAN_WAITING);
    mark(f, &s);
    s = make_span(20, 40, SPAN_EXAMINED);
    mark(f, &s);
    is_ledger(f, "0-20w 20-40e 40-100w");
    s = make_span(40, 50, SPAN_EXAMINED);
    mark(f, &s);
    is_ledger(f, "0-20w 20-50e 50-100w");
    s = make_span(10, 60, SPAN_LOST); /* never over what was examined */
    mark(f, &s);
    is_ledger(f, "0-10w 10-20l 20-50e 50-60l 60-100w");
    s = make_span(10, 60, SPAN_WAITING);
    mark(f, &s);
    is_ledger(f, "0-20w 20-50e 50-100w");
    s = make_span(0, 100, SPAN_EXAMINED);
    mark(f, &s);
    is_ledger(f, "0-100e");
    s = make_span(120, 130, SPAN_LOST);
    mark(f, &s);
    is_ledger(f, "0-100e 120-130l");
    s = make_span(100, 120, SPAN_LOST);
    mark(f, &s);
    is_ledger(f, "0-100e 100-130l");
    commit(f);
    reopen(f);
    is_ledger(f, "0-100e 100-130l");
    assert_int_equal(index_ledger_end(f->index, "gate", "car", &end, NULL), 0);
    assert_int_equal(end, 130);
    assert_int_equal(index_ledger_end(f->index, "gate", "dog", &end, NULL), 0);
    assert_int_equal(end, 0);
}

static void density_and_model_are_kept_apart(void **state)
{
    Fixture *f = *state;
    begin(f);
    LedgerSpan s = make_span(0, 10, SPAN_EXAMINED);
    mark(f, &s);
    s = make_span(10, 20, SPAN_EXAMINED);
    s.fps = 1.95; /* the same within a twentieth; the lower one stays */
    mark(f, &s);
    is_ledger(f, "0-20e");
    s = make_span(20, 30, SPAN_EXAMINED);
    s.fps = 4;
    mark(f, &s);
    is_ledger(f, "0-20e 20-30e");
    s = make_span(5, 15, SPAN_EXAMINED);
    snprintf(s.model, sizeof s.model, "another");
    mark(f, &s);
    is_ledger(f, "0-5e 5-15e 15-20e 20-30e");
    SpanList *list = calloc(1, sizeof *list);
    read_spans(f, "gate", list);
    assert_true(list->spans[0].fps == 1.95);
    assert_string_equal(list->spans[1].model, "another");
    free(list);
    commit(f);
}

static void refuses_spans_that_make_no_sense(void **state)
{
    Fixture *f = *state;
    begin(f);
    LedgerSpan s = make_span(10, 10, SPAN_LOST);
    assert_int_equal(index_ledger_mark(f->index, &s, NULL), -EINVAL);
    s = make_span(11, 10, SPAN_LOST);
    assert_int_equal(index_ledger_mark(f->index, &s, NULL), -EINVAL);
    s = make_span(10, 11, (SpanState)4);
    assert_int_equal(index_ledger_mark(f->index, &s, NULL), -EINVAL);
    s = make_span(INT64_MIN, INT64_MAX, SPAN_LOST);
    mark(f, &s);
    commit(f);
    begin(f);
    s = make_span(-5, 5, SPAN_EXAMINED);
    mark(f, &s);
    commit(f);
    SpanList *list = calloc(1, sizeof *list);
    read_spans(f, "gate", list);
    assert_int_equal(list->n, 3);
    free(list);
}

static void filters(void **state)
{
    Fixture *f = *state;
    begin(f);
    for (int i = 0; i < 3; i++) {
        LedgerSpan s = make_span(i * 10, i * 10 + 10, i == 1 ? SPAN_EXAMINED : SPAN_WAITING);
        mark(f, &s);
        snprintf(s.camera, sizeof s.camera, "yard");
        mark(f, &s);
        snprintf(s.watch, sizeof s.watch, "dog");
        mark(f, &s);
    }
    commit(f);
    SpanList *list = calloc(1, sizeof *list);
    assert_int_equal(index_ledger_spans(f->index, NULL, 0, keep_span, list, NULL), 0);
    assert_int_equal(list->n, 9);
    for (size_t i = 1; i < list->n; i++) {
        const LedgerSpan *a = &list->spans[i - 1], *b = &list->spans[i];
        int order = strcmp(a->camera, b->camera);
        order = order ? order : strcmp(a->watch, b->watch);
        assert_true(order < 0 || (order == 0 && a->start_us < b->start_us));
    }
    list->n = 0;
    assert_int_equal(index_ledger_spans(f->index, NULL, SPAN_WAITING, keep_span, list, NULL), 0);
    assert_int_equal(list->n, 6);
    list->n = 0;
    const char *const dog[] = {"dog"};
    IndexFilter filter = {.watches = dog, .n_watches = 1, .since_us = 10, .until_us = 19};
    assert_int_equal(index_ledger_spans(f->index, &filter, 0, keep_span, list, NULL), 0);
    assert_int_equal(list->n, 1);
    assert_int_equal(list->spans[0].start_us, 10);
    free(list);
}

/* --- against the array --- */

static uint64_t random_state = 7;

static uint32_t random_below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % n;
}

typedef struct Said {
    int state; /* 0: nothing */
    int detail;
} Said;

static LedgerSpan random_span(Said *said)
{
    int64_t a = random_below(SECONDS), length = 1 + random_below(random_below(4) ? 12 : 80);
    int64_t b = a + length < SECONDS ? a + length : SECONDS;
    said->state = 1 + (int)random_below(3);
    said->detail = (int)random_below(MODELS);
    LedgerSpan span = make_span(a * 1000, b * 1000, (SpanState)said->state);
    snprintf(span.model, sizeof span.model, "m%d", said->detail);
    span.fps = said->state == SPAN_EXAMINED ? 1 << said->detail : 0;
    if (said->state != SPAN_EXAMINED)
        snprintf(span.reason, sizeof span.reason, "because %d", said->detail);
    return span;
}

static void check_against(Fixture *f, const char *camera, const Said *array)
{
    SpanList *list = calloc(1, sizeof *list);
    read_spans(f, camera, list);
    size_t i = 0;
    for (int at = 0; at < SECONDS;) {
        if (array[at].state == 0) {
            at++;
            continue;
        }
        int end = at;
        while (end < SECONDS && array[end].state == array[at].state &&
               array[end].detail == array[at].detail)
            end++;
        assert_true(i < list->n);
        const LedgerSpan *span = &list->spans[i++];
        char model[16];
        snprintf(model, sizeof model, "m%d", array[at].detail);
        assert_int_equal(span->start_us, at * 1000);
        assert_int_equal(span->end_us, end * 1000);
        assert_int_equal((int)span->state, array[at].state);
        assert_string_equal(span->model, model);
        at = end;
    }
    assert_int_equal(i, list->n);
    free(list);
}

static void agrees_with_an_array(void **state)
{
    Fixture *f = *state;
    static const char *const CAMERAS[] = {"gate", "yard"};
    Said arrays[2][SECONDS] = {0};
    for (int round = 0; round < 60; round++) {
        begin(f);
        for (int i = 0; i < 50; i++) {
            Said said;
            LedgerSpan span = random_span(&said);
            uint32_t camera = random_below(2);
            snprintf(span.camera, sizeof span.camera, "%s", CAMERAS[camera]);
            mark(f, &span);
            for (int64_t at = span.start_us / 1000; at < span.end_us / 1000; at++)
                if (!(arrays[camera][at].state == SPAN_EXAMINED && said.state != SPAN_EXAMINED))
                    arrays[camera][at] = said;
            if (i % 7 == 0)
                check_against(f, CAMERAS[camera], arrays[camera]);
        }
        commit(f);
        check_against(f, "gate", arrays[0]);
        check_against(f, "yard", arrays[1]);
        if (round % 6 == 5) { /* all examined sooner or later: start anew elsewhere */
            Fixture *fresh = f;
            index_free(fresh->index);
            char name[128];
            snprintf(name, sizeof name, "%s/%d.db", f->dir, round);
            assert_int_equal(index_open(name, &f->index, NULL), 0);
            memset(arrays, 0, sizeof arrays);
        }
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(cuts_and_joins),
        T(density_and_model_are_kept_apart),
        T(refuses_spans_that_make_no_sense),
        T(filters),
        T(agrees_with_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

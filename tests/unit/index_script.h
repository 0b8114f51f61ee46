/*
 * A session whose every transaction is known beforehand, so that what is in an index after a fault
 * or a crash can be checked to the last row: transaction i puts revisions with sequence 2i+1 and
 * 2i+2, marks [10i, 10i+10) as examined and says so in a fact.
 */
#ifndef WHEN_TESTS_INDEX_SCRIPT_H
#define WHEN_TESTS_INDEX_SCRIPT_H

#include "tests/unit/index_fixture.h"

#include <inttypes.h>

/* Of the sequence number given: event n/2 in two revisions, between them short ones. */
static inline Event script_event(uint64_t sequence)
{
    int i = (int)((sequence - 1) / 2);
    char id[32];
    if (sequence % 2 == 0) {
        snprintf(id, sizeof id, "x-%d", i + 1);
        return make_event(id, 1, EVENT_FINAL, 10 * i + 1, 10 * i + 2);
    }
    snprintf(id, sizeof id, "e-%d", i / 2 + 1);
    Event event = make_event(id, i % 2 ? 2 : 1, i % 2 ? EVENT_FINAL : EVENT_OPEN, 10 * (i / 2 * 2),
                             10 * i + 5);
    if (i % 2)
        snprintf(event.description, sizeof event.description, "a white van drives past %d", i);
    return event;
}

/* 0, or what failed; then nothing of it was stored. */
static inline int script_transaction(Index *index, int i, Error *err)
{
    Event first = script_event(2 * (uint64_t)i + 1), second = script_event(2 * (uint64_t)i + 2);
    LedgerSpan span = {.camera = "gate",
                       .watch = "car",
                       .start_us = 10 * i,
                       .end_us = 10 * i + 10,
                       .state = SPAN_EXAMINED,
                       .fps = 2,
                       .model = "demo"};
    char value[32];
    snprintf(value, sizeof value, "%d", i);
    int r = index_begin(index, err);
    if (r < 0)
        return r;
    r = index_put_event(index, &first, err);
    if (r == 0)
        r = index_put_event(index, &second, err);
    if (r == 0)
        r = index_ledger_mark(index, &span, err);
    if (r == 0)
        r = index_put_fact(index, "done", value, err);
    if (r == 0)
        r = index_commit(index, err);
    if (r < 0) {
        index_rollback(index);
        return r;
    }
    assert_int_equal(first.sequence, 2 * i + 1);
    assert_int_equal(second.sequence, 2 * i + 2);
    return 0;
}

static inline int script_check_event(const Event *event, void *context)
{
    uint64_t *sequence = context;
    assert_int_equal(event->sequence, ++*sequence);
    Event expected = script_event(*sequence);
    assert_string_equal(event->id, expected.id);
    assert_int_equal(event->revision, expected.revision);
    assert_int_equal(event->state, expected.state);
    assert_int_equal(event->end_us, expected.end_us);
    assert_string_equal(event->description, expected.description);
    return 0;
}

static inline int script_check_span(const LedgerSpan *span, void *context)
{
    int64_t *end = context;
    assert_int_equal(span->start_us, 0);
    assert_int_equal(*end, 0);
    *end = span->end_us;
    return 0;
}

static inline int script_count(const Event *event, void *context)
{
    (void)event;
    ++*(size_t *)context;
    return 0;
}

/* All of the first n transactions is there and nothing else; n is at least `acknowledged`. Returns
 * n. */
static inline int script_check(Index *index, int acknowledged)
{
    uint64_t last = index_last_sequence(index), sequence = 0;
    int n = (int)(last / 2);
    assert_int_equal(last, 2 * n);
    assert_true(n >= acknowledged);
    Error err = {0};
    IndexFilter all = {.limit = 1 << 20};
    assert_int_equal(index_replay(index, 0, &all, script_check_event, &sequence, &err), 0);
    assert_int_equal(sequence, last);
    int64_t end = 0;
    assert_int_equal(index_ledger_spans(index, &all, 0, script_check_span, &end, &err), 0);
    assert_int_equal(end, 10 * n);
    char *value = NULL, expected[32];
    assert_int_equal(index_get_fact(index, "done", &value, &err), 0);
    snprintf(expected, sizeof expected, "%d", n - 1);
    if (n > 0)
        assert_string_equal(value, expected);
    else
        assert_null(value);
    free(value);
    /* The full text says what the newest revisions say. */
    size_t vans = 0, cars = 0, events = 0;
    assert_int_equal(index_search(index, "white van", &all, script_count, &vans, &err), 0);
    assert_int_equal(index_search(index, "red car", &all, script_count, &cars, &err), 0);
    assert_int_equal(index_events(index, &all, script_count, &events, &err), 0);
    assert_int_equal(vans, n / 2);
    assert_int_equal(vans + cars, events);
    assert_int_equal(events, n + (n + 1) / 2);
    return n;
}

#endif

/* daemon/index_forget and index_backup: what goes, what stays, and what a copy holds. */
#include "tests/unit/index_fixture.h"

#include <sqlite3.h>

/* Events e-1 .. e-n, each open and then final, but the `open`th stays open; [10 i, 10 i + 5]. */
static void fill(Fixture *f, int n, int open)
{
    begin(f);
    for (int i = 1; i <= n; i++) {
        char id[32];
        snprintf(id, sizeof id, "e-%d", i);
        Event event = make_event(id, 1, EVENT_OPEN, 10 * i, 10 * i + 1);
        put(f, &event);
        if (i == open)
            continue;
        event = make_event(id, 2, EVENT_FINAL, 10 * i, 10 * i + 5);
        put(f, &event);
    }
    LedgerSpan span = {.camera = "gate",
                       .watch = "car",
                       .start_us = 5,
                       .end_us = 10 * n + 10,
                       .state = SPAN_EXAMINED,
                       .fps = 2,
                       .model = "demo"};
    Error err = {0};
    assert_int_equal(index_ledger_mark(f->index, &span, &err), 0);
    snprintf(span.watch, sizeof span.watch, "dog");
    assert_int_equal(index_ledger_mark(f->index, &span, &err), 0);
    commit(f);
}

static uint64_t expired(Fixture *f, int64_t before_us, uint64_t keep, uint32_t max)
{
    uint64_t sequence;
    Error err = {0};
    if (index_expired(f->index, before_us, keep, max, &sequence, &err) < 0)
        fail_msg("%s", err.text);
    return sequence;
}

static void forget(Fixture *f, uint64_t sequence)
{
    Error err = {0};
    begin(f);
    if (index_forget(f->index, sequence, &err) < 0)
        fail_msg("%s", err.text);
    commit(f);
}

static uint64_t forgotten(Fixture *f)
{
    uint64_t sequence;
    assert_int_equal(index_forgotten(f->index, &sequence, NULL), 0);
    return sequence;
}

static size_t found(Fixture *f, const char *question)
{
    EventList list = {0};
    assert_int_equal(index_search(f->index, question, NULL, keep_event, &list, NULL), 0);
    return list.n;
}

typedef struct Spans {
    LedgerSpan spans[8];
    size_t n;
} Spans;

static int keep_span(const LedgerSpan *span, void *context)
{
    Spans *spans = context;
    assert_true(spans->n < 8);
    spans->spans[spans->n++] = *span;
    return 0;
}

static void by_count_and_age(void **state)
{
    Fixture *f = *state;
    assert_int_equal(expired(f, INT64_MAX, 1, 100), 0); /* nothing is there */
    assert_int_equal(forgotten(f), 0);
    fill(f, 10, 0); /* sequences 1 to 20 */
    assert_int_equal(expired(f, INT64_MIN, 0, 100), 0);
    assert_int_equal(expired(f, INT64_MIN, 10, 100), 0);
    assert_int_equal(expired(f, INT64_MIN, 7, 100), 6);
    assert_int_equal(expired(f, INT64_MIN, 7, 3), 3);
    assert_int_equal(expired(f, 0, 0, 100), 0); /* none is that old */
    assert_int_equal(expired(f, INT64_MAX, 0, 100), 20);
    assert_int_equal(expired(f, INT64_MAX, 0, 9), 9);
}

static void forgets(void **state)
{
    Fixture *f = *state;
    fill(f, 10, 0);
    forget(f, 7); /* three events and the first revision of the fourth */
    assert_int_equal(forgotten(f), 7);
    assert_int_equal(found(f, "red car"), 7);
    EventList list = {0};
    assert_int_equal(index_replay(f->index, 0, NULL, keep_event, &list, NULL), 0);
    assert_int_equal(list.n, 13);
    assert_int_equal(list.events[0].sequence, 8);
    /* The ledger no longer says that nothing else happened there; of the other watch it does. */
    Spans spans = {0};
    assert_int_equal(index_ledger_spans(f->index, NULL, 0, keep_span, &spans, NULL), 0);
    assert_int_equal(spans.n, 3);
    assert_int_equal(spans.spans[0].state, SPAN_LOST);
    assert_string_equal(spans.spans[0].reason, "forgotten");
    assert_int_equal(spans.spans[0].start_us, 5);
    assert_int_equal(spans.spans[0].end_us, 35);
    assert_int_equal(spans.spans[1].state, SPAN_EXAMINED);
    assert_int_equal(spans.spans[1].start_us, 35);
    assert_string_equal(spans.spans[2].watch, "dog");
    assert_int_equal(spans.spans[2].start_us, 5);
    /* The rest of it; numbers of sequences and events go on where they were. */
    forget(f, expired(f, INT64_MAX, 0, 100));
    assert_int_equal(forgotten(f), 20);
    assert_int_equal(found(f, "red car"), 0);
    reopen(f);
    assert_int_equal(forgotten(f), 20);
    assert_int_equal(index_last_sequence(f->index), 20);
    uint64_t number;
    assert_int_equal(index_max_event_number(f->index, &number, NULL), 0);
    assert_int_equal(number, 10);
    spans.n = 0;
    assert_int_equal(index_ledger_spans(f->index, NULL, 0, keep_span, &spans, NULL), 0);
    assert_int_equal(spans.n, 3);
    assert_int_equal(spans.spans[0].end_us, 105);
}

static void open_events_stay(void **state)
{
    Fixture *f = *state;
    fill(f, 6, 3); /* e-3 is open: sequence 5 */
    assert_int_equal(expired(f, INT64_MAX, 0, 100), 4);
    assert_int_equal(expired(f, INT64_MIN, 1, 100), 4);
    forget(f, 4);
    assert_int_equal(expired(f, INT64_MAX, 0, 100), 0);
    EventList list = {0};
    assert_int_equal(index_open_events(f->index, keep_event, &list, NULL), 0);
    assert_int_equal(list.n, 1);
}

/* Written to between the steps: the copy has that as well. */
static void backup(void **state)
{
    Fixture *f = *state;
    fill(f, 10, 0);
    char path[128];
    snprintf(path, sizeof path, "%s/copy.db", f->dir);
    IndexBackup *copy;
    Error err = {0};
    if (index_backup_begin(f->index, path, &copy, &err) < 0)
        fail_msg("%s", err.text);
    int r, steps = 0;
    while ((r = index_backup_step(copy, 2, &err)) == 0) {
        char id[32];
        snprintf(id, sizeof id, "x-%d", ++steps);
        Event event = make_event(id, 1, EVENT_FINAL, steps, steps);
        begin(f);
        put(f, &event);
        commit(f);
        assert_true(index_backup_share(copy) <= 1);
        assert_true(steps < 1000);
    }
    assert_int_equal(r, INDEX_BACKUP_DONE);
    assert_true(steps > 3);
    index_backup_free(copy);
    char log[140];
    snprintf(log, sizeof log, "%s-wal", path);
    assert_int_equal(access(log, F_OK), -1);
    Index *index;
    if (index_open(path, &index, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(index_last_sequence(index), 20 + steps);
    assert_string_equal(index_daemon_id(index), index_daemon_id(f->index));
    EventList list = {0};
    IndexFilter few = {.limit = 60};
    assert_int_equal(index_events(index, &few, keep_event, &list, NULL), 0);
    assert_int_equal(list.n, 10 + steps);
    index_free(index);
    /* One that is given up leaves the index as it was; a folder that is not there is said. */
    unlink(path);
    assert_int_equal(index_backup_begin(f->index, path, &copy, &err), 0);
    assert_int_equal(index_backup_step(copy, 1, &err), 0);
    index_backup_free(copy);
    assert_true(index_backup_begin(f->index, "/no/such/folder/copy.db", &copy, &err) < 0);
    assert_non_null(strstr(err.text, "/no/such/folder/copy.db"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {T(by_count_and_age), T(forgets), T(open_events_stay),
                                       T(backup)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

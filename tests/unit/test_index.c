/* daemon/index: opening, transactions, events, replay, recordings, facts, migrations. */
#include "base/file.h"
#include "daemon/index_internal.h"
#include "daemon/index_watches.h"
#include "tests/unit/index_fixture.h"

#include <errno.h>

static void makes_an_id_once(void **state)
{
    Fixture *f = *state;
    char id[64];
    snprintf(id, sizeof id, "%s", index_daemon_id(f->index));
    assert_int_equal(strlen(id), 36);
    assert_int_equal(id[14], '4');
    assert_int_equal(index_last_sequence(f->index), 0);
    reopen(f);
    assert_string_equal(index_daemon_id(f->index), id);
    /* another index has another one */
    char other[512];
    snprintf(other, sizeof other, "%s/other.db", f->dir);
    Index *index;
    assert_int_equal(index_open(other, &index, NULL), 0);
    assert_string_not_equal(index_daemon_id(index), id);
    index_free(index);
}

static void sequences_have_no_gap(void **state)
{
    Fixture *f = *state;
    Event a = make_event("e-1", 1, EVENT_OPEN, 10, 20), b = make_event("e-2", 1, EVENT_OPEN, 5, 6);
    begin(f);
    put(f, &a);
    put(f, &b);
    assert_int_equal(a.sequence, 1);
    assert_int_equal(b.sequence, 2);
    assert_true(b.committed_us > 0);
    assert_int_equal(index_last_sequence(f->index), 0); /* not before the commit */
    commit(f);
    assert_int_equal(index_last_sequence(f->index), 2);

    begin(f);
    a = make_event("e-1", 2, EVENT_OPEN, 10, 30);
    put(f, &a);
    index_rollback(f->index);
    assert_int_equal(index_last_sequence(f->index), 2);

    begin(f);
    a = make_event("e-1", 2, EVENT_FINAL, 10, 30);
    put(f, &a);
    assert_int_equal(a.sequence, 3);
    commit(f);
    reopen(f);
    assert_int_equal(index_last_sequence(f->index), 3);
    uint64_t number;
    assert_int_equal(index_max_event_number(f->index, &number, NULL), 0);
    assert_int_equal(number, 2);
}

static void nothing_is_written_outside_of_a_transaction(void **state)
{
    Fixture *f = *state;
    Error err = {0};
    Event a = make_event("e-1", 1, EVENT_OPEN, 10, 20);
    assert_int_equal(index_put_event(f->index, &a, &err), -EIO);
    assert_int_equal(a.sequence, 0);
    assert_int_equal(index_put_fact(f->index, "k", "v", NULL), -EIO);
    assert_int_equal(index_put_watch(f->index, "w", "a dog?", NULL), -EIO);
    assert_int_equal(index_remove_recording(f->index, "w", NULL), -EIO);
    assert_int_equal(index_commit(f->index, NULL), -EIO);
    index_rollback(f->index);
}

static void refuses_revisions_that_do_not_follow(void **state)
{
    Fixture *f = *state;
    Event e = make_event("e-1", 3, EVENT_OPEN, 10, 20);
    begin(f);
    put(f, &e);
    Error err = {0};
    e = make_event("e-1", 3, EVENT_OPEN, 10, 21);
    assert_int_equal(index_put_event(f->index, &e, &err), -EINVAL);
    assert_non_null(strstr(err.text, "e-1"));
    e = make_event("e-1", 2, EVENT_RETRACTED, 10, 21);
    assert_int_equal(index_put_event(f->index, &e, NULL), -EINVAL);
    e = make_event("e-1", 4, EVENT_FINAL, 10, 21);
    put(f, &e); /* the transaction goes on */
    assert_int_equal(e.sequence, 2);
    e = make_event("e-1", 5, EVENT_FINAL, 10, 22);
    assert_int_equal(index_put_event(f->index, &e, NULL), -EINVAL);
    e = make_event("e-1", 5, EVENT_OPEN, 10, 22);
    assert_int_equal(index_put_event(f->index, &e, NULL), -EINVAL);
    e = make_event("e-1", 5, EVENT_RETRACTED, 10, 22);
    put(f, &e);
    e = make_event("e-1", 6, EVENT_RETRACTED, 10, 22);
    assert_int_equal(index_put_event(f->index, &e, NULL), -EINVAL);
    e = make_event("e-2", 1, EVENT_OPEN, 30, 22);
    assert_int_equal(index_put_event(f->index, &e, NULL), -EINVAL);
    e = make_event("", 1, EVENT_OPEN, 10, 22);
    assert_int_equal(index_put_event(f->index, &e, NULL), -EINVAL);
    e = make_event("e-3", 1, (EventState)9, 10, 22);
    assert_int_equal(index_put_event(f->index, &e, NULL), -EINVAL);
    commit(f);
    assert_int_equal(index_last_sequence(f->index), 3);
}

static void all_fields_come_back(void **state)
{
    Fixture *f = *state;
    Event e = make_event("e00aa-77", 1, EVENT_FINAL, -5, INT64_MAX);
    snprintf(e.camera, sizeof e.camera, "gate");
    snprintf(e.description, sizeof e.description, "a \"red\" car, 50 %% faster \xc3\xbc'); DROP");
    e.start_err_us = 250000;
    e.end_err_us = 0;
    e.confidence = 0.875;
    begin(f);
    put(f, &e);
    commit(f);
    EventList list = {0};
    assert_int_equal(index_events(f->index, NULL, keep_event, &list, NULL), 0);
    assert_int_equal(list.n, 1);
    assert_memory_equal(&list.events[0], &e, sizeof e);
    list.n = 0;
    assert_int_equal(index_replay(f->index, 0, NULL, keep_event, &list, NULL), 0);
    assert_int_equal(list.n, 1);
    assert_memory_equal(&list.events[0], &e, sizeof e);
}

static void fill_events(Fixture *f)
{
    static const char *const CAMERAS[] = {"gate", "yard"}, *const WATCHES[] = {"car", "dog"};
    begin(f);
    for (int i = 0; i < 40; i++) {
        char id[32];
        snprintf(id, sizeof id, "e-%d", i + 1);
        /* one long one among short ones */
        Event e = make_event(id, 1, EVENT_FINAL, 1000 + i * 100, 1000 + i * 100 + (i ? 50 : 2000));
        snprintf(e.camera, sizeof e.camera, "%s", CAMERAS[i % 2]);
        snprintf(e.watch, sizeof e.watch, "%s", WATCHES[i / 2 % 2]);
        put(f, &e);
    }
    Event gone = make_event("e-3", 2, EVENT_RETRACTED, 1200, 1250);
    put(f, &gone);
    commit(f);
}

static size_t count_events(Fixture *f, IndexFilter filter)
{
    EventList list = {0};
    assert_int_equal(index_events(f->index, &filter, keep_event, &list, NULL), 0);
    for (size_t i = 1; i < list.n; i++)
        assert_true(list.events[i - 1].start_us <= list.events[i].start_us);
    return list.n;
}

static void filters(void **state)
{
    Fixture *f = *state;
    fill_events(f);
    const char *const gate[] = {"gate"}, *const both[] = {"yard", "gate"};
    const char *const dog[] = {"dog"}, *const odd[] = {"no\"such'", "\xff"};
    assert_int_equal(count_events(f, (IndexFilter){0}), 39);
    assert_int_equal(count_events(f, (IndexFilter){.limit = 5}), 5);
    assert_int_equal(count_events(f, (IndexFilter){.cameras = gate, .n_cameras = 1}), 19);
    assert_int_equal(count_events(f, (IndexFilter){.cameras = both, .n_cameras = 2}), 39);
    assert_int_equal(count_events(f, (IndexFilter){.cameras = odd, .n_cameras = 2}), 0);
    assert_int_equal(
        count_events(
            f, (IndexFilter){.cameras = gate, .n_cameras = 1, .watches = dog, .n_watches = 1}),
        9);
    /* the long event [1000, 3000] and [2900, 2950] overlap this, [3000, 3050] touches it */
    assert_int_equal(count_events(f, (IndexFilter){.since_us = 2940, .until_us = 3000}), 3);
    assert_int_equal(count_events(f, (IndexFilter){.since_us = 3001, .until_us = 3050}), 1);
    assert_int_equal(count_events(f, (IndexFilter){.until_us = 999}), 0);
    assert_int_equal(count_events(f, (IndexFilter){.since_us = INT64_MIN}), 39);
    assert_int_equal(count_events(f, (IndexFilter){.since_us = INT64_MAX}), 0);
}

static void replays_every_revision(void **state)
{
    Fixture *f = *state;
    fill_events(f);
    EventList list = {0};
    assert_int_equal(index_replay(f->index, 0, NULL, keep_event, &list, NULL), 0);
    assert_int_equal(list.n, 41);
    for (size_t i = 0; i < list.n; i++)
        assert_int_equal(list.events[i].sequence, i + 1);
    assert_int_equal(list.events[40].state, EVENT_RETRACTED);
    list.n = 0;
    IndexFilter filter = {.limit = 7};
    assert_int_equal(index_replay(f->index, 30, &filter, keep_event, &list, NULL), 0);
    assert_int_equal(list.n, 7);
    assert_int_equal(list.events[0].sequence, 31);
    list.n = 0;
    assert_int_equal(index_replay(f->index, UINT64_MAX, NULL, keep_event, &list, NULL), 0);
    assert_int_equal(list.n, 0);
}

static int stop(const Event *event, void *context)
{
    (void)event;
    return ++*(int *)context == 3 ? 42 : 0;
}

typedef struct Nested {
    Fixture *f;
    size_t outer, inner;
} Nested;

static int nest(const Event *event, void *context)
{
    (void)event;
    Nested *nested = context;
    nested->outer++;
    EventList list = {0};
    assert_int_equal(index_events(nested->f->index, NULL, keep_event, &list, NULL), 0);
    nested->inner += list.n;
    return 0;
}

static void sinks_may_stop_and_may_ask(void **state)
{
    Fixture *f = *state;
    fill_events(f);
    int calls = 0;
    assert_int_equal(index_events(f->index, NULL, stop, &calls, NULL), 42);
    assert_int_equal(calls, 3);
    Nested nested = {.f = f};
    assert_int_equal(index_events(f->index, NULL, nest, &nested, NULL), 0);
    assert_int_equal(nested.outer, 39);
    assert_int_equal(nested.inner, 39 * 39);
}

static void open_events(void **state)
{
    Fixture *f = *state;
    begin(f);
    Event a = make_event("e-9", 1, EVENT_OPEN, 10, 20), b = make_event("e-2", 1, EVENT_FINAL, 5, 6);
    Event c = make_event("a7-12", 1, EVENT_OPEN, 3, 4);
    put(f, &a);
    put(f, &b);
    put(f, &c);
    commit(f);
    reopen(f);
    EventList list = {0};
    assert_int_equal(index_open_events(f->index, keep_event, &list, NULL), 0);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.events[0].id, "a7-12");
    uint64_t number;
    assert_int_equal(index_max_event_number(f->index, &number, NULL), 0);
    assert_int_equal(number, 12);
}

typedef struct Paths {
    char text[1024];
} Paths;

static int keep_path(const Recording *recording, void *context)
{
    Paths *paths = context;
    strcat(paths->text, recording->path);
    strcat(paths->text, " ");
    return 0;
}

static void is_recorded(Fixture *f, int64_t start, int64_t end, const char *expected)
{
    Paths paths = {0};
    assert_int_equal(index_recordings(f->index, "gate", start, end, keep_path, &paths, NULL), 0);
    assert_string_equal(paths.text, expected);
}

static void recordings(void **state)
{
    Fixture *f = *state;
    begin(f);
    for (int i = 0; i < 5; i++) {
        Recording r = {.camera = "gate",
                       .start_us = i * 60,
                       .end_us = i * 60 + 60,
                       .bytes = 100,
                       .utc_err_us = 7,
                       .utc_source = 1};
        snprintf(r.path, sizeof r.path, "%d.mp4", i);
        assert_int_equal(index_put_recording(f->index, &r, NULL), 0);
    }
    Recording other = {.camera = "yard", .path = "y.mp4", .start_us = 0, .end_us = 9, .bytes = 5};
    assert_int_equal(index_put_recording(f->index, &other, NULL), 0);
    other.bytes = 6; /* the same path again: replaced */
    assert_int_equal(index_put_recording(f->index, &other, NULL), 0);
    other.start_us = 10;
    assert_int_equal(index_put_recording(f->index, &other, NULL), -EINVAL);
    commit(f);
    is_recorded(f, 60, 120, "1.mp4 ");
    is_recorded(f, 59, 121, "0.mp4 1.mp4 2.mp4 ");
    is_recorded(f, 299, INT64_MAX, "4.mp4 ");
    is_recorded(f, 300, INT64_MAX, "");
    is_recorded(f, INT64_MIN, 1, "0.mp4 ");
    int64_t bytes;
    assert_int_equal(index_recording_bytes(f->index, "gate", &bytes, NULL), 0);
    assert_int_equal(bytes, 500);
    assert_int_equal(index_recording_bytes(f->index, NULL, &bytes, NULL), 0);
    assert_int_equal(bytes, 506);
    begin(f);
    assert_int_equal(index_remove_recording(f->index, "1.mp4", NULL), 0);
    assert_int_equal(index_remove_recording(f->index, "never.mp4", NULL), 0);
    commit(f);
    is_recorded(f, 59, 121, "0.mp4 2.mp4 ");
}

static void facts(void **state)
{
    Fixture *f = *state;
    char *value;
    assert_int_equal(index_get_fact(f->index, "file/gate", &value, NULL), 0);
    assert_null(value);
    begin(f);
    assert_int_equal(index_put_fact(f->index, "file/gate", "12", NULL), 0);
    assert_int_equal(index_put_fact(f->index, "file/gate", "13", NULL), 0);
    commit(f);
    reopen(f);
    assert_int_equal(index_get_fact(f->index, "file/gate", &value, NULL), 0);
    assert_string_equal(value, "13");
    free(value);
}

/* Writing is possible through SQLite alone: what another program may have left there. */
static void execute(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void is_refused(const char *path, int exit_code, const char *part)
{
    Index *index;
    Error err = {0};
    assert_true(index_open(path, &index, &err) < 0);
    assert_null(index);
    assert_int_equal(err.exit_code, exit_code);
    assert_non_null(strstr(err.text, part));
    assert_non_null(strstr(err.text, path));
}

static void refuses_what_is_not_its_own(void **state)
{
    Fixture *f = *state;
    char path[512];
    snprintf(path, sizeof path, "%s/no/such/index.db", f->dir);
    is_refused(path, EX_CANTCREAT, "No such file");
    is_refused(f->dir, EX_CANTCREAT, "directory");
    snprintf(path, sizeof path, "%s/text.db", f->dir);
    static const char TEXT[] = "This is a text, and a longer one than a header of SQLite, which "
                               "has a hundred bytes; so it goes on for a while.";
    assert_int_equal(file_replace(path, TEXT, sizeof TEXT, NULL), 0);
    is_refused(path, EX_DATAERR, "not a database");
    snprintf(path, sizeof path, "%s/foreign.db", f->dir);
    execute(path, "CREATE TABLE t (a)");
    is_refused(path, EX_DATAERR, "another program");
    char *bytes;
    size_t size;
    assert_int_equal(file_read(path, 1 << 20, &bytes, &size, NULL), 0);
    assert_int_equal(bytes[18], 1); /* still no WAL file: it was not touched */
    free(bytes);
    execute(f->path, "PRAGMA user_version = 99");
    index_free(f->index);
    f->index = NULL;
    is_refused(f->path, EX_DATAERR, "newer whend");
    execute(f->path, "PRAGMA user_version = 3");
    assert_int_equal(index_open(f->path, &f->index, NULL), 0);
}

/* Overwrites the page on which a table or an index begins. */
static void damage(const char *path, const char *name)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT rootpage FROM sqlite_schema WHERE name = ?1", -1, &s, NULL),
        SQLITE_OK);
    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    long page = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    char *bytes;
    size_t size;
    assert_int_equal(file_read(path, 1 << 24, &bytes, &size, NULL), 0);
    assert_true((size_t)page * 4096 <= size);
    memset(bytes + (page - 1) * 4096, 0xa5, 4096);
    assert_int_equal(file_replace(path, bytes, size, NULL), 0);
    free(bytes);
}

static void checks_after_an_unclean_stop(void **state)
{
    Fixture *f = *state;
    fill_events(f);
    index_free(f->index);
    f->index = NULL;
    damage(f->path, "events_length");
    execute(f->path, "UPDATE daemon SET clean = 0");
    is_refused(f->path, EX_DATAERR, "damaged");
    is_refused(f->path, EX_DATAERR, "damaged"); /* nor by trying again */
    execute(f->path, "UPDATE daemon SET clean = 1");
    assert_int_equal(index_open(f->path, &f->index, NULL), 0);
}

static void migrates_step_by_step(void **state)
{
    Fixture *f = *state;
    char path[512];
    snprintf(path, sizeof path, "%s/steps.db", f->dir);
    static const char *const STEPS[] = {"CREATE TABLE a (x); INSERT INTO a VALUES (1);",
                                        "ALTER TABLE a ADD COLUMN y; UPDATE a SET y = 2;",
                                        "UPDATE a SET y = 3; CREATE TABLE a (x);"};
    IndexSchema schema = {STEPS, 1};
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(index_migrate(db, path, &schema, NULL), 0);
    assert_int_equal(index_migrate(db, path, &schema, NULL), 0); /* nothing more to do */
    schema.n_steps = 2;
    assert_int_equal(index_migrate(db, path, &schema, NULL), 0);
    /* A step that fails leaves the version before it. */
    schema.n_steps = 3;
    Error err = {0};
    assert_true(index_migrate(db, path, &schema, &err) < 0);
    assert_non_null(strstr(err.text, path));
    assert_true(sqlite3_get_autocommit(db));
    schema.n_steps = 2;
    assert_int_equal(index_migrate(db, path, &schema, NULL), 0);
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT y FROM a", -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(s, 0), 2);
    sqlite3_finalize(s);
    schema.n_steps = 1;
    assert_true(index_migrate(db, path, &schema, NULL) < 0); /* newer than this */
    sqlite3_close(db);
}

/* Others may read the file while whend writes, through the views. */
static void read_by_others(void **state)
{
    Fixture *f = *state;
    begin(f);
    Event e =
        make_event("e-1", 1, EVENT_FINAL, INT64_C(1795422467250000), INT64_C(1795422468000000));
    put(f, &e);
    commit(f);
    sqlite3 *db;
    assert_int_equal(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    sqlite3_stmt *s;
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT start_utc, state FROM events_utc", -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(s, 0), "2026-11-23T08:27:47.250Z");
    assert_string_equal((const char *)sqlite3_column_text(s, 1), "final");
    sqlite3_finalize(s);
    sqlite3_close(db);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(makes_an_id_once),
        T(sequences_have_no_gap),
        T(nothing_is_written_outside_of_a_transaction),
        T(refuses_revisions_that_do_not_follow),
        T(all_fields_come_back),
        T(filters),
        T(replays_every_revision),
        T(sinks_may_stop_and_may_ask),
        T(open_events),
        T(recordings),
        T(facts),
        T(refuses_what_is_not_its_own),
        T(checks_after_an_unclean_stop),
        T(migrates_step_by_step),
        T(read_by_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

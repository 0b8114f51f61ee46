/*
 * Indexes of earlier versions, as dumps (tests/unit/data/index_vN.sql, the folder is the argument):
 * each is brought up to date, says what it said before, and is then like a new one to the last
 * table.
 */
#include "tests/unit/index_fixture.h"

#include "base/file.h"
#include "base/str.h"
#include "daemon/index_internal.h"

static const char *folder;

static void load(const char *path, int version)
{
    char name[512], *sql;
    size_t bytes;
    Error err = {0};
    snprintf(name, sizeof name, "%s/index_v%d.sql", folder, version);
    if (file_read(name, 1 << 20, &sql, &bytes, &err) < 0)
        fail_msg("%s", err.text);
    sqlite3 *db;
    char *message = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", name, message);
    sqlite3_close(db);
    free(sql);
}

/* All rows of a query, "a|b\nc|d\n". */
static void is_read(const char *path, const char *sql, const char *expected)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    Str rows = {0};
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    while (sqlite3_step(s) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(s); i++)
            str_addf(&rows, "%s%s", (const char *)sqlite3_column_text(s, i),
                     i + 1 < sqlite3_column_count(s) ? "|" : "\n");
    sqlite3_finalize(s);
    sqlite3_close(db);
    assert_string_equal(str_text(&rows), expected);
    str_deinit(&rows);
}

/* Spaces and line ends, however many, are one space. */
static void collapse(char *text)
{
    char *out = text;
    for (char *in = text; *in; in++)
        if ((*in != ' ' && *in != '\n') || (out > text && out[-1] != ' '))
            *out++ = *in == '\n' ? ' ' : *in;
    *out = '\0';
}

/* The tables, indexes, triggers and views as SQLite keeps them. */
static char *schema_of(const char *path)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    Str text = {0};
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT type, name, coalesce(sql, '') FROM sqlite_schema"
                                        " ORDER BY type, name",
                                        -1, &s, NULL),
                     SQLITE_OK);
    while (sqlite3_step(s) == SQLITE_ROW)
        str_addf(&text, "%s %s %s\n", sqlite3_column_text(s, 0), sqlite3_column_text(s, 1),
                 sqlite3_column_text(s, 2));
    sqlite3_finalize(s);
    sqlite3_close(db);
    collapse(text.data);
    return text.data;
}

static void finds(Index *index, const char *question, const char *expected)
{
    EventList list = {0};
    Error err = {0};
    if (index_search(index, question, NULL, keep_event, &list, &err) < 0)
        fail_msg("%s", err.text);
    char ids[128] = "";
    for (size_t i = 0; i < list.n; i++)
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s%s", i ? " " : "",
                 list.events[i].id);
    assert_string_equal(ids, expected);
}

/* Every version holds the same events, so that the same is asked of each. */
static void from_version(Fixture *f, int version)
{
    char path[128], *migrated, *made;
    snprintf(path, sizeof path, "%s/old%d.db", f->dir, version);
    load(path, version);
    Index *index;
    Error err = {0};
    if (index_open(path, &index, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(index_daemon_id(index), "0bad0bad-0000-4000-8000-00000000cafe");
    assert_int_equal(index_last_sequence(index), 6);
    uint64_t number;
    assert_int_equal(index_max_event_number(index, &number, &err), 0);
    assert_int_equal(number, 12);
    EventList list = {0};
    assert_int_equal(index_events(index, NULL, keep_event, &list, &err), 0);
    assert_int_equal(list.n, 3); /* in order of start; e-2 was retracted */
    assert_string_equal(list.events[0].id, "e-12");
    assert_string_equal(list.events[1].id, "e-1");
    assert_int_equal(list.events[1].revision, 2);
    assert_string_equal(list.events[2].id, "e-3");
    list.n = 0;
    assert_int_equal(index_replay(index, 0, NULL, keep_event, &list, &err), 0);
    assert_int_equal(list.n, 6);
    finds(index, "a red car drives past the gate", "e-1");
    finds(index, "red car", "e-12 e-1"); /* the watch's name says so of e-12 */
    finds(index, "dog", "e-3");
    list.n = 0;
    assert_int_equal(index_open_events(index, keep_event, &list, &err), 0);
    assert_int_equal(list.n, 1);
    /* And it goes on: an open event begins earlier than was thought. */
    Event event = list.events[0];
    event.revision = 2;
    event.start_us = 1767594600000000 - 1;
    event.state = EVENT_FINAL;
    assert_int_equal(index_begin(index, &err), 0);
    assert_int_equal(index_put_event(index, &event, &err), 0);
    assert_int_equal(event.sequence, 7);
    assert_int_equal(index_commit(index, &err), 0);
    finds(index, "white dog", "e-3");
    index_free(index);
    is_read(path, "SELECT id FROM events ORDER BY key", "e-12\ne-2\ne-3\ne-1\n");
    is_read(path, "SELECT * FROM coverage_by_day",
            "gate|red-car|2026-01-05|63000.0|0.0|0.0\n"
            "gate|red-car|2026-01-06|23400.0|60.0|0.0\nyard|dog|2026-01-05|0.0|0.0|100.0\n");
    is_read(path, "SELECT count(*) FROM recordings", "1\n");
    is_read(path, "SELECT value FROM facts", "{\"done\":true}\n");
    is_read(path, "SELECT count(*) FROM clients", version >= 2 ? "1\n" : "0\n");
    is_read(path, "PRAGMA integrity_check", "ok\n");
    is_read(path, "PRAGMA foreign_key_check", "");
    migrated = schema_of(path);
    made = schema_of(f->path);
    assert_string_equal(migrated, made);
    free(migrated);
    free(made);
}

/* A version without its dump fails here: see index_schema.c. */
static void from_each(void **state)
{
    for (int version = 1; version < INDEX_SCHEMA.n_steps; version++)
        from_version(*state, version);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 1;
    }
    folder = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(from_each, fixture_setup, fixture_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

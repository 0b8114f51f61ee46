/* A recording is found by time in O(log n): by the statement's plan, and by the steps it takes. */
#include "daemon/index_internal.h"
#include "tests/unit/index_fixture.h"

#define MINUTE INT64_C(60000000)

static int count(const Recording *recording, void *context)
{
    (void)recording;
    ++*(int *)context;
    return 0;
}

/* Minutes [from, to) of four cameras. */
static void add(Fixture *f, int from, int to)
{
    Error err = {0};
    begin(f);
    for (int i = from; i < to; i++)
        for (int camera = 0; camera < 4; camera++) {
            Recording r = {.start_us = i * MINUTE, .end_us = (i + 1) * MINUTE, .bytes = 1};
            snprintf(r.camera, sizeof r.camera, "c%d", camera);
            snprintf(r.path, sizeof r.path, "/r/%d/%d.mp4", camera, i);
            assert_int_equal(index_put_recording(f->index, &r, &err), 0);
        }
    assert_int_equal(index_commit(f->index, &err), 0);
}

/* Steps of SQLite's machine for ten minutes in the middle. */
static int steps(Fixture *f, int minutes)
{
    Error err = {0};
    int n = 0;
    int64_t from_us = minutes / 2 * MINUTE + MINUTE / 2;
    assert_int_equal(
        index_recordings(f->index, "c2", from_us, from_us + 10 * MINUTE, count, &n, &err), 0);
    assert_int_equal(n, 11);
    sqlite3_stmt *s = f->index->statements[STATEMENT_RECORDINGS];
    assert_int_equal(sqlite3_stmt_status(s, SQLITE_STMTSTATUS_FULLSCAN_STEP, 1), 0);
    return sqlite3_stmt_status(s, SQLITE_STMTSTATUS_VM_STEP, 1);
}

static void test_found_by_time(void **state)
{
    Fixture *f = *state;
    add(f, 0, 200);
    steps(f, 200);
    int few = steps(f, 200);
    add(f, 200, 20000); /* two weeks */
    int many = steps(f, 20000);
    print_message("steps: %d in 800 rows, %d in 80000\n", few, many);
    assert_true(many <= few + 20);
}

static void test_plan(void **state)
{
    Fixture *f = *state;
    int n = 0;
    Error err = {0};
    assert_int_equal(index_recordings(f->index, "c", 0, 1, count, &n, &err), 0);
    char *sql = sqlite3_mprintf("EXPLAIN QUERY PLAN %s",
                                sqlite3_sql(f->index->statements[STATEMENT_RECORDINGS]));
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_prepare_v2(f->index->db, sql, -1, &s, NULL), SQLITE_OK);
    sqlite3_free(sql);
    for (; sqlite3_step(s) == SQLITE_ROW; n++) {
        const char *detail = (const char *)sqlite3_column_text(s, 3);
        if (strstr(detail, "SCAN recordings"))
            fail_msg("the plan reads all of it: %s", detail);
        if (n == 0)
            assert_non_null(strstr(detail, "recordings_start"));
    }
    assert_true(n > 0);
    sqlite3_finalize(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_found_by_time, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_plan, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Index: what is forgotten after a time (`events:` in whend.yaml). Revisions go in order of their
 * sequence numbers, so that a replay knows by one number what it can no longer give. Where events
 * were forgotten the ledger says so: it must not promise that nothing happened there.
 */
#include "daemon/index_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static const char DOING[] = "forget old events";

/* At most two numbers and two texts go in, in the order number, number, text, text. */
typedef struct Values {
    int64_t numbers[2];
    const char *texts[2];
} Values;

static sqlite3_stmt *prepare(Index *index, const char *sql, const Values *v, Error *err)
{
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(index->db, sql, -1, &s, NULL) != SQLITE_OK) {
        index_fail(index, DOING, err);
        return NULL;
    }
    int n = sqlite3_bind_parameter_count(s);
    for (int i = 0; i < 2 && i < n; i++)
        sqlite3_bind_int64(s, i + 1, v->numbers[i]);
    for (int i = 0; i < 2 && i + 2 < n; i++)
        index_bind_text(s, i + 3, v->texts[i]);
    return s;
}

static int run(Index *index, const char *sql, const Values *v, Error *err)
{
    sqlite3_stmt *s = prepare(index, sql, v, err);
    if (!s)
        return -EIO;
    int r = sqlite3_step(s) == SQLITE_DONE ? 0 : index_fail(index, DOING, err);
    sqlite3_finalize(s);
    return r;
}

/* The number in the only row; *number stays when that is NULL or there is no row. */
static int read_number(Index *index, const char *sql, const Values *v, int64_t *number, Error *err)
{
    sqlite3_stmt *s = prepare(index, sql, v, err);
    if (!s)
        return -EIO;
    int step = sqlite3_step(s), r = 0;
    if (step == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL)
        *number = sqlite3_column_int64(s, 0);
    else if (step != SQLITE_ROW && step != SQLITE_DONE)
        r = index_fail(index, DOING, err);
    sqlite3_finalize(s);
    return r;
}

int index_forgotten(Index *index, uint64_t *sequence, Error *err)
{
    int64_t first = (int64_t)index->last_sequence + 1;
    int r = read_number(index, "SELECT min(sequence) FROM revisions", &(Values){0}, &first, err);
    *sequence = (uint64_t)(first - 1);
    return r;
}

int index_expired(Index *index, int64_t before_us, uint64_t keep_count, uint32_t max,
                  uint64_t *sequence, Error *err)
{
    *sequence = 0;
    int64_t too_old = 0, too_many = 0, open = INT64_MAX, until = 0;
    int r = 0;
    /* The revisions are in order of their commits: the first that is young enough ends it. */
    if (before_us > INT64_MIN)
        r = read_number(index,
                        "SELECT coalesce((SELECT min(sequence) - 1 FROM (SELECT sequence,"
                        " committed_us FROM revisions ORDER BY sequence LIMIT ?2)"
                        " WHERE committed_us >= ?1), (SELECT max(sequence) FROM (SELECT sequence"
                        " FROM revisions ORDER BY sequence LIMIT ?2)))",
                        &(Values){.numbers = {before_us, max}}, &too_old, err);
    if (r == 0 && keep_count > 0 && keep_count < INT64_MAX)
        r = read_number(index,
                        "SELECT sequence FROM events ORDER BY sequence DESC LIMIT 1 OFFSET ?1",
                        &(Values){.numbers = {(int64_t)keep_count}}, &too_many, err);
    if (r == 0)
        r = read_number(index, "SELECT min(sequence) FROM events WHERE state = 1", &(Values){0},
                        &open, err);
    if (r == 0)
        r = read_number(index,
                        "SELECT max(sequence) FROM (SELECT sequence FROM revisions"
                        " ORDER BY sequence LIMIT ?1)",
                        &(Values){.numbers = {max}}, &until, err);
    if (r < 0)
        return r;
    int64_t last = too_old > too_many ? too_old : too_many;
    last = last < until ? last : until;
    last = last < open ? last : open - 1;
    uint64_t forgotten = 0;
    r = index_forgotten(index, &forgotten, err);
    *sequence = r == 0 && last > (int64_t)forgotten ? (uint64_t)last : 0;
    return r;
}

/* All that the ledger says of camera x watch before until_us becomes one LOST span. */
static int forget_span(Index *index, const char *camera, const char *watch, int64_t until_us,
                       Error *err)
{
    Values v = {.numbers = {until_us, until_us}, .texts = {camera, watch}};
    int r = read_number(index,
                        "SELECT min(start_us) FROM ledger WHERE start_us < ?1 AND start_us < ?2"
                        " AND camera = ?3 AND watch = ?4",
                        &v, &v.numbers[1], err);
    if (r < 0 || v.numbers[1] >= until_us)
        return r;
    r = run(index,
            "DELETE FROM ledger WHERE end_us <= ?1 AND start_us >= ?2 AND camera = ?3"
            " AND watch = ?4",
            &v, err);
    if (r == 0)
        r = run(index,
                "UPDATE ledger SET start_us = ?1 WHERE start_us < ?1 AND end_us > ?1"
                " AND start_us >= ?2 AND camera = ?3 AND watch = ?4",
                &v, err);
    if (r == 0)
        r = run(index,
                "INSERT INTO ledger (camera, watch, start_us, end_us, state, fps, model, reason)"
                " VALUES (?3, ?4, ?2, ?1, 3, 0, '', 'forgotten')",
                &v, err);
    return r;
}

static int forget_spans(Index *index, uint64_t sequence, Error *err)
{
    sqlite3_stmt *s = prepare(index,
                              "SELECT camera, watch, max(end_us) FROM events WHERE sequence <= ?1"
                              " AND state <> 3 GROUP BY camera, watch",
                              &(Values){.numbers = {(int64_t)sequence}}, err);
    if (!s)
        return -EIO;
    int r = 0, step = SQLITE_DONE;
    while (r == 0 && (step = sqlite3_step(s)) == SQLITE_ROW)
        r = forget_span(index, (const char *)sqlite3_column_text(s, 0),
                        (const char *)sqlite3_column_text(s, 1), sqlite3_column_int64(s, 2), err);
    if (r == 0 && step != SQLITE_DONE)
        r = index_fail(index, DOING, err);
    sqlite3_finalize(s);
    return r;
}

/* The numbers of forgotten events are not given again. */
static int keep_number(Index *index, Error *err)
{
    uint64_t highest = 0;
    char text[32];
    int r = index_max_event_number(index, &highest, err);
    if (r < 0)
        return r;
    snprintf(text, sizeof text, "%" PRIu64, highest);
    return index_put_fact(index, INDEX_FACT_HIGHEST_NUMBER, text, err);
}

int index_forget(Index *index, uint64_t sequence, Error *err)
{
    int r = index_check_write(index, DOING, err);
    Values v = {.numbers = {(int64_t)sequence}};
    if (r == 0)
        r = keep_number(index, err);
    if (r == 0)
        r = forget_spans(index, sequence, err);
    if (r == 0)
        r = run(index, "DELETE FROM events WHERE sequence <= ?1 AND state <> 1", &v, err);
    if (r == 0)
        r = run(index,
                "DELETE FROM revisions WHERE sequence <= ?1 AND sequence NOT IN"
                " (SELECT sequence FROM events WHERE sequence <= ?1)",
                &v, err);
    return r;
}

/*
 * Index: opening, transactions, statements, facts. The rest is in index_*.c.
 *
 * A statement that fails for lack of space, memory or a working disk ends the transaction at once:
 * SQLite may have rolled it back by itself, and what came after would then be committed alone.
 */
#include "daemon/index_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { BUSY_TIMEOUT_MS = 2000, DEFAULT_LIMIT = 1000 };

/* Of pages in memory: what questions ask for again and again is a page of its own for each event
 * that is far from the others. */
#define CACHE_KIB "65536"

/* 285 years to either side: what events.key can hold, and far from the ends of int64. */
#define FILTER_LIMIT_US INT64_C(9007199254740991)

#define FILTERED                                                                                   \
    " (?1 IS NULL OR camera IN (SELECT value FROM json_each(?1)))"                                 \
    " AND (?2 IS NULL OR watch IN (SELECT value FROM json_each(?2)))"
/* Bounds of events.key for events that may overlap [?3, ?4]: none begins earlier than the longest
 * there is would. */
#define FIRST_KEY                                                                                  \
    "max(?3 - coalesce((SELECT end_us - start_us FROM events"                                      \
    " ORDER BY end_us - start_us DESC LIMIT 1), 0), -9007199254740991) * 512"
#define LAST_KEY "?4 * 512 + 511"

static const char *const STATEMENTS[N_STATEMENTS] = {
    [STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
    [STATEMENT_COMMIT] = "COMMIT",
    [STATEMENT_ROLLBACK] = "ROLLBACK",
    [STATEMENT_SET_CLEAN] = "UPDATE daemon SET clean = ?1",
    [STATEMENT_SET_SEQUENCE] = "UPDATE daemon SET last_sequence = ?1",
    [STATEMENT_GET_EVENT] = "SELECT revision, state, start_us, key FROM events WHERE id = ?1",
    [STATEMENT_LAST_KEY] = "SELECT max(key) FROM events WHERE key BETWEEN ?1 AND ?1 + 511",
    [STATEMENT_PUT_REVISION] = "INSERT INTO revisions (" EVENT_COLUMNS
                               ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    [STATEMENT_PUT_EVENT] =
        "INSERT INTO events (" EVENT_COLUMNS
        ", number, key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
        " ON CONFLICT (id) DO UPDATE SET key = ?15, revision = ?2, state = ?3, camera = ?4, watch "
        "= ?5,"
        " description = ?6, start_us = ?7, end_us = ?8, start_err_us = ?9, end_err_us = ?10,"
        " confidence = ?11, sequence = ?12, committed_us = ?13",
    [STATEMENT_EVENTS] = "SELECT " EVENT_COLUMNS " FROM events WHERE key BETWEEN " FIRST_KEY
                         " AND " LAST_KEY " AND state <> 3 AND start_us <= ?4 AND end_us >= ?3"
                         " AND" FILTERED " ORDER BY key LIMIT ?5",
    [STATEMENT_EVENT] = "SELECT " EVENT_COLUMNS " FROM events WHERE id = ?1",
    [STATEMENT_OPEN_EVENTS] =
        "SELECT " EVENT_COLUMNS " FROM events WHERE state = 1 ORDER BY start_us, id",
    [STATEMENT_REPLAY] = "SELECT " EVENT_COLUMNS " FROM revisions WHERE sequence > ?6 AND" FILTERED
                         " ORDER BY sequence LIMIT ?5",
    /* The full text gives its finds in order of rowid: nothing is sorted, and the walk ends with
     * the limit. */
    [STATEMENT_SEARCH] =
        "SELECT " EVENT_COLUMNS " FROM (SELECT rowid AS found FROM event_text WHERE event_text"
        " MATCH ?6 AND rowid BETWEEN " FIRST_KEY " AND " LAST_KEY " ORDER BY rowid)"
        " CROSS JOIN events ON key = found WHERE state <> 3 AND start_us <= ?4"
        " AND end_us >= ?3 AND" FILTERED " ORDER BY found LIMIT ?5",
    [STATEMENT_MAX_EVENT_NUMBER] =
        "SELECT max(coalesce((SELECT max(number) FROM events), 0), coalesce((SELECT CAST(value AS"
        " INTEGER) FROM facts WHERE key = '" INDEX_FACT_HIGHEST_NUMBER "'), 0))",
    [STATEMENT_PUT_WATCH] =
        "INSERT INTO watches (name, question, words, event_watch, asked_us) VALUES"
        " (?1, ?2, ?3, ?1, ?4) ON CONFLICT (name) DO UPDATE SET words = ?3, retired_us = 0",
    [STATEMENT_GET_WATCH] = "SELECT question FROM watches WHERE name = ?1",
    [STATEMENT_RENAME_WATCH] =
        "UPDATE watches SET name = ?2, event_watch = ?1, retired_us ="
        " CASE retired_us WHEN 0 THEN ?3 ELSE retired_us END WHERE name = ?1",
    [STATEMENT_RETIRE_WATCHES] = "UPDATE watches SET retired_us = ?2 WHERE retired_us = 0 AND"
                                 " (?1 IS NULL OR name NOT IN (SELECT value FROM json_each(?1)))",
    [STATEMENT_MATCH_WATCHES] =
        "SELECT name, iif(event_watch = '', name, event_watch), question, asked_us, retired_us"
        " FROM watches WHERE words = ?1 ORDER BY retired_us <> 0, name",
    [STATEMENT_WATCH_EVENTS] =
        "SELECT " EVENT_COLUMNS " FROM events WHERE watch = ?6 AND key BETWEEN " FIRST_KEY
        " AND " LAST_KEY " AND state <> 3 AND start_us <= ?4 AND end_us >= ?3"
        " AND coalesce((SELECT committed_us FROM revisions AS first WHERE"
        " first.id = events.id AND first.revision = 1), committed_us)"
        " BETWEEN ?7 AND ?8 AND" FILTERED " ORDER BY key LIMIT ?5",
    [STATEMENT_PUT_ADDED_WATCH] =
        "INSERT OR REPLACE INTO added_watches (name, question, cameras, join_gap_us,"
        " min_duration_us, cool_down_us, min_confidence, days, hours, time_zone, since) VALUES"
        " (?1, ?2, coalesce(?3, '[]'), ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    [STATEMENT_REMOVE_ADDED_WATCH] = "DELETE FROM added_watches WHERE name = ?1",
    [STATEMENT_ADDED_WATCHES] =
        "SELECT name, question, join_gap_us, min_duration_us, cool_down_us, min_confidence, days,"
        " hours, time_zone, since, (SELECT group_concat(value, ' ') FROM json_each(cameras))"
        " FROM added_watches ORDER BY name",
    [STATEMENT_LEDGER_NEAR] =
        "SELECT key, start_us, end_us, state, fps, model, reason FROM ledger"
        " WHERE camera = ?1 AND watch = ?2 AND start_us <= ?4 AND end_us >= ?3 AND start_us >="
        " coalesce((SELECT max(start_us) FROM ledger"
        " WHERE camera = ?1 AND watch = ?2 AND start_us < ?3), ?3) ORDER BY start_us",
    [STATEMENT_LEDGER_DELETE] = "DELETE FROM ledger WHERE key = ?1",
    [STATEMENT_LEDGER_INSERT] =
        "INSERT INTO ledger (camera, watch, start_us, end_us, state, fps, model, reason)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [STATEMENT_LEDGER_SPANS] =
        "SELECT camera, watch, start_us, end_us, state, fps, model, reason FROM ledger"
        " WHERE start_us <= ?4 AND end_us > ?3 AND (?6 = 0 OR state = ?6) AND" FILTERED
        " ORDER BY camera, watch, start_us LIMIT ?5",
    [STATEMENT_LEDGER_RENAME] = "UPDATE ledger SET watch = ?2 WHERE watch = ?1",
    [STATEMENT_LEDGER_FORGET] = "DELETE FROM ledger WHERE state = 1 AND (watch = ?1 OR watch IN"
                                " (SELECT name FROM watches WHERE retired_us <> 0))",
    [STATEMENT_LEDGER_END] = "SELECT end_us FROM ledger WHERE camera = ?1 AND watch = ?2"
                             " ORDER BY start_us DESC LIMIT 1",
    [STATEMENT_LEDGER_WAITING] = "SELECT camera, sum(end_us - start_us) FROM ledger"
                                 " WHERE state = 1 GROUP BY camera",
    [STATEMENT_PUT_RECORDING] =
        "INSERT INTO recordings (path, camera, start_us, end_us, utc_err_us, utc_source, bytes)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (path) DO UPDATE SET camera = ?2,"
        " start_us = ?3, end_us = ?4, utc_err_us = ?5, utc_source = ?6, bytes = ?7",
    [STATEMENT_REMOVE_RECORDING] = "DELETE FROM recordings WHERE path = ?1",
    [STATEMENT_RECORDINGS] =
        "SELECT path, camera, start_us, end_us, utc_err_us, utc_source, bytes FROM recordings"
        " WHERE camera = ?1 AND start_us < ?3 AND end_us > ?2 AND start_us >= ?2 - coalesce("
        "(SELECT end_us - start_us FROM recordings WHERE camera = ?1"
        " ORDER BY end_us - start_us DESC LIMIT 1), 0) ORDER BY start_us, path",
    [STATEMENT_RECORDING_BYTES] =
        "SELECT coalesce(sum(bytes), 0) FROM recordings WHERE ?1 IS NULL OR camera = ?1",
    [STATEMENT_PUT_FACT] = "INSERT INTO facts (key, value) VALUES (?1, ?2)"
                           " ON CONFLICT (key) DO UPDATE SET value = ?2",
    [STATEMENT_GET_FACT] = "SELECT value FROM facts WHERE key = ?1",
};

/* --- statements --- */

sqlite3_stmt *index_acquire(Index *index, IndexStatement id, const char *doing, Error *err)
{
    sqlite3_stmt **cached = &index->statements[id];
    if (*cached && !sqlite3_stmt_busy(*cached))
        return *cached;
    sqlite3_stmt *statement = NULL;
    unsigned flags = *cached ? 0 : SQLITE_PREPARE_PERSISTENT;
    if (sqlite3_prepare_v3(index->db, STATEMENTS[id], -1, flags, &statement, NULL) != SQLITE_OK) {
        index_fail(index, doing, err);
        return NULL;
    }
    if (!*cached)
        *cached = statement;
    return statement;
}

void index_release(Index *index, IndexStatement id, sqlite3_stmt *statement)
{
    if (statement != index->statements[id]) {
        sqlite3_finalize(statement);
        return;
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
}

int index_run(Index *index, IndexStatement id, sqlite3_stmt *statement, const char *doing,
              Error *err)
{
    int r = sqlite3_step(statement);
    r = r == SQLITE_DONE ? 0 : index_fail(index, doing, err);
    index_release(index, id, statement);
    return r;
}

void index_bind_text(sqlite3_stmt *statement, int i, const char *text)
{
    sqlite3_bind_text(statement, i, text, -1, SQLITE_STATIC);
}

void index_column_text(sqlite3_stmt *statement, int i, char *out, size_t bytes)
{
    const char *text = (const char *)sqlite3_column_text(statement, i);
    snprintf(out, bytes, "%s", text ? text : "");
}

int index_bind_names(sqlite3_stmt *statement, int i, const char *const *names, size_t n, Error *err)
{
    if (n == 0) {
        sqlite3_bind_null(statement, i);
        return 0;
    }
    _cleanup_str_ Str json = {0};
    for (size_t k = 0; k < n; k++) {
        str_add_text(&json, k ? "," : "[");
        str_add_json(&json, names[k]);
    }
    str_add_text(&json, "]");
    if (str_failed(&json) ||
        sqlite3_bind_text(statement, i, str_text(&json), -1, SQLITE_TRANSIENT) != SQLITE_OK)
        return error_set(err, ENOMEM, EX_OSERR, "no memory for a query");
    return 0;
}

static int64_t bounded(int64_t us)
{
    return us > FILTER_LIMIT_US ? FILTER_LIMIT_US : us < -FILTER_LIMIT_US ? -FILTER_LIMIT_US : us;
}

int index_bind_filter(sqlite3_stmt *statement, const IndexFilter *filter, Error *err)
{
    static const IndexFilter ALL = {0};
    if (!filter)
        filter = &ALL;
    int r = index_bind_names(statement, 1, filter->cameras, filter->n_cameras, err);
    if (r == 0)
        r = index_bind_names(statement, 2, filter->watches, filter->n_watches, err);
    sqlite3_bind_int64(statement, 3,
                       filter->since_us ? bounded(filter->since_us) : -FILTER_LIMIT_US);
    sqlite3_bind_int64(statement, 4,
                       filter->until_us ? bounded(filter->until_us) : FILTER_LIMIT_US);
    sqlite3_bind_int64(statement, 5, filter->limit ? filter->limit : DEFAULT_LIMIT);
    return r;
}

/* --- errors and transactions --- */

/* In a transaction or not, afterwards there is none. */
static void roll_back(Index *index)
{
    if (!sqlite3_get_autocommit(index->db))
        sqlite3_exec(index->db, "ROLLBACK", NULL, NULL, NULL);
    index->in_transaction = false;
    index->pending_sequence = index->last_sequence;
}

int index_fail(Index *index, const char *doing, Error *err)
{
    IndexFault fault = index_fault(index->db);
    int r = error_set(err, fault.errnum, fault.exit_code, "index %s: cannot %s: %s (%s)",
                      index->path, doing, sqlite3_errmsg(index->db), fault.remedy);
    if (index->in_transaction)
        roll_back(index);
    return r;
}

int index_check_write(Index *index, const char *doing, Error *err)
{
    if (index->in_transaction)
        return 0;
    return error_set(err, EIO, EX_SOFTWARE, "index %s: cannot %s: there is no transaction",
                     index->path, doing);
}

int index_begin(Index *index, Error *err)
{
    assert(!index->in_transaction);
    sqlite3_stmt *statement = index_acquire(index, STATEMENT_BEGIN, "begin a change", err);
    if (!statement)
        return -EIO;
    int r = index_run(index, STATEMENT_BEGIN, statement, "begin a change", err);
    index->in_transaction = r == 0;
    return r;
}

int index_commit(Index *index, Error *err)
{
    int r = index_check_write(index, "store a change", err);
    if (r < 0)
        return r;
    sqlite3_stmt *statement = NULL;
    if (index->pending_sequence != index->last_sequence) {
        statement = index_acquire(index, STATEMENT_SET_SEQUENCE, "store a change", err);
        if (!statement)
            return -EIO;
        sqlite3_bind_int64(statement, 1, (int64_t)index->pending_sequence);
        r = index_run(index, STATEMENT_SET_SEQUENCE, statement, "store a change", err);
        if (r < 0)
            return r;
    }
    statement = index_acquire(index, STATEMENT_COMMIT, "store a change", err);
    if (!statement)
        return -EIO;
    r = index_run(index, STATEMENT_COMMIT, statement, "store a change", err);
    if (r < 0)
        return r;
    index->in_transaction = false;
    index->last_sequence = index->pending_sequence;
    return 0;
}

void index_rollback(Index *index)
{
    if (index->in_transaction)
        roll_back(index);
}

uint64_t index_last_sequence(const Index *index)
{
    return index->last_sequence;
}

const char *index_daemon_id(const Index *index)
{
    return index->daemon_id;
}

/* --- opening --- */

/* A random UUID (RFC 9562, version 4). */
static int make_id(char id[40], Error *err)
{
    unsigned char b[16];
    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
        return error_set(err, EIO, EX_OSERR, "no random bytes for a daemon id: %s",
                         strerror(errno));
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(id, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
    return 0;
}

static int set_clean(Index *index, bool clean, Error *err)
{
    const char *doing = clean ? "note that it was closed in order" : "note that it is open";
    sqlite3_stmt *statement = index_acquire(index, STATEMENT_SET_CLEAN, doing, err);
    if (!statement)
        return -EIO;
    sqlite3_bind_int(statement, 1, clean);
    return index_run(index, STATEMENT_SET_CLEAN, statement, doing, err);
}

/* Reads the daemon's row, made at first use. */
static int read_daemon(Index *index, bool *clean, Error *err)
{
    static const char DOING[] = "read the daemon's id";
    char id[40];
    int r = make_id(id, err);
    if (r < 0)
        return r;
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(index->db,
                           "INSERT INTO daemon (one, id, last_sequence, clean, created_us)"
                           " SELECT 1, ?1, 0, 1, ?2 WHERE NOT EXISTS (SELECT 1 FROM daemon)",
                           -1, &statement, NULL) != SQLITE_OK)
        return index_fail(index, DOING, err);
    index_bind_text(statement, 1, id);
    sqlite3_bind_int64(statement, 2, clock_utc_us());
    r = sqlite3_step(statement) == SQLITE_DONE ? 0 : index_fail(index, DOING, err);
    sqlite3_finalize(statement);
    if (r < 0)
        return r;
    if (sqlite3_prepare_v2(index->db,
                           "SELECT id, max(last_sequence, coalesce((SELECT max(sequence) FROM"
                           " revisions), 0)), clean FROM daemon",
                           -1, &statement, NULL) != SQLITE_OK)
        return index_fail(index, DOING, err);
    if (sqlite3_step(statement) == SQLITE_ROW) {
        index_column_text(statement, 0, index->daemon_id, sizeof index->daemon_id);
        index->last_sequence = (uint64_t)sqlite3_column_int64(statement, 1);
        index->pending_sequence = index->last_sequence;
        *clean = sqlite3_column_int(statement, 2) != 0;
    } else {
        r = index_fail(index, DOING, err);
    }
    sqlite3_finalize(statement);
    return r;
}

static int journal_is_wal(Index *index, Error *err)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(index->db, "PRAGMA journal_mode = WAL", -1, &statement, NULL) !=
        SQLITE_OK)
        return index_fail(index, "open it", err);
    int r = 0;
    if (sqlite3_step(statement) != SQLITE_ROW) {
        r = index_fail(index, "open it", err);
    } else {
        const char *mode = (const char *)sqlite3_column_text(statement, 0);
        if (!mode || strcmp(mode, "wal") != 0)
            r = error_set(err, ENOTSUP, EX_CANTCREAT,
                          "index %s: its file system cannot hold a write-ahead log: choose a "
                          "local state directory",
                          index->path);
    }
    sqlite3_finalize(statement);
    return r;
}

static int open_all(Index *index, Error *err)
{
    if (sqlite3_open_v2(index->path, &index->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                            SQLITE_OPEN_EXRESCODE,
                        NULL) != SQLITE_OK) {
        if (!index->db)
            return error_set(err, ENOMEM, EX_OSERR, "index %s: no memory", index->path);
        int cause = sqlite3_system_errno(index->db);
        IndexFault fault = index_fault(index->db);
        return error_set(err, cause > 0 ? cause : fault.errnum, fault.exit_code,
                         "index %s: cannot open it: %s (%s)", index->path,
                         cause > 0 ? strerror(cause) : sqlite3_errmsg(index->db), fault.remedy);
    }
    sqlite3_busy_timeout(index->db, BUSY_TIMEOUT_MS);
    /* A question's text never decides what SQL does, and a damaged schema is an error. */
    sqlite3_db_config(index->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    int r = index_migrate(index->db, index->path, &INDEX_SCHEMA, err);
    if (r == 0)
        r = journal_is_wal(index, err);
    if (r == 0 && sqlite3_exec(index->db,
                               "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                               "PRAGMA cache_size = -" CACHE_KIB,
                               NULL, NULL, NULL) != SQLITE_OK)
        r = index_fail(index, "open it", err);
    bool clean = true;
    if (r == 0)
        r = read_daemon(index, &clean, err);
    if (r == 0 && !clean) {
        log_info("index", "path=%s was not closed in order: checking it", index->path);
        r = index_check_integrity(index->db, index->path, err);
    }
    if (r == 0)
        r = set_clean(index, false, err);
    if (r == 0)
        r = index_words_open(index, err);
    index->ready = r == 0;
    return r;
}

int index_open(const char *path, Index **out, Error *err)
{
    *out = NULL;
    Index *index = calloc(1, sizeof *index);
    if (index)
        index->path = strdup(path);
    if (!index || !index->path) {
        free(index);
        return error_set(err, ENOMEM, EX_OSERR, "index %s: no memory", path);
    }
    int r = open_all(index, err);
    if (r < 0) {
        index_free(index);
        return r;
    }
    *out = index;
    return 0;
}

void index_free(Index *index)
{
    if (!index)
        return;
    if (index->db)
        roll_back(index);
    Error err = {0};
    if (index->ready && set_clean(index, true, &err) < 0)
        log_warn("index", "%s", err.text);
    for (int i = 0; i < N_STATEMENTS; i++)
        sqlite3_finalize(index->statements[i]);
    index_words_close(index);
    int r = sqlite3_close(index->db);
    assert(r == SQLITE_OK);
    (void)r;
    free(index->path);
    free(index);
}

/* --- facts --- */

int index_put_fact(Index *index, const char *key, const char *value, Error *err)
{
    int r = index_check_write(index, "store a fact", err);
    if (r < 0)
        return r;
    sqlite3_stmt *statement = index_acquire(index, STATEMENT_PUT_FACT, "store a fact", err);
    if (!statement)
        return -EIO;
    index_bind_text(statement, 1, key);
    index_bind_text(statement, 2, value);
    return index_run(index, STATEMENT_PUT_FACT, statement, "store a fact", err);
}

int index_get_fact(Index *index, const char *key, char **value, Error *err)
{
    *value = NULL;
    sqlite3_stmt *statement = index_acquire(index, STATEMENT_GET_FACT, "read a fact", err);
    if (!statement)
        return -EIO;
    index_bind_text(statement, 1, key);
    int r = sqlite3_step(statement);
    if (r == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        *value = text ? strdup(text) : NULL;
        r = *value ? 0 : error_set(err, ENOMEM, EX_OSERR, "no memory to read a fact");
    } else {
        r = r == SQLITE_DONE ? 0 : index_fail(index, "read a fact", err);
    }
    index_release(index, STATEMENT_GET_FACT, statement);
    return r;
}

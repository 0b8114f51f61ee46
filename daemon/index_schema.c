/*
 * Index: the tables and how they came to be (docs/index.md explains them to readers of the file).
 *
 * A file is ours when its application_id says so; user_version is the number of steps taken. A step
 * is never changed once released: what comes later is a new step.
 *
 * To change the tables: add STEP_N to STEPS below, add tests/unit/data/index_vN-1.sql (the dump of
 * a small index of the version before: test_index_versions fails without it), and say in
 * docs/index.md what is new. Nothing else has to know the number.
 */
#include "daemon/index_internal.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>

enum { APPLICATION_ID = 0x7768656e }; /* "when" */

static const char STEP_1[] =
    /* One row: who this daemon is, its last sequence number, was it stopped in order. */
    "CREATE TABLE daemon (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL,"
    " last_sequence INTEGER NOT NULL, clean INTEGER NOT NULL, created_us INTEGER NOT NULL) STRICT;"

    /* Every revision ever committed, for replay. */
    "CREATE TABLE revisions (sequence INTEGER PRIMARY KEY, id TEXT NOT NULL,"
    " revision INTEGER NOT NULL CHECK (revision > 0), state INTEGER NOT NULL"
    " CHECK (state BETWEEN 1 AND 3), camera TEXT NOT NULL, watch TEXT NOT NULL,"
    " description TEXT NOT NULL, start_us INTEGER NOT NULL, end_us INTEGER NOT NULL,"
    " start_err_us INTEGER NOT NULL, end_err_us INTEGER NOT NULL, confidence REAL NOT NULL,"
    " committed_us INTEGER NOT NULL, UNIQUE (id, revision), CHECK (start_us <= end_us)) STRICT;"

    /* The newest revision of each event. */
    "CREATE TABLE events (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
    " number INTEGER NOT NULL, revision INTEGER NOT NULL, state INTEGER NOT NULL,"
    " camera TEXT NOT NULL, watch TEXT NOT NULL, description TEXT NOT NULL,"
    " start_us INTEGER NOT NULL, end_us INTEGER NOT NULL, start_err_us INTEGER NOT NULL,"
    " end_err_us INTEGER NOT NULL, confidence REAL NOT NULL,"
    " sequence INTEGER NOT NULL UNIQUE REFERENCES revisions (sequence),"
    " committed_us INTEGER NOT NULL, CHECK (start_us <= end_us)) STRICT;"
    "CREATE INDEX events_start ON events (start_us);"
    /* For "the longest there is": how far before a time one must look for events that reach it. */
    "CREATE INDEX events_length ON events (end_us - start_us);"
    "CREATE INDEX events_number ON events (number);"
    "CREATE INDEX events_open ON events (start_us) WHERE state = 1;"

    "CREATE VIRTUAL TABLE event_text USING fts5 (description, content = 'events',"
    " content_rowid = 'key', tokenize = 'porter unicode61 remove_diacritics 2');"
    "CREATE TRIGGER events_added AFTER INSERT ON events BEGIN"
    " INSERT INTO event_text (rowid, description) VALUES (new.key, new.description); END;"
    "CREATE TRIGGER events_changed AFTER UPDATE OF description ON events"
    " WHEN old.description <> new.description BEGIN"
    " INSERT INTO event_text (event_text, rowid, description)"
    " VALUES ('delete', old.key, old.description);"
    " INSERT INTO event_text (rowid, description) VALUES (new.key, new.description); END;"

    /* words: the question's stemmed content words in order of the alphabet. */
    "CREATE TABLE watches (name TEXT PRIMARY KEY, question TEXT NOT NULL, words TEXT NOT NULL)"
    " STRICT;"
    "CREATE INDEX watches_words ON watches (words);"

    /* The spans of one camera and watch do not overlap. */
    "CREATE TABLE ledger (key INTEGER PRIMARY KEY, camera TEXT NOT NULL, watch TEXT NOT NULL,"
    " start_us INTEGER NOT NULL, end_us INTEGER NOT NULL, state INTEGER NOT NULL"
    " CHECK (state BETWEEN 1 AND 3), fps REAL NOT NULL, model TEXT NOT NULL,"
    " reason TEXT NOT NULL, CHECK (start_us < end_us)) STRICT;"
    "CREATE UNIQUE INDEX ledger_start ON ledger (camera, watch, start_us);"
    "CREATE INDEX ledger_state ON ledger (state, start_us);"

    "CREATE TABLE recordings (path TEXT PRIMARY KEY, camera TEXT NOT NULL,"
    " start_us INTEGER NOT NULL, end_us INTEGER NOT NULL, utc_err_us INTEGER NOT NULL,"
    " utc_source INTEGER NOT NULL, bytes INTEGER NOT NULL, CHECK (start_us <= end_us)) STRICT;"
    "CREATE INDEX recordings_start ON recordings (camera, start_us);"
    "CREATE INDEX recordings_length ON recordings (camera, end_us - start_us);"

    "CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"

    /* For people. */
    "CREATE VIEW events_utc AS SELECT id, revision,"
    " CASE state WHEN 1 THEN 'open' WHEN 2 THEN 'final' ELSE 'retracted' END AS state,"
    " camera, watch, description,"
    " strftime('%Y-%m-%dT%H:%M:%fZ', start_us / 1e6, 'unixepoch') AS start_utc,"
    " strftime('%Y-%m-%dT%H:%M:%fZ', end_us / 1e6, 'unixepoch') AS end_utc,"
    " start_err_us / 1e6 AS start_err_s, end_err_us / 1e6 AS end_err_s, confidence, sequence"
    " FROM events;"
    "CREATE VIEW ledger_utc AS SELECT camera, watch,"
    " strftime('%Y-%m-%dT%H:%M:%fZ', start_us / 1e6, 'unixepoch') AS start_utc,"
    " strftime('%Y-%m-%dT%H:%M:%fZ', end_us / 1e6, 'unixepoch') AS end_utc,"
    " CASE state WHEN 1 THEN 'waiting' WHEN 2 THEN 'examined' ELSE 'lost' END AS state,"
    " fps, model, reason FROM ledger;";

static const char STEP_2[] =
    /* events.key is in order of start, so that the newest and the oldest of what the full text
     * finds come without a sort: start_us * 512 and the next free number (see index_events.c). */
    "DROP VIEW events_utc; DROP TABLE event_text;"
    "CREATE TABLE events_new (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
    " number INTEGER NOT NULL, revision INTEGER NOT NULL, state INTEGER NOT NULL,"
    " camera TEXT NOT NULL, watch TEXT NOT NULL, description TEXT NOT NULL,"
    " start_us INTEGER NOT NULL, end_us INTEGER NOT NULL, start_err_us INTEGER NOT NULL,"
    " end_err_us INTEGER NOT NULL, confidence REAL NOT NULL,"
    " sequence INTEGER NOT NULL UNIQUE REFERENCES revisions (sequence),"
    " committed_us INTEGER NOT NULL, CHECK (start_us <= end_us)) STRICT;"
    "INSERT INTO events_new SELECT"
    " max(min(start_us, 9007199254740991), -9007199254740991) * 512"
    " + row_number() OVER (PARTITION BY start_us ORDER BY number, id) - 1,"
    " id, number, revision, state, camera, watch, description, start_us, end_us, start_err_us,"
    " end_err_us, confidence, sequence, committed_us FROM events;"
    "DROP TABLE events; ALTER TABLE events_new RENAME TO events;"
    "CREATE INDEX events_length ON events (end_us - start_us);"
    "CREATE INDEX events_number ON events (number);"
    "CREATE INDEX events_open ON events (start_us) WHERE state = 1;"

    /* A watch's name says what its events are, too: "red-car" finds them by "red car". */
    "CREATE VIRTUAL TABLE event_text USING fts5 (description, watch, content = 'events',"
    " content_rowid = 'key', tokenize = 'porter unicode61 remove_diacritics 2');"
    "INSERT INTO event_text (event_text) VALUES ('rebuild');"
    "CREATE TRIGGER events_added AFTER INSERT ON events BEGIN"
    " INSERT INTO event_text (rowid, description, watch)"
    " VALUES (new.key, new.description, new.watch); END;"
    "CREATE TRIGGER events_changed AFTER UPDATE OF key, description, watch ON events"
    " WHEN old.key <> new.key OR old.description <> new.description OR old.watch <> new.watch BEGIN"
    " INSERT INTO event_text (event_text, rowid, description, watch)"
    " VALUES ('delete', old.key, old.description, old.watch);"
    " INSERT INTO event_text (rowid, description, watch)"
    " VALUES (new.key, new.description, new.watch); END;"
    "CREATE TRIGGER events_removed AFTER DELETE ON events BEGIN"
    " INSERT INTO event_text (event_text, rowid, description, watch)"
    " VALUES ('delete', old.key, old.description, old.watch); END;"

    /* Who may connect from elsewhere: the public halves of their CURVE keys, in Z85. */
    "CREATE TABLE clients (name TEXT PRIMARY KEY, public_key TEXT NOT NULL UNIQUE,"
    " added_us INTEGER NOT NULL) STRICT;"

    "CREATE VIEW events_utc AS SELECT id, revision,"
    " CASE state WHEN 1 THEN 'open' WHEN 2 THEN 'final' ELSE 'retracted' END AS state,"
    " camera, watch, description,"
    " strftime('%Y-%m-%dT%H:%M:%fZ', start_us / 1e6, 'unixepoch') AS start_utc,"
    " strftime('%Y-%m-%dT%H:%M:%fZ', end_us / 1e6, 'unixepoch') AS end_utc,"
    " start_err_us / 1e6 AS start_err_s, end_err_us / 1e6 AS end_err_s, confidence, sequence"
    " FROM events;"
    /* A span that goes over midnight counts on each of its days (of UTC). */
    "CREATE VIEW coverage_by_day AS WITH RECURSIVE parts (camera, watch, state, day, start_us,"
    " end_us) AS (SELECT camera, watch, state, (start_us - (start_us % 86400000000 + 86400000000)"
    " % 86400000000) / 86400000000, start_us, end_us FROM ledger"
    " UNION ALL SELECT camera, watch, state, day + 1, (day + 1) * 86400000000, end_us FROM parts"
    " WHERE (day + 1) * 86400000000 < end_us)"
    " SELECT camera, watch, date(day * 86400, 'unixepoch') AS day,"
    " sum(iif(state = 2, min(end_us, (day + 1) * 86400000000) - start_us, 0)) / 1e6 AS examined_s,"
    " sum(iif(state = 1, min(end_us, (day + 1) * 86400000000) - start_us, 0)) / 1e6 AS waiting_s,"
    " sum(iif(state = 3, min(end_us, (day + 1) * 86400000000) - start_us, 0)) / 1e6 AS lost_s"
    " FROM parts GROUP BY camera, watch, day;";

static const char STEP_3[] =
    /* A name's earlier questions live on as NAME@N; see index_watches.h. */
    "ALTER TABLE watches ADD COLUMN event_watch TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE watches ADD COLUMN asked_us INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE watches ADD COLUMN retired_us INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE added_watches (name TEXT PRIMARY KEY, question TEXT NOT NULL,"
    " cameras TEXT NOT NULL, join_gap_us INTEGER NOT NULL, min_duration_us INTEGER NOT NULL,"
    " cool_down_us INTEGER NOT NULL, min_confidence REAL NOT NULL, days TEXT NOT NULL,"
    " hours TEXT NOT NULL, time_zone TEXT NOT NULL, since TEXT NOT NULL) STRICT;"
    "CREATE INDEX events_watch ON events (watch);";

static const char *const STEPS[] = {STEP_1, STEP_2, STEP_3};

const IndexSchema INDEX_SCHEMA = {STEPS, sizeof STEPS / sizeof STEPS[0]};

IndexFault index_fault(sqlite3 *db)
{
    switch (sqlite3_errcode(db) & 0xff) {
    case SQLITE_FULL:
        return (IndexFault){ENOSPC, EX_IOERR, "free space on the file system that holds it"};
    case SQLITE_IOERR:
        return (IndexFault){EIO, EX_IOERR, "check the disk and the file system (dmesg, quota)"};
    case SQLITE_NOMEM:
        return (IndexFault){ENOMEM, EX_OSERR, "there is no memory left"};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return (IndexFault){EBUSY, EX_TEMPFAIL, "another program writes to it: end that one"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return (IndexFault){EBADMSG, EX_DATAERR,
                            "it is damaged: move it away or put a backup in its place"};
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return (IndexFault){EACCES, EX_CANTCREAT, "give whend's user the right to write there"};
    case SQLITE_CANTOPEN:
        return (IndexFault){ENOENT, EX_CANTCREAT,
                            "its folder must exist and be writable for whend's user"};
    default:
        return (IndexFault){EINVAL, EX_SOFTWARE, "this is a fault of whend: please report it"};
    }
}

static int fail(sqlite3 *db, const char *path, const char *doing, Error *err)
{
    IndexFault fault = index_fault(db);
    return error_set(err, fault.errnum, fault.exit_code, "index %s: cannot %s: %s (%s)", path,
                     doing, sqlite3_errmsg(db), fault.remedy);
}

static int read_number(sqlite3 *db, const char *path, const char *sql, int64_t *number, Error *err)
{
    sqlite3_stmt *statement = NULL;
    int r = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (r == SQLITE_OK)
        r = sqlite3_step(statement);
    if (r == SQLITE_ROW)
        *number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return r == SQLITE_ROW ? 0 : fail(db, path, "read", err);
}

static int run_step(sqlite3 *db, const char *path, const IndexSchema *schema, int version,
                    Error *err)
{
    char *pragmas = sqlite3_mprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
                                    (int)APPLICATION_ID, version + 1);
    int r = pragmas ? SQLITE_OK : SQLITE_NOMEM;
    if (r == SQLITE_OK)
        r = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (r == SQLITE_OK)
        r = sqlite3_exec(db, schema->steps[version], NULL, NULL, NULL);
    if (r == SQLITE_OK)
        r = sqlite3_exec(db, pragmas, NULL, NULL, NULL);
    sqlite3_free(pragmas);
    if (r == SQLITE_OK)
        return 0;
    r = fail(db, path, version == 0 ? "create the tables" : "bring the tables up to date", err);
    if (!sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

int index_migrate(sqlite3 *db, const char *path, const IndexSchema *schema, Error *err)
{
    int64_t application = 0, version = 0, objects = 0;
    int r = read_number(db, path, "PRAGMA application_id", &application, err);
    if (r == 0)
        r = read_number(db, path, "PRAGMA user_version", &version, err);
    if (r == 0)
        r = read_number(db, path, "SELECT count(*) FROM sqlite_schema", &objects, err);
    if (r < 0)
        return r;
    if (application != APPLICATION_ID && (application != 0 || version != 0 || objects != 0))
        return error_set(err, EBADMSG, EX_DATAERR,
                         "%s: this database belongs to another program: move it away or choose "
                         "another state directory",
                         path);
    if (version < 0 || version > schema->n_steps)
        return error_set(err, EBADMSG, EX_DATAERR,
                         "%s: made by a newer whend (version %lld, this one knows %d): install "
                         "that one, or choose another state directory",
                         path, (long long)version, schema->n_steps);
    for (int v = (int)version; v < schema->n_steps; v++) {
        r = run_step(db, path, schema, v, err);
        if (r < 0)
            return r;
        if (version > 0)
            log_info("index", "path=%s brought to version=%d", path, v + 1);
    }
    return 0;
}

int index_check_integrity(sqlite3 *db, const char *path, Error *err)
{
    sqlite3_stmt *statement = NULL;
    int r = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (r == SQLITE_OK)
        r = sqlite3_step(statement);
    if (r == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        if (text && strcmp(text, "ok") == 0)
            r = 0;
        else
            r = error_set(err, EBADMSG, EX_DATAERR,
                          "index %s: damaged (%s): move it away or put a backup in its place", path,
                          text ? text : "no reason given");
    } else {
        r = fail(db, path, "check it", err);
    }
    sqlite3_finalize(statement);
    return r;
}

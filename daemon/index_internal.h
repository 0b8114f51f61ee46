/*
 * What the index*.c files share. Includes sqlite3.h: nothing but those files (and tests of faults)
 * may include this.
 */
#ifndef WHEN_DAEMON_INDEX_INTERNAL_H
#define WHEN_DAEMON_INDEX_INTERNAL_H

#include "base/str.h"
#include "daemon/index.h"

#include <sqlite3.h>

/* Every statement of the index, prepared at first use and kept; their texts are in index.c. */
typedef enum IndexStatement {
    STATEMENT_BEGIN,
    STATEMENT_COMMIT,
    STATEMENT_ROLLBACK,
    STATEMENT_SET_CLEAN,
    STATEMENT_SET_SEQUENCE,
    STATEMENT_GET_EVENT,
    STATEMENT_LAST_KEY,
    STATEMENT_PUT_REVISION,
    STATEMENT_PUT_EVENT,
    STATEMENT_EVENTS,
    STATEMENT_OPEN_EVENTS,
    STATEMENT_EVENT,
    STATEMENT_REPLAY,
    STATEMENT_SEARCH,
    STATEMENT_MAX_EVENT_NUMBER,
    STATEMENT_PUT_WATCH,
    STATEMENT_GET_WATCH,
    STATEMENT_RENAME_WATCH,
    STATEMENT_RETIRE_WATCHES,
    STATEMENT_MATCH_WATCHES,
    STATEMENT_WATCH_EVENTS,
    STATEMENT_PUT_ADDED_WATCH,
    STATEMENT_REMOVE_ADDED_WATCH,
    STATEMENT_ADDED_WATCHES,
    STATEMENT_LEDGER_RENAME,
    STATEMENT_LEDGER_FORGET,
    STATEMENT_LEDGER_NEAR,
    STATEMENT_LEDGER_DELETE,
    STATEMENT_LEDGER_INSERT,
    STATEMENT_LEDGER_SPANS,
    STATEMENT_LEDGER_END,
    STATEMENT_LEDGER_WAITING,
    STATEMENT_PUT_RECORDING,
    STATEMENT_REMOVE_RECORDING,
    STATEMENT_RECORDINGS,
    STATEMENT_RECORDING_BYTES,
    STATEMENT_PUT_FACT,
    STATEMENT_GET_FACT,
    N_STATEMENTS
} IndexStatement;

struct Index {
    sqlite3 *db;
    char *path;
    char daemon_id[40];
    uint64_t last_sequence;    /* committed */
    uint64_t pending_sequence; /* of the transaction; = last_sequence outside of one */
    bool in_transaction;
    bool ready; /* opened all the way: a clean stop may be noted */
    sqlite3_stmt *statements[N_STATEMENTS];
    sqlite3 *words; /* in memory: cuts questions into words as the index's full text does */
    sqlite3_stmt *words_clear, *words_put, *words_get;
};

/* A fact: no event that was ever stored, forgotten ones included, has a higher number. */
#define INDEX_FACT_HIGHEST_NUMBER "index/highest-number"

/* Fills err from SQLite's last error: `doing` completes "cannot DOING". After it a transaction is
 * over: rolled back, its sequence numbers given back. Returns -errno. */
int index_fail(Index *index, const char *doing, Error *err);

/* Refuses a write outside of a transaction (also one whose transaction has failed already). */
int index_check_write(Index *index, const char *doing, Error *err);

/* A cached statement, or a new one while the cached one is being walked by a caller further up.
 * NULL with err filled. index_release is to be called with it. */
sqlite3_stmt *index_acquire(Index *index, IndexStatement id, const char *doing, Error *err);
void index_release(Index *index, IndexStatement id, sqlite3_stmt *statement);

/* Runs an acquired statement that gives no rows, and releases it. */
int index_run(Index *index, IndexStatement id, sqlite3_stmt *statement, const char *doing,
              Error *err);

/* Borrowed until the statement is released. */
void index_bind_text(sqlite3_stmt *statement, int i, const char *text);
void index_column_text(sqlite3_stmt *statement, int i, char *out, size_t bytes);

/* [n] names as a JSON array; NULL when n is 0. */
int index_bind_names(sqlite3_stmt *statement, int i, const char *const *names, size_t n,
                     Error *err);

/* Binds the filter to ?1 (cameras), ?2 (watches), ?3 (since), ?4 (until), ?5 (limit). */
int index_bind_filter(sqlite3_stmt *statement, const IndexFilter *filter, Error *err);

/* Walks a statement whose columns are EVENT_COLUMNS, and releases it. */
#define EVENT_COLUMNS                                                                              \
    "id, revision, state, camera, watch, description, start_us, end_us, start_err_us, "            \
    "end_err_us, confidence, sequence, committed_us"
int index_walk_events(Index *index, IndexStatement id, sqlite3_stmt *statement, const char *doing,
                      IndexEventSink sink, void *context, Error *err);

/* --- index_schema.c --- */

/* The steps from one version to the next: steps[v] makes version v + 1. */
typedef struct IndexSchema {
    const char *const *steps;
    int n_steps;
} IndexSchema;

extern const IndexSchema INDEX_SCHEMA;

/* Refuses what is not ours, damaged or newer; brings what is older to the newest version, each step
 * a transaction of its own. */
int index_migrate(sqlite3 *db, const char *path, const IndexSchema *schema, Error *err);
/* EX_DATAERR when the file is damaged. */
int index_check_integrity(sqlite3 *db, const char *path, Error *err);

/* SQLite's result as an errno and an exit code, and what to do about it. */
typedef struct IndexFault {
    int errnum, exit_code;
    const char *remedy;
} IndexFault;
IndexFault index_fault(sqlite3 *db);

/* --- index_search.c --- */
int index_words_open(Index *index, Error *err);
/* The question's content words stemmed, each once, in order of the alphabet, with a space between.
 * -EINVAL or -E2BIG with EX_DATAERR when there are none or too many. */
int index_stem(Index *index, const char *question, Str *stems, Error *err);
void index_words_close(Index *index);

#endif

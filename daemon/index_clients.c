/* Index: who may connect from elsewhere. */
#include "daemon/index_internal.h"

#include "base/clock.h"

#include <errno.h>

static const char DOING[] = "change the list of clients";

static int prepare(Index *index, const char *sql, sqlite3_stmt **s, Error *err)
{
    return sqlite3_prepare_v2(index->db, sql, -1, s, NULL) == SQLITE_OK
               ? 0
               : index_fail(index, DOING, err);
}

static int finish(Index *index, sqlite3_stmt *s, Error *err)
{
    int r = sqlite3_step(s) == SQLITE_DONE ? 0 : index_fail(index, DOING, err);
    sqlite3_finalize(s);
    return r;
}

int index_put_client(Index *index, const char *name, const char *public_key, Error *err)
{
    sqlite3_stmt *s = NULL;
    int r = index_check_write(index, DOING, err);
    if (r == 0)
        r = prepare(index,
                    "INSERT INTO clients (name, public_key, added_us) VALUES (?1, ?2, ?3)"
                    " ON CONFLICT (name) DO UPDATE SET public_key = ?2, added_us = ?3",
                    &s, err);
    if (r < 0)
        return r;
    index_bind_text(s, 1, name);
    index_bind_text(s, 2, public_key);
    sqlite3_bind_int64(s, 3, clock_utc_us());
    return finish(index, s, err);
}

int index_remove_client(Index *index, const char *name, Error *err)
{
    sqlite3_stmt *s = NULL;
    int r = index_check_write(index, DOING, err);
    if (r == 0)
        r = prepare(index, "DELETE FROM clients WHERE name = ?1", &s, err);
    if (r < 0)
        return r;
    index_bind_text(s, 1, name);
    return finish(index, s, err);
}

int index_clients(Index *index, IndexClientSink sink, void *context, Error *err)
{
    sqlite3_stmt *s = NULL;
    int r = prepare(index, "SELECT name, public_key, added_us FROM clients ORDER BY name", &s, err);
    while (r == 0) {
        int step = sqlite3_step(s);
        if (step == SQLITE_DONE)
            break;
        r = step == SQLITE_ROW
                ? sink((const char *)sqlite3_column_text(s, 0),
                       (const char *)sqlite3_column_text(s, 1), sqlite3_column_int64(s, 2), context)
                : index_fail(index, "read the list of clients", err);
    }
    sqlite3_finalize(s);
    return r;
}

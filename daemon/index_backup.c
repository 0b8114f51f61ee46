/*
 * Index: a copy of the whole file while it is written to, by SQLite's online backup. What is
 * committed through the same connection meanwhile goes into the copy as well, so it never starts
 * over.
 */
#include "daemon/index_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct IndexBackup {
    Index *index;
    sqlite3 *to;
    sqlite3_backup *copy;
    char *path;
};

static int fail(IndexBackup *b, Error *err)
{
    IndexFault fault = index_fault(b->to);
    return error_set(err, fault.errnum, fault.exit_code, "backup %s: %s (%s)", b->path,
                     sqlite3_errmsg(b->to), fault.remedy);
}

int index_backup_begin(Index *index, const char *path, IndexBackup **backup, Error *err)
{
    *backup = NULL;
    IndexBackup *b = calloc(1, sizeof *b);
    if (b)
        b->path = strdup(path);
    if (!b || !b->path) {
        free(b);
        return error_set(err, ENOMEM, EX_OSERR, "backup %s: no memory", path);
    }
    b->index = index;
    /* Whoever takes the copy away syncs it where it comes to rest. */
    int r = 0;
    if (sqlite3_open_v2(path, &b->to,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                            SQLITE_OPEN_EXRESCODE,
                        NULL) != SQLITE_OK ||
        sqlite3_exec(b->to, "PRAGMA synchronous = OFF", NULL, NULL, NULL) != SQLITE_OK ||
        !(b->copy = sqlite3_backup_init(b->to, "main", index->db, "main")))
        r = fail(b, err);
    if (r < 0) {
        index_backup_free(b);
        return r;
    }
    *backup = b;
    return 0;
}

int index_backup_step(IndexBackup *b, int pages, Error *err)
{
    int r = sqlite3_backup_step(b->copy, pages);
    if (r == SQLITE_OK || (r & 0xff) == SQLITE_BUSY || (r & 0xff) == SQLITE_LOCKED)
        return 0;
    int finished = sqlite3_backup_finish(b->copy);
    b->copy = NULL;
    if (r != SQLITE_DONE || finished != SQLITE_OK)
        return fail(b, err);
    /* One file, without a log beside it. */
    if (sqlite3_exec(b->to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL) != SQLITE_OK)
        return fail(b, err);
    return sqlite3_close(b->to) == SQLITE_OK ? (b->to = NULL, INDEX_BACKUP_DONE) : fail(b, err);
}

double index_backup_share(const IndexBackup *b)
{
    int all = b->copy ? sqlite3_backup_pagecount(b->copy) : 0;
    return all > 0 ? 1.0 - (double)sqlite3_backup_remaining(b->copy) / all : 0;
}

void index_backup_free(IndexBackup *b)
{
    if (!b)
        return;
    if (b->copy)
        sqlite3_backup_finish(b->copy);
    sqlite3_close(b->to);
    free(b->path);
    free(b);
}

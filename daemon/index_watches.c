/* Index: watches and their questions. See index_watches.h. */
#include "daemon/index_watches.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "config/watch.h"
#include "daemon/index_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MAX_GENERATIONS = 100000 };

/* The question of this row: 0 with *question a copy (caller frees), NULL when there is no row. */
static int get_question(Index *index, const char *name, char **question, Error *err)
{
    static const char DOING[] = "read a watch";
    *question = NULL;
    sqlite3_stmt *s = index_acquire(index, STATEMENT_GET_WATCH, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, name);
    int step = sqlite3_step(s), r = 0;
    if (step == SQLITE_ROW) {
        *question = strdup((const char *)sqlite3_column_text(s, 0));
        r = *question ? 0 : error_set(err, ENOMEM, EX_OSERR, "no memory for a watch");
    } else if (step != SQLITE_DONE) {
        r = index_fail(index, DOING, err);
    }
    index_release(index, STATEMENT_GET_WATCH, s);
    return r;
}

/* The name's question so far goes on as NAME@N. */
static int retire_question(Index *index, const char *name, Error *err)
{
    static const char DOING[] = "keep a watch's earlier question";
    char retired[EVENT_NAME_BYTES], suffix[16];
    int r = 0;
    for (int n = 1;; n++) {
        _cleanup_free_ char *taken = NULL;
        int bytes = snprintf(suffix, sizeof suffix, "@%d", n);
        snprintf(retired, sizeof retired, "%.*s%s", (int)sizeof retired - 1 - bytes, name, suffix);
        r = get_question(index, retired, &taken, err);
        if (r < 0)
            return r;
        if (!taken)
            break;
        if (n == MAX_GENERATIONS)
            return error_set(err, EOVERFLOW, EX_DATAERR,
                             "watch %s has changed too often: give it "
                             "another name",
                             name);
    }
    sqlite3_stmt *s = index_acquire(index, STATEMENT_RENAME_WATCH, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, name);
    index_bind_text(s, 2, retired);
    sqlite3_bind_int64(s, 3, clock_utc_us());
    r = index_run(index, STATEMENT_RENAME_WATCH, s, DOING, err);
    if (r < 0)
        return r;
    if (!(s = index_acquire(index, STATEMENT_LEDGER_RENAME, DOING, err)))
        return -EIO;
    index_bind_text(s, 1, name);
    index_bind_text(s, 2, retired);
    return index_run(index, STATEMENT_LEDGER_RENAME, s, DOING, err);
}

/* What waits for this watch, and for those that are retired. */
static int forget_waiting(Index *index, const char *watch, Error *err)
{
    static const char DOING[] = "take back what waits";
    sqlite3_stmt *s = index_acquire(index, STATEMENT_LEDGER_FORGET, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, watch);
    return index_run(index, STATEMENT_LEDGER_FORGET, s, DOING, err);
}

int index_put_watch(Index *index, const char *name, const char *question, Error *err)
{
    static const char DOING[] = "store a watch";
    int r = index_check_write(index, DOING, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *before = NULL;
    r = get_question(index, name, &before, err);
    /* What waits for the old question is not waited for any more. */
    if (r == 0 && before && strcmp(before, question) != 0)
        r = forget_waiting(index, name, err);
    if (r == 0 && before && strcmp(before, question) != 0)
        r = retire_question(index, name, err);
    if (r < 0)
        return r;
    _cleanup_str_ Str stems = {0};
    Error none = {0};
    r = index_stem(index, question, &stems, &none);
    /* A watch may ask what no words match ("?"): then no question is matched to it. */
    if (r < 0 && r != -EINVAL && r != -E2BIG)
        return error_set(err, -r, none.exit_code, "%s", none.text);
    sqlite3_stmt *s = index_acquire(index, STATEMENT_PUT_WATCH, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, name);
    index_bind_text(s, 2, question);
    index_bind_text(s, 3, r == 0 ? str_text(&stems) : "");
    sqlite3_bind_int64(s, 4, clock_utc_us());
    return index_run(index, STATEMENT_PUT_WATCH, s, DOING, err);
}

int index_retire_watches(Index *index, const char *const *names, size_t n, Error *err)
{
    static const char DOING[] = "retire watches";
    int r = index_check_write(index, DOING, err);
    if (r < 0)
        return r;
    sqlite3_stmt *s = index_acquire(index, STATEMENT_RETIRE_WATCHES, DOING, err);
    if (!s)
        return -EIO;
    r = index_bind_names(s, 1, names, n, err);
    sqlite3_bind_int64(s, 2, clock_utc_us());
    if (r < 0) {
        index_release(index, STATEMENT_RETIRE_WATCHES, s);
        return r;
    }
    r = index_run(index, STATEMENT_RETIRE_WATCHES, s, DOING, err);
    return r < 0 ? r : forget_waiting(index, "", err);
}

int index_match_watches(Index *index, const char *question, IndexWatchSink sink, void *context,
                        Error *err)
{
    static const char DOING[] = "look through the watches";
    _cleanup_str_ Str stems = {0};
    int r = index_stem(index, question, &stems, err);
    if (r < 0)
        return r;
    sqlite3_stmt *s = index_acquire(index, STATEMENT_MATCH_WATCHES, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, str_text(&stems));
    while (r == 0) {
        int step = sqlite3_step(s);
        if (step == SQLITE_DONE)
            break;
        if (step != SQLITE_ROW) {
            r = index_fail(index, DOING, err);
            break;
        }
        AskedWatch watch = {.name = (const char *)sqlite3_column_text(s, 0),
                            .event_watch = (const char *)sqlite3_column_text(s, 1),
                            .question = (const char *)sqlite3_column_text(s, 2),
                            .asked_us = sqlite3_column_int64(s, 3),
                            .retired_us = sqlite3_column_int64(s, 4)};
        r = sink(&watch, context);
    }
    index_release(index, STATEMENT_MATCH_WATCHES, s);
    return r;
}

int index_watch_events(Index *index, const AskedWatch *watch, const IndexFilter *filter,
                       IndexEventSink sink, void *context, Error *err)
{
    static const char DOING[] = "read a watch's events";
    IndexFilter rest = *filter;
    rest.n_watches = 0;
    sqlite3_stmt *s = index_acquire(index, STATEMENT_WATCH_EVENTS, DOING, err);
    if (!s)
        return -EIO;
    int r = index_bind_filter(s, &rest, err);
    if (r < 0) {
        index_release(index, STATEMENT_WATCH_EVENTS, s);
        return r;
    }
    index_bind_text(s, 6, watch->event_watch);
    sqlite3_bind_int64(s, 7, watch->asked_us);
    /* Removed and taken up again under the same question it goes on: only the name's next question
     * ends what belongs to this one. */
    bool replaced = strcmp(watch->name, watch->event_watch) != 0;
    sqlite3_bind_int64(s, 8, replaced ? watch->retired_us : INT64_MAX);
    return index_walk_events(index, STATEMENT_WATCH_EVENTS, s, DOING, sink, context, err);
}

/* --- watches that were added at run time --- */

int index_put_added_watch(Index *index, const WatchConfig *watch, Error *err)
{
    static const char DOING[] = "store an added watch";
    int r = index_check_write(index, DOING, err);
    if (r < 0)
        return r;
    sqlite3_stmt *s = index_acquire(index, STATEMENT_PUT_ADDED_WATCH, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, watch->name);
    index_bind_text(s, 2, watch->question);
    r = index_bind_names(s, 3, (const char *const *)watch->cameras, watch->n_cameras, err);
    if (r < 0) {
        index_release(index, STATEMENT_PUT_ADDED_WATCH, s);
        return r;
    }
    sqlite3_bind_int64(s, 4, watch->join_gap_us);
    sqlite3_bind_int64(s, 5, watch->min_duration_us);
    sqlite3_bind_int64(s, 6, watch->cool_down_us);
    sqlite3_bind_double(s, 7, watch->min_confidence);
    index_bind_text(s, 8, watch->days);
    index_bind_text(s, 9, watch->hours);
    index_bind_text(s, 10, watch->time_zone);
    index_bind_text(s, 11, watch->since);
    return index_run(index, STATEMENT_PUT_ADDED_WATCH, s, DOING, err);
}

int index_remove_added_watch(Index *index, const char *name, Error *err)
{
    static const char DOING[] = "forget an added watch";
    int r = index_check_write(index, DOING, err);
    if (r < 0)
        return r;
    sqlite3_stmt *s = index_acquire(index, STATEMENT_REMOVE_ADDED_WATCH, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, name);
    return index_run(index, STATEMENT_REMOVE_ADDED_WATCH, s, DOING, err);
}

static char *copy_column(sqlite3_stmt *s, int i)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    return strdup(text ? text : "");
}

/* Camera names, a space between. */
static int read_cameras(const char *text, WatchConfig *watch)
{
    size_t n = text ? 1 : 0;
    for (const char *p = text; p && *p; p++)
        n += *p == ' ';
    if (!(watch->cameras = mem_new_array(n, sizeof *watch->cameras)))
        return -ENOMEM;
    for (const char *p = text; p && *p; p += strspn(p, " ")) {
        size_t bytes = strcspn(p, " ");
        if (!(watch->cameras[watch->n_cameras] = strndup(p, bytes)))
            return -ENOMEM;
        watch->n_cameras++;
        p += bytes;
    }
    return 0;
}

static int read_added(sqlite3_stmt *s, WatchConfig *watch)
{
    index_column_text(s, 0, watch->name, sizeof watch->name);
    watch->question = copy_column(s, 1);
    watch->join_gap_us = sqlite3_column_int64(s, 2);
    watch->min_duration_us = sqlite3_column_int64(s, 3);
    watch->cool_down_us = sqlite3_column_int64(s, 4);
    watch->min_confidence = sqlite3_column_double(s, 5);
    watch->days = copy_column(s, 6);
    watch->hours = copy_column(s, 7);
    watch->time_zone = copy_column(s, 8);
    watch->since = copy_column(s, 9);
    watch->added = true;
    if (!watch->question || !watch->days || !watch->hours || !watch->time_zone || !watch->since)
        return -ENOMEM;
    return read_cameras((const char *)sqlite3_column_text(s, 10), watch);
}

int index_added_watches(Index *index, IndexAddedSink sink, void *context, Error *err)
{
    static const char DOING[] = "read the added watches";
    sqlite3_stmt *s = index_acquire(index, STATEMENT_ADDED_WATCHES, DOING, err);
    if (!s)
        return -EIO;
    int r = 0;
    while (r == 0) {
        int step = sqlite3_step(s);
        if (step == SQLITE_DONE)
            break;
        if (step != SQLITE_ROW) {
            r = index_fail(index, DOING, err);
            break;
        }
        WatchConfig watch = {0};
        r = read_added(s, &watch);
        if (r < 0)
            error_set(err, ENOMEM, EX_OSERR, "no memory for the watches");
        else
            r = sink(&watch, context);
        watch_config_deinit(&watch);
    }
    index_release(index, STATEMENT_ADDED_WATCHES, s);
    return r;
}

/* Index: the ledger's spans. What a mark does to them is in ledger.c. */
#include "daemon/index_internal.h"

#include "base/mem.h"
#include "daemon/ledger.h"

#include <errno.h>
#include <string.h>

static const char MARKING[] = "store what was examined";

typedef struct Near {
    LedgerSpan *spans;
    int64_t *keys;
    size_t n, spans_capacity, keys_capacity;
} Near;

static void near_deinit(Near *near)
{
    free(near->spans);
    free(near->keys);
}

/* Columns from `i` on: start, end, state, fps, model, reason. */
static void read_span(sqlite3_stmt *s, int i, LedgerSpan *span)
{
    span->start_us = sqlite3_column_int64(s, i);
    span->end_us = sqlite3_column_int64(s, i + 1);
    span->state = (SpanState)sqlite3_column_int(s, i + 2);
    span->fps = sqlite3_column_double(s, i + 3);
    index_column_text(s, i + 4, span->model, sizeof span->model);
    index_column_text(s, i + 5, span->reason, sizeof span->reason);
}

/* All spans that overlap or touch the mark. */
static int read_near(Index *index, const LedgerSpan *mark, Near *near, Error *err)
{
    sqlite3_stmt *s = index_acquire(index, STATEMENT_LEDGER_NEAR, MARKING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, mark->camera);
    index_bind_text(s, 2, mark->watch);
    sqlite3_bind_int64(s, 3, mark->start_us);
    sqlite3_bind_int64(s, 4, mark->end_us);
    int r = 0, step;
    while (r == 0 && (step = sqlite3_step(s)) != SQLITE_DONE) {
        if (step != SQLITE_ROW) {
            r = index_fail(index, MARKING, err);
            break;
        }
        if (mem_grow((void **)&near->spans, &near->spans_capacity, near->n + 1,
                     sizeof *near->spans) < 0 ||
            mem_grow((void **)&near->keys, &near->keys_capacity, near->n + 1, sizeof *near->keys) <
                0) {
            r = error_set(err, ENOMEM, EX_OSERR, "no memory for the ledger");
            break;
        }
        LedgerSpan *span = &near->spans[near->n];
        *span = *mark;
        near->keys[near->n++] = sqlite3_column_int64(s, 0);
        read_span(s, 1, span);
    }
    index_release(index, STATEMENT_LEDGER_NEAR, s);
    return r;
}

static int delete_span(Index *index, int64_t key, Error *err)
{
    sqlite3_stmt *s = index_acquire(index, STATEMENT_LEDGER_DELETE, MARKING, err);
    if (!s)
        return -EIO;
    sqlite3_bind_int64(s, 1, key);
    return index_run(index, STATEMENT_LEDGER_DELETE, s, MARKING, err);
}

static int insert_span(Index *index, const LedgerSpan *span, Error *err)
{
    sqlite3_stmt *s = index_acquire(index, STATEMENT_LEDGER_INSERT, MARKING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, span->camera);
    index_bind_text(s, 2, span->watch);
    sqlite3_bind_int64(s, 3, span->start_us);
    sqlite3_bind_int64(s, 4, span->end_us);
    sqlite3_bind_int(s, 5, (int)span->state);
    sqlite3_bind_double(s, 6, span->fps);
    index_bind_text(s, 7, span->model);
    index_bind_text(s, 8, span->reason);
    return index_run(index, STATEMENT_LEDGER_INSERT, s, MARKING, err);
}

static bool equal(const LedgerSpan *a, const LedgerSpan *b)
{
    return a->start_us == b->start_us && a->end_us == b->end_us && a->state == b->state &&
           a->fps >= b->fps && a->fps <= b->fps && strcmp(a->model, b->model) == 0 &&
           strcmp(a->reason, b->reason) == 0;
}

int index_ledger_mark(Index *index, const LedgerSpan *mark, Error *err)
{
    int r = index_check_write(index, MARKING, err);
    if (r < 0)
        return r;
    if (mark->start_us >= mark->end_us || mark->state < SPAN_WAITING || mark->state > SPAN_LOST ||
        !(mark->fps >= 0))
        return error_set(err, EINVAL, EX_SOFTWARE, "ledger: a span of %s is not well-formed",
                         mark->camera);
    _cleanup_(near_deinit) Near near = {0};
    r = read_near(index, mark, &near, err);
    if (r < 0)
        return r;
    _cleanup_free_ LedgerSpan *out = mem_new_array(ledger_room(near.n), sizeof *out);
    if (!out)
        return error_set(err, ENOMEM, EX_OSERR, "no memory for the ledger");
    size_t n = ledger_mark(near.spans, near.n, mark, out);
    /* Those at either end often stay as they are. */
    size_t head = 0, tail = 0;
    while (head < n && head < near.n && equal(&out[head], &near.spans[head]))
        head++;
    while (tail < n - head && tail < near.n - head &&
           equal(&out[n - 1 - tail], &near.spans[near.n - 1 - tail]))
        tail++;
    for (size_t i = head; r == 0 && i < near.n - tail; i++)
        r = delete_span(index, near.keys[i], err);
    for (size_t i = head; r == 0 && i < n - tail; i++)
        r = insert_span(index, &out[i], err);
    return r;
}

int index_ledger_spans(Index *index, const IndexFilter *filter, int state, IndexSpanSink sink,
                       void *context, Error *err)
{
    static const char DOING[] = "read the ledger";
    sqlite3_stmt *s = index_acquire(index, STATEMENT_LEDGER_SPANS, DOING, err);
    if (!s)
        return -EIO;
    int r = index_bind_filter(s, filter, err);
    sqlite3_bind_int(s, 6, state);
    while (r == 0) {
        int step = sqlite3_step(s);
        if (step == SQLITE_DONE)
            break;
        if (step != SQLITE_ROW) {
            r = index_fail(index, DOING, err);
            break;
        }
        LedgerSpan span = {0};
        index_column_text(s, 0, span.camera, sizeof span.camera);
        index_column_text(s, 1, span.watch, sizeof span.watch);
        read_span(s, 2, &span);
        r = sink(&span, context);
    }
    index_release(index, STATEMENT_LEDGER_SPANS, s);
    return r;
}

int index_ledger_end(Index *index, const char *camera, const char *watch, int64_t *end_us,
                     Error *err)
{
    static const char DOING[] = "read the ledger's end";
    *end_us = 0;
    sqlite3_stmt *s = index_acquire(index, STATEMENT_LEDGER_END, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, camera);
    index_bind_text(s, 2, watch);
    int step = sqlite3_step(s);
    int r = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : index_fail(index, DOING, err);
    if (step == SQLITE_ROW)
        *end_us = sqlite3_column_int64(s, 0);
    index_release(index, STATEMENT_LEDGER_END, s);
    return r;
}

int index_ledger_waiting(Index *index, IndexWaitingSink sink, void *context, Error *err)
{
    static const char DOING[] = "sum up what waits";
    sqlite3_stmt *s = index_acquire(index, STATEMENT_LEDGER_WAITING, DOING, err);
    if (!s)
        return -EIO;
    int r = 0, step = SQLITE_DONE;
    while (r == 0 && (step = sqlite3_step(s)) == SQLITE_ROW)
        r = sink((const char *)sqlite3_column_text(s, 0), sqlite3_column_int64(s, 1), context);
    if (r == 0 && step != SQLITE_DONE)
        r = index_fail(index, DOING, err);
    index_release(index, STATEMENT_LEDGER_WAITING, s);
    return r;
}

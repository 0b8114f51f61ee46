/* Batches of changes, committed in order. See commit.h. */
#include "daemon/commit.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/index_watches.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MIN_US (US_PER_S / 2)
#define RETRY_MAX_US (30 * US_PER_S)

typedef enum ChangeKind {
    CHANGE_EVENT,
    CHANGE_SPAN,
    CHANGE_FACT,
    CHANGE_WATCH,
    CHANGE_RECORDING,
    CHANGE_REMOVE_RECORDING,
    CHANGE_CLIENT,
    CHANGE_FORGET,
    CHANGE_CALL
} ChangeKind;

typedef struct Change {
    ChangeKind kind;
    union {
        Event event;
        LedgerSpan span;
        Recording recording;
        uint64_t sequence;
        struct {
            BatchCall call;
            void *data;
            void (*release)(void *data);
        } call;
        struct {
            char *a, *b; /* key and value, name and question, path */
        } text;
    };
    struct Change *next;
} Change;

struct Batch {
    Change *first, **tail;
    bool failed;
    Batch *next;
};

struct Committer {
    Index *index;
    CommitSink sink;
    void *context;
    Batch *first, **tail;
    int64_t retry_us, delay_us;
    char reason[512];
};

Batch *batch_new(void)
{
    Batch *batch = calloc(1, sizeof *batch);
    if (batch)
        batch->tail = &batch->first;
    return batch;
}

static bool has_text(const Change *change)
{
    return change->kind == CHANGE_FACT || change->kind == CHANGE_WATCH ||
           change->kind == CHANGE_REMOVE_RECORDING || change->kind == CHANGE_CLIENT;
}

void batch_free(Batch *batch)
{
    if (!batch)
        return;
    while (batch->first) {
        Change *change = batch->first;
        batch->first = change->next;
        if (has_text(change)) {
            free(change->text.a);
            free(change->text.b);
        } else if (change->kind == CHANGE_CALL) {
            change->call.release(change->call.data);
        }
        free(change);
    }
    free(batch);
}

static Change *add(Batch *batch, ChangeKind kind)
{
    if (!batch)
        return NULL;
    Change *change = calloc(1, sizeof *change);
    if (!change) {
        batch->failed = true;
        return NULL;
    }
    change->kind = kind;
    *batch->tail = change;
    batch->tail = &change->next;
    return change;
}

static void add_text(Batch *batch, ChangeKind kind, const char *a, const char *b)
{
    Change *change = add(batch, kind);
    if (!change)
        return;
    change->text.a = strdup(a);
    change->text.b = strdup(b);
    if (!change->text.a || !change->text.b)
        batch->failed = true;
}

void batch_event(Batch *batch, const Event *event)
{
    Change *change = add(batch, CHANGE_EVENT);
    if (change)
        change->event = *event;
}

int batch_sink(const Event *event, void *batch)
{
    batch_event(batch, event);
    return 0;
}

void batch_span(Batch *batch, const LedgerSpan *span)
{
    if (span->start_us >= span->end_us)
        return;
    Change *change = add(batch, CHANGE_SPAN);
    if (change)
        change->span = *span;
}

void batch_fact(Batch *batch, const char *key, const char *value)
{
    add_text(batch, CHANGE_FACT, key, value);
}

void batch_watch(Batch *batch, const char *name, const char *question)
{
    add_text(batch, CHANGE_WATCH, name, question);
}

void batch_recording(Batch *batch, const Recording *recording)
{
    Change *change = add(batch, CHANGE_RECORDING);
    if (change)
        change->recording = *recording;
}

void batch_call(Batch *batch, BatchCall call, void *data, void (*release)(void *data))
{
    Change *change = add(batch, CHANGE_CALL);
    if (!change) {
        release(data);
        return;
    }
    change->call.call = call;
    change->call.data = data;
    change->call.release = release;
    batch->failed = batch->failed || !data;
}

void batch_remove_recording(Batch *batch, const char *path)
{
    add_text(batch, CHANGE_REMOVE_RECORDING, path, "");
}

void batch_client(Batch *batch, const char *name, const char *public_key)
{
    add_text(batch, CHANGE_CLIENT, name, public_key);
}

void batch_forget(Batch *batch, uint64_t sequence)
{
    Change *change = add(batch, CHANGE_FORGET);
    if (change)
        change->sequence = sequence;
}

Committer *committer_new(Index *index, CommitSink sink, void *context)
{
    Committer *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->index = index;
    c->sink = sink;
    c->context = context;
    c->tail = &c->first;
    c->retry_us = INT64_MAX;
    return c;
}

void committer_free(Committer *c)
{
    if (!c)
        return;
    size_t lost = 0;
    while (c->first) {
        Batch *next = c->first->next;
        batch_free(c->first);
        c->first = next;
        lost++;
    }
    if (lost)
        log_error("commit", "batches=%zu were not committed (%s): their spans are examined again",
                  lost, c->reason);
    free(c);
}

static int store(Index *index, Change *change, Error *err)
{
    int r;
    switch (change->kind) {
    case CHANGE_EVENT:
        r = index_put_event(index, &change->event, err);
        if (r == -EINVAL) {
            /* Only a bug does this. The event is left out: the loop must not stop for it. */
            log_error("commit", "event=%s revision=%u refused: %s", change->event.id,
                      change->event.revision, err->text);
            change->event.sequence = 0;
            error_clear(err);
            return 0;
        }
        return r;
    case CHANGE_SPAN:
        return index_ledger_mark(index, &change->span, err);
    case CHANGE_FACT:
        return index_put_fact(index, change->text.a, change->text.b, err);
    case CHANGE_WATCH:
        return index_put_watch(index, change->text.a, change->text.b, err);
    case CHANGE_RECORDING:
        return index_put_recording(index, &change->recording, err);
    case CHANGE_REMOVE_RECORDING:
        return index_remove_recording(index, change->text.a, err);
    case CHANGE_CLIENT:
        return change->text.b[0] ? index_put_client(index, change->text.a, change->text.b, err)
                                 : index_remove_client(index, change->text.a, err);
    case CHANGE_FORGET:
        return index_forget(index, change->sequence, err);
    case CHANGE_CALL:
        return change->call.call(index, change->call.data, err);
    }
    return 0;
}

static int commit_batch(Committer *c, Batch *batch, Error *err)
{
    int r = index_begin(c->index, err);
    if (r < 0)
        return r;
    for (Change *change = batch->first; change; change = change->next) {
        r = store(c->index, change, err);
        if (r < 0) {
            index_rollback(c->index);
            return r;
        }
    }
    return index_commit(c->index, err);
}

/* Commits what waits, in order, until all is done or one fails. */
static void commit_all(Committer *c, int64_t now_us)
{
    while (c->first) {
        Batch *batch = c->first;
        Error err = {0};
        if (commit_batch(c, batch, &err) < 0) {
            if (c->retry_us == INT64_MAX) {
                log_error("commit", "%s: nothing is published until it can be stored; retrying",
                          err.text);
                c->delay_us = RETRY_MIN_US;
            } else if (c->delay_us < RETRY_MAX_US) {
                c->delay_us *= 2;
            }
            c->retry_us = now_us + (c->delay_us < RETRY_MAX_US ? c->delay_us : RETRY_MAX_US);
            snprintf(c->reason, sizeof c->reason, "%s", err.text);
            return;
        }
        if (c->retry_us != INT64_MAX)
            log_info("commit", "events can be stored again");
        c->retry_us = INT64_MAX;
        c->reason[0] = '\0';
        c->first = batch->next;
        if (!c->first)
            c->tail = &c->first;
        for (Change *change = batch->first; change; change = change->next)
            if (change->kind == CHANGE_EVENT && change->event.sequence > 0)
                c->sink(&change->event, c->context);
        batch_free(batch);
    }
}

int committer_add(Committer *c, Batch *batch, int64_t now_us)
{
    if (!batch || batch->failed) {
        batch_free(batch);
        return -ENOMEM;
    }
    if (!batch->first) {
        batch_free(batch);
        return 0;
    }
    *c->tail = batch;
    c->tail = &batch->next;
    if (c->retry_us == INT64_MAX)
        commit_all(c, now_us);
    return 0;
}

void committer_tick(Committer *c, int64_t now_us)
{
    if (c->first && now_us >= c->retry_us)
        commit_all(c, now_us);
}

bool committer_blocked(const Committer *c)
{
    return c->first != NULL;
}

const char *committer_reason(const Committer *c)
{
    return c->reason;
}

int64_t committer_deadline_us(const Committer *c)
{
    return c->retry_us;
}

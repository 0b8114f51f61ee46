/*
 * Commit: every change of the index goes through here, in order, one transaction a batch, and only
 * what is committed is handed on (DESIGN section 6, invariants 1, 2 and 5). A batch that cannot be
 * committed (disk full) is kept, with all that come after it, and tried again with back-off: events
 * are never lost and never published early.
 */
#ifndef WHEN_DAEMON_COMMIT_H
#define WHEN_DAEMON_COMMIT_H

#include "daemon/index.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Changes that belong together. Adding never fails; a batch that ran out of memory is refused by
 * committer_add. */
typedef struct Batch Batch;

Batch *batch_new(void); /* NULL: no memory; all calls below take NULL as a batch that failed */
void batch_free(Batch *batch);
void batch_event(Batch *batch, const Event *event);
/* Spans of no length are left out. */
void batch_span(Batch *batch, const LedgerSpan *span);
void batch_fact(Batch *batch, const char *key, const char *value);
void batch_watch(Batch *batch, const char *name, const char *question);
void batch_recording(Batch *batch, const Recording *recording);
void batch_remove_recording(Batch *batch, const char *path);
/* A client from elsewhere; "" as its key: it is not allowed any more. */
void batch_client(Batch *batch, const char *name, const char *public_key);
void batch_forget(Batch *batch, uint64_t sequence); /* index_forget */
/* Any other change of the index: `call` is made inside the transaction, again when that has to be
 * tried again; `data` is handed over and released by `release`. */
typedef int (*BatchCall)(Index *index, const void *data, Error *err);
void batch_call(Batch *batch, BatchCall call, void *data, void (*release)(void *data));
/* A SegmenterSink whose context is the batch. */
int batch_sink(const Event *event, void *batch);

/* A committed event, with its sequence. */
typedef void (*CommitSink)(const Event *event, void *context);

typedef struct Committer Committer;

Committer *committer_new(Index *index, CommitSink sink, void *context); /* NULL: no memory */
void committer_free(Committer *committer);

/* Takes over the batch and commits it, or keeps it for later. -ENOMEM when the batch is NULL or
 * incomplete; nothing of it was stored then. */
int committer_add(Committer *committer, Batch *batch, int64_t now_us);
void committer_tick(Committer *committer, int64_t now_us); /* tries again when that is due */
bool committer_blocked(const Committer *committer);        /* batches wait for the disk */
const char *committer_reason(const Committer *committer);  /* why; "" while not blocked */
int64_t committer_deadline_us(const Committer *committer);

#endif

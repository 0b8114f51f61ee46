/*
 * Index: the one store of events, their revisions, the ledger's spans and the recordings. SQLite in
 * WAL mode with synchronous=FULL behind it; this header is free of it. One writer: the thread that
 * opened the index; other processes may read the file.
 *
 * Every change happens between index_begin and index_commit; what was not committed never happened,
 * sequence numbers included. Callers publish only after index_commit returned 0.
 */
#ifndef WHEN_DAEMON_INDEX_H
#define WHEN_DAEMON_INDEX_H

#include "base/err.h"
#include "daemon/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Index Index;

/* Opens or creates path; migrates older versions; checks integrity after an unclean stop; makes the
 * daemon id on first use. EX_CANTCREAT, EX_DATAERR (not ours, damaged, newer version), EX_IOERR. */
int index_open(const char *path, Index **index, Error *err);
void index_free(Index *index); /* rolls back what is not committed; marks the stop as clean */

const char *index_daemon_id(const Index *index);
uint64_t index_last_sequence(const Index *index); /* of the last committed revision, 0: none */

int index_begin(Index *index, Error *err);
int index_commit(Index *index, Error *err); /* EX_IOERR (disk full, I/O): then it is rolled back */
void index_rollback(Index *index);

/* Stores a revision inside a transaction: sets event->sequence (last + 1, no gap, never repeated
 * across crashes) and committed_us. The newest revision is what queries see; all are kept for
 * replay. -EINVAL when the revision is not above the stored one or the stored one is final and this
 * is no retraction. */
int index_put_event(Index *index, Event *event, Error *err);

typedef int (*IndexEventSink)(const Event *event, void *context);

typedef struct IndexFilter {
    const char *const *cameras; /* [n_cameras]; none: all */
    size_t n_cameras;
    const char *const *watches;
    size_t n_watches;
    int64_t since_us, until_us; /* events that overlap [since, until]; 0: no bound */
    uint32_t limit;             /* 0: 1000 */
} IndexFilter;

/* Newest revisions, not retracted, in order of start. */
int index_events(Index *index, const IndexFilter *filter, IndexEventSink sink, void *context,
                 Error *err);
/* The newest revision of one event, if there is such a one. */
int index_event(Index *index, const char *id, IndexEventSink sink, void *context, Error *err);
/* Left open (by an earlier run). */
int index_open_events(Index *index, IndexEventSink sink, void *context, Error *err);
/* All revisions with sequence > after, in order of sequence, at most limit. Filter's times unused.
 */
int index_replay(Index *index, uint64_t after, const IndexFilter *filter, IndexEventSink sink,
                 void *context, Error *err);
/* Full text over descriptions: events that have every content word of the question (stemmed;
 * "when", "did", articles and the like do not count). In order of start. */
int index_search(Index *index, const char *question, const IndexFilter *filter, IndexEventSink sink,
                 void *context, Error *err);

/* Highest N of the ids PREFIX-N ever stored, for the segmenter's next_id. */
int index_max_event_number(Index *index, uint64_t *number, Error *err);

/* --- ledger: see ledger.h for the rules --- */

typedef enum SpanState { SPAN_WAITING = 1, SPAN_EXAMINED = 2, SPAN_LOST = 3 } SpanState;

typedef struct LedgerSpan {
    char camera[EVENT_NAME_BYTES];
    char watch[EVENT_NAME_BYTES];
    int64_t start_us, end_us; /* UTC, start < end */
    SpanState state;
    double fps; /* density it was examined at; 0 otherwise */
    char model[96];
    char reason[128];
} LedgerSpan;

/* Says that span->camera x span->watch is in span->state over [start, end): whatever was said of
 * that stretch before is cut or replaced, except that EXAMINED is never replaced by WAITING or
 * LOST. Neighbours that say the same are joined. Inside a transaction. */
int index_ledger_mark(Index *index, const LedgerSpan *span, Error *err);
typedef int (*IndexSpanSink)(const LedgerSpan *span, void *context);
/* Spans that overlap the filter's time, by camera, watch, start. state 0: all. */
int index_ledger_spans(Index *index, const IndexFilter *filter, int state, IndexSpanSink sink,
                       void *context, Error *err);
/* Where the ledger of camera x watch ends: the greatest end_us of any state, 0 when it is empty. */
int index_ledger_end(Index *index, const char *camera, const char *watch, int64_t *end_us,
                     Error *err);

/* How long all spans that wait are together, for each camera that has some. */
typedef int (*IndexWaitingSink)(const char *camera, int64_t waiting_us, void *context);
int index_ledger_waiting(Index *index, IndexWaitingSink sink, void *context, Error *err);

/* --- recordings --- */

typedef struct Recording {
    char camera[EVENT_NAME_BYTES];
    char path[512];
    int64_t start_us, end_us, utc_err_us;
    int utc_source; /* UtcSource */
    int64_t bytes;
} Recording;

int index_put_recording(Index *index, const Recording *recording, Error *err);
int index_remove_recording(Index *index, const char *path, Error *err);
typedef int (*IndexRecordingSink)(const Recording *recording, void *context);
/* Those that overlap [start, end), in order of start; found in O(log n). */
int index_recordings(Index *index, const char *camera, int64_t start_us, int64_t end_us,
                     IndexRecordingSink sink, void *context, Error *err);
int index_recording_bytes(Index *index, const char *camera, int64_t *bytes, Error *err);

/* --- retention: see config.h, `events:` --- */

/* Revisions up to this sequence number were forgotten: a replay begins behind it. 0: none was. */
int index_forgotten(Index *index, uint64_t *sequence, Error *err);
/* Up to which sequence number all may go: what was committed before before_us (INT64_MIN: no
 * bound), or more than keep_count (0: no bound) newer events follow it; never beyond an open event,
 * and at most the `max` oldest revisions. 0: nothing. */
int index_expired(Index *index, int64_t before_us, uint64_t keep_count, uint32_t max,
                  uint64_t *sequence, Error *err);
/* Forgets these revisions and the events whose newest one is among them, inside a transaction. The
 * ledger of their cameras and watches becomes LOST ("forgotten") as far as they went. */
int index_forget(Index *index, uint64_t sequence, Error *err);

/* --- a copy of it all --- */

enum { INDEX_BACKUP_DONE = 1 };
typedef struct IndexBackup IndexBackup;
/* Copies into a new file at path, some pages a step, while the index goes on. It is to be freed
 * before the index; what was not finished stays behind as a useless file. */
int index_backup_begin(Index *index, const char *path, IndexBackup **backup, Error *err);
/* 0: more to do, or INDEX_BACKUP_DONE: the file is whole and closed. */
int index_backup_step(IndexBackup *backup, int pages, Error *err);
double index_backup_share(const IndexBackup *backup); /* 0..1 */
void index_backup_free(IndexBackup *backup);

/* --- clients from elsewhere: keys.h --- */

/* Inside a transaction. A name that is there gets the new key. */
int index_put_client(Index *index, const char *name, const char *public_key, Error *err);
int index_remove_client(Index *index, const char *name, Error *err);
typedef int (*IndexClientSink)(const char *name, const char *public_key, int64_t added_us,
                               void *context);
int index_clients(Index *index, IndexClientSink sink, void *context, Error *err);

/* --- small facts that outlive a run: how far a file camera was read, ... --- */
int index_put_fact(Index *index, const char *key, const char *value, Error *err);
/* 0 with *value set to a copy (caller frees) or NULL when there is none. */
int index_get_fact(Index *index, const char *key, char **value, Error *err);

#endif

/*
 * Index: what was asked under which name, when, so that a question can be matched to it, and the
 * watches that were added at run time.
 *
 * A question belongs to a name for a stretch of time. When the name gets another question, the old
 * one lives on as "NAME@N": its spans of the ledger are moved there, its events (which keep NAME)
 * are told from the new one's by when they were committed. So nothing that an old question examined
 * ever counts as examined for a new one.
 */
#ifndef WHEN_DAEMON_INDEX_WATCHES_H
#define WHEN_DAEMON_INDEX_WATCHES_H

#include "config/config.h"
#include "daemon/index.h"

/* One question under one name. Texts are borrowed for the call. */
typedef struct AskedWatch {
    const char *name;        /* of its spans in the ledger: NAME or NAME@N */
    const char *event_watch; /* of its events: NAME */
    const char *question;
    int64_t asked_us;   /* UTC since when it is asked */
    int64_t retired_us; /* UTC since when it is not asked any more; 0: it is */
} AskedWatch;

typedef int (*IndexWatchSink)(const AskedWatch *watch, void *context);

/* From now on `name` asks `question` (inside a transaction). The same as before: goes on. */
int index_put_watch(Index *index, const char *name, const char *question, Error *err);
/* All but these names [n] are not asked any more, and nobody waits for what waits for them: that is
 * unsaid again (inside a transaction). */
int index_retire_watches(Index *index, const char *const *names, size_t n, Error *err);
/* Watches whose question has every content word of `question` and the other way round: those that
 * are asked now before those that were asked once. */
int index_match_watches(Index *index, const char *question, IndexWatchSink sink, void *context,
                        Error *err);
/* Newest revisions of the events that this watch's question found, not retracted, in order of
 * start. The filter's own watches are unused. */
int index_watch_events(Index *index, const AskedWatch *watch, const IndexFilter *filter,
                       IndexEventSink sink, void *context, Error *err);
/* --- watches that were added at run time --- */

int index_put_added_watch(Index *index, const WatchConfig *watch, Error *err);
int index_remove_added_watch(Index *index, const char *name, Error *err); /* none: nothing */
typedef int (*IndexAddedSink)(const WatchConfig *watch, void *context);   /* borrowed */
int index_added_watches(Index *index, IndexAddedSink sink, void *context, Error *err);

#endif

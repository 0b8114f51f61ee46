/*
 * Answer list: what a query of the index found, collected and brought into message form. Used by
 * the service alone.
 */
#ifndef WHEN_DAEMON_ANSWER_LIST_H
#define WHEN_DAEMON_ANSWER_LIST_H

#include "daemon/index.h"
#include "proto/wire.h"

typedef struct AnswerList {
    Event *events; /* [n_events] */
    size_t n_events, events_capacity;
    char **watches; /* [n_watches] */
    size_t n_watches, watches_capacity;
    LedgerSpan *spans; /* [n_spans], by camera */
    size_t n_spans, spans_capacity;
    /* message form, pointing into the above */
    When__Event *event_bodies, **event_messages;
    When__Span *span_bodies, **span_messages;
    When__CameraCoverage *coverage_bodies, **coverage;
    size_t n_coverage;
} AnswerList;

void answer_list_deinit(AnswerList *list);

int answer_list_add_event(const Event *event, void *list);                     /* IndexEventSink */
int answer_list_add_watch(const char *name, const char *question, void *list); /* IndexWatchSink */

/* Brings the events into message form: 0 or -ENOMEM. */
int answer_list_fill(AnswerList *list);
/* Looks up the ledger and fills `coverage`, one a camera; best as coverage_sum's. */
int answer_list_cover(AnswerList *list, Index *index, const IndexFilter *filter, bool best,
                      Error *err);

#endif

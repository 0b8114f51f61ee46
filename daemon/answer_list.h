/*
 * Answer list: what a query of the index found, collected and brought into message form. Used by
 * the service alone.
 */
#ifndef WHEN_DAEMON_ANSWER_LIST_H
#define WHEN_DAEMON_ANSWER_LIST_H

#include "daemon/index_watches.h"
#include "proto/wire.h"

typedef struct AnswerWatch {
    char name[EVENT_NAME_BYTES], event_watch[EVENT_NAME_BYTES];
    int64_t asked_us, retired_us;
    bool is_current; /* a watch that is asked now; a one-off question is none */
} AnswerWatch;

typedef struct AnswerList {
    Event *events; /* [n_events] */
    size_t n_events, events_capacity;
    AnswerWatch *asked; /* [n_watches]: those that are asked now come first */
    size_t n_watches, n_current, watches_capacity;
    char **watches;    /* [n_watches]: their names in the ledger; set by answer_list_ask */
    LedgerSpan *spans; /* [n_spans], by camera */
    size_t n_spans, spans_capacity;
    /* message form, pointing into the above */
    When__Event *event_bodies, **event_messages;
    When__Span *span_bodies, **span_messages;
    When__CameraCoverage *coverage_bodies, **coverage;
    size_t n_coverage;
} AnswerList;

void answer_list_deinit(AnswerList *list);

int answer_list_add_event(const Event *event, void *list); /* IndexEventSink */

/* All that the index knows about a question: the watches that ask the same, now or once; what they
 * found, and what its words find in the descriptions; what they examined. Ready to be sent.
 * -EINVAL or -E2BIG with EX_DATAERR when nothing can be asked with it. */
int answer_list_ask(AnswerList *list, Index *index, const char *question, const IndexFilter *filter,
                    Error *err);

/* The list as a message, borrowed from it. */
void answer_list_message(const AnswerList *list, When__AskResponse *message);

/* Brings the events into message form: 0 or -ENOMEM. */
int answer_list_fill(AnswerList *list);
/* Looks up the ledger and fills `coverage`, one a camera; best as coverage_sum's. */
int answer_list_cover(AnswerList *list, Index *index, const IndexFilter *filter, bool best,
                      Error *err);

#endif

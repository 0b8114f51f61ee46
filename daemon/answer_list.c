/* What was found, in message form. See answer_list.h. */
#include "daemon/answer_list.h"

#include "base/mem.h"
#include "config/watch.h"
#include "daemon/coverage.h"
#include "daemon/publisher.h"
#include "daemon/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LEDGER_SPANS = 20000 };

void answer_list_deinit(AnswerList *list)
{
    free(list->events);
    free(list->asked);
    free(list->watches);
    free(list->spans);
    free(list->event_bodies);
    free(list->event_messages);
    free(list->span_bodies);
    free(list->span_messages);
    free(list->coverage_bodies);
    free(list->coverage);
    *list = (AnswerList){0};
}

int answer_list_add_event(const Event *event, void *context)
{
    AnswerList *list = context;
    void *events = list->events;
    int r = mem_grow(&events, &list->events_capacity, list->n_events + 1, sizeof *event);
    list->events = events;
    if (r == 0)
        list->events[list->n_events++] = *event;
    return r;
}

int answer_list_fill(AnswerList *list)
{
    list->event_bodies = mem_new_array(list->n_events, sizeof *list->event_bodies);
    list->event_messages = mem_new_array(list->n_events, sizeof *list->event_messages);
    if (!list->event_bodies || !list->event_messages)
        return -ENOMEM;
    for (size_t i = 0; i < list->n_events; i++) {
        publisher_fill_event(&list->events[i], &list->event_bodies[i]);
        list->event_messages[i] = &list->event_bodies[i];
    }
    return 0;
}

static int add_span(const LedgerSpan *span, void *context)
{
    AnswerList *list = context;
    void *spans = list->spans;
    int r = mem_grow(&spans, &list->spans_capacity, list->n_spans + 1, sizeof *span);
    list->spans = spans;
    if (r == 0)
        list->spans[list->n_spans++] = *span;
    return r;
}

static int by_camera_and_start(const void *a, const void *b)
{
    const LedgerSpan *x = a, *y = b;
    int camera = strcmp(x->camera, y->camera);
    return camera ? camera : x->start_us < y->start_us ? -1 : x->start_us > y->start_us;
}

static void fill_span(const LedgerSpan *from, When__Span *to)
{
    when__span__init(to);
    to->start_us = from->start_us;
    to->end_us = from->end_us;
    to->state = (When__SpanState)from->state;
    to->fps = (float)from->fps;
    to->model = (char *)from->model;
    to->reason = (char *)from->reason;
    to->watch = (char *)from->watch;
}

/* One camera's spans [n] as its coverage; at most max_spans of them, the newest. */
static int fill_camera(AnswerList *list, size_t first, size_t n, const IndexFilter *filter,
                       bool best, size_t max_spans)
{
    CoverageTotals totals;
    int r = coverage_sum(list->spans + first, n, filter->since_us, filter->until_us, best, &totals);
    if (r < 0)
        return r;
    When__CameraCoverage *body = &list->coverage_bodies[list->n_coverage];
    when__camera_coverage__init(body);
    body->camera = list->spans[first].camera;
    body->examined_us = totals.examined_us;
    body->waiting_us = totals.waiting_us;
    body->lost_us = totals.lost_us;
    size_t skip = n > max_spans ? n - max_spans : 0;
    body->n_spans = n - skip;
    body->spans = list->span_messages + first + skip;
    list->coverage[list->n_coverage++] = body;
    return 0;
}

int answer_list_cover(AnswerList *list, Index *index, const IndexFilter *filter, bool best,
                      Error *err)
{
    IndexFilter all = *filter;
    all.limit = MAX_LEDGER_SPANS;
    int r = index_ledger_spans(index, &all, 0, add_span, list, err);
    if (r < 0)
        return r;
    size_t n = list->n_spans, n_cameras = 0;
    list->span_bodies = mem_new_array(n, sizeof *list->span_bodies);
    list->span_messages = mem_new_array(n, sizeof *list->span_messages);
    list->coverage_bodies = mem_new_array(n, sizeof *list->coverage_bodies);
    list->coverage = mem_new_array(n, sizeof *list->coverage);
    if (!list->span_bodies || !list->span_messages || !list->coverage_bodies || !list->coverage)
        return -ENOMEM;
    if (n > 0)
        qsort(list->spans, n, sizeof *list->spans, by_camera_and_start);
    for (size_t i = 0; i < n; i++) {
        fill_span(&list->spans[i], &list->span_bodies[i]);
        list->span_messages[i] = &list->span_bodies[i];
        n_cameras += i == 0 || strcmp(list->spans[i].camera, list->spans[i - 1].camera) != 0;
    }
    for (size_t first = 0, last; first < n; first = last) {
        last = first + 1;
        while (last < n && strcmp(list->spans[last].camera, list->spans[first].camera) == 0)
            last++;
        r = fill_camera(list, first, last - first, filter, best, SERVICE_MAX_SPANS / n_cameras + 1);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- ask --- */

static int add_watch(const AskedWatch *watch, void *context)
{
    AnswerList *list = context;
    void *asked = list->asked;
    int r = mem_grow(&asked, &list->watches_capacity, list->n_watches + 1, sizeof *list->asked);
    list->asked = asked;
    if (r < 0)
        return r;
    AnswerWatch *to = &list->asked[list->n_watches++];
    *to = (AnswerWatch){.asked_us = watch->asked_us, .retired_us = watch->retired_us};
    snprintf(to->name, sizeof to->name, "%s", watch->name);
    snprintf(to->event_watch, sizeof to->event_watch, "%s", watch->event_watch);
    size_t prefix = strlen(WATCH_QUESTION_PREFIX);
    to->is_current =
        watch->retired_us == 0 && strncmp(watch->name, WATCH_QUESTION_PREFIX, prefix) != 0;
    list->n_current += to->is_current;
    return 0;
}

static int current_first(const void *a, const void *b)
{
    const AnswerWatch *x = a, *y = b;
    return x->is_current != y->is_current ? y->is_current - x->is_current
                                          : strcmp(x->name, y->name);
}

static int by_start(const void *a, const void *b)
{
    const Event *x = a, *y = b;
    if (x->start_us != y->start_us)
        return x->start_us < y->start_us ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* Found by its watch and by its words is found once. */
static void sort_events(AnswerList *list, size_t limit)
{
    size_t kept = 0;
    if (list->n_events > 0)
        qsort(list->events, list->n_events, sizeof *list->events, by_start);
    for (size_t i = 0; i < list->n_events && kept < limit; i++)
        if (kept == 0 || strcmp(list->events[i].id, list->events[kept - 1].id) != 0)
            list->events[kept++] = list->events[i];
    list->n_events = kept;
}

int answer_list_ask(AnswerList *list, Index *index, const char *question, const IndexFilter *filter,
                    Error *err)
{
    int r = index_search(index, question, filter, answer_list_add_event, list, err);
    if (r >= 0)
        r = index_match_watches(index, question, add_watch, list, err);
    if (list->n_watches > 0)
        qsort(list->asked, list->n_watches, sizeof *list->asked, current_first);
    for (size_t i = 0; r >= 0 && i < list->n_watches; i++) {
        const AnswerWatch *w = &list->asked[i];
        AskedWatch watch = {w->name, w->event_watch, question, w->asked_us, w->retired_us};
        r = index_watch_events(index, &watch, filter, answer_list_add_event, list, err);
    }
    if (r < 0)
        return r;
    sort_events(list, filter->limit);
    if (!(list->watches = mem_new_array(list->n_watches, sizeof *list->watches)))
        return -ENOMEM;
    for (size_t i = 0; i < list->n_watches; i++)
        list->watches[i] = list->asked[i].name;
    /* No watch asks the same thing: nobody looked, and coverage says so by being empty. */
    if (list->n_watches > 0) {
        IndexFilter matched = *filter;
        matched.watches = (const char *const *)list->watches;
        matched.n_watches = list->n_watches;
        r = answer_list_cover(list, index, &matched, true, err);
    }
    return r < 0 ? r : answer_list_fill(list);
}

void answer_list_message(const AnswerList *list, When__AskResponse *message)
{
    when__ask_response__init(message);
    message->n_events = list->n_events;
    message->events = list->event_messages;
    message->n_watches = list->n_current;
    message->watches = list->watches;
    message->n_former_watches = list->n_watches - list->n_current;
    message->former_watches = list->watches + list->n_current;
    message->n_coverage = list->n_coverage;
    message->coverage = list->coverage;
}

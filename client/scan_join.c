/* Answers about windows become events, by the daemon's own segmenter. See scan.h. */
#include "client/scan.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* As a watch has it by default. */
#define JOIN_GAP_US US_PER_S

enum { MAX_THINGS = 256 };

typedef struct Join {
    ScanResult *result;
    size_t question;
} Join;

void scan_answer_deinit(ScanAnswer *answer)
{
    for (size_t i = 0; i < answer->n; i++)
        free((char *)answer->intervals[i].description);
    free(answer->intervals);
    *answer = (ScanAnswer){0};
}

void scan_result_deinit(ScanResult *result)
{
    free(result->events);
    *result = (ScanResult){0};
}

/* Only what is final counts: the end of the file settles everything. */
static int take_event(const Event *event, void *context)
{
    Join *join = context;
    ScanResult *result = join->result;
    if (event->state != EVENT_FINAL)
        return 0;
    void *events = result->events;
    int rc = mem_grow(&events, &result->capacity, result->n + 1, sizeof(*result->events));
    result->events = events;
    if (rc == 0)
        result->events[result->n++] = (ScanEvent){.event = *event, .question = join->question};
    return rc;
}

/* Does this answer say that different things happen at the same time? */
static bool names_different_things(const ScanAnswer *answer)
{
    for (size_t i = 0; i < answer->n; i++) {
        for (size_t k = 0; k < i; k++) {
            const SegmenterInterval *a = &answer->intervals[i], *b = &answer->intervals[k];
            if (strcmp(a->description, b->description) != 0 &&
                a->start_us < b->end_us + JOIN_GAP_US && b->start_us < a->end_us + JOIN_GAP_US)
                return true;
        }
    }
    return false;
}

/* Joins one question's intervals; only those with this description, if it is not NULL. */
static int join_thing(const ScanAnswer *answers, size_t n, Join *join, const char *description)
{
    const SegmenterOptions options = {.camera = "file",
                                      .watch = "question",
                                      .id_prefix = "scan",
                                      .next_id = 1,
                                      .join_gap_us = JOIN_GAP_US};
    Segmenter *segmenter = segmenter_new(&options);
    int rc = segmenter ? 0 : -ENOMEM;
    int64_t seen_us = INT64_MAX; /* end of the window before */
    for (size_t i = 0; i < n && rc == 0; i++) {
        const ScanAnswer *a = &answers[i];
        if (a->question != join->question)
            continue;
        _cleanup_free_ SegmenterInterval *intervals =
            mem_new_array(a->n ? a->n : 1, sizeof(*intervals));
        if (!intervals) {
            rc = -ENOMEM;
            break;
        }
        size_t count = 0;
        for (size_t k = 0; k < a->n; k++)
            if (!description || strcmp(a->intervals[k].description, description) == 0)
                intervals[count++] = a->intervals[k];
        /* A hole longer than what is joined: nothing that comes can continue what is open. */
        if (seen_us < INT64_MAX && a->start_us > seen_us + JOIN_GAP_US)
            rc = segmenter_finish(segmenter, take_event, join);
        const SegmenterWindow window = {.start_us = a->start_us,
                                        .end_us = a->end_us,
                                        .settled_us = a->settled_us,
                                        .intervals = intervals,
                                        .n = count};
        if (rc == 0)
            rc = segmenter_add(segmenter, &window, take_event, join);
        seen_us = a->end_us;
    }
    if (rc == 0)
        rc = segmenter_finish(segmenter, take_event, join);
    segmenter_free(segmenter);
    return rc;
}

static int join_question(const ScanAnswer *answers, size_t n, Join *join)
{
    const char *things[MAX_THINGS];
    size_t n_things = 0;
    bool different = false;
    for (size_t i = 0; i < n; i++) {
        if (answers[i].question != join->question)
            continue;
        different = different || names_different_things(&answers[i]);
        for (size_t k = 0; k < answers[i].n; k++) {
            const char *description = answers[i].intervals[k].description;
            size_t t = 0;
            while (t < n_things && strcmp(things[t], description) != 0)
                t++;
            if (t == n_things && n_things < MAX_THINGS)
                things[n_things++] = description;
        }
    }
    if (!different || n_things == MAX_THINGS)
        return join_thing(answers, n, join, NULL);
    int rc = 0;
    for (size_t t = 0; t < n_things && rc == 0; t++)
        rc = join_thing(answers, n, join, things[t]);
    return rc;
}

static int compare(const void *a, const void *b)
{
    const ScanEvent *x = a, *y = b;
    if (x->event.start_us != y->event.start_us)
        return x->event.start_us < y->event.start_us ? -1 : 1;
    if (x->event.end_us != y->event.end_us)
        return x->event.end_us < y->event.end_us ? -1 : 1;
    return (x->question > y->question) - (x->question < y->question);
}

int scan_join(const ScanAnswer *answers, size_t n, ScanResult *result)
{
    Join join = {.result = result};
    int rc = 0;
    for (; join.question < SCAN_MAX_QUESTIONS && rc == 0; join.question++)
        rc = join_question(answers, n, &join);
    if (result->n)
        qsort(result->events, result->n, sizeof(*result->events), compare);
    return rc;
}

/* What is examined from recordings next. See backlog.h. */
#include "daemon/backlog.h"

#include "base/log.h"
#include "base/mem.h"
#include "config/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SPANS = 10000 };

typedef struct Spans {
    LedgerSpan *spans; /* [n] */
    size_t n, capacity;
} Spans;

static int add_span(const LedgerSpan *span, void *context)
{
    Spans *s = context;
    void *spans = s->spans;
    int r = mem_grow(&spans, &s->capacity, s->n + 1, sizeof *span);
    s->spans = spans;
    if (r == 0)
        s->spans[s->n++] = *span;
    return r;
}

static void spans_deinit(Spans *s)
{
    free(s->spans);
}

/* --- recordings --- */

typedef struct Recorded {
    int64_t start_us, end_us;
    size_t n;
} Recorded;

static int add_recorded(const Recording *recording, void *context)
{
    Recorded *r = context;
    if (r->n == 0 || recording->start_us < r->start_us)
        r->start_us = recording->start_us;
    if (r->n == 0 || recording->end_us > r->end_us)
        r->end_us = recording->end_us;
    r->n++;
    return 0;
}

int backlog_recorded(Index *index, const char *camera, int64_t *start_us, int64_t *end_us,
                     Error *err)
{
    Recorded recorded = {0};
    int r = index_recordings(index, camera, INT64_MIN, INT64_MAX, add_recorded, &recorded, err);
    *start_us = recorded.start_us;
    *end_us = recorded.end_us;
    return r < 0 ? r : 0;
}

/* --- losing and waiting --- */

int backlog_lose(Index *index, const char *camera, const char *watch, int64_t start_us,
                 int64_t end_us, const char *reason, Batch *batch, Error *err)
{
    IndexFilter filter = {.cameras = &camera,
                          .n_cameras = 1,
                          .watches = &watch,
                          .n_watches = watch ? 1 : 0,
                          .since_us = start_us,
                          .until_us = end_us,
                          .limit = MAX_SPANS};
    _cleanup_(spans_deinit) Spans waiting = {0};
    int r = index_ledger_spans(index, &filter, SPAN_WAITING, add_span, &waiting, err);
    for (size_t i = 0; r >= 0 && i < waiting.n; i++) {
        LedgerSpan *span = &waiting.spans[i];
        span->state = SPAN_LOST;
        span->start_us = span->start_us > start_us ? span->start_us : start_us;
        span->end_us = span->end_us < end_us ? span->end_us : end_us;
        snprintf(span->reason, sizeof span->reason, "%s", reason);
        batch_span(batch, span);
    }
    return r < 0 ? r : 0;
}

static int by_start(const void *a, const void *b)
{
    const LedgerSpan *x = a, *y = b;
    return x->start_us < y->start_us ? -1 : x->start_us > y->start_us;
}

int backlog_add(Index *index, const char *camera, const char *watch, const char *const *same,
                size_t n_same, int64_t start_us, int64_t end_us, const char *reason, Batch *batch,
                Error *err)
{
    if (start_us >= end_us)
        return 0;
    IndexFilter own = {.cameras = &camera,
                       .n_cameras = 1,
                       .watches = &watch,
                       .n_watches = 1,
                       .since_us = start_us,
                       .until_us = end_us,
                       .limit = MAX_SPANS};
    IndexFilter others = own;
    others.watches = same;
    others.n_watches = n_same;
    _cleanup_(spans_deinit) Spans said = {0};
    int r = index_ledger_spans(index, &own, 0, add_span, &said, err);
    if (r >= 0 && n_same > 0)
        r = index_ledger_spans(index, &others, SPAN_EXAMINED, add_span, &said, err);
    if (r < 0)
        return r;
    if (said.n > 0)
        qsort(said.spans, said.n, sizeof *said.spans, by_start);
    LedgerSpan gap = {.state = SPAN_WAITING, .start_us = start_us};
    snprintf(gap.camera, sizeof gap.camera, "%s", camera);
    snprintf(gap.watch, sizeof gap.watch, "%s", watch);
    snprintf(gap.reason, sizeof gap.reason, "%s", reason);
    for (size_t i = 0; i <= said.n; i++) {
        gap.end_us =
            i < said.n && said.spans[i].start_us < end_us ? said.spans[i].start_us : end_us;
        if (gap.end_us > gap.start_us)
            batch_span(batch, &gap);
        if (i < said.n && said.spans[i].end_us > gap.start_us)
            gap.start_us = said.spans[i].end_us;
    }
    return 0;
}

/* --- the next job --- */

static int newest_first(const void *a, const void *b)
{
    const LedgerSpan *x = a, *y = b;
    return x->end_us < y->end_us ? 1 : x->end_us > y->end_us ? -1 : 0;
}

static const CameraConfig *find_camera(const Config *config, const char *name)
{
    for (size_t i = 0; i < config->n_cameras; i++)
        if (strcmp(config->cameras[i].name, name) == 0)
            return &config->cameras[i];
    return NULL;
}

static bool is_watched(const Config *config, const LedgerSpan *span)
{
    for (size_t i = 0; i < config->n_watches; i++)
        if (strcmp(config->watches[i].name, span->watch) == 0 &&
            watch_config_covers(&config->watches[i], span->camera))
            return true;
    return false;
}

static bool has_rank(const Backlog *b, const LedgerSpan *span, BacklogRank rank)
{
    bool older = strcmp(span->reason, BACKLOG_OLDER) == 0;
    return rank == BACKLOG_QUESTION ||
           (is_watched(b->config, span) && older == (rank == BACKLOG_WATCH));
}

/* The job that begins with spans[first], to be made longer by its neighbours before it. */
static void make_job(const Backlog *b, const Spans *waiting, size_t first, BacklogRank rank,
                     int64_t end_us, BacklogJob *job)
{
    const LedgerSpan *span = &waiting->spans[first];
    *job = (BacklogJob){.start_us = span->start_us, .end_us = end_us, .rank = rank};
    memcpy(job->camera, span->camera, sizeof job->camera);
    if (rank == BACKLOG_QUESTION)
        memcpy(job->watch, span->watch, sizeof job->watch);
    for (size_t i = first + 1; i < waiting->n; i++) {
        const LedgerSpan *before = &waiting->spans[i];
        if (before->end_us < job->start_us - BACKLOG_MERGE_US)
            break;
        if (strcmp(before->camera, span->camera) == 0 && has_rank(b, before, rank) &&
            before->start_us < job->start_us)
            job->start_us = before->start_us;
    }
    if (job->end_us - job->start_us > BACKLOG_MAX_SPAN_US)
        job->start_us = job->end_us - BACKLOG_MAX_SPAN_US;
}

/* 0: a job; BACKLOG_LOST: it is in no recording; BACKLOG_NOTHING: it goes on waiting. */
static int try_span(const Backlog *b, const Spans *waiting, size_t i, BacklogRank rank,
                    BacklogJob *job, Batch *batch, Error *err)
{
    const LedgerSpan *span = &waiting->spans[i];
    const CameraConfig *camera = find_camera(b->config, span->camera);
    if (!camera || !has_rank(b, span, rank))
        return BACKLOG_NOTHING;
    const char *watch = rank == BACKLOG_QUESTION ? span->watch : NULL;
    Recorded after = {0}, within = {0};
    int r = index_recordings(b->index, span->camera, span->start_us, INT64_MAX, add_recorded,
                             &after, err);
    if (r < 0)
        return r;
    int64_t end_us = after.n == 0                  ? span->start_us
                     : span->end_us < after.end_us ? span->end_us
                                                   : after.end_us;
    if (end_us <= span->start_us) {
        if (camera->record)
            return BACKLOG_NOTHING; /* the file that has it may still be open */
        r = backlog_lose(b->index, span->camera, watch, span->start_us, span->end_us,
                         "not recorded", batch, err);
        return r < 0 ? r : BACKLOG_LOST;
    }
    int64_t start_us = end_us - span->start_us > BACKLOG_MAX_SPAN_US ? end_us - BACKLOG_MAX_SPAN_US
                                                                     : span->start_us;
    r = index_recordings(b->index, span->camera, start_us, end_us, add_recorded, &within, err);
    if (r < 0)
        return r;
    if (within.n == 0) {
        r = backlog_lose(b->index, span->camera, watch, start_us, end_us, "no recording of it",
                         batch, err);
        return r < 0 ? r : BACKLOG_LOST;
    }
    make_job(b, waiting, i, rank, end_us, job);
    return 0;
}

static int try_all(const Backlog *b, const IndexFilter *filter, BacklogRank best, BacklogRank worst,
                   BacklogJob *job, Batch *batch, Error *err)
{
    _cleanup_(spans_deinit) Spans waiting = {0};
    int r = index_ledger_spans(b->index, filter, SPAN_WAITING, add_span, &waiting, err);
    if (r < 0)
        return r;
    if (waiting.n > 0)
        qsort(waiting.spans, waiting.n, sizeof *waiting.spans, newest_first);
    r = BACKLOG_NOTHING;
    for (int rank = (int)best; rank <= (int)worst && r == BACKLOG_NOTHING; rank++)
        for (size_t i = 0; i < waiting.n && r == BACKLOG_NOTHING; i++)
            r = try_span(b, &waiting, i, (BacklogRank)rank, job, batch, err);
    return r;
}

int backlog_next(const Backlog *b, BacklogRank worst, BacklogJob *job, Batch *batch, Error *err)
{
    int r = BACKLOG_NOTHING;
    for (size_t i = 0; i < b->n_questions && r == BACKLOG_NOTHING; i++) {
        IndexFilter filter = {.watches = &b->questions[i], .n_watches = 1, .limit = MAX_SPANS};
        r = try_all(b, &filter, BACKLOG_QUESTION, BACKLOG_QUESTION, job, batch, err);
    }
    IndexFilter all = {.limit = MAX_SPANS};
    if (r == BACKLOG_NOTHING && worst > BACKLOG_QUESTION)
        r = try_all(b, &all, BACKLOG_WATCH, worst, job, batch, err);
    return r;
}

/* Ledger arithmetic. See ledger.h. */
#include "daemon/ledger.h"

#include <assert.h>
#include <math.h>
#include <string.h>

bool ledger_same(const LedgerSpan *a, const LedgerSpan *b)
{
    double apart = fabs(a->fps - b->fps), more = fmax(fabs(a->fps), fabs(b->fps));
    return a->state == b->state && apart <= more / 20 && strcmp(a->model, b->model) == 0 &&
           strcmp(a->reason, b->reason) == 0;
}

/* Puts span over [start, end) behind what is in out, joined if it says the same. */
static size_t append(LedgerSpan *out, size_t n, const LedgerSpan *span, int64_t start, int64_t end)
{
    if (start >= end)
        return n;
    if (n > 0 && out[n - 1].end_us == start && ledger_same(&out[n - 1], span)) {
        out[n - 1].end_us = end;
        out[n - 1].fps = fmin(out[n - 1].fps, span->fps);
        return n;
    }
    out[n] = *span;
    out[n].start_us = start;
    out[n].end_us = end;
    return n + 1;
}

static int64_t min_us(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_us(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

size_t ledger_mark(const LedgerSpan *old, size_t n, const LedgerSpan *mark, LedgerSpan *out)
{
    assert(mark->start_us < mark->end_us);
    size_t m = 0;
    int64_t said = mark->start_us; /* the mark is in out up to here */
    for (size_t i = 0; i < n; i++) {
        const LedgerSpan *span = &old[i];
        assert(i == 0 || old[i - 1].end_us <= span->start_us);
        bool stays = span->state == SPAN_EXAMINED && mark->state != SPAN_EXAMINED;
        int64_t cut_from = max_us(span->start_us, mark->start_us);
        int64_t cut_to = min_us(span->end_us, mark->end_us);
        if (cut_from >= cut_to) { /* only touches */
            if (span->start_us >= mark->end_us) {
                m = append(out, m, mark, said, mark->end_us);
                said = mark->end_us;
            }
            m = append(out, m, span, span->start_us, span->end_us);
            continue;
        }
        m = append(out, m, span, span->start_us, cut_from);
        if (stays) {
            m = append(out, m, mark, said, cut_from);
            m = append(out, m, span, cut_from, cut_to);
            said = cut_to;
        } else {
            m = append(out, m, mark, said, cut_to);
            said = cut_to;
        }
        if (span->end_us > mark->end_us) {
            m = append(out, m, mark, said, mark->end_us);
            said = mark->end_us;
            m = append(out, m, span, mark->end_us, span->end_us);
        }
    }
    m = append(out, m, mark, said, mark->end_us);
    assert(m <= ledger_room(n));
    return m;
}

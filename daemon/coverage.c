/* Sums of ledger spans. See coverage.h. */
#include "daemon/coverage.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>

typedef struct Edge {
    int64_t at_us;
    int state, step; /* +1: a span in this state begins, -1: one ends */
} Edge;

static int by_time(const void *a, const void *b)
{
    const Edge *x = a, *y = b;
    return x->at_us < y->at_us ? -1 : x->at_us > y->at_us;
}

int coverage_sum(const LedgerSpan *spans, size_t n, int64_t since_us, int64_t until_us, bool best,
                 CoverageTotals *totals)
{
    *totals = (CoverageTotals){0};
    _cleanup_free_ Edge *edges = mem_new_array(2 * n, sizeof *edges);
    if (!edges)
        return -ENOMEM;
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t start = spans[i].start_us, end = spans[i].end_us;
        start = since_us && start < since_us ? since_us : start;
        end = until_us && end > until_us ? until_us : end;
        if (start >= end || spans[i].state < SPAN_WAITING || spans[i].state > SPAN_LOST)
            continue;
        edges[m++] = (Edge){start, spans[i].state, 1};
        edges[m++] = (Edge){end, spans[i].state, -1};
    }
    qsort(edges, m, sizeof *edges, by_time);

    static const int best_first[] = {SPAN_EXAMINED, SPAN_WAITING, SPAN_LOST};
    static const int worst_first[] = {SPAN_LOST, SPAN_WAITING, SPAN_EXAMINED};
    const int *order = best ? best_first : worst_first;
    int64_t *sums[] = {[SPAN_WAITING] = &totals->waiting_us,
                       [SPAN_EXAMINED] = &totals->examined_us,
                       [SPAN_LOST] = &totals->lost_us};
    int depth[SPAN_LOST + 1] = {0};
    for (size_t i = 0; i < m; i++) {
        depth[edges[i].state] += edges[i].step;
        if (i + 1 == m || edges[i + 1].at_us == edges[i].at_us)
            continue;
        for (size_t k = 0; k < 3; k++)
            if (depth[order[k]] > 0) {
                *sums[order[k]] += edges[i + 1].at_us - edges[i].at_us;
                break;
            }
    }
    return 0;
}

/*
 * Coverage: what the ledger's spans of one camera add up to. Pure.
 */
#ifndef WHEN_DAEMON_COVERAGE_H
#define WHEN_DAEMON_COVERAGE_H

#include "daemon/index.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct CoverageTotals {
    int64_t examined_us, waiting_us, lost_us;
} CoverageTotals;

/* Sums up spans [n] of one camera, of any watches, in any order, cut to [since_us, until_us] (0: no
 * bound). Where watches differ, `best` decides: true takes the best word (watches that ask the same
 * thing: examined for one is examined), false the worst (examined means for all that speak of that
 * moment). -ENOMEM. */
int coverage_sum(const LedgerSpan *spans, size_t n, int64_t since_us, int64_t until_us, bool best,
                 CoverageTotals *totals);

#endif

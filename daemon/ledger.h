/*
 * Ledger arithmetic: what becomes of a stretch of spans when one more is said. Pure; the index
 * keeps the result.
 *
 * Rules: spans of one camera and watch never overlap. A new span cuts or replaces what was said of
 * its stretch before, but EXAMINED is never replaced by WAITING or LOST: what was looked at was
 * looked at. Neighbours that say the same are one span; two densities are the same within a
 * twentieth, and the joined span keeps the lower one.
 */
#ifndef WHEN_DAEMON_LEDGER_H
#define WHEN_DAEMON_LEDGER_H

#include "daemon/index.h"

#include <stdbool.h>
#include <stddef.h>

/* Do these two say the same, but for their times? */
bool ledger_same(const LedgerSpan *a, const LedgerSpan *b);

/* old [n]: all spans that overlap or touch `mark`, in order. out has room for ledger_room(n).
 * Returns how many spans take their place, in order. */
static inline size_t ledger_room(size_t n)
{
    return 2 * n + 3;
}
size_t ledger_mark(const LedgerSpan *old, size_t n, const LedgerSpan *mark, LedgerSpan *out);

#endif

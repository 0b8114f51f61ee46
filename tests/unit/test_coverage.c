/* Sums of ledger spans. */
#include "daemon/coverage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static LedgerSpan span(int64_t start_us, int64_t end_us, SpanState state)
{
    return (LedgerSpan){.start_us = start_us, .end_us = end_us, .state = state};
}

static void expect(const LedgerSpan *spans, size_t n, int64_t since, int64_t until, bool best,
                   int64_t examined, int64_t waiting, int64_t lost)
{
    CoverageTotals totals;
    assert_int_equal(coverage_sum(spans, n, since, until, best, &totals), 0);
    assert_int_equal(totals.examined_us, examined);
    assert_int_equal(totals.waiting_us, waiting);
    assert_int_equal(totals.lost_us, lost);
}

static void one_watch(void **state)
{
    (void)state;
    const LedgerSpan spans[] = {span(100, 200, SPAN_EXAMINED), span(200, 230, SPAN_LOST),
                                span(230, 300, SPAN_WAITING), span(400, 500, SPAN_EXAMINED)};
    expect(spans, 4, 0, 0, true, 200, 70, 30);
    expect(spans, 4, 0, 0, false, 200, 70, 30);
    expect(spans, 4, 150, 420, true, 70, 70, 30);
    expect(spans, 4, 310, 390, true, 0, 0, 0);
    expect(NULL, 0, 0, 0, true, 0, 0, 0);
}

static void watches_differ(void **state)
{
    (void)state;
    const LedgerSpan spans[] = {span(0, 100, SPAN_EXAMINED), span(50, 150, SPAN_LOST),
                                span(90, 200, SPAN_WAITING)};
    expect(spans, 3, 0, 0, true, 100, 100, 0);
    expect(spans, 3, 0, 0, false, 50, 50, 100);
    /* The same moment said twice counts once. */
    const LedgerSpan twice[] = {span(0, 100, SPAN_EXAMINED), span(0, 100, SPAN_EXAMINED)};
    expect(twice, 2, 0, 0, false, 100, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_watch),
                                       cmocka_unit_test(watches_differ)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

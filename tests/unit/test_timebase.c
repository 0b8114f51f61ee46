/* UTC of a stream's frames: held, by arrival, by reports, corrected, through clock jumps. */
#include "pipeline/timebase.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define S     INT64_C(1000000)
#define EPOCH (INT64_C(1795420000) * S) /* UTC of pts 0 by the sender */

enum { ARRIVAL_ERR_US = 700000, DELAY_US = 120000 };

static Timebase start(void)
{
    Timebase t;
    timebase_init(&t, 4 * S, ARRIVAL_ERR_US);
    timebase_new_session(&t);
    return t;
}

static int by_arrival(Timebase *t, int64_t pts_us, int64_t delay_us)
{
    return timebase_observe(t, pts_us, 0, EPOCH + delay_us);
}

static int by_report(Timebase *t, int64_t pts_us, int64_t off_us)
{
    return timebase_observe(t, pts_us, EPOCH + pts_us + off_us, EPOCH + DELAY_US);
}

static void test_report_in_time(void **state)
{
    (void)state;
    Timebase t = start();
    UtcStamp stamp;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(by_arrival(&t, i * S / 10, DELAY_US), 0);
        assert_int_equal(timebase_stamp(&t, i * S / 10, 0, &stamp), TIMEBASE_HOLD);
    }
    assert_int_equal(by_report(&t, 2 * S, 0), TIMEBASE_FIRST_REPORT);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(timebase_stamp(&t, i * S / 10, 0, &stamp), 0);
        assert_int_equal(stamp.utc_us, EPOCH + i * S / 10);
        assert_int_equal(stamp.source, UTC_RTCP);
        assert_true(stamp.err_us >= TIMEBASE_RTCP_ERR_US &&
                    stamp.err_us <= TIMEBASE_CORRECTED_ERR_US);
    }
    int64_t offset, err;
    assert_false(timebase_correction(&t, &offset, &err)); /* nothing went out before */
    assert_int_equal(t.session, 1);
}

static void test_report_too_late(void **state)
{
    (void)state;
    Timebase t = start();
    UtcStamp stamp;
    for (int i = 0; i <= 40; i++)
        by_arrival(&t, i * S / 10, DELAY_US);
    assert_int_equal(timebase_stamp(&t, 0, 0, &stamp), 0);
    assert_int_equal(stamp.source, UTC_ARRIVAL);
    assert_int_equal(stamp.err_us, ARRIVAL_ERR_US);
    assert_true(stamp.utc_us >= EPOCH && stamp.utc_us - stamp.err_us <= EPOCH);
    assert_int_equal(by_report(&t, 5 * S, 0), TIMEBASE_FIRST_REPORT);
    int64_t offset, err;
    assert_true(timebase_correction(&t, &offset, &err));
    assert_int_equal(offset, EPOCH);
    assert_int_equal(err, TIMEBASE_CORRECTED_ERR_US);
    assert_false(timebase_correction(&t, &offset, &err)); /* said once */
}

/* A wrong clock of the sender is no jump: its first report is 40 s off arrival. */
static void test_report_far_from_arrival(void **state)
{
    (void)state;
    Timebase t = start();
    UtcStamp stamp;
    by_arrival(&t, 0, DELAY_US);
    timebase_end_hold(&t);
    assert_int_equal(timebase_stamp(&t, 0, 0, &stamp), 0);
    assert_int_equal(by_report(&t, S, -40 * S), TIMEBASE_FIRST_REPORT);
    assert_int_equal(t.steps, 0);
    int64_t offset, err;
    assert_true(timebase_correction(&t, &offset, &err));
    assert_int_equal(offset, EPOCH - 40 * S);
}

static void test_sender_jumps(void **state)
{
    (void)state;
    Timebase t = start();
    UtcStamp stamp;
    by_report(&t, 0, 0);
    assert_int_equal(by_report(&t, S, 400000), 0); /* slewed: followed */
    assert_int_equal(by_report(&t, 2 * S, 800000), 0);
    assert_int_equal(timebase_stamp(&t, 2 * S, EPOCH + 2 * S + 800000, &stamp), 0);
    assert_int_equal(stamp.utc_us, EPOCH + 2 * S + 800000);
    assert_int_equal(by_report(&t, 3 * S, 1400001), TIMEBASE_STEPPED | TIMEBASE_FIRST_REPORT);
    assert_int_equal(t.session, 2);
    assert_int_equal(t.steps, 1);
    assert_int_equal(timebase_stamp(&t, 3 * S, 0, &stamp), 0);
    assert_int_equal(stamp.utc_us, EPOCH + 3 * S + 1400001);
}

/* Reports stop: the last one carries on, less and less sure. */
static void test_reports_stop(void **state)
{
    (void)state;
    Timebase t = start();
    UtcStamp near, far;
    by_report(&t, 0, 0);
    assert_int_equal(by_arrival(&t, S, 5 * S), 0); /* arrival no longer matters */
    assert_int_equal(timebase_stamp(&t, S, 0, &near), 0);
    assert_int_equal(timebase_stamp(&t, 3600 * S, 0, &far), 0);
    assert_int_equal(near.utc_us, EPOCH + S);
    assert_int_equal(near.err_us, TIMEBASE_RTCP_ERR_US + 200);
    assert_int_equal(far.err_us, TIMEBASE_RTCP_ERR_US + 3600 * 200);
}

static void test_arrival(void **state)
{
    (void)state;
    Timebase t = start();
    UtcStamp stamp;
    /* A burst of old pictures at the begin: each comes "later" after its pts than the next. */
    for (int i = 0; i < 20; i++)
        assert_int_equal(by_arrival(&t, i * S / 10, DELAY_US + 2 * S - i * S / 10), 0);
    for (int i = 20; i < 60; i++)
        assert_int_equal(by_arrival(&t, i * S / 10, DELAY_US), 0);
    assert_int_equal(timebase_stamp(&t, 0, 0, &stamp), 0);
    assert_true(stamp.utc_us - EPOCH >= 0 && stamp.utc_us - EPOCH < DELAY_US + 10000);
    /* A hiccup of 2 s of the network moves nothing. */
    for (int i = 60; i < 80; i++)
        assert_int_equal(by_arrival(&t, i * S / 10, DELAY_US + 2 * S), 0);
    assert_int_equal(by_arrival(&t, 8 * S, DELAY_US), 0);
    assert_true(timebase_estimate(&t, 0).utc_us - EPOCH < DELAY_US + 10000);
    /* Our own clock is set 10 s ahead, then back. */
    int found = 0, i = 81;
    for (; i < 200 && !found; i++)
        found = by_arrival(&t, i * S / 10, DELAY_US + 10 * S);
    assert_int_equal(found, TIMEBASE_STEPPED);
    assert_int_equal(t.session, 2);
    assert_int_equal(by_arrival(&t, i * S / 10, DELAY_US), TIMEBASE_STEPPED);
    assert_int_equal(t.session, 3);
    assert_int_equal(timebase_stamp(&t, i * S / 10, 0, &stamp), 0); /* not held again */
}

/* 100 ppm for an hour: far more than a step in all, and still no step. */
static void test_drift(void **state)
{
    (void)state;
    Timebase a = start(), b = start();
    for (int64_t s = 0; s < 7200; s++) {
        assert_int_equal(by_arrival(&a, s * S, DELAY_US + s * 100), 0);
        assert_int_equal(by_report(&b, s * S, s * 100) & TIMEBASE_STEPPED, 0);
    }
    UtcStamp stamp = timebase_estimate(&a, 7199 * S);
    assert_int_equal(stamp.utc_us, EPOCH + 7199 * S + DELAY_US + 7199 * 100);
}

static void test_new_session(void **state)
{
    (void)state;
    Timebase t = start();
    UtcStamp stamp;
    by_report(&t, 0, 0);
    timebase_new_session(&t);
    assert_int_equal(t.session, 2);
    by_arrival(&t, 100 * S, DELAY_US);
    assert_int_equal(timebase_stamp(&t, 100 * S, 0, &stamp), TIMEBASE_HOLD);
}

static void test_ntp(void **state)
{
    (void)state;
    const uint64_t unix_epoch_ns = UINT64_C(2208988800) * 1000000000;
    uint64_t ntp = unix_epoch_ns + UINT64_C(1795420000) * 1000000000 + 123456000;
    assert_int_equal(timebase_ntp_to_utc_us(ntp, EPOCH + 5 * S), EPOCH + 123456);
    /* After 2036 the seconds begin again at 0. */
    int64_t utc_2040 = INT64_C(2208988800) * S;
    uint64_t wrapped = (UINT64_C(2) * 2208988800 - (UINT64_C(1) << 32)) * 1000000000;
    assert_int_equal(timebase_ntp_to_utc_us(wrapped, utc_2040), utc_2040);
    /* A camera that never heard of the date. */
    assert_int_equal(timebase_ntp_to_utc_us(unix_epoch_ns + 1000, EPOCH), 0);
    assert_int_equal(timebase_ntp_to_utc_us(0, EPOCH), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_report_in_time),
                                       cmocka_unit_test(test_report_too_late),
                                       cmocka_unit_test(test_report_far_from_arrival),
                                       cmocka_unit_test(test_sender_jumps),
                                       cmocka_unit_test(test_reports_stop),
                                       cmocka_unit_test(test_arrival),
                                       cmocka_unit_test(test_drift),
                                       cmocka_unit_test(test_new_session),
                                       cmocka_unit_test(test_ntp)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

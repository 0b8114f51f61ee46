/* How times, errors, spans and coverage are shown. */
#include "client/ctl_print.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The C locale: +/-. */
static void expect_time(int64_t utc_us, int64_t err_us, const char *expected)
{
    _cleanup_str_ Str out = {0};
    print_time(&out, utc_us, err_us);
    assert_string_equal(str_text(&out), expected);
}

static void test_time(void **state)
{
    (void)state;
    int64_t base = INT64_C(1795422467000000); /* 2026-11-23T08:27:47Z */
    expect_time(base + 200000, 800000, "2026-11-23T08:27:47.2Z +/- 0.8 s");
    /* What rounding moves the time by is part of the error that is shown. */
    expect_time(base + 240000, 760000, "2026-11-23T08:27:47.2Z +/- 0.8 s");
    expect_time(base + 240000, 770000, "2026-11-23T08:27:47.2Z +/- 0.9 s");
    expect_time(base + 250000, 100000, "2026-11-23T08:27:47.3Z +/- 0.2 s");
    expect_time(base + 960000, 100000, "2026-11-23T08:27:48.0Z +/- 0.2 s");
    expect_time(base + 1234, 5000, "2026-11-23T08:27:47.001Z +/- 0.006 s");
    expect_time(0, 0, "1970-01-01T00:00:00.000Z +/- 0.000 s");
    expect_time(-150000, 100000, "1969-12-31T23:59:59.9Z +/- 0.2 s");
    expect_time(base, 90000000, "2026-11-23T08:27:47.0Z +/- 90.0 s");
    expect_time(INT64_MAX, 100000, "(absurd time)");
}

static void test_span(void **state)
{
    (void)state;
    static const struct {
        int64_t us;
        const char *text;
    } CASES[] = {{0, "0 s"},
                 {-5, "0 s"},
                 {1, "0.1 s"},
                 {2500000, "2.5 s"},
                 {9940000, "9.9 s"},
                 {9960000, "10 s"},
                 {58000000, "58 s"},
                 {59600000, "1m00s"},
                 {62000000, "1m02s"},
                 {3599600000, "1h00m"},
                 {INT64_C(7380000000), "2h03m"},
                 {INT64_C(273600000000), "3d04h"}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        _cleanup_str_ Str out = {0};
        print_span(&out, CASES[i].us);
        assert_string_equal(str_text(&out), CASES[i].text);
    }
}

static void test_text(void **state)
{
    (void)state;
    _cleanup_str_ Str out = {0};
    print_text(&out, "a\x1b[31mb\nc\x7f \xc2\x9b"
                     "2J f\xc3\xa4hrt");
    assert_string_equal(str_text(&out), "a?[31mb?c? ?2J f\xc3\xa4hrt");
    str_clear(&out);
    print_bytes(&out, 999);
    print_bytes(&out, 1000);
    print_bytes(&out, 12345678901);
    assert_string_equal(str_text(&out), "999 B1.0 kB12.3 GB");
}

static void test_coverage(void **state)
{
    (void)state;
    When__Span lost = WHEN__SPAN__INIT, seen = WHEN__SPAN__INIT;
    lost.state = WHEN__SPAN_STATE__SPAN_STATE_LOST;
    lost.reason = "camera dark";
    seen.state = WHEN__SPAN_STATE__SPAN_STATE_EXAMINED;
    When__Span *spans[] = {&seen, &lost, &seen, &lost};
    When__CameraCoverage gate = WHEN__CAMERA_COVERAGE__INIT, yard = WHEN__CAMERA_COVERAGE__INIT;
    gate.camera = "gate";
    gate.examined_us = 60000000;
    gate.lost_us = 2000000;
    gate.spans = spans;
    gate.n_spans = 3;
    yard.camera = "yard";
    yard.examined_us = 180000000;
    When__CameraCoverage *all[] = {&gate, &yard};
    _cleanup_str_ Str out = {0}, rest = {0};
    print_examined(&out, all, 2, true);
    assert_string_equal(str_text(&out), "gate 1m00s of 1m02s (1 gap), yard 3m00s");
    str_clear(&out);
    print_examined(&out, all, 2, false);
    assert_string_equal(str_text(&out), "gate 1m00s of 1m02s, yard 3m00s of 3m00s");
    print_unexamined(&rest, all, 2);
    assert_string_equal(str_text(&rest), "lost 2.0 s: camera dark");
    str_clear(&rest);
    print_unexamined(&rest, &all[1], 1);
    assert_string_equal(str_text(&rest), "");

    gate.n_spans = 4;
    gate.waiting_us = 5000000;
    gate.examined_us = 0;
    str_clear(&out);
    print_examined(&out, all, 1, true);
    assert_string_equal(str_text(&out), "gate nothing of 7.0 s (2 gaps)");
    str_clear(&rest);
    print_unexamined(&rest, all, 1);
    assert_string_equal(str_text(&rest), "lost 2.0 s: camera dark; waiting 5.0 s");
}

static void test_event(void **state)
{
    (void)state;
    When__Event event = WHEN__EVENT__INIT;
    event.id = "a-1";
    event.camera = "gate";
    event.watch = "red-car";
    event.description = "a \"red\" car";
    event.state = WHEN__EVENT_STATE__EVENT_STATE_OPEN;
    event.revision = 2;
    event.start_us = INT64_C(1795422467200000);
    event.end_us = INT64_C(1795422472000000);
    event.start_err_us = event.end_err_us = 800000;
    event.confidence = 0.97f;
    _cleanup_str_ Str out = {0};
    print_event(&out, &event);
    assert_string_equal(str_text(&out),
                        "2026-11-23T08:27:47.2Z +/- 0.8 s  ..  2026-11-23T08:27:52.0Z +/- 0.8 s  "
                        "gate  a \"red\" car  (red-car, 0.97, not over yet)");
    str_clear(&out);
    json_event(&out, &event);
    assert_string_equal(
        str_text(&out),
        "\"id\":\"a-1\",\"revision\":2,\"state\":\"open\",\"camera\":\"gate\",\"watch\":\"red-"
        "car\","
        "\"description\":\"a \\\"red\\\" car\",\"start_us\":1795422467200000,"
        "\"end_us\":1795422472000000,\"start_err_us\":800000,\"end_err_us\":800000,"
        "\"start_utc\":\"2026-11-23T08:27:47.200Z\",\"end_utc\":\"2026-11-23T08:27:52.000Z\","
        "\"confidence\":0.97");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time),     cmocka_unit_test(test_span),  cmocka_unit_test(test_text),
        cmocka_unit_test(test_coverage), cmocka_unit_test(test_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

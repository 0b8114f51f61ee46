/* How cameras look: what a person needs to find why one is dark. */
#include "client/print_cameras.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static When__CameraStatus running(void)
{
    When__CameraStatus c = WHEN__CAMERA_STATUS__INIT;
    c.name = "gate";
    c.state = "running";
    c.fps_in = 25;
    c.fps_out = 2;
    c.frames = 990;
    c.sent = 1000;
    c.dropped = 5;
    c.codec = "H264";
    c.decoder = "avdec_h264";
    c.width = 1920;
    c.height = 1080;
    c.utc_source = "rtcp";
    c.utc_err_us = 50000;
    c.last_frame_us = 1795423500250000;
    c.last_frame_age_us = 400000;
    return c;
}

static void expect(const When__CameraStatus *c, const char *text)
{
    _cleanup_str_ Str out = {0};
    print_camera(&out, c);
    assert_string_equal(str_text(&out), text);
}

static void test_running(void **state)
{
    (void)state;
    When__CameraStatus c = running();
    expect(&c, "gate         running     25.0 fps in,  2.0 out; 990 frames, 5 dropped (0.5 %)\n"
               "             H264 1920x1080, decoded by avdec_h264\n"
               "             last frame 0.4 s ago: 2026-11-23T08:45:00.250Z +/- 0.050 s (rtcp)\n");
}

static void test_dark(void **state)
{
    (void)state;
    When__CameraStatus c = WHEN__CAMERA_STATUS__INIT;
    c.name = "gate";
    c.state = "connecting";
    c.reconnects = 3;
    c.logins_refused = 1;
    c.clock_steps = 2;
    c.reason = "wrong user or password\x1b[2J; next try in 19.0 s";
    expect(&c,
           "gate         connecting   0.0 fps in,  0.0 out; 0 frames, 0 dropped (0.0 %)\n"
           "             3 reconnects, 1 login refused, 2 clock jumps; last fault: wrong user or "
           "password?[2J; next try in 19.0 s\n");
}

static void test_folder(void **state)
{
    (void)state;
    When__CameraStatus c = WHEN__CAMERA_STATUS__INIT;
    c.name = "nvr";
    c.state = "running";
    c.files = 1;
    c.bad_files = 2;
    expect(&c, "nvr          running    1 file; 0 frames, 0 dropped (0.0 %)\n"
               "             2 unreadable files\n");
}

static void test_json(void **state)
{
    (void)state;
    When__CameraStatus c = running();
    c.reason = "a \"quote\"";
    _cleanup_str_ Str out = {0};
    json_camera(&out, &c);
    const char *text = str_text(&out);
    const char *const PARTS[] = {"{\"name\":\"gate\",",
                                 "\"reason\":\"a \\\"quote\\\"\"",
                                 "\"decoder\":\"avdec_h264\"",
                                 "\"fps_in\":25",
                                 "\"dropped\":5",
                                 "\"width\":1920",
                                 "\"utc_err_us\":50000",
                                 "\"last_frame_age_us\":400000}"};
    for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++)
        if (!strstr(text, PARTS[i]))
            fail_msg("%s is not in %s", PARTS[i], text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_running),
        cmocka_unit_test(test_dark),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

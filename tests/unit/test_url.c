/* Camera URLs: what is split off, what is refused, and that no secret is left. */
#include "pipeline/url.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *text, const char *clean, const char *user, const char *password)
{
    Url url;
    Error err = {0};
    assert_int_equal(url_split(text, &url, &err), 0);
    assert_string_equal(url.clean, clean);
    assert_true((url.user != NULL) == (user != NULL));
    if (user)
        assert_string_equal(url.user, user);
    assert_true((url.password != NULL) == (password != NULL));
    if (password)
        assert_string_equal(url.password, password);
    url_deinit(&url);
    assert_null(url.clean);
}

static void test_split(void **state)
{
    (void)state;
    check("rtsp://cam/stream", "rtsp://cam/stream", NULL, NULL);
    check("RTSP://cam:554", "RTSP://cam:554", NULL, NULL);
    check("rtsps://eve:secret@10.0.0.1:322/a?b=c@d", "rtsps://10.0.0.1:322/a?b=c@d", "eve",
          "secret");
    check("rtsp://eve@cam/", "rtsp://cam/", "eve", NULL);
    check("rtsp://eve:p%40ss%3Aw%2@cam/x", "rtsp://cam/x", "eve", "p@ss:w%2");
    check("rtsp://eve:a:b@c@cam/x", "rtsp://cam/x", "eve", "a:b@c");
    check("rtsp://:@[::1]:554/x", "rtsp://[::1]:554/x", "", "");
    check("https://eve:secret@cam/live.m3u8", "https://cam/live.m3u8", "eve", "secret");
}

static void check_refused(const char *text)
{
    Url url;
    Error err = {0};
    assert_int_equal(url_split(text, &url, &err), -EINVAL);
    assert_int_equal(err.exit_code, EX_CONFIG);
    assert_null(strstr(err.text, "secret"));
    assert_null(url.clean);
}

static void test_refused(void **state)
{
    (void)state;
    check_refused("ftp://eve:secret@cam/");
    check_refused("rtsp://");
    check_refused("rtsp:///path");
    check_refused("rtsp://eve:secret@");
    check_refused("rtsp://eve:secret@/path");
    char *big = malloc(5000);
    memset(big, 'a', 4999);
    memcpy(big, "rtsp://", 7);
    big[4999] = '\0';
    check_refused(big);
    free(big);
}

static void check_redacted(const char *text, const char *want)
{
    char out[128];
    url_redact(text, out, sizeof out);
    assert_string_equal(out, want);
}

static void test_redact(void **state)
{
    (void)state;
    check_redacted("cannot open rtsp://eve:secret@cam/x (401)",
                   "cannot open rtsp://***@cam/x (401)");
    check_redacted("rtsp://a:b@c@cam and rtsps://d:e@f/", "rtsp://***@cam and rtsps://***@f/");
    check_redacted("rtsp://cam/x?mail=a@b", "rtsp://cam/x?mail=a@b");
    check_redacted("a@b ://", "a@b ://");
    check_redacted("\"rtsp://cam\" says eve@home", "\"rtsp://cam\" says eve@home");
    char small[12];
    url_redact("rtsp://eve:secret@cam", small, sizeof small);
    assert_string_equal(small, "rtsp://***@");
    char one[1] = {'x'};
    url_redact("abc", one, 1);
    assert_int_equal(one[0], 0);
}

static void test_host(void **state)
{
    (void)state;
    char host[32], port[8];
    assert_true(url_host("rtsp://cam/x", host, sizeof host, port, sizeof port));
    assert_string_equal(host, "cam");
    assert_string_equal(port, "554");
    assert_true(url_host("rtsps://[::1]:8000", host, sizeof host, port, sizeof port));
    assert_string_equal(host, "::1");
    assert_string_equal(port, "8000");
    assert_true(url_host("rtsps://cam?x", host, sizeof host, port, sizeof port));
    assert_string_equal(port, "322");
    assert_false(url_host("rtsp://", host, sizeof host, port, sizeof port));
    assert_false(url_host("rtsp://a-name-that-is-too-long-for-its-place/", host, sizeof host, port,
                          sizeof port));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_split), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_redact), cmocka_unit_test(test_host)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* base/err: the first report wins, one line, prefixes. */
#include "base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void first_report_wins(void **state)
{
    (void)state;
    Error err = {0};
    assert_int_equal(error_set(&err, ENOENT, EX_NOINPUT, "%s: no such file", "a.mp4"), -ENOENT);
    assert_int_equal(error_set(&err, EIO, EX_IOERR, "later"), -EIO);
    assert_int_equal(err.exit_code, EX_NOINPUT);
    assert_string_equal(err.text, "a.mp4: no such file");
    error_prefix(&err, "camera %s", "gate");
    assert_string_equal(err.text, "camera gate: a.mp4: no such file");
    error_clear(&err);
    error_prefix(&err, "nothing");
    assert_string_equal(err.text, "");
    assert_int_equal(error_set(NULL, EINVAL, EX_USAGE, "nobody listens"), -EINVAL);
}

static void stays_one_line(void **state)
{
    (void)state;
    Error err = {0};
    error_set(&err, EINVAL, EX_DATAERR, "bad key \"a\nb\x1b[31m\"");
    assert_null(strpbrk(err.text, "\n\x1b"));
    char longer[2000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    error_clear(&err);
    error_set(&err, EINVAL, EX_DATAERR, "%s", longer);
    error_prefix(&err, "%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_report_wins),
        cmocka_unit_test(stays_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

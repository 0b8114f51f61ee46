/* base/str: growth, JSON escaping of any bytes, edit distance. */
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void grows(void **state)
{
    (void)state;
    _cleanup_str_ Str s = {0};
    assert_string_equal(str_text(&s), "");
    for (int i = 0; i < 1000; i++)
        str_addf(&s, "%04d,", i);
    assert_false(str_failed(&s));
    assert_int_equal(s.len, 5000);
    assert_memory_equal(s.data + 4995, "0999,", 6);
    str_clear(&s);
    assert_string_equal(str_text(&s), "");
}

static void json_of(const char *text, const char *expected)
{
    _cleanup_str_ Str s = {0};
    str_add_json(&s, text);
    assert_string_equal(str_text(&s), expected);
}

static void json_escapes(void **state)
{
    (void)state;
    json_of("a \"b\" \\ \n\t\x7f", "\"a \\\"b\\\" \\\\ \\u000a\\u0009\\u007f\"");
    json_of("gr\xc3\xbc\xc3\x9f \xf0\x9f\x9a\x97", "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x9a\x97\"");
    /* cut, overlong, surrogate and out-of-range sequences, also at the very end */
    json_of("\xc3", "\"\\ufffd\"");
    json_of("\xf0\x9f\x9a", "\"\\ufffd\\ufffd\\ufffd\"");
    json_of("\xc0\xaf", "\"\\ufffd\\ufffd\"");
    json_of("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"");
    json_of("\xf5\x80", "\"\\ufffd\\ufffd\"");
}

static void distance(void **state)
{
    (void)state;
    assert_int_equal(str_distance("", ""), 0);
    assert_int_equal(str_distance("camera", "cameras"), 1);
    assert_int_equal(str_distance("quesiton", "question"), 2);
    assert_int_equal(str_distance("abc", ""), 3);
    char longer[100];
    memset(longer, 'x', 99);
    longer[99] = '\0';
    assert_true(str_distance(longer, "x") > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows),
        cmocka_unit_test(json_escapes),
        cmocka_unit_test(distance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Reading answers: whole, cut, wrapped in prose, and arbitrary bytes. */
#include "model/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char TWO[] =
    "[{\"start_time\":\"00:03.50\",\"end_time\":\"00:06.00\",\"description\":\"a car\"},"
    "{\"start_time\":\"01:00.25\",\"end_time\":\"01:02.00\",\"description\":\"b\"}]";

static Answer parse(const char *text)
{
    Answer answer;
    /* An exact copy on the heap: the sanitizer sees a read beyond it. */
    size_t n = strlen(text);
    char *copy = malloc(n ? n : 1);
    memcpy(copy, text, n);
    assert_int_equal(answer_parse(copy, n, &answer), 0);
    free(copy);
    return answer;
}

static void test_list(void **state)
{
    (void)state;
    Answer a = parse(TWO);
    assert_int_equal(a.n, 2);
    assert_true(a.complete);
    assert_float_equal(a.intervals[0].start_s, 3.5, 1e-9);
    assert_float_equal(a.intervals[0].end_s, 6, 1e-9);
    assert_string_equal(a.intervals[0].description, "a car");
    assert_float_equal(a.intervals[1].start_s, 60.25, 1e-9);
    assert_int_equal(a.intervals[0].begin, 1);
    assert_int_equal(TWO[a.intervals[0].end], ',');
    assert_int_equal(TWO[a.intervals[1].end], ']');
    answer_deinit(&a);
}

static void test_empty(void **state)
{
    (void)state;
    Answer a = parse("[]");
    assert_int_equal(a.n, 0);
    assert_true(a.complete);
    a = parse("");
    assert_int_equal(a.n, 0);
    assert_false(a.complete);
    a = parse("There is no such event.");
    assert_int_equal(a.n, 0);
    assert_false(a.complete);
}

/* Cut anywhere: never an interval that was not whole. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof TWO - 1; n++) {
        Answer a;
        char *copy = malloc(n ? n : 1);
        memcpy(copy, TWO, n);
        assert_int_equal(answer_parse(copy, n, &a), 0);
        const char *second = strchr(TWO + 2, '{');
        size_t first_end = (size_t)(second - TWO) - 1;
        assert_int_equal(a.n, n < first_end ? 0 : n < sizeof TWO - 2 ? 1 : 2);
        assert_false(a.complete);
        answer_deinit(&a);
        free(copy);
    }
}

static void test_what_models_write_around(void **state)
{
    (void)state;
    Answer a =
        parse("Sure! Here you are:\n```json\n[\n  {\"start_time\": 3.5, \"end_time\": \"6\", "
              "\"label\": \"x\"},\n  {\"start\": \"00:07\", \"end\": \"00:08.5\", "
              "\"extra\": null, \"event\": \"y\"}\n]\n```\nI hope {this} helps [sic].");
    assert_int_equal(a.n, 2);
    assert_true(a.complete);
    assert_float_equal(a.intervals[0].end_s, 6, 1e-9);
    assert_string_equal(a.intervals[1].description, "y");
    answer_deinit(&a);
    a = parse("{\"events\": [{\"start_time\":\"00:01\",\"end_time\":\"00:02\"}]}");
    assert_int_equal(a.n, 1);
    assert_string_equal(a.intervals[0].description, "");
    answer_deinit(&a);
}

static void test_unusable_objects_are_counted(void **state)
{
    (void)state;
    Answer a = parse("[{\"start_time\":\"00:05.0\",\"end_time\":\"00:04.0\"},"
                     "{\"start_time\":\"00:05.0\"},{\"start_time\":\"nan\",\"end_time\":\"1e9\"},"
                     "{\"start_time\":\"-1\",\"end_time\":\"5\"},{broken},"
                     "{\"start_time\":\"00:05.0\",\"end_time\":\"00:05.0\"}]");
    assert_int_equal(a.n, 1);
    assert_int_equal(a.rejected, 5);
    assert_true(a.complete);
    answer_deinit(&a);
}

static void test_descriptions_are_made_printable(void **state)
{
    (void)state;
    Answer a = parse("[{\"start_time\":\"0\",\"end_time\":\"1\",\"description\":\"a\\\"b\\\\c\\n"
                     "d\\u00e9\\ud83d\\ude00\\ud800x\\u0001\xff\x07 \\q\"}]");
    assert_int_equal(a.n, 1);
    assert_string_equal(a.intervals[0].description,
                        "a\"b\\c d\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbdx \xef\xbf\xbd  q");
    answer_deinit(&a);
    char text[1024] = "[{\"start_time\":\"0\",\"end_time\":\"1\",\"description\":\"";
    size_t n = strlen(text);
    for (int i = 0; i < 200; i++, n += 3) /* three bytes each: 255 is a border, 256 is not */
        memcpy(text + n, "\xe4\xb8\xad", 4);
    strcpy(text + n, "\"}]");
    a = parse(text);
    assert_int_equal(strlen(a.intervals[0].description), 255);
    answer_deinit(&a);
}

static void test_many_are_bounded(void **state)
{
    (void)state;
    enum { N = 2000 };
    static const char ONE[] = "{\"start_time\":\"0\",\"end_time\":\"1\"}";
    char *text = calloc(N, sizeof ONE);
    for (size_t i = 0; i < N; i++)
        memcpy(text + i * (sizeof ONE - 1), ONE, sizeof ONE - 1);
    Answer a = parse(text);
    assert_int_equal(a.n, ANSWER_MAX_INTERVALS);
    assert_int_equal(a.rejected, N - ANSWER_MAX_INTERVALS);
    answer_deinit(&a);
    free(text);
}

static void test_arbitrary_bytes(void **state)
{
    (void)state;
    static const char ALPHABET[] = "{}[]\":,\\u0d8ef1. \n\xc3\xa9\xf0\x9fstart_time";
    uint32_t random = 12345;
    for (int round = 0; round < 20000; round++) {
        size_t n = random % 60;
        char *text = malloc(n ? n : 1);
        for (size_t i = 0; i < n; i++) {
            random = random * 1664525u + 1013904223u;
            text[i] = ALPHABET[(random >> 16) % (sizeof ALPHABET - 1)];
        }
        Answer a;
        assert_int_equal(answer_parse(text, n, &a), 0);
        answer_deinit(&a);
        free(text);
        random = random * 1664525u + 1013904223u;
    }
    /* Long nestings and restarts cost one pass. */
    static const char *const UNITS[] = {"{", "[", "{\"{\":1,", "\"", "{\"a\":\"{", "{\"a\":["};
    for (size_t u = 0; u < sizeof UNITS / sizeof UNITS[0]; u++) {
        size_t length = strlen(UNITS[u]), n = (1 << 20) / length * length;
        char *text = malloc(n);
        for (size_t i = 0; i < n; i += length)
            memcpy(text + i, UNITS[u], length);
        Answer a;
        assert_int_equal(answer_parse(text, n, &a), 0);
        answer_deinit(&a);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_what_models_write_around),
        cmocka_unit_test(test_unusable_objects_are_counted),
        cmocka_unit_test(test_descriptions_are_made_printable),
        cmocka_unit_test(test_many_are_bounded),
        cmocka_unit_test(test_arbitrary_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

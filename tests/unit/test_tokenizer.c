/* The tokenizer on what the golden vectors do not have: pieces, long and hostile text, files. */
#include "model/tokenizer.h"
#include "tests/unit/small_tokenizer.h"

#include <errno.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *const MERGES[][2] = {{"a", "b"}, {"ab", "c"},  {"b", "c"},
                                        {"a", "a"}, {"aa", "aa"}, {" ", "ab"},
                                        {"c", "d"}, {"bc", "d"},  {"\xc3", "\xa9"}};
enum {
    N_MERGES = sizeof MERGES / sizeof MERGES[0],
    AB = 256,
    ABC,
    BC,
    AA,
    AAAA,
    SPACE_AB,
    CD,
    BCD,
    E_ACUTE,
    IM_START,
    IM_END,
    IM,
    TOOL
};

static Tokenizer *tokenizer;

static int set_up(void **state)
{
    (void)state;
    tokenizer = small_tokenizer(MERGES, N_MERGES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    return 0;
}

static void expect(const char *text, bool added, const int32_t *want, size_t n)
{
    TokenIds ids = {0};
    assert_int_equal(tokenizer_encode(tokenizer, text, strlen(text), added, &ids), 0);
    if (ids.n != n || memcmp(ids.ids, want, n * sizeof *want) != 0) {
        for (size_t i = 0; i < ids.n; i++)
            print_message("%d ", (int)ids.ids[i]);
        fail_msg("ids of \"%s\"", text);
    }
    token_ids_deinit(&ids);
}

#define EXPECT(text, added, ...)                                                                   \
    expect(text, added, (const int32_t[]){__VA_ARGS__},                                            \
           sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void test_merges_by_rank_then_from_the_left(void **state)
{
    (void)state;
    EXPECT("abc", false, ABC);
    EXPECT("abcd", false, ABC, 'd'); /* ab first, so bcd never */
    EXPECT("bcd", false, BCD);
    EXPECT("aaaaa", false, AAAA, 'a');
    EXPECT("aab", false, 'a', AB); /* ab has the lower rank */
    EXPECT("x ab", false, 'x', SPACE_AB);
}

static void test_added_tokens_only_when_asked_and_the_longest(void **state)
{
    (void)state;
    EXPECT("a<|im_end|>b", true, 'a', IM_END, 'b');
    EXPECT("<|im|><|im_start|>", true, IM, IM_START);
    EXPECT("<|im", true, '<', '|', 'i', 'm');
    EXPECT("<tool>", true, TOOL);
    EXPECT("<tool>", false, '<', 't', 'o', 'o', 'l', '>');
    assert_true(tokenizer_is_special(tokenizer, IM));
    assert_false(tokenizer_is_special(tokenizer, TOOL));
    assert_true(tokenizer_is_added(tokenizer, TOOL));
    assert_false(tokenizer_is_added(tokenizer, 'a'));
}

static void test_nfc_between_added_tokens(void **state)
{
    (void)state;
    EXPECT("e\xcc\x81", false, E_ACUTE);
    /* An accent behind a token does not reach into it. */
    EXPECT("<tool>\xcc\x81", true, TOOL, 0xcc, 0x81);
    /* Marks come into canonical order: U+0316 (220) before U+0301 (230). */
    EXPECT("x\xcc\x81\xcc\x96", false, 'x', 0xcc, 0x96, 0xcc, 0x81);
    EXPECT("\xff", false, 0xef, 0xbf, 0xbd);
}

static void test_find_and_bytes(void **state)
{
    (void)state;
    int32_t id = -1;
    size_t n;
    assert_int_equal(tokenizer_find(tokenizer, "<|im_end|>", &id), 0);
    assert_int_equal(id, IM_END);
    assert_int_equal(tokenizer_find(tokenizer, "abc", &id), 0);
    assert_int_equal(id, ABC);
    assert_int_equal(tokenizer_find(tokenizer, "abx", &id), TOKENIZER_NONE);
    assert_memory_equal(tokenizer_bytes(tokenizer, ABC, &n), "abc", 3);
    assert_int_equal(n, 3);
    (void)tokenizer_bytes(tokenizer, -1, &n);
    assert_int_equal(n, 0);
    (void)tokenizer_bytes(tokenizer, INT32_MAX, &n);
    assert_int_equal(n, 0);
}

/* Pieces of a text joined with '|'. */
static void expect_pieces(const char *text, const char *want)
{
    Str got = {0};
    for (size_t at = 0, n = strlen(text); at < n;) {
        size_t length = tokenizer_piece(text, n, at);
        assert_true(length >= 1 && length <= n - at);
        str_add_text(&got, at ? "|" : "");
        str_add(&got, text + at, length);
        at += length;
    }
    assert_string_equal(str_text(&got), want);
    str_deinit(&got);
}

static void test_pieces(void **state)
{
    (void)state;
    expect_pieces("it's I'LL don'T 'sx", "it|'s| I|'LL| don|'T| '|sx");
    expect_pieces("x'\xc5\xbf"
                  "a",
                  "x|'\xc5\xbf|a"); /* long s folds to s */
    expect_pieces("'rex 'r've", "'re|x| '|r|'ve");
    expect_pieces("abc123 4", "abc|1|2|3| |4");
    expect_pieces("a  b   ", "a| | b|   ");
    expect_pieces("a \n\n b", "a| \n\n| b");
    expect_pieces("a  \n  b", "a|  \n| | b");
    expect_pieces("x\t\ty", "x|\t|\ty");
    expect_pieces("--a ..\r\n.", "--|a| ..\r\n|.");
    expect_pieces("\ta", "\ta");
    expect_pieces("a\xc2\xa0 b", "a|\xc2\xa0| b");
    expect_pieces("[{\"start_time\":\"0", "[{\"|start|_time|\":\"|0");
    expect_pieces("\xe0\xa4\xb9\xe0\xa4\xbf\xe0\xa4\xa8", /* a vowel sign is no letter */
                  "\xe0\xa4\xb9|\xe0\xa4\xbf\xe0\xa4\xa8");
}

/* 100 kB of one piece, of marks, of spaces, of broken bytes: all done at once. A quadratic step
 * would run into the test's time limit under the sanitizers. */
static void test_long_text(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    static const struct {
        const char *unit;
        size_t ids_per_unit_x4; /* 0: not counted */
    } CASES[] = {{"a", 1},         {"abc", 4},         {" ", 4},     {"\n ", 0},
                 {"'", 4},         {"\xff", 0},        {"<|im_", 0}, {"\xcc\x81\xcc\x96", 0},
                 {"e\xcc\x81", 0}, {"\xea\xb0\x80", 0}};
    for (size_t c = 0; c < sizeof CASES / sizeof CASES[0]; c++) {
        Str text = {0};
        TokenIds ids = {0};
        size_t units = N / strlen(CASES[c].unit);
        for (size_t i = 0; i < units; i++)
            str_add_text(&text, CASES[c].unit);
        assert_int_equal(tokenizer_encode(tokenizer, text.data, text.len, true, &ids), 0);
        if (CASES[c].ids_per_unit_x4)
            assert_int_equal(ids.n * 4, units * CASES[c].ids_per_unit_x4);
        str_deinit(&text);
        token_ids_deinit(&ids);
    }
    TokenIds ids = {0};
    char *huge = calloc(1, TOKENIZER_MAX_BYTES + 1);
    assert_int_equal(tokenizer_encode(tokenizer, huge, TOKENIZER_MAX_BYTES + 1, true, &ids),
                     -E2BIG);
    free(huge);
}

static void test_streaming_holds_incomplete_characters(void **state)
{
    (void)state;
    TokenStream stream = {0};
    Str text = {0};
    const int32_t ids[] = {0xf0, 0x9f, 0x98, 0x80, 0xe4, 0xb8, 'x', IM_END, 0xc3, TOOL, 0xf0};
    static const char *const AFTER[] = {
        "",
        "",
        "",
        "\xf0\x9f\x98\x80",
        "\xf0\x9f\x98\x80",
        "\xf0\x9f\x98\x80",
        "\xf0\x9f\x98\x80\xef\xbf\xbdx",
        "\xf0\x9f\x98\x80\xef\xbf\xbdx",
        "\xf0\x9f\x98\x80\xef\xbf\xbdx",
        "\xf0\x9f\x98\x80\xef\xbf\xbdx\xef\xbf\xbd<tool>",
        "\xf0\x9f\x98\x80\xef\xbf\xbdx\xef\xbf\xbd<tool>",
    };
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        token_stream_push(&stream, tokenizer, ids[i], true, &text);
        assert_string_equal(str_text(&text), AFTER[i]);
    }
    token_stream_end(&stream, &text);
    Str whole = {0};
    tokenizer_decode(tokenizer, ids, sizeof ids / sizeof ids[0], true, &whole);
    assert_string_equal(text.data, whole.data);
    str_deinit(&text);
    str_deinit(&whole);
}

static void test_both_ways_to_write_merges(void **state)
{
    (void)state;
    Scratch scratch;
    Str json = {0};
    Tokenizer *other = NULL;
    TokenIds a = {0}, b = {0};
    scratch_init(&scratch);
    small_tokenizer_json(&json, MERGES, N_MERGES, false);
    scratch_write(&scratch, "tokenizer.json", json.data, json.len);
    assert_int_equal(tokenizer_open(scratch.dir, &other, NULL), 0);
    const char *text = "abcd aab <tool> e\xcc\x81";
    assert_int_equal(tokenizer_encode(tokenizer, text, strlen(text), true, &a), 0);
    assert_int_equal(tokenizer_encode(other, text, strlen(text), true, &b), 0);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.ids, b.ids, a.n * sizeof *a.ids);
    token_ids_deinit(&a);
    token_ids_deinit(&b);
    tokenizer_free(other);
    str_deinit(&json);
    scratch_deinit(&scratch);
}

/* The good file with one part replaced must be refused with a word of the reason. */
static void expect_refused(const char *from, const char *to, const char *reason)
{
    Scratch scratch;
    Str json = {0}, changed = {0};
    Tokenizer *other = NULL;
    Error err = {0};
    scratch_init(&scratch);
    small_tokenizer_json(&json, MERGES, N_MERGES, true);
    char *at = strstr(json.data, from);
    assert_non_null(at);
    str_add(&changed, json.data, (size_t)(at - json.data));
    str_add_text(&changed, to);
    str_add_text(&changed, at + strlen(from));
    scratch_write(&scratch, "tokenizer.json", changed.data, changed.len);
    assert_true(tokenizer_open(scratch.dir, &other, &err) < 0);
    assert_null(other);
    assert_int_equal(err.exit_code, EX_DATAERR);
    if (!strstr(err.text, reason) || !strstr(err.text, "tokenizer.json"))
        fail_msg("\"%s\" does not say %s", err.text, reason);
    str_deinit(&json);
    str_deinit(&changed);
    scratch_deinit(&scratch);
}

static void test_damaged_files(void **state)
{
    (void)state;
    expect_refused("{", "", "no JSON object");
    expect_refused("\"BPE\"", "\"Unigram\"", "BPE");
    expect_refused("\"NFC\"", "\"NFKC\"", "NFC");
    expect_refused("|'ll", "", "pattern");
    expect_refused("\"vocab\"", "\"words\"", "vocabulary");
    expect_refused("\"\\u0041\":65", "\"\\u0041\\u0041\":65", "0x41");
    expect_refused(":65,", ":64,", "id 64");
    expect_refused(":65,", ":-1,", "range");
    expect_refused(":65,", ":99999999999,", "range");
    expect_refused(":65,", ":1.5,", "integer");
    expect_refused("[[\"\\u0061\",\"\\u0062\"]", "[[\"\\u0061\",\"zz\"]", "merge 0");
    expect_refused("[[\"\\u0061\",\"\\u0062\"]", "[[\"\\u0061\"]", "merge 0");
    expect_refused("\"content\":\"<tool>\"", "\"content\":\"\"", "content");
    expect_refused("\"special\":false", "\"rstrip\":true", "rstrip");
    expect_refused("\"id\":268", "\"id\":267", "id 267");
}

static void test_missing_files(void **state)
{
    (void)state;
    Tokenizer *other;
    Error err = {0};
    Scratch scratch;
    scratch_init(&scratch);
    assert_int_equal(tokenizer_open(scratch.dir, &other, &err), -ENOENT);
    assert_int_equal(err.exit_code, EX_NOINPUT);
    scratch_deinit(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges_by_rank_then_from_the_left),
        cmocka_unit_test(test_added_tokens_only_when_asked_and_the_longest),
        cmocka_unit_test(test_nfc_between_added_tokens),
        cmocka_unit_test(test_find_and_bytes),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_streaming_holds_incomplete_characters),
        cmocka_unit_test(test_both_ways_to_write_merges),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_missing_files),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

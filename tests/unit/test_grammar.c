/* The grammar: which bytes, which tokens, what is forced. */
#include "model/grammar.h"
#include "tests/unit/small_tokenizer.h"

#include <errno.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Tokens that cross the borders of the grammar's parts, and some that never fit. */
static const char *const MERGES[][2] = {
    {"[", "{"},   {"[{", "\""},  {"\"", ":"},   {"\":", "\""}, {"\"", "}"},
    {"\"}", "]"}, {"\"}", ","},  {"\"},", "{"}, {"s", "t"},    {"st", "a"},
    {"r", "t"},   {"sta", "rt"}, {"_", "time"}, {"t", "i"},    {"ti", "m"},
    {"tim", "e"}, {"c", "ar"},   {"a", "r"},    {" ", "car"},  {"0", "0"},
    {"[", "]"},   {"\"", ","},   {"\",", "\""}, {"[", "["},    {"\xc3", "\xa9"},
};
enum { N_MERGES = sizeof MERGES / sizeof MERGES[0], EOS = 256 + N_MERGES + 1 };

static const char ONE[] = "[{\"start_time\":\"00:03.50\",\"end_time\":\"00:06.00\","
                          "\"description\":\"a red car\"}]";

static Tokenizer *tokenizer;
static GrammarRules *compact, *loose;

static GrammarRules *compile(const char *schema, GrammarSpace space)
{
    GrammarRules *rules;
    Error err = {0};
    int32_t eos = EOS;
    int r = grammar_compile_schema(schema, space, tokenizer, &eos, 1, &rules, &err);
    if (r < 0)
        print_message("%s\n", err.text);
    return rules;
}

static int set_up(void **state)
{
    (void)state;
    /* A merge's parts must be tokens: order matters to the reader of the file only. */
    tokenizer = small_tokenizer(MERGES, N_MERGES);
    compact = compile(GRAMMAR_EVENT_LIST_SCHEMA, GRAMMAR_COMPACT);
    loose = compile(GRAMMAR_EVENT_LIST_SCHEMA, GRAMMAR_FREE);
    return compact && loose ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    grammar_rules_free(compact);
    grammar_rules_free(loose);
    tokenizer_free(tokenizer);
    return 0;
}

static int check(const GrammarRules *rules, const char *text)
{
    return grammar_check(rules, text, strlen(text));
}

static void with_description(Str *s, const char *text, size_t n)
{
    str_clear(s);
    str_add_text(s, "[{\"start_time\":\"00:00.0\",\"end_time\":\"00:00.0\",\"description\":\"");
    str_add(s, text, n);
    str_add_text(s, "\"}]");
}

static void test_accepts_the_event_list(void **state)
{
    (void)state;
    assert_int_equal(check(compact, "[]"), 0);
    assert_int_equal(check(loose, "[]"), 0);
    assert_int_equal(check(compact, ONE), 0);
    assert_int_equal(check(loose, ONE), 0);
    assert_int_equal(check(loose, "[\n    {\"start_time\": \"00:03.50\", \"end_time\": "
                                  "\"100:59.9\", \"description\": \"x\"}\n]"),
                     0);
    assert_int_equal(check(loose, "[ {\"start_time\": \"00:03.50\", \"end_time\": \"00:06.00\", "
                                  "\"description\": \"x\"}, {\"start_time\": \"00:03.50\", "
                                  "\"end_time\": \"00:06.00\", \"description\": \"x\"} ]"),
                     0);
}

/* Minutes of a short video: no other, and no choice. */
static void test_minute(void **state)
{
    (void)state;
    GrammarRules *minute = compile(GRAMMAR_MINUTE_EVENT_LIST_SCHEMA, GRAMMAR_COMPACT);
    Grammar *grammar = NULL;
    assert_non_null(minute);
    assert_int_equal(check(minute, ONE), 0);
    assert_int_equal(check(minute, "[]"), 0);
    assert_int_equal(check(minute, "[{\"start_time\":\"01:"), -EINVAL);
    assert_int_equal(check(minute, "[{\"start_time\":\"000:"), -EINVAL);
    assert_int_equal(check(minute, "[{\"start_time\":\"00:03.50\",\"end_time\":\"10:"), -EINVAL);
    assert_int_equal(grammar_new(minute, &grammar), 0);
    _cleanup_token_ids_ TokenIds ids = {0};
    assert_int_equal(tokenizer_encode(tokenizer, "[{", 2, false, &ids), 0);
    for (size_t i = 0; i < ids.n; i++)
        assert_int_equal(grammar_accept(grammar, ids.ids[i]), 0);
    size_t n = 0;
    const uint8_t *forced = grammar_forced(grammar, &n);
    static const char want[] = "\"start_time\":\"00:";
    assert_int_equal(n, sizeof want - 1);
    assert_memory_equal(forced, want, n);
    grammar_free(grammar);
    grammar_rules_free(minute);
}

static void test_every_prefix_is_open_and_every_wrong_byte_refused(void **state)
{
    (void)state;
    char text[sizeof ONE];
    for (size_t n = 0; n < sizeof ONE - 1; n++)
        assert_int_equal(grammar_check(compact, ONE, n), GRAMMAR_MORE);
    /* A control character is right nowhere. */
    for (size_t n = 0; n < sizeof ONE - 1; n++) {
        memcpy(text, ONE, sizeof ONE);
        text[n] = '\x01';
        assert_int_equal(grammar_check(compact, text, sizeof ONE - 1), -EINVAL);
    }
    assert_int_equal(check(compact, "[]x"), -EINVAL);
    assert_int_equal(check(compact, "[ ]"), -EINVAL);
    assert_int_equal(check(compact, "[{\"start_time\":\"00:60"), -EINVAL);
    assert_int_equal(check(compact, "[{\"start_time\":\"0:"), -EINVAL);
    assert_int_equal(check(compact, "[{\"start_time\":\"1000:"), -EINVAL);
    assert_int_equal(check(compact, "[{\"start_time\":\"00:00.\""), -EINVAL);
    assert_int_equal(check(compact, "[{\"start_time\":\"00:00.123"), -EINVAL);
    assert_int_equal(check(loose, "[ , "), -EINVAL);
}

static void test_space_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(check(loose, "[                {"), GRAMMAR_MORE);
    assert_int_equal(check(loose, "[                 "), -EINVAL);
    assert_int_equal(check(loose, "[\t"), -EINVAL);
}

static void test_strings_are_bounded_utf8(void **state)
{
    (void)state;
    Str s = {0};
    char text[202];
    memset(text, 'x', sizeof text);
    with_description(&s, text, 200);
    assert_int_equal(grammar_check(compact, s.data, s.len), 0);
    with_description(&s, text, 201);
    assert_int_equal(grammar_check(compact, s.data, s.len), -EINVAL);
    memcpy(text + 198, "\xc3\xa9", 2);
    with_description(&s, text, 200);
    assert_int_equal(grammar_check(compact, s.data, s.len), 0);
    memcpy(text + 198, "x\xc3\xa9", 3); /* a character that does not fit whole never begins */
    with_description(&s, text, 201);
    assert_int_equal(grammar_check(compact, s.data, s.len), -EINVAL);
    static const char *const GOOD[] = {"\\\"", "\\\\", "\xe4\xb8\xad", "\xf0\x9f\x98\x80",
                                       "\xc2\xa0"};
    static const char *const BAD[] = {"\\x",
                                      "\n",
                                      "\x7f",
                                      "\xc2\x80",
                                      "\xc3(",
                                      "\xed\xa0\x80",
                                      "\xc0\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xe4\xb8\"",
                                      "\xe0\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\x80"};
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        with_description(&s, GOOD[i], strlen(GOOD[i]));
        assert_int_equal(grammar_check(compact, s.data, s.len), 0);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        with_description(&s, BAD[i], strlen(BAD[i]));
        assert_int_equal(grammar_check(compact, s.data, s.len), -EINVAL);
    }
    str_deinit(&s);
}

static void test_items_are_bounded(void **state)
{
    (void)state;
    Str s = {0};
    str_add_text(&s, "[");
    for (int i = 0; i < 64; i++) {
        str_add_text(&s, i ? "," : "");
        str_add(&s, ONE + 1, sizeof ONE - 3);
    }
    assert_int_equal(grammar_check(compact, s.data, s.len), GRAMMAR_MORE);
    str_add_text(&s, ",");
    assert_int_equal(grammar_check(compact, s.data, s.len), -EINVAL);
    s.data[s.len - 1] = ']';
    assert_int_equal(grammar_check(compact, s.data, s.len), 0);
    str_deinit(&s);
}

/* The mask must say of every token what running its bytes says, at every place of an answer. */
static void check_masks(const GrammarRules *rules, const char *text)
{
    Grammar *g;
    assert_int_equal(grammar_new(rules, &g), 0);
    Str s = {0};
    for (size_t at = 0; at <= strlen(text); at++) {
        size_t n_words, n;
        const uint32_t *mask = grammar_mask(g, &n_words);
        for (int32_t id = 0; id < tokenizer_size(tokenizer) + 40; id++) {
            const uint8_t *bytes = tokenizer_bytes(tokenizer, id, &n);
            str_clear(&s);
            str_add(&s, text, at);
            str_add(&s, bytes, n);
            bool may =
                n && !tokenizer_is_added(tokenizer, id) && grammar_check(rules, s.data, s.len) >= 0;
            if (grammar_done(g))
                may = id == EOS;
            if (grammar_mask_has(mask, n_words, id) != may)
                fail_msg("token %d after \"%.*s\"", (int)id, (int)at, text);
        }
        if (at < strlen(text))
            assert_int_equal(grammar_accept(g, (unsigned char)text[at]), 0);
    }
    assert_true(grammar_done(g));
    assert_int_equal(grammar_accept(g, '['), -EINVAL);
    assert_int_equal(grammar_accept(g, EOS), 0);
    str_deinit(&s);
    grammar_free(g);
}

static void test_masks_agree_with_the_bytes(void **state)
{
    (void)state;
    Str s = {0};
    char text[200];
    check_masks(compact, "[]");
    check_masks(compact, ONE);
    check_masks(loose, "[ {\"start_time\": \"00:03.50\",\n\"end_time\": \"00:06.00\", "
                       "\"description\": \"a \\\"r\xc3\xa9"
                       "d\\\" car\"} ]");
    memset(text, 'a', sizeof text); /* up to the border of a string, where long tokens drop out */
    memcpy(text + 190, " car car", 8);
    with_description(&s, text, 200);
    check_masks(compact, s.data);
    str_deinit(&s);
}

static void test_refused_token_leaves_the_state(void **state)
{
    (void)state;
    Grammar *g;
    assert_int_equal(grammar_new(compact, &g), 0);
    assert_int_equal(grammar_accept(g, 'x'), -EINVAL);
    assert_int_equal(grammar_accept(g, EOS), -EINVAL);
    assert_int_equal(grammar_accept(g, -1), -EINVAL);
    assert_int_equal(grammar_accept(g, 1 << 20), -EINVAL);
    assert_int_equal(grammar_accept(g, '['), 0);
    assert_int_equal(grammar_accept(g, ']'), 0);
    assert_true(grammar_done(g));
    grammar_reset(g);
    assert_false(grammar_done(g));
    assert_int_equal(grammar_accept(g, '['), 0);
    grammar_free(g);
}

static void test_forced_bytes(void **state)
{
    (void)state;
    Grammar *g;
    size_t n;
    const char *rest = "\"start_time\":\"";
    assert_int_equal(grammar_new(compact, &g), 0);
    const uint8_t *forced = grammar_forced(g, &n);
    assert_int_equal(n, 1);
    assert_int_equal(forced[0], '[');
    assert_int_equal(grammar_accept(g, '['), 0);
    (void)grammar_forced(g, &n); /* ']' or '{' */
    assert_int_equal(n, 0);
    assert_int_equal(grammar_accept(g, '{'), 0);
    forced = grammar_forced(g, &n);
    assert_int_equal(n, strlen(rest));
    assert_memory_equal(forced, rest, n);
    grammar_free(g);
}

/* Decodes as an engine would, towards a text: forced tokens where there are some, else the token
 * that the tokenizer itself would give. Returns the number of steps that were no choice. */
static size_t decode_towards(const GrammarRules *rules, const char *text)
{
    Grammar *g;
    TokenIds want = {0}, got = {0};
    size_t forced_steps = 0, n_words;
    assert_int_equal(grammar_new(rules, &g), 0);
    assert_int_equal(tokenizer_encode(tokenizer, text, strlen(text), false, &want), 0);
    assert_int_equal(token_ids_add(&want, EOS), 0);
    while (got.n < want.n) {
        TokenIds forced = {0};
        assert_int_equal(grammar_forced_tokens(g, &forced), 0);
        forced_steps += forced.n;
        if (!forced.n)
            assert_int_equal(token_ids_add(&forced, want.ids[got.n]), 0);
        for (size_t i = 0; i < forced.n; i++) {
            const uint32_t *mask = grammar_mask(g, &n_words);
            assert_true(grammar_mask_has(mask, n_words, forced.ids[i]));
            assert_int_equal(grammar_accept(g, forced.ids[i]), 0);
        }
        assert_int_equal(token_ids_add_all(&got, forced.ids, forced.n), 0);
        token_ids_deinit(&forced);
    }
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.ids, want.ids, want.n * sizeof *want.ids);
    token_ids_deinit(&want);
    token_ids_deinit(&got);
    grammar_free(g);
    return forced_steps;
}

static void test_forced_tokens_are_the_tokenizers_own(void **state)
{
    (void)state;
    assert_int_equal(decode_towards(compact, "[]"), 1); /* only the end */
    /* Names, punctuation between them and the end: most of the answer is no choice. */
    assert_in_range(decode_towards(compact, ONE), 20, 60);
    assert_in_range(decode_towards(loose, ONE), 5, 60);
    decode_towards(loose, "[ {\"start_time\": \"00:03.50\",\n\"end_time\": \"00:06.00\", "
                          "\"description\": \"a car\"} ]");
}

static void test_schemas_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const BAD[][2] = {
        {"{", "JSON"},
        {"{\"type\":\"number\"}", "number"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":3}}", "maxItems"},
        {"{\"type\":\"string\"}", "maxLength"},
        {"{\"type\":\"string\",\"maxLength\":3,\"format\":\"date\"}", "format"},
        {"{\"type\":\"string\",\"pattern\":\"a*\"}", "unbounded"},
        {"{\"type\":\"string\",\"pattern\":\"a{1,2}a\"}", "ambiguous"},
        {"{\"type\":\"string\",\"pattern\":\"[ab\"}", "pattern"},
        {"{\"type\":\"string\",\"pattern\":\"a\\\"b\"}", "quotes"},
        {"{\"type\":\"object\",\"properties\":{}}", "properties"},
        {"{\"type\":\"object\",\"properties\":{\"a b\":{\"type\":\"string\",\"maxLength\":1}}}",
         "a b"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        GrammarRules *rules;
        Error err = {0};
        int32_t eos = EOS;
        assert_true(grammar_compile_schema(BAD[i][0], GRAMMAR_COMPACT, tokenizer, &eos, 1, &rules,
                                           &err) < 0);
        assert_null(rules);
        if (!strstr(err.text, BAD[i][1]))
            fail_msg("\"%s\" does not name %s", err.text, BAD[i][1]);
    }
}

static void test_another_schema(void **state)
{
    (void)state;
    GrammarRules *rules = compile("{\"type\":\"object\",\"properties\":{\"lists\":{\"type\":"
                                  "\"array\",\"maxItems\":2,\"items\":{\"type\":\"array\","
                                  "\"maxItems\":2,\"items\":{\"type\":\"string\",\"pattern\":"
                                  "\"-?[a-c]\\\\d?\"}}}}}",
                                  GRAMMAR_COMPACT);
    /* \d is an escaped d here, not a class: only what is documented. */
    assert_non_null(rules);
    assert_int_equal(check(rules, "{\"lists\":[]}"), 0);
    assert_int_equal(check(rules, "{\"lists\":[[],[\"-a\",\"bd\"]]}"), 0);
    assert_int_equal(check(rules, "{\"lists\":[[],[],[]]}"), -EINVAL);
    assert_int_equal(check(rules, "{\"lists\":[[\"a\",\"a\",\"a\"]]}"), -EINVAL);
    grammar_rules_free(rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_the_event_list),
        cmocka_unit_test(test_minute),
        cmocka_unit_test(test_every_prefix_is_open_and_every_wrong_byte_refused),
        cmocka_unit_test(test_space_is_bounded),
        cmocka_unit_test(test_strings_are_bounded_utf8),
        cmocka_unit_test(test_items_are_bounded),
        cmocka_unit_test(test_masks_agree_with_the_bytes),
        cmocka_unit_test(test_refused_token_leaves_the_state),
        cmocka_unit_test(test_forced_bytes),
        cmocka_unit_test(test_forced_tokens_are_the_tokenizers_own),
        cmocka_unit_test(test_schemas_are_refused_by_name),
        cmocka_unit_test(test_another_schema),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

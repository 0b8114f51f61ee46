/*
 * A tokenizer from anybody: one part is tokenizer.json, several (cut at NUL) are vocab.json,
 * merges.txt and tokenizer_config.json, which is a chat template's file too. What opens encodes any
 * bytes to its own ids and decodes any ids to whole characters.
 */
#include "model/prompt.h"
#include "model/tokenizer.h"
#include "model/utf8.h"
#include "tests/fuzz/fuzz_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_whole(const Str *text)
{
    for (size_t at = 0; at < text->len;) {
        const Utf8Step step = utf8_step(text->data + at, text->len - at);
        assert(step.valid);
        at += step.n;
    }
}

static void use(const Tokenizer *t, const uint8_t *data, size_t size)
{
    _cleanup_token_ids_ TokenIds ids = {0};
    _cleanup_str_ Str whole = {0}, streamed = {0};
    TokenStream stream = {0};
    assert(tokenizer_encode(t, (const char *)data, size < 2048 ? size : 2048, true, &ids) == 0);
    assert(tokenizer_encode(t, "It's 12\n  gr\xc3\xbc\xc3\x9f!", 15, false, &ids) == 0);
    for (size_t i = 0; i < ids.n; i++)
        assert(ids.ids[i] >= 0 && ids.ids[i] < tokenizer_size(t));
    for (int32_t id = -2; id < 300; id++)
        assert(token_ids_add(&ids, id) == 0);
    tokenizer_decode(t, ids.ids, ids.n, false, &whole);
    must_be_whole(&whole);
    for (size_t i = 0; i < ids.n; i++)
        token_stream_push(&stream, t, ids.ids[i], false, &streamed);
    token_stream_end(&stream, &streamed);
    assert(whole.len == streamed.len &&
           memcmp(str_text(&whole), str_text(&streamed), whole.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const ONE[] = {"tokenizer.json"};
    static const char *const THREE[] = {"vocab.json", "merges.txt", "tokenizer_config.json"};
    const bool several = size && memchr(data, 0, size) != NULL;
    PromptTemplate prompt;
    Tokenizer *tokenizer;
    Error err = {0};
    fuzz_write(ONE, 1, several ? NULL : data, size);
    fuzz_write(THREE, 3, several ? data : NULL, size);
    if (tokenizer_open(fuzz_dir(), &tokenizer, &err) == 0) {
        use(tokenizer, data, size);
        tokenizer_free(tokenizer);
    } else {
        assert(err.exit_code && err.text[0] && !strchr(err.text, '\n'));
    }
    error_clear(&err);
    if (prompt_template_read(fuzz_dir(), &prompt, &err) < 0)
        assert(err.exit_code && err.text[0] && !strchr(err.text, '\n'));
    prompt_template_deinit(&prompt);
    return 0;
}

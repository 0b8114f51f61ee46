/*
 * A byte-level tokenizer small enough to be seen through: ids 0..255 are the bytes, then one token
 * for each merge, then three special tokens and one added token that is not special.
 */
#ifndef WHEN_TESTS_SMALL_TOKENIZER_H
#define WHEN_TESTS_SMALL_TOKENIZER_H

#include "base/mem.h"
#include "base/str.h"
#include "model/tokenizer.h"
#include "tests/unit/scratch.h"

/* The character that stands for a byte in vocabularies, as JSON. */
static inline void small_alphabet(Str *s, unsigned byte)
{
    bool itself = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    unsigned code = byte;
    if (!itself) {
        code = 256;
        for (unsigned b = 0; b < byte; b++)
            code += !((b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae);
    }
    str_addf(s, "\\u%04x", code);
}

static inline void small_bytes(Str *s, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        small_alphabet(s, (unsigned char)text[i]);
}

#define SMALL_PATTERN                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "              \
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

/* merges: "left\0right" pairs as two strings each. as_pairs: how the file writes them. */
static inline void small_tokenizer_json(Str *json, const char *const (*merges)[2], size_t n_merges,
                                        bool as_pairs)
{
    size_t id = 256;
    str_add_text(json,
                 "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\","
                 "\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" SMALL_PATTERN
                 "\"}}]},\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (unsigned b = 0; b < 256; b++) {
        str_add_text(json, b ? ",\"" : "\"");
        small_alphabet(json, b);
        str_addf(json, "\":%u", b);
    }
    for (size_t i = 0; i < n_merges; i++) {
        str_add_text(json, ",\"");
        small_bytes(json, merges[i][0], strlen(merges[i][0]));
        small_bytes(json, merges[i][1], strlen(merges[i][1]));
        str_addf(json, "\":%zu", id++);
    }
    str_add_text(json, "},\"merges\":[");
    for (size_t i = 0; i < n_merges; i++) {
        str_add_text(json, i ? "," : "");
        str_add_text(json, as_pairs ? "[\"" : "\"");
        small_bytes(json, merges[i][0], strlen(merges[i][0]));
        str_add_text(json, as_pairs ? "\",\"" : " ");
        small_bytes(json, merges[i][1], strlen(merges[i][1]));
        str_add_text(json, as_pairs ? "\"]" : "\"");
    }
    str_addf(json,
             "]},\"added_tokens\":[{\"id\":%zu,\"content\":\"<|im_start|>\",\"special\":true},"
             "{\"id\":%zu,\"content\":\"<|im_end|>\",\"special\":true},"
             "{\"id\":%zu,\"content\":\"<|im|>\",\"special\":true},"
             "{\"id\":%zu,\"content\":\"<tool>\",\"special\":false}]}",
             id, id + 1, id + 2, id + 3);
}

static inline Tokenizer *small_tokenizer(const char *const (*merges)[2], size_t n_merges)
{
    Scratch scratch;
    Str json = {0};
    Tokenizer *tokenizer = NULL;
    Error err = {0};
    scratch_init(&scratch);
    small_tokenizer_json(&json, merges, n_merges, true);
    scratch_write(&scratch, "tokenizer.json", json.data, json.len);
    if (tokenizer_open(scratch.dir, &tokenizer, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
    assert(tokenizer);
    str_deinit(&json);
    scratch_deinit(&scratch);
    return tokenizer;
}

#endif

/*
 * The byte-level BPE of Qwen2: NFC, the published pre-tokenizer pattern, merges by rank, added
 * tokens. Read from tokenizer.json, or vocab.json + merges.txt + tokenizer_config.json.
 * Immutable once open; any number of threads may use it.
 */
#ifndef WHEN_MODEL_TOKENIZER_H
#define WHEN_MODEL_TOKENIZER_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKENIZER_MAX_BYTES ((size_t)4 << 20)

typedef struct Tokenizer Tokenizer;

typedef struct TokenIds {
    int32_t *ids; /* [n], owned */
    size_t n, capacity;
} TokenIds;

void token_ids_deinit(TokenIds *ids); /* safe on zeroed */
int token_ids_add(TokenIds *ids, int32_t id);
int token_ids_add_all(TokenIds *ids, const int32_t *more, size_t n);
#define _cleanup_token_ids_ __attribute__((cleanup(token_ids_deinit)))

enum { TOKENIZER_NONE = 1 };

/* EX_NOINPUT / EX_DATAERR with the file and the reason. */
int tokenizer_open(const char *directory, Tokenizer **tokenizer, Error *err);
void tokenizer_free(Tokenizer *tokenizer);

/* One more than the largest id. Ids in between may be unused. */
int32_t tokenizer_size(const Tokenizer *tokenizer);

/* Appends the ids of text to *ids. added: also look for added tokens ("<|im_end|>") in it; without,
 * such text is ordinary text, which is what a question from outside must be. Bytes that are no
 * UTF-8 are taken as U+FFFD, one for each maximal invalid part. Time is n log n for any text.
 * -ENOMEM, or -E2BIG when n is above TOKENIZER_MAX_BYTES. */
int tokenizer_encode(const Tokenizer *tokenizer, const char *text, size_t n, bool added,
                     TokenIds *ids);

/* The id of a token's exact content (added tokens and vocabulary), or TOKENIZER_NONE. */
int tokenizer_find(const Tokenizer *tokenizer, const char *content, int32_t *id);

/* The bytes that a token stands for; n = 0 for ids that are unused or out of range. */
const uint8_t *tokenizer_bytes(const Tokenizer *tokenizer, int32_t id, size_t *n);
bool tokenizer_is_added(const Tokenizer *tokenizer, int32_t id);
bool tokenizer_is_special(const Tokenizer *tokenizer, int32_t id);

/* Appends the text of ids: U+FFFD for each maximal invalid part. Unused ids give nothing. */
void tokenizer_decode(const Tokenizer *tokenizer, const int32_t *ids, size_t n, bool skip_special,
                      Str *text);

/* Streaming: text comes out as soon as its characters are whole; an incomplete one is held.
 * Start with a zeroed stream. What was pushed and ended equals tokenizer_decode. */
typedef struct TokenStream {
    uint8_t held[4];
    int n_held;
} TokenStream;

void token_stream_push(TokenStream *stream, const Tokenizer *tokenizer, int32_t id,
                       bool skip_special, Str *text);
void token_stream_end(TokenStream *stream, Str *text);

/* Lengths in bytes of the pre-tokenizer's pieces of valid UTF-8 text, for tests and the grammar:
 * the piece that begins at text[at]. at < n. */
size_t tokenizer_piece(const char *text, size_t n, size_t at);

#endif

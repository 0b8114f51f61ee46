/*
 * Constrained decoding: which tokens may come next so that the answer stays in a small JSON
 * language. Works on bytes, so over any byte-level tokenizer; a token is allowed when all its bytes
 * are.
 *
 * Rules are compiled once from a JSON schema and immutable; a Grammar is the state of one answer
 * and belongs to one thread.
 */
#ifndef WHEN_MODEL_GRAMMAR_H
#define WHEN_MODEL_GRAMMAR_H

#include "base/err.h"
#include "model/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct GrammarRules GrammarRules;
typedef struct Grammar Grammar;

typedef enum GrammarSpace {
    GRAMMAR_COMPACT, /* no space between JSON tokens: what our own models write */
    GRAMMAR_FREE     /* a bounded number of spaces and newlines where JSON allows them */
} GrammarSpace;

/* The event list: [] or [{"start_time":"mm:ss.ff","end_time":"mm:ss.ff","description":"..."},...],
 * at most 64 items, descriptions of at most 200 bytes. */
extern const char GRAMMAR_EVENT_LIST_SCHEMA[];
/* The same for a video of less than a minute: "00:ss.ff", whose minutes are forced, so that they
 * cost no step and cannot be wrong. */
extern const char GRAMMAR_MINUTE_EVENT_LIST_SCHEMA[];

/* Of JSON schema: "type" object ("properties", all required, in the order written), array ("items",
 * "maxItems"), string ("maxLength" in bytes of JSON text, or "pattern": characters, escapes and
 * [classes], each once or with {n}, {n,m} or ?). What else is there is refused by name; "required",
 * "description", "title" and "$schema" are passed over. eos [n_eos]: the tokens that are allowed at
 * the end, and only there. The tokenizer is kept, not copied. EX_SOFTWARE: the schema is ours. */
int grammar_compile_schema(const char *schema, GrammarSpace space, const Tokenizer *tokenizer,
                           const int32_t *eos, int n_eos, GrammarRules **rules, Error *err);
void grammar_rules_free(GrammarRules *rules);

int grammar_new(const GrammarRules *rules, Grammar **grammar);
void grammar_free(Grammar *grammar);
void grammar_reset(Grammar *grammar);

/* Bit (id & 31) of word (id >> 5) is set when the token may come next. *n_words =
 * ceil(tokenizer_size / 32); ids beyond are never allowed. Borrowed until the next call on this
 * grammar. Cached a state, so that most calls cost a lookup. */
const uint32_t *grammar_mask(Grammar *grammar, size_t *n_words);

static inline bool grammar_mask_has(const uint32_t *mask, size_t n_words, int32_t id)
{
    return id >= 0 && (size_t)id >> 5 < n_words && (mask[id >> 5] >> (id & 31) & 1);
}

/* 0, or -EINVAL when the token is not allowed (then the state is unchanged). */
int grammar_accept(Grammar *grammar, int32_t token);

/* Whether the answer is complete: only eos may follow. */
bool grammar_done(const Grammar *grammar);

/* The bytes that must come next whatever the model wants (n = 0 when there is a choice). Borrowed
 * until the next call. */
const uint8_t *grammar_forced(Grammar *grammar, size_t *n);

/* The forced bytes as tokens: those that the tokenizer itself would give in this context, and only
 * as far as no continuation could change them. Appends to *tokens and does not accept them: feed
 * and accept each. At the end the first eos is appended. *tokens unchanged: ask the mask. */
int grammar_forced_tokens(Grammar *grammar, TokenIds *tokens);

/* Runs bytes from the beginning, for tests: 0 complete, GRAMMAR_MORE a valid prefix, -EINVAL. */
enum { GRAMMAR_MORE = 1 };
int grammar_check(const GrammarRules *rules, const void *bytes, size_t n);

#endif

/*
 * Inside of the grammar: a schema becomes a program of steps, each of which takes bytes; where a
 * byte may go is known from that byte alone, so a state is a place in the program and counters.
 */
#ifndef WHEN_MODEL_GRAMMAR_PRIVATE_H
#define WHEN_MODEL_GRAMMAR_PRIVATE_H

#include "model/grammar.h"

enum {
    GRAMMAR_MAX_STEPS = 4096,
    GRAMMAR_MAX_LOOPS = 4,
    GRAMMAR_MAX_TOKEN_BYTES = 255 /* longer tokens are never allowed */
};

typedef enum GrammarOp {
    GRAMMAR_BYTE,   /* exactly set's one byte */
    GRAMMAR_CLASS,  /* min..max bytes of set */
    GRAMMAR_STRING, /* inside of a JSON string, up to and with its closing quote: max bytes */
    GRAMMAR_FIRST,  /* behind '[': ']' goes to target, any other byte is the item's */
    GRAMMAR_NEXT,   /* behind an item: ',' goes to target (max items), ']' goes on */
    GRAMMAR_END     /* complete */
} GrammarOp;

typedef struct GrammarStep {
    GrammarOp op;
    uint8_t byte;
    uint8_t loop; /* which counter of items */
    uint16_t min, max;
    uint16_t target, item; /* places in the program */
    uint32_t set[8];       /* 256 bits */
} GrammarStep;

typedef struct GrammarState {
    uint16_t pc;
    uint16_t n;    /* bytes taken by the step at pc */
    uint16_t text; /* GRAMMAR_STRING: what a begun character still needs */
    uint16_t items[GRAMMAR_MAX_LOOPS];
} GrammarState;

struct GrammarRules {
    const Tokenizer *tokenizer;
    GrammarStep *steps; /* [n_steps], the last is GRAMMAR_END */
    size_t n_steps, steps_capacity;
    int n_loops;
    int32_t *eos; /* [n_eos] */
    int n_eos;
    int32_t *order;      /* [n_order] usable tokens, sorted by their bytes */
    uint8_t *common;     /* [n_order] bytes in common with the token before */
    uint32_t begin[257]; /* of the tokens with that first byte, in order */
    int32_t *by_length;  /* [n_order] the same tokens, longest first */
    size_t n_order;
};

static inline bool grammar_in_set(const uint32_t set[8], uint8_t byte)
{
    return set[byte >> 5] >> (byte & 31) & 1;
}

/* Schema to steps; grammar_schema.c. */
int grammar_compile_steps(const char *schema, GrammarSpace space, GrammarRules *rules, Error *err);

#endif

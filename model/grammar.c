/*
 * Runs the steps of a grammar over bytes, and over the vocabulary.
 *
 * A mask walks the tokens in the order of their bytes: what two neighbours have in common is run
 * once, and a rejected beginning is rejected for all that share it. Masks are cached by state.
 * Inside a string the state differs at every byte by the room that is left; there the mask for
 * plenty of room is cached, and only tokens longer than what is left are looked at again.
 */
#include "model/grammar_private.h"

#include "base/mem.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { CACHE_ENTRIES = 32, MAX_FORCED = 256 };

typedef struct CacheEntry {
    bool used;
    uint64_t last_use;
    GrammarState state;
    uint32_t *mask; /* [n_words] */
} CacheEntry;

struct Grammar {
    const GrammarRules *rules;
    GrammarState state;
    Str text;       /* of the answer so far */
    size_t settled; /* a border of the pre-tokenizer's pieces in text, at most text.len */
    size_t n_words;
    uint32_t *mask; /* [n_words] */
    CacheEntry cache[CACHE_ENTRIES];
    uint64_t clock;
    uint8_t forced[MAX_FORCED];
    size_t n_forced;
};

/* --- bytes --- */

/* What a begun character still needs: the range of the next byte, and how many come behind it. */
enum {
    TEXT_PLAIN,
    TEXT_ESCAPE,
    TEXT_MORE_1, /* 80..BF, the last */
    TEXT_MORE_2, /* 80..BF and one more */
    TEXT_MORE_3,
    TEXT_C2, /* A0..BF: U+0080..9F are control characters */
    TEXT_E0, /* A0..BF and one more */
    TEXT_ED, /* 80..9F and one more: no surrogates */
    TEXT_F0, /* 90..BF and two more */
    TEXT_F4  /* 80..8F and two more */
};

static const struct {
    uint8_t low, high, then;
} TEXT_NEXT[] = {
    [TEXT_MORE_1] = {0x80, 0xbf, TEXT_PLAIN},  [TEXT_MORE_2] = {0x80, 0xbf, TEXT_MORE_1},
    [TEXT_MORE_3] = {0x80, 0xbf, TEXT_MORE_2}, [TEXT_C2] = {0xa0, 0xbf, TEXT_PLAIN},
    [TEXT_E0] = {0xa0, 0xbf, TEXT_MORE_1},     [TEXT_ED] = {0x80, 0x9f, TEXT_MORE_1},
    [TEXT_F0] = {0x90, 0xbf, TEXT_MORE_2},     [TEXT_F4] = {0x80, 0x8f, TEXT_MORE_2},
};

/* Bytes of the character or escape that begins with this byte, and what it needs; 0: none may. */
static uint16_t text_begin(uint8_t byte, uint16_t *text)
{
    *text = TEXT_PLAIN;
    if (byte == '\\') {
        *text = TEXT_ESCAPE;
        return 2;
    }
    if (byte < 0x80)
        return byte >= 0x20 && byte != 0x7f;
    if (byte >= 0xc2 && byte <= 0xdf) {
        *text = byte == 0xc2 ? TEXT_C2 : TEXT_MORE_1;
        return 2;
    }
    if (byte >= 0xe0 && byte <= 0xef) {
        *text = byte == 0xe0 ? TEXT_E0 : byte == 0xed ? TEXT_ED : TEXT_MORE_2;
        return 3;
    }
    if (byte >= 0xf0 && byte <= 0xf4) {
        *text = byte == 0xf0 ? TEXT_F0 : byte == 0xf4 ? TEXT_F4 : TEXT_MORE_3;
        return 4;
    }
    return 0;
}

/* One byte inside a string. A character begins only when all of it has room, so that the string can
 * always be closed. */
static bool step_string(const GrammarStep *step, GrammarState *s, uint8_t byte)
{
    uint16_t text;
    if (s->text == TEXT_ESCAPE) {
        if (byte != '"' && byte != '\\' && byte != '/')
            return false;
        s->text = TEXT_PLAIN;
        s->n++;
        return true;
    }
    if (s->text != TEXT_PLAIN) {
        if (byte < TEXT_NEXT[s->text].low || byte > TEXT_NEXT[s->text].high)
            return false;
        s->text = TEXT_NEXT[s->text].then;
        s->n++;
        return true;
    }
    if (byte == '"') {
        s->pc++;
        s->n = 0;
        return true;
    }
    uint16_t length = text_begin(byte, &text);
    if (length == 0 || s->n + length > step->max)
        return false;
    s->text = text;
    s->n++;
    return true;
}

/* False: not allowed, and *s is spoiled. */
static bool step_byte(const GrammarRules *rules, GrammarState *s, uint8_t byte)
{
    for (;;) {
        const GrammarStep *step = &rules->steps[s->pc];
        switch (step->op) {
        case GRAMMAR_BYTE:
            s->pc++;
            return byte == step->byte;
        case GRAMMAR_CLASS:
            if (grammar_in_set(step->set, byte)) {
                if (++s->n == step->max) {
                    s->pc++;
                    s->n = 0;
                }
                return true;
            }
            if (s->n < step->min)
                return false;
            s->pc++;
            s->n = 0;
            break; /* the byte is the next step's */
        case GRAMMAR_STRING:
            return step_string(step, s, byte);
        case GRAMMAR_FIRST:
            if (byte == ']') {
                s->pc = step->target;
                return true;
            }
            s->items[step->loop] = 1;
            s->pc = step->item;
            break;
        case GRAMMAR_NEXT:
            if (byte == ']') {
                s->items[step->loop] = 0;
                s->pc++;
                return true;
            }
            s->pc = step->target;
            return byte == ',' && s->items[step->loop]++ < step->max;
        case GRAMMAR_END:
            return false;
        }
    }
}

static bool at_end(const GrammarRules *rules, const GrammarState *s)
{
    return rules->steps[s->pc].op == GRAMMAR_END;
}

int grammar_check(const GrammarRules *rules, const void *bytes, size_t n)
{
    GrammarState s = {0};
    for (size_t i = 0; i < n; i++)
        if (!step_byte(rules, &s, ((const uint8_t *)bytes)[i]))
            return -EINVAL;
    return at_end(rules, &s) ? 0 : GRAMMAR_MORE;
}

/* --- rules --- */

static int by_bytes(const void *a, const void *b, void *tokenizer)
{
    size_t n, m;
    const uint8_t *x = tokenizer_bytes(tokenizer, *(const int32_t *)a, &n);
    const uint8_t *y = tokenizer_bytes(tokenizer, *(const int32_t *)b, &m);
    int order = memcmp(x, y, n < m ? n : m);
    return order ? order : n < m ? -1 : n > m;
}

static int longest_first(const void *a, const void *b, void *tokenizer)
{
    size_t n, m;
    (void)tokenizer_bytes(tokenizer, *(const int32_t *)a, &n);
    (void)tokenizer_bytes(tokenizer, *(const int32_t *)b, &m);
    return n > m ? -1 : n < m;
}

static int sort_vocabulary(GrammarRules *rules)
{
    const Tokenizer *tokenizer = rules->tokenizer;
    size_t size = (size_t)tokenizer_size(tokenizer), n, m;
    rules->order = mem_new_array(size, sizeof *rules->order);
    rules->by_length = mem_new_array(size, sizeof *rules->by_length);
    rules->common = mem_new_array(size, sizeof *rules->common);
    if (!rules->order || !rules->by_length || !rules->common)
        return -ENOMEM;
    for (size_t id = 0; id < size; id++) {
        (void)tokenizer_bytes(tokenizer, (int32_t)id, &n);
        if (n && n <= GRAMMAR_MAX_TOKEN_BYTES && !tokenizer_is_added(tokenizer, (int32_t)id))
            rules->order[rules->n_order++] = (int32_t)id;
    }
    if (rules->n_order)
        memcpy(rules->by_length, rules->order, rules->n_order * sizeof *rules->order);
    qsort_r(rules->order, rules->n_order, sizeof *rules->order, by_bytes, (void *)tokenizer);
    qsort_r(rules->by_length, rules->n_order, sizeof *rules->by_length, longest_first,
            (void *)tokenizer);
    unsigned byte = 0;
    const uint8_t *before = NULL;
    for (size_t i = 0; i < rules->n_order; i++, m = n) {
        const uint8_t *bytes = tokenizer_bytes(tokenizer, rules->order[i], &n);
        while (byte <= bytes[0])
            rules->begin[byte++] = (uint32_t)i;
        size_t common = 0;
        while (before && common < n && common < m && bytes[common] == before[common])
            common++;
        rules->common[i] = (uint8_t)common;
        before = bytes;
    }
    while (byte <= 256)
        rules->begin[byte++] = (uint32_t)rules->n_order;
    return 0;
}

int grammar_compile_schema(const char *schema, GrammarSpace space, const Tokenizer *tokenizer,
                           const int32_t *eos, int n_eos, GrammarRules **out, Error *err)
{
    *out = NULL;
    GrammarRules *rules = calloc(1, sizeof *rules);
    if (!rules)
        return error_set(err, ENOMEM, EX_OSERR, "grammar: no memory");
    rules->tokenizer = tokenizer;
    rules->n_eos = n_eos;
    rules->eos = mem_new_array((size_t)n_eos, sizeof *rules->eos);
    int r = rules->eos ? grammar_compile_steps(schema, space, rules, err) : -ENOMEM;
    if (r == 0) {
        memcpy(rules->eos, eos, (size_t)n_eos * sizeof *eos);
        r = sort_vocabulary(rules);
    }
    if (r < 0) {
        grammar_rules_free(rules);
        return error_set(err, -r, EX_OSERR, "grammar: no memory");
    }
    *out = rules;
    return 0;
}

void grammar_rules_free(GrammarRules *rules)
{
    if (!rules)
        return;
    free(rules->steps);
    free(rules->eos);
    free(rules->order);
    free(rules->common);
    free(rules->by_length);
    free(rules);
}

/* --- one answer --- */

int grammar_new(const GrammarRules *rules, Grammar **out)
{
    Grammar *g = calloc(1, sizeof *g);
    *out = NULL;
    if (!g)
        return -ENOMEM;
    g->rules = rules;
    g->n_words = ((size_t)tokenizer_size(rules->tokenizer) + 31) / 32;
    g->mask = mem_new_array(g->n_words, sizeof *g->mask);
    if (!g->mask) {
        grammar_free(g);
        return -ENOMEM;
    }
    *out = g;
    return 0;
}

void grammar_free(Grammar *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < CACHE_ENTRIES; i++)
        free(g->cache[i].mask);
    free(g->mask);
    str_deinit(&g->text);
    free(g);
}

void grammar_reset(Grammar *g)
{
    g->state = (GrammarState){0};
    g->settled = 0;
    str_clear(&g->text);
}

static void set_bit(uint32_t *mask, int32_t id)
{
    mask[id >> 5] |= UINT32_C(1) << (id & 31);
}

/* Runs a whole token. */
static bool takes(const GrammarRules *rules, GrammarState *s, int32_t token)
{
    size_t n;
    const uint8_t *bytes = tokenizer_bytes(rules->tokenizer, token, &n);
    for (size_t i = 0; i < n; i++)
        if (!step_byte(rules, s, bytes[i]))
            return false;
    return n > 0;
}

static void fill_mask(const GrammarRules *rules, const GrammarState *state, uint32_t *mask)
{
    GrammarState after[GRAMMAR_MAX_TOKEN_BYTES + 1]; /* after[k]: behind k bytes */
    after[0] = *state;
    for (unsigned byte = 0; byte < 256; byte++) {
        GrammarState probe = *state;
        size_t accepted = 0, n;
        if (!step_byte(rules, &probe, (uint8_t)byte))
            continue;
        for (uint32_t i = rules->begin[byte]; i < rules->begin[byte + 1]; i++) {
            size_t k = i == rules->begin[byte] ? 0 : rules->common[i];
            if (k > accepted)
                continue; /* begins like the one before, which was rejected there */
            const uint8_t *bytes = tokenizer_bytes(rules->tokenizer, rules->order[i], &n);
            for (; k < n; k++) {
                after[k + 1] = after[k];
                if (!step_byte(rules, &after[k + 1], bytes[k]))
                    break;
            }
            accepted = k;
            if (k == n)
                set_bit(mask, rules->order[i]);
        }
    }
}

static bool same_state(const GrammarState *a, const GrammarState *b)
{
    return memcmp(a, b, sizeof *a) == 0; /* all uint16_t: no padding */
}

/* The mask of a state from the cache, made when it is not there; NULL without memory. */
static const uint32_t *cached_mask(Grammar *g, const GrammarState *state)
{
    CacheEntry *oldest = &g->cache[0];
    g->clock++;
    for (size_t i = 0; i < CACHE_ENTRIES; i++) {
        CacheEntry *entry = &g->cache[i];
        if (entry->used && same_state(&entry->state, state)) {
            entry->last_use = g->clock;
            return entry->mask;
        }
        if (entry->last_use < oldest->last_use)
            oldest = entry;
    }
    if (!oldest->mask)
        oldest->mask = mem_new_array(g->n_words, sizeof *oldest->mask);
    if (!oldest->mask)
        return NULL;
    memset(oldest->mask, 0, g->n_words * sizeof *oldest->mask);
    oldest->used = true;
    oldest->last_use = g->clock;
    oldest->state = *state;
    fill_mask(g->rules, state, oldest->mask);
    return oldest->mask;
}

const uint32_t *grammar_mask(Grammar *g, size_t *n_words)
{
    const GrammarRules *rules = g->rules;
    const GrammarStep *step = &rules->steps[g->state.pc];
    GrammarState key = g->state;
    *n_words = g->n_words;
    memset(g->mask, 0, g->n_words * sizeof *g->mask);
    if (at_end(rules, &g->state)) {
        for (int i = 0; i < rules->n_eos; i++)
            if (rules->eos[i] >= 0 && (size_t)rules->eos[i] >> 5 < g->n_words)
                set_bit(g->mask, rules->eos[i]);
        return g->mask;
    }
    if (step->op == GRAMMAR_STRING)
        key.n = 0;
    const uint32_t *base = cached_mask(g, &key);
    if (!base) {
        fill_mask(rules, &g->state, g->mask);
        return g->mask;
    }
    memcpy(g->mask, base, g->n_words * sizeof *g->mask);
    if (step->op != GRAMMAR_STRING)
        return g->mask;
    size_t left = (size_t)(step->max - g->state.n), n;
    for (size_t i = 0; i < rules->n_order; i++) {
        int32_t id = rules->by_length[i];
        GrammarState s = g->state;
        (void)tokenizer_bytes(rules->tokenizer, id, &n);
        if (n + 3 <= left) /* it may begin a character of three more bytes */
            break;
        if (grammar_mask_has(g->mask, g->n_words, id) && !takes(rules, &s, id))
            g->mask[id >> 5] &= ~(UINT32_C(1) << (id & 31));
    }
    return g->mask;
}

int grammar_accept(Grammar *g, int32_t token)
{
    size_t n;
    const uint8_t *bytes = tokenizer_bytes(g->rules->tokenizer, token, &n);
    GrammarState s = g->state;
    if (at_end(g->rules, &g->state)) {
        for (int i = 0; i < g->rules->n_eos; i++)
            if (g->rules->eos[i] == token)
                return 0;
        return -EINVAL;
    }
    if (n > GRAMMAR_MAX_TOKEN_BYTES || tokenizer_is_added(g->rules->tokenizer, token) ||
        !takes(g->rules, &s, token))
        return -EINVAL;
    g->state = s;
    str_add(&g->text, bytes, n);
    return 0;
}

bool grammar_done(const Grammar *g)
{
    return at_end(g->rules, &g->state);
}

/* --- forced text --- */

static int allowed_bytes(const GrammarRules *rules, const GrammarState *state, uint32_t set[8])
{
    int n = 0;
    memset(set, 0, 8 * sizeof *set);
    for (unsigned byte = 0; byte < 256; byte++) {
        GrammarState s = *state;
        if (!step_byte(rules, &s, (uint8_t)byte))
            continue;
        set[byte >> 5] |= UINT32_C(1) << (byte & 31);
        n++;
    }
    return n;
}

static uint8_t only_byte(const uint32_t set[8])
{
    unsigned byte = 0;
    while (!grammar_in_set(set, (uint8_t)byte))
        byte++;
    return (uint8_t)byte;
}

/* Fills g->forced; *s is the state behind it and set the bytes that may come there. */
static void find_forced(Grammar *g, GrammarState *s, uint32_t set[8])
{
    *s = g->state;
    g->n_forced = 0;
    while (allowed_bytes(g->rules, s, set) == 1 && g->n_forced < MAX_FORCED) {
        uint8_t byte = only_byte(set);
        (void)step_byte(g->rules, s, byte);
        g->forced[g->n_forced++] = byte;
    }
}

const uint8_t *grammar_forced(Grammar *g, size_t *n)
{
    GrammarState s;
    uint32_t set[8];
    find_forced(g, &s, set);
    *n = g->n_forced;
    return g->forced;
}

/* Whether the piece [begin, text->len) ends there whatever may come next. */
static bool piece_is_settled(Str *text, size_t begin, const uint32_t set[8], bool end)
{
    /* A letter, a number, a symbol, a mark and a space stand for all that is not ASCII. */
    static const char *const OTHERS[] = {"\xc3\xa9", "\xd9\xa3", "\xe2\x82\xac", "\xcc\x81",
                                         "\xc2\xa0"};
    size_t length = text->len;
    bool settled = true, beyond = false;
    for (unsigned byte = 0x80; byte < 256; byte++)
        beyond |= grammar_in_set(set, (uint8_t)byte);
    for (unsigned i = 0; !end && settled && i < 128 + (beyond ? 5 : 0); i++) {
        char byte = (char)i;
        if (i < 128 && !grammar_in_set(set, (uint8_t)i))
            continue;
        str_add(text, i < 128 ? &byte : OTHERS[i - 128], i < 128 ? 1 : strlen(OTHERS[i - 128]));
        if (str_failed(text))
            return false;
        settled = tokenizer_piece(text->data, text->len, begin) == length - begin;
        text->len = length;
        text->data[length] = '\0';
    }
    return settled;
}

/* Tokens of one piece that lie behind the text so far (`known` bytes of the piece are). Nothing
 * when the tokenizer would have cut elsewhere. */
static int add_piece(const Grammar *g, const char *piece, size_t n, size_t known, TokenIds *tokens)
{
    _cleanup_token_ids_ TokenIds ids = {0};
    size_t at = 0, length;
    int r = tokenizer_encode(g->rules->tokenizer, piece, n, false, &ids);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ids.n; i++) {
        if (at == known)
            return token_ids_add_all(tokens, ids.ids + i, ids.n - i);
        (void)tokenizer_bytes(g->rules->tokenizer, ids.ids[i], &length);
        at += length;
    }
    return -ENOENT; /* the border between what is there and what is forced is none of its own */
}

int grammar_forced_tokens(Grammar *g, TokenIds *tokens)
{
    GrammarState s;
    uint32_t set[8];
    size_t before = g->text.len, n_tokens = tokens->n;
    int r = 0;
    find_forced(g, &s, set);
    bool end = at_end(g->rules, &s);
    str_add(&g->text, g->forced, g->n_forced);
    if (str_failed(&g->text))
        r = -ENOMEM;
    for (size_t at = g->settled; r == 0 && at < g->text.len;) {
        size_t length = tokenizer_piece(g->text.data, g->text.len, at);
        size_t next = at + length;
        if (next == g->text.len && !piece_is_settled(&g->text, at, set, end))
            break;
        if (next < before)
            g->settled = next; /* what follows is known, so it stays */
        if (next > before)
            r = add_piece(g, g->text.data + at, length, at < before ? before - at : 0, tokens);
        at = next;
    }
    if (!str_failed(&g->text) && g->text.data) {
        g->text.len = before;
        g->text.data[before] = '\0';
    }
    if (r == -ENOENT) {
        tokens->n = n_tokens; /* ask the mask instead */
        return 0;
    }
    if (r == 0 && at_end(g->rules, &g->state) && g->rules->n_eos)
        r = token_ids_add(tokens, g->rules->eos[0]);
    return r;
}

/*
 * Text to ids and back.
 *
 *   text -> (added tokens cut out) -> NFC of what lies between -> pieces (_split.c) -> ids (_bpe.c)
 */
#include "model/tokenizer_private.h"

#include "base/mem.h"
#include "model/utf8.h"

#include <errno.h>
#include <string.h>
#include <utf8proc.h>

void token_ids_deinit(TokenIds *ids)
{
    free(ids->ids);
    *ids = (TokenIds){0};
}

int token_ids_add(TokenIds *ids, int32_t id)
{
    if (mem_grow((void **)&ids->ids, &ids->capacity, ids->n + 1, sizeof *ids->ids) < 0)
        return -ENOMEM;
    ids->ids[ids->n++] = id;
    return 0;
}

int token_ids_add_all(TokenIds *ids, const int32_t *more, size_t n)
{
    size_t needed;
    if (!mem_add(ids->n, n, &needed) ||
        mem_grow((void **)&ids->ids, &ids->capacity, needed, sizeof *ids->ids) < 0)
        return -ENOMEM;
    if (n)
        memcpy(ids->ids + ids->n, more, n * sizeof *more);
    ids->n = needed;
    return 0;
}

void tokenizer_free(Tokenizer *t)
{
    if (!t)
        return;
    free(t->bytes);
    free(t->entries);
    free(t->content_slots);
    free(t->merge_slots);
    free(t->added);
    free(t);
}

int32_t tokenizer_size(const Tokenizer *t)
{
    return (int32_t)t->size;
}

const uint8_t *tokenizer_bytes(const Tokenizer *t, int32_t id, size_t *n)
{
    static const uint8_t nothing[1];
    if (id < 0 || (size_t)id >= t->size || !t->entries[id].used) {
        *n = 0;
        return nothing;
    }
    *n = t->entries[id].n;
    return t->bytes + t->entries[id].begin;
}

bool tokenizer_is_added(const Tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->size && t->entries[id].added;
}

bool tokenizer_is_special(const Tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->size && t->entries[id].special;
}

/* The added token that text begins with, the longest of several. */
static int added_at(const Tokenizer *t, const char *text, size_t n, int32_t *id)
{
    if (!t->added_begins[(uint8_t)text[0]])
        return TOKENIZER_NONE;
    for (size_t i = 0; i < t->n_added; i++) {
        const TokenEntry *e = &t->entries[t->added[i]];
        if (e->n <= n && memcmp(t->bytes + e->begin, text, e->n) == 0) {
            *id = t->added[i];
            return 0;
        }
    }
    return TOKENIZER_NONE;
}

int tokenizer_find(const Tokenizer *t, const char *content, int32_t *id)
{
    size_t n = strlen(content);
    for (size_t i = 0; i < t->n_added; i++) {
        const TokenEntry *e = &t->entries[t->added[i]];
        if (e->n == n && memcmp(t->bytes + e->begin, content, n) == 0) {
            *id = t->added[i];
            return 0;
        }
    }
    return bpe_find(t, content, n, id);
}

static bool is_ascii(const char *text, size_t n)
{
    unsigned char all = 0;
    for (size_t i = 0; i < n; i++)
        all |= (unsigned char)text[i];
    return all < 0x80;
}

static int by_combining_class(const void *a, const void *b)
{
    /* The place in the run below the class makes the order stable. */
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Canonical order of one run of combining marks. utf8proc's own ordering is quadratic in the run's
 * length, which a question from outside chooses. */
static int order_run(utf8proc_int32_t *codes, size_t n)
{
    if (n < 2)
        return 0;
    uint64_t *keys = mem_new_array(n, sizeof *keys);
    if (!keys)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        keys[i] = (uint64_t)utf8proc_get_property(codes[i])->combining_class << 56 |
                  (uint64_t)i << 32 | (uint32_t)codes[i];
    qsort(keys, n, sizeof *keys, by_combining_class);
    for (size_t i = 0; i < n; i++)
        codes[i] = (utf8proc_int32_t)(keys[i] & 0xffffffffu);
    free(keys);
    return 0;
}

/* NFC of any bytes, invalid parts as U+FFFD, appended to out. */
static int add_nfc(const char *text, size_t n, Str *out)
{
    size_t n_codes = 0, capacity = 0;
    _cleanup_free_ utf8proc_int32_t *codes = NULL;
    for (size_t at = 0; at < n;) {
        Utf8Step step = utf8_step(text + at, n - at);
        at += step.n;
        int last_class = 0;
        if (mem_grow((void **)&codes, &capacity, n_codes + 32, sizeof *codes) < 0)
            return -ENOMEM;
        utf8proc_ssize_t more =
            utf8proc_decompose_char((utf8proc_int32_t)step.code, codes + n_codes, 32,
                                    UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &last_class);
        if (more < 0 || more > 32) { /* not assigned in this Unicode version: stays itself */
            codes[n_codes] = (utf8proc_int32_t)step.code;
            more = 1;
        }
        n_codes += (size_t)more;
    }
    for (size_t i = 0; i < n_codes;) {
        size_t end = i;
        while (end < n_codes && utf8proc_get_property(codes[end])->combining_class)
            end++;
        int r = order_run(codes + i, end - i);
        if (r < 0)
            return r;
        i = end + (end == i);
    }
    utf8proc_ssize_t composed = utf8proc_normalize_utf32(codes, (utf8proc_ssize_t)n_codes,
                                                         UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    if (composed < 0)
        return -ENOMEM;
    for (utf8proc_ssize_t i = 0; i < composed; i++) {
        utf8proc_uint8_t bytes[4];
        str_add(out, bytes, (size_t)utf8proc_encode_char(codes[i], bytes));
    }
    return str_failed(out) ? -ENOMEM : 0;
}

/* A stretch of text without added tokens. */
static int encode_plain(const Tokenizer *t, const char *text, size_t n, BpeScratch *scratch,
                        TokenIds *ids)
{
    _cleanup_str_ Str normal = {0};
    if (!is_ascii(text, n)) {
        int r = add_nfc(text, n, &normal);
        if (r < 0)
            return r;
        text = normal.data;
        n = normal.len;
    }
    for (size_t at = 0; at < n;) {
        size_t length = tokenizer_piece(text, n, at);
        int r = bpe_encode_piece(t, text + at, length, scratch, ids);
        if (r < 0)
            return r;
        at += length;
    }
    return 0;
}

int tokenizer_encode(const Tokenizer *t, const char *text, size_t n, bool added, TokenIds *ids)
{
    __attribute__((cleanup(bpe_scratch_deinit))) BpeScratch scratch = {0};
    size_t plain = 0;
    int32_t id;
    if (n > TOKENIZER_MAX_BYTES)
        return -E2BIG;
    for (size_t at = 0; added && at < n;) {
        if (added_at(t, text + at, n - at, &id) != 0) {
            at++;
            continue;
        }
        int r = encode_plain(t, text + plain, at - plain, &scratch, ids);
        if (r == 0)
            r = token_ids_add(ids, id);
        if (r < 0)
            return r;
        at += t->entries[id].n;
        plain = at;
    }
    return encode_plain(t, text + plain, n - plain, &scratch, ids);
}

static void add_replacement(Str *text)
{
    str_add(text, "\xef\xbf\xbd", 3);
}

/* Moves whole characters, and certainly invalid parts, from the front of held to text. */
static void release_held(TokenStream *stream, bool at_end, Str *text)
{
    while (stream->n_held) {
        Utf8Step step = utf8_step(stream->held, (size_t)stream->n_held);
        if (step.cut && !at_end)
            return;
        if (step.valid)
            str_add(text, stream->held, step.n);
        else
            add_replacement(text);
        stream->n_held -= step.n;
        memmove(stream->held, stream->held + step.n, (size_t)stream->n_held);
    }
}

void token_stream_push(TokenStream *stream, const Tokenizer *t, int32_t id, bool skip_special,
                       Str *text)
{
    size_t n;
    const uint8_t *bytes = tokenizer_bytes(t, id, &n);
    if (skip_special && tokenizer_is_special(t, id))
        return;
    for (size_t i = 0; i < n; i++) {
        /* At most three bytes stay held, so there is always room for one more. */
        stream->held[stream->n_held++] = bytes[i];
        release_held(stream, false, text);
    }
}

void token_stream_end(TokenStream *stream, Str *text)
{
    release_held(stream, true, text);
}

void tokenizer_decode(const Tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                      Str *text)
{
    TokenStream stream = {0};
    for (size_t i = 0; i < n; i++)
        token_stream_push(&stream, t, ids[i], skip_special, text);
    token_stream_end(&stream, text);
}

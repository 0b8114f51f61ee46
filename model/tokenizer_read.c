/*
 * Reads a tokenizer: tokenizer.json (merges as pairs or as "a b"), or vocab.json + merges.txt with
 * the added tokens of tokenizer_config.json.
 */
#include "model/tokenizer_private.h"

#include "base/file.h"
#include "base/mem.h"
#include "model/utf8.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FILE_BYTES = 64 << 20, MAX_ID = 1 << 22, MAX_TOKEN_BYTES = 1 << 16 };

static const char PATTERN[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                              "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static int bad(const char *path, const char *what, Error *err)
{
    return error_set(err, EINVAL, EX_DATAERR, "%s: %s", path, what);
}

static int no_memory(const char *path, Error *err)
{
    return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", path);
}

/* GPT-2's byte alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 on. */
static int byte_of_code(uint32_t code)
{
    static int16_t table[256 + 68];
    static bool ready; /* every thread that gets here writes the same values */
    if (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) {
        int16_t shifted = 0;
        int16_t fresh[256 + 68];
        memset(fresh, 0xff, sizeof fresh);
        for (int16_t b = 0; b < 256; b++) {
            bool itself = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
            fresh[itself ? b : 256 + shifted++] = b;
        }
        memcpy(table, fresh, sizeof table);
        __atomic_store_n(&ready, true, __ATOMIC_RELEASE);
    }
    return code < sizeof table / sizeof table[0] ? table[code] : -1;
}

/* The bytes of a vocabulary string into out, which has room for n. A string outside the alphabet
 * stands for its own UTF-8, as the reference decodes it. */
static size_t decode_alphabet(const char *text, size_t n, uint8_t *out)
{
    size_t n_out = 0;
    for (size_t at = 0; at < n;) {
        Utf8Step step = utf8_step(text + at, n - at);
        int byte = step.valid ? byte_of_code(step.code) : -1;
        if (byte < 0) {
            memcpy(out, text, n);
            return n;
        }
        out[n_out++] = (uint8_t)byte;
        at += step.n;
    }
    return n_out;
}

static int reserve_id(Tokenizer *t, const char *path, json_int_t id, TokenEntry **entry, Error *err)
{
    if (id < 0 || id >= MAX_ID)
        return bad(path, "a token id is out of range", err);
    if ((size_t)id >= t->size) {
        size_t size = (size_t)id + 1;
        if (mem_grow((void **)&t->entries, &t->entries_capacity, size, sizeof *t->entries) < 0)
            return no_memory(path, err);
        memset(t->entries + t->size, 0, (size - t->size) * sizeof *t->entries);
        t->size = size;
    }
    *entry = &t->entries[id];
    return 0;
}

static int add_bytes(Tokenizer *t, const char *path, TokenEntry *entry, const void *bytes, size_t n,
                     Error *err)
{
    if (n > MAX_TOKEN_BYTES || t->n_bytes > (size_t)MAX_FILE_BYTES * 2)
        return bad(path, "a token is absurdly long", err);
    if (mem_grow((void **)&t->bytes, &t->bytes_capacity, t->n_bytes + n + 1, 1) < 0)
        return no_memory(path, err);
    entry->begin = (uint32_t)t->n_bytes;
    entry->n = (uint32_t)n;
    if (n)
        memcpy(t->bytes + t->n_bytes, bytes, n);
    t->bytes[t->n_bytes + n] = 0;
    t->n_bytes += n;
    return 0;
}

static int read_vocabulary(Tokenizer *t, const char *path, const json_t *vocab, Error *err)
{
    const char *text;
    json_t *value;
    uint8_t bytes[MAX_TOKEN_BYTES];
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return bad(path, "there is no vocabulary in it", err);
    json_object_foreach((json_t *)vocab, text, value)
    {
        TokenEntry *entry = NULL;
        size_t n = strlen(text);
        if (n > sizeof bytes)
            return bad(path, "a token is absurdly long", err);
        if (!json_is_integer(value))
            return bad(path, "a token's id is no integer", err);
        int r = reserve_id(t, path, json_integer_value(value), &entry, err);
        if (r < 0)
            return r;
        if (entry->used)
            return error_set(err, EINVAL, EX_DATAERR, "%s: two tokens have the id %lld", path,
                             (long long)json_integer_value(value));
        n = decode_alphabet(text, n, bytes);
        r = add_bytes(t, path, entry, bytes, n, err);
        if (r < 0)
            return r;
        entry->used = true;
    }
    if (bpe_index_contents(t) < 0)
        return no_memory(path, err);
    for (int b = 0; b < 256; b++) {
        uint8_t byte = (uint8_t)b;
        if (bpe_find(t, &byte, 1, &t->byte_ids[b]) != 0)
            return error_set(err, EINVAL, EX_DATAERR,
                             "%s: no byte-level vocabulary: byte 0x%02x has no token", path,
                             (unsigned)b);
    }
    return 0;
}

static int add_merge(Tokenizer *t, const char *path, const char *left, size_t n_left,
                     const char *right, size_t n_right, size_t rank, Error *err)
{
    uint8_t bytes[2 * 1024];
    int32_t left_id, right_id, merged_id;
    if (n_left > 1024 || n_right > 1024)
        return error_set(err, EINVAL, EX_DATAERR, "%s: merge %zu is absurdly long", path, rank);
    size_t n1 = decode_alphabet(left, n_left, bytes);
    size_t n2 = decode_alphabet(right, n_right, bytes + n1);
    if (!n1 || !n2 || bpe_find(t, bytes, n1, &left_id) != 0 ||
        bpe_find(t, bytes + n1, n2, &right_id) != 0 || bpe_find(t, bytes, n1 + n2, &merged_id) != 0)
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: merge %zu names a token that the vocabulary lacks", path, rank);
    bpe_add_merge(t, left_id, right_id, merged_id, (uint32_t)rank);
    return 0;
}

/* One merge written "left right". */
static int add_merge_line(Tokenizer *t, const char *path, const char *line, size_t n, size_t rank,
                          Error *err)
{
    const char *space = memchr(line, ' ', n);
    if (!space)
        return error_set(err, EINVAL, EX_DATAERR, "%s: merge %zu is no pair", path, rank);
    size_t n_left = (size_t)(space - line);
    return add_merge(t, path, line, n_left, space + 1, n - n_left - 1, rank, err);
}

static int read_merges(Tokenizer *t, const char *path, const json_t *merges, Error *err)
{
    size_t i;
    json_t *merge;
    if (!json_is_array(merges))
        return bad(path, "there is no list of merges in it", err);
    if (bpe_reserve_merges(t, json_array_size(merges)) < 0)
        return no_memory(path, err);
    json_array_foreach((json_t *)merges, i, merge)
    {
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        int r;
        if (json_is_string(merge))
            r = add_merge_line(t, path, json_string_value(merge), json_string_length(merge), i,
                               err);
        else if (json_array_size(merge) == 2 && json_is_string(left) && json_is_string(right))
            r = add_merge(t, path, json_string_value(left), json_string_length(left),
                          json_string_value(right), json_string_length(right), i, err);
        else
            r = error_set(err, EINVAL, EX_DATAERR, "%s: merge %zu is no pair", path, i);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_added(Tokenizer *t, const char *path, json_int_t id, const json_t *token, Error *err)
{
    static const char *const STRIPS[] = {"lstrip", "rstrip", "single_word"};
    const char *content = json_string_value(json_object_get(token, "content"));
    TokenEntry *entry = NULL;
    if (!content || !content[0])
        return bad(path, "an added token has no content", err);
    for (size_t i = 0; i < 3; i++)
        if (json_is_true(json_object_get(token, STRIPS[i])))
            return error_set(err, ENOTSUP, EX_DATAERR,
                             "%s: added token %.64s asks for %s, which is not supported", path,
                             content, STRIPS[i]);
    int r = reserve_id(t, path, id, &entry, err);
    if (r < 0)
        return r;
    if (entry->added || (entry->used && (entry->n != strlen(content) ||
                                         memcmp(t->bytes + entry->begin, content, entry->n) != 0)))
        return error_set(err, EINVAL, EX_DATAERR, "%s: two tokens have the id %lld", path,
                         (long long)id);
    if (!entry->used) {
        r = add_bytes(t, path, entry, content, strlen(content), err);
        if (r < 0)
            return r;
    }
    entry->used = entry->added = true;
    entry->special = json_is_true(json_object_get(token, "special"));
    if (mem_grow((void **)&t->added, &t->added_capacity, t->n_added + 1, sizeof *t->added) < 0)
        return no_memory(path, err);
    /* Longest first, so that the first that fits is the longest. */
    size_t at = t->n_added++;
    for (; at && t->entries[t->added[at - 1]].n < entry->n; at--)
        t->added[at] = t->added[at - 1];
    t->added[at] = (int32_t)id;
    t->added_begins[(uint8_t)content[0]] = true;
    return 0;
}

enum { MAX_ADDED = 4096 };

static int read_json(const char *path, json_t **json, Error *err)
{
    _cleanup_free_ char *text = NULL;
    size_t size;
    json_error_t json_error;
    int r = file_read(path, MAX_FILE_BYTES, &text, &size, err);
    if (r < 0)
        return r;
    *json = json_loadb(text, size, 0, &json_error);
    if (!json_is_object(*json)) {
        json_decref(*json);
        *json = NULL;
        return error_set(err, EINVAL, EX_DATAERR, "%s: line %d: no JSON object: %s", path,
                         json_error.line, json_error.text);
    }
    return 0;
}

/* Whether the pre-tokenizer is the one that _split.c is, or none is written. */
static bool pattern_is_ours(const json_t *pre_tokenizer)
{
    if (!pre_tokenizer || json_is_null(pre_tokenizer))
        return false;
    const json_t *list = json_object_get(pre_tokenizer, "pretokenizers");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *regex = json_string_value(
            json_object_get(json_object_get(json_array_get(list, i), "pattern"), "Regex"));
        if (regex)
            return strcmp(regex, PATTERN) == 0;
    }
    return false;
}

static int parse_tokenizer_json(Tokenizer *t, const char *path, const json_t *json, Error *err)
{
    const json_t *model = json_object_get(json, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    const char *normalizer =
        json_string_value(json_object_get(json_object_get(json, "normalizer"), "type"));
    if (type && strcmp(type, "BPE") != 0)
        return bad(path, "the model is no BPE; Qwen2's byte-level BPE is supported", err);
    if (!normalizer || strcmp(normalizer, "NFC") != 0)
        return bad(path, "the normalizer is not NFC; Qwen2's tokenizer is supported", err);
    if (!pattern_is_ours(json_object_get(json, "pre_tokenizer")))
        return bad(path, "the pre-tokenizer's pattern is not Qwen2's", err);
    if (json_is_true(json_object_get(model, "ignore_merges")))
        return bad(path, "ignore_merges is not supported", err);
    int r = read_vocabulary(t, path, json_object_get(model, "vocab"), err);
    if (r == 0)
        r = read_merges(t, path, json_object_get(model, "merges"), err);
    const json_t *added = json_object_get(json, "added_tokens");
    if (r == 0 && json_array_size(added) > MAX_ADDED)
        r = bad(path, "too many added tokens", err);
    for (size_t i = 0; r == 0 && i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i), *id = json_object_get(token, "id");
        r = json_is_integer(id) ? add_added(t, path, json_integer_value(id), token, err)
                                : bad(path, "an added token has no id", err);
    }
    return r;
}

static int read_vocab_json(Tokenizer *t, const char *path, Error *err)
{
    json_t *json = NULL;
    int r = read_json(path, &json, err);
    if (r == 0)
        r = read_vocabulary(t, path, json, err);
    json_decref(json);
    return r;
}

static int read_merges_txt(Tokenizer *t, const char *path, Error *err)
{
    _cleanup_free_ char *text = NULL;
    size_t size, n_lines = 0, rank = 0;
    int r = file_read(path, MAX_FILE_BYTES, &text, &size, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < size; i++)
        n_lines += text[i] == '\n';
    if (bpe_reserve_merges(t, n_lines + 1) < 0)
        return no_memory(path, err);
    for (const char *line = text, *end = text + size; line < end && r == 0;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((stop ? stop : end) - line);
        if (n && line[n - 1] == '\r')
            n--;
        bool version = line == text && n >= 8 && memcmp(line, "#version", 8) == 0;
        if (n && !version)
            r = add_merge_line(t, path, line, n, rank++, err);
        line = stop ? stop + 1 : end;
    }
    return r;
}

static int read_added_decoder(Tokenizer *t, const char *path, Error *err)
{
    json_t *json = NULL, *token;
    const char *key;
    int r = read_json(path, &json, err);
    json_t *decoder = json_object_get(json, "added_tokens_decoder");
    if (r == 0 && json_object_size(decoder) > MAX_ADDED)
        r = bad(path, "too many added tokens", err);
    if (r == 0)
        json_object_foreach(decoder, key, token)
        {
            char *end;
            long long id = strtoll(key, &end, 10);
            r = *key && !*end ? add_added(t, path, id, token, err)
                              : bad(path, "an added token's id is no number", err);
            if (r < 0)
                break;
        }
    json_decref(json);
    return r;
}

static int read_three_files(Tokenizer *t, const char *directory, Error *err)
{
    _cleanup_free_ char *vocab = file_join(directory, "vocab.json");
    _cleanup_free_ char *merges = file_join(directory, "merges.txt");
    _cleanup_free_ char *config = file_join(directory, "tokenizer_config.json");
    if (!vocab || !merges || !config)
        return no_memory(directory, err);
    if (access(vocab, F_OK) < 0)
        return error_set(err, ENOENT, EX_NOINPUT,
                         "%s: neither tokenizer.json nor vocab.json is there", directory);
    int r = read_vocab_json(t, vocab, err);
    if (r == 0)
        r = read_merges_txt(t, merges, err);
    if (r == 0)
        r = read_added_decoder(t, config, err);
    return r;
}

int tokenizer_open(const char *directory, Tokenizer **tokenizer, Error *err)
{
    _cleanup_free_ char *path = file_join(directory, "tokenizer.json");
    json_t *json = NULL;
    int r;
    *tokenizer = NULL;
    Tokenizer *t = calloc(1, sizeof *t);
    if (!path || !t) {
        free(t);
        return no_memory(directory, err);
    }
    if (access(path, F_OK) == 0) {
        r = read_json(path, &json, err);
        if (r == 0)
            r = parse_tokenizer_json(t, path, json, err);
        json_decref(json);
    } else {
        r = read_three_files(t, directory, err);
    }
    if (r < 0) {
        tokenizer_free(t);
        return r;
    }
    *tokenizer = t;
    return 0;
}

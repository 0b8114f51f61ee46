/*
 * Stages 01 (tokenizer), 02 (chat template) and 04 (position ids): all exact. The tokenizer and the
 * template are read from every checkpoint of the vectors, so that each way to store them is run.
 */
#include "tests/golden/golden.h"

#include "base/mem.h"
#include "base/str.h"
#include "model/hparams.h"
#include "model/mrope.h"
#include "model/prompt.h"
#include "model/tokenizer.h"

#include <stdio.h>
#include <string.h>

static Tokenizer *open_tokenizer(GoldenRow *row, const char *checkpoint)
{
    Error err = {0};
    Tokenizer *tokenizer = NULL;
    if (tokenizer_open(golden_path(row->golden, "00_checkpoints/%s", checkpoint), &tokenizer,
                       &err) < 0)
        golden_fail(row, "%s", err.text);
    return tokenizer;
}

static void compare_ids(GoldenRow *row, const char *what, const TokenIds *got, const json_t *want)
{
    size_t n;
    _cleanup_free_ int32_t *ids = golden_ids(want, &n);
    if (!ids || n != got->n) {
        row->cases++;
        golden_fail(row, "%s: %zu ids, reference %zu", what, got->n, n);
        return;
    }
    golden_i32(row, what, got->ids, ids, n);
}

static void encode_cases(GoldenRow *row, const Tokenizer *tokenizer, const json_t *cases,
                         const char *checkpoint)
{
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *text = json_object_get(c, "text");
        _cleanup_token_ids_ TokenIds ids = {0};
        char what[96];
        snprintf(what, sizeof what, "%s encode case %zu", checkpoint, i);
        if (tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), true,
                             &ids) < 0)
            golden_fail(row, "%s: failed", what);
        compare_ids(row, what, &ids, json_object_get(c, "ids"));
    }
}

/* The bytes of hex digits, appended. */
static void add_hex(Str *out, const char *hex)
{
    unsigned byte;
    for (; hex && hex[0] && hex[1] && sscanf(hex, "%2x", &byte) == 1; hex += 2) {
        unsigned char b = (unsigned char)byte;
        str_add(out, &b, 1);
    }
}

static void decode_bytes(GoldenRow *row, const Tokenizer *tokenizer, const char *what,
                         const int32_t *ids, size_t n, const json_t *c)
{
    _cleanup_str_ Str all = {0}, plain = {0}, want_all = {0}, want_plain = {0};
    const json_t *each = json_object_get(c, "per_token_bytes_hex");
    for (size_t i = 0; i < n; i++) {
        _cleanup_str_ Str one = {0};
        size_t length;
        const uint8_t *bytes = tokenizer_bytes(tokenizer, ids[i], &length);
        add_hex(&one, json_string_value(json_array_get(each, i)));
        if (one.len != length || (length && memcmp(one.data, bytes, length) != 0))
            golden_fail(row, "%s: bytes of token %zu", what, i);
        str_add(&all, bytes, length);
        if (!tokenizer_is_special(tokenizer, ids[i]))
            str_add(&plain, bytes, length);
    }
    add_hex(&want_all, json_string_value(json_object_get(c, "bytes_hex")));
    add_hex(&want_plain, json_string_value(json_object_get(c, "bytes_hex_skip_special")));
    golden_bytes(row, what, all.data, all.len, want_all.data, want_all.len);
    golden_bytes(row, what, plain.data, plain.len, want_plain.data, want_plain.len);
}

/* Whole and streamed: what a stream has given after every token must be a prefix of the text. */
static void decode_text(GoldenRow *row, const Tokenizer *tokenizer, const char *what,
                        const int32_t *ids, size_t n, const json_t *want, bool skip)
{
    _cleanup_str_ Str whole = {0}, streamed = {0};
    TokenStream stream = {0};
    size_t length = json_string_length(want);
    tokenizer_decode(tokenizer, ids, n, skip, &whole);
    golden_bytes(row, what, whole.data, whole.len, json_string_value(want), length);
    for (size_t i = 0; i < n; i++) {
        token_stream_push(&stream, tokenizer, ids[i], skip, &streamed);
        if (streamed.len > length ||
            memcmp(str_text(&streamed), json_string_value(want), streamed.len) != 0)
            golden_fail(row, "%s: the stream gave something wrong at token %zu", what, i);
    }
    token_stream_end(&stream, &streamed);
    golden_bytes(row, what, streamed.data, streamed.len, json_string_value(want), length);
}

static void decode_cases(GoldenRow *row, const Tokenizer *tokenizer, const json_t *cases,
                         const char *checkpoint)
{
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        char what[96];
        size_t n;
        _cleanup_free_ int32_t *ids = golden_ids(json_object_get(c, "ids"), &n);
        snprintf(what, sizeof what, "%s decode case %zu", checkpoint, i);
        decode_bytes(row, tokenizer, what, ids, n, c);
        decode_text(row, tokenizer, what, ids, n, json_object_get(c, "text"), false);
        decode_text(row, tokenizer, what, ids, n, json_object_get(c, "text_skip_special"), true);
    }
}

typedef void (*TokenizerCases)(GoldenRow *row, const Tokenizer *tokenizer, const json_t *cases,
                               const char *checkpoint);

static void tokenizer_row(Golden *g, const char *stage, const char *file, TokenizerCases run)
{
    GoldenRow row;
    golden_row_begin(&row, g, stage, 0);
    json_t *cases = golden_jsonl(&row, golden_path(g, "%s", file));
    char **checkpoints = golden_list(g, "00_checkpoints");
    for (char **name = checkpoints; cases && name && *name; name++) {
        Tokenizer *tokenizer = open_tokenizer(&row, *name);
        if (tokenizer)
            run(&row, tokenizer, cases, *name);
        tokenizer_free(tokenizer);
    }
    golden_list_free(checkpoints);
    json_decref(cases);
    golden_row_end(&row);
}

void stage_tokenizer(Golden *g)
{
    if (!golden_has(g, "01_tokenizer"))
        return;
    tokenizer_row(g, "01 tokenizer encode", "01_tokenizer/encode_cases.jsonl", encode_cases);
    tokenizer_row(g, "01 tokenizer decode", "01_tokenizer/decode_cases.jsonl", decode_cases);
}

/* A case's messages. The strings stay the JSON's. */
typedef struct Chat {
    PromptMessage *messages;
    size_t n;
} Chat;

static PromptPart part_of(const json_t *json)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    if (type && strcmp(type, "image") == 0)
        return (PromptPart){.kind = PROMPT_IMAGE};
    if (type && strcmp(type, "video") == 0)
        return (PromptPart){.kind = PROMPT_VIDEO};
    return (PromptPart){.text = json_string_value(json_object_get(json, "text"))};
}

static Chat chat_of(const json_t *messages)
{
    Chat chat = {.n = json_array_size(messages)};
    chat.messages = mem_new_array(chat.n, sizeof *chat.messages);
    for (size_t m = 0; m < chat.n; m++) {
        const json_t *message = json_array_get(messages, m);
        const json_t *content = json_object_get(message, "content");
        size_t n = json_is_string(content) ? 1 : json_array_size(content);
        PromptPart *parts = mem_new_array(n, sizeof *parts);
        for (size_t p = 0; p < n; p++)
            parts[p] = json_is_string(content) ? (PromptPart){.text = json_string_value(content)}
                                               : part_of(json_array_get(content, p));
        chat.messages[m] =
            (PromptMessage){json_string_value(json_object_get(message, "role")), parts, n};
    }
    return chat;
}

static void chat_deinit(Chat *chat)
{
    for (size_t m = 0; m < chat->n; m++)
        free((void *)chat->messages[m].parts);
    free(chat->messages);
}

/* Whether a text of the messages holds an added token's content. */
static bool holds_control_text(const Tokenizer *tokenizer, const Chat *chat)
{
    bool holds = false;
    for (size_t m = 0; m < chat->n; m++)
        for (size_t p = 0; p < chat->messages[m].n_parts; p++) {
            const PromptPart *part = &chat->messages[m].parts[p];
            _cleanup_token_ids_ TokenIds ids = {0};
            if (part->kind == PROMPT_TEXT && part->text)
                (void)tokenizer_encode(tokenizer, part->text, strlen(part->text), true, &ids);
            for (size_t i = 0; i < ids.n; i++)
                holds = holds || tokenizer_is_added(tokenizer, ids.ids[i]);
        }
    return holds;
}

static void chat_case(GoldenRow *row, const char *what, const Tokenizer *tokenizer,
                      const PromptTemplate *prompt, const Hparams *h, const json_t *c)
{
    const json_t *options = json_object_get(c, "options"), *want = json_object_get(c, "text");
    const json_t *grids = json_object_get(c, "grids_thw");
    PromptOptions o = {.add_generation_prompt =
                           json_is_true(json_object_get(options, "add_generation_prompt")),
                       .add_vision_id = json_is_true(json_object_get(options, "add_vision_id"))};
    const size_t n_grids = json_array_size(grids);
    _cleanup_free_ int32_t(*thw)[3] = mem_new_array(n_grids ? n_grids : 1, sizeof *thw);
    _cleanup_str_ Str text = {0};
    _cleanup_token_ids_ TokenIds ids = {0}, plain = {0}, expanded = {0};
    Chat chat = chat_of(json_object_get(c, "messages"));
    Error err = {0};
    if (prompt_render(prompt, chat.messages, chat.n, &o, &text) < 0)
        golden_fail(row, "%s: not rendered", what);
    golden_bytes(row, what, text.data, text.len, json_string_value(want), json_string_length(want));
    if (prompt_encode(prompt, tokenizer, chat.messages, chat.n, &o, &ids, &err) < 0)
        golden_fail(row, "%s: %s", what, err.text);
    compare_ids(row, what, &ids, json_object_get(c, "ids"));
    /* Without control text in the messages, keeping them plain changes nothing. */
    o.plain_text = true;
    if (prompt_encode(prompt, tokenizer, chat.messages, chat.n, &o, &plain, &err) < 0)
        golden_fail(row, "%s: %s", what, err.text);
    if (!holds_control_text(tokenizer, &chat))
        compare_ids(row, what, &plain, json_object_get(c, "ids"));
    else if (plain.n <= ids.n)
        golden_fail(row, "%s: text of a message became a control token", what);
    for (size_t i = 0; thw && i < n_grids; i++)
        for (size_t k = 0; k < 3; k++)
            thw[i][k] = (int32_t)json_integer_value(json_array_get(json_array_get(grids, i), k));
    if (!thw || prompt_expand(ids.ids, ids.n, h->image_token, h->video_token, thw, n_grids,
                              h->vision.merge, &expanded) < 0)
        golden_fail(row, "%s: not expanded", what);
    compare_ids(row, what, &expanded, json_object_get(c, "ids_expanded"));
    chat_deinit(&chat);
}

void stage_chat_template(Golden *g)
{
    GoldenRow row;
    if (!golden_has(g, "02_chat_template"))
        return;
    golden_row_begin(&row, g, "02 chat template", 0);
    json_t *cases = golden_jsonl(&row, golden_path(g, "02_chat_template/cases.jsonl"));
    char **checkpoints = golden_list(g, "00_checkpoints");
    for (char **name = checkpoints; cases && name && *name; name++) {
        Hparams h;
        PromptTemplate prompt = {0};
        Error err = {0};
        const char *directory = golden_path(g, "00_checkpoints/%s", *name);
        Tokenizer *tokenizer = open_tokenizer(&row, *name);
        if (hparams_read(directory, &h, &err) < 0 ||
            prompt_template_read(directory, &prompt, &err) < 0)
            golden_fail(&row, "%s", err.text);
        else if (tokenizer)
            for (size_t i = 0; i < json_array_size(cases); i++) {
                char what[96];
                snprintf(what, sizeof what, "%s chat case %zu", *name, i);
                chat_case(&row, what, tokenizer, &prompt, &h, json_array_get(cases, i));
            }
        prompt_template_deinit(&prompt);
        tokenizer_free(tokenizer);
    }
    golden_list_free(checkpoints);
    json_decref(cases);
    golden_row_end(&row);
}

/* Real times of every grid instead of one spacing: the same rule must come out. */
static bool with_real_times(MropeSegment *segments, size_t n, double *seconds, size_t room)
{
    for (size_t s = 0; s < n; s++) {
        size_t t = (size_t)segments[s].grid_thw[0];
        if (segments[s].kind != MROPE_VIDEO)
            continue;
        if (t > room)
            return false;
        for (size_t k = 0; k < t; k++)
            seconds[k] = (double)k * segments[s].second_per_grid;
        segments[s].seconds = seconds;
        seconds += t;
        room -= t;
    }
    return true;
}

static void mrope_case(GoldenRow *row, const json_t *c, const Npy *want)
{
    const json_t *list = json_object_get(c, "segments");
    size_t n = json_array_size(list), length = 0, grids = 1;
    _cleanup_free_ MropeSegment *segments = mem_new_array(n ? n : 1, sizeof *segments);
    size_t offset = (size_t)json_integer_value(json_object_get(c, "offset"));
    double tps = json_number_value(json_object_get(c, "tokens_per_second"));
    int merge = (int)json_integer_value(json_object_get(c, "spatial_merge_size"));
    int32_t want_next = (int32_t)json_integer_value(json_object_get(c, "first_decode_position"));
    int32_t delta = (int32_t)json_integer_value(json_object_get(c, "rope_delta"));
    char what[64];
    snprintf(what, sizeof what, "case %lld",
             (long long)json_integer_value(json_object_get(c, "case")));
    for (size_t s = 0; segments && s < n; s++) {
        const json_t *json = json_array_get(list, s), *grid = json_object_get(json, "grid");
        const char *type = json_string_value(json_object_get(json, "type"));
        segments[s].kind = strcmp(type, "text") == 0    ? MROPE_TEXT
                           : strcmp(type, "image") == 0 ? MROPE_IMAGE
                                                        : MROPE_VIDEO;
        segments[s].length = (size_t)json_integer_value(json_object_get(json, "len"));
        segments[s].second_per_grid = json_number_value(json_object_get(json, "second_per_grid"));
        for (size_t k = 0; k < 3; k++)
            segments[s].grid_thw[k] = (int32_t)json_integer_value(json_array_get(grid, k));
        grids += (size_t)segments[s].grid_thw[0];
    }
    if (!segments || mrope_length(segments, n, merge, &length) < 0 ||
        length != (size_t)json_integer_value(json_object_get(c, "length")) ||
        offset + length > want->shape[1]) {
        golden_fail(row, "%s: length %zu", what, length);
        return;
    }
    _cleanup_free_ int32_t *ids = mem_new_array(3 * length, sizeof *ids);
    _cleanup_free_ double *seconds = mem_new_array(grids, sizeof *seconds);
    for (int real = 0; real < 2; real++) {
        int32_t next = -1;
        if (real && !with_real_times(segments, n, seconds, grids))
            golden_fail(row, "%s: too many grids", what);
        if (mrope_positions(segments, n, merge, tps, 0, ids, length, &next) < 0)
            golden_fail(row, "%s: refused", what);
        for (size_t axis = 0; axis < 3; axis++)
            golden_i32(row, what, ids + axis * length,
                       (const int32_t *)want->data + axis * want->shape[1] + offset, length);
        if (next != want_next || next - (int32_t)length != delta)
            golden_fail(row, "%s: decoding begins at %d, reference %d", what, (int)next,
                        (int)want_next);
    }
}

void stage_mrope(Golden *g)
{
    GoldenRow row;
    Npy want = {0};
    if (!golden_has(g, "04_mrope"))
        return;
    golden_row_begin(&row, g, "04 mrope position ids", 0);
    json_t *cases = golden_jsonl(&row, golden_path(g, "04_mrope/cases.jsonl"));
    if (cases && golden_npy(&row, golden_path(g, "04_mrope/position_ids_i32.npy"), NPY_I32, &want))
        for (size_t i = 0; i < json_array_size(cases); i++)
            mrope_case(&row, json_array_get(cases, i), &want);
    npy_deinit(&want);
    json_decref(cases);
    golden_row_end(&row);
}

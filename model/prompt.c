/* Chat prompts. The published template, piece by piece; see prompt.h. */
#include "model/prompt.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char PUBLISHED_SYSTEM[] = "You are a helpful assistant.";

enum { MAX_TEMPLATE_BYTES = 4 << 20 };

void prompt_template_deinit(PromptTemplate *prompt)
{
    free(prompt->system);
    *prompt = (PromptTemplate){0};
}

/* The literal between "<|im_start|>system\n" and "<|im_end|>" of a Jinja template. One that holds
 * an expression is no literal, and the published text is used. */
static int take_system(const char *template, PromptTemplate *prompt)
{
    static const char BEGIN[] = "<|im_start|>system\n";
    const char *system = PUBLISHED_SYSTEM;
    size_t n = sizeof PUBLISHED_SYSTEM - 1;
    for (const char *p = template; (p = strstr(p, BEGIN)) != NULL;) {
        p += sizeof BEGIN - 1;
        const char *end = strstr(p, "<|im_end|>");
        if (!end)
            break;
        size_t length = (size_t)(end - p);
        if (!memmem(p, length, "{{", 2) && !memmem(p, length, "{%", 2)) {
            system = p;
            n = length;
            break;
        }
    }
    prompt->system = strndup(system, n);
    if (!prompt->system)
        return -ENOMEM;
    prompt->custom_system = strcmp(prompt->system, PUBLISHED_SYSTEM) != 0;
    return 0;
}

/* "chat_template" of a JSON file: a string, or a list of named ones of which "default" counts. */
static int take_json(const char *path, const char *text, size_t size, PromptTemplate *prompt,
                     Error *err)
{
    json_error_t json_error;
    json_t *json = json_loadb(text, size, 0, &json_error);
    if (!json_is_object(json)) {
        json_decref(json);
        return error_set(err, EINVAL, EX_DATAERR, "%s: line %d: no JSON object: %s", path,
                         json_error.line, json_error.text);
    }
    const json_t *value = json_object_get(json, "chat_template");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *named = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(named, "name"));
        if (name && strcmp(name, "default") == 0) {
            value = json_object_get(named, "template");
            break;
        }
    }
    int r = take_system(json_is_string(value) ? json_string_value(value) : "", prompt);
    json_decref(json);
    return r < 0 ? error_set(err, -r, EX_OSERR, "%s: no memory", path) : 0;
}

int prompt_template_read(const char *directory, PromptTemplate *prompt, Error *err)
{
    static const char *const NAMES[] = {"chat_template.jinja", "chat_template.json",
                                        "tokenizer_config.json"};
    *prompt = (PromptTemplate){0};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        _cleanup_free_ char *path = file_join(directory, NAMES[i]);
        _cleanup_free_ char *text = NULL;
        size_t size;
        if (!path)
            return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", directory);
        if (access(path, F_OK) < 0)
            continue;
        int r = file_read(path, MAX_TEMPLATE_BYTES, &text, &size, err);
        if (r < 0)
            return r;
        if (i > 0)
            return take_json(path, text, size, prompt, err);
        r = take_system(text, prompt);
        return r < 0 ? error_set(err, -r, EX_OSERR, "%s: no memory", path) : 0;
    }
    int r = take_system("", prompt);
    return r < 0 ? error_set(err, -r, EX_OSERR, "%s: no memory", directory) : 0;
}

/* Where the template's pieces go: one text, or ids with texts from outside kept apart. */
typedef struct Sink {
    Str *text;               /* rendered, or the plain text since the last token */
    const Tokenizer *tokens; /* NULL: everything is text */
    TokenIds *ids;
    Error *err;
    int r; /* first failure */
} Sink;

static void put_text(Sink *sink, const char *text)
{
    str_add_text(sink->text, text);
}

static void flush(Sink *sink)
{
    if (sink->r == 0 && str_failed(sink->text))
        sink->r = error_set(sink->err, ENOMEM, EX_OSERR, "prompt: no memory");
    if (sink->r == 0) {
        sink->r =
            tokenizer_encode(sink->tokens, str_text(sink->text), sink->text->len, false, sink->ids);
        if (sink->r < 0)
            error_set(sink->err, -sink->r, EX_DATAERR, "prompt: too long to be tokenized");
    }
    str_clear(sink->text);
}

static void put_token(Sink *sink, const char *content)
{
    int32_t id;
    if (!sink->tokens) {
        put_text(sink, content);
        return;
    }
    flush(sink);
    if (sink->r < 0)
        return;
    if (tokenizer_find(sink->tokens, content, &id) != 0)
        sink->r =
            error_set(sink->err, EINVAL, EX_DATAERR,
                      "tokenizer: token %s is missing: this is no Qwen2.5-VL tokenizer", content);
    else if (token_ids_add(sink->ids, id) < 0)
        sink->r = error_set(sink->err, ENOMEM, EX_OSERR, "prompt: no memory");
}

static void put_vision(Sink *sink, const char *label, unsigned number, const char *pad,
                       const PromptOptions *options)
{
    if (options->add_vision_id)
        str_addf(sink->text, "%s %u: ", label, number);
    put_token(sink, "<|vision_start|>");
    put_token(sink, pad);
    put_token(sink, "<|vision_end|>");
}

static void put_messages(Sink *sink, const PromptTemplate *prompt, const PromptMessage *messages,
                         size_t n_messages, const PromptOptions *options)
{
    unsigned images = 0, videos = 0;
    if (n_messages && strcmp(messages[0].role, "system") != 0) {
        put_token(sink, "<|im_start|>");
        put_text(sink, "system\n");
        put_text(sink, prompt->system);
        put_token(sink, "<|im_end|>");
        put_text(sink, "\n");
    }
    for (size_t m = 0; m < n_messages; m++) {
        put_token(sink, "<|im_start|>");
        put_text(sink, messages[m].role);
        put_text(sink, "\n");
        for (size_t p = 0; p < messages[m].n_parts; p++) {
            const PromptPart *part = &messages[m].parts[p];
            if (part->kind == PROMPT_IMAGE)
                put_vision(sink, "Picture", ++images, "<|image_pad|>", options);
            else if (part->kind == PROMPT_VIDEO)
                put_vision(sink, "Video", ++videos, "<|video_pad|>", options);
            else
                put_text(sink, part->text);
        }
        put_token(sink, "<|im_end|>");
        put_text(sink, "\n");
    }
    if (options->add_generation_prompt) {
        put_token(sink, "<|im_start|>");
        put_text(sink, "assistant\n");
    }
}

int prompt_render(const PromptTemplate *prompt, const PromptMessage *messages, size_t n_messages,
                  const PromptOptions *options, Str *text)
{
    Sink sink = {.text = text};
    put_messages(&sink, prompt, messages, n_messages, options);
    return str_failed(text) ? -ENOMEM : 0;
}

int prompt_encode(const PromptTemplate *prompt, const Tokenizer *tokenizer,
                  const PromptMessage *messages, size_t n_messages, const PromptOptions *options,
                  TokenIds *ids, Error *err)
{
    _cleanup_str_ Str text = {0};
    if (options->plain_text) {
        Sink sink = {.text = &text, .tokens = tokenizer, .ids = ids, .err = err};
        put_messages(&sink, prompt, messages, n_messages, options);
        flush(&sink);
        return sink.r;
    }
    int r = prompt_render(prompt, messages, n_messages, options, &text);
    if (r == 0)
        r = tokenizer_encode(tokenizer, str_text(&text), text.len, true, ids);
    return r < 0 ? error_set(err, -r, EX_DATAERR, "prompt: too long to be tokenized") : 0;
}

int prompt_vision_tokens(const int32_t grid_thw[3], int merge, size_t *n)
{
    enum { MOST = 1 << 24 };
    if (merge < 1 || grid_thw[0] < 1 || grid_thw[1] < merge || grid_thw[2] < merge ||
        grid_thw[1] % merge || grid_thw[2] % merge)
        return -EINVAL;
    if (!mem_mul((size_t)grid_thw[0], (size_t)(grid_thw[1] / merge), n) ||
        !mem_mul(*n, (size_t)(grid_thw[2] / merge), n) || *n > MOST)
        return -EINVAL;
    return 0;
}

int prompt_expand(const int32_t *ids, size_t n, int32_t image_token, int32_t video_token,
                  const int32_t (*grids_thw)[3], size_t n_grids, int merge, TokenIds *expanded)
{
    size_t grid = 0;
    for (size_t i = 0; i < n; i++) {
        size_t times = 1;
        if (ids[i] == image_token || ids[i] == video_token) {
            if (grid == n_grids || prompt_vision_tokens(grids_thw[grid++], merge, &times) < 0)
                return -EINVAL;
        }
        if (mem_grow((void **)&expanded->ids, &expanded->capacity, expanded->n + times,
                     sizeof *expanded->ids) < 0)
            return -ENOMEM;
        while (times--)
            expanded->ids[expanded->n++] = ids[i];
    }
    return grid == n_grids ? 0 : -EINVAL;
}

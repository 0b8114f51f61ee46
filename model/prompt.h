/*
 * Chat prompts of Qwen2.5-VL: messages to text, text to ids, one pad token a picture or video to
 * one a merged cell. The template itself is fixed (ChatML); of the model directory's own template
 * only the default system text is read.
 */
#ifndef WHEN_MODEL_PROMPT_H
#define WHEN_MODEL_PROMPT_H

#include "base/err.h"
#include "base/str.h"
#include "model/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum PromptKind { PROMPT_TEXT, PROMPT_IMAGE, PROMPT_VIDEO } PromptKind;

typedef struct PromptPart {
    PromptKind kind;
    const char *text; /* NUL-terminated; only for PROMPT_TEXT */
} PromptPart;

typedef struct PromptMessage {
    const char *role; /* "system", "user", "assistant", "tool" */
    const PromptPart *parts;
    size_t n_parts;
} PromptMessage;

typedef struct PromptTemplate {
    char *system;       /* used when the first message is not a system message; owned */
    bool custom_system; /* not the published "You are a helpful assistant." */
} PromptTemplate;

typedef struct PromptOptions {
    bool add_generation_prompt; /* end with "<|im_start|>assistant\n" */
    bool add_vision_id;         /* "Picture 1: ", "Video 1: " before each */
    bool plain_text;            /* texts of messages never become added tokens: for questions from
                                   outside. The reference lets them. */
} PromptOptions;

/* From chat_template.jinja, chat_template.json or tokenizer_config.json, in this order; the
 * published text when none of them is there. */
int prompt_template_read(const char *directory, PromptTemplate *prompt, Error *err);
void prompt_template_deinit(PromptTemplate *prompt); /* safe on zeroed */

/* Appends; -ENOMEM. */
int prompt_render(const PromptTemplate *prompt, const PromptMessage *messages, size_t n_messages,
                  const PromptOptions *options, Str *text);

/* Appends the ids of the rendered text, one pad token for each image and video. -EINVAL with
 * EX_DATAERR when the tokenizer lacks one of the template's tokens. */
int prompt_encode(const PromptTemplate *prompt, const Tokenizer *tokenizer,
                  const PromptMessage *messages, size_t n_messages, const PromptOptions *options,
                  TokenIds *ids, Error *err);

/* t * h * w / merge^2, checked: 0 and *n, or -EINVAL (zero, odd or absurd sizes). */
int prompt_vision_tokens(const int32_t grid_thw[3], int merge, size_t *n);

/* Appends ids with the k-th pad token (image_token or video_token) repeated as grids_thw[k] says.
 * -EINVAL when the number of pad tokens is not n_grids or a grid is bad. */
int prompt_expand(const int32_t *ids, size_t n, int32_t image_token, int32_t video_token,
                  const int32_t (*grids_thw)[3], size_t n_grids, int merge, TokenIds *expanded);

#endif

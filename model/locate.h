/*
 * Where in these frames does X happen? The one entrance that the analyst process and whenscan use:
 * frames and a question in, intervals out. Prompt, position ids, KV cache, grammar and parsing of
 * the answer are behind it.
 *
 * A Locator belongs to one thread; the Engine behind it is immutable and shared.
 */
#ifndef WHEN_MODEL_LOCATE_H
#define WHEN_MODEL_LOCATE_H

#include "base/err.h"
#include "model/engine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Locator Locator;

typedef struct LocateFrame {
    const uint8_t
        *rgb; /* [height, width, 3], sides multiples of engine_cell_px(), all frames equal */
    int width, height; /* pixels */
    double seconds;    /* from the origin of the window; not falling */
    /* The gate's bitmap: cells that changed since this cell was last in a frame, row after row,
     * lowest bit first; NULL: all. What did not change is not looked at again, but in the first two
     * frames. */
    const uint8_t *cells;
} LocateFrame;

typedef struct LocateInterval {
    double start_s, end_s; /* same origin as LocateFrame.seconds; start_s <= end_s */
    double confidence;     /* 0..1: geometric mean of the probabilities of its free tokens */
    char description[256]; /* UTF-8 */
} LocateInterval;

typedef struct LocateAnswer {
    LocateInterval *intervals; /* [n], owned; in the model's order */
    size_t n;
    double confidence; /* of the whole answer; for "[]" the confidence of the no */
    int tokens;        /* generated, the forced ones included */
    bool truncated;    /* cut at max_tokens: the complete intervals before the cut are there */
    char *text;        /* the answer as written, NUL-terminated, owned */
} LocateAnswer;

void locate_answer_deinit(LocateAnswer *answer); /* safe on zeroed */

/* max_tokens bounds one answer (0: 512). */
int locator_new(const Engine *engine, int max_tokens, Locator **locator, Error *err);
void locator_free(Locator *locator);

/* Forgets what was there, encodes the frames and prefills them once for all questions. The odd last
 * frame is repeated, as the reference does. -E2BIG with EX_DATAERR when they do not fit the
 * context. */
int locator_watch(Locator *locator, const LocateFrame *frames, size_t n_frames, Error *err);

/* Visual tokens of the last locator_watch; *all: had every cell counted. 0 without one. */
size_t locator_visual_tokens(const Locator *locator, size_t *all);

/* Asks about the frames of the last locator_watch; the locator is as before the question
 * afterwards. The question goes to the model verbatim when its chat template brings its own system
 * instruction, else it is wrapped in a request for JSON with start_time, end_time and description
 * (docs/model.md). */
int locator_ask(Locator *locator, const char *question, LocateAnswer *answer, Error *err);

/* The same for several questions: they are read and answered together (up to LOCATE_TOGETHER at
 * once), which costs little more than one, and each gets the answer that it would have got alone.
 * answers [n]; on failure none is filled. */
enum { LOCATE_TOGETHER = 4 };
int locator_ask_all(Locator *locator, const char *const *questions, size_t n, LocateAnswer *answers,
                    Error *err);

/* For whenscan's --logits and --positions: of the last question. Next-token logits at the
 * prompt's end, [vocab] f32, and the prompt's position ids, [3, n_tokens] int32 (rows t, h, w).
 * Borrowed until the next call on this locator. */
const float *locator_prompt_logits(const Locator *locator, size_t *vocab);
const int32_t *locator_prompt_positions(const Locator *locator, size_t *n_tokens);
const int32_t *locator_prompt_ids(const Locator *locator, size_t *n_tokens);

#endif

/*
 * One prompt of stages 07 to 09 through the language model: what each layer gives, logits, and the
 * greedy answer against stored steps. In f32 every value within the row's tolerance; in bf16 the
 * relative rms within twice what the reference's own bf16 run is off (tolerances.json).
 */
#ifndef WHEN_TESTS_LLM_CASE_H
#define WHEN_TESTS_LLM_CASE_H

#include "model/engine_private.h"
#include "model/timeline.h"
#include "tests/golden/golden.h"

typedef struct LlmRows {
    GoldenRow embeds, layers, norm, logits, top_logits, greedy, log_prob;
} LlmRows;

typedef struct LlmCase {
    LlmRows *rows;
    Golden *g;
    const Engine *engine;
    Timeline *timeline;
    const char *folder;   /* "07_llm/a_untied/video/", or a prefix of file names */
    const char *measured; /* where tolerances.json speaks of it: "llm/a_untied/video" */
    bool bf16;            /* the engine runs in bf16 */
    bool seen;            /* the stages were compared: the first prefill does it */
    Npy ids, positions;   /* [L], [3, L] */
    float *embeds;        /* [L, H] */
    float *norm;          /* [L, H] from the tap */
    size_t hidden, vocab;
} LlmCase;

void llm_case_deinit(LlmCase *c); /* owns ids, positions, embeds and norm */

/* FOLDER NAME.npy, a path below the vectors. */
bool llm_case_npy(const LlmCase *c, GoldenRow *row, const char *folder, const char *name,
                  NpyType type, Npy *npy);

/* c->embeds of text from the table, of visual tokens (in order) from visual [n_visual, H]. */
bool llm_case_embed(LlmCase *c, const float *visual, size_t n_visual);

/* Empties the timeline and appends the prompt, stages compared as they come. */
bool llm_case_prefill(LlmCase *c);

/* Logits at the stored positions, after a prefill. Needs a Compute of its own. */
void llm_case_logits(const LlmCase *c, Compute *compute);

/* Greedy answers in FOLDER: greedy_f32.jsonl (f32: freely generated, then with the reference's ids
 * forced; bf16: forced), greedy_f32_repetition_penalty_P.jsonl, stop_case.json, and for bf16
 * greedy_bf16.jsonl. An id must be the reference's wherever its margin is more than twice the
 * tolerance of a logit. */
void llm_case_greedy(LlmCase *c);

#endif

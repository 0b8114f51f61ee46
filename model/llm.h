/*
 * The language model: embeddings [n, H] with positions [3, n] -> layers x (norm, grouped-query
 * attention with multimodal rope over the KV cache, norm, SwiGLU) -> final norm -> logits [V].
 */
#ifndef WHEN_MODEL_LLM_H
#define WHEN_MODEL_LLM_H

#include "model/compute.h"
#include "model/hparams.h"
#include "model/kv_cache.h"
#include "model/weights.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Llm Llm;

/* hparams must outlive the result. */
int llm_new(const TextHparams *hparams, Weights *weights, Llm **llm);
void llm_free(Llm *llm);

/* The embedding of token id (0 <= id < vocab), [H]. */
void llm_embed(const Llm *llm, int32_t id, float *embedding);

enum { LLM_MAX_SEQUENCES = 16 };

/* One context that grows: n tokens behind those of the cache. */
typedef struct LlmSequence {
    KvCache *cache;
    size_t n;
    float *last; /* [H]: the final norm's output of its last token */
} LlmSequence;

/* Runs the new tokens of several sequences at once, one sequence behind the other in embeds [sum of
 * n, H]; positions: rows t, h, w `stride` apart. The weights are read once for all of them, and
 * what their caches share too. Each cache grows by its n. -ENOMEM, -EIO: then the caches hold what
 * they held. Taps: "layer", "final_norm" (then of all rows). */
int llm_run(const Llm *llm, Compute *compute, const LlmSequence *sequences, size_t n_sequences,
            const float *embeds, const int32_t *positions, size_t stride);

/* logits [n, V] of n rows of the final norm. */
int llm_logits(const Llm *llm, Compute *compute, const float *normed, size_t n, float *logits);

#endif

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

/* Runs n tokens behind those of the cache, which grows by n. embeds [n, H]; positions: rows t, h, w
 * `stride` apart. last [H]: the final norm's output of the last token. -ENOMEM, -EIO: then the
 * cache holds what it held. Taps: "layer", "final_norm" (then of all rows). */
int llm_run(const Llm *llm, Compute *compute, KvCache *cache, const float *embeds, size_t n,
            const int32_t *positions, size_t stride, float *last);

/* logits [n, V] of n rows of the final norm. */
int llm_logits(const Llm *llm, Compute *compute, const float *normed, size_t n, float *logits);

#endif

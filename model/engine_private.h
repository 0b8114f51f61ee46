/* What an Engine is: only for engine.c and timeline.c. */
#ifndef WHEN_MODEL_ENGINE_PRIVATE_H
#define WHEN_MODEL_ENGINE_PRIVATE_H

#include "model/engine.h"
#include "model/gemm_choice.h"
#include "model/llm.h"
#include "model/packed_cache.h"
#include "model/vit.h"

struct Engine {
    Hparams hparams;
    Tokenizer *tokenizer;
    PromptTemplate prompt;
    PackedCache *cache; /* what weights are mapped from, or NULL */
    Vit *vit;
    Llm *llm;
    GemmChoice products;
    KvDtype kv;
    int threads;
    size_t bytes; /* of the weights */
    char name[128];
};

#endif

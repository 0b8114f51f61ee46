/*
 * PEFT LoRA adapters: adapter_config.json + adapter_model.safetensors. W' = W + scaling * B A.
 * Which layers are adapted, and with what rank, follows from the tensors that are there, as in the
 * reference: target_modules (a list or a pattern) and rank_pattern only told the trainer.
 */
#ifndef WHEN_MODEL_LORA_H
#define WHEN_MODEL_LORA_H

#include "base/err.h"
#include "model/safetensors.h"

typedef struct Lora Lora;

typedef struct LoraPair {
    const char *target; /* canonical name of the base tensor, "....weight" */
    const Tensor *a;    /* [r, in] */
    const Tensor *b;    /* [out, r] */
    int r;
    float scaling; /* alpha / r, or alpha / sqrt(r) with use_rslora; alpha by alpha_pattern, else
                      lora_alpha */
} LoraPair;

enum { LORA_NONE = 1 };

/* EX_NOINPUT, or EX_DATAERR: damaged, or a variant that is not supported (DoRA, biases, trained
 * whole modules), by name. */
int lora_open(const char *directory, Lora **lora, Error *err);
void lora_free(Lora *lora);

/* Pairs in a fixed order. A caller that merges checks that each target is a tensor of the base. */
size_t lora_count(const Lora *lora);
const LoraPair *lora_at(const Lora *lora, size_t i);

/* 0 with *pair for the base tensor of that canonical name, or LORA_NONE. */
int lora_find(const Lora *lora, const char *tensor_name, const LoraPair **pair);

#endif

/*
 * From the tensors of a checkpoint, with a LoRA adapter merged in, to the weights of gemm.h. Used
 * while loading: weights_matrix finds and checks what a weight is made of, or maps it from the
 * cache; when all are known, weights_pack makes the others by all threads. The result does not
 * depend on their number.
 */
#ifndef WHEN_MODEL_WEIGHTS_H
#define WHEN_MODEL_WEIGHTS_H

#include "base/err.h"
#include "model/gemm.h"
#include "model/lora.h"
#include "model/packed_cache.h"
#include "model/safetensors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIGHTS_MAX_PARTS 3

/* A weight that is to be made, [n, k] of n_parts tensors. */
typedef struct WeightsJob {
    const Tensor *tensors[WEIGHTS_MAX_PARTS], *biases[WEIGHTS_MAX_PARTS];
    const LoraPair *pairs[WEIGHTS_MAX_PARTS];
    size_t rows[WEIGHTS_MAX_PARTS];
    int n_parts;
    size_t n, k;
    bool is_bf16; /* all tensors are, and no adapter changes them */
    GemmDtype dtype;
    GemmLayout layout;
    size_t bytes;      /* of the weight */
    size_t copy_bytes; /* of the stacked or converted tensors, while it is made; 0: in place */
    size_t place;      /* in the cache */
    GemmWeight **weight;
    char key[160];
} WeightsJob;

typedef struct Weights {
    const Safetensors *tensors;
    const Lora *lora; /* or NULL */
    GemmDtype dtype;
    GemmLayout layout;  /* of all but tables */
    PackedCache *cache; /* or NULL */
    size_t merged;      /* pairs of the adapter that found their tensor so far */
    size_t bytes;       /* of what was made so far */
    Error *err;
    WeightsJob *jobs; /* [n_jobs] */
    size_t n_jobs, jobs_capacity;
} Weights;

void weights_deinit(Weights *weights);

/* Tensors [rows[i], k] stacked into one weight [sum of rows, k]; a part's name is PREFIX + names[i]
 * + ".weight", and with `bias` + ".bias". All fail with w->err filled. */
typedef struct WeightsMatrix {
    const char *prefix; /* "model.layers.0." */
    const char *names[WEIGHTS_MAX_PARTS];
    int rows[WEIGHTS_MAX_PARTS];
    int n_parts, k;
    bool bias;
    bool table; /* its rows are looked up, or few rows are multiplied: panels, of int4 8 bits */
} WeightsMatrix;

/* *weight is filled now from the cache, else by weights_pack; it must stay where it is until then.
 */
int weights_matrix(Weights *w, const WeightsMatrix *matrix, GemmWeight **weight);

/* What weights_pack will take: the weights, and the largest copy of a stacked or converted one. */
uint64_t weights_needed_bytes(const Weights *w);
/* Makes all that weights_matrix put down, and writes them to the cache. However many threads,
 * copies of tensors take no more memory at once than the largest one. */
int weights_pack(Weights *w, Pool *pool);

/* PREFIX NAME as f32 [n], owned by the caller. */
int weights_vector(Weights *w, const char *prefix, const char *name, int n, float **vector);

#endif

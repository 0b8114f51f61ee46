/*
 * From the tensors of a checkpoint, with a LoRA adapter merged in, to the weights of gemm.h. Used
 * while loading, by one thread.
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

#define WEIGHTS_MAX_PARTS 3

typedef struct Weights {
    const Safetensors *tensors;
    const Lora *lora; /* or NULL */
    GemmDtype dtype;
    PackedCache *cache; /* or NULL */
    size_t merged;      /* pairs of the adapter that found their tensor so far */
    size_t bytes;       /* of what was made so far */
    Error *err;
} Weights;

/* Tensors [rows[i], k] stacked into one weight [sum of rows, k]; a part's name is PREFIX + names[i]
 * + ".weight", and with `bias` + ".bias". All fail with w->err filled. */
typedef struct WeightsMatrix {
    const char *prefix; /* "model.layers.0." */
    const char *names[WEIGHTS_MAX_PARTS];
    int rows[WEIGHTS_MAX_PARTS];
    int n_parts, k;
    bool bias;
    GemmLayout layout;
} WeightsMatrix;

int weights_matrix(Weights *w, const WeightsMatrix *matrix, GemmWeight **weight);

/* PREFIX NAME as f32 [n], owned by the caller. */
int weights_vector(Weights *w, const char *prefix, const char *name, int n, float **vector);

#endif

/*
 * Which tensors a checkpoint of these sizes consists of: so that a directory is refused by name
 * before anything is allocated, and so that its memory can be told from config.json alone.
 */
#ifndef WHEN_MODEL_CHECKPOINT_H
#define WHEN_MODEL_CHECKPOINT_H

#include "base/err.h"
#include "model/gemm.h"
#include "model/hparams.h"
#include "model/safetensors.h"

#include <stdint.h>

/* Names are canonical (safetensors.h); shape [n_dims], of 1 or 2 sizes: a patch embedding
 * [C, 3, 2, 14, 14] is [C, 1176]. A result other than 0 ends the walk and is returned. */
typedef int (*CheckpointVisit)(void *user, const char *name, int n_dims, const int64_t *shape);

/* Every tensor once. lm_head.weight only when the embeddings are not tied. */
int checkpoint_each(const Hparams *hparams, CheckpointVisit visit, void *user);

/* Every tensor is there with its shape, and no other one is. (An lm_head.weight beside tied
 * embeddings and the inv_freq tables of old savers say nothing new and are passed over.) -EINVAL
 * with EX_DATAERR: file, tensor, reason; -ENOMEM. */
int checkpoint_check(const Hparams *hparams, const Safetensors *tensors, Error *err);

/* Elements of all tensors: 3754622976 for the published 3B. */
uint64_t checkpoint_parameters(const Hparams *hparams);

/* Bytes of the loaded weights of a bf16 checkpoint of these sizes, vectors in f32. */
uint64_t checkpoint_bytes(const Hparams *hparams, GemmDtype dtype);

#endif

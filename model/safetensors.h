/*
 * Tensors of a model directory: NAME.safetensors, or shards listed in NAME.safetensors.index.json,
 * mapped into memory. Headers are checked completely before the first byte of data is touched.
 *
 * Names are canonical, whatever layout the file was saved in: `model.layers.0...`,
 * `model.embed_tokens.weight`, `model.norm.weight`, `lm_head.weight`, `visual.blocks.0...`.
 * (`model.language_model.*`, `language_model.model.*`, `model.visual.*` and PEFT's
 * `base_model.model.` prefix are translated.)
 */
#ifndef WHEN_MODEL_SAFETENSORS_H
#define WHEN_MODEL_SAFETENSORS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define TENSOR_MAX_DIMS 8

typedef enum TensorDtype { TENSOR_BF16, TENSOR_F16, TENSOR_F32 } TensorDtype;

typedef struct Tensor {
    const char *name; /* canonical */
    const char *file; /* path of the file that holds it, for messages */
    TensorDtype dtype;
    int n_dims;
    int64_t shape[TENSOR_MAX_DIMS];
    size_t n;         /* elements */
    const void *data; /* mapped, read only, little endian; may be unaligned */
} Tensor;

typedef struct Safetensors Safetensors;

enum { SAFETENSORS_NONE = 1 };

/* name is "model" for a checkpoint, "adapter_model" for an adapter. EX_NOINPUT: neither file nor
 * index is there. EX_DATAERR: damaged, an index that its shards do not bear out, or an unsupported
 * dtype, with file, tensor and reason. */
int safetensors_open(const char *directory, const char *name, Safetensors **tensors, Error *err);
void safetensors_free(Safetensors *tensors);

size_t safetensors_count(const Safetensors *tensors);
const Tensor *safetensors_at(const Safetensors *tensors, size_t i); /* i < count, sorted by name */

/* 0 with *tensor, or SAFETENSORS_NONE. */
int safetensors_find(const Safetensors *tensors, const char *name, const Tensor **tensor);

/* The tensor must be there with this shape (n_dims sizes follow as int64_t in `shape`);
 * else -EINVAL with EX_DATAERR naming directory, tensor, both shapes. A vision patch embedding
 * of shape [C, 3, 2, 14, 14] also matches [C, 1176]: trailing dimensions are folded. */
int safetensors_need(const Safetensors *tensors, const char *name, int n_dims, const int64_t *shape,
                     const Tensor **tensor, Error *err);

/* n elements of a tensor, from element `first`, as f32 or bf16 (round to nearest even, NaN kept).
 */
void tensor_to_f32(const Tensor *tensor, size_t first, size_t n, float *out);
void tensor_to_bf16(const Tensor *tensor, size_t first, size_t n, uint16_t *out);

/* One file's header, checked as safetensors_open does, for tests and the fuzzer. */
int safetensors_check_bytes(const char *name, const void *bytes, size_t size, Error *err);

#endif

/*
 * Engine: one model directory, loaded, packed and immutable; shared by any number of threads.
 * Timeline: one growing context over it (tokens, position ids, KV cache); belongs to one thread.
 */
#ifndef WHEN_MODEL_ENGINE_H
#define WHEN_MODEL_ENGINE_H

#include "base/err.h"
#include "model/hparams.h"
#include "model/prompt.h"
#include "model/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Engine Engine;
typedef struct Timeline Timeline;

typedef enum EngineDtype { ENGINE_F32, ENGINE_BF16, ENGINE_INT8, ENGINE_INT4 } EngineDtype;

/* How keys and values are kept (kv_cache.h). AUTO: f32 with dtype f32, else bf16. */
typedef enum EngineKv { ENGINE_KV_AUTO, ENGINE_KV_F32, ENGINE_KV_BF16, ENGINE_KV_INT8 } EngineKv;

/* "auto", "f32", "bf16", "int8"; false: none of them. */
bool engine_kv_read(const char *text, EngineKv *kv);

typedef struct EngineOptions {
    EngineDtype dtype; /* of weights and products (gemm.h); all else is f32 */
    EngineKv kv;
    int threads;       /* 0: one a core */
    const char *cache; /* folder where packed weights are kept (packed_cache.h), or NULL */
    const char *lora;  /* a PEFT adapter directory to merge at load, or NULL */
} EngineOptions;

/* "f32", "bf16", "int8", "int4"; false: another word. */
const char *engine_dtype_name(EngineDtype dtype);
bool engine_dtype_read(const char *name, EngineDtype *dtype);

/* Threads that are used when none are asked for: the processors this process may run on. */
int engine_default_threads(void);

/* EX_NOINPUT: no such directory or file; EX_DATAERR: damaged or unsupported, with the name of the
 * file and tensor or key and the reason; EX_OSERR: no memory, or clearly not enough of it (checked
 * before the first tensor is read). */
int engine_open(const char *directory, const EngineOptions *options, Engine **engine, Error *err);
void engine_free(Engine *engine);

/* Last part of the directory, short config hash, "+" and last part of the adapter's directory. */
const char *engine_name(const Engine *engine);
const char *
engine_notice(const Engine *engine);             /* README-like one-liner from the directory's
                                                    "whend_notice" in generation_config.json, or "" */
int engine_cell_px(const Engine *engine);        /* patch * merge: 28 */
int64_t engine_min_pixels(const Engine *engine); /* of preprocessor_config.json */
int64_t engine_max_pixels(const Engine *engine);

const Hparams *engine_hparams(const Engine *engine);
const Tokenizer *engine_tokenizer(const Engine *engine);
const PromptTemplate *engine_prompt(const Engine *engine);
size_t engine_bytes(const Engine *engine); /* of the weights */

#endif

/*
 * Loading: sizes, tokenizer, template, then the tensors into packed weights by all threads; the
 * files are unmapped again when all are copied.
 */
#include "model/engine.h"

#include "base/log.h"
#include "base/mem.h"
#include "model/checkpoint.h"
#include "model/engine_private.h"
#include "model/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Weights of a model from which on it is measured who multiplies them faster. */
#define MEASURE_FROM ((uint64_t)100 << 20)
/* What there is besides weights: buffers, a short context, the tokenizer. */
#define OTHER_BYTES  ((uint64_t)64 << 20)

int engine_default_threads(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n;
}

static const char *const DTYPE_NAMES[] = {"f32", "bf16", "int8", "int4"};

const char *engine_dtype_name(EngineDtype dtype)
{
    return DTYPE_NAMES[dtype];
}

bool engine_dtype_read(const char *name, EngineDtype *dtype)
{
    for (size_t i = 0; i < sizeof DTYPE_NAMES / sizeof DTYPE_NAMES[0]; i++)
        if (strcmp(name, DTYPE_NAMES[i]) == 0) {
            *dtype = (EngineDtype)i;
            return true;
        }
    return false;
}

static GemmDtype gemm_dtype(EngineDtype dtype)
{
    switch (dtype) {
    case ENGINE_BF16:
        return GEMM_BF16;
    case ENGINE_INT8:
        return GEMM_INT8;
    case ENGINE_INT4:
        return GEMM_INT4;
    default:
        return GEMM_F32;
    }
}

static void safetensorsp(Safetensors **tensors)
{
    safetensors_free(*tensors);
}

static void poolp(Pool **pool)
{
    pool_free(*pool);
}

static void lorap(Lora **lora)
{
    lora_free(*lora);
}

/* The last part of a folder's path. */
static void last_name(const char *directory, char *name, size_t size)
{
    _cleanup_free_ char *real = realpath(directory, NULL);
    const char *path = real ? real : directory, *last = strrchr(path, '/');
    snprintf(name, size, "%s", last ? last + 1 : path);
}

/* The directory's last name, eight digits of its configuration, and the adapter's name. */
static void make_name(Engine *e, const char *directory, const char *lora)
{
    char model[64], adapter[48] = "";
    last_name(directory, model, sizeof model);
    if (lora)
        last_name(lora, adapter, sizeof adapter);
    snprintf(e->name, sizeof e->name, "%s-%08" PRIx32 "%s%s", model,
             (uint32_t)(e->hparams.config_hash ^ e->hparams.config_hash >> 32), lora ? "+" : "",
             adapter);
}

/* Refuses at once what would be killed in the middle. */
static int check_memory(const char *directory, const Weights *w, Error *err)
{
    if (w->n_jobs == 0) /* all are mapped */
        return 0;
    const uint64_t needed = OTHER_BYTES + weights_needed_bytes(w);
    const uint64_t available = memory_available_bytes();
    if (needed <= available)
        return 0;
    const GemmDtype dtype = w->dtype;
    return error_set(err, ENOMEM, EX_OSERR, "%s: needs %.1f GiB, %.1f available: %s", directory,
                     (double)needed / (1 << 30), (double)available / (1 << 30),
                     dtype == GEMM_F32    ? "use dtype bf16, close other programs, or use a "
                                            "smaller model"
                     : dtype != GEMM_INT4 ? "use dtype int4, close other programs, or use a "
                                            "smaller model"
                                          : "close other programs, or use a smaller model");
}

/* Every pair of the adapter must have found its tensor. */
static int check_adapter(const char *directory, const Safetensors *tensors, const Lora *lora,
                         const Weights *w, Error *err)
{
    for (size_t i = 0; lora && i < lora_count(lora); i++) {
        const LoraPair *pair = lora_at(lora, i);
        const Tensor *base;
        if (safetensors_find(tensors, pair->target, &base) != 0)
            return error_set(err, EINVAL, EX_DATAERR,
                             "%s: adapts %s, which the model does not have: the adapter belongs to "
                             "another model",
                             directory, pair->target);
    }
    if (lora && w->merged != lora_count(lora))
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: only %zu of %zu adapted tensors are linear layers of the model",
                         directory, w->merged, lora_count(lora));
    return 0;
}

/* Small models gain less than the measurement costs. */
static void choose_products(Engine *e, const EngineOptions *options, const Safetensors *tensors,
                            Weights *w)
{
    uint64_t values = 0;
    for (size_t i = 0; i < safetensors_count(tensors); i++)
        values += safetensors_at(tensors, i)->n;
    gemm_choose(options->cache, w->dtype == GEMM_BF16 && values >= MEASURE_FROM, &e->products);
    w->layout = e->products.layout;
}

static int load(Engine *e, const char *directory, const EngineOptions *options, Error *err)
{
    int r = hparams_read(directory, &e->hparams, err);
    if (r == 0)
        r = tokenizer_open(directory, &e->tokenizer, err);
    if (r == 0)
        r = prompt_template_read(directory, &e->prompt, err);
    if (r < 0)
        return r;
    if (tokenizer_size(e->tokenizer) > e->hparams.text.vocab)
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: the tokenizer has ids up to %d, but vocab_size of config.json is %d: "
                         "they belong to different models",
                         directory, tokenizer_size(e->tokenizer) - 1, e->hparams.text.vocab);

    _cleanup_(poolp) Pool *pool = NULL;
    if (pool_new(e->threads, &pool) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", directory);
    _cleanup_(safetensorsp) Safetensors *tensors = NULL;
    _cleanup_(lorap) Lora *lora = NULL;
    r = safetensors_open(directory, "model", &tensors, err);
    if (r == 0)
        r = checkpoint_check(&e->hparams, tensors, err);
    if (r == 0 && options->lora)
        r = lora_open(options->lora, &lora, err);
    _cleanup_(weights_deinit) Weights w = {
        .tensors = tensors, .lora = lora, .dtype = gemm_dtype(options->dtype), .err = err};
    if (r == 0)
        choose_products(e, options, tensors, &w);
    if (r == 0 && options->cache) {
        char layout[64];
        gemm_layout_name(w.layout, layout, sizeof layout);
        packed_cache_open(options->cache, directory, options->lora,
                          engine_dtype_name(options->dtype), layout, pool, &e->cache);
    }
    w.cache = e->cache;
    if (r == 0)
        r = vit_new(&e->hparams.vision, &w, &e->vit);
    if (r == 0)
        r = llm_new(&e->hparams.text, &w, &e->llm);
    if (r == 0)
        r = check_memory(directory, &w, err);
    if (r == 0)
        r = weights_pack(&w, pool);
    if (r == 0)
        r = check_adapter(options->lora, tensors, lora, &w, err);
    e->bytes = w.bytes;
    if (r == 0)
        packed_cache_finish(e->cache);
    return r;
}

bool engine_kv_read(const char *text, EngineKv *kv)
{
    static const char *const names[] = {[ENGINE_KV_AUTO] = "auto",
                                        [ENGINE_KV_F32] = "f32",
                                        [ENGINE_KV_BF16] = "bf16",
                                        [ENGINE_KV_INT8] = "int8"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            *kv = (EngineKv)i;
            return true;
        }
    return false;
}

static KvDtype kv_dtype(const EngineOptions *options)
{
    switch (options->kv) {
    case ENGINE_KV_F32:
        return KV_F32;
    case ENGINE_KV_BF16:
        return KV_BF16;
    case ENGINE_KV_INT8:
        return KV_INT8;
    default:
        return options->dtype == ENGINE_F32 ? KV_F32 : KV_BF16;
    }
}

int engine_open(const char *directory, const EngineOptions *options, Engine **engine, Error *err)
{
    Engine *e = mem_new_array(1, sizeof *e);
    if (!e)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", directory);
    e->threads = options->threads > 0 ? options->threads : engine_default_threads();
    e->kv = kv_dtype(options);
    int r = load(e, directory, options, err);
    if (r < 0) {
        engine_free(e);
        return r;
    }
    make_name(e, directory, options->lora);
    log_info("engine", "loaded model=%s dtype=%s weights_mib=%zu%s threads=%d math=\"%s\"", e->name,
             engine_dtype_name(options->dtype), e->bytes >> 20,
             packed_cache_is_filled(e->cache) ? " mapped=yes" : "", e->threads, e->products.text);
    *engine = e;
    return 0;
}

void engine_free(Engine *e)
{
    if (!e)
        return;
    vit_free(e->vit);
    llm_free(e->llm);
    packed_cache_free(e->cache);
    tokenizer_free(e->tokenizer);
    prompt_template_deinit(&e->prompt);
    free(e);
}

const char *engine_name(const Engine *e)
{
    return e->name;
}

const char *engine_notice(const Engine *e)
{
    return e->hparams.notice;
}

int engine_cell_px(const Engine *e)
{
    return hparams_cell_px(&e->hparams);
}

int64_t engine_min_pixels(const Engine *e)
{
    return e->hparams.video.min_pixels;
}

int64_t engine_max_pixels(const Engine *e)
{
    return e->hparams.video.max_pixels;
}

const Hparams *engine_hparams(const Engine *e)
{
    return &e->hparams;
}

const Tokenizer *engine_tokenizer(const Engine *e)
{
    return e->tokenizer;
}

const PromptTemplate *engine_prompt(const Engine *e)
{
    return &e->prompt;
}

size_t engine_bytes(const Engine *e)
{
    return e->bytes;
}

/* PEFT LoRA adapters. See lora.h. */
#include "model/lora.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 1 << 20, MAX_RANK = 4096 };

struct Lora {
    Safetensors *tensors;
    LoraPair *pairs; /* [n] */
    size_t n, capacity;
};

static int unsupported(const char *path, const char *what, Error *err)
{
    return error_set(err, ENOTSUP, EX_DATAERR,
                     "%s: %s is not supported (plain LoRA is; merge the adapter with PEFT and load "
                     "the merged model)",
                     path, what);
}

typedef struct Config {
    double alpha;
    bool rslora;
} Config;

static int check_config(const char *path, const json_t *config, Config *out, Error *err)
{
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    const char *bias = json_string_value(json_object_get(config, "bias"));
    const json_t *alpha = json_object_get(config, "lora_alpha");
    static const char *const FLAGS[] = {"use_dora", "fan_in_fan_out", "lora_bias", "use_qalora",
                                        "use_bdlora"};
    static const char *const PATTERNS[] = {"alpha_pattern", "modules_to_save",
                                           "trainable_token_indices", "target_parameters",
                                           "layer_replication"};
    if (type && strcmp(type, "LORA") != 0)
        return unsupported(path, "a peft_type other than LORA", err);
    if (bias && strcmp(bias, "none") != 0)
        return unsupported(path, "a trained bias", err);
    for (size_t i = 0; i < sizeof FLAGS / sizeof FLAGS[0]; i++)
        if (json_is_true(json_object_get(config, FLAGS[i])))
            return unsupported(path, FLAGS[i], err);
    for (size_t i = 0; i < sizeof PATTERNS / sizeof PATTERNS[0]; i++) {
        const json_t *value = json_object_get(config, PATTERNS[i]);
        if (json_array_size(value) || json_object_size(value))
            return unsupported(path, PATTERNS[i], err);
    }
    out->alpha = json_number_value(alpha);
    if (!json_is_number(alpha) || !isfinite(out->alpha) || out->alpha <= 0 || out->alpha > 1e6)
        return error_set(err, EINVAL, EX_DATAERR, "%s: lora_alpha is not a positive number", path);
    out->rslora = json_is_true(json_object_get(config, "use_rslora"));
    return 0;
}

/* Splits "NAME.lora_A.weight" or "NAME.lora_A.default.weight"; side is 'A' or 'B'. */
static int split_name(const char *name, size_t *base_length, char *side)
{
    const char *p = strstr(name, ".lora_A.");
    if (!p)
        p = strstr(name, ".lora_B.");
    if (!p || (strcmp(p + 8, "weight") != 0 && strcmp(p + 8, "default.weight") != 0))
        return -EINVAL;
    *base_length = (size_t)(p - name);
    *side = p[6];
    return 0;
}

static int pair_up(Lora *lora, const char *directory, const Config *config, Error *err)
{
    /* Sorted by name, an A lies directly before its B. */
    for (size_t i = 0; i < safetensors_count(lora->tensors); i += 2) {
        const Tensor *a = safetensors_at(lora->tensors, i), *b = NULL;
        size_t length, length_b;
        char side, side_b;
        if (split_name(a->name, &length, &side) < 0)
            return error_set(err, EINVAL, EX_DATAERR, "%s: tensor %.160s is no part of a LoRA",
                             a->file, a->name);
        if (side == 'A' && i + 1 < safetensors_count(lora->tensors))
            b = safetensors_at(lora->tensors, i + 1);
        if (!b || split_name(b->name, &length_b, &side_b) < 0 || side_b != 'B' ||
            length != length_b || memcmp(a->name, b->name, length) != 0)
            return error_set(err, EINVAL, EX_DATAERR,
                             "%s: tensor %.160s has no partner (lora_A and lora_B go together)",
                             a->file, a->name);
        if (a->n_dims != 2 || b->n_dims != 2 || a->shape[0] != b->shape[1] || a->shape[0] < 1 ||
            a->shape[0] > MAX_RANK)
            return error_set(err, EINVAL, EX_DATAERR,
                             "%s: shapes of tensor %.160s and its lora_B do not fit", a->file,
                             a->name);
        char *target = NULL;
        if (asprintf(&target, "%.*s.weight", (int)length, a->name) < 0 ||
            mem_grow((void **)&lora->pairs, &lora->capacity, lora->n + 1, sizeof *lora->pairs) <
                0) {
            free(target);
            return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", directory);
        }
        int rank = (int)a->shape[0];
        lora->pairs[lora->n++] = (LoraPair){
            .target = target,
            .a = a,
            .b = b,
            .r = rank,
            .scaling = (float)(config->alpha / (config->rslora ? sqrt(rank) : rank)),
        };
    }
    if (lora->n == 0)
        return error_set(err, EINVAL, EX_DATAERR, "%s: the adapter has no tensors", directory);
    return 0;
}

int lora_open(const char *directory, Lora **out, Error *err)
{
    _cleanup_free_ char *path = file_join(directory, "adapter_config.json");
    _cleanup_free_ char *text = NULL;
    size_t size;
    Config config = {0};
    *out = NULL;
    if (!path)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", directory);
    int r = file_read(path, MAX_CONFIG_BYTES, &text, &size, err);
    if (r < 0)
        return r;
    json_error_t json_error;
    json_t *json = json_loadb(text, size, 0, &json_error);
    if (!json_is_object(json))
        r = error_set(err, EINVAL, EX_DATAERR, "%s: line %d: no JSON object: %s", path,
                      json_error.line, json_error.text);
    else
        r = check_config(path, json, &config, err);
    json_decref(json);
    if (r < 0)
        return r;
    Lora *lora = calloc(1, sizeof *lora);
    if (!lora)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", directory);
    r = safetensors_open(directory, "adapter_model", &lora->tensors, err);
    if (r == 0)
        r = pair_up(lora, directory, &config, err);
    if (r < 0) {
        lora_free(lora);
        return r;
    }
    *out = lora;
    return 0;
}

void lora_free(Lora *lora)
{
    if (!lora)
        return;
    for (size_t i = 0; i < lora->n; i++)
        free((char *)lora->pairs[i].target);
    free(lora->pairs);
    safetensors_free(lora->tensors);
    free(lora);
}

size_t lora_count(const Lora *lora)
{
    return lora->n;
}

const LoraPair *lora_at(const Lora *lora, size_t i)
{
    return &lora->pairs[i];
}

int lora_find(const Lora *lora, const char *tensor_name, const LoraPair **pair)
{
    for (size_t i = 0; i < lora->n; i++)
        if (strcmp(lora->pairs[i].target, tensor_name) == 0) {
            *pair = &lora->pairs[i];
            return 0;
        }
    return LORA_NONE;
}

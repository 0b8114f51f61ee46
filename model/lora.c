/* PEFT LoRA adapters. See lora.h. */
#include "model/lora.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <regex.h>
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
    json_t *alpha_pattern; /* object: module name or pattern -> alpha, or NULL; owned */
    bool rslora;
} Config;

static void config_deinit(Config *config)
{
    json_decref(config->alpha_pattern);
}

static bool is_alpha(const json_t *value)
{
    double alpha = json_number_value(value);
    return json_is_number(value) && isfinite(alpha) && alpha > 0 && alpha <= 1e6;
}

/* A Python pattern as a POSIX one that must match a module's whole name or its last parts. The
 * classes that both have other letters for are translated; what else stands behind a backslash is a
 * sign of itself, and letters there are refused. */
static int compile_pattern(const char *pattern, regex_t *regex)
{
    static const char *const CLASSES[][2] = {
        {"\\d", "[0-9]"}, {"\\w", "[A-Za-z0-9_]"}, {"(?:", "("}};
    _cleanup_str_ Str posix = {0};
    str_add_text(&posix, "^(.*\\.)?(");
    for (const char *p = pattern; *p;) {
        size_t i = 0;
        while (i < 3 && strncmp(p, CLASSES[i][0], strlen(CLASSES[i][0])) != 0)
            i++;
        if (i < 3) {
            str_add_text(&posix, CLASSES[i][1]);
            p += strlen(CLASSES[i][0]);
            continue;
        }
        if ((p[0] == '\\' && (isalnum((unsigned char)p[1]) || !p[1])) ||
            (p[0] == '(' && p[1] == '?'))
            return -ENOTSUP;
        str_add(&posix, p, p[0] == '\\' ? 2 : 1);
        p += p[0] == '\\' ? 2 : 1;
    }
    str_add_text(&posix, ")$");
    if (str_failed(&posix))
        return -ENOMEM;
    return regcomp(regex, str_text(&posix), REG_EXTENDED | REG_NOSUB) == 0 ? 0 : -ENOTSUP;
}

/* The alpha of a module ("model.layers.0.self_attn.q_proj"): the first pattern that fits, by its
 * canonical name or as newer savers call it. */
static int alpha_of(const char *path, const Config *config, const char *module, double *alpha,
                    Error *err)
{
    const char *pattern;
    json_t *value;
    *alpha = config->alpha;
    if (json_object_size(config->alpha_pattern) == 0)
        return 0;
    _cleanup_free_ char *newer = NULL;
    if (asprintf(&newer, "model.language_model.%s",
                 strncmp(module, "model.", 6) == 0 ? module + 6 : module) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", path);
    json_object_foreach(config->alpha_pattern, pattern, value)
    {
        if (!is_alpha(value))
            return error_set(err, EINVAL, EX_DATAERR,
                             "%s: alpha_pattern \"%.80s\": its alpha is not a positive number",
                             path, pattern);
        regex_t regex;
        int r = compile_pattern(pattern, &regex);
        if (r < 0)
            return error_set(err, -r, r == -ENOMEM ? EX_OSERR : EX_DATAERR,
                             "%s: alpha_pattern \"%.80s\": %s", path, pattern,
                             r == -ENOMEM ? "no memory"
                                          : "this pattern is not supported (use names of modules)");
        const bool fits =
            regexec(&regex, module, 0, NULL, 0) == 0 || regexec(&regex, newer, 0, NULL, 0) == 0;
        regfree(&regex);
        if (fits) {
            *alpha = json_number_value(value);
            return 0;
        }
    }
    return 0;
}

static int check_config(const char *path, const json_t *config, Config *out, Error *err)
{
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    const char *bias = json_string_value(json_object_get(config, "bias"));
    const json_t *alpha = json_object_get(config, "lora_alpha");
    static const char *const FLAGS[] = {"use_dora", "fan_in_fan_out", "lora_bias", "use_qalora",
                                        "use_bdlora"};
    static const char *const PATTERNS[] = {"modules_to_save", "trainable_token_indices",
                                           "target_parameters", "layer_replication"};
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
    if (!is_alpha(alpha))
        return error_set(err, EINVAL, EX_DATAERR, "%s: lora_alpha is not a positive number", path);
    json_t *pattern = json_object_get(config, "alpha_pattern");
    if (json_object_size(pattern))
        out->alpha_pattern = json_incref(pattern);
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
        double alpha;
        target[length] = '\0';
        int r = alpha_of(directory, config, target, &alpha, err);
        target[length] = '.';
        if (r < 0) {
            free(target);
            return r;
        }
        lora->pairs[lora->n++] = (LoraPair){
            .target = target,
            .a = a,
            .b = b,
            .r = rank,
            .scaling = (float)(alpha / (config->rslora ? sqrt(rank) : rank)),
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
    _cleanup_(config_deinit) Config config = {0};
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

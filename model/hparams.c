/* The sizes in a model directory, each checked against a range when it is read. See hparams.h. */
#include "model/hparams.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_CONFIG_BYTES = 4 << 20 };

/* A JSON file while it is read: values are looked up with its name at hand for messages. */
typedef struct File {
    char *path;
    char *text;
    size_t size;
    json_t *json;
    Error *err;
} File;

static void file_deinit(File *file)
{
    json_decref(file->json);
    free(file->text);
    free(file->path);
}

static int file_open(File *file, const char *directory, const char *name, Error *err)
{
    json_error_t json_error;
    *file = (File){.path = file_join(directory, name), .err = err};
    if (!file->path)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", directory);
    int r = file_read(file->path, MAX_CONFIG_BYTES, &file->text, &file->size, err);
    if (r < 0)
        return r;
    file->json = json_loadb(file->text, file->size, 0, &json_error);
    if (!json_is_object(file->json))
        return error_set(err, EINVAL, EX_DATAERR, "%s: line %d: no JSON object: %s", file->path,
                         json_error.line, json_error.text);
    return 0;
}

static int out_of_range(const File *file, const char *key, const char *want)
{
    return error_set(file->err, EINVAL, EX_DATAERR, "%s: %s must be %s", file->path, key, want);
}

/* An integer in [low, high]. Absent: `fallback` if that is >= 0, else an error. */
static int get_int(const File *file, const json_t *object, const char *key, int64_t fallback,
                   int64_t low, int64_t high, int *out)
{
    char want[80];
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value)) {
        if (fallback < 0)
            return error_set(file->err, EINVAL, EX_DATAERR, "%s: %s is missing", file->path, key);
        *out = (int)fallback;
        return 0;
    }
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < low || n > high) {
        snprintf(want, sizeof want, "an integer from %lld to %lld", (long long)low,
                 (long long)high);
        return out_of_range(file, key, want);
    }
    *out = (int)n;
    return 0;
}

static int get_real(const File *file, const json_t *object, const char *key, double fallback,
                    double low, double high, double *out)
{
    char want[80];
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value)) {
        *out = fallback;
        return 0;
    }
    double x = json_number_value(value);
    if (!json_is_number(value) || !(x >= low && x <= high)) {
        snprintf(want, sizeof want, "a number from %g to %g", low, high);
        return out_of_range(file, key, want);
    }
    *out = x;
    return 0;
}

static int need_silu(const File *file, const json_t *object)
{
    const json_t *act = json_object_get(object, "hidden_act");
    if (act && (!json_is_string(act) || strcmp(json_string_value(act), "silu") != 0))
        return out_of_range(file, "hidden_act", "\"silu\"");
    return 0;
}

static int read_rope(const File *file, const json_t *config, TextHparams *text)
{
    /* rope_parameters is the newer name; there rope_theta is inside. */
    const json_t *rope = json_object_get(config, "rope_parameters");
    if (!json_is_object(rope))
        rope = json_object_get(config, "rope_scaling");
    if (!json_is_object(rope))
        return error_set(file->err, EINVAL, EX_DATAERR,
                         "%s: rope_scaling (or rope_parameters) with mrope_section is missing",
                         file->path);
    const json_t *type = json_object_get(rope, "rope_type");
    if (!type)
        type = json_object_get(rope, "type");
    const char *name = json_string_value(type);
    if (type && (!name || (strcmp(name, "mrope") != 0 && strcmp(name, "default") != 0)))
        return error_set(file->err, ENOTSUP, EX_DATAERR,
                         "%s: rope type %.32s is not supported; mrope and default are (remove the "
                         "scaling, contexts up to max_position_embeddings need none)",
                         file->path, name ? name : "(no string)");
    const json_t *section = json_object_get(rope, "mrope_section");
    int sum = 0;
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = json_array_get(section, i);
        json_int_t n = json_integer_value(value);
        if (json_array_size(section) != 3 || !json_is_integer(value) || n < 0 || n > text->head_dim)
            return out_of_range(file, "mrope_section", "three integers");
        text->mrope_section[i] = (int)n;
        sum += (int)n;
    }
    if (sum * 2 != text->head_dim)
        return error_set(file->err, EINVAL, EX_DATAERR,
                         "%s: mrope_section adds up to %d, half of the head size of %d is needed",
                         file->path, sum, text->head_dim);
    double theta = 1e6;
    int r = get_real(file, config, "rope_theta", 1e6, 1, 1e12, &theta);
    return r < 0 ? r : get_real(file, rope, "rope_theta", theta, 1, 1e12, &text->rope_theta);
}

/* What a key says when it is absent is what the reference's configuration class says. */
static int read_text(const File *file, TextHparams *text)
{
    const json_t *config = json_object_get(file->json, "text_config");
    if (!json_is_object(config))
        config = file->json;
    double eps = 1e-5;
    int r = get_int(file, config, "hidden_size", -1, 8, 65536, &text->hidden);
    if (r == 0)
        r = get_int(file, config, "intermediate_size", -1, 1, 1 << 20, &text->intermediate);
    if (r == 0)
        r = get_int(file, config, "num_hidden_layers", -1, 1, HPARAMS_MAX_LAYERS, &text->layers);
    if (r == 0)
        r = get_int(file, config, "num_attention_heads", -1, 1, 1024, &text->heads);
    if (r == 0)
        r = get_int(file, config, "num_key_value_heads", text->heads, 1, 1024, &text->kv_heads);
    if (r == 0)
        r = get_int(file, config, "head_dim", text->hidden / (text->heads ? text->heads : 1), 2,
                    1024, &text->head_dim);
    if (r == 0)
        r = get_int(file, config, "vocab_size", -1, 1, 1 << 24, &text->vocab);
    if (r == 0)
        r = get_int(file, config, "max_position_embeddings", 32768, 16, 1 << 26,
                    &text->max_positions);
    if (r == 0)
        r = get_real(file, config, "rms_norm_eps", eps, 0, 1, &eps);
    if (r == 0)
        r = need_silu(file, config);
    if (r < 0)
        return r;
    text->norm_eps = (float)eps;
    if (text->heads % text->kv_heads)
        return out_of_range(file, "num_key_value_heads", "a divisor of num_attention_heads");
    if (text->head_dim % 2 || text->head_dim < 2)
        return out_of_range(file, "hidden_size / num_attention_heads", "even");
    if (!json_object_get(config, "head_dim") && text->hidden % text->heads)
        return out_of_range(file, "hidden_size", "a multiple of num_attention_heads");
    if (json_is_true(json_object_get(config, "use_sliding_window")))
        return out_of_range(file, "use_sliding_window",
                            "false (sliding windows are not supported)");
    const json_t *tied = json_object_get(file->json, "tie_word_embeddings");
    if (!tied)
        tied = json_object_get(config, "tie_word_embeddings");
    text->tied = json_is_true(tied);
    return read_rope(file, config, text);
}

static int read_full_attention(const File *file, const json_t *config, VisionHparams *vision)
{
    const json_t *list = json_object_get(config, "fullatt_block_indexes");
    if (!json_is_array(list))
        return out_of_range(file, "vision_config.fullatt_block_indexes", "a list of integers");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        json_int_t n = json_integer_value(value);
        if (!json_is_integer(value) || n < 0 || n >= vision->depth)
            return out_of_range(file, "vision_config.fullatt_block_indexes",
                                "a list of integers below vision_config.depth");
        vision->full_attention[n] = true;
    }
    return 0;
}

static int read_vision(const File *file, const TextHparams *text, VisionHparams *vision)
{
    const json_t *config = json_object_get(file->json, "vision_config");
    if (!json_is_object(config))
        return error_set(file->err, EINVAL, EX_DATAERR,
                         "%s: vision_config is missing: this is no vision model", file->path);
    const char *channels = json_object_get(config, "in_channels") ? "in_channels" : "in_chans";
    int r = get_int(file, config, "depth", -1, 1, HPARAMS_MAX_LAYERS, &vision->depth);
    if (r == 0)
        r = get_int(file, config, "hidden_size", -1, 8, 65536, &vision->hidden);
    if (r == 0)
        r = get_int(file, config, "intermediate_size", -1, 1, 1 << 20, &vision->intermediate);
    if (r == 0)
        r = get_int(file, config, "num_heads", -1, 1, 1024, &vision->heads);
    if (r == 0)
        r = get_int(file, config, channels, 3, 3, 3, &vision->in_channels);
    if (r == 0)
        r = get_int(file, config, "patch_size", 14, 2, 256, &vision->patch);
    if (r == 0)
        r = get_int(file, config, "spatial_merge_size", 2, 1, 8, &vision->merge);
    if (r == 0)
        r = get_int(file, config, "temporal_patch_size", 2, 2, 2, &vision->temporal_patch);
    if (r == 0)
        r = get_int(file, config, "window_size", 112, 2, 1 << 16, &vision->window_px);
    if (r == 0)
        r = get_int(file, config, "out_hidden_size", text->hidden, text->hidden, text->hidden,
                    &vision->out_hidden);
    if (r == 0)
        r = get_real(file, config, "tokens_per_second", 4, 1e-3, 1e4, &vision->tokens_per_second);
    if (r == 0)
        r = get_real(file, json_object_get(config, "rope_parameters"), "rope_theta", 10000, 1, 1e12,
                     &vision->rope_theta);
    if (r == 0)
        r = need_silu(file, config);
    if (r < 0)
        return r;
    vision->norm_eps = 1e-6f; /* fixed in the published architecture, in no file */
    if (vision->hidden % vision->heads || vision->hidden / vision->heads % 4)
        return out_of_range(file, "vision_config.hidden_size",
                            "a multiple of 4 * vision_config.num_heads");
    vision->head_dim = vision->hidden / vision->heads;
    if (vision->window_px % (vision->patch * vision->merge))
        return out_of_range(file, "vision_config.window_size",
                            "a multiple of patch_size * spatial_merge_size");
    return read_full_attention(file, config, vision);
}

static int check_architecture(const File *file)
{
    static const char SUPPORTED[] = "Qwen2_5_VLForConditionalGeneration";
    const json_t *list = json_object_get(file->json, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    const char *type = json_string_value(json_object_get(file->json, "model_type"));
    if (name ? strcmp(name, SUPPORTED) != 0 : !type || strcmp(type, "qwen2_5_vl") != 0)
        return error_set(file->err, ENOTSUP, EX_DATAERR,
                         "%s: architecture %.64s is not supported; %s is (Qwen2.5-VL of any size)",
                         file->path,
                         name   ? name
                         : type ? type
                                : "(none named)",
                         SUPPORTED);
    if (json_is_object(json_object_get(file->json, "quantization_config")))
        return error_set(file->err, ENOTSUP, EX_DATAERR,
                         "%s: quantization_config: quantised checkpoints are not supported; take "
                         "the model in bf16",
                         file->path);
    return 0;
}

static int read_token(const File *file, const char *key, int vocab, int32_t *out)
{
    int token = 0;
    int r = get_int(file, file->json, key, -1, 0, vocab - 1, &token);
    if (r == 0)
        *out = token;
    return r;
}

static int read_config(const char *directory, Hparams *h, Error *err)
{
    __attribute__((cleanup(file_deinit))) File file;
    int r = file_open(&file, directory, "config.json", err);
    if (r == 0)
        r = check_architecture(&file);
    if (r == 0)
        r = read_text(&file, &h->text);
    if (r == 0)
        r = read_vision(&file, &h->text, &h->vision);
    if (r == 0)
        r = read_token(&file, "image_token_id", h->text.vocab, &h->image_token);
    if (r == 0)
        r = read_token(&file, "video_token_id", h->text.vocab, &h->video_token);
    if (r < 0)
        return r;
    /* One end token, until generation_config.json says better. */
    const json_t *eos = json_object_get(file.json, "eos_token_id");
    if (!eos)
        eos = json_object_get(json_object_get(file.json, "text_config"), "eos_token_id");
    json_int_t id = json_integer_value(eos);
    if (json_is_integer(eos) && id >= 0 && id < h->text.vocab)
        h->eos[h->n_eos++] = (int32_t)id;
    h->config_hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < file.size; i++)
        h->config_hash = (h->config_hash ^ (unsigned char)file.text[i]) * UINT64_C(0x100000001b3);
    return 0;
}

static bool there(const char *directory, const char *name)
{
    _cleanup_free_ char *path = file_join(directory, name);
    return path && access(path, F_OK) == 0;
}

static int read_eos(const File *file, Hparams *h)
{
    const json_t *eos = json_object_get(file->json, "eos_token_id");
    if (!eos || json_is_null(eos))
        return 0;
    size_t n = json_is_array(eos) ? json_array_size(eos) : 1;
    if (n < 1 || n > HPARAMS_MAX_EOS)
        return out_of_range(file, "eos_token_id", "one to eight token ids");
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_is_array(eos) ? json_array_get(eos, i) : eos;
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id >= h->text.vocab)
            return out_of_range(file, "eos_token_id", "a token id below vocab_size, or a list");
        h->eos[i] = (int32_t)id;
    }
    h->n_eos = (int)n;
    return 0;
}

static int read_generation(const char *directory, Hparams *h, Error *err)
{
    __attribute__((cleanup(file_deinit))) File file;
    double penalty = 1;
    int r = file_open(&file, directory, "generation_config.json", err);
    if (r == 0)
        r = read_eos(&file, h);
    if (r == 0)
        r = get_real(&file, file.json, "repetition_penalty", 1, 0.01, 100, &penalty);
    if (r < 0)
        return r;
    h->repetition_penalty = (float)penalty;
    const char *notice = json_string_value(json_object_get(file.json, "whend_notice"));
    if (notice) {
        size_t n = strlen(notice);
        if (n >= sizeof h->notice)
            for (n = sizeof h->notice - 1; n && ((unsigned char)notice[n] & 0xc0) == 0x80;)
                n--;                   /* not inside a character */
        for (size_t i = 0; i < n; i++) /* it is printed: one line, no control characters */
            h->notice[i] = (unsigned char)notice[i] < 0x20 ? ' ' : notice[i];
        h->notice[n] = '\0';
    }
    return 0;
}

/* min_pixels and max_pixels, or size.shortest_edge and size.longest_edge, as newer savers write. */
static int read_limit(const File *file, const char *key, const char *edge, int64_t fallback,
                      int64_t *out)
{
    const json_t *value = json_object_get(file->json, key);
    if (!json_is_integer(value))
        value = json_object_get(json_object_get(file->json, "size"), edge);
    if (!json_is_integer(value))
        value = json_object_get(json_object_get(file->json, "size"), key);
    if (!value) {
        *out = fallback;
        return 0;
    }
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < 1 || n > INT64_C(1) << 32)
        return out_of_range(file, key, "an integer from 1 to 4294967296");
    *out = n;
    return 0;
}

static int read_colour(const File *file, const char *key, float low, float out[3])
{
    const json_t *list = json_object_get(file->json, key);
    if (!list)
        return 0; /* the default stays */
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = json_array_get(list, i);
        double x = json_number_value(value);
        if (json_array_size(list) != 3 || !json_is_number(value) || !(x >= low && x <= 10))
            return out_of_range(file, key, "three numbers in range");
        out[i] = (float)x;
    }
    return 0;
}

static int read_pixels(const char *directory, const char *name, const VisionHparams *vision,
                       PixelHparams *pixels, Error *err)
{
    __attribute__((cleanup(file_deinit))) File file;
    int same = 0;
    int r = file_open(&file, directory, name, err);
    if (r == 0)
        r = read_limit(&file, "min_pixels", "shortest_edge", pixels->min_pixels,
                       &pixels->min_pixels);
    if (r == 0)
        r = read_limit(&file, "max_pixels", "longest_edge", pixels->max_pixels,
                       &pixels->max_pixels);
    if (r == 0)
        r = read_colour(&file, "image_mean", -10, pixels->mean);
    if (r == 0)
        r = read_colour(&file, "image_std", 1e-6f, pixels->std);
    if (r == 0) /* must repeat config.json */
        r = get_int(&file, file.json, "patch_size", vision->patch, vision->patch, vision->patch,
                    &same);
    if (r == 0)
        r = get_int(&file, file.json, "merge_size", vision->merge, vision->merge, vision->merge,
                    &same);
    if (r == 0)
        r = get_int(&file, file.json, "temporal_patch_size", vision->temporal_patch,
                    vision->temporal_patch, vision->temporal_patch, &same);
    if (r == 0 && pixels->min_pixels > pixels->max_pixels)
        r = out_of_range(&file, "min_pixels", "at most max_pixels");
    return r;
}

int hparams_read(const char *directory, Hparams *h, Error *err)
{
    struct stat st;
    *h = (Hparams){
        .repetition_penalty = 1,
        .image = {.min_pixels = 3136,
                  .max_pixels = 12845056,
                  .mean = {0.48145466f, 0.4578275f, 0.40821073f},
                  .std = {0.26862954f, 0.26130258f, 0.27577711f}},
    };
    if (stat(directory, &st) < 0)
        return error_set(err, errno, EX_NOINPUT,
                         "%s: %s (model.path is a folder as downloaded from Hugging Face, with "
                         "config.json and *.safetensors)",
                         directory, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return error_set(err, ENOTDIR, EX_NOINPUT,
                         "%s: not a folder (model.path is a folder as downloaded from Hugging "
                         "Face, with config.json and *.safetensors)",
                         directory);
    int r = read_config(directory, h, err);
    if (r == 0 && there(directory, "generation_config.json"))
        r = read_generation(directory, h, err);
    if (r == 0 && h->n_eos == 0)
        r = error_set(err, EINVAL, EX_DATAERR,
                      "%s: neither generation_config.json nor config.json has an eos_token_id",
                      directory);
    if (r == 0 && there(directory, "preprocessor_config.json"))
        r = read_pixels(directory, "preprocessor_config.json", &h->vision, &h->image, err);
    if (r < 0)
        return r;
    h->video = h->image;
    if (there(directory, "video_preprocessor_config.json"))
        r = read_pixels(directory, "video_preprocessor_config.json", &h->vision, &h->video, err);
    return r;
}

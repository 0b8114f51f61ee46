/*
 * Everything that a model directory says about sizes: config.json (flat as on the hub, or nested
 * with text_config), generation_config.json, preprocessor_config.json and, where it is there,
 * video_preprocessor_config.json. All values are checked here, so later code may trust them.
 */
#ifndef WHEN_MODEL_HPARAMS_H
#define WHEN_MODEL_HPARAMS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define HPARAMS_MAX_LAYERS 256
#define HPARAMS_MAX_EOS    8

/* Language model. */
typedef struct TextHparams {
    int hidden, intermediate, layers;
    int heads, kv_heads, head_dim; /* heads is a multiple of kv_heads; head_dim is even */
    int vocab;                     /* rows of the embedding, >= the tokenizer's ids */
    int max_positions;
    int mrope_section[3]; /* t, h, w; sum = head_dim / 2 */
    double rope_theta;
    float norm_eps;
    bool tied; /* lm_head is the embedding */
} TextHparams;

/* Vision transformer. */
typedef struct VisionHparams {
    int depth, hidden, intermediate, heads, head_dim; /* head_dim is a multiple of 4 */
    int in_channels;                                  /* 3 */
    int patch, merge, temporal_patch;                 /* 14, 2, 2 */
    int window_px;                                    /* a multiple of patch * merge */
    int out_hidden;                                   /* = text.hidden */
    bool full_attention[HPARAMS_MAX_LAYERS];          /* [depth]; else windows */
    double tokens_per_second;
    double rope_theta; /* 10000, over head_dim / 2 per axis */
    float norm_eps;    /* 1e-6 whatever the text config says */
} VisionHparams;

/* Patches of an image or a video. */
typedef struct PixelHparams {
    int64_t min_pixels, max_pixels;
    float mean[3], std[3]; /* of values 0..1 */
} PixelHparams;

typedef struct Hparams {
    TextHparams text;
    VisionHparams vision;
    PixelHparams image;
    PixelHparams video; /* = image when the directory has no video_preprocessor_config.json */
    int32_t image_token, video_token;
    int32_t eos[HPARAMS_MAX_EOS];
    int n_eos;                /* >= 1 */
    float repetition_penalty; /* 1: none */
    uint64_t config_hash;     /* FNV-1a of config.json's bytes */
    char notice[256];         /* "whend_notice" of generation_config.json, or "" */
} Hparams;

/* EX_NOINPUT: no such directory or file. EX_DATAERR: damaged, out of range or unsupported, with
 * the file, the key, the value and what is supported. */
int hparams_read(const char *directory, Hparams *hparams, Error *err);

static inline int hparams_cell_px(const Hparams *h)
{
    return h->vision.patch * h->vision.merge;
}

/* Elements of one patch's row of pixel values: 3 * 2 * 14 * 14 = 1176. */
static inline int hparams_patch_values(const Hparams *h)
{
    return h->vision.in_channels * h->vision.temporal_patch * h->vision.patch * h->vision.patch;
}

#endif

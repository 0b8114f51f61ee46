/* The tensors of Qwen2.5-VL, by the names of the reference's state dict. See checkpoint.h. */
#include "model/checkpoint.h"

#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct Walk {
    CheckpointVisit visit;
    void *user;
    const char *prefix; /* "model.layers.0." */
    int r;              /* first result that is not 0 */
} Walk;

static void tensor(Walk *w, const char *name, int n_dims, int64_t rows, int64_t columns)
{
    char full[128];
    const int64_t shape[] = {rows, columns};
    if (w->r != 0)
        return;
    snprintf(full, sizeof full, "%s%s", w->prefix, name);
    w->r = w->visit(w->user, full, n_dims, shape);
}

static void vector(Walk *w, const char *name, int64_t n)
{
    tensor(w, name, 1, n, 0);
}

/* A linear layer NAME.weight [rows, columns], with NAME.bias [rows] if asked. */
static void linear(Walk *w, const char *name, int64_t rows, int64_t columns, bool bias)
{
    char part[64];
    snprintf(part, sizeof part, "%s.weight", name);
    tensor(w, part, 2, rows, columns);
    snprintf(part, sizeof part, "%s.bias", name);
    if (bias)
        vector(w, part, rows);
}

static void text_layer(Walk *w, const TextHparams *h)
{
    const int64_t q = (int64_t)h->heads * h->head_dim, kv = (int64_t)h->kv_heads * h->head_dim;
    vector(w, "input_layernorm.weight", h->hidden);
    vector(w, "post_attention_layernorm.weight", h->hidden);
    linear(w, "self_attn.q_proj", q, h->hidden, true);
    linear(w, "self_attn.k_proj", kv, h->hidden, true);
    linear(w, "self_attn.v_proj", kv, h->hidden, true);
    linear(w, "self_attn.o_proj", h->hidden, q, false);
    linear(w, "mlp.gate_proj", h->intermediate, h->hidden, false);
    linear(w, "mlp.up_proj", h->intermediate, h->hidden, false);
    linear(w, "mlp.down_proj", h->hidden, h->intermediate, false);
}

static void vision_block(Walk *w, const VisionHparams *h)
{
    vector(w, "norm1.weight", h->hidden);
    vector(w, "norm2.weight", h->hidden);
    linear(w, "attn.qkv", 3 * (int64_t)h->hidden, h->hidden, true);
    linear(w, "attn.proj", h->hidden, h->hidden, true);
    linear(w, "mlp.gate_proj", h->intermediate, h->hidden, true);
    linear(w, "mlp.up_proj", h->intermediate, h->hidden, true);
    linear(w, "mlp.down_proj", h->hidden, h->intermediate, true);
}

int checkpoint_each(const Hparams *h, CheckpointVisit visit, void *user)
{
    const VisionHparams *v = &h->vision;
    const int64_t merged = (int64_t)v->hidden * v->merge * v->merge;
    char prefix[64];
    Walk w = {.visit = visit, .user = user, .prefix = "visual."};
    linear(&w, "patch_embed.proj", v->hidden, hparams_patch_values(h), false);
    for (int i = 0; i < v->depth; i++) {
        snprintf(prefix, sizeof prefix, "visual.blocks.%d.", i);
        w.prefix = prefix;
        vision_block(&w, v);
    }
    w.prefix = "visual.merger.";
    vector(&w, "ln_q.weight", v->hidden);
    linear(&w, "mlp.0", merged, merged, true);
    linear(&w, "mlp.2", v->out_hidden, merged, true);
    w.prefix = "model.";
    linear(&w, "embed_tokens", h->text.vocab, h->text.hidden, false);
    vector(&w, "norm.weight", h->text.hidden);
    for (int i = 0; i < h->text.layers; i++) {
        snprintf(prefix, sizeof prefix, "model.layers.%d.", i);
        w.prefix = prefix;
        text_layer(&w, &h->text);
    }
    w.prefix = "";
    if (!h->text.tied)
        linear(&w, "lm_head", h->text.vocab, h->text.hidden, false);
    return w.r;
}

typedef struct Check {
    const Safetensors *tensors;
    bool *expected; /* [count], by index */
    Error *err;
} Check;

static int check_one(void *user, const char *name, int n_dims, const int64_t *shape)
{
    Check *c = user;
    const Tensor *found;
    int r = safetensors_need(c->tensors, name, n_dims, shape, &found, c->err);
    if (r == 0)
        c->expected[found - safetensors_at(c->tensors, 0)] = true;
    return r;
}

static bool says_nothing_new(const char *name, const Hparams *h)
{
    static const char TABLE[] = ".inv_freq";
    size_t n = strlen(name), m = sizeof TABLE - 1;
    if (n > m && strcmp(name + n - m, TABLE) == 0)
        return true;
    return h->text.tied && strcmp(name, "lm_head.weight") == 0;
}

int checkpoint_check(const Hparams *h, const Safetensors *tensors, Error *err)
{
    const size_t n = safetensors_count(tensors);
    _cleanup_free_ bool *expected = mem_new_array(n ? n : 1, sizeof *expected);
    if (!expected)
        return error_set(err, ENOMEM, EX_OSERR, "no memory for a list of tensors");
    Check check = {tensors, expected, err};
    int r = checkpoint_each(h, check_one, &check);
    for (size_t i = 0; r == 0 && i < n; i++) {
        const Tensor *t = safetensors_at(tensors, i);
        if (!expected[i] && !says_nothing_new(t->name, h))
            r = error_set(err, EINVAL, EX_DATAERR,
                          "%s: tensor %.120s is not part of the model that config.json describes "
                          "(%d layers, %d vision blocks, %s embeddings): the files belong to "
                          "different models",
                          t->file, t->name, h->text.layers, h->vision.depth,
                          h->text.tied ? "tied" : "untied");
    }
    return r;
}

static int count_one(void *user, const char *name, int n_dims, const int64_t *shape)
{
    uint64_t *sum = user;
    (void)name;
    *sum += (uint64_t)shape[0] * (uint64_t)(n_dims == 2 ? shape[1] : 1);
    return 0;
}

uint64_t checkpoint_parameters(const Hparams *h)
{
    uint64_t sum = 0;
    checkpoint_each(h, count_one, &sum);
    return sum;
}

typedef struct Bytes {
    GemmDtype dtype;
    uint64_t sum;
} Bytes;

static int add_bytes(void *user, const char *name, int n_dims, const int64_t *shape)
{
    Bytes *b = user;
    (void)name;
    if (n_dims == 1)
        b->sum += (uint64_t)shape[0] * sizeof(float);
    else
        b->sum += gemm_estimate_bytes(b->dtype, (size_t)shape[0] * (size_t)shape[1], true);
    return 0;
}

uint64_t checkpoint_bytes(const Hparams *h, GemmDtype dtype)
{
    Bytes bytes = {.dtype = dtype};
    checkpoint_each(h, add_bytes, &bytes);
    return bytes.sum;
}

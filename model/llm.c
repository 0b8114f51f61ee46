/*
 * Long inputs run in pieces of PIECE_TOKENS: a token's values do not depend on what is behind it,
 * so only the output of each sequence's last token is kept. A piece may hold the end of one
 * sequence and the begin of the next.
 */
#include "model/llm.h"

#include "base/mem.h"
#include "model/kernels.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PIECE_TOKENS = 1024, LOGIT_ROWS = 4 };

typedef struct Layer {
    float *norm1, *norm2;
    GemmWeight *qkv, *out, *gate_up, *down;
} Layer;

struct Llm {
    const TextHparams *h;
    GemmWeight *embed;
    GemmWeight *head; /* NULL: tied, the embedding */
    Layer *layers;    /* [layers] */
    float *norm;
    float *frequency; /* [head_dim / 2] */
    uint8_t *axis_of; /* [head_dim / 2] which row of the positions turns it */
};

static int layer_read(const TextHparams *h, Weights *w, const char *prefix, Layer *layer)
{
    const int c = h->hidden, kv = h->kv_heads * h->head_dim, q = h->heads * h->head_dim;
    WeightsMatrix qkv = {.prefix = prefix,
                         .names = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                         .rows = {q, kv, kv},
                         .n_parts = 3,
                         .k = c,
                         .bias = true};
    WeightsMatrix out = {
        .prefix = prefix, .names = {"self_attn.o_proj"}, .rows = {c}, .n_parts = 1, .k = q};
    WeightsMatrix gate_up = {.prefix = prefix,
                             .names = {"mlp.gate_proj", "mlp.up_proj"},
                             .rows = {h->intermediate, h->intermediate},
                             .n_parts = 2,
                             .k = c};
    WeightsMatrix down = {.prefix = prefix,
                          .names = {"mlp.down_proj"},
                          .rows = {c},
                          .n_parts = 1,
                          .k = h->intermediate};
    int r = weights_vector(w, prefix, "input_layernorm.weight", c, &layer->norm1);
    if (r == 0)
        r = weights_vector(w, prefix, "post_attention_layernorm.weight", c, &layer->norm2);
    if (r == 0)
        r = weights_matrix(w, &qkv, &layer->qkv);
    if (r == 0)
        r = weights_matrix(w, &out, &layer->out);
    if (r == 0)
        r = weights_matrix(w, &gate_up, &layer->gate_up);
    if (r == 0)
        r = weights_matrix(w, &down, &layer->down);
    return r;
}

/* Which angle each pair of a head turns by: sections of t, h and w frequencies, theta^(-2i/d). */
static int make_rope(Llm *m)
{
    const int half = m->h->head_dim / 2;
    m->frequency = mem_new_array((size_t)half, sizeof *m->frequency);
    m->axis_of = mem_new_array((size_t)half, sizeof *m->axis_of);
    if (!m->frequency || !m->axis_of)
        return -ENOMEM;
    int i = 0;
    for (uint8_t axis = 0; axis < 3; axis++)
        for (int j = 0; j < m->h->mrope_section[axis]; j++, i++)
            m->axis_of[i] = axis;
    /* In f32, as the reference has it. */
    for (i = 0; i < half; i++)
        m->frequency[i] =
            1.0f / powf((float)m->h->rope_theta, (float)(2 * i) / (float)m->h->head_dim);
    return 0;
}

int llm_new(const TextHparams *h, Weights *w, Llm **llm)
{
    Llm *m = mem_new_array(1, sizeof *m);
    Layer *layers = mem_new_array((size_t)h->layers, sizeof *layers);
    if (!m || !layers) {
        free(m);
        free(layers);
        return error_set(w->err, ENOMEM, EX_OSERR, "no memory for the language model");
    }
    m->h = h;
    m->layers = layers;
    WeightsMatrix embed = {.prefix = "model.",
                           .names = {"embed_tokens"},
                           .rows = {h->vocab},
                           .n_parts = 1,
                           .k = h->hidden,
                           .table = true};
    WeightsMatrix head = {.prefix = "",
                          .names = {"lm_head"},
                          .rows = {h->vocab},
                          .n_parts = 1,
                          .k = h->hidden,
                          .table = true};
    int r = make_rope(m);
    if (r < 0)
        r = error_set(w->err, ENOMEM, EX_OSERR, "no memory for the language model");
    if (r == 0)
        r = weights_matrix(w, &embed, &m->embed);
    if (r == 0 && !h->tied)
        r = weights_matrix(w, &head, &m->head);
    for (int i = 0; r == 0 && i < h->layers; i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "model.layers.%d.", i);
        r = layer_read(h, w, prefix, &layers[i]);
    }
    if (r == 0)
        r = weights_vector(w, "model.", "norm.weight", h->hidden, &m->norm);
    if (r < 0) {
        llm_free(m);
        return r;
    }
    *llm = m;
    return 0;
}

void llm_free(Llm *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->h->layers; i++) {
        Layer *layer = &m->layers[i];
        free(layer->norm1);
        free(layer->norm2);
        gemm_weight_free(layer->qkv);
        gemm_weight_free(layer->out);
        gemm_weight_free(layer->gate_up);
        gemm_weight_free(layer->down);
    }
    free(m->layers);
    gemm_weight_free(m->embed);
    gemm_weight_free(m->head);
    free(m->norm);
    free(m->frequency);
    free(m->axis_of);
    free(m);
}

void llm_embed(const Llm *m, int32_t id, float *embedding)
{
    gemm_weight_row(m->embed, (size_t)id, embedding);
}

/* The tokens that are run at once: of each sequence some. */
typedef struct Piece {
    AttentionQueries queries[LLM_MAX_SEQUENCES];
    size_t n_sequences, n; /* n: tokens altogether */
    const float *cos, *sin;
} Piece;

/* x [n, H] += attention(norm1(x)); x += mlp(norm2(x)) */
static int layer_run(const Llm *m, int index, Compute *c, const Piece *p, float *x)
{
    const TextHparams *h = m->h;
    const Layer *layer = &m->layers[index];
    const size_t hidden = (size_t)h->hidden, wide = (size_t)h->intermediate, n = p->n;
    const size_t d = (size_t)h->head_dim, heads = (size_t)h->heads, kv = (size_t)h->kv_heads;
    const size_t q_floats = heads * d, row = (heads + 2 * kv) * d;
    float *norm = compute_need(c, COMPUTE_NORM, n, hidden > wide ? hidden : wide);
    float *qkv = compute_need(c, COMPUTE_QKV, n, row);
    float *mixed = compute_need(c, COMPUTE_MIXED, n, q_floats);
    float *update = compute_need(c, COMPUTE_UPDATE, n, hidden);
    float *gate_up = compute_need(c, COMPUTE_GATE_UP, n, 2 * wide);
    if (!norm || !qkv || !mixed || !update || !gate_up)
        return -ENOMEM;

    compute_rmsnorm(c, norm, x, layer->norm1, n, hidden, h->norm_eps);
    int r = gemm_run(c->gemm, layer->qkv, norm, n, qkv);
    if (r < 0)
        return r;
    compute_rope(c, qkv, row, n, heads + kv, p->cos, p->sin, d / 2);
    const float *keys = qkv + q_floats;
    for (size_t i = 0; i < p->n_sequences; i++) {
        const AttentionQueries *of = &p->queries[i];
        kv_cache_put(of->cache, index, of->first, of->n, keys, keys + kv * d, row);
        keys += of->n * row;
    }
    attention_causal(c->attention, p->queries, p->n_sequences, index, qkv, row, h->heads, mixed,
                     q_floats);
    r = gemm_run(c->gemm, layer->out, mixed, n, update);
    if (r < 0)
        return r;
    compute_add_rmsnorm(c, norm, x, update, layer->norm2, n, hidden, h->norm_eps);
    r = gemm_run(c->gemm, layer->gate_up, norm, n, gate_up);
    if (r < 0)
        return r;
    compute_silu_mul(c, norm, gate_up, n, wide);
    r = gemm_run(c->gemm, layer->down, norm, n, update);
    if (r == 0)
        compute_add(c, x, update, n, hidden);
    return r;
}

/* at: the piece's first row of embeds and positions. *stream: the rows behind the last layer. */
static int piece_run(const Llm *m, Compute *c, Piece *p, const float *embeds, size_t at,
                     const int32_t *positions, size_t stride, float **stream)
{
    const TextHparams *h = m->h;
    const size_t hidden = (size_t)h->hidden, half = (size_t)h->head_dim / 2, n = p->n;
    float *x = compute_need(c, COMPUTE_HIDDEN, n, hidden);
    float *cos = compute_need(c, COMPUTE_COS, n, half);
    float *sin = compute_need(c, COMPUTE_SIN, n, half);
    if (!x || !cos || !sin)
        return -ENOMEM;
    memcpy(x, embeds + at * hidden, n * hidden * sizeof *x);
    kernel_rope_table(cos, sin, positions + at, stride, n, m->axis_of, m->frequency, half);
    p->cos = cos;
    p->sin = sin;
    for (int i = 0; i < h->layers; i++) {
        int r = layer_run(m, i, c, p, x);
        if (r < 0)
            return r;
        compute_seen(c, "layer", i, at, n, hidden, x);
    }
    for (size_t i = 0; i < p->n_sequences; i++)
        p->queries[i].cache->n = p->queries[i].first + p->queries[i].n;
    *stream = x;
    return 0;
}

/* Up to PIECE_TOKENS tokens from token *done of sequence *next on; both move on. */
static void piece_cut(const LlmSequence *sequences, size_t n_sequences, size_t *next, size_t *done,
                      Piece *p)
{
    p->n_sequences = p->n = 0;
    while (*next < n_sequences && p->n < PIECE_TOKENS) {
        const LlmSequence *s = &sequences[*next];
        size_t left = s->n - *done, room = PIECE_TOKENS - p->n, n = left < room ? left : room;
        if (n)
            p->queries[p->n_sequences++] = (AttentionQueries){s->cache, s->cache->n, n};
        p->n += n;
        *done += n;
        if (*done < s->n)
            return;
        ++*next;
        *done = 0;
    }
}

/* The final norm of the last tokens of those sequences that the piece ends. */
static void take_last(const Llm *m, const LlmSequence *sequences, const size_t *after,
                      size_t n_sequences, const Piece *p, const float *x)
{
    const size_t hidden = (size_t)m->h->hidden;
    size_t row = 0;
    for (size_t i = 0; i < p->n_sequences; i++) {
        const AttentionQueries *q = &p->queries[i];
        row += q->n;
        for (size_t s = 0; s < n_sequences; s++)
            if (sequences[s].cache == q->cache && q->first + q->n == after[s])
                kernels()->rmsnorm(sequences[s].last, x + (row - 1) * hidden, m->norm, hidden,
                                   m->h->norm_eps);
    }
}

int llm_run(const Llm *m, Compute *c, const LlmSequence *sequences, size_t n_sequences,
            const float *embeds, const int32_t *positions, size_t stride)
{
    const size_t hidden = (size_t)m->h->hidden;
    size_t before[LLM_MAX_SEQUENCES], after[LLM_MAX_SEQUENCES], total = 0;
    assert(n_sequences <= LLM_MAX_SEQUENCES);
    int r = 0;
    for (size_t i = 0; i < n_sequences; i++) {
        before[i] = sequences[i].cache->n;
        if (r == 0)
            r = mem_add(before[i], sequences[i].n, &after[i]) &&
                        mem_add(total, sequences[i].n, &total)
                    ? kv_cache_reserve(sequences[i].cache, after[i])
                    : -ENOMEM;
    }
    Piece p = {0};
    size_t next = 0, done = 0;
    for (size_t at = 0; r == 0 && at < total; at += p.n) {
        piece_cut(sequences, n_sequences, &next, &done, &p);
        float *x = NULL;
        r = piece_run(m, c, &p, embeds, at, positions, stride, &x);
        if (r < 0)
            break;
        take_last(m, sequences, after, n_sequences, &p, x);
        if (c->tap.seen) {
            float *norm = compute_need(c, COMPUTE_NORM, p.n, hidden);
            if (!norm) {
                r = -ENOMEM;
                break;
            }
            compute_rmsnorm(c, norm, x, m->norm, p.n, hidden, m->h->norm_eps);
            compute_seen(c, "final_norm", 0, at, p.n, hidden, norm);
        }
    }
    for (size_t i = 0; r < 0 && i < n_sequences; i++)
        kv_cache_truncate(sequences[i].cache, before[i]);
    return r;
}

int llm_logits(const Llm *m, Compute *c, const float *normed, size_t n, float *logits)
{
    const GemmWeight *head = m->head ? m->head : m->embed;
    const size_t hidden = (size_t)m->h->hidden, vocab = (size_t)m->h->vocab;
    for (size_t i = 0; i < n; i += LOGIT_ROWS) {
        size_t rows = n - i < LOGIT_ROWS ? n - i : LOGIT_ROWS;
        int r = gemm_run(c->gemm, head, normed + i * hidden, rows, logits + i * vocab);
        if (r < 0)
            return r;
    }
    return 0;
}

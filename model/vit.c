/*
 * Per piece of whole grids: rows are put in window order once behind the patch embedding, all
 * blocks run in that order, and the merger's results go back to natural order.
 */
#include "model/vit.h"

#include "base/mem.h"
#include "model/kernels.h"
#include "model/patches.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Patches worked on at once: bounds the buffers, keeps the products large. */
enum { PIECE_PATCHES = 2048 };

typedef struct Block {
    float *norm1, *norm2;
    GemmWeight *qkv, *proj, *gate_up, *down;
} Block;

struct Vit {
    const VisionHparams *h;
    GemmWeight *embed;
    Block *blocks; /* [depth] */
    float *merger_norm;
    GemmWeight *merger_in, *merger_out;
    bool bf16; /* attention may round to it */
};

static int block_read(const VisionHparams *h, Weights *w, const char *prefix, Block *b)
{
    const int c = h->hidden;
    WeightsMatrix qkv = {
        .prefix = prefix, .names = {"attn.qkv"}, .rows = {3 * c}, .n_parts = 1, .k = c, .bias = 1};
    WeightsMatrix proj = {
        .prefix = prefix, .names = {"attn.proj"}, .rows = {c}, .n_parts = 1, .k = c, .bias = 1};
    WeightsMatrix gate_up = {.prefix = prefix,
                             .names = {"mlp.gate_proj", "mlp.up_proj"},
                             .rows = {h->intermediate, h->intermediate},
                             .n_parts = 2,
                             .k = c,
                             .bias = 1};
    WeightsMatrix down = {.prefix = prefix,
                          .names = {"mlp.down_proj"},
                          .rows = {c},
                          .n_parts = 1,
                          .k = h->intermediate,
                          .bias = 1};
    int r = weights_vector(w, prefix, "norm1.weight", c, &b->norm1);
    if (r == 0)
        r = weights_vector(w, prefix, "norm2.weight", c, &b->norm2);
    if (r == 0)
        r = weights_matrix(w, &qkv, &b->qkv);
    if (r == 0)
        r = weights_matrix(w, &proj, &b->proj);
    if (r == 0)
        r = weights_matrix(w, &gate_up, &b->gate_up);
    if (r == 0)
        r = weights_matrix(w, &down, &b->down);
    return r;
}

int vit_new(const VisionHparams *h, Weights *w, Vit **vit)
{
    Vit *v = mem_new_array(1, sizeof *v);
    Block *blocks = mem_new_array((size_t)h->depth, sizeof *blocks);
    if (!v || !blocks) {
        free(v);
        free(blocks);
        return error_set(w->err, ENOMEM, EX_OSERR, "no memory for the vision transformer");
    }
    v->h = h;
    v->blocks = blocks;
    v->bf16 = w->dtype != GEMM_F32;
    const int merged = h->hidden * h->merge * h->merge;
    WeightsMatrix embed = {.prefix = "visual.patch_embed.",
                           .names = {"proj"},
                           .rows = {h->hidden},
                           .n_parts = 1,
                           .k = h->in_channels * h->temporal_patch * h->patch * h->patch};
    WeightsMatrix in = {.prefix = "visual.merger.",
                        .names = {"mlp.0"},
                        .rows = {merged},
                        .n_parts = 1,
                        .k = merged,
                        .bias = true};
    WeightsMatrix out = {.prefix = "visual.merger.",
                         .names = {"mlp.2"},
                         .rows = {h->out_hidden},
                         .n_parts = 1,
                         .k = merged,
                         .bias = true};
    int r = weights_matrix(w, &embed, &v->embed);
    for (int i = 0; r == 0 && i < h->depth; i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "visual.blocks.%d.", i);
        r = block_read(h, w, prefix, &blocks[i]);
    }
    if (r == 0)
        r = weights_vector(w, "visual.merger.", "ln_q.weight", h->hidden, &v->merger_norm);
    if (r == 0)
        r = weights_matrix(w, &in, &v->merger_in);
    if (r == 0)
        r = weights_matrix(w, &out, &v->merger_out);
    if (r < 0) {
        vit_free(v);
        return r;
    }
    *vit = v;
    return 0;
}

void vit_free(Vit *v)
{
    if (!v)
        return;
    for (int i = 0; i < v->h->depth; i++) {
        Block *b = &v->blocks[i];
        free(b->norm1);
        free(b->norm2);
        gemm_weight_free(b->qkv);
        gemm_weight_free(b->proj);
        gemm_weight_free(b->gate_up);
        gemm_weight_free(b->down);
    }
    free(v->blocks);
    free(v->merger_norm);
    gemm_weight_free(v->embed);
    gemm_weight_free(v->merger_in);
    gemm_weight_free(v->merger_out);
    free(v);
}

size_t vit_windows(const VisionHparams *h, int height, int width, int32_t *order, int32_t *begins)
{
    const int unit = h->merge * h->merge;
    const int side = h->window_px / h->patch / h->merge; /* merged units of a full window */
    const int rows = height / h->merge, columns = width / h->merge;
    size_t n = 0, windows = 0;
    begins[0] = 0;
    for (int top = 0; top < rows; top += side)
        for (int left = 0; left < columns; left += side) {
            for (int y = top; y < top + side && y < rows; y++)
                for (int x = left; x < left + side && x < columns; x++)
                    order[n++] = y * columns + x;
            begins[++windows] = (int32_t)n * unit;
        }
    return windows;
}

void vit_rope(const VisionHparams *h, int height, int width, float *cos, float *sin)
{
    const int half = h->head_dim / 2, quarter = half / 2, merge = h->merge;
    for (int i = 0; i < height * width; i++) {
        int unit = i / (merge * merge), in = i % (merge * merge);
        int y = unit / (width / merge) * merge + in / merge;
        int x = unit % (width / merge) * merge + in % merge;
        for (int j = 0; j < quarter; j++) {
            /* In f32, as the reference has it. */
            float frequency = 1.0f / powf((float)h->rope_theta, (float)(2 * j) / (float)half);
            float *c = cos + (size_t)i * (size_t)half + j, *s = sin + (size_t)i * (size_t)half + j;
            c[0] = cosf((float)y * frequency);
            s[0] = sinf((float)y * frequency);
            c[quarter] = cosf((float)x * frequency);
            s[quarter] = sinf((float)x * frequency);
        }
    }
}

/* Orders of one frame, and of the piece: all that does not depend on the pixels. */
typedef struct Plan {
    size_t patches;            /* of a frame */
    int32_t *order;            /* [patches / unit] of a frame */
    int32_t *windows, *frames; /* begins, of the whole piece */
    size_t n_windows;          /* of a frame */
} Plan;

static void plan_deinit(Plan *p)
{
    free(p->order);
    free(p->windows);
    free(p->frames);
}

/* cos and sin [piece * patches, half] in window order go to the compute buffers. */
static int plan_make(const Vit *v, Compute *c, int height, int width, size_t piece, Plan *p,
                     float **cos, float **sin)
{
    const size_t unit = (size_t)(v->h->merge * v->h->merge), half = (size_t)v->h->head_dim / 2;
    memset(p, 0, sizeof *p);
    p->patches = (size_t)height * (size_t)width;
    size_t units = p->patches / unit;
    p->order = mem_new_array(units, sizeof *p->order);
    p->windows = mem_new_array(piece * units + 1, sizeof *p->windows);
    p->frames = mem_new_array(piece + 1, sizeof *p->frames);
    _cleanup_free_ float *one_cos = mem_new_aligned(p->patches * half, sizeof *one_cos);
    _cleanup_free_ float *one_sin = mem_new_aligned(p->patches * half, sizeof *one_sin);
    *cos = compute_need(c, COMPUTE_COS, piece * p->patches, half);
    *sin = compute_need(c, COMPUTE_SIN, piece * p->patches, half);
    if (!p->order || !p->windows || !p->frames || !one_cos || !one_sin || !*cos || !*sin)
        return -ENOMEM;
    p->n_windows = vit_windows(v->h, height, width, p->order, p->windows);
    vit_rope(v->h, height, width, one_cos, one_sin);
    for (size_t t = 0; t < piece; t++) {
        p->frames[t + 1] = (int32_t)((t + 1) * p->patches);
        for (size_t i = 1; i <= p->n_windows; i++)
            p->windows[t * p->n_windows + i] = (int32_t)(t * p->patches) + p->windows[i];
        for (size_t i = 0; i < units; i++) {
            size_t to = (t * p->patches + i * unit) * half;
            size_t from = (size_t)p->order[i] * unit * half;
            memcpy(*cos + to, one_cos + from, unit * half * sizeof(float));
            memcpy(*sin + to, one_sin + from, unit * half * sizeof(float));
        }
    }
    return 0;
}

/* The merged units of `grids` frames, `floats` a unit: to[i] = from[order[i]], or back. */
static void reorder(const Plan *p, size_t unit, size_t grids, size_t floats, bool back, float *to,
                    const float *from)
{
    size_t units = p->patches / unit;
    for (size_t t = 0; t < grids; t++)
        for (size_t i = 0; i < units; i++) {
            size_t place = t * units + i, natural = t * units + (size_t)p->order[i];
            memcpy(to + (back ? natural : place) * floats, from + (back ? place : natural) * floats,
                   floats * sizeof *to);
        }
}

/* x [n, C] += attention(norm1(x)); x += mlp(norm2(x)) */
static int block_run(const Vit *v, const Block *b, Compute *c, const Plan *p, size_t grids,
                     bool full, const float *cos, const float *sin, float *x)
{
    const VisionHparams *h = v->h;
    const size_t n = grids * p->patches, hidden = (size_t)h->hidden;
    const size_t wide = (size_t)h->intermediate, half = (size_t)h->head_dim / 2;
    float *norm = compute_need(c, COMPUTE_NORM, n, hidden > wide ? hidden : wide);
    float *qkv = compute_need(c, COMPUTE_QKV, n, 3 * hidden);
    float *mixed = compute_need(c, COMPUTE_MIXED, n, hidden);
    float *update = compute_need(c, COMPUTE_UPDATE, n, hidden);
    float *gate_up = compute_need(c, COMPUTE_GATE_UP, n, 2 * wide);
    if (!norm || !qkv || !mixed || !update || !gate_up)
        return -ENOMEM;

    compute_rmsnorm(c, norm, x, b->norm1, n, hidden, h->norm_eps);
    int r = gemm_run(c->gemm, b->qkv, norm, n, qkv);
    if (r < 0)
        return r;
    /* Queries and keys lie side by side: one call turns both. */
    compute_rope(c, qkv, 3 * hidden, n, 2 * (size_t)h->heads, cos, sin, half);
    r = attention_segments(c->attention, qkv, full ? p->frames : p->windows,
                           full ? grids : grids * p->n_windows, h->heads, h->head_dim, v->bf16,
                           mixed);
    if (r == 0)
        r = gemm_run(c->gemm, b->proj, mixed, n, update);
    if (r < 0)
        return r;
    compute_add_rmsnorm(c, norm, x, update, b->norm2, n, hidden, h->norm_eps);
    r = gemm_run(c->gemm, b->gate_up, norm, n, gate_up);
    if (r < 0)
        return r;
    compute_silu_mul(c, norm, gate_up, n, wide);
    r = gemm_run(c->gemm, b->down, norm, n, update);
    if (r == 0)
        compute_add(c, x, update, n, hidden);
    return r;
}

/* A piece of `grids` whole grids; first: the index of its first patch in the video. */
static int piece_run(const Vit *v, Compute *c, const Plan *p, size_t grids, size_t first,
                     const float *cos, const float *sin, const float *pixels, float *tokens)
{
    const VisionHparams *h = v->h;
    const size_t unit = (size_t)(h->merge * h->merge), hidden = (size_t)h->hidden;
    const size_t n = grids * p->patches, merged = unit * hidden, out = (size_t)h->out_hidden;
    float *x = compute_need(c, COMPUTE_HIDDEN, n, hidden);
    float *embedded = compute_need(c, COMPUTE_UPDATE, n, hidden > out ? hidden : out);
    if (!x || !embedded)
        return -ENOMEM;
    int r = gemm_run(c->gemm, v->embed, pixels, n, embedded);
    if (r < 0)
        return r;
    compute_seen(c, "patch_embed", 0, first, n, hidden, embedded);
    reorder(p, unit, grids, merged, false, x, embedded);

    for (int i = 0; i < h->depth; i++) {
        r = block_run(v, &v->blocks[i], c, p, grids, h->full_attention[i], cos, sin, x);
        if (r < 0)
            return r;
        compute_seen(c, "block", i, first, n, hidden, x);
    }

    float *norm = compute_need(c, COMPUTE_NORM, n, hidden);
    float *inner = compute_need(c, COMPUTE_MIXED, n, hidden);
    float *update = compute_need(c, COMPUTE_UPDATE, n / unit, out);
    if (!norm || !inner || !update)
        return -ENOMEM;
    compute_rmsnorm(c, norm, x, v->merger_norm, n, hidden, h->norm_eps);
    r = gemm_run(c->gemm, v->merger_in, norm, n / unit, inner);
    if (r < 0)
        return r;
    compute_gelu(c, inner, n / unit, merged);
    r = gemm_run(c->gemm, v->merger_out, inner, n / unit, update);
    if (r < 0)
        return r;
    reorder(p, unit, grids, out, true, tokens, update);
    compute_seen(c, "merger", 0, first / unit, n / unit, out, tokens);
    return 0;
}

int vit_run(const Vit *v, Compute *c, const float *pixels, const int32_t grid_thw[3], float *tokens)
{
    const VisionHparams *h = v->h;
    const int height = grid_thw[1], width = grid_thw[2];
    if (grid_thw[0] <= 0 || height <= 0 || width <= 0 || height % h->merge != 0 ||
        width % h->merge != 0)
        return -EINVAL;
    const size_t grids = (size_t)grid_thw[0],
                 values = (size_t)(h->in_channels * h->temporal_patch * h->patch * h->patch);
    size_t patches = (size_t)height * (size_t)width;
    size_t piece = PIECE_PATCHES / patches;
    piece = piece < 1 ? 1 : piece < grids ? piece : grids;
    _cleanup_(plan_deinit) Plan plan;
    float *cos, *sin;
    int r = plan_make(v, c, height, width, piece, &plan, &cos, &sin);
    for (size_t t = 0; r == 0 && t < grids; t += piece) {
        size_t count = grids - t < piece ? grids - t : piece, first = t * patches;
        r = piece_run(v, c, &plan, count, first, cos, sin, pixels + first * values,
                      tokens + first / (size_t)(h->merge * h->merge) * (size_t)h->out_hidden);
    }
    return r;
}

/* One prompt: stages seen through the tap, and logits. See llm_case.h. */
#include "tests/golden/llm_case.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void llm_case_deinit(LlmCase *c)
{
    npy_deinit(&c->ids);
    npy_deinit(&c->positions);
    free(c->embeds);
    free(c->norm);
}

bool llm_case_npy(const LlmCase *c, GoldenRow *row, const char *folder, const char *name,
                  NpyType type, Npy *npy)
{
    return golden_npy(row, golden_path(c->g, "%s%s.npy", folder, name), type, npy);
}

/* Rows first .. of NAME_f32, when it is stored. `what` in tolerances.json. */
static void compare(const LlmCase *c, GoldenRow *row, const char *name, size_t first, size_t rows,
                    size_t columns, const float *got, double otherwise)
{
    char file[96];
    _cleanup_(npy_deinit) Npy want = {0};
    snprintf(file, sizeof file, "%s_f32", name);
    if (!golden_exists(c->g, "%s%s.npy", c->folder, file))
        return;
    if (!llm_case_npy(c, row, c->folder, file, NPY_F32, &want))
        return;
    if ((first + rows) * columns > want.n) {
        golden_fail(row, "%s%s: %zu values, reference %zu", c->folder, name,
                    (first + rows) * columns, want.n);
        return;
    }
    char place[128];
    snprintf(place, sizeof place, "%.90s%.30s", c->folder, name);
    const float *values = (const float *)want.data + first * columns;
    if (c->bf16)
        golden_rms(row, place, got, values, rows * columns,
                   golden_measured(c->g, otherwise, "%s/%s/rel_rms", c->measured, name));
    else
        golden_f32(row, place, got, values, rows * columns);
}

static void on_stage(void *user, const char *stage, int layer, size_t first, size_t rows,
                     size_t columns, const float *values)
{
    LlmCase *c = user;
    char name[64];
    if (first + rows > c->ids.n) {
        golden_fail(&c->rows->layers, "%s: rows beyond the prompt's end", c->folder);
        return;
    }
    if (strcmp(stage, "layer") == 0) {
        snprintf(name, sizeof name, "layer_%02d", layer);
        compare(c, &c->rows->layers, name, first, rows, columns, values, 0.04);
    }
    if (strcmp(stage, "final_norm") == 0) {
        memcpy(c->norm + first * columns, values, rows * columns * sizeof *values);
        compare(c, &c->rows->norm, "final_norm", first, rows, columns, values, 0.044);
    }
}

bool llm_case_embed(LlmCase *c, const float *visual, size_t n_visual)
{
    const Hparams *h = engine_hparams(c->engine);
    size_t used = 0;
    c->embeds = mem_new_aligned(c->ids.n * c->hidden, sizeof *c->embeds);
    c->norm = mem_new_array(c->ids.n * c->hidden, sizeof *c->norm);
    if (!c->embeds || !c->norm) {
        golden_fail(&c->rows->embeds, "no memory");
        return false;
    }
    for (size_t i = 0; i < c->ids.n; i++) {
        const int32_t id = ((const int32_t *)c->ids.data)[i];
        if ((id == h->image_token || id == h->video_token) && used < n_visual)
            memcpy(c->embeds + i * c->hidden, visual + used++ * c->hidden,
                   c->hidden * sizeof *c->embeds);
        else if (id >= 0 && id < h->text.vocab)
            llm_embed(c->engine->llm, id, c->embeds + i * c->hidden);
    }
    if (used != n_visual)
        golden_fail(&c->rows->embeds, "%s: %zu of %zu visual tokens have a place", c->folder, used,
                    n_visual);
    compare(c, &c->rows->embeds, "inputs_embeds", 0, c->ids.n, c->hidden, c->embeds, 0.018);
    return used == n_visual;
}

bool llm_case_prefill(LlmCase *c)
{
    const int32_t *positions = c->positions.data;
    int32_t next = 0;
    Error err = {0};
    const ComputeTap tap = {on_stage, c}, none = {0};
    for (size_t i = 0; i < c->positions.n; i++)
        next = positions[i] >= next ? positions[i] + 1 : next;
    timeline_rollback(c->timeline, (TimelineMark){0});
    timeline_tap(c->timeline, c->seen ? &none : &tap);
    int r = timeline_append_embeds(c->timeline, c->embeds, c->ids.data, positions, c->ids.n, next,
                                   &err);
    timeline_tap(c->timeline, &none);
    c->seen = true;
    if (r < 0)
        golden_fail(&c->rows->logits, "%s: %s", c->folder, err.text);
    return r == 0;
}

/* How far the reference's bf16 logits behind the prompt are off its own f32 ones, which are the
 * last of `exact` [n, vocab]. */
static double last_rms(const LlmCase *c, const float *bf16, const float *exact, size_t n)
{
    const float *last = exact + (n - 1) * c->vocab;
    double error = 0, size = 0;
    for (size_t i = 0; i < c->vocab; i++) {
        error += ((double)bf16[i] - (double)last[i]) * ((double)bf16[i] - (double)last[i]);
        size += (double)last[i] * (double)last[i];
    }
    return sqrt(error / size);
}

/* Against the logits of the reference's bf16 model behind the whole prompt: both are off, each in
 * its own way, so within twice what that one is off there. at: where logits_f32 has logits. */
static void compare_last_bf16(const LlmCase *c, Compute *compute, const Npy *at)
{
    static const char NAME[] = "last_position_logits_of_bf16_model_f32";
    GoldenRow *row = &c->rows->logits;
    _cleanup_(npy_deinit) Npy want = {0}, exact = {0};
    if (!c->bf16 || !golden_exists(c->g, "%s%s.npy", c->folder, NAME))
        return;
    _cleanup_free_ float *logits = mem_new_aligned(c->vocab, sizeof *logits);
    if (!llm_case_npy(c, row, c->folder, NAME, NPY_F32, &want) ||
        !llm_case_npy(c, row, c->folder, "logits_f32", NPY_F32, &exact))
        return;
    if (!logits || want.n != c->vocab || exact.n != at->n * c->vocab || at->n == 0 ||
        ((const int32_t *)at->data)[at->n - 1] != (int32_t)c->ids.n - 1 ||
        llm_logits(c->engine->llm, compute, c->norm + (c->ids.n - 1) * c->hidden, 1, logits) < 0)
        golden_fail(row, "%s%s: failed", c->folder, NAME);
    else
        golden_rms(row, c->folder, logits, want.data, want.n,
                   2 * last_rms(c, want.data, exact.data, at->n));
}

void llm_case_logits(const LlmCase *c, Compute *compute)
{
    GoldenRow *row = &c->rows->logits;
    _cleanup_(npy_deinit) Npy at = {0};
    if (!llm_case_npy(c, row, c->folder, "logit_positions_i32", NPY_I32, &at))
        return;
    _cleanup_free_ float *normed = mem_new_aligned(at.n * c->hidden, sizeof *normed);
    _cleanup_free_ float *logits = mem_new_aligned(at.n * c->vocab, sizeof *logits);
    for (size_t i = 0; normed && i < at.n; i++) {
        const int32_t position = ((const int32_t *)at.data)[i];
        if (position < 0 || (size_t)position >= c->ids.n) {
            golden_fail(row, "%s: a position beyond the prompt's end", c->folder);
            return;
        }
        memcpy(normed + i * c->hidden, c->norm + (size_t)position * c->hidden,
               c->hidden * sizeof *normed);
    }
    if (!normed || !logits || llm_logits(c->engine->llm, compute, normed, at.n, logits) < 0)
        golden_fail(row, "%s: failed", c->folder);
    else
        compare(c, row, "logits", 0, at.n, c->vocab, logits, 0.044);
    compare_last_bf16(c, compute, &at);
}

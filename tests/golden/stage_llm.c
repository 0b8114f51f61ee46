/*
 * Stages 07 (language model: embeddings with visual tokens in place, every layer, final norm,
 * logits, greedy decoding; in f32 and in bf16) and 08 (the same with LoRA adapters merged at load).
 */
#include "base/mem.h"
#include "tests/golden/llm_case.h"

#include <stdio.h>
#include <string.h>

/* Tokens of the prompt's pictures by the vision transformer; n 0: it has none. */
static float *make_visual(const LlmCase *c, Compute *compute, const json_t *prompt, size_t *n)
{
    const Hparams *h = engine_hparams(c->engine);
    const char *pixel_values = json_string_value(json_object_get(prompt, "pixel_values"));
    GoldenRow *row = &c->rows->embeds;
    _cleanup_(npy_deinit) Npy pixels = {0};
    size_t n_grid = 0;
    *n = 0;
    if (!pixel_values)
        return NULL;
    _cleanup_free_ int32_t *grid = golden_ids(json_object_get(prompt, "grid_thw"), &n_grid);
    if (!grid || n_grid != 3 || prompt_vision_tokens(grid, h->vision.merge, n) < 0 ||
        !golden_npy(row, golden_path(c->g, "%s", pixel_values), NPY_F32, &pixels) ||
        pixels.n != *n * (size_t)(h->vision.merge * h->vision.merge * hparams_patch_values(h))) {
        golden_fail(row, "%s: no pixels for its grid", c->folder);
        *n = 0;
        return NULL;
    }
    float *visual = mem_new_array(*n * c->hidden, sizeof *visual);
    if (!visual || vit_run(c->engine->vit, compute, pixels.data, grid, visual) < 0)
        golden_fail(row, "%s: the vision transformer failed", c->folder);
    return visual;
}

/* Everything about one prompt. prompt_folder has the prompt, folder what it gave. */
static void run_case(LlmRows *rows, Golden *g, const Engine *engine, const char *prompt_folder,
                     const char *folder, const char *measured, bool bf16)
{
    const Hparams *h = engine_hparams(engine);
    _cleanup_(llm_case_deinit) LlmCase c = {.rows = rows,
                                            .g = g,
                                            .engine = engine,
                                            .folder = folder,
                                            .measured = measured,
                                            .bf16 = bf16,
                                            .hidden = (size_t)h->text.hidden,
                                            .vocab = (size_t)h->text.vocab};
    GoldenRow *row = &rows->logits;
    json_t *prompt = golden_json(row, golden_path(g, "%sprompt.json", prompt_folder));
    const int dim = h->text.head_dim > h->vision.head_dim ? h->text.head_dim : h->vision.head_dim;
    Compute compute = {0};
    Error err = {0};
    if (compute_init(&compute, 2, dim) < 0 || timeline_new(engine, &c.timeline, &err) < 0) {
        golden_fail(row, "no memory");
    } else if (prompt && llm_case_npy(&c, row, prompt_folder, "input_ids_i32", NPY_I32, &c.ids) &&
               llm_case_npy(&c, row, prompt_folder, "position_ids_i32", NPY_I32, &c.positions)) {
        size_t n = 0;
        _cleanup_free_ float *visual = make_visual(&c, &compute, prompt, &n);
        if (c.ids.n && c.positions.n == 3 * c.ids.n && llm_case_embed(&c, visual, n) &&
            llm_case_prefill(&c)) {
            llm_case_logits(&c, &compute);
            llm_case_greedy(&c);
        } else {
            golden_fail(row, "%s: not run", folder);
        }
    }
    json_decref(prompt);
    timeline_free(c.timeline);
    compute_deinit(&compute);
}

static Engine *open_engine(GoldenRow *row, Golden *g, const char *checkpoint, const char *lora,
                           EngineDtype dtype)
{
    Engine *engine = NULL;
    Error err = {0};
    EngineOptions options = {.dtype = dtype, .lora = lora};
    if (engine_open(golden_path(g, "00_checkpoints/%s", checkpoint), &options, &engine, &err) < 0)
        golden_fail(row, "%s: %s", checkpoint, err.text);
    return engine;
}

/* All prompts of a checkpoint. */
static void run_checkpoint(LlmRows *rows, Golden *g, const char *checkpoint, bool bf16)
{
    Engine *engine =
        open_engine(&rows->logits, g, checkpoint, NULL, bf16 ? ENGINE_BF16 : ENGINE_F32);
    char parent[128], folder[224], measured[224];
    snprintf(parent, sizeof parent, "07_llm/%s", checkpoint);
    char **prompts = engine ? golden_list(g, parent) : NULL;
    for (char **name = prompts; name && *name; name++) {
        snprintf(folder, sizeof folder, "%s/%.80s/", parent, *name);
        snprintf(measured, sizeof measured, "llm/%.100s/%.80s", checkpoint, *name);
        run_case(rows, g, engine, folder, folder, measured, bf16);
    }
    golden_list_free(prompts);
    engine_free(engine);
}

/* A row whose vectors some sets do not have at all is not shown then. */
static void end_if_any(GoldenRow *row)
{
    if (row->cases || row->bad)
        golden_row_end(row);
}

static void rows_end(LlmRows *r)
{
    end_if_any(&r->embeds);
    end_if_any(&r->layers);
    end_if_any(&r->norm);
    golden_row_end(&r->logits);
    golden_row_end(&r->greedy);
    end_if_any(&r->top_logits);
    end_if_any(&r->log_prob);
}

void stage_llm(Golden *g)
{
    if (!golden_has(g, "07_llm"))
        return;
    LlmRows f32 = {0}, bf16 = {0};
    golden_row_begin(&f32.embeds, g, "07 llm inputs_embeds", 2e-5);
    golden_row_begin(&f32.layers, g, "07 llm layers", 6e-5);
    golden_row_begin(&f32.norm, g, "07 llm final_norm", 9e-5);
    golden_row_begin(&f32.logits, g, "07 llm logits", 9e-5);
    golden_row_begin(&f32.greedy, g, "07 llm greedy ids, positions", 0);
    golden_row_begin(&f32.top_logits, g, "07 llm greedy top logits", 9e-5);
    golden_row_begin(&f32.log_prob, g, "07 llm greedy log_prob", 1e-3);
    golden_row_begin(&bf16.embeds, g, "07 llm inputs_embeds, bf16, rms", 0);
    golden_row_begin(&bf16.layers, g, "07 llm layers, bf16, rms", 0);
    golden_row_begin(&bf16.norm, g, "07 llm final_norm, bf16, rms", 0);
    golden_row_begin(&bf16.logits, g, "07 llm logits, bf16, rms", 0);
    golden_row_begin(&bf16.greedy, g, "07 llm greedy ids, bf16, forced", 0);
    golden_row_begin(&bf16.top_logits, g, "07 llm greedy top logits, bf16", 0);
    golden_row_begin(&bf16.log_prob, g, "07 llm greedy log_prob, bf16", 0.32);
    char **checkpoints = golden_list(g, "07_llm");
    for (char **name = checkpoints; name && *name; name++) {
        run_checkpoint(&f32, g, *name, false);
        run_checkpoint(&bf16, g, *name, true);
    }
    golden_list_free(checkpoints);
    rows_end(&f32);
    rows_end(&bf16);
}

/* Every prompt of the checkpoint whose name stands before _logits_f32.npy. */
static void run_adapter(LlmRows *rows, Golden *g, const char *checkpoint, const char *adapter)
{
    Engine *engine = open_engine(&rows->logits, g, checkpoint,
                                 golden_path(g, "08_lora/%s", adapter), ENGINE_F32);
    char parent[128], prompt[224], folder[128];
    snprintf(parent, sizeof parent, "07_llm/%.100s", checkpoint);
    char **prompts = engine ? golden_list(g, parent) : NULL;
    for (char **name = prompts; name && *name; name++) {
        snprintf(prompt, sizeof prompt, "%s/%.80s/", parent, *name);
        snprintf(folder, sizeof folder, "08_lora/%.80s_", *name);
        if (golden_exists(g, "%slogits_f32.npy", folder))
            run_case(rows, g, engine, prompt, folder, "", false);
    }
    golden_list_free(prompts);
    engine_free(engine);
}

void stage_lora(Golden *g)
{
    if (!golden_has(g, "08_lora"))
        return;
    LlmRows r = {0};
    golden_row_begin(&r.embeds, g, "08 lora inputs_embeds", 2e-5);
    golden_row_begin(&r.layers, g, "08 lora layers", 6e-5);
    golden_row_begin(&r.norm, g, "08 lora final_norm", 9e-5);
    golden_row_begin(&r.logits, g, "08 lora logits", 9e-5);
    golden_row_begin(&r.greedy, g, "08 lora greedy ids, positions", 0);
    golden_row_begin(&r.top_logits, g, "08 lora greedy top logits", 9e-5);
    golden_row_begin(&r.log_prob, g, "08 lora greedy log_prob", 1e-3);
    json_t *meta = golden_json(&r.logits, golden_path(g, "08_lora/meta.json"));
    const char *checkpoint = json_string_value(json_object_get(meta, "checkpoint"));
    if (!checkpoint)
        golden_fail(&r.logits, "08_lora/meta.json names no checkpoint");
    char **adapters = golden_list(g, "08_lora");
    for (char **name = adapters; checkpoint && name && *name; name++) {
        if (golden_exists(g, "08_lora/%s/adapter_config.json", *name))
            run_adapter(&r, g, checkpoint, *name);
        else
            golden_fail(&r.logits, "08_lora/%s is no adapter: not run", *name);
    }
    golden_list_free(adapters);
    json_decref(meta);
    rows_end(&r);
}

/*
 * Stages 07 (language model: embeddings with visual tokens in place, every layer, final norm,
 * logits, greedy decoding), 08 (the same with LoRA adapters merged at load) and 09 (a video from
 * its frames to the answer). f32; the logits once more with bf16 weights.
 */
#include "tests/golden/golden.h"

#include "base/mem.h"
#include "model/engine_private.h"
#include "model/timeline.h"

#include "model/patches.h"
#include "pipeline/reader.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct LlmRows {
    GoldenRow embeds, layers, norm, logits, bf16, greedy, log_prob;
} LlmRows;

typedef enum CaseKind { CASE_F32, CASE_BF16, CASE_LORA } CaseKind;

/* One prompt and what its tokens gave. */
typedef struct Case {
    LlmRows *rows;
    Golden *g;
    CaseKind kind;
    const char *folder;     /* "07_llm/a_untied/video/", or a prefix of file names */
    Npy ids, positions, at; /* at: positions of the stored logits */
    float *norm;            /* [L, H] from the tap */
    size_t hidden;
} Case;

static bool read_npy(GoldenRow *row, const char *folder, const char *name, NpyType type, Npy *npy)
{
    return golden_npy(row, golden_path(row->golden, "%s%s.npy", folder, name), type, npy);
}

/* All of NAME, when it is there, against n values. */
static void compare(GoldenRow *row, const char *folder, const char *name, const float *got,
                    size_t n)
{
    if (!golden_exists(row->golden, "%s%s.npy", folder, name))
        return;
    _cleanup_(npy_deinit) Npy want = {0};
    if (!read_npy(row, folder, name, NPY_F32, &want))
        return;
    if (want.n != n)
        golden_fail(row, "%s%s: %zu values, reference %zu", folder, name, n, want.n);
    else
        golden_f32(row, name, got, want.data, n);
}

static void on_stage(void *user, const char *stage, int layer, size_t first, size_t rows,
                     size_t columns, const float *values)
{
    Case *c = user;
    if (first != 0 || rows != c->ids.n) {
        golden_fail(&c->rows->logits, "%s: worked through in pieces", c->folder);
        return;
    }
    if (strcmp(stage, "layer") == 0 && c->kind != CASE_BF16) {
        char name[64];
        snprintf(name, sizeof name, "layer_%02d_f32", layer);
        compare(&c->rows->layers, c->folder, name, values, rows * columns);
    }
    if (strcmp(stage, "final_norm") == 0) {
        memcpy(c->norm, values, rows * columns * sizeof *values);
        if (c->kind == CASE_F32)
            compare(&c->rows->norm, c->folder, "final_norm_f32", values, rows * columns);
    }
}

/* The prompt's embeddings: of text from the table, of visual tokens from the vision transformer. */
static float *make_embeds(const Engine *engine, Compute *compute, GoldenRow *row, const Npy *ids,
                          const json_t *prompt)
{
    const Hparams *h = &engine->hparams;
    const size_t hidden = (size_t)h->text.hidden;
    const char *pixel_values = json_string_value(json_object_get(prompt, "pixel_values"));
    _cleanup_(npy_deinit) Npy pixels = {0};
    _cleanup_free_ float *visual = NULL;
    size_t n_visual = 0, n_grid = 0, used = 0;
    if (pixel_values) {
        _cleanup_free_ int32_t *grid = golden_ids(json_object_get(prompt, "grid_thw"), &n_grid);
        if (!grid || n_grid != 3 ||
            !golden_npy(row, golden_path(row->golden, "%s", pixel_values), NPY_F32, &pixels))
            return NULL;
        n_visual = (size_t)grid[0] * (size_t)grid[1] * (size_t)grid[2] / 4;
        visual = mem_new_array(n_visual * hidden, sizeof *visual);
        if (!visual || vit_run(engine->vit, compute, pixels.data, grid, visual) < 0)
            return NULL;
    }
    float *embeds = mem_new_aligned(ids->n * hidden, sizeof *embeds);
    for (size_t i = 0; embeds && i < ids->n; i++) {
        int32_t id = ((const int32_t *)ids->data)[i];
        if ((id == h->image_token || id == h->video_token) && used < n_visual)
            memcpy(embeds + i * hidden, visual + used++ * hidden, hidden * sizeof *embeds);
        else
            llm_embed(engine->llm, id, embeds + i * hidden);
    }
    if (used != n_visual)
        golden_fail(row, "%zu of %zu visual tokens have a place", used, n_visual);
    return embeds;
}

/* Greedy decoding against a .jsonl: ids and positions exact, log_prob, and the top logits. */
typedef struct Greedy {
    GoldenRow *ids, *log_prob, *logits;
    const json_t *steps;
    const char *what;
    size_t step;
} Greedy;

static void on_step(void *user, const GenerateStep *step)
{
    Greedy *g = user;
    const json_t *want = json_array_get(g->steps, g->step);
    char what[128];
    snprintf(what, sizeof what, "%.80s step %zu", g->what, g->step);
    g->step++;
    if (!want)
        return;
    int32_t got[] = {step->id, step->position};
    int32_t reference[] = {(int32_t)json_integer_value(json_object_get(want, "id")),
                           (int32_t)json_integer_value(json_object_get(want, "position"))};
    golden_i32(g->ids, what, got, reference, 2);
    double log_prob = json_number_value(json_object_get(want, "log_prob"));
    double difference = fabs(step->log_prob - log_prob);
    g->log_prob->cases++;
    if (difference > g->log_prob->worst_abs)
        g->log_prob->worst_abs = g->log_prob->worst_rel = difference;
    if (!(difference <= g->log_prob->tolerance))
        golden_fail(g->log_prob, "%s: log_prob %.6f, reference %.6f", what, step->log_prob,
                    log_prob);
    size_t n = 0;
    _cleanup_free_ int32_t *top = golden_ids(json_object_get(want, "top5_ids"), &n);
    float values[8], references[8];
    for (size_t i = 0; top && i < n && i < 8; i++) {
        values[i] = step->logits[top[i]];
        references[i] =
            (float)json_number_value(json_array_get(json_object_get(want, "top5_logits"), i));
    }
    golden_f32(g->logits, what, values, references, n < 8 ? n : 8);
}

/* Generates behind the prompt and compares with the steps of DIR/path. */
static void run_greedy(Timeline *timeline, LlmRows *rows, Golden *g, const char *path,
                       float penalty)
{
    json_t *steps = golden_jsonl(&rows->greedy, golden_path(g, "%s", path));
    if (!steps)
        return;
    Greedy greedy = {&rows->greedy, &rows->log_prob, &rows->logits, steps, path, 0};
    GenerateOptions options = {.max_tokens = json_array_size(steps),
                               .repetition_penalty = penalty,
                               .step = on_step,
                               .user = &greedy};
    _cleanup_token_ids_ TokenIds out = {0};
    Error err = {0};
    if (timeline_generate(timeline, &options, &out, &err) < 0)
        golden_fail(&rows->greedy, "%s: %s", path, err.text);
    if (out.n != json_array_size(steps))
        golden_fail(&rows->greedy, "%s: %zu tokens, reference %zu", path, out.n,
                    json_array_size(steps));
    json_decref(steps);
}

/* stop_case.json: another end token. */
static void run_stop(Timeline *timeline, LlmRows *rows, Golden *g, const char *path)
{
    json_t *stop = golden_json(&rows->greedy, golden_path(g, "%s", path));
    size_t n_eos = 0, n_want = 0;
    _cleanup_free_ int32_t *eos = golden_ids(json_object_get(stop, "eos_token_ids"), &n_eos);
    _cleanup_free_ int32_t *want = golden_ids(json_object_get(stop, "ids"), &n_want);
    json_decref(stop);
    if (!eos || !want)
        return;
    GenerateOptions options = {.max_tokens = n_want + 8, .eos = eos, .n_eos = (int)n_eos};
    _cleanup_token_ids_ TokenIds out = {0};
    Error err = {0};
    int r = timeline_generate(timeline, &options, &out, &err);
    if (r != 0 || out.n != n_want)
        golden_fail(&rows->greedy, "%s: %zu tokens, reference %zu", path, out.n, n_want);
    else
        golden_i32(&rows->greedy, path, out.ids, want, n_want);
}

/* Empties the timeline and appends the prompt again. */
static bool again(Timeline *timeline, const Case *c, const float *embeds)
{
    const int32_t *positions = c->positions.data;
    int32_t next = 0;
    for (size_t i = 0; i < c->positions.n; i++)
        next = positions[i] >= next ? positions[i] + 1 : next;
    Error err = {0};
    timeline_rollback(timeline, (TimelineMark){0});
    if (timeline_append_embeds(timeline, embeds, c->ids.data, positions, c->ids.n, next, &err) == 0)
        return true;
    golden_fail(&c->rows->logits, "%s: %s", c->folder, err.text);
    return false;
}

/* Logits at the stored positions, from the final norm that the tap kept. */
static void compare_logits(const Case *c, GoldenRow *row, const Engine *engine, Compute *compute)
{
    const size_t vocab = (size_t)engine->hparams.text.vocab, n = c->at.n;
    _cleanup_free_ float *normed = mem_new_aligned(n * c->hidden, sizeof *normed);
    _cleanup_free_ float *logits = mem_new_aligned(n * vocab, sizeof *logits);
    for (size_t i = 0; normed && i < n; i++)
        memcpy(normed + i * c->hidden, c->norm + (size_t)((int32_t *)c->at.data)[i] * c->hidden,
               c->hidden * sizeof *normed);
    if (!normed || !logits || llm_logits(engine->llm, compute, normed, n, logits) < 0)
        golden_fail(row, "%s: failed", c->folder);
    else
        compare(row, c->folder, "logits_f32", logits, n * vocab);
}

static void case_run(Case *c, const Engine *engine, Compute *compute, Timeline *timeline,
                     const json_t *prompt)
{
    LlmRows *rows = c->rows;
    _cleanup_free_ float *embeds = make_embeds(engine, compute, &rows->embeds, &c->ids, prompt);
    c->norm = mem_new_array(c->ids.n * c->hidden, sizeof *c->norm);
    if (!embeds || !c->norm) {
        golden_fail(&rows->embeds, "%s: failed", c->folder);
        return;
    }
    if (c->kind == CASE_F32)
        compare(&rows->embeds, c->folder, "inputs_embeds_f32", embeds, c->ids.n * c->hidden);
    ComputeTap tap = {on_stage, c}, none = {0};
    timeline_tap(timeline, &tap);
    bool ok = again(timeline, c, embeds);
    timeline_tap(timeline, &none);
    if (!ok)
        return;
    compare_logits(c, c->kind == CASE_BF16 ? &rows->bf16 : &rows->logits, engine, compute);
    if (c->kind == CASE_BF16)
        return;
    char path[256];
    snprintf(path, sizeof path, "%.200sgreedy_f32.jsonl", c->folder);
    run_greedy(timeline, rows, c->g, path, 1);
    snprintf(path, sizeof path, "%.200sgreedy_f32_repetition_penalty_1.05.jsonl", c->folder);
    if (golden_exists(c->g, "%s", path) && again(timeline, c, embeds))
        run_greedy(timeline, rows, c->g, path, 1.05f);
    snprintf(path, sizeof path, "%.200sstop_case.json", c->folder);
    if (golden_exists(c->g, "%s", path) && again(timeline, c, embeds))
        run_stop(timeline, rows, c->g, path);
}

static void case_deinit(Case *c)
{
    npy_deinit(&c->ids);
    npy_deinit(&c->positions);
    npy_deinit(&c->at);
    free(c->norm);
}

/* Everything about one prompt. prompt_folder has the prompt, folder what it gave. */
static void llm_case(LlmRows *rows, Golden *g, const Engine *engine, const char *prompt_folder,
                     const char *folder, CaseKind kind)
{
    _cleanup_(case_deinit) Case c = {.rows = rows, .g = g, .folder = folder, .kind = kind};
    c.hidden = (size_t)engine->hparams.text.hidden;
    GoldenRow *row = &rows->logits;
    json_t *prompt = golden_json(row, golden_path(g, "%sprompt.json", prompt_folder));
    Compute compute = {0};
    Timeline *timeline = NULL;
    Error err = {0};
    if (compute_init(&compute, 2, 256) < 0 || timeline_new(engine, &timeline, &err) < 0)
        golden_fail(row, "no memory");
    else if (prompt && read_npy(row, prompt_folder, "input_ids_i32", NPY_I32, &c.ids) &&
             read_npy(row, prompt_folder, "position_ids_i32", NPY_I32, &c.positions) &&
             read_npy(row, folder, "logit_positions_i32", NPY_I32, &c.at))
        case_run(&c, engine, &compute, timeline, prompt);
    json_decref(prompt);
    timeline_free(timeline);
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
static void llm_checkpoint(LlmRows *rows, Golden *g, const char *checkpoint, CaseKind kind)
{
    Engine *engine = open_engine(&rows->logits, g, checkpoint, NULL,
                                 kind == CASE_BF16 ? ENGINE_BF16 : ENGINE_F32);
    char parent[128], folder[192];
    snprintf(parent, sizeof parent, "07_llm/%s", checkpoint);
    char **prompts = engine ? golden_list(g, parent) : NULL;
    for (char **name = prompts; name && *name; name++) {
        snprintf(folder, sizeof folder, "%s/%s/", parent, *name);
        llm_case(rows, g, engine, folder, folder, kind);
    }
    golden_list_free(prompts);
    engine_free(engine);
}

void stage_llm(Golden *g)
{
    if (!golden_has(g, "07_llm"))
        return;
    LlmRows r = {0};
    golden_row_begin(&r.embeds, g, "07 llm inputs_embeds", 2e-5);
    golden_row_begin(&r.layers, g, "07 llm layers", 6e-5);
    golden_row_begin(&r.norm, g, "07 llm final_norm", 9e-5);
    golden_row_begin(&r.logits, g, "07 llm logits", 9e-5);
    golden_row_begin(&r.greedy, g, "07 llm greedy ids, positions", 0);
    golden_row_begin(&r.log_prob, g, "07 llm log_prob", 1e-3);
    golden_row_begin(&r.bf16, g, "07 llm logits of bf16", 0.1);
    char **checkpoints = golden_list(g, "07_llm");
    for (char **name = checkpoints; name && *name; name++) {
        llm_checkpoint(&r, g, *name, CASE_F32);
        llm_checkpoint(&r, g, *name, CASE_BF16);
    }
    golden_list_free(checkpoints);
    golden_row_end(&r.embeds);
    golden_row_end(&r.layers);
    golden_row_end(&r.norm);
    golden_row_end(&r.logits);
    golden_row_end(&r.greedy);
    golden_row_end(&r.log_prob);
    golden_row_end(&r.bf16);
}

void stage_lora(Golden *g)
{
    if (!golden_has(g, "08_lora"))
        return;
    static const char *const adapters[] = {"adapter", "adapter_older_key_names"};
    static const char *const prompts[] = {"text", "video"};
    LlmRows r = {0};
    golden_row_begin(&r.embeds, g, "08 lora inputs", 2e-5);
    golden_row_begin(&r.layers, g, "08 lora layer 0", 6e-5);
    golden_row_begin(&r.logits, g, "08 lora logits", 9e-5);
    golden_row_begin(&r.greedy, g, "08 lora greedy ids, positions", 0);
    golden_row_begin(&r.log_prob, g, "08 lora log_prob", 1e-3);
    json_t *meta = golden_json(&r.logits, golden_path(g, "08_lora/meta.json"));
    const char *checkpoint = json_string_value(json_object_get(meta, "checkpoint"));
    if (!checkpoint)
        golden_fail(&r.logits, "08_lora/meta.json names no checkpoint");
    for (size_t i = 0; checkpoint && i < 2; i++) {
        if (!golden_exists(g, "08_lora/%s", adapters[i]))
            continue;
        Engine *engine = open_engine(&r.logits, g, checkpoint,
                                     golden_path(g, "08_lora/%s", adapters[i]), ENGINE_F32);
        for (size_t j = 0; engine && j < 2; j++) {
            char prompt[256], folder[64];
            snprintf(prompt, sizeof prompt, "07_llm/%s/%s/", checkpoint, prompts[j]);
            snprintf(folder, sizeof folder, "08_lora/%s_", prompts[j]);
            if (golden_exists(g, "%slogits_f32.npy", folder))
                llm_case(&r, g, engine, prompt, folder, CASE_LORA);
        }
        engine_free(engine);
    }
    json_decref(meta);
    golden_row_end(&r.layers);
    golden_row_end(&r.logits);
    golden_row_end(&r.greedy);
    golden_row_end(&r.log_prob);
}

/* --- 09 --- */

typedef struct EndRows {
    GoldenRow stored, frames, pixels, positions, decoded;
    LlmRows llm;
} EndRows;

enum { MAX_FRAMES = 64 };

/* The pictures of the clip that the reference took, decoded by the pipeline. */
typedef struct Clip {
    uint8_t *frames[MAX_FRAMES];
    double pts_s[MAX_FRAMES];
    size_t n;
    int width, height;
} Clip;

static void clip_deinit(Clip *clip)
{
    for (size_t i = 0; i < clip->n; i++)
        free(clip->frames[i]);
}

static double csv_number(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));
    return text ? strtod(text, NULL) : -1;
}

/* Reads every picture; those whose index sampled_frames.csv lists are kept, and their times
 * compared. (The reference spreads its samples from the first picture to the last, the pipeline by
 * time: so the choice itself is stage 03's.) */
static void clip_read(Golden *g, GoldenRow *row, Clip *clip)
{
    Reader *reader = NULL;
    Error err = {0};
    ReaderOptions options = {.cell_px = 28, .min_pixels = 12544, .max_pixels = 602112};
    json_t *want = golden_csv(row, golden_path(g, "09_end_to_end/sampled_frames.csv"));
    int r = reader_open(golden_path(g, "09_end_to_end/clip.mp4"), &options, &reader, &err);
    Frame frame;
    while (r == 0 && (r = reader_next(reader, &frame, &err)) == 0) {
        const json_t *line = json_array_get(want, clip->n);
        if (!line || clip->n == MAX_FRAMES ||
            frame.index != (uint64_t)csv_number(line, "frame_index"))
            continue;
        size_t bytes = (size_t)frame.width * (size_t)frame.height * 3;
        uint8_t *copy = mem_new_array(bytes, 1);
        if (!copy)
            break;
        memcpy(copy, frame.rgb, bytes);
        clip->width = frame.width;
        clip->height = frame.height;
        clip->pts_s[clip->n] = (double)frame.pts_us / 1e6;
        clip->frames[clip->n++] = copy;
        int32_t got = (int32_t)lround((clip->pts_s[clip->n - 1] - clip->pts_s[0]) * 1e3);
        int32_t reference = (int32_t)lround(csv_number(line, "pts_seconds") * 1e3);
        golden_i32(row, "milliseconds", &got, &reference, 1);
    }
    if (r < 0)
        golden_fail(row, "clip.mp4: %s", err.text);
    if (clip->n == 0 || clip->n != json_array_size(want))
        golden_fail(row, "%zu of %zu pictures were found", clip->n, json_array_size(want));
    json_decref(want);
    reader_free(reader);
}

/* Pixel values of the first grid from the stored resized pictures: rows 0 and 64 are kept. */
static void compare_pixels(EndRows *r, const Hparams *h)
{
    _cleanup_(npy_deinit) Npy resized = {0}, want = {0};
    const char *folder = "09_end_to_end/";
    if (!read_npy(&r->pixels, folder, "resized_slots_0_1_last_u8", NPY_U8, &resized) ||
        !read_npy(&r->pixels, folder, "pixel_values_every_64th_row_f32", NPY_F32, &want))
        return;
    const size_t height = resized.shape[1], width = resized.shape[2];
    const size_t values = (size_t)hparams_patch_values(h);
    const uint8_t *frames[] = {resized.data, (const uint8_t *)resized.data + height * width * 3};
    size_t patches = height * width / 196;
    _cleanup_free_ float *pixels = mem_new_array(patches * values, sizeof *pixels);
    if (!pixels)
        return;
    patches_make(&h->vision, &h->video, frames, 2, (int)height, (int)width, 0, 1, pixels);
    for (size_t row = 0; row < patches; row += 64)
        golden_f32(&r->pixels, "pixel values", pixels + row * values,
                   (const float *)want.data + row / 64 * values, values);
}

/* The prompt with the stored visual tokens: logits and answer of the language model alone. */
static void run_stored(Golden *g, EndRows *r, const Engine *engine, Timeline *timeline,
                       const Npy *ids)
{
    const char *folder = "09_end_to_end/";
    const size_t hidden = (size_t)engine->hparams.text.hidden;
    Case c = {.rows = &r->llm, .g = g, .folder = folder, .ids = *ids, .hidden = hidden};
    _cleanup_(npy_deinit) Npy visual = {0}, positions = {0};
    if (!read_npy(&r->stored, folder, "visual_tokens_f32", NPY_F32, &visual) ||
        !read_npy(&r->stored, folder, "position_ids_i32", NPY_I32, &positions))
        return;
    c.positions = positions;
    _cleanup_free_ float *embeds = mem_new_aligned(ids->n * hidden, sizeof *embeds);
    size_t used = 0;
    for (size_t i = 0; embeds && i < ids->n; i++) {
        int32_t id = ((const int32_t *)ids->data)[i];
        if (id == engine->hparams.video_token && (used + 1) * hidden <= visual.n)
            memcpy(embeds + i * hidden, (const float *)visual.data + used++ * hidden,
                   hidden * sizeof *embeds);
        else
            llm_embed(engine->llm, id, embeds + i * hidden);
    }
    const float *logits = NULL;
    Error err = {0};
    if (!embeds || !again(timeline, &c, embeds) || timeline_logits(timeline, &logits, &err) < 0) {
        golden_fail(&r->stored, "failed: %s", err.text);
        return;
    }
    compare(&r->stored, folder, "last_position_logits_f32", logits,
            (size_t)engine->hparams.text.vocab);
    run_greedy(timeline, &r->llm, g, "09_end_to_end/greedy_f32.jsonl", 1);
}

/* Relative rms of the visual tokens against the stored ones. */
static void on_visual(void *user, const char *stage, int layer, size_t first, size_t rows,
                      size_t columns, const float *values)
{
    EndRows *r = user;
    (void)layer;
    if (strcmp(stage, "merger") != 0)
        return;
    _cleanup_(npy_deinit) Npy want = {0};
    if (!read_npy(&r->decoded, "09_end_to_end/", "visual_tokens_f32", NPY_F32, &want))
        return;
    if (first != 0 || rows * columns != want.n) {
        golden_fail(&r->decoded, "%zu values, reference %zu", rows * columns, want.n);
        return;
    }
    double error = 0, size = 0;
    for (size_t i = 0; i < want.n; i++) {
        double reference = ((const float *)want.data)[i], difference = values[i] - reference;
        error += difference * difference;
        size += reference * reference;
    }
    r->decoded.cases++;
    r->decoded.worst_rel = sqrt(error / size);
    if (!(r->decoded.worst_rel <= r->decoded.tolerance))
        golden_fail(&r->decoded, "relative rms %.4f", r->decoded.worst_rel);
}

/* The prompt with the decoded clip: position ids from the pictures' own times, exact. The
 * conversion to RGB is the pipeline's own and no part of the standard, so the visual tokens differ
 * as the README's table of other conversions has it, and the answer of a random model with them. */
static void run_decoded(EndRows *r, const Engine *engine, Timeline *timeline, const Npy *ids,
                        const Clip *clip)
{
    const int32_t video = engine->hparams.video_token, *all = ids->data;
    double seconds[MAX_FRAMES];
    for (size_t i = 0; i < clip->n; i += 2)
        seconds[i / 2] = clip->pts_s[i] - clip->pts_s[0];
    TimelineVideo frames = {.frames = (const uint8_t *const *)clip->frames,
                            .n_frames = clip->n,
                            .width = clip->width,
                            .height = clip->height,
                            .seconds = seconds};
    size_t begin = 0, end = ids->n;
    while (begin < ids->n && all[begin] != video)
        begin++;
    while (end > begin && all[end - 1] != video)
        end--;
    Error err = {0};
    ComputeTap tap = {on_visual, r}, none = {0};
    timeline_rollback(timeline, (TimelineMark){0});
    timeline_tap(timeline, &tap);
    int result = timeline_append_ids(timeline, all, begin, &err);
    if (result == 0)
        result = timeline_append_video(timeline, &frames, &err);
    if (result == 0)
        result = timeline_append_ids(timeline, all + end, ids->n - end, &err);
    timeline_tap(timeline, &none);
    if (result < 0) {
        golden_fail(&r->decoded, "%s", err.text);
        return;
    }
    _cleanup_(npy_deinit) Npy positions = {0};
    _cleanup_free_ int32_t *got = mem_new_array(3 * timeline_length(timeline), sizeof *got);
    if (!got || !read_npy(&r->positions, "09_end_to_end/", "position_ids_i32", NPY_I32, &positions))
        return;
    timeline_positions(timeline, got);
    if (positions.n != 3 * timeline_length(timeline))
        golden_fail(&r->positions, "%zu tokens, reference %zu", timeline_length(timeline),
                    positions.n / 3);
    else
        golden_i32(&r->positions, "position ids", got, positions.data, positions.n);
}

void stage_end_to_end(Golden *g)
{
    if (!golden_has(g, "09_end_to_end"))
        return;
    EndRows r = {0};
    golden_row_begin(&r.frames, g, "09 times of the clip's pictures", 0);
    golden_row_begin(&r.pixels, g, "09 pixel values", 5e-7);
    golden_row_begin(&r.positions, g, "09 position ids of the clip", 0);
    golden_row_begin(&r.stored, g, "09 last logits", 9e-5);
    golden_row_begin(&r.llm.logits, g, "09 top logits", 9e-5);
    golden_row_begin(&r.llm.greedy, g, "09 answer from stored tokens", 0);
    golden_row_begin(&r.llm.log_prob, g, "09 log_prob", 1e-3);
    golden_row_begin(&r.decoded, g, "09 visual tokens of the clip, rms", 0.1);
    Engine *engine = open_engine(&r.stored, g, "a_untied", NULL, ENGINE_F32);
    Timeline *timeline = NULL;
    Error err = {0};
    _cleanup_(clip_deinit) Clip clip = {0};
    _cleanup_(npy_deinit) Npy ids = {0};
    if (engine && timeline_new(engine, &timeline, &err) == 0 &&
        read_npy(&r.stored, "09_end_to_end/", "input_ids_i32", NPY_I32, &ids)) {
        clip_read(g, &r.frames, &clip);
        compare_pixels(&r, &engine->hparams);
        run_stored(g, &r, engine, timeline, &ids);
        if (clip.n > 0)
            run_decoded(&r, engine, timeline, &ids, &clip);
    }
    timeline_free(timeline);
    engine_free(engine);
    golden_row_end(&r.frames);
    golden_row_end(&r.pixels);
    golden_row_end(&r.positions);
    golden_row_end(&r.stored);
    golden_row_end(&r.llm.logits);
    golden_row_end(&r.llm.greedy);
    golden_row_end(&r.llm.log_prob);
    golden_row_end(&r.decoded);
}

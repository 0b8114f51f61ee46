/*
 * Stage 09: a video file to the answer. The file is decoded by the pipeline; which pictures, their
 * times, their RGB, sizes, pixel values, visual tokens, position ids, logits and the answer are
 * held against the reference; the language model alone also from the stored visual tokens.
 */
#include "base/mem.h"
#include "pipeline/reader.h"
#include "pipeline/resize.h"
#include "tests/golden/llm_case.h"

#include "model/patches.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The reference's limit on one frame of a video, when meta.json names none. */
#define DEFAULT_MAX_PIXELS INT64_C(602112)

typedef struct EndRows {
    GoldenRow choice, times, rgb, resized, pixels, visual, positions, stored, decoded;
    LlmRows llm, from_clip;
} EndRows;

/* The pictures that sampled_frames.csv lists, as the pipeline decodes them. */
typedef struct Clip {
    uint8_t *pixels; /* [n, height, width, 3] */
    size_t capacity;
    const uint8_t **frames; /* [n] of pixels */
    size_t n;
    int width, height;
    int64_t total; /* pictures in the file */
} Clip;

typedef struct End {
    Golden *g;
    EndRows rows;
    json_t *meta, *sampled; /* meta.json, sampled_frames.csv */
    const Engine *engine;
    Timeline *timeline;
    Npy ids, positions;
    Clip clip;
} End;

static double meta_number(const End *e, const char *key, double otherwise)
{
    const json_t *value = json_object_get(e->meta, key);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

static double csv_number(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));
    return text ? strtod(text, NULL) : -1;
}

static const char *file_of(const End *e, const char *name)
{
    return golden_path(e->g, "09_end_to_end/%s", name);
}

static void clip_deinit(Clip *clip)
{
    free(clip->pixels);
    free(clip->frames);
}

/* Every listed picture of the file, sized between these limits. */
static bool clip_read(End *e, GoldenRow *row, const ReaderOptions *options, bool times, Clip *clip)
{
    const char *video = json_string_value(json_object_get(e->meta, "video"));
    const size_t listed = json_array_size(e->sampled);
    Reader *reader = NULL;
    Error err = {0};
    Frame frame;
    double first_s = 0;
    int r = reader_open(file_of(e, video ? video : "clip.mp4"), options, &reader, &err);
    for (; r == 0 && (r = reader_next(reader, &frame, &err)) == 0; clip->total++) {
        const json_t *line = json_array_get(e->sampled, clip->n);
        if (!line || frame.index != (uint64_t)csv_number(line, "frame_index"))
            continue;
        const size_t bytes = (size_t)frame.width * (size_t)frame.height * 3;
        if (mem_grow((void **)&clip->pixels, &clip->capacity, (clip->n + 1) * bytes, 1) < 0)
            break;
        memcpy(clip->pixels + clip->n * bytes, frame.rgb, bytes);
        clip->width = frame.width;
        clip->height = frame.height;
        if (clip->n++ == 0)
            first_s = csv_number(line, "pts_seconds");
        const int32_t got = (int32_t)lround((double)frame.pts_us / 1e3);
        const int32_t want = (int32_t)lround((csv_number(line, "pts_seconds") - first_s) * 1e3);
        if (times)
            golden_i32(row, "milliseconds", &got, &want, 1);
    }
    reader_free(reader);
    if (r < 0)
        golden_fail(row, "%s", err.text);
    clip->frames = mem_new_array(listed, sizeof *clip->frames);
    if (!clip->frames || clip->n == 0 || clip->n != listed) {
        golden_fail(row, "%zu of %zu pictures were found", clip->n, listed);
        return false;
    }
    for (size_t i = 0; i < clip->n; i++)
        clip->frames[i] = clip->pixels + i * (size_t)clip->width * (size_t)clip->height * 3;
    return true;
}

/* The rule's choice among as many pictures as the decoder gave. */
static void compare_choice(End *e)
{
    GoldenRow *row = &e->rows.choice;
    _cleanup_free_ int32_t *got = NULL;
    size_t n = 0;
    int r = resize_sample_frames(e->clip.total, meta_number(e, "fps", 0),
                                 meta_number(e, "asked_fps", 2), 0, 0, &got, &n);
    if (r != 0 || n != json_array_size(e->sampled)) {
        golden_fail(row, "%zu frames, reference %zu", n, json_array_size(e->sampled));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const int32_t want = (int32_t)csv_number(json_array_get(e->sampled, i), "frame_index");
        golden_i32(row, "frame", &got[i], &want, 1);
    }
}

/* Pictures 0, 1 and the last of the clip against NAME [3, height, width, 3]. */
static void compare_slots(End *e, GoldenRow *row, const char *name, const Clip *clip, int levels,
                          double share)
{
    _cleanup_(npy_deinit) Npy want = {0};
    if (!golden_exists(e->g, "09_end_to_end/%s", name) ||
        !golden_npy(row, file_of(e, name), NPY_U8, &want))
        return;
    const size_t bytes = (size_t)clip->width * (size_t)clip->height * 3;
    const size_t slots[] = {0, 1, clip->n - 1};
    if (want.n != 3 * bytes || clip->n < 2) {
        golden_fail(row, "%s: %zu bytes, ours have %zu", name, want.n, 3 * bytes);
        return;
    }
    for (size_t i = 0; i < 3; i++)
        golden_u8(row, name, clip->frames[slots[i]], (const uint8_t *)want.data + i * bytes, bytes,
                  levels, share);
}

/* RGB at the file's own size: cells of one pixel change nothing. */
static void compare_rgb(End *e)
{
    const ReaderOptions options = {.cell_px = 1, .min_pixels = 1, .max_pixels = INT64_C(1) << 30};
    _cleanup_(clip_deinit) Clip clip = {0};
    if (clip_read(e, &e->rows.rgb, &options, false, &clip))
        compare_slots(e, &e->rows.rgb, "frames_rgb_slots_0_1_last_u8.npy", &clip, 3, 1);
}

/* Rows of our pixel values; a level of rounding in a picture is 1 / (255 std). */
static void compare_pixels(End *e, const float *pixels, size_t n_patches)
{
    GoldenRow *row = &e->rows.pixels;
    const Hparams *h = engine_hparams(e->engine);
    const size_t values = (size_t)hparams_patch_values(h);
    const size_t step = (size_t)meta_number(e, "pixel_values_row_step", 64);
    char name[64];
    snprintf(name, sizeof name, "pixel_values_every_%zuth_row_f32.npy", step);
    _cleanup_(npy_deinit) Npy want = {0};
    if (!step || !golden_npy(row, file_of(e, name), NPY_F32, &want))
        return;
    if (want.n != (n_patches + step - 1) / step * values) {
        golden_fail(row, "%s: %zu values", name, want.n);
        return;
    }
    for (size_t at = 0; at < n_patches; at += step)
        golden_f32(row, name, pixels + at * values, (const float *)want.data + at / step * values,
                   values);
}

/* The clip's visual tokens [*n, H]. */
static float *make_visual(End *e, size_t *n)
{
    const Hparams *h = engine_hparams(e->engine);
    const Clip *clip = &e->clip;
    GoldenRow *row = &e->rows.visual;
    Compute compute = {0};
    _cleanup_(npy_deinit) Npy want = {0};
    int32_t grid[3];
    float *visual = NULL;
    *n = 0;
    if (patches_grid(&h->vision, clip->n, clip->height, clip->width, grid) < 0 ||
        prompt_vision_tokens(grid, h->vision.merge, n) < 0 ||
        compute_init(&compute, 2, h->vision.head_dim) < 0) {
        golden_fail(row, "no grid");
        return NULL;
    }
    const size_t n_patches = (size_t)grid[0] * (size_t)grid[1] * (size_t)grid[2];
    _cleanup_free_ float *pixels =
        mem_new_aligned(n_patches * (size_t)hparams_patch_values(h), sizeof *pixels);
    visual = mem_new_array(*n * (size_t)h->text.hidden, sizeof *visual);
    if (pixels && visual) {
        patches_make(&h->vision, &h->video, clip->frames, clip->n, clip->height, clip->width, 0,
                     (size_t)grid[0], pixels);
        compare_pixels(e, pixels, n_patches);
        if (vit_run(e->engine->vit, &compute, pixels, grid, visual) < 0)
            golden_fail(row, "the vision transformer failed");
    }
    compute_deinit(&compute);
    if (golden_npy(row, file_of(e, "visual_tokens_f32.npy"), NPY_F32, &want)) {
        if (!visual || want.n != *n * (size_t)h->text.hidden)
            golden_fail(row, "%zu visual tokens, reference %zu values", *n, want.n);
        else
            golden_rms(row, "visual tokens", visual, want.data, want.n, 5e-3);
    }
    return visual;
}

/* The prompt with these visual tokens: logits behind it, and the answer. */
static void run_prompt(End *e, LlmRows *rows, GoldenRow *last, const float *visual, size_t n,
                       double tolerance)
{
    const Hparams *h = engine_hparams(e->engine);
    LlmCase c = {.rows = rows,
                 .g = e->g,
                 .engine = e->engine,
                 .timeline = e->timeline,
                 .folder = "09_end_to_end/",
                 .measured = "",
                 .ids = e->ids,
                 .positions = e->positions,
                 .hidden = (size_t)h->text.hidden,
                 .vocab = (size_t)h->text.vocab};
    _cleanup_(npy_deinit) Npy want = {0};
    const float *logits = NULL;
    Error err = {0};
    if (!visual || !llm_case_embed(&c, visual, n) || !llm_case_prefill(&c) ||
        timeline_logits(e->timeline, &logits, &err) < 0)
        golden_fail(last, "failed: %s", err.text);
    else if (golden_npy(last, file_of(e, "last_position_logits_f32.npy"), NPY_F32, &want)) {
        if (want.n != c.vocab)
            golden_fail(last, "%zu logits, reference %zu", c.vocab, want.n);
        else
            golden_close(last, "last logits", logits, want.data, want.n, tolerance);
        llm_case_greedy(&c);
    }
    free(c.embeds);
    free(c.norm);
}

static void run_stored(End *e)
{
    _cleanup_(npy_deinit) Npy visual = {0};
    const size_t hidden = (size_t)engine_hparams(e->engine)->text.hidden;
    if (golden_npy(&e->rows.stored, file_of(e, "visual_tokens_f32.npy"), NPY_F32, &visual))
        run_prompt(e, &e->rows.llm, &e->rows.stored, visual.data, visual.n / hidden, 9e-5);
}

/* Position ids as a timeline makes them of the clip, evenly spaced as the reference takes it. */
static void compare_positions(End *e)
{
    GoldenRow *row = &e->rows.positions;
    const int32_t video = engine_hparams(e->engine)->video_token, *ids = e->ids.data;
    const size_t n = e->ids.n, grids = (e->clip.n + 1) / 2;
    size_t begin = 0, end = n;
    Error err = {0};
    _cleanup_free_ double *seconds = mem_new_array(grids, sizeof *seconds);
    _cleanup_free_ int32_t *got = mem_new_array(3 * n, sizeof *got);
    for (size_t k = 0; seconds && k < grids; k++)
        seconds[k] = (double)k * meta_number(e, "second_per_grid", 1);
    while (begin < n && ids[begin] != video)
        begin++;
    while (end > begin && ids[end - 1] != video)
        end--;
    const TimelineVideo frames = {.frames = e->clip.frames,
                                  .n_frames = e->clip.n,
                                  .width = e->clip.width,
                                  .height = e->clip.height,
                                  .seconds = seconds};
    timeline_rollback(e->timeline, (TimelineMark){0});
    int r = seconds && got ? timeline_append_ids(e->timeline, ids, begin, &err) : -1;
    if (r == 0)
        r = timeline_append_video(e->timeline, &frames, &err);
    if (r == 0)
        r = timeline_append_ids(e->timeline, ids + end, n - end, &err);
    if (r < 0 || timeline_length(e->timeline) != n || e->positions.n != 3 * n) {
        golden_fail(row, "%zu tokens, reference %zu: %s", timeline_length(e->timeline), n,
                    err.text);
        return;
    }
    timeline_positions(e->timeline, got);
    golden_i32(row, "position ids", got, e->positions.data, 3 * n);
    golden_i32(row, "ids", timeline_ids(e->timeline), ids, n);
}

static void rows_begin(EndRows *r, Golden *g)
{
    golden_row_begin(&r->choice, g, "09 choice of the clip's pictures", 0);
    golden_row_begin(&r->times, g, "09 times of the clip's pictures", 0);
    golden_row_begin(&r->rgb, g, "09 RGB of the clip, levels", 3 / 255.0);
    golden_row_begin(&r->resized, g, "09 resized pictures of the clip", 1 / 255.0);
    golden_row_begin(&r->pixels, g, "09 pixel values of the clip", 8e-3);
    golden_row_begin(&r->visual, g, "09 visual tokens of the clip, rms", 0);
    golden_row_begin(&r->positions, g, "09 ids, positions of the clip", 0);
    golden_row_begin(&r->decoded, g, "09 last logits from the clip", 0);
    golden_row_begin(&r->from_clip.greedy, g, "09 answer from the clip", 0);
    golden_row_begin(&r->from_clip.top_logits, g, "09 top logits from the clip", 2e-3);
    golden_row_begin(&r->from_clip.log_prob, g, "09 log_prob from the clip", 2e-2);
    golden_row_begin(&r->stored, g, "09 last logits", 9e-5);
    golden_row_begin(&r->llm.greedy, g, "09 answer from stored tokens", 0);
    golden_row_begin(&r->llm.top_logits, g, "09 top logits", 9e-5);
    golden_row_begin(&r->llm.log_prob, g, "09 log_prob", 1e-3);
}

static void rows_end(EndRows *r)
{
    GoldenRow *const rows[] = {&r->choice,
                               &r->times,
                               &r->rgb,
                               &r->resized,
                               &r->pixels,
                               &r->visual,
                               &r->positions,
                               &r->decoded,
                               &r->from_clip.greedy,
                               &r->from_clip.top_logits,
                               &r->from_clip.log_prob,
                               &r->stored,
                               &r->llm.greedy,
                               &r->llm.top_logits,
                               &r->llm.log_prob};
    /* What goes wrong before anything is compared is told by rows that are not shown. */
    if (r->llm.embeds.bad)
        golden_fail(&r->stored, "%s", r->llm.embeds.first_bad);
    if (r->from_clip.embeds.bad)
        golden_fail(&r->decoded, "%s", r->from_clip.embeds.first_bad);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        golden_row_end(rows[i]);
}

static void run_all(End *e)
{
    const double most =
        meta_number(e, "used_max_pixels", meta_number(e, "max_pixels", (double)DEFAULT_MAX_PIXELS));
    const ReaderOptions options = {.cell_px = engine_cell_px(e->engine),
                                   .min_pixels = (int64_t)meta_number(e, "min_pixels", 100352),
                                   .max_pixels = (int64_t)most};
    size_t n = 0;
    run_stored(e);
    if (!clip_read(e, &e->rows.times, &options, true, &e->clip))
        return;
    compare_choice(e);
    compare_rgb(e);
    compare_slots(e, &e->rows.resized, "resized_slots_0_1_last_u8.npy", &e->clip, 1, 0.01);
    _cleanup_free_ float *visual = make_visual(e, &n);
    compare_positions(e);
    run_prompt(e, &e->rows.from_clip, &e->rows.decoded, visual, n, 2e-3);
}

void stage_end_to_end(Golden *g)
{
    if (!golden_has(g, "09_end_to_end"))
        return;
    End e = {.g = g};
    Engine *engine = NULL;
    Error err = {0};
    const EngineOptions options = {.dtype = ENGINE_F32};
    rows_begin(&e.rows, g);
    e.meta = golden_json(&e.rows.stored, file_of(&e, "meta.json"));
    e.sampled = golden_csv(&e.rows.times, file_of(&e, "sampled_frames.csv"));
    const char *checkpoint = json_string_value(json_object_get(e.meta, "checkpoint"));
    if (!checkpoint)
        golden_fail(&e.rows.stored, "09_end_to_end/meta.json names no checkpoint");
    else if (engine_open(golden_path(g, "00_checkpoints/%s", checkpoint), &options, &engine, &err) <
                 0 ||
             timeline_new(engine, &e.timeline, &err) < 0)
        golden_fail(&e.rows.stored, "%s: %s", checkpoint, err.text);
    else if (golden_npy(&e.rows.stored, file_of(&e, "input_ids_i32.npy"), NPY_I32, &e.ids) &&
             golden_npy(&e.rows.stored, file_of(&e, "position_ids_i32.npy"), NPY_I32,
                        &e.positions)) {
        e.engine = engine;
        run_all(&e);
    }
    timeline_free(e.timeline);
    engine_free(engine);
    clip_deinit(&e.clip);
    npy_deinit(&e.ids);
    npy_deinit(&e.positions);
    json_decref(e.meta);
    json_decref(e.sampled);
    rows_end(&e.rows);
}

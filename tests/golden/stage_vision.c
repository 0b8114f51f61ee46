/*
 * Stages 05 (pixel values of resized pictures) and 06 (windows, rotation, embedding, every block
 * and the merger of the vision transformer, in f32 and in bf16).
 */
#include "tests/golden/golden.h"

#include "base/mem.h"
#include "model/engine_private.h"
#include "model/patches.h"

#include <stdio.h>
#include <string.h>

static void patches_case(GoldenRow *row, const char *name, const Hparams *h)
{
    char path[160];
    _cleanup_(npy_deinit) Npy resized = {0}, want = {0};
    snprintf(path, sizeof path, "05_preprocess/%s/resized_u8.npy", name);
    if (!golden_npy(row, golden_path(row->golden, "%s", path), NPY_U8, &resized))
        return;
    snprintf(path, sizeof path, "05_preprocess/%s/pixel_values_f32.npy", name);
    if (!golden_npy(row, golden_path(row->golden, "%s", path), NPY_F32, &want))
        return;
    size_t n = resized.shape[0], height = resized.shape[1], width = resized.shape[2];
    _cleanup_free_ const uint8_t **frames = mem_new_array(n, sizeof *frames);
    int32_t grid[3];
    if (!frames || resized.n_dims != 4 ||
        patches_grid(&h->vision, n, (int)height, (int)width, grid) < 0) {
        golden_fail(row, "%s: no grid", name);
        return;
    }
    for (size_t i = 0; i < n; i++)
        frames[i] = (const uint8_t *)resized.data + i * height * width * 3;
    size_t patches = (size_t)grid[0] * (size_t)grid[1] * (size_t)grid[2];
    if (patches * (size_t)hparams_patch_values(h) != want.n) {
        golden_fail(row, "%s: %zu patches", name, patches);
        return;
    }
    _cleanup_free_ float *pixels = mem_new_aligned(want.n, sizeof *pixels);
    if (!pixels) {
        golden_fail(row, "no memory");
        return;
    }
    patches_make(&h->vision, n == 1 ? &h->image : &h->video, frames, n, (int)height, (int)width, 0,
                 (size_t)grid[0], pixels);
    golden_f32(row, name, pixels, want.data, want.n);
}

/* The sizes of the checkpoint that 06 uses this case with, else of the first. */
static bool case_hparams(GoldenRow *row, const char *name, char **checkpoints, Hparams *h)
{
    Golden *g = row->golden;
    Error err = {0};
    const char *checkpoint = checkpoints && checkpoints[0] ? checkpoints[0] : "";
    for (char **c = checkpoints; c && *c; c++)
        if (golden_exists(g, "06_vit/%s/%s", *c, name)) {
            checkpoint = *c;
            break;
        }
    if (hparams_read(golden_path(g, "00_checkpoints/%s", checkpoint), h, &err) == 0)
        return true;
    golden_fail(row, "%s: no checkpoint: %s", name, err.text);
    return false;
}

void stage_patches(Golden *g)
{
    if (!golden_has(g, "05_preprocess"))
        return;
    GoldenRow row;
    /* 1e-6 absolute; the largest values are about 2. */
    golden_row_begin(&row, g, "05 pixel values", 5e-7);
    char **checkpoints = golden_list(g, "00_checkpoints");
    char **cases = golden_list(g, "05_preprocess");
    Hparams *h = mem_new_array(1, sizeof *h);
    for (char **name = cases; h && name && *name; name++)
        if (case_hparams(&row, *name, checkpoints, h))
            patches_case(&row, *name, h);
    free(h);
    golden_list_free(cases);
    golden_list_free(checkpoints);
    golden_row_end(&row);
}

/* The rows that one case adds to. */
typedef struct VitRows {
    GoldenRow order, rope, embed, blocks, merger;
    const char *folder; /* "06_vit/a_untied/img_square" */
    bool bf16;
} VitRows;

static bool case_npy(GoldenRow *row, const char *folder, const char *name, NpyType type, Npy *npy)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    return golden_npy(row, golden_path(row->golden, "%s", path), type, npy);
}

/* Rows first .. of NAME_f32, when it is stored. */
static void compare(const VitRows *r, GoldenRow *row, const char *name, size_t first, size_t rows,
                    size_t columns, const float *values, double otherwise)
{
    char file[96], place[192];
    snprintf(file, sizeof file, "%s_f32", name);
    if (!golden_exists(row->golden, "%s/%s.npy", r->folder, file))
        return;
    _cleanup_(npy_deinit) Npy want = {0};
    if (!case_npy(row, r->folder, file, NPY_F32, &want))
        return;
    snprintf(place, sizeof place, "%.140s/%.40s", r->folder, name);
    const float *reference = (const float *)want.data + first * columns;
    if ((first + rows) * columns > want.n)
        golden_fail(row, "%s: %zu values, reference %zu", place, (first + rows) * columns, want.n);
    else if (r->bf16)
        golden_rms(row, place, values, reference, rows * columns,
                   golden_measured(row->golden, otherwise, "vit/%s/%s/rel_rms",
                                   strchr(r->folder, '/') + 1, name));
    else
        golden_f32(row, place, values, reference, rows * columns);
}

static void on_stage(void *user, const char *stage, int layer, size_t first, size_t rows,
                     size_t columns, const float *values)
{
    VitRows *r = user;
    char name[64];
    if (strcmp(stage, "patch_embed") == 0)
        compare(r, &r->embed, "patch_embed", first, rows, columns, values, 0.004);
    if (strcmp(stage, "merger") == 0)
        compare(r, &r->merger, "merger", first, rows, columns, values, 0.02);
    if (strcmp(stage, "block") == 0) {
        snprintf(name, sizeof name, "block_%02d", layer);
        compare(r, &r->blocks, name, first, rows, columns, values, 0.019);
    }
}

/* Window order and boundaries of all frames, from those of one. */
static void compare_windows(VitRows *r, const VisionHparams *v, const int32_t grid[3])
{
    size_t t = (size_t)grid[0], patches = (size_t)grid[1] * (size_t)grid[2];
    size_t units = patches / (size_t)(v->merge * v->merge);
    _cleanup_(npy_deinit) Npy index = {0}, windows = {0}, frames = {0};
    _cleanup_free_ int32_t *order = mem_new_array(t * units, sizeof *order);
    _cleanup_free_ int32_t *begins = mem_new_array(t * units + 1, sizeof *begins);
    if (!order || !begins || !case_npy(&r->order, r->folder, "window_index_i32", NPY_I32, &index) ||
        !case_npy(&r->order, r->folder, "cu_window_seqlens_i32", NPY_I32, &windows) ||
        !case_npy(&r->order, r->folder, "cu_seqlens_i32", NPY_I32, &frames))
        return;
    size_t n = vit_windows(v, grid[1], grid[2], order, begins);
    for (size_t i = 1; i < t; i++) {
        for (size_t j = 0; j < units; j++)
            order[i * units + j] = order[j] + (int32_t)(i * units);
        for (size_t j = 1; j <= n; j++)
            begins[i * n + j] = begins[j] + (int32_t)(i * patches);
    }
    if (index.n != t * units || windows.n != t * n + 1 || frames.n != t + 1) {
        golden_fail(&r->order, "%s: %zu windows, reference %zu", r->folder, t * n, windows.n - 1);
        return;
    }
    golden_i32(&r->order, "window_index", order, index.data, index.n);
    golden_i32(&r->order, "cu_window_seqlens", begins, windows.data, windows.n);
    for (size_t i = 0; i <= t; i++) /* full blocks see a frame */
        begins[i] = (int32_t)(i * patches);
    golden_i32(&r->order, "cu_seqlens", begins, frames.data, frames.n);
}

/* The reference repeats both halves and all frames. */
static void compare_rope(VitRows *r, const VisionHparams *v, const int32_t grid[3])
{
    size_t t = (size_t)grid[0], patches = (size_t)grid[1] * (size_t)grid[2];
    size_t d = (size_t)v->head_dim, half = d / 2;
    _cleanup_(npy_deinit) Npy want_cos = {0}, want_sin = {0};
    _cleanup_free_ float *cos = mem_new_array(patches * half, sizeof *cos);
    _cleanup_free_ float *sin = mem_new_array(patches * half, sizeof *sin);
    _cleanup_free_ float *all = mem_new_array(t * patches * d, sizeof *all);
    if (!cos || !sin || !all ||
        !case_npy(&r->rope, r->folder, "rope_cos_f32", NPY_F32, &want_cos) ||
        !case_npy(&r->rope, r->folder, "rope_sin_f32", NPY_F32, &want_sin))
        return;
    if (want_cos.n != t * patches * d || want_sin.n != want_cos.n) {
        golden_fail(&r->rope, "%s: other size", r->folder);
        return;
    }
    vit_rope(v, grid[1], grid[2], cos, sin);
    for (int which = 0; which < 2; which++) {
        for (size_t i = 0; i < t * patches; i++)
            for (size_t j = 0; j < d; j++)
                all[i * d + j] = (which ? sin : cos)[i % patches * half + j % half];
        golden_f32(&r->rope, which ? "rope sin" : "rope cos", all,
                   which ? want_sin.data : want_cos.data, want_cos.n);
    }
}

static void vit_case(VitRows *r, const Engine *engine, Compute *compute)
{
    const Hparams *h = &engine->hparams;
    char path[256];
    snprintf(path, sizeof path, "%s/meta.json", r->folder);
    json_t *meta = golden_json(&r->merger, golden_path(r->merger.golden, "%s", path));
    const char *pixel_values = json_string_value(json_object_get(meta, "pixel_values"));
    size_t n_grid = 0;
    _cleanup_free_ int32_t *grid = golden_ids(json_object_get(meta, "grid_thw"), &n_grid);
    _cleanup_(npy_deinit) Npy pixels = {0};
    if (pixel_values && grid && n_grid == 3 &&
        golden_npy(&r->merger, golden_path(r->merger.golden, "%s", pixel_values), NPY_F32,
                   &pixels)) {
        if (!r->bf16) {
            compare_windows(r, &h->vision, grid);
            compare_rope(r, &h->vision, grid);
        }
        size_t tokens = 0;
        if (prompt_vision_tokens(grid, h->vision.merge, &tokens) < 0 ||
            pixels.n != tokens * (size_t)(h->vision.merge * h->vision.merge) *
                            (size_t)hparams_patch_values(h)) {
            golden_fail(&r->merger, "%s: pixel values do not fit the grid", r->folder);
            json_decref(meta);
            return;
        }
        _cleanup_free_ float *out =
            mem_new_array(tokens * (size_t)h->vision.out_hidden, sizeof *out);
        compute->tap = (ComputeTap){on_stage, r};
        if (!out || vit_run(engine->vit, compute, pixels.data, grid, out) < 0)
            golden_fail(&r->merger, "%s: failed", r->folder);
    } else {
        golden_fail(&r->merger, "%s: meta.json or pixel values missing", r->folder);
    }
    json_decref(meta);
}

static void vit_checkpoint(VitRows *r, Golden *g, const char *checkpoint)
{
    Error err = {0};
    Engine *engine = NULL;
    EngineOptions options = {.dtype = r->bf16 ? ENGINE_BF16 : ENGINE_F32};
    Compute compute = {0};
    if (engine_open(golden_path(g, "00_checkpoints/%s", checkpoint), &options, &engine, &err) < 0 ||
        compute_init(&compute, 2, engine->hparams.vision.head_dim) < 0) {
        golden_fail(&r->merger, "%s: %s", checkpoint, err.text);
    } else {
        char parent[128], folder[192];
        snprintf(parent, sizeof parent, "06_vit/%s", checkpoint);
        char **cases = golden_list(g, parent);
        for (char **name = cases; name && *name; name++) {
            snprintf(folder, sizeof folder, "%s/%s", parent, *name);
            r->folder = folder;
            vit_case(r, engine, &compute);
        }
        golden_list_free(cases);
    }
    compute_deinit(&compute);
    engine_free(engine);
}

void stage_vit(Golden *g)
{
    if (!golden_has(g, "06_vit"))
        return;
    VitRows f32 = {0}, bf16 = {.bf16 = true};
    golden_row_begin(&f32.order, g, "06 vit windows", 0);
    golden_row_begin(&f32.rope, g, "06 vit rope", 1e-6);
    golden_row_begin(&f32.embed, g, "06 vit patch_embed", 3e-5);
    golden_row_begin(&f32.blocks, g, "06 vit blocks", 3e-5);
    golden_row_begin(&f32.merger, g, "06 vit merger", 2e-5);
    golden_row_begin(&bf16.embed, g, "06 vit patch_embed, bf16, rms", 0);
    golden_row_begin(&bf16.blocks, g, "06 vit blocks, bf16, rms", 0);
    golden_row_begin(&bf16.merger, g, "06 vit merger, bf16, rms", 0);
    char **checkpoints = golden_list(g, "06_vit");
    for (char **name = checkpoints; name && *name; name++) {
        vit_checkpoint(&f32, g, *name);
        vit_checkpoint(&bf16, g, *name);
    }
    golden_list_free(checkpoints);
    golden_row_end(&f32.order);
    golden_row_end(&f32.rope);
    golden_row_end(&f32.embed);
    golden_row_end(&f32.blocks);
    golden_row_end(&f32.merger);
    golden_row_end(&bf16.embed);
    golden_row_end(&bf16.blocks);
    golden_row_end(&bf16.merger);
}

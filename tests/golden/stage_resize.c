/*
 * Stage 03 (sizes, frame choice, pixel budget; exact) and the resized pictures of stage 05, which
 * may differ by one level in 0.1 % of values: float rounding at ties.
 */
#include "tests/golden/golden.h"

#include "base/mem.h"
#include "pipeline/resize.h"

#include <errno.h>
#include <glib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fields of a row; "" when empty. */
static const char *field(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static int64_t integer(const json_t *row, const char *key, int64_t when_empty)
{
    const char *text = field(row, key);
    return *text ? strtoll(text, NULL, 10) : when_empty;
}

static double real(const json_t *row, const char *key, double when_empty)
{
    const char *text = field(row, key);
    return *text ? strtod(text, NULL) : when_empty;
}

/* What our functions return where the reference raised. */
static int code_of(const char *error)
{
    static const struct {
        const char *error;
        int code;
    } CODES[] = {{"", 0},
                 {"aspect_ratio_over_200", RESIZE_ASPECT},
                 {"max_below_min", RESIZE_LIMITS},
                 {"zero_side", RESIZE_ZERO},
                 {"bad_frame_count", RESIZE_FRAME_COUNT},
                 {"bad_time_range", RESIZE_TIME_RANGE}};
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++)
        if (strcmp(error, CODES[i].error) == 0)
            return CODES[i].code;
    return -EINVAL;
}

static void check_size(GoldenRow *row, const char *what, int r, int height, int width,
                       const json_t *want)
{
    row->cases++;
    if (r != code_of(field(want, "error")))
        golden_fail(row, "%s: returned %d where the reference has \"%s\"", what, r,
                    field(want, "error"));
    else if (r == 0 &&
             (height != integer(want, "out_height", 0) || width != integer(want, "out_width", 0)))
        golden_fail(row, "%s: %dx%d, reference %sx%s", what, height, width,
                    field(want, "out_height"), field(want, "out_width"));
}

static void sizes_row(Golden *g)
{
    GoldenRow row;
    golden_row_begin(&row, g, "03 smart resize", 0);
    json_t *list = golden_csv(&row, golden_path(g, "03_resize_sampling/smart_resize.csv"));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        int h = 0, w = 0;
        char what[32];
        snprintf(what, sizeof what, "row %zu", i + 2);
        int r = resize_target((int)integer(c, "height", 0), (int)integer(c, "width", 0),
                              (int)integer(c, "factor", 28), integer(c, "min_pixels", 0),
                              (double)integer(c, "max_pixels", 0), &h, &w);
        check_size(&row, what, r, h, w, c);
    }
    json_decref(list);
    golden_row_end(&row);
}

static void budget_row(Golden *g)
{
    GoldenRow row;
    golden_row_begin(&row, g, "03 video pixel budget", 0);
    json_t *list = golden_csv(&row, golden_path(g, "03_resize_sampling/video_pixel_budget.csv"));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        int h = 0, w = 0;
        char what[32];
        int64_t min = integer(c, "min_pixels", 128 * 784);
        int64_t total = integer(c, "total_pixels", (int64_t)(128000.0 * 784 * 0.9));
        double limit =
            resize_video_budget(integer(c, "nframes", 0), min, total, integer(c, "max_pixels", 0));
        snprintf(what, sizeof what, "row %zu", i + 2);
        if (limit != real(c, "used_max_pixels", -1))
            golden_fail(&row, "%s: limit %.17g, reference %s", what, limit,
                        field(c, "used_max_pixels"));
        /* A size given by hand goes to the nearest cells by the limits for images. */
        int r = *field(c, "resized_height")
                    ? resize_target((int)integer(c, "resized_height", 0),
                                    (int)integer(c, "resized_width", 0), 28, 4 * 784, 16384 * 784,
                                    &h, &w)
                    : resize_target((int)integer(c, "height", 0), (int)integer(c, "width", 0), 28,
                                    min, limit, &h, &w);
        check_size(&row, what, r, h, w, c);
        const int64_t tokens = (integer(c, "nframes", 0) + 1) / 2 * (h / 28) * (w / 28);
        if (r == 0 && *field(c, "visual_tokens") && tokens != integer(c, "visual_tokens", 0))
            golden_fail(&row, "%s: %lld visual tokens, reference %s", what, (long long)tokens,
                        field(c, "visual_tokens"));
    }
    json_decref(list);
    golden_row_end(&row);
}

/* What the reference says about the whole list: its length, rate, and hash as int32. */
static void check_whole(GoldenRow *row, const char *what, const json_t *c, const int32_t *got,
                        size_t n, int64_t first, int64_t total)
{
    const double rate = (double)n / (double)total * real(c, "video_fps", 0);
    const double want = real(c, "out_sample_fps", rate);
    if ((int64_t)n != integer(c, "out_nframes", (int64_t)n))
        golden_fail(row, "%s: %zu frames, reference %s", what, n, field(c, "out_nframes"));
    if (fabs(rate - want) > 1e-6 * want ||
        fabs(2 / rate - real(c, "out_second_per_grid", 2 / rate)) > 1e-6 * (2 / rate))
        golden_fail(row, "%s: %.9g frames a second, reference %s", what, rate,
                    field(c, "out_sample_fps"));
    if (integer(c, "indices_that_differ_in_float64", 0) || !*field(c, "sha256_16_of_indices_i32le"))
        return;
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    for (size_t i = 0; i < n; i++) {
        const uint32_t index = (uint32_t)(got[i] + (int32_t)first);
        const uint8_t bytes[4] = {(uint8_t)index, (uint8_t)(index >> 8), (uint8_t)(index >> 16),
                                  (uint8_t)(index >> 24)};
        g_checksum_update(sum, bytes, sizeof bytes);
    }
    if (strncmp(g_checksum_get_string(sum), field(c, "sha256_16_of_indices_i32le"), 16) != 0)
        golden_fail(row, "%s: another hash of all indices", what);
    g_checksum_free(sum);
}

/* The list is cut in the middle past 96 entries: "first 48 ... last 48". */
static void check_indices(GoldenRow *row, const char *what, const json_t *c, const int32_t *got,
                          size_t n, int64_t first)
{
    long slack = integer(c, "indices_that_differ_in_float64", 0) ? 1 : 0;
    _cleanup_free_ char *list = strdup(field(c, "indices"));
    size_t i = 0;
    char *rest = list;
    for (char *word; (word = strsep(&rest, " ")) != NULL; i++) {
        if (strcmp(word, "...") == 0) {
            i = n - 48 - 1;
            continue;
        }
        if (i >= n)
            break;
        long difference = labs(strtol(word, NULL, 10) - (long)first - got[i]);
        if (difference > slack)
            golden_fail(row, "%s: frame %zu is %d, reference %s", what, i, (int)got[i], word);
        if ((double)difference > row->worst_abs)
            row->worst_abs = (double)difference;
    }
    if (i != n)
        golden_fail(row, "%s: %zu frames, reference %zu", what, n, i);
}

static void frames_row(Golden *g)
{
    GoldenRow row;
    golden_row_begin(&row, g, "03 frame sampling", 0);
    json_t *list = golden_csv(&row, golden_path(g, "03_resize_sampling/frame_sampling.csv"));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        int64_t total = integer(c, "total_frames", 0), first = 0, last = total - 1;
        double video_fps = real(c, "video_fps", 0);
        _cleanup_free_ int32_t *got = NULL;
        size_t n = 0;
        int r = 0;
        char what[32];
        snprintf(what, sizeof what, "row %zu", i + 2);
        row.cases++;
        if (*field(c, "video_start") || *field(c, "video_end"))
            r = resize_time_range(total, video_fps, real(c, "video_start", NAN),
                                  real(c, "video_end", NAN), &first, &last);
        if (r == 0 && *field(c, "nframes"))
            r = resize_sample_count(last - first + 1, integer(c, "nframes", 0), &got, &n);
        else if (r == 0)
            r = resize_sample_frames(last - first + 1, video_fps, real(c, "fps", 2),
                                     integer(c, "min_frames", 0), integer(c, "max_frames", 0), &got,
                                     &n);
        if (r != code_of(field(c, "error")))
            golden_fail(&row, "%s: returned %d where the reference has \"%s\"", what, r,
                        field(c, "error"));
        else if (r == 0)
            check_indices(&row, what, c, got, n, first);
        if (r == 0 && got)
            check_whole(&row, what, c, got, n, first, last - first + 1);
    }
    json_decref(list);
    golden_row_end(&row);
}

/* The size that its meta.json tells of, by the rule. */
static void target_case(GoldenRow *row, const char *name)
{
    json_t *meta = golden_json(row, golden_path(row->golden, "05_preprocess/%s/meta.json", name));
    int height = 0, width = 0;
    if (json_object_get(meta, "min_pixels") && json_object_get(meta, "max_pixels")) {
        int r =
            resize_target((int)json_integer_value(json_object_get(meta, "height")),
                          (int)json_integer_value(json_object_get(meta, "width")),
                          (int)json_integer_value(json_object_get(meta, "factor")),
                          json_integer_value(json_object_get(meta, "min_pixels")),
                          json_number_value(json_object_get(meta, "max_pixels")), &height, &width);
        if (r != 0 || height != json_integer_value(json_object_get(meta, "resized_height")) ||
            width != json_integer_value(json_object_get(meta, "resized_width")))
            golden_fail(row, "%s: resized to %d x %d, not as meta.json says", name, width, height);
    }
    json_decref(meta);
}

static void pixels_case(GoldenRow *row, const char *name)
{
    Npy frames = {0}, want = {0};
    Resizer *resizer = NULL;
    _cleanup_free_ uint8_t *got = NULL;
    const Golden *g = row->golden;
    if (golden_npy(row, golden_path(g, "05_preprocess/%s/frames_u8.npy", name), NPY_U8, &frames) &&
        golden_npy(row, golden_path(g, "05_preprocess/%s/resized_u8.npy", name), NPY_U8, &want)) {
        if (frames.n_dims != 4 || want.n_dims != 4 || frames.shape[0] != want.shape[0] ||
            resizer_new((int)frames.shape[1], (int)frames.shape[2], (int)want.shape[1],
                        (int)want.shape[2], &resizer) != 0) {
            golden_fail(row, "%s: refused", name);
        } else {
            size_t in = frames.shape[1] * frames.shape[2] * 3;
            size_t out = want.shape[1] * want.shape[2] * 3;
            got = mem_new_array(want.n, 1);
            for (size_t t = 0; t < want.shape[0]; t++)
                resizer_run(resizer, (const uint8_t *)frames.data + t * in, frames.shape[2] * 3,
                            got + t * out);
            golden_u8(row, name, got, want.data, want.n, 1, 0.001);
        }
    }
    resizer_free(resizer);
    npy_deinit(&frames);
    npy_deinit(&want);
}

void stage_resize(Golden *g)
{
    if (golden_has(g, "03_resize_sampling")) {
        sizes_row(g);
        frames_row(g);
        budget_row(g);
    }
    if (golden_has(g, "05_preprocess")) {
        GoldenRow row;
        /* One level of 255 in at most 0.1 % of the values. */
        golden_row_begin(&row, g, "05 resized pictures", 1.0 / 255);
        char **names = golden_list(g, "05_preprocess");
        for (char **name = names; name && *name; name++) {
            target_case(&row, *name);
            pixels_case(&row, *name);
        }
        golden_list_free(names);
        golden_row_end(&row);
    }
}

/* Frame sizes, frame choice and bicubic resizing: rows of the published rules, a plain double
 * reference, and the golden files when WHEN_GOLDEN names their folder. */
#include "pipeline/resize.h"

#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_target(void **state)
{
    (void)state;
    static const struct {
        int h, w;
        int64_t min, max;
        int result, out_h, out_w;
    } rows[] = {
        {14, 14, 3136, 12845056, 0, 56, 56},           {480, 640, 100352, 602112, 0, 476, 644},
        {480, 640, 12544, 151200, 0, 336, 448},        {42, 70, 784, 12845056, 0, 56, 56},
        {224, 448, 100352, 602112, 0, 224, 448},       {120, 160, 12544, 602112, 0, 112, 168},
        {1, 201, 3136, 12845056, RESIZE_ASPECT, 0, 0}, {10, 1990, 12544, 37632, RESIZE_ZERO, 0, 0},
        {100, 100, 2000, 1000, RESIZE_LIMITS, 0, 0},   {0, 10, 3136, 12845056, RESIZE_ZERO, 0, 0},
        {100000, 100000, 3136, 602112, 0, 756, 756},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int h = 0, w = 0;
        assert_int_equal(resize_target(rows[i].h, rows[i].w, 28, rows[i].min, rows[i].max, &h, &w),
                         rows[i].result);
        assert_int_equal(h, rows[i].out_h);
        assert_int_equal(w, rows[i].out_w);
    }
}

static void check_frames(int64_t total, double video_fps, double fps, const int32_t *want, size_t n)
{
    _cleanup_free_ int32_t *got = NULL;
    size_t n_got = 0;
    assert_int_equal(resize_sample_frames(total, video_fps, fps, 0, 0, &got, &n_got), 0);
    assert_int_equal(n_got, n);
    assert_memory_equal(got, want, n * sizeof *want);
}

static void test_frames(void **state)
{
    (void)state;
    check_frames(2, 30, 2, (const int32_t[]){0, 1}, 2);
    check_frames(600, 300, 2, (const int32_t[]){0, 200, 399, 599}, 4);
    check_frames(120, 10, 2, (const int32_t[]){0,  5,  10, 16, 21, 26, 31, 36, 41,  47,  52,  57,
                                               62, 67, 72, 78, 83, 88, 93, 98, 103, 109, 114, 119},
                 24);
    int32_t *none = NULL;
    size_t n;
    assert_int_equal(resize_sample_frames(1, 30, 2, 0, 0, &none, &n), RESIZE_FRAME_COUNT);
    assert_int_equal(resize_sample_frames(10, 0, 2, 0, 0, &none, &n), -EINVAL);
    assert_int_equal(resize_sample_count(300, 302, &none, &n), RESIZE_FRAME_COUNT);
    assert_null(none);
    int64_t first, last;
    assert_int_equal(resize_time_range(600, 30, 2.5, 12.25, &first, &last), 0);
    assert_int_equal(first, 75);
    assert_int_equal(last, 367);
    assert_int_equal(resize_time_range(600, 30, 12, 4, &first, &last), RESIZE_TIME_RANGE);
}

static void test_budget(void **state)
{
    (void)state;
    assert_int_equal((int64_t)resize_video_budget(2, 100352, 90316800, 0), 602112);
    assert_int_equal((int64_t)resize_video_budget(2, 100352, 90316800, 151200), 151200);
    assert_int_equal((int64_t)resize_video_budget(768, 100352, 784000, 0), 105369);
}

/* The filter by its definition, in double, without separation into passes or tables. */
static double cubic(double x)
{
    x = fabs(x);
    if (x < 1)
        return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

static double weight(int in, int out, int i, int j, double *total)
{
    double scale = (double)in / out, wide = scale > 1 ? scale : 1;
    double center = scale * (i + 0.5);
    *total = 0;
    double mine = 0;
    for (int k = 0; k < in; k++) {
        double w = cubic((k + 0.5 - center) / wide);
        *total += w;
        if (k == j)
            mine = w;
    }
    return mine;
}

static void check_size(int in_h, int in_w, int out_h, int out_w, size_t padding)
{
    size_t stride = (size_t)in_w * 3 + padding;
    _cleanup_free_ uint8_t *src = malloc(stride * (size_t)in_h);
    _cleanup_free_ uint8_t *dst = malloc((size_t)out_h * (size_t)out_w * 3);
    _cleanup_free_ double *wx = calloc((size_t)(out_w * in_w), sizeof *wx);
    _cleanup_free_ double *wy = calloc((size_t)(out_h * in_h), sizeof *wy);
    uint32_t seed = 1;
    for (size_t i = 0; i < stride * (size_t)in_h; i++) {
        seed = seed * 1664525 + 1013904223;
        src[i] = (uint8_t)(i % 7 < 3 ? seed >> 24 : (seed >> 31) * 255); /* edges that overshoot */
    }
    double total;
    for (int i = 0; i < out_w; i++)
        for (int j = 0; j < in_w; j++) {
            double w = weight(in_w, out_w, i, j, &total);
            wx[i * in_w + j] = w / total;
        }
    for (int i = 0; i < out_h; i++)
        for (int j = 0; j < in_h; j++) {
            double w = weight(in_h, out_h, i, j, &total);
            wy[i * in_h + j] = w / total;
        }
    Resizer *r = NULL;
    assert_int_equal(resizer_new(in_h, in_w, out_h, out_w, &r), 0);
    resizer_run(r, src, stride, dst);
    resizer_free(r);
    int differ = 0;
    for (int y = 0; y < out_h; y++)
        for (int x = 0; x < out_w; x++)
            for (int c = 0; c < 3; c++) {
                double sum = 0;
                for (int j = 0; j < in_h; j++)
                    for (int i = 0; i < in_w; i++)
                        sum += wy[y * in_h + j] * wx[x * in_w + i] *
                               src[(size_t)j * stride + (size_t)i * 3 + (size_t)c];
                int want = (int)nearbyint(fmin(fmax(sum, 0), 255));
                int got = dst[(y * out_w + x) * 3 + c];
                assert_true(abs(want - got) <= 1);
                differ += want != got;
            }
    assert_true(differ <= out_h * out_w * 3 / 1000);
}

static void test_resize_sizes(void **state)
{
    (void)state;
    check_size(60, 80, 28, 56, 0);
    check_size(20, 33, 56, 84, 5);
    check_size(61, 29, 56, 28, 1);
    check_size(56, 84, 56, 84, 3);
    check_size(3, 200, 28, 28, 0);
}

static void test_resize_refuses(void **state)
{
    (void)state;
    Resizer *r = NULL;
    assert_int_equal(resizer_new(0, 10, 28, 28, &r), -EINVAL);
    assert_int_equal(resizer_new(10, 1 << 20, 28, 28, &r), -EINVAL);
    assert_null(r);
    resizer_free(NULL);
}

/* A .npy of u8 with shape [T, H, W, 3]; the header is trusted no further than its digits. */
static uint8_t *read_npy(const char *dir, const char *name, int shape[4])
{
    char path[1024], head[1024] = "";
    snprintf(path, sizeof path, "%s/05_preprocess/%s", dir, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    uint8_t fixed[10];
    assert_int_equal(fread(fixed, 1, 10, f), 10);
    size_t n = (size_t)(fixed[8] | fixed[9] << 8);
    assert_true(n < sizeof head);
    assert_int_equal(fread(head, 1, n, f), n);
    char *s = strstr(head, "'shape': (");
    assert_non_null(s);
    assert_int_equal(
        sscanf(s, "'shape': (%d, %d, %d, %d", &shape[0], &shape[1], &shape[2], &shape[3]), 4);
    size_t bytes = (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2] * (size_t)shape[3];
    uint8_t *data = malloc(bytes);
    assert_int_equal(fread(data, 1, bytes, f), bytes);
    fclose(f);
    return data;
}

static void test_golden_pixels(void **state)
{
    (void)state;
    const char *dir = getenv("WHEN_GOLDEN");
    if (!dir)
        skip();
    static const char *const cases[] = {"img_down",   "img_exact", "img_ragged",
                                        "img_square", "vid_odd",   "vid_up"};
    for (size_t k = 0; k < 6; k++) {
        char name[64];
        int in[4], out[4];
        snprintf(name, sizeof name, "%s/frames_u8.npy", cases[k]);
        _cleanup_free_ uint8_t *src = read_npy(dir, name, in);
        snprintf(name, sizeof name, "%s/resized_u8.npy", cases[k]);
        _cleanup_free_ uint8_t *want = read_npy(dir, name, out);
        size_t in_bytes = (size_t)(in[1] * in[2] * 3), out_bytes = (size_t)(out[1] * out[2] * 3);
        _cleanup_free_ uint8_t *got = malloc(out_bytes);
        Resizer *r = NULL;
        assert_int_equal(resizer_new(in[1], in[2], out[1], out[2], &r), 0);
        size_t differ = 0;
        for (int t = 0; t < in[0]; t++) {
            resizer_run(r, src + (size_t)t * in_bytes, (size_t)in[2] * 3, got);
            for (size_t i = 0; i < out_bytes; i++) {
                int d = abs(got[i] - want[(size_t)t * out_bytes + i]);
                assert_true(d <= 1);
                differ += d != 0;
            }
        }
        resizer_free(r);
        print_message("golden %s: %zu of %zu values differ by 1\n", cases[k], differ,
                      out_bytes * (size_t)in[0]);
        assert_true(differ * 1000 <= out_bytes * (size_t)in[0]);
    }
}

/* Splits a CSV line in place; empty fields are "". */
static int split(char *line, char *field[], int most)
{
    int n = 0;
    line[strcspn(line, "\r\n")] = '\0';
    for (char *p = line; p && n < most; n++)
        field[n] = strsep(&p, ",");
    return n;
}

static FILE *open_csv(const char *dir, const char *name, char *line, int size)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/03_resize_sampling/%s", dir, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, size, f));
    return f;
}

static int code_of(const char *error)
{
    return !*error                                   ? 0
           : !strcmp(error, "aspect_ratio_over_200") ? RESIZE_ASPECT
           : !strcmp(error, "max_below_min")         ? RESIZE_LIMITS
           : !strcmp(error, "zero_side")             ? RESIZE_ZERO
           : !strcmp(error, "bad_frame_count")       ? RESIZE_FRAME_COUNT
           : !strcmp(error, "bad_time_range")        ? RESIZE_TIME_RANGE
                                                     : -EINVAL;
}

static void test_golden_sizes(void **state)
{
    (void)state;
    const char *dir = getenv("WHEN_GOLDEN");
    if (!dir)
        skip();
    char line[8192], *c[16];
    FILE *f = open_csv(dir, "smart_resize.csv", line, sizeof line);
    int rows = 0, h, w;
    while (fgets(line, sizeof line, f)) {
        assert_true(split(line, c, 16) >= 8);
        int r = resize_target(atoi(c[0]), atoi(c[1]), atoi(c[2]), atoll(c[3]), atoll(c[4]), &h, &w);
        assert_int_equal(r, code_of(c[7]));
        if (r == 0) {
            assert_int_equal(h, atoi(c[5]));
            assert_int_equal(w, atoi(c[6]));
        }
        rows++;
    }
    fclose(f);
    f = open_csv(dir, "video_pixel_budget.csv", line, sizeof line);
    int budgets = 0;
    while (fgets(line, sizeof line, f)) {
        assert_true(split(line, c, 16) >= 14);
        if (*c[6])
            continue; /* a size given by hand: no budget */
        int64_t min = *c[3] ? atoll(c[3]) : 128 * 784;
        int64_t total = *c[5] ? atoll(c[5]) : (int64_t)(128000.0 * 784 * 0.9);
        double limit = resize_video_budget(atoll(c[0]), min, total, *c[4] ? atoll(c[4]) : 0);
        assert_true(limit == atof(c[9]));
        int r = resize_target(atoi(c[1]), atoi(c[2]), 28, min, limit, &h, &w);
        assert_int_equal(r, code_of(c[13]));
        if (r == 0) {
            assert_int_equal(h, atoi(c[10]));
            assert_int_equal(w, atoi(c[11]));
        }
        budgets++;
    }
    fclose(f);
    print_message("golden: %d sizes, %d budgets\n", rows, budgets);
    assert_true(rows == 282 && budgets > 100);
}

static void test_golden_frames(void **state)
{
    (void)state;
    const char *dir = getenv("WHEN_GOLDEN");
    if (!dir)
        skip();
    char line[8192], *c[16];
    FILE *f = open_csv(dir, "frame_sampling.csv", line, sizeof line);
    int rows = 0;
    while (fgets(line, sizeof line, f)) {
        assert_true(split(line, c, 16) >= 15);
        int64_t total = atoll(c[0]), first = 0, last = total - 1;
        double video_fps = atof(c[1]);
        _cleanup_free_ int32_t *got = NULL;
        size_t n = 0;
        int r = 0;
        if (*c[6] || *c[7])
            r = resize_time_range(total, video_fps, *c[6] ? atof(c[6]) : NAN,
                                  *c[7] ? atof(c[7]) : NAN, &first, &last);
        int64_t frames = last - first + 1;
        if (r == 0 && *c[3])
            r = resize_sample_count(frames, atoll(c[3]), &got, &n);
        else if (r == 0)
            r = resize_sample_frames(frames, video_fps, *c[2] ? atof(c[2]) : 2.0, atoll(c[4]),
                                     atoll(c[5]), &got, &n);
        assert_int_equal(r, code_of(c[11]));
        rows++;
        if (r)
            continue;
        assert_int_equal(n, atoi(c[8]));
        int slack = atoi(c[12]) ? 1 : 0;
        size_t i = 0;
        for (char *p = c[14], *word; (word = strsep(&p, " ")); i++) {
            if (!strcmp(word, "..."))
                i = n - 48 - 1;
            else
                assert_true(labs(atol(word) - (long)first - got[i]) <= slack);
        }
        assert_int_equal(i, n);
    }
    fclose(f);
    print_message("golden: %d frame lists\n", rows);
    assert_int_equal(rows, 182);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_target),         cmocka_unit_test(test_frames),
        cmocka_unit_test(test_budget),         cmocka_unit_test(test_resize_sizes),
        cmocka_unit_test(test_resize_refuses), cmocka_unit_test(test_golden_pixels),
        cmocka_unit_test(test_golden_sizes),   cmocka_unit_test(test_golden_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

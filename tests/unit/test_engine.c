/*
 * A timeline over a tiny checkpoint (argument 1): rolling back, generating, the context's limit,
 * and what loading refuses. The numbers themselves are checked by the golden tests.
 */
#include "base/file.h"
#include "base/mem.h"
#include "model/engine.h"
#include "model/memory.h"
#include "model/timeline.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *checkpoint;
static Engine *engine;

enum { WIDTH = 56, HEIGHT = 28, FRAMES = 8 };
static uint8_t pixels[FRAMES][WIDTH * HEIGHT * 3];
static const uint8_t *frames[FRAMES];
static const double seconds[FRAMES / 2] = {0, 0.7, 2.5, 3};

static int setup(void **state)
{
    (void)state;
    Error err = {0};
    EngineOptions options = {.dtype = ENGINE_F32, .threads = 2};
    if (engine_open(checkpoint, &options, &engine, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    for (size_t f = 0; f < FRAMES; f++) {
        for (size_t i = 0; i < sizeof pixels[f]; i++)
            pixels[f][i] = (uint8_t)(i * 31 + f * 97 + i / 100);
        frames[f] = pixels[f];
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    engine_free(engine);
    return 0;
}

static Timeline *new_timeline(void)
{
    Timeline *timeline = NULL;
    assert_int_equal(timeline_new(engine, &timeline, NULL), 0);
    return timeline;
}

static void append_text(Timeline *t, int32_t first, size_t n)
{
    int32_t ids[64];
    for (size_t i = 0; i < n; i++)
        ids[i] = first + (int32_t)(i * 7 % 100);
    assert_int_equal(timeline_append_ids(t, ids, n, NULL), 0);
}

static void append_video(Timeline *t)
{
    TimelineVideo video = {frames, FRAMES, WIDTH, HEIGHT, seconds};
    assert_int_equal(timeline_append_video(t, &video, NULL), 0);
}

static float *logits_of(Timeline *t)
{
    const float *logits = NULL;
    size_t bytes = (size_t)engine_hparams(engine)->text.vocab * sizeof *logits;
    assert_int_equal(timeline_logits(t, &logits, NULL), 0);
    float *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, logits, bytes);
    return copy;
}

/* Text, video, mark; then a question, once straight on and once after two others were rolled back:
 * the same bits. */
static void test_rollback(void **state)
{
    (void)state;
    size_t bytes = (size_t)engine_hparams(engine)->text.vocab * sizeof(float);
    Timeline *straight = new_timeline(), *back = new_timeline();
    append_text(straight, 5, 12);
    append_video(straight);
    append_text(straight, 20, 9);
    float *want = logits_of(straight);

    append_text(back, 5, 12);
    append_video(back);
    TimelineMark mark = timeline_mark(back);
    size_t length = timeline_length(back);
    for (int other = 0; other < 2; other++) {
        append_text(back, 60 + other, 33);
        append_video(back);
        GenerateOptions options = {.max_tokens = 5};
        _cleanup_token_ids_ TokenIds out = {0};
        assert_true(timeline_generate(back, &options, &out, NULL) >= 0);
        timeline_rollback(back, mark);
        assert_int_equal(timeline_length(back), length);
        assert_int_equal(timeline_next_position(back), mark.next_position);
        const float *none;
        assert_int_equal(timeline_logits(back, &none, NULL), -EINVAL);
    }
    append_text(back, 20, 9);
    float *got = logits_of(back);
    assert_memory_equal(got, want, bytes);
    assert_int_equal(timeline_length(back), timeline_length(straight));

    size_t n = timeline_length(back);
    int32_t *a = malloc(3 * n * sizeof *a), *b = malloc(3 * n * sizeof *b);
    assert_true(a && b);
    timeline_positions(back, a);
    timeline_positions(straight, b);
    assert_memory_equal(a, b, 3 * n * sizeof *a);
    assert_memory_equal(timeline_ids(back), timeline_ids(straight), n * sizeof(int32_t));

    /* From the very begin, in the same memory. */
    timeline_rollback(back, (TimelineMark){0});
    append_text(back, 5, 12);
    append_video(back);
    append_text(back, 20, 9);
    float *again = logits_of(back);
    assert_memory_equal(again, want, bytes);
    free(a);
    free(b);
    free(want);
    free(got);
    free(again);
    timeline_free(straight);
    timeline_free(back);
}

/* Token after token and all at once give the same up to rounding: the cache is right. */
static void test_pieces(void **state)
{
    (void)state;
    const size_t vocab = (size_t)engine_hparams(engine)->text.vocab;
    Timeline *once = new_timeline(), *many = new_timeline();
    int32_t ids[40];
    for (size_t i = 0; i < 40; i++)
        ids[i] = (int32_t)(3 + i * 11 % 200);
    assert_int_equal(timeline_append_ids(once, ids, 40, NULL), 0);
    for (size_t i = 0, step = 1; i < 40; i += step) {
        step = 1 + i % 6;
        step = i + step > 40 ? 40 - i : step;
        assert_int_equal(timeline_append_ids(many, ids + i, step, NULL), 0);
    }
    float *a = logits_of(once), *b = logits_of(many);
    for (size_t i = 0; i < vocab; i++)
        assert_true(fabsf(a[i] - b[i]) < 1e-4f * (1 + fabsf(a[i])));
    free(a);
    free(b);
    timeline_free(once);
    timeline_free(many);
}

/* Real seconds become time ids; what follows begins behind the largest id. */
static void test_video_positions(void **state)
{
    (void)state;
    const Hparams *h = engine_hparams(engine);
    Timeline *t = new_timeline();
    append_text(t, 5, 4);
    append_video(t);
    size_t n = timeline_length(t), per_grid = (n - 4) / 4;
    assert_int_equal(per_grid, WIDTH / 28 * (HEIGHT / 28));
    int32_t *p = malloc(3 * n * sizeof *p);
    assert_non_null(p);
    timeline_positions(t, p);
    int32_t largest = 0;
    for (size_t i = 0; i < n - 4; i++) {
        size_t grid = i / per_grid, column = i % per_grid;
        int32_t time = 4 + (int32_t)floor(seconds[grid] * h->vision.tokens_per_second + 1e-6);
        assert_int_equal(p[4 + i], time);
        assert_int_equal(p[n + 4 + i], 4);
        assert_int_equal(p[2 * n + 4 + i], 4 + (int32_t)column);
        largest = time > largest ? time : largest;
    }
    assert_int_equal(timeline_next_position(t), largest + 1);
    assert_int_equal(timeline_ids(t)[4], h->video_token);
    free(p);
    timeline_free(t);
}

static void test_context_is_bounded(void **state)
{
    (void)state;
    Error err = {0};
    Timeline *t = new_timeline();
    append_text(t, 5, 8);
    float *want = logits_of(t);
    size_t n = (size_t)engine_hparams(engine)->text.max_positions;
    int32_t *ids = calloc(n, sizeof *ids);
    assert_non_null(ids);
    assert_int_equal(timeline_append_ids(t, ids, n, &err), -E2BIG);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_non_null(strstr(err.text, "shorter window"));
    /* Few tokens, but late ones. */
    const double late[FRAMES / 2] = {0, 1, 2, 1e9};
    TimelineVideo video = {frames, FRAMES, WIDTH, HEIGHT, late};
    error_clear(&err);
    assert_true(timeline_append_video(t, &video, &err) < 0);
    assert_int_equal(err.exit_code, EX_DATAERR);
    /* Times that fall. */
    const double falling[FRAMES / 2] = {0, 2, 1, 3};
    video.seconds = falling;
    error_clear(&err);
    assert_int_equal(timeline_append_video(t, &video, &err), -EINVAL);
    video.seconds = seconds;
    video.width = 50;
    assert_int_equal(timeline_append_video(t, &video, NULL), -EINVAL);
    int32_t bad[] = {1, engine_hparams(engine)->text.vocab};
    assert_int_equal(timeline_append_ids(t, bad, 2, NULL), -EINVAL);
    bad[1] = -1;
    assert_int_equal(timeline_append_ids(t, bad, 2, NULL), -EINVAL);
    assert_int_equal(timeline_length(t), 8);
    float *got = logits_of(t);
    assert_memory_equal(got, want, (size_t)engine_hparams(engine)->text.vocab * sizeof *got);
    free(want);
    free(got);
    free(ids);
    timeline_free(t);
}

static void test_generate_stops(void **state)
{
    (void)state;
    Timeline *t = new_timeline();
    append_text(t, 5, 8);
    TimelineMark mark = timeline_mark(t);
    _cleanup_token_ids_ TokenIds out = {0}, again = {0};
    /* No id ends it: cut after max_tokens. */
    int32_t never = -5;
    GenerateOptions options = {.max_tokens = 12, .eos = &never, .n_eos = 1};
    assert_int_equal(timeline_generate(t, &options, &out, NULL), GENERATE_TRUNCATED);
    assert_int_equal(out.n, 12);
    /* The last one is not appended: it may be the end. */
    assert_int_equal(timeline_length(t), 8 + 11);
    /* The first of its ids as the end token. */
    timeline_rollback(t, mark);
    timeline_rollback(t, (TimelineMark){0});
    append_text(t, 5, 8);
    options.eos = &out.ids[0];
    assert_int_equal(timeline_generate(t, &options, &again, NULL), 0);
    assert_int_equal(again.n, 1);
    assert_int_equal(again.ids[0], out.ids[0]);
    options.max_tokens = 0;
    assert_int_equal(timeline_generate(t, &options, &again, NULL), GENERATE_TRUNCATED);
    assert_int_equal(again.n, 1);
    timeline_free(t);
}

/* Two timelines of one engine do not touch each other. */
static void test_two_timelines(void **state)
{
    (void)state;
    size_t bytes = (size_t)engine_hparams(engine)->text.vocab * sizeof(float);
    Timeline *a = new_timeline(), *b = new_timeline();
    append_text(a, 5, 10);
    float *want = logits_of(a);
    timeline_rollback(a, (TimelineMark){0});
    append_text(a, 5, 5);
    append_text(b, 90, 30);
    append_video(b);
    timeline_rollback(a, (TimelineMark){0});
    append_text(a, 5, 10);
    float *got = logits_of(a);
    assert_memory_equal(got, want, bytes);
    free(want);
    free(got);
    timeline_free(a);
    timeline_free(b);
}

static void test_accessors(void **state)
{
    (void)state;
    assert_true(engine_cell_px(engine) == 28);
    assert_true(engine_min_pixels(engine) > 0);
    assert_true(engine_max_pixels(engine) >= engine_min_pixels(engine));
    assert_non_null(engine_notice(engine));
    assert_true(engine_bytes(engine) > 1000);
    const char *last = strrchr(checkpoint, '/') + 1;
    assert_int_equal(strncmp(engine_name(engine), last, strlen(last)), 0);
    assert_int_equal(strlen(engine_name(engine)), strlen(last) + 9);
    assert_true(engine_default_threads() >= 1);
    assert_true(memory_available_bytes() > 1 << 20);
}

static void refused(const char *directory, const char *lora, int exit_code, const char *part)
{
    Engine *none = NULL;
    Error err = {0};
    EngineOptions options = {.lora = lora};
    assert_true(engine_open(directory, &options, &none, &err) < 0);
    if (err.exit_code != exit_code || !strstr(err.text, part))
        fail_msg("exit code %d, \"%s\"; expected %d, \"...%s...\"", err.exit_code, err.text,
                 exit_code, part);
}

static void copy(const char *from, const char *to, const char *name)
{
    _cleanup_free_ char *source = file_join(from, name), *target = file_join(to, name);
    _cleanup_free_ char *data = NULL;
    size_t size = 0;
    if (file_read(source, 1 << 24, &data, &size, NULL) == 0)
        assert_int_equal(file_replace(target, data, size, NULL), 0);
}

static void test_refusals(void **state)
{
    (void)state;
    refused("/nonexistent/model", NULL, EX_NOINPUT, "/nonexistent/model");
    refused(checkpoint, "/nonexistent/adapter", EX_NOINPUT, "/nonexistent/adapter");

    /* A directory whose tensors are cut off. */
    char dir[] = "/tmp/test_engine.XXXXXX";
    assert_non_null(mkdtemp(dir));
    static const char *const names[] = {"config.json",
                                        "generation_config.json",
                                        "preprocessor_config.json",
                                        "tokenizer.json",
                                        "chat_template.json",
                                        "tokenizer_config.json",
                                        "vocab.json",
                                        "merges.txt"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        copy(checkpoint, dir, names[i]);
    refused(dir, NULL, EX_NOINPUT, "safetensors");
    copy(checkpoint, dir, "model.safetensors");
    _cleanup_free_ char *tensors = file_join(dir, "model.safetensors");
    assert_int_equal(truncate(tensors, 5000), 0);
    refused(dir, NULL, EX_DATAERR, "model.safetensors");
    assert_int_equal(unlink(tensors), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        _cleanup_free_ char *path = file_join(dir, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

/* Less address space than the weights need: refused before loading, not killed. */
static void test_no_memory(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they need more address space than that themselves */
#endif
    fflush(stdout);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        /* Enough to read the tokenizer and the headers, less than a model may want. */
        unsigned long pages = 0;
        FILE *statm = fopen("/proc/self/statm", "r");
        if (!statm || fscanf(statm, "%lu", &pages) != 1)
            _exit(97);
        fclose(statm);
        rlim_t bytes = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (48 << 20);
        struct rlimit limit = {bytes, bytes};
        if (setrlimit(RLIMIT_AS, &limit) < 0)
            _exit(99);
        Engine *none = NULL;
        Error err = {0};
        EngineOptions options = {0};
        int r = engine_open(checkpoint, &options, &none, &err);
        _exit(r == -ENOMEM && strstr(err.text, "needs ") ? err.exit_code : 98);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EX_OSERR);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rollback),        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_video_positions), cmocka_unit_test(test_context_is_bounded),
        cmocka_unit_test(test_generate_stops),  cmocka_unit_test(test_two_timelines),
        cmocka_unit_test(test_accessors),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_memory),
    };
    if (argc < 2) {
        fprintf(stderr, "usage: test_engine CHECKPOINT\n");
        return EX_USAGE;
    }
    checkpoint = argv[1];
    return cmocka_run_group_tests(tests, setup, teardown);
}

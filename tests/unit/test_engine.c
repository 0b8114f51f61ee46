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
    TimelineVideo video = {frames, FRAMES, WIDTH, HEIGHT, seconds, false, false, NULL};
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

static void assert_same_tokens(const Timeline *a, const Timeline *b)
{
    size_t n = timeline_length(a);
    assert_int_equal(timeline_length(b), n);
    assert_int_equal(timeline_next_position(a), timeline_next_position(b));
    int32_t *p = malloc(3 * n * sizeof *p), *q = malloc(3 * n * sizeof *q);
    assert_true(p && q);
    timeline_positions(a, p);
    timeline_positions(b, q);
    assert_memory_equal(p, q, 3 * n * sizeof *p);
    assert_memory_equal(timeline_ids(a), timeline_ids(b), n * sizeof(int32_t));
    free(p);
    free(q);
}

/* The logits of both are the same bits. */
static void assert_same_logits(Timeline *a, Timeline *b)
{
    float *x = logits_of(a), *y = logits_of(b);
    assert_memory_equal(x, y, (size_t)engine_hparams(engine)->text.vocab * sizeof *x);
    free(x);
    free(y);
}

/* A timeline, its fork and the fork's fork go different ways, step by step in turns: each gives the
 * bits of a timeline that went this way alone. The first is freed before the others. */
static void test_fork(void **state)
{
    (void)state;
    enum { WAYS = 3, STEPS = 3 };
    Timeline *t[WAYS] = {new_timeline()}, *alone[WAYS];
    append_text(t[0], 5, 12);
    append_video(t[0]);
    assert_int_equal(timeline_fork(t[0], &t[1], NULL), 0);
    assert_int_equal(timeline_fork(t[1], &t[2], NULL), 0);
    for (size_t i = 0; i < WAYS; i++) {
        alone[i] = new_timeline();
        append_text(alone[i], 5, 12);
        append_video(alone[i]);
        assert_same_logits(t[i], alone[i]);
    }
    for (size_t step = 0; step < STEPS; step++)
        for (size_t i = 0; i < WAYS; i++) {
            append_text(t[i], (int32_t)(30 + 20 * i + step), 3 + 7 * i);
            append_text(alone[i], (int32_t)(30 + 20 * i + step), 3 + 7 * i);
        }
    for (size_t i = 0; i < WAYS; i++) {
        assert_same_tokens(t[i], alone[i]);
        assert_same_logits(t[i], alone[i]);
    }
    /* Used again, for another way. */
    assert_int_equal(timeline_fork(t[0], &t[2], NULL), 0);
    assert_same_logits(t[0], t[2]);
    append_text(t[2], 90, 4);
    append_text(alone[0], 90, 4);
    timeline_free(t[0]);
    assert_same_tokens(t[2], alone[0]);
    assert_same_logits(t[2], alone[0]);
    append_text(t[1], 77, 2);
    append_text(alone[1], 77, 2);
    assert_same_logits(t[1], alone[1]);
    for (size_t i = 0; i < WAYS; i++) {
        timeline_free(i ? t[i] : NULL);
        timeline_free(alone[i]);
    }
}

/* Answers of four forks together are those of each alone, whatever their lengths. */
static void test_generate_together(void **state)
{
    (void)state;
    enum { MANY = 4 };
    static const size_t MOST[MANY] = {20, 3, 0, 12};
    Timeline *t[MANY] = {new_timeline()}, *alone[MANY] = {new_timeline()};
    append_video(t[0]);
    append_video(alone[0]);
    TokenIds outs[MANY] = {0}, *to[MANY];
    GenerateOptions options[MANY] = {0};
    int results[MANY];
    int32_t never = -5;
    TimelineText texts[MANY];
    int32_t ids[MANY][16];
    for (size_t i = 0; i < MANY; i++) {
        if (i) {
            assert_int_equal(timeline_fork(t[0], &t[i], NULL), 0);
            assert_int_equal(timeline_fork(alone[0], &alone[i], NULL), 0);
        }
        for (size_t j = 0; j < 16; j++)
            ids[i][j] = (int32_t)(20 + 40 * i + j * (i + 1));
        texts[i] = (TimelineText){t[i], ids[i], 10 + 2 * i};
        options[i] = (GenerateOptions){.max_tokens = MOST[i], .eos = &never, .n_eos = 1};
        to[i] = &outs[i];
    }
    options[3].n_eos = 0;
    options[3].repetition_penalty = 1.1f;
    assert_int_equal(timeline_append_together(texts, MANY, NULL), 0);
    assert_int_equal(timeline_generate_together(t, options, to, results, MANY, NULL), 0);
    for (size_t i = 0; i < MANY; i++) {
        _cleanup_token_ids_ TokenIds want = {0};
        assert_int_equal(timeline_append_ids(alone[i], texts[i].ids, texts[i].n, NULL), 0);
        assert_int_equal(timeline_generate(alone[i], &options[i], &want, NULL), results[i]);
        assert_int_equal(outs[i].n, want.n);
        assert_memory_equal(outs[i].ids, want.ids, want.n * sizeof *want.ids);
        assert_same_tokens(t[i], alone[i]);
        token_ids_deinit(&outs[i]);
    }
    assert_int_equal(results[0], GENERATE_TRUNCATED);
    for (size_t i = 0; i < MANY; i++) {
        timeline_free(t[i]);
        timeline_free(alone[i]);
    }
}

/* Grids that come one after another are one video. */
static void test_video_continues(void **state)
{
    (void)state;
    const size_t vocab = (size_t)engine_hparams(engine)->text.vocab;
    Timeline *once = new_timeline(), *pieces = new_timeline();
    append_text(once, 5, 4);
    append_video(once);
    append_text(pieces, 5, 4);
    TimelineVideo video = {frames, 2, WIDTH, HEIGHT, seconds, true, false, NULL};
    assert_int_equal(timeline_append_video(pieces, &video, NULL), -EINVAL);
    video.continues = false;
    assert_int_equal(timeline_append_video(pieces, &video, NULL), 0);
    video = (TimelineVideo){frames + 2, 4, WIDTH, HEIGHT, seconds + 1, true, false, NULL};
    assert_int_equal(timeline_append_video(pieces, &video, NULL), 0);
    /* Back in time is refused; what was rolled back does not count. */
    video = (TimelineVideo){frames, 2, WIDTH, HEIGHT, seconds, true, false, NULL};
    assert_int_equal(timeline_append_video(pieces, &video, NULL), -EINVAL);
    TimelineMark mark = timeline_mark(pieces);
    append_text(pieces, 50, 3);
    assert_int_equal(timeline_append_video(pieces, &video, NULL), -EINVAL);
    append_video(pieces);
    timeline_rollback(pieces, mark);
    video = (TimelineVideo){frames + 6, 2, WIDTH, HEIGHT, seconds + 3, true, false, NULL};
    assert_int_equal(timeline_append_video(pieces, &video, NULL), 0);
    assert_same_tokens(once, pieces);
    float *a = logits_of(once), *b = logits_of(pieces);
    for (size_t i = 0; i < vocab; i++)
        assert_true(fabsf(a[i] - b[i]) < 1e-4f * (1 + fabsf(a[i])));
    free(a);
    free(b);
    timeline_free(once);
    timeline_free(pieces);
}

/* What a stage of the model gave, for the rows of one call. */
typedef struct Kept {
    float *first, *all; /* layer 0; the last layer */
    size_t floats;
} Kept;

static void keep(void *user, const char *stage, int layer, size_t first, size_t rows,
                 size_t columns, const float *values)
{
    Kept *kept = user;
    if (strcmp(stage, "layer") != 0)
        return;
    float **to = layer == 0 ? &kept->first : &kept->all;
    kept->floats = rows * columns;
    free(*to);
    *to = malloc(kept->floats * sizeof **to);
    assert_non_null(*to);
    assert_int_equal(first, 0);
    memcpy(*to, values, kept->floats * sizeof **to);
}

/* The merger's tokens, behind one another. */
static void keep_merger(void *user, const char *stage, int layer, size_t first, size_t rows,
                        size_t columns, const float *values)
{
    (void)layer;
    if (strcmp(stage, "merger") == 0)
        memcpy((float *)user + first * columns, values, rows * columns * sizeof *values);
}

/* Cells that did not change have no tokens; those that are there are what they are with all: the
 * same as their embeddings and positions put there by hand, to the last bit. */
static void test_video_cells(void **state)
{
    (void)state;
    enum { CELLS = WIDTH / 28 * (HEIGHT / 28), ALL = FRAMES / 2 * CELLS };
    /* Grids 0 (all of it, whatever they say), 1: cell 1 by its second frame, 2: none, 3: cell 0
     * and, by a frame without a word, cell 1. */
    static const uint8_t none = 0, left = 1, right = 2, both = 3;
    const uint8_t *cells[FRAMES] = {&none, &left, &none, &right, &none, &none, &left, NULL};
    static const uint8_t kept[ALL] = {1, 1, 0, 1, 0, 0, 1, 1};
    const size_t hidden = (size_t)engine_hparams(engine)->text.hidden;
    const size_t bytes = (size_t)engine_hparams(engine)->text.vocab * sizeof(float);
    Timeline *dense = new_timeline(), *gated = new_timeline(), *by_hand = new_timeline();
    float *tokens = malloc(ALL * hidden * sizeof *tokens), *embeds = malloc(ALL * hidden * 4);
    assert_true(CELLS == 2 && tokens && embeds);
    ComputeTap tap = {keep_merger, tokens}, no_tap = {0};
    timeline_tap(dense, &tap);
    append_text(dense, 5, 4);
    append_video(dense);
    timeline_tap(dense, &no_tap);
    float *whole = logits_of(dense);

    TimelineVideo video = {frames, FRAMES, WIDTH, HEIGHT, seconds, false, false, cells};
    append_text(gated, 5, 4);
    assert_int_equal(timeline_append_video(gated, &video, NULL), 0);
    assert_int_equal(timeline_next_position(gated), timeline_next_position(dense));

    int32_t all[3][4 + ALL], some[3 * ALL], ids[ALL];
    timeline_positions(dense, all[0]);
    size_t n = 0;
    for (size_t i = 0; i < ALL; i++)
        n += kept[i];
    for (size_t i = 0, to = 0; i < ALL; i++) {
        if (!kept[i])
            continue;
        for (size_t axis = 0; axis < 3; axis++)
            some[axis * n + to] = all[axis][4 + i];
        memcpy(embeds + to * hidden, tokens + i * hidden, hidden * sizeof *embeds);
        ids[to++] = engine_hparams(engine)->video_token;
    }
    append_text(by_hand, 5, 4);
    assert_int_equal(
        timeline_append_embeds(by_hand, embeds, ids, some, n, timeline_next_position(dense), NULL),
        0);
    assert_same_tokens(gated, by_hand);
    float *got = logits_of(gated), *want = logits_of(by_hand);
    assert_memory_equal(got, want, bytes);
    assert_true(memcmp(got, whole, bytes) != 0);
    free(got);
    free(want);

    /* All set is as good as nothing said; a video that goes on has no first grid. */
    for (size_t f = 0; f < FRAMES; f++)
        cells[f] = &both;
    timeline_rollback(gated, (TimelineMark){0});
    append_text(gated, 5, 4);
    assert_int_equal(timeline_append_video(gated, &video, NULL), 0);
    got = logits_of(gated);
    assert_memory_equal(got, whole, bytes);
    cells[0] = cells[1] = &right;
    const double later[1] = {9};
    video = (TimelineVideo){frames, 2, WIDTH, HEIGHT, later, true, false, cells};
    const size_t before = timeline_length(gated);
    assert_int_equal(timeline_append_video(gated, &video, NULL), 0);
    assert_int_equal(timeline_length(gated), before + 1);
    cells[0] = cells[1] = &none;
    const double last[1] = {11};
    const int32_t next = timeline_next_position(gated);
    video.seconds = last;
    assert_int_equal(timeline_append_video(gated, &video, NULL), 0);
    assert_int_equal(timeline_length(gated), before + 1);
    assert_int_equal(timeline_next_position(gated) - next,
                     2 * (int32_t)engine_hparams(engine)->vision.tokens_per_second);
    free(got);
    free(whole);
    free(tokens);
    free(embeds);
    timeline_free(dense);
    timeline_free(gated);
    timeline_free(by_hand);
}

/* What is asked behind dropped grids does not see them: in the first layer, whose keys know nothing
 * of other tokens, it is what a timeline that never had them gives at the same positions. In later
 * layers it is not, for the kept tokens had seen them. Ids and positions of the rest stay. */
static void test_drop_before(void **state)
{
    (void)state;
    const size_t hidden = (size_t)engine_hparams(engine)->text.hidden;
    Timeline *t = new_timeline(), *never = new_timeline(), *fork = NULL;
    append_text(t, 5, 4);
    append_video(t);
    const size_t before = timeline_length(t), grid = (before - 4) / 4;
    float *whole = logits_of(t);
    assert_int_equal(timeline_fork(t, &fork, NULL), 0);
    size_t dropped = 7;
    assert_int_equal(timeline_drop_before(t, 0, &dropped, NULL), 0);
    assert_int_equal(dropped, 0);
    float *same = logits_of(t);
    assert_memory_equal(whole, same, (size_t)engine_hparams(engine)->text.vocab * sizeof *same);
    /* Grids at 0 and 0.7 s go, those at 2.5 and 3 s stay. */
    assert_int_equal(timeline_drop_before(t, 2.5, &dropped, NULL), 0);
    assert_int_equal(dropped, 2 * grid);
    assert_int_equal(timeline_length(t), before - dropped);
    assert_int_equal(timeline_next_position(t), timeline_next_position(fork));
    const float *none;
    assert_int_equal(timeline_logits(t, &none, NULL), -EINVAL);

    /* The same tokens and positions, taken from the fork, without the dropped ones. */
    int32_t *had = malloc(3 * before * sizeof *had), *now = malloc(3 * before * sizeof *now);
    assert_true(had && now);
    timeline_positions(fork, had);
    timeline_positions(t, now);
    size_t n = timeline_length(t);
    for (size_t i = 0; i < n; i++)
        for (size_t axis = 0; axis < 3; axis++)
            assert_int_equal(now[axis * n + i], had[axis * before + (i < 4 ? i : i + dropped)]);
    float *embeds = malloc(n * hidden * sizeof *embeds);
    assert_non_null(embeds);
    /* Made embeddings, the same for both, at those positions. */
    Timeline *with = new_timeline();
    int32_t video = engine_hparams(engine)->video_token;
    int32_t *ids = malloc(before * sizeof *ids);
    float *all = malloc(before * hidden * sizeof *all);
    assert_true(ids && all);
    for (size_t i = 0; i < before; i++) {
        ids[i] = i < 4 ? 9 : video;
        for (size_t j = 0; j < hidden; j++)
            all[i * hidden + j] = sinf((float)(i * hidden + j)) * 0.3f;
    }
    int32_t next = timeline_next_position(fork);
    append_video(with); /* so that it knows where its video begins */
    timeline_rollback(with, (TimelineMark){.video_at = 4, .video_start = 4});
    assert_int_equal(timeline_append_embeds(with, all, ids, had, before, next, NULL), 0);
    assert_int_equal(timeline_drop_before(with, 2.5, &dropped, NULL), 0);
    assert_int_equal(dropped, 2 * grid);
    memcpy(embeds, all, 4 * hidden * sizeof *embeds);
    memcpy(embeds + 4 * hidden, all + (4 + dropped) * hidden, (n - 4) * hidden * sizeof *embeds);
    assert_int_equal(timeline_append_embeds(never, embeds, timeline_ids(with), now, n, next, NULL),
                     0);
    assert_same_tokens(with, never);
    Kept a = {0}, b = {0};
    ComputeTap tap = {keep, &a};
    timeline_tap(with, &tap);
    append_text(with, 60, 6);
    tap.user = &b;
    timeline_tap(never, &tap);
    append_text(never, 60, 6);
    assert_int_equal(a.floats, 6 * hidden);
    float worst_first = 0, worst_last = 0;
    for (size_t i = 0; i < a.floats; i++) {
        worst_first = fmaxf(worst_first, fabsf(a.first[i] - b.first[i]));
        worst_last = fmaxf(worst_last, fabsf(a.all[i] - b.all[i]));
    }
    assert_true(worst_first < 1e-5f);
    assert_true(worst_last > 1e-4f);

    float *still = logits_of(fork);
    assert_memory_equal(whole, still, (size_t)engine_hparams(engine)->text.vocab * sizeof *still);
    free(a.first);
    free(a.all);
    free(b.first);
    free(b.all);
    free(whole);
    free(same);
    free(still);
    free(had);
    free(now);
    free(embeds);
    free(ids);
    free(all);
    timeline_free(with);
    timeline_free(t);
    timeline_free(fork);
    timeline_free(never);
}

/* Keys and values in fewer bits: near, and each type gives its own bits again after a rollback. */
static void test_kv_types(void **state)
{
    (void)state;
    static const EngineKv KV[] = {ENGINE_KV_F32, ENGINE_KV_BF16, ENGINE_KV_INT8};
    const size_t vocab = (size_t)engine_hparams(engine)->text.vocab;
    float *want = NULL, largest = 0;
    for (size_t i = 0; i < 3; i++) {
        Engine *e = NULL;
        Timeline *t = NULL;
        EngineOptions options = {.dtype = ENGINE_F32, .kv = KV[i], .threads = 1};
        assert_int_equal(engine_open(checkpoint, &options, &e, NULL), 0);
        assert_int_equal(timeline_new(e, &t, NULL), 0);
        append_text(t, 5, 12);
        append_video(t);
        TimelineMark mark = timeline_mark(t);
        append_text(t, 20, 9);
        float *got = logits_of(t);
        timeline_rollback(t, mark);
        append_text(t, 20, 9);
        float *again = logits_of(t);
        assert_memory_equal(got, again, vocab * sizeof *got);
        free(again);
        float worst = 0;
        for (size_t j = 0; want && j < vocab; j++)
            worst = fmaxf(worst, fabsf(got[j] - want[j]));
        for (size_t j = 0; !want && j < vocab; j++)
            largest = fmaxf(largest, fabsf(got[j]));
        assert_true(worst <= 0.02f * largest);
        assert_true(!want || worst > 0);
        if (want)
            free(got);
        else
            want = got;
        timeline_free(t);
        engine_free(e);
    }
    free(want);
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
    TimelineVideo video = {frames, FRAMES, WIDTH, HEIGHT, late, false, false, NULL};
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
        cmocka_unit_test(test_rollback),          cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_video_positions),   cmocka_unit_test(test_context_is_bounded),
        cmocka_unit_test(test_generate_stops),    cmocka_unit_test(test_fork),
        cmocka_unit_test(test_generate_together), cmocka_unit_test(test_video_continues),
        cmocka_unit_test(test_video_cells),       cmocka_unit_test(test_drop_before),
        cmocka_unit_test(test_kv_types),          cmocka_unit_test(test_two_timelines),
        cmocka_unit_test(test_accessors),         cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_memory),
    };
    if (argc < 2) {
        fprintf(stderr, "usage: test_engine CHECKPOINT\n");
        return EX_USAGE;
    }
    checkpoint = argv[1];
    return cmocka_run_group_tests(tests, setup, teardown);
}

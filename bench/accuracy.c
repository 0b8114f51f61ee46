/*
 * What a precision costs in next-token distributions: KL divergence from f32 and how often the
 * largest logit is the same token.
 *   accuracy MODEL golden FOLDER...
 *      prompts of a golden set (ids, embeddings, positions): behind each of their tokens, what
 * stands before it being read at once as a prompt is accuracy MODEL window FRAMES.npy PTS.npy
 * QUESTION... behind every token of the answers that f32 gives, each mode being told the same
 * tokens One line of JSON: {"int8": {"positions": N, "same": N, "kl": sum, "kl_worst": nats}, ...}
 */
#include "base/file.h"
#include "base/mem.h"
#include "model/locate.h"
#include "model/npy.h"
#include "model/timeline.h"
#include "pipeline/resize.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODES = 6, MAX_BYTES = 1 << 28 };

/* Weights and products alone, then how keys and values are kept alone. */
typedef struct Mode {
    const char *name;
    EngineDtype dtype;
    EngineKv kv;
    Engine *engine;
    Timeline *timeline;
    size_t positions, same;
    double kl, kl_worst;
} Mode;

static Mode modes[MODES] = {
    {.name = "f32", .dtype = ENGINE_F32, .kv = ENGINE_KV_F32}, /* the others are compared with it */
    {.name = "bf16", .dtype = ENGINE_BF16, .kv = ENGINE_KV_F32},
    {.name = "int8", .dtype = ENGINE_INT8, .kv = ENGINE_KV_F32},
    {.name = "int4", .dtype = ENGINE_INT4, .kv = ENGINE_KV_F32},
    {.name = "kv bf16", .dtype = ENGINE_F32, .kv = ENGINE_KV_BF16},
    {.name = "kv int8", .dtype = ENGINE_F32, .kv = ENGINE_KV_INT8},
};
static float *reference; /* [vocab] logits of f32 */
static size_t vocab;

static void die(const Error *err)
{
    fprintf(stderr, "accuracy: %s\n", err->text);
    exit(err->exit_code);
}

#define CHECK(call)                                                                                \
    do {                                                                                           \
        Error err = {0};                                                                           \
        if ((call) < 0)                                                                            \
            die(&err);                                                                             \
    } while (0)

/* log of the sum of e^x */
static double log_sum(const float *x, size_t *largest)
{
    double sum = 0;
    *largest = 0;
    for (size_t i = 1; i < vocab; i++)
        *largest = x[i] > x[*largest] ? i : *largest;
    for (size_t i = 0; i < vocab; i++)
        sum += exp((double)(x[i] - x[*largest]));
    return log(sum) + (double)x[*largest];
}

/* The distributions behind what all timelines hold. */
static void compare(void)
{
    const float *logits;
    size_t best, mine;
    CHECK(timeline_logits(modes[0].timeline, &logits, &err));
    memcpy(reference, logits, vocab * sizeof *reference);
    double total = log_sum(reference, &best);
    for (int m = 1; m < MODES; m++) {
        CHECK(timeline_logits(modes[m].timeline, &logits, &err));
        double all = log_sum(logits, &mine), kl = 0;
        for (size_t i = 0; i < vocab; i++) {
            double p = (double)reference[i] - total;
            kl += exp(p) * (p - ((double)logits[i] - all));
        }
        modes[m].positions++;
        modes[m].same += mine == best;
        modes[m].kl += kl;
        modes[m].kl_worst = kl > modes[m].kl_worst ? kl : modes[m].kl_worst;
    }
}

static Npy load(const char *path, NpyType type)
{
    Npy npy = {0};
    CHECK(npy_read(path, MAX_BYTES, &npy, &err));
    if (npy.type != type) {
        fprintf(stderr, "accuracy: %s has another type than expected\n", path);
        exit(EX_DATAERR);
    }
    return npy;
}

static Npy load_of(const char *folder, const char *name, NpyType type)
{
    _cleanup_free_ char *path = file_join(folder, name);
    if (!path)
        exit(EX_OSERR);
    return load(path, type);
}

static void golden(const char *folder)
{
    Npy ids = load_of(folder, "input_ids_i32.npy", NPY_I32);
    Npy embeds = load_of(folder, "inputs_embeds_f32.npy", NPY_F32);
    Npy positions = load_of(folder, "position_ids_i32.npy", NPY_I32);
    const int32_t *id = ids.data, *position = positions.data;
    const size_t n = ids.n;
    const size_t hidden = (size_t)engine_hparams(modes[0].engine)->text.hidden;
    if (positions.n != 3 * n || embeds.n != n * hidden) {
        fprintf(stderr, "accuracy: the arrays of %s do not belong together\n", folder);
        exit(EX_DATAERR);
    }
    const TimelineMark begin = timeline_mark(modes[0].timeline); /* all are empty */
    for (size_t to = 1; to <= n; to++) {
        _cleanup_free_ int32_t *at = mem_new_array(3 * to, sizeof *at);
        if (!at)
            exit(EX_OSERR);
        for (size_t i = 0; i < to; i++)
            for (size_t axis = 0; axis < 3; axis++)
                at[axis * to + i] = position[axis * n + i];
        for (int m = 0; m < MODES; m++) {
            timeline_rollback(modes[m].timeline, begin);
            CHECK(timeline_append_embeds(modes[m].timeline, embeds.data, id, at, to, 0, &err));
        }
        compare();
    }
    for (int m = 0; m < MODES; m++)
        timeline_rollback(modes[m].timeline, begin);
    npy_deinit(&ids);
    npy_deinit(&embeds);
    npy_deinit(&positions);
}

/* What stands behind the video, then the answer's, one after another. */
static void compare_answer(const int32_t *rest, size_t n, const TokenIds *answer)
{
    TimelineMark marks[MODES];
    for (int m = 0; m < MODES; m++) {
        marks[m] = timeline_mark(modes[m].timeline);
        CHECK(timeline_append_ids(modes[m].timeline, rest, n, &err));
    }
    compare();
    for (size_t i = 0; i < answer->n; i++) {
        for (int m = 0; m < MODES; m++)
            CHECK(timeline_append_ids(modes[m].timeline, answer->ids + i, 1, &err));
        compare();
    }
    for (int m = 0; m < MODES; m++)
        timeline_rollback(modes[m].timeline, marks[m]);
}

/* All questions on the same frames: what stands before and in the video is read once. */
static void ask_all(Locator *locator, const TimelineVideo *video, char **questions, int n)
{
    const Engine *engine = modes[0].engine;
    const int32_t pad = engine_hparams(engine)->video_token;
    for (int q = 0; q < n; q++) {
        LocateAnswer answer = {0};
        TokenIds ids = {0};
        CHECK(locator_ask(locator, questions[q], &answer, &err));
        CHECK(tokenizer_encode(engine_tokenizer(engine), answer.text, strlen(answer.text), false,
                               &ids));
        size_t length, head = 0, tail;
        const int32_t *prompt = locator_prompt_ids(locator, &length);
        while (head < length && prompt[head] != pad)
            head++;
        for (tail = head; tail < length && prompt[tail] == pad;)
            tail++;
        for (int m = 0; q == 0 && m < MODES; m++) {
            CHECK(timeline_append_ids(modes[m].timeline, prompt, head, &err));
            CHECK(timeline_append_video(modes[m].timeline, video, &err));
        }
        compare_answer(prompt + tail, length - tail, &ids);
        token_ids_deinit(&ids);
        locate_answer_deinit(&answer);
    }
}

/* Pictures as the model takes them: sized by its preprocessor's limits. Owned by the caller. */
static uint8_t *sized(const Npy *pixels, int *height, int *width)
{
    const Engine *engine = modes[0].engine;
    const int from_height = (int)pixels->shape[1], from_width = (int)pixels->shape[2];
    Resizer *resizer = NULL;
    if (resize_target(from_height, from_width, engine_cell_px(engine), engine_min_pixels(engine),
                      (double)engine_max_pixels(engine), height, width) != 0 ||
        resizer_new(from_height, from_width, *height, *width, &resizer) != 0) {
        fprintf(stderr, "accuracy: frames of %d x %d cannot be sized\n", from_width, from_height);
        exit(EX_DATAERR);
    }
    const size_t from = (size_t)from_height * (size_t)from_width * 3;
    const size_t bytes = (size_t)*height * (size_t)*width * 3;
    uint8_t *out = mem_new_array(pixels->shape[0], bytes);
    for (size_t i = 0; out && i < pixels->shape[0]; i++)
        resizer_run(resizer, (uint8_t *)pixels->data + i * from, (size_t)from_width * 3,
                    out + i * bytes);
    resizer_free(resizer);
    return out;
}

static void window(const char *frames_path, const char *pts_path, char **questions, int n_questions)
{
    Npy npy = load(frames_path, NPY_U8), pts = load(pts_path, NPY_F64);
    const size_t n = pts.n;
    if (npy.n_dims != 4 || npy.shape[0] != n || npy.shape[3] != 3 || n == 0) {
        fprintf(stderr, "accuracy: %s and %s do not belong together\n", frames_path, pts_path);
        exit(EX_DATAERR);
    }
    int height, width;
    _cleanup_free_ uint8_t *pixels = sized(&npy, &height, &width);
    _cleanup_free_ LocateFrame *frames = mem_new_array(n, sizeof *frames);
    _cleanup_free_ const uint8_t **rgb = mem_new_array(n, sizeof *rgb);
    _cleanup_free_ double *seconds = mem_new_array(n, sizeof *seconds);
    if (!pixels || !frames || !rgb || !seconds)
        exit(EX_OSERR);
    for (size_t i = 0; i < n; i++) {
        rgb[i] = pixels + i * (size_t)height * (size_t)width * 3;
        double at = ((double *)pts.data)[i] - ((double *)pts.data)[0];
        frames[i] = (LocateFrame){.rgb = rgb[i], .width = width, .height = height, .seconds = at};
        if (i % 2 == 0)
            seconds[i / 2] = at;
    }
    Locator *locator = NULL;
    CHECK(locator_new(modes[0].engine, 0, &locator, &err));
    CHECK(locator_watch(locator, frames, n, &err));
    TimelineVideo video = {rgb, n, width, height, seconds, false, false, NULL};
    ask_all(locator, &video, questions, n_questions);
    locator_free(locator);
    npy_deinit(&npy);
    npy_deinit(&pts);
}

int main(int argc, char **argv)
{
    const bool is_golden = argc > 3 && strcmp(argv[2], "golden") == 0;
    if (!is_golden && !(argc > 5 && strcmp(argv[2], "window") == 0)) {
        fprintf(stderr, "usage: accuracy MODEL golden FOLDER...\n"
                        "       accuracy MODEL window FRAMES.npy PTS.npy QUESTION...\n");
        return EX_USAGE;
    }
    for (int m = 0; m < MODES; m++) {
        EngineOptions options = {.dtype = modes[m].dtype, .kv = modes[m].kv, .threads = 1};
        CHECK(engine_open(argv[1], &options, &modes[m].engine, &err));
        CHECK(timeline_new(modes[m].engine, &modes[m].timeline, &err));
    }
    vocab = (size_t)engine_hparams(modes[0].engine)->text.vocab;
    reference = mem_new_aligned(vocab, sizeof *reference);
    if (!reference)
        return EX_OSERR;
    for (int i = 3; is_golden && i < argc; i++)
        golden(argv[i]);
    if (!is_golden)
        window(argv[3], argv[4], argv + 5, argc - 5);
    printf("{");
    for (int m = 1; m < MODES; m++)
        printf("%s\"%s\": {\"positions\": %zu, \"same\": %zu, \"kl\": %.9g, \"kl_worst\": %.6g}",
               m > 1 ? ", " : "", modes[m].name, modes[m].positions, modes[m].same, modes[m].kl,
               modes[m].kl_worst);
    printf("}\n");
    for (int m = 0; m < MODES; m++) {
        timeline_free(modes[m].timeline);
        engine_free(modes[m].engine);
    }
    free(reference);
    return 0;
}

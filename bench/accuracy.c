/*
 * What a precision costs in next-token distributions: KL divergence from f32 and how often the
 * largest logit is the same token.
 *   accuracy MODEL golden FOLDER...       prompts of a golden set (ids, embeddings, positions),
 * every position accuracy MODEL windows FRAMES.npy PTS.npy QUESTION [FRAMES.npy PTS.npy
 * QUESTION]... every token of the answer that f32 gives, each mode being told the same tokens One
 * line of JSON: {"int8": {"positions": N, "same": N, "kl": sum, "kl_worst": nats}, ...}
 */
#include "base/file.h"
#include "base/mem.h"
#include "model/locate.h"
#include "model/npy.h"
#include "model/timeline.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODES = 4, MAX_BYTES = 1 << 28 };

typedef struct Mode {
    Engine *engine;
    Timeline *timeline;
    size_t positions, same;
    double kl, kl_worst;
} Mode;

static Mode modes[MODES]; /* by EngineDtype; ENGINE_F32 is what the others are compared with */
static float *reference;  /* [vocab] logits of f32 */
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
    CHECK(timeline_logits(modes[ENGINE_F32].timeline, &logits, &err));
    memcpy(reference, logits, vocab * sizeof *reference);
    double total = log_sum(reference, &best);
    for (int m = ENGINE_F32 + 1; m < MODES; m++) {
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
    const size_t n = ids.n, hidden = n ? embeds.n / n : 0;
    TimelineMark marks[MODES];
    for (int m = 0; m < MODES; m++)
        marks[m] = timeline_mark(modes[m].timeline);
    for (size_t i = 0; i < n && positions.n == 3 * n; i++) {
        int32_t at[3] = {position[i], position[n + i], position[2 * n + i]};
        for (int m = 0; m < MODES; m++)
            CHECK(timeline_append_embeds(modes[m].timeline, (float *)embeds.data + i * hidden,
                                         id + i, at, 1, at[0] + 1, &err));
        compare();
    }
    for (int m = 0; m < MODES; m++)
        timeline_rollback(modes[m].timeline, marks[m]);
    npy_deinit(&ids);
    npy_deinit(&embeds);
    npy_deinit(&positions);
}

/* Prompt and answer of f32: as token ids, the video's own between `head` and `tail`. */
typedef struct Script {
    const int32_t *prompt;
    size_t n, head, tail;
    TokenIds answer;
} Script;

static void run_script(const Script *s, const TimelineVideo *video)
{
    for (int m = 0; m < MODES; m++) {
        Timeline *t = modes[m].timeline;
        CHECK(timeline_append_ids(t, s->prompt, s->head, &err));
        CHECK(timeline_append_video(t, video, &err));
        CHECK(timeline_append_ids(t, s->prompt + s->tail, s->n - s->tail, &err));
    }
    compare();
    for (size_t i = 0; i < s->answer.n; i++) {
        for (int m = 0; m < MODES; m++)
            CHECK(timeline_append_ids(modes[m].timeline, s->answer.ids + i, 1, &err));
        compare();
    }
}

static void window(Locator *locator, const char *frames_path, const char *pts_path,
                   const char *question)
{
    Npy pixels = load(frames_path, NPY_U8), pts = load(pts_path, NPY_F64);
    const size_t n = pts.n, bytes = n ? pixels.n / n : 0;
    if (pixels.n_dims != 4 || pixels.shape[0] != n || n == 0) {
        fprintf(stderr, "accuracy: %s and %s do not belong together\n", frames_path, pts_path);
        exit(EX_DATAERR);
    }
    const int width = (int)pixels.shape[2], height = (int)pixels.shape[1];
    _cleanup_free_ LocateFrame *frames = mem_new_array(n, sizeof *frames);
    _cleanup_free_ const uint8_t **rgb = mem_new_array(n, sizeof *rgb);
    _cleanup_free_ double *seconds = mem_new_array(n, sizeof *seconds);
    if (!frames || !rgb || !seconds)
        exit(EX_OSERR);
    for (size_t i = 0; i < n; i++) {
        rgb[i] = (uint8_t *)pixels.data + i * bytes;
        double at = ((double *)pts.data)[i] - ((double *)pts.data)[0];
        frames[i] = (LocateFrame){rgb[i], width, height, at};
        if (i % 2 == 0)
            seconds[i / 2] = at;
    }
    LocateAnswer answer = {0};
    CHECK(locator_watch(locator, frames, n, &err));
    CHECK(locator_ask(locator, question, &answer, &err));
    const Engine *engine = modes[ENGINE_F32].engine;
    const int32_t pad = engine_hparams(engine)->video_token;
    Script s = {0};
    s.prompt = locator_prompt_ids(locator, &s.n);
    while (s.head < s.n && s.prompt[s.head] != pad)
        s.head++;
    s.tail = s.head;
    while (s.tail < s.n && s.prompt[s.tail] == pad)
        s.tail++;
    CHECK(tokenizer_encode(engine_tokenizer(engine), answer.text, strlen(answer.text), false,
                           &s.answer));
    TimelineVideo video = {rgb, n, width, height, seconds, false, false};
    TimelineMark marks[MODES];
    for (int m = 0; m < MODES; m++)
        marks[m] = timeline_mark(modes[m].timeline);
    run_script(&s, &video);
    for (int m = 0; m < MODES; m++)
        timeline_rollback(modes[m].timeline, marks[m]);
    token_ids_deinit(&s.answer);
    locate_answer_deinit(&answer);
    npy_deinit(&pixels);
    npy_deinit(&pts);
}

int main(int argc, char **argv)
{
    const bool is_golden = argc > 3 && strcmp(argv[2], "golden") == 0;
    if (!is_golden && !(argc > 5 && strcmp(argv[2], "windows") == 0 && argc % 3 == 0)) {
        fprintf(stderr, "usage: accuracy MODEL golden FOLDER...\n"
                        "       accuracy MODEL windows (FRAMES.npy PTS.npy QUESTION)...\n");
        return EX_USAGE;
    }
    for (int m = 0; m < MODES; m++) {
        EngineOptions options = {.dtype = (EngineDtype)m, .kv = ENGINE_KV_F32};
        CHECK(engine_open(argv[1], &options, &modes[m].engine, &err));
        CHECK(timeline_new(modes[m].engine, &modes[m].timeline, &err));
    }
    vocab = (size_t)engine_hparams(modes[0].engine)->text.vocab;
    reference = mem_new_aligned(vocab, sizeof *reference);
    Locator *locator = NULL;
    CHECK(locator_new(modes[ENGINE_F32].engine, 0, &locator, &err));
    if (!reference)
        return EX_OSERR;
    for (int i = 3; is_golden && i < argc; i++)
        golden(argv[i]);
    for (int i = 3; !is_golden && i + 2 < argc; i += 3)
        window(locator, argv[i], argv[i + 1], argv[i + 2]);
    printf("{");
    for (int m = ENGINE_F32 + 1; m < MODES; m++)
        printf("%s\"%s\": {\"positions\": %zu, \"same\": %zu, \"kl\": %.9g, \"kl_worst\": %.6g}",
               m > 1 ? ", " : "", engine_dtype_name((EngineDtype)m), modes[m].positions,
               modes[m].same, modes[m].kl, modes[m].kl_worst);
    printf("}\n");
    locator_free(locator);
    for (int m = 0; m < MODES; m++) {
        timeline_free(modes[m].timeline);
        engine_free(modes[m].engine);
    }
    free(reference);
    return 0;
}

/*
 * A free prompt through the whole model: parts -> chat template (or the raw text) -> ids and
 * pictures onto a timeline -> arrays of what the model saw -> greedy tokens, printed as they come.
 * Results can be held against the reference's one to one.
 */
#include "client/scan.h"

#include "base/mem.h"
#include "model/memory.h"
#include "model/npy.h"
#include "model/patches.h"
#include "model/prompt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Answer {
    const ScanOptions *options;
    const Tokenizer *tokenizer;
    TokenStream stream;
    Str text;    /* whole characters that are not printed yet; with --json all of them */
    bool broken; /* standard output */
    char last;
} Answer;

typedef struct Run {
    const ScanOptions *options;
    Engine *engine;
    Timeline *timeline;
    ScanMedia media[SCAN_MAX_PARTS]; /* [n_media], in the order of their places in the prompt */
    const char *paths[SCAN_MAX_PARTS];
    size_t n_media;
    TokenIds prompt; /* one pad token a medium */
    TokenIds output;
} Run;

static int no_memory(Error *err)
{
    return error_set(err, ENOMEM, EX_OSERR, "no memory for the prompt");
}

/* One prompt stands behind all pictures; several stand where they were written. */
static size_t arrange(const ScanOptions *o, PromptPart parts[SCAN_MAX_PARTS])
{
    size_t n = 0;
    const char *text = NULL;
    for (size_t i = 0; i < o->n_parts; i++) {
        const ScanPart *p = &o->parts[i];
        if (p->kind == SCAN_TEXT && o->n_prompts == 1)
            text = p->path;
        else if (p->kind == SCAN_TEXT)
            parts[n++] = (PromptPart){.kind = PROMPT_TEXT, .text = p->path};
        else
            parts[n++] = (PromptPart){.kind = p->kind == SCAN_IMAGE ? PROMPT_IMAGE : PROMPT_VIDEO};
    }
    if (text)
        parts[n++] = (PromptPart){.kind = PROMPT_TEXT, .text = text};
    return n;
}

/* The ids of the whole prompt to run->prompt. Texts may hold control tokens, as in the reference:
 * who writes this command line may say what he likes to the model. */
static int encode(Run *run, Error *err)
{
    const ScanOptions *o = run->options;
    const Tokenizer *tokenizer = engine_tokenizer(run->engine);
    PromptPart parts[SCAN_MAX_PARTS], system = {.kind = PROMPT_TEXT, .text = o->system};
    const size_t n = arrange(o, parts);
    if (o->raw_prompt) {
        const char *text = parts[n - 1].text; /* check_options: there is exactly one */
        int r = tokenizer_encode(tokenizer, text, strlen(text), true, &run->prompt);
        return r < 0 ? no_memory(err) : 0;
    }
    PromptMessage messages[2] = {{.role = "system", .parts = &system, .n_parts = 1},
                                 {.role = "user", .parts = parts, .n_parts = n}};
    PromptOptions options = {.add_generation_prompt = true};
    const size_t skip = o->system ? 0 : 1;
    return prompt_encode(engine_prompt(run->engine), tokenizer, messages + skip, 2 - skip, &options,
                         &run->prompt, err);
}

/* Every pad token has its medium and every medium its pad; *tokens: how many there are with all
 * visual tokens in place. */
static int match_pads(const Run *run, size_t *tokens, Error *err)
{
    const Hparams *h = engine_hparams(run->engine);
    size_t used = 0;
    *tokens = 0;
    for (size_t i = 0; i < run->prompt.n; i++) {
        const int32_t id = run->prompt.ids[i];
        size_t n = 1;
        int32_t grid[3];
        if (id == h->image_token || id == h->video_token) {
            const ScanMedia *m = &run->media[used++];
            if (used > run->n_media)
                continue;
            if (m->image != (id == h->image_token))
                return error_set(
                    err, EINVAL, EX_DATAERR,
                    "%s: the prompt has a place for %s there: give the pictures in the "
                    "order of their places",
                    run->paths[used - 1], m->image ? "a video" : "an image");
            if (patches_grid(&h->vision, m->n, m->height, m->width, grid) < 0 ||
                prompt_vision_tokens(grid, h->vision.merge, &n) < 0)
                return error_set(err, EINVAL, EX_DATAERR,
                                 "%s: %zu pictures of %d x %d pixels are too much for the model",
                                 run->paths[used - 1], m->n, m->width, m->height);
        }
        *tokens += n;
    }
    if (used != run->n_media)
        return error_set(err, EINVAL, EX_DATAERR,
                         "the prompt has %zu places for pictures and %zu are given: a place is "
                         "<|vision_start|><|image_pad|><|vision_end|>, or video_pad",
                         used, run->n_media);
    return 0;
}

/* Refuses what cannot fit before the pictures are encoded. */
static int check_size(const Run *run, size_t tokens, Error *err)
{
    const TextHparams *h = &engine_hparams(run->engine)->text;
    const double gib = 1 << 30;
    if (tokens > (size_t)h->max_positions)
        return error_set(err, E2BIG, EX_DATAERR,
                         "the prompt has %zu tokens and the model's context is %d: use fewer or "
                         "smaller pictures, or a shorter text",
                         tokens, h->max_positions);
    /* Keys and values in bf16 or more, embeddings in f32. */
    const double needed = (double)tokens * (4.0 * h->layers * h->kv_heads * h->head_dim +
                                            2 * sizeof(float) * (double)h->hidden);
    const double available = (double)memory_available_bytes();
    if (needed > available)
        return error_set(err, ENOMEM, EX_OSERR,
                         "the prompt of %zu tokens needs %.1f GiB, %.1f available: use fewer or "
                         "smaller pictures",
                         tokens, needed / gib, available / gib);
    return 0;
}

static int append(Run *run, Error *err)
{
    const Hparams *h = engine_hparams(run->engine);
    const int32_t *ids = run->prompt.ids;
    size_t begin = 0, used = 0;
    int r = 0;
    for (size_t i = 0; r == 0 && i <= run->prompt.n; i++) {
        const bool end = i == run->prompt.n;
        if (!end && ids[i] != h->image_token && ids[i] != h->video_token)
            continue;
        r = timeline_append_ids(run->timeline, ids + begin, i - begin, err);
        begin = i + 1;
        if (r < 0 || end)
            continue;
        const ScanMedia *m = &run->media[used++];
        const TimelineVideo video = {.frames = m->frames,
                                     .n_frames = m->n,
                                     .width = m->width,
                                     .height = m->height,
                                     .seconds = m->seconds,
                                     .image = m->image};
        r = timeline_append_video(run->timeline, &video, err);
    }
    return r;
}

static int write_arrays(const Run *run, Error *err)
{
    const ScanOptions *o = run->options;
    const size_t n = timeline_length(run->timeline), shape[] = {3, n};
    const size_t vocab = (size_t)engine_hparams(run->engine)->text.vocab;
    int r = 0;
    if (o->ids)
        r = npy_write(o->ids, NPY_I32, 1, &n, timeline_ids(run->timeline), err);
    if (r == 0 && o->positions) {
        _cleanup_free_ int32_t *positions = mem_new_array(3 * n, sizeof *positions);
        if (!positions)
            return no_memory(err);
        timeline_positions(run->timeline, positions);
        r = npy_write(o->positions, NPY_I32, 2, shape, positions, err);
    }
    if (r == 0 && o->logits) {
        const float *logits;
        r = timeline_logits(run->timeline, &logits, err);
        if (r == 0)
            r = npy_write(o->logits, NPY_F32, 1, &vocab, logits, err);
    }
    return r;
}

static void print_ready(Answer *a)
{
    if (a->options->json || a->text.len == 0)
        return;
    a->last = a->text.data[a->text.len - 1];
    if (fwrite(a->text.data, 1, a->text.len, stdout) != a->text.len || fflush(stdout) == EOF)
        a->broken = true;
    str_clear(&a->text);
}

static void on_step(void *user, const GenerateStep *step)
{
    Answer *a = user;
    token_stream_push(&a->stream, a->tokenizer, step->id, true, &a->text);
    print_ready(a);
}

static void print_json(const Run *run, Answer *a, size_t prompt_tokens, bool whole)
{
    _cleanup_str_ Str out = {0};
    str_add_text(&out, "{\"text\":");
    str_add_json(&out, str_text(&a->text));
    str_addf(&out, ",\"prompt_tokens\":%zu,\"ids\":[", prompt_tokens);
    for (size_t i = 0; i < run->output.n; i++)
        str_addf(&out, "%s%" PRId32, i ? "," : "", run->output.ids[i]);
    str_addf(&out, "],\"end\":\"%s\"}\n", whole ? "stop" : "length");
    a->broken = str_failed(&out) || str_failed(&a->text) ||
                fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) == EOF;
}

static int answer(Run *run, Error *err)
{
    const ScanOptions *o = run->options;
    const size_t prompt_tokens = timeline_length(run->timeline);
    Answer a = {.options = o, .tokenizer = engine_tokenizer(run->engine), .last = '\n'};
    const GenerateOptions options = {.max_tokens = (size_t)o->max_answer_tokens,
                                     .repetition_penalty = o->repetition_penalty,
                                     .step = on_step,
                                     .user = &a};
    int r = o->max_answer_tokens ? timeline_generate(run->timeline, &options, &run->output, err)
                                 : GENERATE_TRUNCATED;
    token_stream_end(&a.stream, &a.text);
    if (r >= 0 && o->json) {
        print_json(run, &a, prompt_tokens, r == 0);
    } else {
        print_ready(&a);
        if (a.last != '\n' && putchar('\n') == EOF)
            a.broken = true;
    }
    if (r >= 0 && a.broken)
        r = error_set(err, EIO, EX_IOERR, "standard output: %s", strerror(errno ? errno : EIO));
    str_deinit(&a.text);
    return r < 0 ? r : 0;
}

/* Before a large model is loaded in vain. */
static int check_files(const ScanOptions *o, Error *err)
{
    for (size_t i = 0; i < o->n_parts; i++) {
        const char *const files[] = {o->parts[i].path, o->parts[i].pts};
        for (size_t k = 0; o->parts[i].kind != SCAN_TEXT && k < 2; k++)
            if (files[k] && access(files[k], R_OK) < 0)
                return error_set(err, errno, EX_NOINPUT, "%s: %s", files[k], strerror(errno));
    }
    return 0;
}

static int prepare(Run *run, Error *err)
{
    const ScanOptions *o = run->options;
    const EngineOptions engine = {
        .dtype = o->dtype, .kv = o->kv, .threads = o->threads, .lora = o->lora, .cache = o->cache};
    size_t tokens = 0;
    int r = check_files(o, err);
    if (r == 0)
        r = engine_open(o->model, &engine, &run->engine, err);
    if (r == 0)
        r = timeline_new(run->engine, &run->timeline, err);
    for (size_t i = 0; r == 0 && i < o->n_parts; i++) {
        const ScanPart *part = &o->parts[i];
        if (part->kind == SCAN_TEXT)
            continue;
        run->paths[run->n_media] = part->path;
        r = scan_media_read(o, part, run->engine, &run->media[run->n_media], err);
        if (r == 0)
            run->n_media++;
    }
    if (r == 0)
        r = encode(run, err);
    if (r == 0 && run->prompt.n == 0)
        r = error_set(err, EINVAL, EX_DATAERR, "the prompt is empty: the model needs a token");
    if (r == 0)
        r = match_pads(run, &tokens, err);
    return r < 0 ? r : check_size(run, tokens, err);
}

int scan_prompt_run(const ScanOptions *options, Error *err)
{
    Run *run = mem_new_array(1, sizeof *run);
    if (!run)
        return no_memory(err);
    run->options = options;
    int r = prepare(run, err);
    if (r == 0)
        r = append(run, err);
    if (r == 0)
        r = write_arrays(run, err);
    if (r == 0)
        r = answer(run, err);
    for (size_t i = 0; i < run->n_media; i++)
        scan_media_deinit(&run->media[i]);
    token_ids_deinit(&run->prompt);
    token_ids_deinit(&run->output);
    timeline_free(run->timeline);
    engine_free(run->engine);
    free(run);
    return r;
}

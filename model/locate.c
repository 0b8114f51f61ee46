/*
 * Prompt = prefix up to and including the video, prefilled once, + question, appended to a fork and
 * answered there. The prefix's ids come from the rendered prompt: everything up to its video pad
 * token is the same whatever the question is, because added tokens are cut out before anything else
 * is.
 */
#include "model/locate.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/answer.h"
#include "model/answer_clock.h"
#include "model/grammar.h"
#include "model/prompt.h"
#include "model/timeline.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { DEFAULT_MAX_TOKENS = 512, MAX_QUESTION_BYTES = 4096, MINUTE_S = 59 };

/* One question, while it is answered; its memory is used again. */
typedef struct Asked {
    const Engine *engine;
    Timeline *fork;       /* of the locator's timeline */
    Grammar *grammars[2]; /* of the locator's rules */
    TokenIds question, output;
    Str answer;
    struct Free { /* tokens that the model chose: where they end in the text, and how sure it was */
        size_t end_bytes;
        double log_prob;
    } * free;
    size_t n_free, free_capacity;
    bool failed; /* no memory while a step was noted */
} Asked;

struct Locator {
    const Engine *engine;
    Timeline *timeline;     /* up to the video's end */
    GrammarRules *rules[2]; /* for any times, and for those within a minute */
    size_t max_tokens;
    size_t visual_tokens, all_tokens; /* of the last watch */
    double origin_s;                  /* seconds of the first frame: the model's 00:00.00 */
    AnswerClock clock;                /* from there */
    bool watching, short_video;       /* short: below a minute */
    Asked asked[LOCATE_TOGETHER];

    TokenIds prompt; /* of the last question; reused */
    Str text;

    float *prompt_logits;      /* [vocab] */
    int32_t *prompt_positions; /* [3, prompt_tokens] */
    size_t prompt_positions_capacity;
    int32_t *prompt_ids; /* [prompt_tokens] */
    size_t prompt_ids_capacity;
    size_t prompt_tokens;
    bool has_prompt;

    /* Of a watch; reused. */
    const uint8_t **frames, **cells;
    size_t frames_capacity, cells_capacity;
    double *seconds; /* of the frames from the first, then of the grids */
    size_t seconds_capacity;
};

static int no_memory(Error *err)
{
    return error_set(err, ENOMEM, EX_OSERR, "no memory for the question");
}

void locate_answer_deinit(LocateAnswer *answer)
{
    free(answer->intervals);
    free(answer->text);
    memset(answer, 0, sizeof *answer);
}

int locator_new(const Engine *engine, int max_tokens, Locator **locator, Error *err)
{
    const Hparams *h = engine_hparams(engine);
    Locator *l = mem_new_array(1, sizeof *l);
    if (!l)
        return no_memory(err);
    l->engine = engine;
    l->max_tokens = max_tokens > 0 ? (size_t)max_tokens : DEFAULT_MAX_TOKENS;
    /* A model with its own instruction was trained on compact JSON; others may write spaces. */
    GrammarSpace space = engine_prompt(engine)->custom_system ? GRAMMAR_COMPACT : GRAMMAR_FREE;
    int r = timeline_new(engine, &l->timeline, err);
    const char *const schemas[2] = {GRAMMAR_EVENT_LIST_SCHEMA, GRAMMAR_MINUTE_EVENT_LIST_SCHEMA};
    for (size_t i = 0; r == 0 && i < 2; i++)
        r = grammar_compile_schema(schemas[i], space, engine_tokenizer(engine), h->eos, h->n_eos,
                                   &l->rules[i], err);
    for (size_t i = 0; r == 0 && i < LOCATE_TOGETHER; i++) {
        l->asked[i].engine = engine;
        if (grammar_new(l->rules[0], &l->asked[i].grammars[0]) < 0 ||
            grammar_new(l->rules[1], &l->asked[i].grammars[1]) < 0)
            r = no_memory(err);
    }
    l->prompt_logits = mem_new_aligned((size_t)h->text.vocab, sizeof *l->prompt_logits);
    if (r == 0 && !l->prompt_logits)
        r = no_memory(err);
    if (r < 0) {
        locator_free(l);
        return r;
    }
    *locator = l;
    return 0;
}

void locator_free(Locator *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < LOCATE_TOGETHER; i++) {
        Asked *a = &l->asked[i];
        timeline_free(a->fork);
        grammar_free(a->grammars[0]);
        grammar_free(a->grammars[1]);
        token_ids_deinit(&a->question);
        token_ids_deinit(&a->output);
        str_deinit(&a->answer);
        free(a->free);
    }
    timeline_free(l->timeline);
    grammar_rules_free(l->rules[0]);
    grammar_rules_free(l->rules[1]);
    token_ids_deinit(&l->prompt);
    str_deinit(&l->text);
    free(l->prompt_logits);
    free(l->prompt_positions);
    free(l->prompt_ids);
    free(l->frames);
    free(l->cells);
    free(l->seconds);
    free(l);
}

/* What models that were not trained for us are asked. */
static void wrap_question(const char *question, Str *text)
{
    str_addf(text,
             "Watch the whole video and find every time span in which this happens: \"%s\"\n"
             "Answer only with a JSON list, without any other text. Each item is "
             "{\"start_time\": \"mm:ss.ff\", \"end_time\": \"mm:ss.ff\", \"description\": "
             "\"...\"}: minutes, seconds and hundredths from the beginning of the video, and one "
             "short sentence about what is seen. List the spans in order of time, one item for "
             "each occurrence. If it does not happen, answer [].",
             question);
}

/* The whole prompt's ids, one pad for the video, to l->prompt; *pad: where that is. */
static int encode_prompt(Locator *l, const char *question, size_t *pad, Error *err)
{
    const PromptTemplate *prompt = engine_prompt(l->engine);
    const int32_t video = engine_hparams(l->engine)->video_token;
    str_clear(&l->text);
    if (prompt->custom_system)
        str_add_text(&l->text, question);
    else
        wrap_question(question, &l->text);
    if (str_failed(&l->text))
        return no_memory(err);
    PromptPart parts[] = {{.kind = PROMPT_VIDEO},
                          {.kind = PROMPT_TEXT, .text = str_text(&l->text)}};
    PromptMessage message = {.role = "user", .parts = parts, .n_parts = 2};
    PromptOptions options = {.add_generation_prompt = true, .plain_text = true};
    l->prompt.n = 0;
    int r =
        prompt_encode(prompt, engine_tokenizer(l->engine), &message, 1, &options, &l->prompt, err);
    if (r == -ENOMEM)
        return no_memory(err);
    if (r < 0)
        return r;
    for (*pad = 0; *pad < l->prompt.n; ++*pad)
        if (l->prompt.ids[*pad] == video)
            return 0;
    return error_set(err, EINVAL, EX_DATAERR,
                     "video_token_id of config.json is not the tokenizer's <|video_pad|>");
}

/* Frames must be what the model takes: the caller's sizes come from the engine, but a bad message
 * must not become a crash. */
static int check_frames(const Locator *l, const LocateFrame *frames, size_t n, Error *err)
{
    const int cell = engine_cell_px(l->engine);
    if (n == 0)
        return error_set(err, EINVAL, EX_DATAERR, "a window without frames cannot be watched");
    for (size_t i = 0; i < n; i++) {
        const LocateFrame *f = &frames[i];
        if (f->width <= 0 || f->height <= 0 || f->width % cell != 0 || f->height % cell != 0)
            return error_set(err, EINVAL, EX_DATAERR,
                             "frame %zu is %d x %d pixels: sides must be multiples of %d", i,
                             f->width, f->height, cell);
        if (f->width != frames[0].width || f->height != frames[0].height)
            return error_set(
                err, EINVAL, EX_DATAERR,
                "frame %zu is %d x %d pixels and frame 0 is %d x %d: a window's frames "
                "must be of one size",
                i, f->width, f->height, frames[0].width, frames[0].height);
        if (!isfinite(f->seconds) || (i > 0 && f->seconds < frames[i - 1].seconds))
            return error_set(err, EINVAL, EX_DATAERR,
                             "frame %zu is earlier than the one before it: frames must come in "
                             "order of time",
                             i);
    }
    return 0;
}

int locator_watch(Locator *l, const LocateFrame *frames, size_t n, Error *err)
{
    l->watching = l->has_prompt = false;
    l->visual_tokens = l->all_tokens = 0;
    timeline_rollback(l->timeline, (TimelineMark){0});
    int r = check_frames(l, frames, n, err);
    if (r < 0)
        return r;
    const size_t pair = (size_t)engine_hparams(l->engine)->vision.temporal_patch;
    const size_t grids = (n + pair - 1) / pair;
    if (mem_grow((void **)&l->frames, &l->frames_capacity, n, sizeof *l->frames) < 0 ||
        mem_grow((void **)&l->cells, &l->cells_capacity, n, sizeof *l->cells) < 0 ||
        mem_grow((void **)&l->seconds, &l->seconds_capacity, n, sizeof *l->seconds) < 0)
        return no_memory(err);
    bool gated = false;
    l->origin_s = frames[0].seconds;
    for (size_t i = 0; i < n; i++) {
        l->frames[i] = frames[i].rgb;
        l->cells[i] = frames[i].cells;
        gated |= frames[i].cells != NULL;
        l->seconds[i] = frames[i].seconds - l->origin_s;
    }
    l->clock = answer_clock(l->seconds, n, pair);
    l->short_video = l->seconds[n - 1] < MINUTE_S;
    for (size_t k = 0; k < grids; k++)
        l->seconds[k] = l->seconds[k * pair];

    size_t pad;
    r = encode_prompt(l, "", &pad, err);
    if (r == 0)
        r = timeline_append_ids(l->timeline, l->prompt.ids, pad, err);
    TimelineVideo video = {.frames = l->frames,
                           .n_frames = n,
                           .width = frames[0].width,
                           .height = frames[0].height,
                           .seconds = l->seconds,
                           .cells = gated ? l->cells : NULL};
    if (r == 0)
        r = timeline_append_video(l->timeline, &video, err);
    if (r < 0)
        return r;
    const size_t cell = (size_t)engine_cell_px(l->engine);
    l->visual_tokens = timeline_length(l->timeline) - pad;
    l->all_tokens = grids * ((size_t)frames[0].width / cell) * ((size_t)frames[0].height / cell);
    l->watching = true;
    return 0;
}

size_t locator_visual_tokens(const Locator *l, size_t *all)
{
    *all = l->all_tokens;
    return l->visual_tokens;
}

/* Notes a chosen token: in the order of the text, so that an interval's tokens can be found. */
static void note_step(void *user, const GenerateStep *step)
{
    Asked *a = user;
    size_t bytes = 0;
    const Tokenizer *tokenizer = engine_tokenizer(a->engine);
    const uint8_t *text = tokenizer_bytes(tokenizer, step->id, &bytes);
    if (!tokenizer_is_special(tokenizer, step->id))
        str_add(&a->answer, text, bytes);
    if (step->forced)
        return;
    if (mem_grow((void **)&a->free, &a->free_capacity, a->n_free + 1, sizeof *a->free) < 0) {
        a->failed = true;
        return;
    }
    a->free[a->n_free++] = (struct Free){a->answer.len, step->log_prob};
}

/* Geometric mean of the probabilities of the chosen tokens that end in (from, to]. 1 when all were
 * forced. */
static double confidence_of(const Asked *a, size_t from, size_t to)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < a->n_free; i++)
        if (a->free[i].end_bytes > from && a->free[i].end_bytes <= to) {
            sum += a->free[i].log_prob;
            n++;
        }
    return n ? exp(sum / (double)n) : 1;
}

/* Keeps what locator_prompt_* give. */
static int keep_prompt(Locator *l, Timeline *timeline, Error *err)
{
    const float *logits = NULL;
    int r = timeline_logits(timeline, &logits, err);
    if (r < 0)
        return r;
    size_t n = timeline_length(timeline);
    if (mem_grow((void **)&l->prompt_positions, &l->prompt_positions_capacity, 3 * n,
                 sizeof *l->prompt_positions) < 0 ||
        mem_grow((void **)&l->prompt_ids, &l->prompt_ids_capacity, n, sizeof *l->prompt_ids) < 0)
        return no_memory(err);
    memcpy(l->prompt_logits, logits,
           (size_t)engine_hparams(l->engine)->text.vocab * sizeof *logits);
    timeline_positions(timeline, l->prompt_positions);
    memcpy(l->prompt_ids, timeline_ids(timeline), n * sizeof *l->prompt_ids);
    l->prompt_tokens = n;
    l->has_prompt = true;
    return 0;
}

/* What was written and noted, to the caller's structure. -ENOMEM. */
static int read_answer(const Locator *l, const Asked *a, LocateAnswer *answer)
{
    if (a->failed || str_failed(&a->answer))
        return -ENOMEM;
    _cleanup_(answer_deinit) Answer parsed = {0};
    int r = answer_parse(str_text(&a->answer), a->answer.len, &parsed);
    if (r < 0)
        return r;
    answer->text = strdup(str_text(&a->answer));
    answer->intervals = mem_new_array(parsed.n, sizeof *answer->intervals);
    if (!answer->text || !answer->intervals)
        return -ENOMEM;
    answer->n = parsed.n;
    answer->tokens = (int)a->output.n;
    answer->confidence = confidence_of(a, 0, SIZE_MAX);
    for (size_t i = 0; i < parsed.n; i++) {
        const AnswerInterval *from = &parsed.intervals[i];
        LocateInterval *to = &answer->intervals[i];
        to->start_s = l->origin_s + answer_clock_seconds(&l->clock, from->start_s);
        to->end_s = l->origin_s + answer_clock_seconds(&l->clock, from->end_s);
        to->confidence = confidence_of(a, from->begin, from->end);
        memcpy(to->description, from->description, sizeof to->description);
    }
    return 0;
}

/* A fork behind the video, and the question's ids. */
static int prepare(Locator *l, const char *question, Asked *a, Error *err)
{
    size_t pad;
    int r = timeline_fork(l->timeline, &a->fork, err);
    if (r == 0)
        r = encode_prompt(l, question, &pad, err);
    a->question.n = a->output.n = a->n_free = 0;
    for (size_t i = pad + 1; r == 0 && i < l->prompt.n; i++)
        if (token_ids_add(&a->question, l->prompt.ids[i]) < 0)
            r = no_memory(err);
    grammar_reset(a->grammars[l->short_video]);
    str_clear(&a->answer);
    a->failed = false;
    return r;
}

/* n <= LOCATE_TOGETHER questions, read and answered together. */
static int ask_together(Locator *l, const char *const *questions, size_t n, LocateAnswer *answers,
                        Error *err)
{
    TimelineText texts[LOCATE_TOGETHER];
    GenerateOptions options[LOCATE_TOGETHER];
    Timeline *forks[LOCATE_TOGETHER];
    TokenIds *outputs[LOCATE_TOGETHER];
    int results[LOCATE_TOGETHER], r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        Asked *a = &l->asked[i];
        r = prepare(l, questions[i], a, err);
        texts[i] = (TimelineText){a->fork, a->question.ids, a->question.n};
        options[i] = (GenerateOptions){.grammar = a->grammars[l->short_video],
                                       .max_tokens = l->max_tokens,
                                       .step = note_step,
                                       .user = a};
        forks[i] = a->fork;
        outputs[i] = &a->output;
    }
    if (r == 0)
        r = timeline_append_together(texts, n, err);
    if (r == 0)
        r = keep_prompt(l, forks[n - 1], err);
    if (r == 0)
        r = timeline_generate_together(forks, options, outputs, results, n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        answers[i].truncated = results[i] == GENERATE_TRUNCATED;
        if (read_answer(l, &l->asked[i], &answers[i]) < 0)
            r = no_memory(err);
        else
            log_debug("locate", "asked tokens=%d intervals=%zu confidence=%.3f truncated=%d",
                      answers[i].tokens, answers[i].n, answers[i].confidence, answers[i].truncated);
    }
    return r;
}

int locator_ask_all(Locator *l, const char *const *questions, size_t n, LocateAnswer *answers,
                    Error *err)
{
    memset(answers, 0, n * sizeof *answers);
    l->has_prompt = false;
    if (!l->watching)
        return error_set(err, EINVAL, EX_SOFTWARE, "a question was asked before a video was seen");
    for (size_t i = 0; i < n; i++)
        if (strnlen(questions[i], MAX_QUESTION_BYTES + 1) > MAX_QUESTION_BYTES)
            return error_set(err, E2BIG, EX_DATAERR,
                             "the question is longer than %d bytes: ask a shorter one",
                             MAX_QUESTION_BYTES);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i += LOCATE_TOGETHER)
        r = ask_together(l, questions + i, n - i < LOCATE_TOGETHER ? n - i : LOCATE_TOGETHER,
                         answers + i, err);
    for (size_t i = 0; r < 0 && i < n; i++)
        locate_answer_deinit(&answers[i]);
    return r;
}

int locator_ask(Locator *l, const char *question, LocateAnswer *answer, Error *err)
{
    return locator_ask_all(l, &question, 1, answer, err);
}

const float *locator_prompt_logits(const Locator *l, size_t *vocab)
{
    *vocab = l->has_prompt ? (size_t)engine_hparams(l->engine)->text.vocab : 0;
    return l->has_prompt ? l->prompt_logits : NULL;
}

const int32_t *locator_prompt_positions(const Locator *l, size_t *n_tokens)
{
    *n_tokens = l->has_prompt ? l->prompt_tokens : 0;
    return l->has_prompt ? l->prompt_positions : NULL;
}

const int32_t *locator_prompt_ids(const Locator *l, size_t *n_tokens)
{
    *n_tokens = l->has_prompt ? l->prompt_tokens : 0;
    return l->has_prompt ? l->prompt_ids : NULL;
}

/*
 * Greedy generation of one answer, or of several together: each step appends what every unfinished
 * answer has to append (its last token and what the grammar forced behind it) in one pass, asks for
 * all their logits in one product, and lets each choose.
 */
#include "model/engine_private.h"
#include "model/kernels.h"
#include "model/timeline_private.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

/* Each id that is there counts once: positive logits are divided, negative ones multiplied. */
static void penalise(Timeline *t, float penalty)
{
    uint8_t *seen = t->scratch->seen;
    memset(seen, 0, (size_t)t->engine->hparams.text.vocab);
    for (size_t i = 0; i < t->cache.n; i++) {
        size_t id = (size_t)t->ids[i];
        if (!seen[id])
            t->logits[id] = t->logits[id] > 0 ? t->logits[id] / penalty : t->logits[id] * penalty;
        seen[id] = 1;
    }
}

/* The best allowed id and its probability among those. -EINVAL: none is allowed. */
static int choose(const Timeline *t, Grammar *grammar, GenerateStep *step)
{
    const size_t vocab = (size_t)t->engine->hparams.text.vocab;
    const float *logits = t->logits;
    float *exps = t->scratch->exps; /* [allowed] first their logits */
    size_t words = 0, allowed = 0, best = 0;
    const uint32_t *mask = grammar ? grammar_mask(grammar, &words) : NULL;
    for (size_t word = 0; mask && word < words; word++)
        for (uint32_t bits = mask[word]; bits; bits &= bits - 1) {
            size_t id = word * 32 + (size_t)__builtin_ctz(bits);
            if (id >= vocab)
                break;
            best = allowed == 0 || logits[id] > logits[best] ? id : best;
            exps[allowed++] = logits[id];
        }
    if (!mask) {
        for (size_t id = 1; id < vocab; id++)
            best = logits[id] > logits[best] ? id : best;
        memcpy(exps, logits, vocab * sizeof *exps);
        allowed = vocab;
    }
    if (allowed == 0)
        return -EINVAL;
    step->id = (int32_t)best;
    step->forced = grammar && allowed == 1;
    step->log_prob =
        step->forced ? 0 : -log((double)kernels()->exp_sum(exps, allowed, logits[best]));
    return 0;
}

static bool is_end(const Timeline *t, const GenerateOptions *o, int32_t id)
{
    const int32_t *eos = o->n_eos ? o->eos : t->engine->hparams.eos;
    int n = o->n_eos ? o->n_eos : t->engine->hparams.n_eos;
    for (int i = 0; i < n; i++)
        if (eos[i] == id)
            return true;
    return false;
}

/* Takes one token into the output, the grammar and the feed. */
static int take(Timeline *t, const GenerateOptions *o, GenerateStep *step, TokenIds *out)
{
    step->position = t->next + (int32_t)t->feed.n;
    if (o->step)
        o->step(o->user, step);
    if (o->grammar && grammar_accept(o->grammar, step->id) < 0)
        return -EINVAL;
    int r = token_ids_add(out, step->id);
    return r < 0 ? r : token_ids_add(&t->feed, step->id);
}

/* What the grammar forces, into the feed: appended with the next token, it costs no step. */
static int take_forced(Timeline *t, const GenerateOptions *o, TokenIds *out, size_t most, bool *end)
{
    t->scratch->forced.n = 0;
    int r = o->grammar ? grammar_forced_tokens(o->grammar, &t->scratch->forced) : 0;
    for (size_t i = 0; r == 0 && i < t->scratch->forced.n && out->n < most && !*end; i++) {
        GenerateStep step = {.id = t->scratch->forced.ids[i], .forced = true};
        r = take(t, o, &step, out);
        *end = is_end(t, o, step.id);
    }
    return r;
}

/* The most likely token that is allowed behind the logits, which are there. */
static int take_best(Timeline *t, const GenerateOptions *o, TokenIds *out, bool *end, Error *err)
{
    if (o->repetition_penalty > 0 && o->repetition_penalty != 1) {
        penalise(t, o->repetition_penalty);
        t->has_logits = false;
    }
    GenerateStep step = {.logits = t->logits};
    if (choose(t, o->grammar, &step) < 0)
        return error_set(err, EINVAL, EX_DATAERR,
                         "the model's tokenizer has no token with which the answer could go on");
    *end = is_end(t, o, step.id);
    return take(t, o, &step, out);
}

/* One step of all answers whose results[i] is still GOING_ON. */
enum { GOING_ON = 2 };

static int step_all(Timeline *const *timelines, const GenerateOptions *options,
                    TokenIds *const *outs, const size_t *most, int *results, size_t n, Error *err)
{
    Timeline *active[TIMELINE_MAX_TOGETHER];
    TimelineText texts[TIMELINE_MAX_TOGETHER];
    size_t index[TIMELINE_MAX_TOGETHER], m = 0;
    for (size_t i = 0; i < n; i++) {
        Timeline *t = timelines[i];
        bool end = false;
        if (results[i] != GOING_ON)
            continue;
        int r = take_forced(t, &options[i], outs[i], most[i], &end);
        if (r < 0)
            return r;
        if (end || outs[i]->n >= most[i] || timeline_check_text(t, t->feed.n, NULL) < 0) {
            results[i] = end ? 0 : GENERATE_TRUNCATED;
            continue;
        }
        texts[m] = (TimelineText){t, t->feed.ids, t->feed.n};
        active[m] = t;
        index[m++] = i;
    }
    if (m == 0)
        return 0;
    int r = timeline_append_together(texts, m, err);
    if (r == 0)
        r = timeline_need_logits(active, m, err);
    for (size_t j = 0; r == 0 && j < m; j++) {
        size_t i = index[j];
        bool end = false;
        active[j]->feed.n = 0;
        r = take_best(active[j], &options[i], outs[i], &end, err);
        if (r == 0 && (end || outs[i]->n >= most[i]))
            results[i] = end ? 0 : GENERATE_TRUNCATED;
    }
    return r;
}

int timeline_generate_together(Timeline *const *timelines, const GenerateOptions *options,
                               TokenIds *const *outs, int *results, size_t n, Error *err)
{
    size_t most[TIMELINE_MAX_TOGETHER], going = n;
    assert(n <= TIMELINE_MAX_TOGETHER);
    for (size_t i = 0; i < n; i++) {
        most[i] = outs[i]->n + options[i].max_tokens;
        timelines[i]->feed.n = 0;
        results[i] = GOING_ON;
    }
    while (going > 0) {
        int r = step_all(timelines, options, outs, most, results, n, err);
        if (r == -ENOMEM)
            return timeline_no_memory(err);
        if (r < 0)
            return error_set(err, -r, EX_SOFTWARE,
                             "the grammar refused a token that it had allowed");
        going = 0;
        for (size_t i = 0; i < n; i++)
            going += results[i] == GOING_ON;
    }
    return 0;
}

int timeline_generate(Timeline *t, const GenerateOptions *o, TokenIds *out, Error *err)
{
    int result;
    int r = timeline_generate_together(&t, o, &out, &result, 1, err);
    return r < 0 ? r : result;
}

/*
 * ids and positions are kept for every token; the KV cache holds what attention needs of them. A
 * rollback is a lower count in all three: keys and values of a token depend only on what is before
 * it, and each kernel's result only on its own rows.
 */
#include "model/timeline.h"

#include "base/mem.h"
#include "model/engine_private.h"
#include "model/kernels.h"
#include "model/mrope.h"
#include "model/patches.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* Patches whose pixel values are made at once. */
enum { PIXEL_PATCHES = 4096 };

struct Timeline {
    const Engine *engine;
    Compute compute;
    KvCache cache;
    int32_t *ids, *positions[3]; /* [length] each */
    size_t ids_capacity, positions_capacity[3];
    int32_t next;
    float *embeds; /* of what is being appended */
    size_t embeds_capacity;
    int32_t *new_positions; /* [3, n] */
    size_t new_positions_capacity;
    int32_t *pads; /* ids of visual tokens */
    size_t pads_capacity;
    float *last;   /* [H] final norm of the last token */
    float *logits; /* [vocab] */
    bool has_last, has_logits;
    uint8_t *seen;   /* [vocab] for the repetition penalty */
    TokenIds feed;   /* chosen and forced tokens that are not yet appended */
    TokenIds forced; /* what the grammar just forced */
};

static int no_memory(Error *err)
{
    return error_set(err, ENOMEM, EX_OSERR, "no memory for the model's context");
}

int timeline_new(const Engine *engine, Timeline **timeline, Error *err)
{
    const Hparams *h = &engine->hparams;
    Timeline *t = mem_new_array(1, sizeof *t);
    if (!t)
        return no_memory(err);
    t->engine = engine;
    kv_cache_init(&t->cache, h->text.layers, h->text.kv_heads, h->text.head_dim);
    int dim = h->text.head_dim > h->vision.head_dim ? h->text.head_dim : h->vision.head_dim;
    t->last = mem_new_aligned((size_t)h->text.hidden, sizeof *t->last);
    t->logits = mem_new_aligned((size_t)h->text.vocab, sizeof *t->logits);
    t->seen = mem_new_array((size_t)h->text.vocab, sizeof *t->seen);
    if (compute_init(&t->compute, engine->threads, dim) < 0 || !t->last || !t->logits || !t->seen) {
        timeline_free(t);
        return no_memory(err);
    }
    *timeline = t;
    return 0;
}

void timeline_free(Timeline *t)
{
    if (!t)
        return;
    compute_deinit(&t->compute);
    kv_cache_deinit(&t->cache);
    free(t->ids);
    for (int i = 0; i < 3; i++)
        free(t->positions[i]);
    free(t->embeds);
    free(t->new_positions);
    free(t->pads);
    free(t->last);
    free(t->logits);
    free(t->seen);
    token_ids_deinit(&t->feed);
    token_ids_deinit(&t->forced);
    free(t);
}

size_t timeline_length(const Timeline *t)
{
    return t->cache.n;
}

int32_t timeline_next_position(const Timeline *t)
{
    return t->next;
}

const int32_t *timeline_ids(const Timeline *t)
{
    return t->ids;
}

void timeline_positions(const Timeline *t, int32_t *positions)
{
    for (size_t i = 0; i < 3 && t->cache.n; i++)
        memcpy(positions + i * t->cache.n, t->positions[i], t->cache.n * sizeof *positions);
}

void timeline_tap(Timeline *t, const ComputeTap *tap)
{
    t->compute.tap = *tap;
}

/* Whether n more tokens fit, and positions up to `next`. */
static int check_context(const Timeline *t, size_t n, int64_t next, Error *err)
{
    size_t most = (size_t)t->engine->hparams.text.max_positions;
    if (n <= most && t->cache.n <= most - n && next <= (int64_t)most)
        return 0;
    return error_set(err, E2BIG, EX_DATAERR,
                     "%zu tokens up to position %lld do not fit the model's context of %zu: use a "
                     "shorter window, a lower fps or smaller frames",
                     t->cache.n + n, (long long)next, most);
}

int timeline_append_embeds(Timeline *t, const float *embeds, const int32_t *ids,
                           const int32_t *positions, size_t n, int32_t next, Error *err)
{
    if (n == 0)
        return 0;
    int r = check_context(t, n, next, err);
    if (r < 0)
        return r;
    size_t before = t->cache.n, after = before + n;
    r = mem_grow((void **)&t->ids, &t->ids_capacity, after, sizeof *t->ids);
    for (int i = 0; r == 0 && i < 3; i++)
        r = mem_grow((void **)&t->positions[i], &t->positions_capacity[i], after,
                     sizeof *t->positions[i]);
    if (r == 0)
        r = llm_run(t->engine->llm, &t->compute, &t->cache, embeds, n, positions, n, t->last);
    if (r == -ENOMEM)
        return no_memory(err);
    if (r < 0)
        return error_set(err, -r, EX_SOFTWARE, "the language model failed; the log says where");
    memcpy(t->ids + before, ids, n * sizeof *ids);
    for (size_t i = 0; i < 3; i++)
        memcpy(t->positions[i] + before, positions + i * n, n * sizeof *positions);
    t->next = next;
    t->has_last = true;
    t->has_logits = false;
    return 0;
}

/* Room for the embeddings and positions of n new tokens. */
static int room(Timeline *t, size_t n, Error *err)
{
    size_t floats;
    if (!mem_mul(n, (size_t)t->engine->hparams.text.hidden, &floats) ||
        mem_grow((void **)&t->embeds, &t->embeds_capacity, floats, sizeof *t->embeds) < 0 ||
        mem_grow((void **)&t->new_positions, &t->new_positions_capacity, 3 * n,
                 sizeof *t->new_positions) < 0)
        return no_memory(err);
    return 0;
}

int timeline_append_ids(Timeline *t, const int32_t *ids, size_t n, Error *err)
{
    const TextHparams *h = &t->engine->hparams.text;
    if (n == 0)
        return 0;
    int r = check_context(t, n, (int64_t)t->next + (int64_t)n, err);
    if (r == 0)
        r = room(t, n, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= h->vocab)
            return error_set(err, EINVAL, EX_SOFTWARE, "token %d is not of this model", ids[i]);
        llm_embed(t->engine->llm, ids[i], t->embeds + i * (size_t)h->hidden);
        for (size_t axis = 0; axis < 3; axis++)
            t->new_positions[axis * n + i] = t->next + (int32_t)i;
    }
    return timeline_append_embeds(t, t->embeds, ids, t->new_positions, n, t->next + (int32_t)n,
                                  err);
}

/* Visual tokens of the video to t->embeds, as many grids at once as bound the pixels' buffer. */
static int encode(Timeline *t, const TimelineVideo *video, const int32_t grid[3], size_t per_grid)
{
    const Hparams *h = &t->engine->hparams;
    const size_t patches = (size_t)grid[1] * (size_t)grid[2], grids = (size_t)grid[0];
    size_t piece = PIXEL_PATCHES / patches;
    piece = piece < 1 ? 1 : piece < grids ? piece : grids;
    float *pixels =
        compute_need(&t->compute, COMPUTE_PIXELS, piece * patches, (size_t)hparams_patch_values(h));
    if (!pixels)
        return -ENOMEM;
    for (size_t at = 0; at < grids; at += piece) {
        size_t count = grids - at < piece ? grids - at : piece;
        const int32_t part[3] = {(int32_t)count, grid[1], grid[2]};
        patches_make(&h->vision, &h->video, video->frames, video->n_frames, video->height,
                     video->width, at, count, pixels);
        int r = vit_run(t->engine->vit, &t->compute, pixels, part,
                        t->embeds + at * per_grid * (size_t)h->text.hidden);
        if (r < 0)
            return r;
    }
    return 0;
}

int timeline_append_video(Timeline *t, const TimelineVideo *video, Error *err)
{
    const Hparams *h = &t->engine->hparams;
    MropeSegment segment = {.kind = MROPE_VIDEO, .seconds = video->seconds};
    size_t n;
    if (patches_grid(&h->vision, video->n_frames, video->height, video->width, segment.grid_thw) <
            0 ||
        mrope_length(&segment, 1, h->vision.merge, &n) < 0)
        return error_set(err, EINVAL, EX_DATAERR,
                         "%zu frames of %d x %d pixels are no video for this model: sides must be "
                         "multiples of %d",
                         video->n_frames, video->width, video->height, hparams_cell_px(h));
    int r = check_context(t, n, t->next, err);
    if (r == 0)
        r = room(t, n, err);
    if (r < 0)
        return r;
    int32_t next;
    r = mrope_positions(&segment, 1, h->vision.merge, h->vision.tokens_per_second, t->next,
                        t->new_positions, n, &next);
    if (r < 0)
        return error_set(err, -r, EX_DATAERR,
                         "the times of the frames fall or are out of range: they must be seconds "
                         "from the first one");
    r = check_context(t, n, next, err);
    if (r < 0)
        return r;
    if (mem_grow((void **)&t->pads, &t->pads_capacity, n, sizeof *t->pads) < 0)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        t->pads[i] = h->video_token;
    r = encode(t, video, segment.grid_thw, n / (size_t)segment.grid_thw[0]);
    if (r == -ENOMEM)
        return no_memory(err);
    if (r < 0)
        return error_set(err, -r, EX_SOFTWARE, "the vision transformer failed; the log says where");
    return timeline_append_embeds(t, t->embeds, t->pads, t->new_positions, n, next, err);
}

int timeline_logits(Timeline *t, const float **logits, Error *err)
{
    if (!t->has_last)
        return error_set(err, EINVAL, EX_SOFTWARE, "logits were asked of an empty timeline");
    if (!t->has_logits && llm_logits(t->engine->llm, &t->compute, t->last, 1, t->logits) < 0)
        return error_set(err, EIO, EX_SOFTWARE, "the language model failed; the log says where");
    t->has_logits = true;
    *logits = t->logits;
    return 0;
}

TimelineMark timeline_mark(const Timeline *t)
{
    return (TimelineMark){.length = t->cache.n, .next_position = t->next};
}

void timeline_rollback(Timeline *t, TimelineMark mark)
{
    kv_cache_truncate(&t->cache, mark.length);
    t->next = mark.next_position;
    t->has_last = t->has_logits = false;
}

/* --- greedy generation --- */

/* Each id that is there counts once: positive logits are divided, negative ones multiplied. */
static void penalise(Timeline *t, float penalty)
{
    memset(t->seen, 0, (size_t)t->engine->hparams.text.vocab);
    for (size_t i = 0; i < t->cache.n; i++) {
        size_t id = (size_t)t->ids[i];
        if (!t->seen[id])
            t->logits[id] = t->logits[id] > 0 ? t->logits[id] / penalty : t->logits[id] * penalty;
        t->seen[id] = 1;
    }
}

/* The best allowed id and its probability among those. -EINVAL: none is allowed. */
static int choose(const Timeline *t, Grammar *grammar, GenerateStep *step)
{
    const int32_t vocab = t->engine->hparams.text.vocab;
    size_t words = 0, allowed = 0;
    const uint32_t *mask = grammar ? grammar_mask(grammar, &words) : NULL;
    int32_t best = -1;
    for (int32_t i = 0; i < vocab; i++) {
        if (grammar && !grammar_mask_has(mask, words, i))
            continue;
        allowed++;
        if (best < 0 || t->logits[i] > t->logits[best])
            best = i;
    }
    if (best < 0)
        return -EINVAL;
    double sum = 0;
    for (int32_t i = 0; i < vocab; i++)
        if (!grammar || grammar_mask_has(mask, words, i))
            sum += exp((double)t->logits[i] - (double)t->logits[best]);
    step->id = best;
    step->forced = grammar && allowed == 1;
    step->log_prob = step->forced ? 0 : -log(sum);
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
    t->forced.n = 0;
    int r = o->grammar ? grammar_forced_tokens(o->grammar, &t->forced) : 0;
    for (size_t i = 0; r == 0 && i < t->forced.n && out->n < most && !*end; i++) {
        GenerateStep step = {.id = t->forced.ids[i], .forced = true};
        r = take(t, o, &step, out);
        *end = is_end(t, o, step.id);
    }
    return r;
}

/* The most likely token that is allowed behind the logits. */
static int take_best(Timeline *t, const GenerateOptions *o, TokenIds *out, bool *end, Error *err)
{
    const float *logits = NULL;
    int r = timeline_logits(t, &logits, err);
    if (r < 0)
        return r;
    if (o->repetition_penalty > 0 && o->repetition_penalty != 1) {
        penalise(t, o->repetition_penalty);
        t->has_logits = false;
    }
    GenerateStep step = {.logits = logits};
    if (choose(t, o->grammar, &step) < 0)
        return error_set(err, EINVAL, EX_DATAERR,
                         "the model's tokenizer has no token with which the answer could go on");
    *end = is_end(t, o, step.id);
    return take(t, o, &step, out);
}

int timeline_generate(Timeline *t, const GenerateOptions *o, TokenIds *out, Error *err)
{
    const size_t most = out->n + o->max_tokens;
    bool end = false;
    t->feed.n = 0;
    for (;;) {
        int r = take_forced(t, o, out, most, &end);
        if (r == 0 && !end && out->n < most)
            r = timeline_append_ids(t, t->feed.ids, t->feed.n, err);
        if (r == -E2BIG) {
            error_clear(err);
            return GENERATE_TRUNCATED;
        }
        if (r == 0 && !end && out->n < most) {
            t->feed.n = 0;
            r = take_best(t, o, out, &end, err);
        }
        if (r == -ENOMEM)
            return no_memory(err);
        if (r < 0)
            return error_set(err, -r, EX_SOFTWARE,
                             "the grammar refused a token that it had allowed");
        if (end || out->n >= most)
            return end ? 0 : GENERATE_TRUNCATED;
    }
}

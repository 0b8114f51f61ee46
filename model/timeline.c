/*
 * ids and positions are kept for every token; the KV cache holds what attention needs of them. A
 * rollback is a lower count in all three: keys and values of a token depend only on what is before
 * it, and each kernel's result only on its own rows.
 */
#include "model/timeline.h"

#include "base/mem.h"
#include "model/engine_private.h"
#include "model/mrope.h"
#include "model/patches.h"
#include "model/timeline_private.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

/* Patches whose pixel values are made at once. */
enum { PIXEL_PATCHES = 4096 };

int timeline_no_memory(Error *err)
{
    return error_set(err, ENOMEM, EX_OSERR, "no memory for the model's context");
}

static void scratch_release(TimelineScratch *s)
{
    if (!s || --s->timelines > 0)
        return;
    compute_deinit(&s->compute);
    free(s->embeds);
    free(s->positions);
    free(s->ids);
    free(s->keep);
    free(s->normed);
    free(s->logits);
    free(s->exps);
    free(s->seen);
    token_ids_deinit(&s->forced);
    free(s);
}

static TimelineScratch *scratch_new(const Engine *engine)
{
    const Hparams *h = &engine->hparams;
    TimelineScratch *s = mem_new_array(1, sizeof *s);
    if (!s)
        return NULL;
    s->timelines = 1;
    int dim = h->text.head_dim > h->vision.head_dim ? h->text.head_dim : h->vision.head_dim;
    s->normed = mem_new_aligned(TIMELINE_MAX_TOGETHER * (size_t)h->text.hidden, sizeof *s->normed);
    s->exps = mem_new_aligned((size_t)h->text.vocab, sizeof *s->exps);
    s->seen = mem_new_array((size_t)h->text.vocab, sizeof *s->seen);
    if (compute_init(&s->compute, engine->threads, dim) < 0 || !s->normed || !s->exps || !s->seen) {
        scratch_release(s);
        return NULL;
    }
    return s;
}

/* scratch NULL: its own; else a share of that. */
static int new_timeline(const Engine *engine, TimelineScratch *scratch, Timeline **timeline,
                        Error *err)
{
    const TextHparams *h = &engine->hparams.text;
    Timeline *t = mem_new_array(1, sizeof *t);
    if (!t)
        return timeline_no_memory(err);
    t->engine = engine;
    t->scratch = scratch ? scratch : scratch_new(engine);
    if (scratch)
        scratch->timelines++;
    kv_cache_init(&t->cache, engine->kv, h->layers, h->kv_heads, h->head_dim);
    t->last = mem_new_aligned((size_t)h->hidden, sizeof *t->last);
    t->logits = mem_new_aligned((size_t)h->vocab, sizeof *t->logits);
    if (!t->scratch || !t->last || !t->logits) {
        timeline_free(t);
        return timeline_no_memory(err);
    }
    *timeline = t;
    return 0;
}

int timeline_new(const Engine *engine, Timeline **timeline, Error *err)
{
    return new_timeline(engine, NULL, timeline, err);
}

void timeline_free(Timeline *t)
{
    if (!t)
        return;
    kv_cache_deinit(&t->cache);
    free(t->ids);
    for (int i = 0; i < 3; i++)
        free(t->positions[i]);
    free(t->last);
    free(t->logits);
    token_ids_deinit(&t->feed);
    scratch_release(t->scratch);
    free(t);
}

/* Room for the ids and positions of `tokens` altogether. */
static int token_room(Timeline *t, size_t tokens)
{
    int r = mem_grow((void **)&t->ids, &t->ids_capacity, tokens, sizeof *t->ids);
    for (int i = 0; r == 0 && i < 3; i++)
        r = mem_grow((void **)&t->positions[i], &t->positions_capacity[i], tokens,
                     sizeof *t->positions[i]);
    return r;
}

int timeline_fork(Timeline *t, Timeline **fork, Error *err)
{
    Timeline *f = *fork;
    assert(f != t && (!f || f->scratch == t->scratch));
    const size_t n = t->cache.n;
    int r = f ? 0 : new_timeline(t->engine, t->scratch, &f, err);
    if (r < 0)
        return r;
    r = token_room(f, n);
    if (r == 0)
        r = kv_cache_fork(&f->cache, &t->cache);
    if (r < 0) {
        if (!*fork)
            timeline_free(f);
        return timeline_no_memory(err);
    }
    *fork = f;
    if (n) {
        memcpy(f->ids, t->ids, n * sizeof *f->ids);
        for (int i = 0; i < 3; i++)
            memcpy(f->positions[i], t->positions[i], n * sizeof *f->positions[i]);
    }
    f->next = t->next;
    f->video_at = t->video_at;
    f->video_start = t->video_start;
    f->has_last = t->has_last;
    f->has_logits = t->has_logits;
    if (f->has_last)
        memcpy(f->last, t->last, (size_t)t->engine->hparams.text.hidden * sizeof *f->last);
    if (f->has_logits)
        memcpy(f->logits, t->logits, (size_t)t->engine->hparams.text.vocab * sizeof *f->logits);
    return 0;
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
    t->scratch->compute.tap = *tap;
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

int timeline_check_text(const Timeline *t, size_t n, Error *err)
{
    return check_context(t, n, (int64_t)t->next + (int64_t)n, err);
}

/* Runs n_texts timelines' new tokens, whose embeddings and positions (rows `total` apart) lie one
 * behind the other; then they are there, up to position nexts[i]. */
static int append_rows(const TimelineText *texts, size_t n_texts, const float *embeds,
                       const int32_t *positions, size_t total, const int32_t *nexts, Error *err)
{
    Timeline *one = texts[0].timeline;
    LlmSequence sequences[TIMELINE_MAX_TOGETHER];
    int r = 0;
    for (size_t i = 0; r == 0 && i < n_texts; i++) {
        Timeline *t = texts[i].timeline;
        r = token_room(t, t->cache.n + texts[i].n);
        sequences[i] = (LlmSequence){&t->cache, texts[i].n, t->last};
    }
    if (r == 0)
        r = llm_run(one->engine->llm, &one->scratch->compute, sequences, n_texts, embeds, positions,
                    total);
    if (r == -ENOMEM)
        return timeline_no_memory(err);
    if (r < 0)
        return error_set(err, -r, EX_SOFTWARE, "the language model failed; the log says where");
    for (size_t i = 0, at = 0; i < n_texts; at += texts[i].n, i++) {
        Timeline *t = texts[i].timeline;
        size_t n = texts[i].n, before = t->cache.n - n;
        if (n == 0)
            continue;
        memcpy(t->ids + before, texts[i].ids, n * sizeof *t->ids);
        for (size_t axis = 0; axis < 3; axis++)
            memcpy(t->positions[axis] + before, positions + axis * total + at,
                   n * sizeof *positions);
        t->next = nexts[i];
        t->has_last = true;
        t->has_logits = false;
    }
    return 0;
}

int timeline_append_embeds(Timeline *t, const float *embeds, const int32_t *ids,
                           const int32_t *positions, size_t n, int32_t next, Error *err)
{
    if (n == 0)
        return 0;
    int r = check_context(t, n, next, err);
    TimelineText text = {t, ids, n};
    return r < 0 ? r : append_rows(&text, 1, embeds, positions, n, &next, err);
}

/* Room for the embeddings and positions of n new tokens. */
static int room(Timeline *t, size_t n, Error *err)
{
    TimelineScratch *s = t->scratch;
    size_t floats;
    if (!mem_mul(n, (size_t)t->engine->hparams.text.hidden, &floats) ||
        mem_grow((void **)&s->embeds, &s->embeds_capacity, floats, sizeof *s->embeds) < 0 ||
        mem_grow((void **)&s->positions, &s->positions_capacity, 3 * n, sizeof *s->positions) < 0)
        return timeline_no_memory(err);
    return 0;
}

int timeline_append_together(const TimelineText *texts, size_t n_texts, Error *err)
{
    int32_t nexts[TIMELINE_MAX_TOGETHER];
    size_t total = 0, at = 0;
    int r = 0;
    assert(n_texts <= TIMELINE_MAX_TOGETHER);
    for (size_t i = 0; r == 0 && i < n_texts; i++) {
        r = timeline_check_text(texts[i].timeline, texts[i].n, err);
        total += texts[i].n;
    }
    if (r < 0 || total == 0)
        return r;
    Timeline *one = texts[0].timeline;
    TimelineScratch *s = one->scratch;
    const TextHparams *h = &one->engine->hparams.text;
    r = room(one, total, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n_texts; i++) {
        const TimelineText *text = &texts[i];
        assert(text->timeline->scratch == s);
        for (size_t j = 0; j < text->n; j++, at++) {
            int32_t id = text->ids[j];
            if (id < 0 || id >= h->vocab)
                return error_set(err, EINVAL, EX_SOFTWARE, "token %d is not of this model", id);
            llm_embed(one->engine->llm, id, s->embeds + at * (size_t)h->hidden);
            for (size_t axis = 0; axis < 3; axis++)
                s->positions[axis * total + at] = text->timeline->next + (int32_t)j;
        }
        nexts[i] = text->timeline->next + (int32_t)text->n;
    }
    return append_rows(texts, n_texts, s->embeds, s->positions, total, nexts, err);
}

int timeline_append_ids(Timeline *t, const int32_t *ids, size_t n, Error *err)
{
    TimelineText text = {t, ids, n};
    return timeline_append_together(&text, 1, err);
}

/* Which visual tokens of the video's n there are, to the scratch; how many. */
static size_t choose_tokens(Timeline *t, const TimelineVideo *video, size_t n, size_t per_grid)
{
    const size_t pair = (size_t)t->engine->hparams.vision.temporal_patch;
    uint8_t *keep = t->scratch->keep;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t grid = i / per_grid, cell = i % per_grid;
        keep[i] = grid == 0 && !video->continues;
        for (size_t f = grid * pair; f < (grid + 1) * pair && f < video->n_frames; f++)
            keep[i] |= !video->cells[f] || (video->cells[f][cell / 8] >> cell % 8 & 1);
        kept += keep[i];
    }
    return kept;
}

/* The embeddings and position ids of those tokens, [n] -> [kept], in place. */
static void keep_tokens(Timeline *t, size_t n)
{
    TimelineScratch *s = t->scratch;
    const size_t hidden = (size_t)t->engine->hparams.text.hidden;
    size_t to = 0;
    for (size_t i = 0; i < n; i++)
        if (s->keep[i])
            memmove(s->embeds + to++ * hidden, s->embeds + i * hidden, hidden * sizeof *s->embeds);
    to = 0;
    for (size_t i = 0; i < 3 * n; i++)
        if (s->keep[i % n])
            s->positions[to++] = s->positions[i];
}

/* Visual tokens of the video to the scratch's embeds, as many grids at once as bound the pixels'
 * buffer. */
static int encode(Timeline *t, const TimelineVideo *video, const int32_t grid[3], size_t per_grid)
{
    const Hparams *h = &t->engine->hparams;
    const size_t patches = (size_t)grid[1] * (size_t)grid[2], grids = (size_t)grid[0];
    size_t piece = PIXEL_PATCHES / patches;
    piece = piece < 1 ? 1 : piece < grids ? piece : grids;
    float *pixels = compute_need(&t->scratch->compute, COMPUTE_PIXELS, piece * patches,
                                 (size_t)hparams_patch_values(h));
    if (!pixels)
        return -ENOMEM;
    for (size_t at = 0; at < grids; at += piece) {
        size_t count = grids - at < piece ? grids - at : piece;
        const int32_t part[3] = {(int32_t)count, grid[1], grid[2]};
        patches_make(&h->vision, video->image ? &h->image : &h->video, video->frames,
                     video->n_frames, video->height, video->width, at, count, pixels);
        int r = vit_run(t->engine->vit, &t->scratch->compute, pixels, part,
                        t->scratch->embeds + at * per_grid * (size_t)h->text.hidden);
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
    const size_t per_grid = n / (size_t)segment.grid_thw[0], before = t->cache.n;
    TimelineScratch *s = t->scratch;
    if (video->continues && (before == 0 || t->ids[before - 1] != h->video_token))
        return error_set(err, EINVAL, EX_SOFTWARE, "there is no video at the end to go on with");
    size_t kept = n;
    if (video->cells) {
        if (mem_grow((void **)&s->keep, &s->keep_capacity, n, sizeof *s->keep) < 0)
            return timeline_no_memory(err);
        kept = choose_tokens(t, video, n, per_grid);
    }
    int r = check_context(t, kept, t->next, err);
    if (r == 0)
        r = room(t, n, err);
    if (r < 0)
        return r;
    int32_t next, start = video->continues ? t->video_start : t->next;
    r = mrope_positions(&segment, 1, h->vision.merge, h->vision.tokens_per_second, start,
                        s->positions, n, &next);
    if (r < 0 || (video->continues && s->positions[0] < t->positions[0][before - 1]))
        return error_set(err, EINVAL, EX_DATAERR,
                         "the times of the frames fall or are out of range: they must be seconds "
                         "from the first one");
    next = video->continues && t->next > next ? t->next : next;
    r = check_context(t, kept, next, err);
    if (r < 0)
        return r;
    if (mem_grow((void **)&s->ids, &s->ids_capacity, n, sizeof *s->ids) < 0)
        return timeline_no_memory(err);
    for (size_t i = 0; i < kept; i++)
        s->ids[i] = video->image ? h->image_token : h->video_token;
    r = encode(t, video, segment.grid_thw, per_grid);
    if (r == -ENOMEM)
        return timeline_no_memory(err);
    if (r < 0)
        return error_set(err, -r, EX_SOFTWARE, "the vision transformer failed; the log says where");
    if (kept < n)
        keep_tokens(t, n);
    r = timeline_append_embeds(t, s->embeds, s->ids, s->positions, kept, next, err);
    if (r == 0)
        t->next = next; /* also when nothing of it changed */
    if (r == 0 && !video->continues) {
        t->video_at = before;
        t->video_start = start;
    }
    return r;
}

int timeline_drop_before(Timeline *t, double seconds, size_t *dropped, Error *err)
{
    const Hparams *h = &t->engine->hparams;
    const int32_t keep = t->video_start + mrope_time_id(seconds, h->vision.tokens_per_second);
    const size_t first = t->video_at, n = t->cache.n;
    size_t end = first;
    while (end < n && t->ids[end] == h->video_token && t->positions[0][end] < keep)
        end++;
    if (dropped)
        *dropped = end - first;
    if (end == first)
        return 0;
    if (kv_cache_remove(&t->cache, first, end - first) < 0)
        return timeline_no_memory(err);
    memmove(t->ids + first, t->ids + end, (n - end) * sizeof *t->ids);
    for (int i = 0; i < 3; i++)
        memmove(t->positions[i] + first, t->positions[i] + end,
                (n - end) * sizeof *t->positions[i]);
    t->has_last = t->has_logits = false;
    return 0;
}

int timeline_need_logits(Timeline *const *timelines, size_t n, Error *err)
{
    Timeline *const one = timelines[0];
    TimelineScratch *s = one->scratch;
    const size_t hidden = (size_t)one->engine->hparams.text.hidden;
    const size_t vocab = (size_t)one->engine->hparams.text.vocab;
    size_t wanted[TIMELINE_MAX_TOGETHER], m = 0;
    for (size_t i = 0; i < n; i++) {
        if (!timelines[i]->has_last)
            return error_set(err, EINVAL, EX_SOFTWARE, "logits were asked of an empty timeline");
        if (timelines[i]->has_logits)
            continue;
        memcpy(s->normed + m * hidden, timelines[i]->last, hidden * sizeof *s->normed);
        wanted[m++] = i;
    }
    float *logits = m == 1 ? timelines[wanted[0]]->logits : s->logits;
    if (m > 1 && !logits) {
        logits = s->logits = mem_new_aligned(TIMELINE_MAX_TOGETHER * vocab, sizeof *logits);
        if (!logits)
            return timeline_no_memory(err);
    }
    if (llm_logits(one->engine->llm, &s->compute, s->normed, m, logits) < 0)
        return error_set(err, EIO, EX_SOFTWARE, "the language model failed; the log says where");
    for (size_t i = 0; i < m; i++) {
        Timeline *t = timelines[wanted[i]];
        if (m > 1)
            memcpy(t->logits, logits + i * vocab, vocab * sizeof *logits);
        t->has_logits = true;
    }
    return 0;
}

int timeline_logits(Timeline *t, const float **logits, Error *err)
{
    int r = timeline_need_logits(&t, 1, err);
    if (r == 0)
        *logits = t->logits;
    return r;
}

TimelineMark timeline_mark(const Timeline *t)
{
    return (TimelineMark){.length = t->cache.n,
                          .next_position = t->next,
                          .video_at = t->video_at,
                          .video_start = t->video_start};
}

void timeline_rollback(Timeline *t, TimelineMark mark)
{
    kv_cache_truncate(&t->cache, mark.length);
    t->next = mark.next_position;
    t->video_at = mark.video_at;
    t->video_start = mark.video_start;
    t->has_last = t->has_logits = false;
}

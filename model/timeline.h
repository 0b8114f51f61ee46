/*
 * A growing context over an engine: text and video are appended, logits asked, answers generated,
 * and everything behind a mark can be taken back. Belongs to one thread. After warm-up (the largest
 * input seen) no token allocates.
 */
#ifndef WHEN_MODEL_TIMELINE_H
#define WHEN_MODEL_TIMELINE_H

#include "model/compute.h"
#include "model/engine.h"
#include "model/grammar.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The engine must outlive it. -ENOMEM with EX_OSERR. */
int timeline_new(const Engine *engine, Timeline **timeline, Error *err);
void timeline_free(Timeline *timeline);

size_t timeline_length(const Timeline *timeline);         /* tokens */
int32_t timeline_next_position(const Timeline *timeline); /* in all three rows */
const int32_t *timeline_ids(const Timeline *timeline);    /* [length] */
/* Copies the position ids of all tokens: rows t, h, w of `length` each. */
void timeline_positions(const Timeline *timeline, int32_t *positions);

/* All appends: -E2BIG with EX_DATAERR when the model's context cannot hold them; -ENOMEM with
 * EX_OSERR. The timeline is as before when they fail. */
int timeline_append_ids(Timeline *timeline, const int32_t *ids, size_t n, Error *err);

typedef struct TimelineVideo {
    const uint8_t *const *frames; /* [n_frames] of [height, width, 3] RGB */
    size_t n_frames;              /* an odd last frame is repeated */
    int width, height;            /* pixels, multiples of engine_cell_px() */
    const double *seconds;        /* [(n_frames + 1) / 2], of each grid from the video's begin */
} TimelineVideo;

/* One visual token a merged cell of each grid; the vision tokens around them are text. */
int timeline_append_video(Timeline *timeline, const TimelineVideo *video, Error *err);

/* Tokens whose embeddings [n, H] and position ids (rows t, h, w of n) are known; ids [n] are kept
 * for the repetition penalty. next: position of what follows. */
int timeline_append_embeds(Timeline *timeline, const float *embeds, const int32_t *ids,
                           const int32_t *positions, size_t n, int32_t next, Error *err);

/* Next-token logits [vocab] behind the last token. Borrowed until the next append. -EINVAL when
 * nothing was appended since the begin or a rollback. */
int timeline_logits(Timeline *timeline, const float **logits, Error *err);

typedef struct TimelineMark {
    size_t length;
    int32_t next_position;
} TimelineMark;

TimelineMark timeline_mark(const Timeline *timeline);
/* What is appended next gives bit for bit what it would have given at the mark. */
void timeline_rollback(Timeline *timeline, TimelineMark mark);

typedef struct GenerateStep {
    int32_t id, position;
    bool forced;         /* the grammar left no choice */
    double log_prob;     /* natural, among what was allowed; 0 when forced */
    const float *logits; /* [vocab], after the penalty; NULL when forced */
} GenerateStep;

typedef struct GenerateOptions {
    Grammar *grammar;   /* NULL: none */
    const int32_t *eos; /* [n_eos] what ends it; n_eos 0: the model's own end tokens */
    int n_eos;
    size_t max_tokens;
    float repetition_penalty; /* over the ids of prompt and output; 1 or 0: none */
    /* Called for each token, before it is appended. May be NULL. */
    void (*step)(void *user, const GenerateStep *step);
    void *user;
} GenerateOptions;

enum { GENERATE_TRUNCATED = 1 };

/* Greedy. Appends the new ids to *out, the end token included, and 0; or GENERATE_TRUNCATED after
 * max_tokens or at the end of the context. The last id is not appended to the timeline. */
int timeline_generate(Timeline *timeline, const GenerateOptions *options, TokenIds *out,
                      Error *err);

/* For golden tests. */
void timeline_tap(Timeline *timeline, const ComputeTap *tap);

#endif

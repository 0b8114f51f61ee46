/*
 * A growing context over an engine: text and video are appended, logits asked, answers generated,
 * everything behind a mark can be taken back, and old grids forgotten. After warm-up (the largest
 * input seen) no token allocates.
 *
 * A timeline can be forked: both go on from there, and neither notices the other. Forks share the
 * memory of what they have in common and their scratch: a timeline and all its forks belong to one
 * thread. Several of them can be appended to and generated from together, which reads the weights
 * and the common keys once for all.
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
void timeline_free(Timeline *timeline); /* its forks live on */

/* *fork becomes what `timeline` is now, logits included; what is appended to either gives bit for
 * bit what it would have given to a timeline that was never forked. *fork is NULL (then it is made)
 * or an earlier fork of the same family, whose memory is used again. -ENOMEM with EX_OSERR. */
int timeline_fork(Timeline *timeline, Timeline **fork, Error *err);

size_t timeline_length(const Timeline *timeline);         /* tokens */
int32_t timeline_next_position(const Timeline *timeline); /* in all three rows */
const int32_t *timeline_ids(const Timeline *timeline);    /* [length] */
/* Copies the position ids of all tokens: rows t, h, w of `length` each. */
void timeline_positions(const Timeline *timeline, int32_t *positions);

/* All appends: -E2BIG with EX_DATAERR when the model's context cannot hold them; -ENOMEM with
 * EX_OSERR. The timeline is as before when they fail. */
int timeline_append_ids(Timeline *timeline, const int32_t *ids, size_t n, Error *err);

enum { TIMELINE_MAX_TOGETHER = 16 };

typedef struct TimelineText {
    Timeline *timeline;
    const int32_t *ids; /* [n] */
    size_t n;
} TimelineText;

/* timeline_append_ids of up to TIMELINE_MAX_TOGETHER different timelines of one family. */
int timeline_append_together(const TimelineText *texts, size_t n_texts, Error *err);

typedef struct TimelineVideo {
    const uint8_t *const *frames; /* [n_frames] of [height, width, 3] RGB */
    size_t n_frames;              /* an odd last frame is repeated */
    int width, height;            /* pixels, multiples of engine_cell_px() */
    const double *seconds;        /* [(n_frames + 1) / 2], of each grid from the video's begin */
    bool continues; /* goes on with the video at the timeline's end: seconds count from that one's
                       begin, and position ids are what one video of all grids would have had */
    bool image;     /* one frame, as an image: its own pad token and pixel scale */
    /* NULL: all cells count. Else [n_frames] bitmaps of merged cells, row after row, lowest bit
     * first (NULL among them: all of that frame): a grid has no visual token of a cell that none of
     * its frames has set; the others keep embeddings and position ids as they are with all. Every
     * cell of the video's first grid counts. */
    const uint8_t *const *cells;
} TimelineVideo;

/* One visual token a merged cell of each grid (but for `cells`); the vision tokens around them are
 * text. -EINVAL with EX_DATAERR: no such sizes, times that fall, or nothing there to go on with. */
int timeline_append_video(Timeline *timeline, const TimelineVideo *video, Error *err);

/* Tokens whose embeddings [n, H] and position ids (rows t, h, w of n) are known; ids [n] are kept
 * for the repetition penalty. next: position of what follows. */
int timeline_append_embeds(Timeline *timeline, const float *embeds, const int32_t *ids,
                           const int32_t *positions, size_t n, int32_t next, Error *err);

/* Next-token logits [vocab] behind the last token. Borrowed until the next append. -EINVAL when
 * nothing was appended since the begin or a rollback. */
int timeline_logits(Timeline *timeline, const float **logits, Error *err);

/* Forgets the grids of the video appended last whose seconds are all below `seconds`; *dropped (may
 * be NULL): tokens. Everything kept stays bit for bit what it is: ids, position ids, keys and
 * values. So what is appended next sees the remaining tokens where they always were in time, and
 * nothing of the dropped ones; but the remaining ones were computed while the dropped ones could
 * still be seen, as in any sliding window. Marks behind the first dropped token become invalid, and
 * logits must not be asked before something is appended. Costs one copy of the keys and values
 * behind the dropped ones. */
int timeline_drop_before(Timeline *timeline, double seconds, size_t *dropped, Error *err);

typedef struct TimelineMark {
    size_t length;
    int32_t next_position;
    size_t video_at;     /* first token of the video appended last */
    int32_t video_start; /* position that its seconds count from */
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

/* The same for n <= TIMELINE_MAX_TOGETHER different timelines of one family together: options and
 * outs [n], results [n] what timeline_generate would have returned. The first failure ends all. */
int timeline_generate_together(Timeline *const *timelines, const GenerateOptions *options,
                               TokenIds *const *outs, int *results, size_t n, Error *err);

/* For golden tests; of all forks. */
void timeline_tap(Timeline *timeline, const ComputeTap *tap);

#endif

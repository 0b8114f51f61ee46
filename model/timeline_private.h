/* What a Timeline is: only for timeline.c and generate.c. */
#ifndef WHEN_MODEL_TIMELINE_PRIVATE_H
#define WHEN_MODEL_TIMELINE_PRIVATE_H

#include "model/timeline.h"

/* What a timeline and its forks share: all that is only of use while something runs. */
typedef struct TimelineScratch {
    size_t timelines; /* that share it */
    Compute compute;
    float *embeds; /* [n, H] of what is being appended */
    size_t embeds_capacity;
    int32_t *positions; /* [3, n] */
    size_t positions_capacity;
    int32_t *ids; /* [n] of visual tokens */
    size_t ids_capacity;
    uint8_t *keep; /* [n] of the visual tokens that a video without `cells` would have */
    size_t keep_capacity;
    float *normed;   /* [TIMELINE_MAX_TOGETHER, H] */
    float *logits;   /* [TIMELINE_MAX_TOGETHER, vocab], made when first needed */
    float *exps;     /* [vocab] */
    uint8_t *seen;   /* [vocab] for the repetition penalty */
    TokenIds forced; /* what the grammar just forced */
} TimelineScratch;

struct Timeline {
    const Engine *engine;
    TimelineScratch *scratch;
    KvCache cache;
    int32_t *ids, *positions[3]; /* [length] each */
    size_t ids_capacity, positions_capacity[3];
    int32_t next;
    size_t video_at; /* as in TimelineMark */
    int32_t video_start;
    float *last;   /* [H] final norm of the last token */
    float *logits; /* [vocab] */
    bool has_last, has_logits;
    TokenIds feed; /* chosen and forced tokens that are not yet appended */
};

/* Makes t->logits of those that have none. 0, or -EINVAL, -EIO, -ENOMEM with err. */
int timeline_need_logits(Timeline *const *timelines, size_t n, Error *err);

/* Whether n tokens of text fit the context; -E2BIG. */
int timeline_check_text(const Timeline *timeline, size_t n, Error *err);

int timeline_no_memory(Error *err);

#endif

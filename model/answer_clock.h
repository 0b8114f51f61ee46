/*
 * From the seconds that a model tells to those that its frames bear out. Position ids carry the
 * time of the first frame of each grid alone, so behind the last grid's first frame a model does
 * not know the time: it takes the last frame to lie as far off as frames lay from each other
 * before, and what still happens there to end then, or later. Earlier times are hemmed in by the
 * ids of the next grid and stay as they are told (docs/model.md has the measurements).
 *
 * Not falling; every told time up to the last grid's first frame stands; nothing ends behind the
 * last frame; evenly spaced frames change nothing before that.
 */
#ifndef WHEN_MODEL_ANSWER_CLOCK_H
#define WHEN_MODEL_ANSWER_CLOCK_H

#include <stddef.h>

typedef struct AnswerClock {
    double known_s;    /* the last grid's first frame */
    double believed_s; /* where a model takes the last frame to be; at most last_s */
    double last_s;     /* where it is */
} AnswerClock;

/* seconds: [n] of the frames, not falling, n > 0; pair: frames a grid. */
AnswerClock answer_clock(const double *seconds, size_t n, size_t pair);

/* Of a window of a single moment nothing is changed: it has no spacing to go by. */
double answer_clock_seconds(const AnswerClock *clock, double told_s);

#endif

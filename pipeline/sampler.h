/*
 * Which pictures become frames. Pure: no clock, no thread, no GStreamer.
 *
 * With min == base == max the rule is fixed: the first picture at or after each multiple of 1/fps
 * (2 fps of 10 pictures a second: 0, 5, 10, ...). Otherwise the rate follows motion: it goes up to
 * max within a fraction of a second, falls back to base, and after some seconds of stillness to
 * min, smoothly.
 *
 * A budget of frames a minute bounds both: what is left of it is spread over the next ten seconds,
 * so that a burst after a quiet time gets its full rate and a long one slows down by and by. No
 * stretch of 60 s ever has more frames than the budget.
 */
#ifndef WHEN_PIPELINE_SAMPLER_H
#define WHEN_PIPELINE_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

enum { SAMPLER_SECONDS = 61 }; /* the last of which may be half over */

typedef struct Sampler {
    double fps_min, fps_base, fps_max;
    bool fixed;
    bool started;
    int64_t next;                    /* fixed: number of the multiple of 1/fps that is due */
    int64_t last_pts_us;             /* of the last picture seen */
    int64_t last_passed_us;          /* of the last picture passed */
    double rate;                     /* now, frames a second */
    double still_s;                  /* since something moved */
    uint32_t frames_per_minute;      /* 0: no budget */
    uint32_t spent[SAMPLER_SECONDS]; /* frames passed in each of the last seconds, a ring */
    uint32_t spent_sum;
    int64_t second; /* newest of the ring */
} Sampler;

/* fps_base 0: every picture passes. Limits that cross are pulled to base. */
void sampler_init(Sampler *s, double fps_min, double fps_base, double fps_max);

/* May change at any time; what was passed before counts. */
void sampler_set_budget(Sampler *s, uint32_t frames_per_minute);

/* Shall this picture become a frame? motion: 0..1, or negative when it is not known (then the rate
 * goes to base). A pts that jumps back by more than a second starts anew. */
bool sampler_pass(Sampler *s, int64_t pts_us, float motion);

/* Starts anew with the same rates: after a seek or a reconnection. */
void sampler_reset(Sampler *s);

#endif

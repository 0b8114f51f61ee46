/*
 * Which pictures become frames. Pure: no clock, no thread, no GStreamer.
 *
 * With min == base == max the rule is fixed: the first picture at or after each multiple of 1/fps
 * (2 fps of 10 pictures a second: 0, 5, 10, ...). Otherwise the rate follows motion: it goes up to
 * max within a fraction of a second, falls back to base, and after some seconds of stillness to
 * min, smoothly.
 */
#ifndef WHEN_PIPELINE_SAMPLER_H
#define WHEN_PIPELINE_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Sampler {
    double fps_min, fps_base, fps_max;
    bool fixed;
    bool started;
    int64_t next;           /* fixed: number of the multiple of 1/fps that is due */
    int64_t last_pts_us;    /* of the last picture seen */
    int64_t last_passed_us; /* of the last picture passed */
    double rate;            /* now, frames a second */
    double still_s;         /* since something moved */
} Sampler;

/* fps_base 0: every picture passes. Limits that cross are pulled to base. */
void sampler_init(Sampler *s, double fps_min, double fps_base, double fps_max);

/* Shall this picture become a frame? motion: 0..1, or negative when it is not known (then the rate
 * goes to base). A pts that jumps back by more than a second starts anew. */
bool sampler_pass(Sampler *s, int64_t pts_us, float motion);

/* Starts anew with the same rates: after a seek or a reconnection. */
void sampler_reset(Sampler *s);

#endif

/* Which pictures become frames. See sampler.h. */
#include "pipeline/sampler.h"

#include "base/clock.h"

#include <math.h>

/* Containers round pts to a millisecond or so; a picture this much early still counts. */
#define SLACK_US 1500

/* A share of the picture in motion from which the full rate is worth its cost. */
static const double MOTION_FULL = 0.04;
static const double MOTION_SOME = 0.004;
static const double STILL_BEFORE_MIN_S = 4.0;
static const double RISE_S = 0.15; /* time constants of the rate */
static const double FALL_S = 1.5;

void sampler_init(Sampler *s, double fps_min, double fps_base, double fps_max)
{
    *s = (Sampler){0};
    if (!(fps_base > 0)) {
        s->fixed = true;
        return;
    }
    s->fps_base = fps_base;
    s->fps_min = fps_min > 0 && fps_min < fps_base ? fps_min : fps_base;
    s->fps_max = fps_max > fps_base ? fps_max : fps_base;
    s->fixed = s->fps_min == s->fps_max;
    sampler_reset(s);
}

void sampler_reset(Sampler *s)
{
    s->started = false;
    s->next = 0;
    s->rate = s->fps_base;
    s->still_s = 0;
}

static bool pass_fixed(Sampler *s, int64_t pts_us)
{
    if (s->fps_base <= 0)
        return true;
    double place = (double)(pts_us + SLACK_US) * s->fps_base / (double)US_PER_S;
    if (place < (double)s->next)
        return false;
    s->next = (int64_t)floor(place) + 1;
    return true;
}

static void follow(Sampler *s, double elapsed_s, float motion)
{
    double wanted = s->fps_base;
    if (motion >= MOTION_SOME)
        s->still_s = 0;
    else if (motion >= 0)
        s->still_s += elapsed_s;
    if (motion >= 0) {
        double share = fmin(1.0, motion / MOTION_FULL);
        wanted += share * (s->fps_max - s->fps_base);
        if (s->still_s >= STILL_BEFORE_MIN_S)
            wanted = s->fps_min;
    }
    double time_constant = wanted > s->rate ? RISE_S : FALL_S;
    s->rate += (wanted - s->rate) * (1.0 - exp(-elapsed_s / time_constant));
}

bool sampler_pass(Sampler *s, int64_t pts_us, float motion)
{
    if (s->started && pts_us < s->last_pts_us - US_PER_S)
        sampler_reset(s);
    if (!s->started) {
        s->started = true;
        s->last_pts_us = pts_us;
        s->last_passed_us = pts_us;
        /* The multiple before a first picture that begins in between is due too. */
        s->next = (int64_t)floor((double)(pts_us + SLACK_US) * s->fps_base / (double)US_PER_S);
        if (s->fixed)
            return pass_fixed(s, pts_us);
        return true;
    }
    double elapsed_s = (double)(pts_us - s->last_pts_us) / (double)US_PER_S;
    s->last_pts_us = pts_us;
    if (s->fixed)
        return pass_fixed(s, pts_us);
    follow(s, elapsed_s > 0 ? elapsed_s : 0, motion);
    double due_us = (double)s->last_passed_us + (double)US_PER_S / s->rate;
    if ((double)(pts_us + SLACK_US) < due_us)
        return false;
    /* Keep the cadence while pictures come as expected, so that 4 of 10 pictures a second are 4
     * and not 3.3; after a gap begin from here. */
    s->last_passed_us =
        (double)pts_us - due_us < (double)US_PER_S / s->rate ? (int64_t)due_us : pts_us;
    return true;
}

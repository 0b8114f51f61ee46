/* Which pictures become frames. See sampler.h. */
#include "pipeline/sampler.h"

#include "base/clock.h"

#include <math.h>
#include <string.h>

/* Containers round pts to a millisecond or so; a picture this much early still counts. */
#define SLACK_US 1500

/* A share of the picture in motion from which the full rate is worth its cost. */
static const double MOTION_FULL = 0.04;
static const double MOTION_SOME = 0.004;
static const double STILL_BEFORE_MIN_S = 4.0;
static const double RISE_S = 0.15; /* time constants of the rate */
static const double FALL_S = 1.5;
static const double SPREAD_S = 10.0; /* over which what is left of the budget is spread */

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

void sampler_set_budget(Sampler *s, uint32_t frames_per_minute)
{
    s->frames_per_minute = frames_per_minute;
}

/* --- the budget --- */

static void forget_spent(Sampler *s, int64_t pts_us)
{
    int64_t second = pts_us / US_PER_S;
    if (second < s->second || second - s->second >= SAMPLER_SECONDS) {
        memset(s->spent, 0, sizeof s->spent);
        s->spent_sum = 0;
        s->second = second;
    }
    while (s->second < second) {
        uint32_t *oldest = &s->spent[++s->second % SAMPLER_SECONDS];
        s->spent_sum -= *oldest;
        *oldest = 0;
    }
}

static void spend(Sampler *s)
{
    s->spent[s->second % SAMPLER_SECONDS]++;
    s->spent_sum++;
}

/* Frames a second that the budget allows now. */
static double allowed(const Sampler *s)
{
    if (s->frames_per_minute == 0)
        return INFINITY;
    if (s->spent_sum >= s->frames_per_minute)
        return 0;
    return (s->frames_per_minute - s->spent_sum) / SPREAD_S;
}

/* A fixed rate that the budget lets be: spent evenly, 60 s of it leave more than SPREAD_S of it. */
static bool is_fixed(const Sampler *s)
{
    return s->fixed && (s->frames_per_minute == 0 || s->fps_base <= 0 ||
                        s->fps_base * (SAMPLER_SECONDS + SPREAD_S) <= s->frames_per_minute);
}

/* --- the rules --- */

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

static bool pass(Sampler *s, int64_t pts_us, float motion)
{
    if (s->started && pts_us < s->last_pts_us - US_PER_S)
        sampler_reset(s);
    if (!s->started) {
        s->started = true;
        s->last_pts_us = pts_us;
        s->last_passed_us = pts_us;
        /* The multiple before a first picture that begins in between is due too. */
        s->next = (int64_t)floor((double)(pts_us + SLACK_US) * s->fps_base / (double)US_PER_S);
        if (is_fixed(s))
            return pass_fixed(s, pts_us);
        return true;
    }
    double elapsed_s = (double)(pts_us - s->last_pts_us) / (double)US_PER_S;
    s->last_pts_us = pts_us;
    if (is_fixed(s))
        return pass_fixed(s, pts_us);
    follow(s, elapsed_s > 0 ? elapsed_s : 0, motion);
    double rate = fmin(s->rate, allowed(s));
    if (rate <= 0)
        return false;
    double due_us = (double)s->last_passed_us + (double)US_PER_S / rate;
    if ((double)(pts_us + SLACK_US) < due_us)
        return false;
    /* Keep the cadence while pictures come as expected, so that 4 of 10 pictures a second are 4
     * and not 3.3; after a gap begin from here. */
    s->last_passed_us =
        (double)pts_us - due_us < (double)US_PER_S / rate ? (int64_t)due_us : pts_us;
    return true;
}

bool sampler_pass(Sampler *s, int64_t pts_us, float motion)
{
    forget_spent(s, pts_us > 0 ? pts_us : 0);
    bool passed = pass(s, pts_us, motion);
    if (passed)
        spend(s);
    return passed;
}

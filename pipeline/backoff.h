/*
 * When to try again: doubling waits with jitter, from first_us to most_us. Pure.
 */
#ifndef WHEN_PIPELINE_BACKOFF_H
#define WHEN_PIPELINE_BACKOFF_H

#include <stdint.h>

typedef struct Backoff {
    unsigned failures;
    uint32_t random; /* state; seed it with anything */
} Backoff;

/* The next wait: first, 2 first, 4 first ... most, each -/+ 20 %, so that a hundred cameras behind
 * one switch do not come back in the same moment. */
static inline int64_t backoff_next_us(Backoff *b, int64_t first_us, int64_t most_us)
{
    int64_t wait_us = first_us;
    for (unsigned i = 0; i < b->failures && wait_us < most_us; i++)
        wait_us *= 2;
    if (wait_us > most_us)
        wait_us = most_us;
    b->failures++;
    b->random = b->random * 1664525u + 1013904223u;
    int64_t percent = 80 + (int64_t)(b->random >> 16) % 41;
    return wait_us * percent / 100;
}

static inline void backoff_reset(Backoff *b)
{
    b->failures = 0;
}

#endif

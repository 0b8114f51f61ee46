/* The last grid's time, stretched and ended. See answer_clock.h. */
#include "model/answer_clock.h"

#include <assert.h>
#include <math.h>

AnswerClock answer_clock(const double *seconds, size_t n, size_t pair)
{
    assert(n > 0 && pair > 0);
    const size_t first = (n - 1) / pair * pair;
    AnswerClock clock = {.known_s = seconds[first], .last_s = seconds[n - 1]};
    double gap_s = clock.last_s - clock.known_s;
    if (first > 0) {
        double spacing_s = (clock.known_s - seconds[0]) / (double)first;
        gap_s = fmin(gap_s, spacing_s * (double)(n - 1 - first));
    }
    clock.believed_s = clock.known_s + gap_s;
    if (clock.last_s == seconds[0])
        clock.known_s = INFINITY;
    return clock;
}

double answer_clock_seconds(const AnswerClock *clock, double told_s)
{
    if (told_s <= clock->known_s)
        return told_s;
    if (told_s >= clock->believed_s)
        return clock->last_s;
    double share = (told_s - clock->known_s) / (clock->believed_s - clock->known_s);
    return clock->known_s + share * (clock->last_s - clock->known_s);
}

/* Calls that must come back. See watchdog.h. */
#include "pipeline/watchdog.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

static void *watch(void *data)
{
    Watchdog *w = data;
    struct timespec due = {.tv_sec = w->due_us / US_PER_S,
                           .tv_nsec = (long)(w->due_us % US_PER_S) * 1000};
    pthread_mutex_lock(&w->lock);
    int r = 0;
    while (!w->done && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&w->changed, &w->lock, &due);
    if (!w->done) {
        log_error("watchdog", "%s hangs: the worker ends, to be started again", w->what);
        _exit(EX_TEMPFAIL);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

void watchdog_begin(Watchdog *w, const char *what, int64_t limit_us)
{
    pthread_condattr_t attributes;
    *w = (Watchdog){.what = what, .due_us = clock_monotonic_us() + limit_us};
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    w->running = pthread_create(&w->thread, NULL, watch, w) == 0;
}

void watchdog_end(Watchdog *w)
{
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (w->running)
        pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
}

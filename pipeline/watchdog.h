/*
 * Ends the process when a call does not come back: for those that can wait for ever inside a
 * library. whend starts the worker again.
 */
#ifndef WHEN_PIPELINE_WATCHDOG_H
#define WHEN_PIPELINE_WATCHDOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Watchdog {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const char *what;
    int64_t due_us; /* monotonic */
    bool running, done;
} Watchdog;

/* Between the two at most limit_us may pass; else one line says `what` and the process exits with
 * EX_TEMPFAIL. In place; without a thread to be had it watches nothing. */
void watchdog_begin(Watchdog *watchdog, const char *what, int64_t limit_us);
void watchdog_end(Watchdog *watchdog);

#endif

/*
 * Threads that share the loops of one timeline. The caller works too, and never waits for a thread
 * that has not begun: on a machine whose other processors are busy it does all the work itself.
 * Waiting spins for some microseconds and then sleeps. (OpenMP's threads spin for milliseconds, and
 * each region waits for all of them: beside a video decoder that made short windows ten times
 * slower.)
 */
#ifndef WHEN_MODEL_POOL_H
#define WHEN_MODEL_POOL_H

#include <stddef.h>

typedef struct Pool Pool;

/* threads >= 1, the caller's among them. -ENOMEM, -EAGAIN. */
int pool_new(int threads, Pool **pool);
void pool_free(Pool *pool); /* joins */
int pool_threads(const Pool *pool);

/* Calls work(user, item, thread) once for each item < items, from 0 .. threads - 1 threads at once,
 * and returns when all are done. Only from the thread that made the pool, and not from work. items
 * < 2^32. */
void pool_run(Pool *pool, size_t items, void (*work)(void *user, size_t item, int thread),
              void *user);

#endif

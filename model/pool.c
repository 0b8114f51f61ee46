/*
 * One job at a time. `ticket` is the job's number (upper half) and its next item (lower half):
 * whoever raises it by one, of the job he came for, owns that item. So a thread that wakes late
 * finds another number or no item left and touches nothing, and the caller may go on as soon as
 * `finished` says that all items are done.
 */
#include "model/pool.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Pauses before sleeping: 10 to 40 microseconds. */
enum { SPINS = 1000 };

typedef struct Worker {
    Pool *pool;
    pthread_t thread;
    int number; /* 1 .. threads - 1 */
} Worker;

struct Pool {
    int threads, started;
    Worker *workers;      /* [threads - 1] */
    pthread_mutex_t lock; /* job, items, work, user, stop; and both conditions */
    pthread_cond_t wake;  /* job or stop has changed */
    pthread_cond_t done;  /* finished == items */
    _Atomic uint32_t job; /* raised with the lock held; read without it while spinning */
    uint32_t items;
    void (*work)(void *user, size_t item, int thread);
    void *user;
    bool stop;
    _Atomic uint64_t ticket;
    _Atomic uint32_t finished;
};

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Takes and does items of job `number` until none is left. */
static void work_off(Pool *p, uint32_t number, uint32_t items,
                     void (*work)(void *user, size_t item, int thread), void *user, int thread)
{
    for (;;) {
        uint64_t ticket = atomic_load(&p->ticket);
        do {
            if (ticket >> 32 != number || (uint32_t)ticket >= items)
                return;
        } while (!atomic_compare_exchange_weak(&p->ticket, &ticket, ticket + 1));
        work(user, (uint32_t)ticket, thread);
        if (atomic_fetch_add(&p->finished, 1) + 1 == items && thread != 0) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
}

static void *worker_main(void *arg)
{
    Worker *w = arg;
    Pool *p = w->pool;
    uint32_t seen = 0;
    omp_set_num_threads(1); /* oneDNN, called from here, shall not start threads of its own */
    for (;;) {
        for (int i = 0; i < SPINS && atomic_load(&p->job) == seen; i++)
            relax();
        pthread_mutex_lock(&p->lock);
        while (atomic_load(&p->job) == seen && !p->stop)
            pthread_cond_wait(&p->wake, &p->lock);
        bool stop = p->stop;
        seen = atomic_load(&p->job);
        uint32_t items = p->items;
        void (*work)(void *, size_t, int) = p->work;
        void *user = p->user;
        pthread_mutex_unlock(&p->lock);
        if (stop)
            return NULL;
        work_off(p, seen, items, work, user, w->number);
    }
}

int pool_new(int threads, Pool **pool)
{
    Pool *p = mem_new_array(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->threads = threads;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    p->workers = mem_new_array((size_t)threads, sizeof *p->workers);
    int r = p->workers ? 0 : -ENOMEM;
    /* Signals are the main thread's. */
    sigset_t all, old;
    sigfillset(&all);
    sigdelset(&all, SIGILL); /* a thread's own: tests emulate instructions in it */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int i = 1; r == 0 && i < threads; i++) {
        Worker *w = &p->workers[i - 1];
        *w = (Worker){.pool = p, .number = i};
        r = -pthread_create(&w->thread, NULL, worker_main, w);
        p->started += r == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r < 0) {
        pool_free(p);
        return r;
    }
    *pool = p;
    return 0;
}

void pool_free(Pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->started; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    pthread_cond_destroy(&p->done);
    free(p->workers);
    free(p);
}

int pool_threads(const Pool *p)
{
    return p->threads;
}

void pool_run(Pool *p, size_t items, void (*work)(void *user, size_t item, int thread), void *user)
{
    assert(items <= UINT32_MAX);
    if (p->threads == 1 || items <= 1) {
        for (size_t i = 0; i < items; i++)
            work(user, i, 0);
        return;
    }
    pthread_mutex_lock(&p->lock);
    uint32_t number = atomic_load(&p->job) + 1;
    p->items = (uint32_t)items;
    p->work = work;
    p->user = user;
    atomic_store(&p->finished, 0);
    atomic_store(&p->ticket, (uint64_t)number << 32);
    atomic_store(&p->job, number);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);

    work_off(p, number, (uint32_t)items, work, user, 0);

    for (int i = 0; i < SPINS && atomic_load(&p->finished) < items; i++)
        relax();
    if (atomic_load(&p->finished) == items)
        return;
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->finished) < items)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

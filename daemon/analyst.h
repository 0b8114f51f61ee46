/*
 * Analyst: the process that holds the model, as whend sees it: setup, what frames the model wants,
 * jobs out, answers in.
 */
#ifndef WHEN_DAEMON_ANALYST_H
#define WHEN_DAEMON_ANALYST_H

#include "daemon/scheduler.h"
#include "daemon/supervisor.h"

#define ANALYST_WORKER "analyst/0"

typedef struct Daemon Daemon;

typedef struct Analyst {
    bool limits_known; /* the model was loaded once: cameras may start */
    uint32_t cell_px;
    uint64_t min_pixels, max_pixels;
    bool loaded;      /* now */
    int64_t heard_us; /* when it last said something, or got work after it had none */
    char notice[512];
    uint64_t visual_tokens, visual_tokens_kept; /* of all jobs done */
} Analyst;

void analyst_setup(Daemon *daemon);
bool analyst_message(Daemon *daemon, const When__FromWorker *message);
void analyst_gone(Daemon *daemon, const WorkerEnd *end);
int analyst_send(Daemon *daemon, Task *task); /* the scheduler's hook */
/* One that says nothing for too long while it works is killed: its window is tried once more. */
void analyst_tick(Daemon *daemon);

#endif

/*
 * Scheduler: windows that wait to be examined, and the analyst that examines them. Pure: it sends
 * through a hook and is told of answers; no socket, no clock.
 *
 * Order: live windows before questions before files before older video for a watch before nightly
 * work, oldest first; but of windows that wait every other one is a question's, so that live video
 * without an end does not starve it (what live loses by that is thinned out evenly). The analyst
 * has at most SCHEDULER_IN_FLIGHT jobs (one that runs, one that waits at its side so that it never
 * idles). When it dies its jobs return to the front of the queue; a window on which the analyst
 * died twice is given up (its owner puts it in the ledger as lost). When more than max_live live
 * windows wait, every other one of the camera that has most is dropped: coverage thins evenly.
 */
#ifndef WHEN_DAEMON_SCHEDULER_H
#define WHEN_DAEMON_SCHEDULER_H

#include "daemon/window.h"
#include "proto/wire.h"

enum {
    SCHEDULER_IN_FLIGHT = 2,
    SCHEDULER_MAX_DEATHS = 2,
    SCHEDULER_MAX_LIVE = 8,
    TASK_MAX_INTERVALS = 1000 /* of one answer; more are left out */
};

/* In order of priority. */
typedef enum TaskKind {
    TASK_LIVE,
    TASK_QUESTION, /* somebody waits for it */
    TASK_FILE,
    TASK_WATCH,  /* older video for a watch */
    TASK_NIGHTLY /* what live examination missed */
} TaskKind;

/* One span of recordings, of an archive job (archive.h). */
static inline bool task_is_span(TaskKind kind)
{
    return kind == TASK_QUESTION || kind == TASK_WATCH || kind == TASK_NIGHTLY;
}

typedef struct TaskInterval {
    double start_s, end_s, confidence;
    char description[EVENT_DESCRIPTION_BYTES];
} TaskInterval;

typedef struct TaskQuestion {
    char watch[EVENT_NAME_BYTES];
    char *text;
    bool answered;
    TaskInterval *intervals; /* [n] */
    size_t n;
} TaskQuestion;

/* A window to be examined. Made by its owner, handed to the scheduler, handed back by a hook. */
typedef struct Task {
    TaskKind kind;
    void *owner; /* NULL: forgotten, its answers are thrown away */
    char camera[EVENT_NAME_BYTES];
    Window window;
    TaskQuestion *questions; /* [n_questions] */
    size_t n_questions;
    /* the scheduler's own */
    uint64_t job_id;
    unsigned deaths;
    bool after_drop; /* the window before it was dropped */
    struct Task *next;
} Task;

/* NULL: no memory. Takes over *window (emptied) in any case. */
Task *task_new(TaskKind kind, void *owner, const char *camera, Window *window,
               size_t max_questions);
int task_ask(Task *task, const char *watch, const char *question); /* 0 or -ENOMEM */
void task_free(Task *task);

typedef struct SchedulerHooks {
    /* Hands the job to the analyst; non-zero: not now. */
    int (*send)(Task *task, void *context);
    /* The window is done with, the task is handed back. reason NULL: all was asked, see answers;
     * else why it could not be examined. */
    void (*done)(Task *task, const char *reason, void *context);
    /* Overload: the window will not be examined now; the task is handed back. */
    void (*dropped)(Task *task, void *context);
    void *context;
} SchedulerHooks;

typedef struct Scheduler Scheduler;

Scheduler *scheduler_new(const SchedulerHooks *hooks, size_t max_live); /* NULL: no memory */
void scheduler_free(Scheduler *scheduler);

void scheduler_add(Scheduler *scheduler, Task *task);
/* Sends what the analyst has room for. */
void scheduler_run(Scheduler *scheduler);
void scheduler_ready(Scheduler *scheduler); /* the model is loaded */
/* The analyst is gone. blame: it died by itself, so the window it was at may be the cause. */
void scheduler_analyst_gone(Scheduler *scheduler, bool blame, const char *reason);
/* While on hold nothing new is sent (the disk is full). */
void scheduler_hold(Scheduler *scheduler, bool hold);

/* -EINVAL when there is no such job or question: late words of a dead analyst. */
int scheduler_answer(Scheduler *scheduler, const When__JobAnswer *answer);
int scheduler_job_done(Scheduler *scheduler, const When__JobDone *done);

void scheduler_retime(Scheduler *scheduler, void *owner, uint64_t session, int64_t utc_minus_pts_us,
                      int64_t utc_err_us, int utc_source);
/* The owner goes away: its tasks are freed, its answers in flight thrown away. */
void scheduler_forget(Scheduler *scheduler, const void *owner);

size_t scheduler_waiting(const Scheduler *scheduler, const void *owner); /* NULL: all */
size_t scheduler_frames(const Scheduler *scheduler, const void *owner);  /* in its windows */
size_t scheduler_in_flight(const Scheduler *scheduler);
bool scheduler_idle(const Scheduler *scheduler); /* ready, and nothing waits or is in flight */
uint64_t scheduler_examined(const Scheduler *scheduler);
uint64_t scheduler_questions(const Scheduler *scheduler);

#endif

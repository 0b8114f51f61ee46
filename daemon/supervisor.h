/*
 * Supervisor: the worker processes. Starts them, restarts them with back-off when they end, and
 * knows why they ended. Belongs to whend's one thread; time is passed in, nothing here waits.
 *
 * A worker's name ("camera/gate", "analyst/0") is stable; its id ("camera/gate/1f") is new with
 * each start and never used twice, so what an earlier incarnation sent can be recognised. A child
 * gets SIGTERM when whend dies, and no descriptor but stdout and stderr.
 *
 * What follows an end: a `once` worker is forgotten; one whose finish was told (file at its end)
 * stays finished; an exit code that a restart cannot cure (EX_NOINPUT, EX_DATAERR, EX_CONFIG,
 * EX_NOPERM) is state failed and tried again every 60 s; anything else backs off 0.5 s .. 30 s,
 * doubling, with jitter, and from the beginning after 60 s of health.
 */
#ifndef WHEN_DAEMON_SUPERVISOR_H
#define WHEN_DAEMON_SUPERVISOR_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { WORKER_NAME_BYTES = 80, WORKER_ID_BYTES = 65, WORKER_REASON_BYTES = 256 };

typedef enum WorkerState {
    WORKER_STARTING,
    WORKER_RUNNING, /* it said hello */
    WORKER_BACKING_OFF,
    WORKER_FINISHED,
    WORKER_FAILED,
    WORKER_STOPPING
} WorkerState;

const char *worker_state_name(WorkerState state);

typedef struct WorkerInfo {
    char name[WORKER_NAME_BYTES];
    char id[WORKER_ID_BYTES]; /* of the newest incarnation */
    WorkerState state;
    pid_t pid; /* 0: no process */
    uint32_t restarts;
    char reason[WORKER_REASON_BYTES]; /* of the last end that was not asked for */
} WorkerInfo;

typedef struct WorkerEnd {
    const char *name;
    bool asked;    /* it was told to stop */
    int exit_code; /* -1 when a signal ended it */
    const char *reason;
    bool restarts; /* it will be started again */
} WorkerEnd;

typedef struct SupervisorOptions {
    const char *endpoint;  /* given to workers; copied */
    const char *log_level; /* copied */
    const char *pid_file;  /* list of the children, see orphans.h; copied; NULL: none */
    /* Asks the worker to stop over its socket. Non-zero: it could not be told, SIGTERM instead. */
    int (*send_stop)(const char *id, void *context);
    /* The process is gone. Called before any restart; may call back into the supervisor. */
    void (*ended)(const WorkerEnd *end, void *context);
    void *context;
    int64_t stop_us; /* from stop to SIGKILL; 0: 5 s */
} SupervisorOptions;

typedef struct Supervisor Supervisor;

Supervisor *supervisor_new(const SupervisorOptions *options); /* NULL: no memory */
void supervisor_free(Supervisor *supervisor);                 /* kills and reaps what still runs */

/* Starts `program`, or, when a worker of that name is stopping, lets it start again afterwards. A
 * program that cannot be run is a worker that ends with EX_OSFILE. -ENOMEM. */
int supervisor_start(Supervisor *supervisor, const char *name, const char *program, bool once,
                     int64_t now_us);
/* Stops the worker and forgets it once its process is gone. */
void supervisor_stop(Supervisor *supervisor, const char *name, int64_t now_us);
/* Stops and starts again at once, with fresh counts of failure. */
void supervisor_restart(Supervisor *supervisor, const char *name, int64_t now_us);
void supervisor_stop_all(Supervisor *supervisor, int64_t now_us);

/* The worker of a message, NULL when its id is not that of a newest incarnation. */
const WorkerInfo *supervisor_by_id(const Supervisor *supervisor, const char *id, size_t id_bytes);
const WorkerInfo *supervisor_by_name(const Supervisor *supervisor, const char *name);
size_t supervisor_count(const Supervisor *supervisor);
const WorkerInfo *supervisor_at(const Supervisor *supervisor, size_t i);
bool supervisor_any_process(const Supervisor *supervisor);

void supervisor_hello(Supervisor *supervisor, const char *name);
/* It has done all it had to do: its end is not a failure. May come before or after the end. */
void supervisor_finished(Supervisor *supervisor, const char *name);
/* The worker's own words for the end that follows. */
void supervisor_explain(Supervisor *supervisor, const char *name, const char *reason);

void supervisor_reap(Supervisor *supervisor, int64_t now_us); /* after SIGCHLD */
void supervisor_tick(Supervisor *supervisor, int64_t now_us); /* starts and kills that are due */
int64_t supervisor_deadline_us(const Supervisor *supervisor); /* of the next tick; INT64_MAX */

#endif

/*
 * Archive: when nothing live waits, what the ledger has as WAITING is examined from recordings, the
 * newest first, one job at a time: a whend-camera that sends the frames of one span. What turns out
 * to be in no recording becomes LOST. A span that reaches beyond the newest closed recording keeps
 * waiting: its file may still be open.
 */
#ifndef WHEN_DAEMON_ARCHIVE_H
#define WHEN_DAEMON_ARCHIVE_H

#include "daemon/feed.h"
#include "daemon/supervisor.h"

typedef struct Daemon Daemon;

typedef struct Archive {
    Feed *feed; /* NULL: no job */
    char camera[EVENT_NAME_BYTES];
    char worker[WORKER_NAME_BYTES];
    char id[WORKER_ID_BYTES];
    int64_t start_us, end_us;
    uint32_t credit;
    bool setup_sent, heard_end, gone, failed;
    int64_t gone_us;
    char reason[128];
    int64_t due_us; /* when to look for work again */
    /* the span that failed last, to give up after some times */
    int64_t failed_end_us;
    unsigned failures;
} Archive;

void archive_tick(Daemon *daemon);
void archive_setup(Daemon *daemon); /* its worker said hello */
bool archive_message(Daemon *daemon, const When__FromWorker *message, zmq_msg_t *pixels,
                     size_t n_pixels);
void archive_gone(Daemon *daemon, const WorkerEnd *end);
/* The camera changes or goes away: its job is thrown away, its span keeps waiting. NULL: any. */
void archive_cancel(Daemon *daemon, const char *camera);

#endif

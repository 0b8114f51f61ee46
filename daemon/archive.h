/*
 * Archive: what the backlog (backlog.h) has to be examined from recordings, one job at a time: a
 * whend-camera that sends the frames of one span. A question's job comes at once; all others only
 * when nothing live waits, nightly ones only in their hours (`nightly:`). One of a better rank
 * takes the place of the one at work, whose span goes on waiting. What a job does not find in any
 * recording becomes LOST.
 */
#ifndef WHEN_DAEMON_ARCHIVE_H
#define WHEN_DAEMON_ARCHIVE_H

#include "config/schedule.h"
#include "daemon/backlog.h"
#include "daemon/feed.h"
#include "daemon/supervisor.h"

typedef struct Daemon Daemon;

typedef struct Archive {
    Schedule *nightly; /* when nightly work is done; NULL: always */
    Feed *feed;        /* NULL: no job */
    char camera[EVENT_NAME_BYTES];
    char watch[EVENT_NAME_BYTES]; /* of the question that it is for; "": all watches */
    BacklogRank rank;
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

/* The config's hours count from now on; they were checked. */
void archive_set_hours(Daemon *daemon, const Config *config);
void archive_deinit(Archive *archive);
void archive_tick(Daemon *daemon);
void archive_setup(Daemon *daemon); /* its worker said hello */
bool archive_message(Daemon *daemon, const When__FromWorker *message, zmq_msg_t *pixels,
                     size_t n_pixels);
void archive_gone(Daemon *daemon, const WorkerEnd *end);
/* The camera changes or goes away: its job is thrown away, its span keeps waiting. NULL: any. */
void archive_cancel(Daemon *daemon, const char *camera);
/* The question is over. */
void archive_cancel_watch(Daemon *daemon, const char *watch);
bool archive_works_for(const Daemon *daemon, const char *watch);

#endif

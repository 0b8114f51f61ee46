/*
 * whend itself: one thread, one zmq_poll loop over the workers' ROUTER, the service's ROUTER and a
 * signalfd; timers by the poll's timeout. SQLite writes happen inline; nothing else blocks.
 *
 * The struct is open to the modules that are parts of this one thread (camera, analyst, archive,
 * reload, status) and to nobody else.
 */
#ifndef WHEN_DAEMON_DAEMON_H
#define WHEN_DAEMON_DAEMON_H

#include "config/config.h"
#include "daemon/analyst.h"
#include "daemon/archive.h"
#include "daemon/camera.h"
#include "daemon/commit.h"
#include "daemon/feed.h"
#include "daemon/index.h"
#include "daemon/media.h"
#include "daemon/operation.h"
#include "daemon/publisher.h"
#include "daemon/questions.h"
#include "daemon/scheduler.h"
#include "daemon/service.h"
#include "daemon/supervisor.h"

typedef struct DaemonOptions {
    const char *config_path;
    const char *libexec_dir; /* where whend-camera and whend-analyst lie */
    const char *log_level;   /* overrides the config's; NULL: does not */
} DaemonOptions;

struct Daemon {
    DaemonOptions options;
    Config config;
    int lock_fd, signal_fd;
    void *zmq, *workers; /* ROUTER */
    Index *index;
    Committer *committer;
    Publisher *publisher;
    Service *service;
    Operation *operation;
    Supervisor *supervisor;
    Scheduler *scheduler;
    FeedContext feeds;
    Analyst analyst;
    Archive archive;
    Media *media;
    Questions *questions;
    Camera **cameras; /* [n_cameras], in the config's order */
    size_t n_cameras;
    WireMessage message; /* the one that is being worked on */
    uint64_t bad_messages;
    int64_t started_us; /* UTC */
    int64_t now_us;     /* monotonic, of this turn of the loop */
    int64_t heartbeat_due_us, progress_due_us, all_progress_due_us;
    int64_t stop_due_us; /* give up waiting for workers; 0: not stopping */
};

/* Everything from the state folder to the sockets and workers, in that order. EX_* by what is
 * wrong: EX_TEMPFAIL (another whend), EX_CANTCREAT, EX_UNAVAILABLE (address in use), ... */
int daemon_open(const DaemonOptions *options, Daemon **daemon, Error *err);
/* Until SIGTERM or SIGINT. 0, or -errno. */
int daemon_run(Daemon *daemon, Error *err);
void daemon_free(Daemon *daemon);

/* For the parts. */
/* To a worker: -EAGAIN and the like as wire_send; pixels are handed over on success. */
int daemon_send(Daemon *daemon, const char *worker_id, When__ToWorker *message, zmq_msg_t *pixels,
                size_t n_pixels);
int daemon_start_worker(Daemon *daemon, const char *name, bool is_analyst, bool once);
Camera *daemon_camera(const Daemon *daemon, const char *name); /* NULL: no such camera */
void daemon_out_of_memory(Daemon *daemon);

#endif

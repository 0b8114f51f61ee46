/*
 * Media: clips and thumbnails of events, made on request by a short-lived whend-camera each and
 * handed out piece by piece: a client asks for every piece, so that a slow one holds no memory.
 *
 * Clips lie in STATE_DIR/media until nobody has asked for a while. Thumbnails stay in
 * STATE_DIR/thumbnails, named by their event, as long as the index has the event. Part of whend's
 * one thread.
 */
#ifndef WHEN_DAEMON_MEDIA_H
#define WHEN_DAEMON_MEDIA_H

#include "base/err.h"
#include "daemon/service.h"
#include "daemon/supervisor.h"
#include "proto/worker.pb-c.h"

#include <stdbool.h>

enum {
    MEDIA_MAX_JOBS = 16,   /* made, or kept for their client */
    MEDIA_MAX_WORKERS = 2, /* at the same time */
    MEDIA_PIECE_BYTES = 256 << 10
};

typedef struct Daemon Daemon;
typedef struct Media Media;

/* Removes what an earlier run left. */
int media_open(Daemon *daemon, Media **media, Error *err);
void media_free(Media *media);

/* The service's hook. */
void media_request(const ServiceClient *client, const When__Request *request, void *daemon);

/* Is this a worker of ours? Then its messages and its end belong here. */
bool media_is_worker(const char *name);
bool media_message(Daemon *daemon, const char *name, const When__FromWorker *message);
void media_gone(Daemon *daemon, const WorkerEnd *end);
void media_tick(Daemon *daemon);

#endif

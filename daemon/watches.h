/*
 * Watches: those of whend.yaml and those that clients add at run time (kept in the index), brought
 * together. An added one never takes the place of a configured one.
 */
#ifndef WHEN_DAEMON_WATCHES_H
#define WHEN_DAEMON_WATCHES_H

#include "config/config.h"
#include "daemon/commit.h"
#include "daemon/service.h"

typedef struct Daemon Daemon;

/* Puts the added watches behind the configured ones. */
int watches_merge(Config *config, Index *index, Error *err);

/* Adds to the batch that these are the watches now; those that are not any more are retired. What
 * of retained video they want ("since:") waits, as far as nobody has spoken of it. */
int watches_register(Daemon *daemon, Batch *batch, Error *err);
/* Retires all but the daemon's watches and questions. */
void watches_retire(Daemon *daemon, Batch *batch);

/* Requests. Each answers or refuses. */
void watches_list(Daemon *daemon, const ServiceClient *client);
void watches_put(Daemon *daemon, const ServiceClient *client, const When__WatchPutRequest *request);
void watches_remove(Daemon *daemon, const ServiceClient *client, const char *name);

#endif

/*
 * Operation: what whend does beside its work, as parts of its loop: metrics and health over HTTP,
 * clients from elsewhere, backups, forgetting. A new part of this kind is opened, polled, run and
 * freed here.
 */
#ifndef WHEN_DAEMON_OPERATION_H
#define WHEN_DAEMON_OPERATION_H

#include "base/err.h"
#include "daemon/service.h"

#include <stdbool.h>
#include <stdint.h>
#include <zmq.h>

enum { OPERATION_POLL_ITEMS = 2 };

typedef struct Daemon Daemon;
typedef struct Operation Operation;

/* After the index, the publisher and the service; makes what the config asks for. */
int operation_open(Daemon *daemon, Operation **operation, Error *err);
void operation_free(Operation *operation); /* before publisher, service and index */

/* Fills at most OPERATION_POLL_ITEMS items; how many. */
size_t operation_poll(Operation *operation, zmq_pollitem_t *items);
/* Once a turn of the loop. true: more can be done at once. */
bool operation_run(Operation *operation);

/* Hooks of the service. */
void operation_request(const ServiceClient *client, const When__Request *request, bool local,
                       void *daemon);
bool operation_allows(const char *key, void *daemon);

uint64_t operation_refused(const Operation *operation); /* connections without a key */

#endif

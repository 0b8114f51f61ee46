/*
 * Replays: clients that asked for what was committed after a sequence number. Each gets a batch a
 * turn of the loop, so that a long one delays nothing, and the next one when it has read. Used by
 * the service alone.
 */
#ifndef WHEN_DAEMON_REPLAYS_H
#define WHEN_DAEMON_REPLAYS_H

#include "daemon/service.h"

enum { REPLAYS_MAX = 32 /* at the same time */, REPLAYS_BATCH = 256 };

typedef struct Replays Replays;

/* All borrowed. NULL: no memory. */
Replays *replays_new(Service *service, Index *index, const Outbox *outbox);
void replays_free(Replays *replays);

/* The request's names were checked. true: it is owned by the replay now; false: it was refused. */
bool replays_begin(Replays *replays, const ServiceClient *client, When__Request *request);
/* true: more can be sent at once. */
bool replays_run(Replays *replays, int64_t now_us);

#endif

/*
 * Publisher: the PUB socket. Topics: "event/CAMERA/WATCH" (EventMessage), "heartbeat" (Heartbeat,
 * once a second) and "progress" (Progress).
 *
 * ZeroMQ drops messages for a subscriber whose queue is full (PUBLISHER_HIGH_WATER messages behind)
 * and for one that is not connected. Nothing is lost by that: sequence numbers have no gap, the
 * heartbeat tells the last one, and the service replays any of them.
 */
#ifndef WHEN_DAEMON_PUBLISHER_H
#define WHEN_DAEMON_PUBLISHER_H

#include "base/err.h"
#include "daemon/event.h"
#include "daemon/keys.h"
#include "proto/wire.h"

enum { PUBLISHER_HIGH_WATER = 10000 };

typedef struct Publisher Publisher;

/* Binds; EX_UNAVAILABLE or EX_CANTCREAT when that is impossible. daemon_id is copied. */
int publisher_open(void *zmq, const char *endpoint, const char *daemon_id, Publisher **publisher,
                   Error *err);
void publisher_free(Publisher *publisher);

/* Also publishes at this address, to subscribers whose key is allowed. keys outlive the publisher.
 */
int publisher_open_remote(Publisher *publisher, void *zmq, const char *endpoint, const Keys *keys,
                          Error *err);
/* Ends all connections from elsewhere: ZeroMQ cannot end one. Those that are still allowed are back
 * within a moment and ask for what they missed. */
void publisher_drop_remote(Publisher *publisher);
/* Once a turn of the loop: true while the remote address could not be bound again yet. */
bool publisher_rebind(Publisher *publisher);

/* Only events that are committed. */
void publisher_event(Publisher *publisher, const Event *event);
void publisher_heartbeat(Publisher *publisher, uint64_t last_sequence);
void publisher_progress(Publisher *publisher, When__Progress *progress); /* sets its version */

/* The message form of an event; texts are borrowed from it. */
void publisher_fill_event(const Event *event, When__Event *message);

#endif

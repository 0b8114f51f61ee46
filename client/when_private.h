/* What when.c and when_follow.c share. */
#ifndef WHEN_CLIENT_WHEN_PRIVATE_H
#define WHEN_CLIENT_WHEN_PRIVATE_H

#include "client/when.h"
#include "config/keyfile.h"
#include "proto/wire.h"

struct When {
    void *context;
    void *query; /* DEALER */
    char *query_endpoint, *events_endpoint;
    KeyFile keys; /* no public key: the connection is not encrypted */
    uint64_t next_request_id;
    WireMessage message;
};

/* Before a socket connects: the keys it proves itself with, if there are any. 0 or -errno. */
int when_secure(const When *when, void *socket);

/* A DEALER that is connecting to the query service; NULL and errno. */
void *when_dealer(When *when);

/* Reads one response to request_id that waits on the socket. 0 with *response set (the caller
 * frees), WIRE_NOTHING, or -errno. What belongs to other requests, or is damaged, is skipped. */
int when_take_response(When *when, void *socket, uint64_t request_id, When__Response **response);

/* What an ErrorResponse says, into err. -EREMOTEIO. */
int when_remote_error(const When__Response *response, Error *err);

/* Milliseconds until a clock_monotonic_us() time, rounded up; 0 when it is over. */
int when_ms_until(int64_t deadline_us);

#endif

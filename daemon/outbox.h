/*
 * Outbox: what clients have been told and have not taken yet, beyond the few messages that
 * ZeroMQ's own queue to each of them holds. Bounded in bytes, for each client and for all
 * together, so that one that is slow or silent holds neither memory nor the others back. Used by
 * the service alone.
 */
#ifndef WHEN_DAEMON_OUTBOX_H
#define WHEN_DAEMON_OUTBOX_H

#include "proto/wire.h"

#include <stdbool.h>

enum {
    OUTBOX_QUEUE = 16,             /* messages of ZeroMQ's own queue to a client */
    OUTBOX_CLIENT_BYTES = 4 << 20, /* that wait for one client */
    OUTBOX_MAX_BYTES = 64 << 20,   /* ... and for all together */
    OUTBOX_LETTER_BYTES = 256,     /* what each message counts beyond its length */
    OUTBOX_PATIENCE_US = 10000000  /* one that takes nothing for so long is given up */
};

typedef struct Outbox Outbox;

Outbox *outbox_new(void *socket); /* a ROUTER, borrowed. NULL: no memory */
void outbox_free(Outbox *outbox);

/* 0: sent, or it waits, behind all that waits for this client. -EAGAIN: no more may wait for it;
 * other -errno: it is gone, or the message is too large. */
int outbox_send(Outbox *outbox, const uint8_t *id, size_t id_bytes, const ProtobufCMessage *message,
                int64_t now_us);
/* Sends what clients have room for now; gives up those that took nothing for too long. */
void outbox_run(Outbox *outbox, int64_t now_us);
bool outbox_waits_for(const Outbox *outbox, const uint8_t *id, size_t id_bytes);
size_t outbox_bytes(const Outbox *outbox);      /* that wait */
uint64_t outbox_given_up(const Outbox *outbox); /* clients, so far */

#endif

/*
 * Peers: which of a ROUTER's routing ids belong to clients from elsewhere, and by which key they
 * came. What is sent later (a replay, a deep question's finds) is checked against it, so that a
 * revoked key gets nothing more. Local clients are not in it.
 */
#ifndef WHEN_DAEMON_PEERS_H
#define WHEN_DAEMON_PEERS_H

#include "proto/wire.h"

enum { PEERS_MAX = 1024 };

typedef struct Peers Peers;

Peers *peers_new(void); /* NULL: no memory */
void peers_free(Peers *peers);

/* A message came from this id; user "" for a local client. Beyond PEERS_MAX the one that was silent
 * longest gives way. */
void peers_note(Peers *peers, const uint8_t *id, size_t id_bytes, const char *user);
/* The key by which it came, NULL for a local client. */
const char *peers_user(const Peers *peers, const uint8_t *id, size_t id_bytes);

#endif

/*
 * Keys: who may connect from elsewhere. TCP endpoints under `remote:` speak CURVE (RFC 25 and 26 of
 * ZeroMQ): encrypted, whend proved by its own key (STATE_DIR/server.key), clients by keys that were
 * allowed. libzmq asks for each new connection over ZAP (RFC 27), which is answered here, inside
 * whend's loop. A client that is allowed is known by its key afterwards: the message's user id.
 *
 * A revoked key counts at once: its connections get no answer any more (keys_allows is asked for
 * each message), and the publisher's remote socket is opened anew.
 */
#ifndef WHEN_DAEMON_KEYS_H
#define WHEN_DAEMON_KEYS_H

#include "base/err.h"
#include "daemon/commit.h"
#include "daemon/index.h"
#include "proto/wire.h"

#include <stdbool.h>
#include <stdint.h>

enum { KEYS_MAX_CLIENTS = 1024 };

typedef struct Keys Keys;

/* Reads the allow-list from the index and whend's own key, which is made when there is none. Before
 * any socket that keys_protect is to be used on is bound. EX_NOPERM, EX_DATAERR: the key's file. */
int keys_open(void *zmq, Index *index, const char *state_dir, Keys **keys, Error *err);
void keys_free(Keys *keys);

/* What the socket binds from now on is for allowed clients only; what it has bound is not touched.
 */
int keys_protect(const Keys *keys, void *socket);

void *keys_socket(Keys *keys); /* for zmq_poll */
void keys_run(Keys *keys);     /* answers libzmq's questions; never waits */

bool keys_allows(const Keys *keys, const char *public_key);
uint64_t keys_refused(const Keys *keys); /* connections so far */
const char *keys_server_key(const Keys *keys);

/* Effective at once; stored with the next commit. EX_DATAERR: not a key, or another client's. */
int keys_allow(Keys *keys, const char *name, const char *public_key, Batch *batch, Error *err);
/* EX_NOINPUT: nobody of this name. */
int keys_revoke(Keys *keys, const char *name, Batch *batch, Error *err);

/* Fills the response with what is allowed; borrowed until the next call of any of these. */
int keys_fill(Keys *keys, When__KeysResponse *response);

#endif

/*
 * Messages on ZeroMQ sockets: protobuf in the first part behind the routing parts, raw pixels in
 * parts behind it; sizes bounded before anything is parsed. A socket belongs to one thread.
 */
#ifndef WHEN_PROTO_WIRE_H
#define WHEN_PROTO_WIRE_H

#include "base/err.h"
#include "proto/event.pb-c.h"
#include "proto/query.pb-c.h"
#include "proto/worker.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

enum {
    WIRE_VERSION = 1,
    WIRE_MAX_MESSAGE_BYTES = 1 << 20, /* a protobuf part */
    WIRE_MAX_PIXEL_BYTES = 64 << 20,  /* one frame */
    WIRE_MAX_PIXEL_PARTS = 1024,      /* frames of one job */
    WIRE_MAX_ID_BYTES = 64,           /* routing id of a ROUTER's peer */
    WIRE_MAX_USER_BYTES = 64,
    WIRE_MAX_TOPIC_BYTES = 160
};

/* What wire_receive found. */
enum {
    WIRE_NOTHING = 1, /* no message waits (ZMQ_DONTWAIT) */
    WIRE_REFUSED = 2  /* a message was read and thrown away: too large, too many or too few parts */
};

/* A received message. Zero it before first use; wire_message_clear or _deinit releases it. */
typedef struct WireMessage {
    uint8_t id[WIRE_MAX_ID_BYTES]; /* ROUTER: the peer's routing id */
    size_t id_bytes;
    char user[WIRE_MAX_USER_BYTES]; /* who proved to be whom: the key of CURVE; "" without it */
    zmq_msg_t body;                 /* the protobuf part */
    bool has_body;
    zmq_msg_t *pixels; /* [n_pixels] */
    size_t n_pixels;
    size_t capacity;
} WireMessage;

void wire_message_clear(WireMessage *m);
void wire_message_deinit(WireMessage *m);

/* Reads one whole multipart message without waiting. has_id: the socket is a ROUTER. 0, or
 * WIRE_NOTHING, WIRE_REFUSED, or -errno. After anything but 0 the message is empty. */
int wire_receive(void *socket, bool has_id, WireMessage *m);

static inline const uint8_t *wire_body(WireMessage *m, size_t *bytes)
{
    *bytes = zmq_msg_size(&m->body);
    return zmq_msg_data(&m->body);
}

/* Sends [id], message [, pixels...]. id NULL: not a ROUTER. The pixel parts are handed over (they
 * are empty afterwards) when the call succeeds. Never waits: -EAGAIN when the peer's queue is full,
 * -EHOSTUNREACH when a ROUTER does not know the peer, -EMSGSIZE when a part is too large. */
int wire_send(void *socket, const uint8_t *id, size_t id_bytes, const ProtobufCMessage *message,
              zmq_msg_t *pixels, size_t n_pixels);

/* The same in two steps, for what may have to wait: the message packed (-EMSGSIZE, -ENOMEM), and
 * sent to a ROUTER's peer. The body is handed over (empty afterwards) when that succeeds. */
int wire_pack(const ProtobufCMessage *message, zmq_msg_t *body);
int wire_send_packed(void *socket, const uint8_t *id, size_t id_bytes, zmq_msg_t *body);

/* Sends topic, message on a PUB socket. */
int wire_publish(void *socket, const char *topic, const ProtobufCMessage *message);

/* Reads one published message without waiting: topic and body, as wire_receive. */
int wire_receive_published(void *socket, char topic[WIRE_MAX_TOPIC_BYTES + 1], WireMessage *m);

/* Sets LINGER, high-water mark, maximal message size and, for a ROUTER, ROUTER_MANDATORY. */
int wire_socket_init(void *socket, int linger_ms, int high_water_mark);

/* A smaller bound on a part than wire_socket_init's (which lets pixels through): for sockets that
 * strangers can reach. ZeroMQ drops the connection of a peer that sends more. */
int wire_socket_limit(void *socket, int64_t max_part_bytes);

/* Does somebody listen on this UNIX socket? 0, else -ECONNREFUSED (a dead one's file), -ENOENT,
 * -EACCES, -ENAMETOOLONG, ... */
int wire_probe_ipc(const char *path);

/* Binds; an "ipc://" address gets its folder checked and a stale socket file removed, mode 0600;
 * the file goes when the process exits (bind from the main thread only).
 * EX_CANTCREAT/EX_UNAVAILABLE with the address, the reason and the remedy otherwise. */
int wire_bind(void *socket, const char *endpoint, Error *err);

/* Gives an ipc socket that was bound its mode and, unless NULL, its group. Nothing for other
 * addresses. EX_CONFIG: no such group; EX_NOPERM: we are not in it. */
int wire_share(const char *endpoint, unsigned mode, const char *group, Error *err);

#endif

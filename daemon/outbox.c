/* What clients have not taken yet. See outbox.h. */
#include "daemon/outbox.h"

#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct Letter {
    zmq_msg_t body;
    size_t bytes; /* that it counts */
    struct Letter *next;
} Letter;

/* A client for which something waits. */
typedef struct Reader {
    uint8_t id[WIRE_MAX_ID_BYTES];
    size_t id_bytes, bytes;
    Letter *first, **tail;
    int64_t taken_us; /* when it took something last, or came here */
    struct Reader *next;
} Reader;

struct Outbox {
    void *socket;
    Reader *readers;
    size_t bytes;
    uint64_t given_up;
};

Outbox *outbox_new(void *socket)
{
    Outbox *o = calloc(1, sizeof *o);
    if (o)
        o->socket = socket;
    return o;
}

/* ZeroMQ hears that a client has read once a millisecond at most, unless it is asked. */
static void hear_of_room(Outbox *o)
{
    int events;
    size_t bytes = sizeof events;
    zmq_getsockopt(o->socket, ZMQ_EVENTS, &events, &bytes);
}

/* Its first letter, which was handed over or is not wanted any more. */
static void drop_first(Outbox *o, Reader *reader)
{
    Letter *letter = reader->first;
    reader->first = letter->next;
    if (!reader->first)
        reader->tail = &reader->first;
    reader->bytes -= letter->bytes;
    o->bytes -= letter->bytes;
    zmq_msg_close(&letter->body);
    free(letter);
}

static void remove_reader(Outbox *o, Reader **at)
{
    Reader *reader = *at;
    *at = reader->next;
    while (reader->first)
        drop_first(o, reader);
    free(reader);
}

void outbox_free(Outbox *o)
{
    if (!o)
        return;
    while (o->readers)
        remove_reader(o, &o->readers);
    free(o);
}

static Reader *find(const Outbox *o, const uint8_t *id, size_t id_bytes)
{
    Reader *reader = o->readers;
    while (reader && (reader->id_bytes != id_bytes || memcmp(reader->id, id, id_bytes) != 0))
        reader = reader->next;
    return reader;
}

static Reader *add_reader(Outbox *o, const uint8_t *id, size_t id_bytes, int64_t now_us)
{
    Reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return NULL;
    memcpy(reader->id, id, id_bytes);
    reader->id_bytes = id_bytes;
    reader->tail = &reader->first;
    reader->taken_us = now_us;
    reader->next = o->readers;
    o->readers = reader;
    return reader;
}

/* Takes the body over when it returns 0. */
static int keep(Outbox *o, Reader *reader, const uint8_t *id, size_t id_bytes, zmq_msg_t *body,
                int64_t now_us)
{
    size_t bytes = zmq_msg_size(body) + OUTBOX_LETTER_BYTES;
    if ((reader ? reader->bytes : 0) + bytes > OUTBOX_CLIENT_BYTES ||
        o->bytes + bytes > OUTBOX_MAX_BYTES)
        return -EAGAIN;
    Letter *letter = calloc(1, sizeof *letter);
    if (letter && !reader)
        reader = add_reader(o, id, id_bytes, now_us);
    if (!letter || !reader) {
        free(letter);
        return -ENOMEM;
    }
    zmq_msg_init(&letter->body);
    zmq_msg_move(&letter->body, body);
    letter->bytes = bytes;
    *reader->tail = letter;
    reader->tail = &letter->next;
    reader->bytes += bytes;
    o->bytes += bytes;
    return 0;
}

int outbox_send(Outbox *o, const uint8_t *id, size_t id_bytes, const ProtobufCMessage *message,
                int64_t now_us)
{
    zmq_msg_t body;
    int r = wire_pack(message, &body);
    if (r < 0)
        return r;
    Reader *reader = find(o, id, id_bytes);
    r = reader ? -EAGAIN : wire_send_packed(o->socket, id, id_bytes, &body);
    if (r == -EAGAIN && !reader) {
        hear_of_room(o);
        r = wire_send_packed(o->socket, id, id_bytes, &body);
    }
    if (r == -EAGAIN)
        r = keep(o, reader, id, id_bytes, &body, now_us);
    zmq_msg_close(&body); /* empty when it was taken over */
    return r;
}

/* true: there is nothing more to be done for it. */
static bool serve(Outbox *o, Reader *reader, int64_t now_us)
{
    int r = 0;
    while (reader->first && r == 0) {
        r = wire_send_packed(o->socket, reader->id, reader->id_bytes, &reader->first->body);
        if (r == 0) {
            drop_first(o, reader);
            reader->taken_us = now_us;
        }
    }
    if (r == 0)
        return true;
    if (r == -EAGAIN && now_us - reader->taken_us < OUTBOX_PATIENCE_US)
        return false;
    o->given_up++;
    log_warn("outbox", "a client did not take its answers (%s): bytes=%zu given_up=%" PRIu64,
             strerror(-r), reader->bytes, o->given_up);
    return true;
}

void outbox_run(Outbox *o, int64_t now_us)
{
    if (o->readers)
        hear_of_room(o);
    for (Reader **at = &o->readers; *at;) {
        if (serve(o, *at, now_us))
            remove_reader(o, at);
        else
            at = &(*at)->next;
    }
}

bool outbox_waits_for(const Outbox *o, const uint8_t *id, size_t id_bytes)
{
    return find(o, id, id_bytes) != NULL;
}

size_t outbox_bytes(const Outbox *o)
{
    return o->bytes;
}

uint64_t outbox_given_up(const Outbox *o)
{
    return o->given_up;
}

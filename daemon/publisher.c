/* The PUB socket. See publisher.h. */
#include "daemon/publisher.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Publisher {
    void *socket;
    char *daemon_id;
    void *zmq, *remote; /* remote is NULL while its address is not bound */
    char *remote_endpoint;
    const Keys *keys;
};

int publisher_open(void *zmq, const char *endpoint, const char *daemon_id, Publisher **publisher,
                   Error *err)
{
    Publisher *p = calloc(1, sizeof *p);
    if (!p || !(p->daemon_id = strdup(daemon_id)) || !(p->socket = zmq_socket(zmq, ZMQ_PUB))) {
        publisher_free(p);
        error_set(err, ENOMEM, EX_OSERR, "no memory for the events socket");
        return -ENOMEM;
    }
    int r = wire_socket_init(p->socket, 500, PUBLISHER_HIGH_WATER);
    if (r == 0)
        r = wire_bind(p->socket, endpoint, err);
    if (r < 0) {
        error_set(err, -r, EX_OSERR, "%s: %s", endpoint, strerror(-r));
        publisher_free(p);
        return r;
    }
    *publisher = p;
    return 0;
}

void publisher_free(Publisher *p)
{
    if (!p)
        return;
    if (p->socket)
        zmq_close(p->socket);
    if (p->remote)
        zmq_close(p->remote);
    free(p->remote_endpoint);
    free(p->daemon_id);
    free(p);
}

static int bind_remote(Publisher *p, Error *err)
{
    p->remote = zmq_socket(p->zmq, ZMQ_PUB);
    if (!p->remote)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", p->remote_endpoint);
    int r = wire_socket_init(p->remote, 500, PUBLISHER_HIGH_WATER);
    if (r == 0)
        r = keys_protect(p->keys, p->remote);
    if (r == 0)
        r = wire_socket_limit(p->remote, WIRE_MAX_MESSAGE_BYTES);
    if (r < 0)
        error_set(err, -r, EX_UNAVAILABLE, "%s: no CURVE: %s", p->remote_endpoint,
                  zmq_strerror(-r));
    else
        r = wire_bind(p->remote, p->remote_endpoint, err);
    if (r < 0) {
        zmq_close(p->remote);
        p->remote = NULL;
    }
    return r;
}

int publisher_open_remote(Publisher *p, void *zmq, const char *endpoint, const Keys *keys,
                          Error *err)
{
    p->zmq = zmq;
    p->keys = keys;
    p->remote_endpoint = strdup(endpoint);
    if (!p->remote_endpoint)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", endpoint);
    return bind_remote(p, err);
}

void publisher_drop_remote(Publisher *p)
{
    if (!p->remote)
        return;
    int none = 0;
    zmq_setsockopt(p->remote, ZMQ_LINGER, &none, sizeof none);
    zmq_close(p->remote);
    p->remote = NULL;
}

bool publisher_rebind(Publisher *p)
{
    if (!p->remote_endpoint || p->remote)
        return false;
    /* ZeroMQ lets go of an address a moment after its socket was closed. */
    Error err = {0};
    return bind_remote(p, &err) < 0;
}

void publisher_fill_event(const Event *event, When__Event *message)
{
    when__event__init(message);
    message->id = (char *)event->id;
    message->revision = event->revision;
    message->state = (When__EventState)event->state;
    message->camera = (char *)event->camera;
    message->watch = (char *)event->watch;
    message->description = (char *)event->description;
    message->start_us = event->start_us;
    message->end_us = event->end_us;
    message->start_err_us = event->start_err_us;
    message->end_err_us = event->end_err_us;
    message->confidence = (float)event->confidence;
}

static void publish(Publisher *p, const char *topic, const ProtobufCMessage *message)
{
    int r = wire_publish(p->socket, topic, message);
    if (r < 0) /* PUB never blocks: only a bug or no memory gets here; replay has the event */
        log_error("publisher", "topic=%s not sent: %s", topic, strerror(-r));
    if (p->remote)
        wire_publish(p->remote, topic, message);
}

void publisher_event(Publisher *p, const Event *event)
{
    assert(event->sequence > 0);
    When__Event body;
    publisher_fill_event(event, &body);
    When__EventMessage message = WHEN__EVENT_MESSAGE__INIT;
    message.version = WIRE_VERSION;
    message.daemon_id = p->daemon_id;
    message.sequence = event->sequence;
    message.committed_us = event->committed_us;
    message.event = &body;
    char topic[WIRE_MAX_TOPIC_BYTES];
    snprintf(topic, sizeof topic, "event/%s/%s", event->camera, event->watch);
    publish(p, topic, &message.base);
}

void publisher_heartbeat(Publisher *p, uint64_t last_sequence)
{
    When__Heartbeat message = WHEN__HEARTBEAT__INIT;
    message.version = WIRE_VERSION;
    message.daemon_id = p->daemon_id;
    message.last_sequence = last_sequence;
    message.utc_us = clock_utc_us();
    publish(p, "heartbeat", &message.base);
}

void publisher_progress(Publisher *p, When__Progress *progress)
{
    progress->version = WIRE_VERSION;
    publish(p, "progress", &progress->base);
}

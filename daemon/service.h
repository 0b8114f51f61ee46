/*
 * Service: the ROUTER socket that answers clients (proto/query.proto). One request, one or more
 * responses; sends never wait: what a client does not take at once lies in the outbox (outbox.h),
 * within bounds.
 */
#ifndef WHEN_DAEMON_SERVICE_H
#define WHEN_DAEMON_SERVICE_H

#include "base/err.h"
#include "daemon/index.h"
#include "daemon/keys.h"
#include "daemon/outbox.h"
#include "proto/wire.h"

enum {
    SERVICE_MAX_QUESTION_BYTES = 8192,
    SERVICE_MAX_NAMES = 64,    /* cameras or watches named in one request */
    SERVICE_MAX_EVENTS = 1000, /* in one response */
    SERVICE_MAX_SPANS = 1000   /* in one response: the newest; sums count all */
};

/* Whom an answer that comes later goes to. */
typedef struct ServiceClient {
    uint8_t id[WIRE_MAX_ID_BYTES];
    size_t id_bytes;
    uint64_t request_id;
} ServiceClient;

typedef struct ServiceHooks {
    /* Fill the response; what they point to must live until the next call of either. 0 or
     * -ENOMEM. */
    int (*status)(When__StatusResponse *response, void *context);
    int (*cameras)(When__CamerasResponse *response, void *context);
    /* Clip and thumbnail requests: answers by service_respond, now or later. */
    void (*media)(const ServiceClient *client, const When__Request *request, void *context);
    /* Backup and key requests: as media. local: it came from this machine. */
    void (*operation)(const ServiceClient *client, const When__Request *request, bool local,
                      void *context);
    /* May a client from elsewhere that came by this key go on? Asked for each message. */
    bool (*allows)(const char *key, void *context);
    /* Deep asks, cancel, watches, reload: as media. */
    void (*change)(const ServiceClient *client, const When__Request *request, void *context);
    void *context;
} ServiceHooks;

typedef struct Service Service;

int service_open(void *zmq, const char *endpoint, Index *index, const ServiceHooks *hooks,
                 Service **service, Error *err);
void service_free(Service *service);
/* Also answers at this address, to clients whose key is allowed. */
int service_open_remote(Service *service, const char *endpoint, const Keys *keys, Error *err);

void *service_socket(Service *service); /* for zmq_poll */
/* Answers what waits (some at a time) and goes on with replays. true: more can be done at once. */
bool service_run(Service *service, int64_t now_us);
/* Something waits for its client to read: service_run is to be called again soon. */
bool service_waits(const Service *service);
/* 0; -EAGAIN when no more may wait for this client; other -errno when it is gone. */
int service_respond(Service *service, const ServiceClient *client, bool last,
                    When__Response *response);
/* An ErrorResponse, the last to its request. */
void service_refuse(Service *service, const ServiceClient *client, int exit_code, const char *text);
uint64_t service_bad_messages(const Service *service);

#endif

/*
 * libwhen: a client of whend.
 *
 *     When *when;
 *     Error err = {0};
 *     if (when_open(&(WhenOptions){.query_endpoint = "ipc:///run/whend/query.ipc"}, &when, &err) <
 * 0) errx(err.exit_code, "%s", err.text); When__AskRequest ask = WHEN__ASK_REQUEST__INIT;
 *     ask.question = "when did a red car drive past?";
 *     When__Request request = WHEN__REQUEST__INIT;
 *     request.body_case = WHEN__REQUEST__BODY_ASK;
 *     request.ask = &ask;
 *     when_request(when, &request, 0, print_response, NULL, &err);
 *
 * Messages are those of proto/query.proto and proto/event.proto; docs/protocol.md tells what they
 * promise. A When and its subscriptions belong to one thread. No call waits longer than it is told.
 */
#ifndef WHEN_CLIENT_WHEN_H
#define WHEN_CLIENT_WHEN_H

#include "base/err.h"
#include "proto/event.pb-c.h"
#include "proto/query.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

#define WHEN_QUERY_ENDPOINT "ipc:///run/whend/query.ipc"

enum {
    WHEN_CONNECT_MS = 3000,
    WHEN_DEADLINE_MS = 10000,
    WHEN_SILENCE_MS = 5000,        /* no heartbeat for so long: whend is gone or stuck */
    WHEN_MAX_QUESTION_BYTES = 8192 /* what the service reads */
};

typedef struct When When;

typedef struct WhenOptions {
    const char *query_endpoint;  /* NULL: WHEN_QUERY_ENDPOINT */
    const char *events_endpoint; /* NULL: the query endpoint with "query" at its end as "events" */
    int connect_ms;              /* 0: WHEN_CONNECT_MS */
    /* For a whend elsewhere (tcp://, CURVE): a file of whenctl key new, and the public key that
     * whend must prove, if the file does not have it. NULL: none. */
    const char *key_file, *server_key;
} WhenOptions;

/* Connects to the query service and waits until it is there. -errno with EX_UNAVAILABLE when nobody
 * listens, EX_NOPERM when we may not connect, EX_USAGE for an address or a key that is none. A
 * key that whend does not allow looks like a whend that is not there. */
int when_open(const WhenOptions *options, When **when, Error *err);
void when_free(When *when); /* safe on NULL; subscriptions first */

/* Called with each response to a request, in order; borrowed for the call. A negative return ends
 * the request and is returned. */
typedef int (*WhenSink)(const When__Response *response, void *context);

/* Sends the request (version, request_id and deadline_ms are filled in) and hands on its responses.
 * deadline_ms bounds the whole, 0: WHEN_DEADLINE_MS. Errors of the service come back in err with
 * their own exit code (-EREMOTEIO); no answer in time is -ETIMEDOUT with EX_UNAVAILABLE. */
int when_request(When *when, When__Request *request, int deadline_ms, WhenSink sink, void *context,
                 Error *err);

/* --- events as they are committed: every one, once, in order --- */

typedef struct WhenSubscription WhenSubscription;

typedef struct WhenSubscribeOptions {
    bool from_now;           /* begin with the next event; else after_sequence counts */
    uint64_t after_sequence; /* the last one that was handled: 0 for all there ever were */
    const char *daemon_id;   /* whose sequence numbers those are (of an earlier notice), or NULL */
    bool progress;           /* also WHEN_PROGRESS */
    int silence_ms;          /* 0: WHEN_SILENCE_MS */
} WhenSubscribeOptions;

typedef enum WhenNoticeKind {
    WHEN_NOTHING = 1, /* the time is up */
    WHEN_EVENT,       /* sequence is exactly one more than that of the event before */
    WHEN_PROGRESS,    /* may be lost */
    WHEN_HEARTBEAT,   /* all up to heartbeat->last_sequence was handed on */
    WHEN_SILENT,      /* nothing is heard any more; said once, then WHEN_NOTHING until it is back */
    WHEN_NEW_DAEMON   /* another daemon_id: its events are numbered anew and come from the first */
} WhenNoticeKind;

typedef struct WhenNotice {
    WhenNoticeKind kind;
    const When__EventMessage *event; /* borrowed until the next call */
    const When__Progress *progress;
    const When__Heartbeat *heartbeat;
    const char *daemon_id; /* of WHEN_NEW_DAEMON */
} WhenNotice;

/* What was missed (before the subscription, or because a queue overflowed or whend was restarted)
 * is noticed by the sequence numbers of events and heartbeats and asked for again; what whend has
 * been told to forget since (events: in whend.yaml) is skipped. EX_DATAERR when
 * after_sequence is beyond what this daemon ever committed. */
int when_subscribe(When *when, const WhenSubscribeOptions *options, WhenSubscription **subscription,
                   Error *err);
void when_unsubscribe(WhenSubscription *subscription); /* safe on NULL */

/* Waits at most timeout_ms (-1: for ever) for the next notice. 0, or -errno: then the subscription
 * is of no more use. A whend that is away is no error: see WHEN_SILENT. */
int when_next(WhenSubscription *subscription, int timeout_ms, WhenNotice *notice, Error *err);

/* The last sequence number handed on: what to give as after_sequence next time. */
uint64_t when_sequence(const WhenSubscription *subscription);

#endif

/*
 * Events as they are committed: every one, once, in order. See when.h.
 *
 * The rule that makes it so: an event is handed on when its sequence number is exactly the next
 * one. A lower number is a duplicate and dropped. A higher one, or a heartbeat that knows a higher
 * one, shows that something was missed; then all behind the last one handed on is asked for
 * (ReplayRequest) and the live queue stays unread until that has come. It does not matter why it
 * was missed: a late connection, a queue that overflowed, a whend that was away.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "client/when.h"
#include "client/when_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { REPLAY_MS = 10000, RETRY_MS = 250, LIVE_QUEUE = 100000 };

struct WhenSubscription {
    When *when;
    void *live;   /* SUB */
    void *replay; /* DEALER */
    WireMessage message;
    char *daemon_id; /* whose numbers `sequence` counts; NULL until known */
    uint64_t sequence;

    bool asking; /* a ReplayRequest is under way */
    uint64_t request_id;
    int64_t asked_until_us;   /* then it is asked again; monotonic */
    int64_t retry_us;         /* not before; monotonic */
    bool missing;             /* something is known to be missing */
    When__Response *response; /* of the replay: messages from `cursor` on are to be handed on */
    size_t cursor;

    int64_t silence_us; /* nothing for so long is worth a notice */
    int64_t heard_us;   /* monotonic */
    bool silent;

    /* What the last notice borrowed. */
    When__EventMessage *event;
    When__Progress *progress;
    When__Heartbeat *heartbeat;
};

static void forget_notice(WhenSubscription *s)
{
    if (s->event)
        when__event_message__free_unpacked(s->event, NULL);
    if (s->progress)
        when__progress__free_unpacked(s->progress, NULL);
    if (s->heartbeat)
        when__heartbeat__free_unpacked(s->heartbeat, NULL);
    s->event = NULL;
    s->progress = NULL;
    s->heartbeat = NULL;
}

static void forget_response(WhenSubscription *s)
{
    if (s->response)
        when__response__free_unpacked(s->response, NULL);
    s->response = NULL;
    s->cursor = 0;
}

void when_unsubscribe(WhenSubscription *s)
{
    if (!s)
        return;
    forget_notice(s);
    forget_response(s);
    wire_message_deinit(&s->message);
    if (s->live)
        zmq_close(s->live);
    if (s->replay)
        zmq_close(s->replay);
    free(s->daemon_id);
    free(s);
}

uint64_t when_sequence(const WhenSubscription *s)
{
    return s->sequence;
}

static int subscribe_to(void *socket, const char *topic)
{
    return zmq_setsockopt(socket, ZMQ_SUBSCRIBE, topic, strlen(topic)) < 0 ? -errno : 0;
}

static int open_live(WhenSubscription *s, bool progress)
{
    s->live = zmq_socket(s->when->context, ZMQ_SUB);
    if (!s->live)
        return -errno;
    int rc = wire_socket_init(s->live, 0, LIVE_QUEUE);
    if (rc == 0)
        rc = wire_socket_limit(s->live, WIRE_MAX_MESSAGE_BYTES);
    if (rc == 0)
        rc = subscribe_to(s->live, "event/");
    if (rc == 0)
        rc = subscribe_to(s->live, "heartbeat");
    if (rc == 0 && progress)
        rc = subscribe_to(s->live, "progress");
    if (rc == 0)
        rc = when_secure(s->when, s->live);
    if (rc == 0 && zmq_connect(s->live, s->when->events_endpoint) < 0)
        rc = -errno;
    return rc;
}

typedef struct Begin {
    uint64_t last_sequence;
    char *daemon_id;
} Begin;

static int take_begin(const When__Response *response, void *context)
{
    Begin *begin = context;
    if (response->body_case != WHEN__RESPONSE__BODY_STATUS)
        return -EBADMSG;
    begin->last_sequence = response->status->last_sequence;
    free(begin->daemon_id);
    begin->daemon_id = strdup(response->status->daemon_id);
    return begin->daemon_id ? 0 : -ENOMEM;
}

/* Where this daemon's numbers are, and so where to begin. */
static int find_begin(WhenSubscription *s, const WhenSubscribeOptions *options, Error *err)
{
    Begin begin = {0};
    When__StatusRequest status = WHEN__STATUS_REQUEST__INIT;
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_STATUS;
    request.status = &status;
    int rc = when_request(s->when, &request, 0, take_begin, &begin, err);
    if (rc < 0) {
        free(begin.daemon_id);
        return error_set(err, -rc, EX_PROTOCOL, "%s: no status in the answer",
                         s->when->query_endpoint);
    }
    bool other = options->daemon_id && strcmp(options->daemon_id, begin.daemon_id) != 0;
    if (options->from_now) {
        s->sequence = begin.last_sequence;
    } else if (other) {
        /* Said by a WHEN_NEW_DAEMON: the old id stays until the first message shows the new one. */
        free(begin.daemon_id);
        begin.daemon_id = strdup(options->daemon_id);
        if (!begin.daemon_id)
            return error_set(err, ENOMEM, EX_OSERR, "no memory");
        s->sequence = options->after_sequence;
    } else if (options->after_sequence > begin.last_sequence) {
        rc = error_set(
            err, ERANGE, EX_DATAERR,
            "whend has committed %llu events, none after %llu can have been seen (was its "
            "state replaced? begin with 0)",
            (unsigned long long)begin.last_sequence, (unsigned long long)options->after_sequence);
    } else {
        s->sequence = options->after_sequence;
        s->missing = begin.last_sequence > s->sequence;
    }
    s->daemon_id = begin.daemon_id;
    return rc;
}

int when_subscribe(When *when, const WhenSubscribeOptions *options, WhenSubscription **subscription,
                   Error *err)
{
    *subscription = NULL;
    if (!when->events_endpoint)
        return error_set(err, EINVAL, EX_USAGE,
                         "%s: where its events are published cannot be guessed (name it: --events "
                         "ENDPOINT)",
                         when->query_endpoint);
    WhenSubscription *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    s->when = when;
    s->silence_us =
        INT64_C(1000) * (options->silence_ms > 0 ? options->silence_ms : WHEN_SILENCE_MS);
    s->heard_us = clock_monotonic_us();
    int rc = open_live(s, options->progress);
    if (rc == 0) {
        s->replay = when_dealer(when);
        if (!s->replay)
            rc = -errno;
    }
    if (rc < 0)
        rc = error_set(err, -rc, EX_USAGE, "%s: %s", when->events_endpoint, zmq_strerror(-rc));
    else
        rc = find_begin(s, options, err);
    if (rc < 0) {
        when_unsubscribe(s);
        return rc;
    }
    *subscription = s;
    return 0;
}

/* Sends a ReplayRequest, if one can be sent now. */
static int ask_replay(WhenSubscription *s)
{
    When__ReplayRequest replay = WHEN__REPLAY_REQUEST__INIT;
    replay.after_sequence = s->sequence;
    When__Request request = WHEN__REQUEST__INIT;
    request.version = WIRE_VERSION;
    request.request_id = s->when->next_request_id++;
    request.deadline_ms = REPLAY_MS;
    request.body_case = WHEN__REQUEST__BODY_REPLAY;
    request.replay = &replay;
    int64_t now_us = clock_monotonic_us();
    int rc = wire_send(s->replay, NULL, 0, &request.base, NULL, 0);
    s->retry_us = now_us + INT64_C(1000) * RETRY_MS;
    if (rc == -EAGAIN)
        return 0; /* whend is away; tried again */
    if (rc < 0)
        return rc;
    s->asking = true;
    s->request_id = request.request_id;
    s->asked_until_us = now_us + INT64_C(1000) * REPLAY_MS;
    return 0;
}

/* A message of `daemon_id` came. Is it another daemon than the one whose numbers we count? */
static int check_daemon(WhenSubscription *s, const char *daemon_id, WhenNotice *notice)
{
    if (strcmp(s->daemon_id, daemon_id) == 0)
        return 0;
    char *copy = strdup(daemon_id);
    if (!copy)
        return -ENOMEM;
    free(s->daemon_id);
    s->daemon_id = copy;
    s->sequence = 0;
    s->missing = true;
    s->asking = false;
    forget_response(s);
    *notice = (WhenNotice){.kind = WHEN_NEW_DAEMON, .daemon_id = s->daemon_id};
    return 0;
}

/* Hands on the next message of the replay that is at hand; notice->kind stays 0 when there is none
 * (any more). */
static int next_replayed(WhenSubscription *s, WhenNotice *notice, Error *err)
{
    When__ReplayResponse *replay = s->response->replay;
    int rc = replay->daemon_id[0] ? check_daemon(s, replay->daemon_id, notice) : 0;
    if (rc < 0 || notice->kind)
        return rc;
    if (replay->forgotten_sequence > s->sequence) /* whend was told to forget them */
        s->sequence = replay->forgotten_sequence;
    while (s->cursor < replay->n_messages) {
        const When__EventMessage *message = replay->messages[s->cursor++];
        if (message->sequence <= s->sequence || !message->event)
            continue;
        if (message->sequence != s->sequence + 1)
            return error_set(
                err, EBADMSG, EX_PROTOCOL,
                "whend replays event %llu after %llu: those between are gone (its state "
                "is damaged)",
                (unsigned long long)message->sequence, (unsigned long long)s->sequence);
        s->sequence = message->sequence;
        *notice = (WhenNotice){.kind = WHEN_EVENT, .event = message};
        return 0;
    }
    if (s->response->last) {
        if (replay->last_sequence > s->sequence)
            return error_set(err, EBADMSG, EX_PROTOCOL,
                             "whend knows of event %llu but replays only up to %llu (its state is "
                             "damaged)",
                             (unsigned long long)replay->last_sequence,
                             (unsigned long long)s->sequence);
        s->asking = false;
        s->missing = false;
    }
    forget_response(s);
    return 0;
}

static int read_replay(WhenSubscription *s, Error *err)
{
    When__Response *response;
    int rc = when_take_response(s->when, s->replay, s->request_id, &response);
    if (rc == WIRE_NOTHING)
        return 0;
    if (rc < 0)
        return rc;
    s->heard_us = clock_monotonic_us();
    s->silent = false;
    if (response->body_case == WHEN__RESPONSE__BODY_ERROR) {
        /* Being busy passes; anything else does not get better by asking again. */
        s->asking = false;
        rc = response->error->exit_code == EX_TEMPFAIL ? 0 : when_remote_error(response, err);
    } else if (response->body_case == WHEN__RESPONSE__BODY_REPLAY) {
        s->response = response;
        s->cursor = 0;
        s->asked_until_us = clock_monotonic_us() + INT64_C(1000) * REPLAY_MS;
        return 0;
    }
    when__response__free_unpacked(response, NULL);
    return rc;
}

static int take_event(WhenSubscription *s, const uint8_t *body, size_t bytes, WhenNotice *notice)
{
    s->event = when__event_message__unpack(NULL, bytes, body);
    if (!s->event || !s->event->event || s->event->version != WIRE_VERSION)
        return 0; /* what it was shows as a gap */
    int rc = check_daemon(s, s->event->daemon_id, notice);
    if (rc < 0 || notice->kind)
        return rc;
    if (s->event->sequence == s->sequence + 1) {
        s->sequence++;
        *notice = (WhenNotice){.kind = WHEN_EVENT, .event = s->event};
    } else if (s->event->sequence > s->sequence) {
        s->missing = true;
    }
    return 0;
}

static int take_heartbeat(WhenSubscription *s, const uint8_t *body, size_t bytes,
                          WhenNotice *notice, Error *err)
{
    s->heartbeat = when__heartbeat__unpack(NULL, bytes, body);
    if (!s->heartbeat)
        return 0;
    int rc = check_daemon(s, s->heartbeat->daemon_id, notice);
    if (rc < 0 || notice->kind)
        return rc;
    if (s->heartbeat->version != WIRE_VERSION)
        return error_set(err, EPROTO, EX_PROTOCOL,
                         "whend publishes version %u of the protocol, this client reads %d (update "
                         "the older one)",
                         s->heartbeat->version, WIRE_VERSION);
    if (s->heartbeat->last_sequence > s->sequence)
        s->missing = true;
    else
        *notice = (WhenNotice){.kind = WHEN_HEARTBEAT, .heartbeat = s->heartbeat};
    return 0;
}

/* Reads live messages until one is worth a notice, something is missing, or none waits. */
static int read_live(WhenSubscription *s, WhenNotice *notice, Error *err)
{
    while (!notice->kind && !s->missing) {
        char topic[WIRE_MAX_TOPIC_BYTES + 1];
        int rc = wire_receive_published(s->live, topic, &s->message);
        if (rc == WIRE_REFUSED)
            continue;
        if (rc != 0)
            return rc == WIRE_NOTHING ? 0 : rc;
        s->heard_us = clock_monotonic_us();
        s->silent = false;
        forget_notice(s);
        size_t bytes;
        const uint8_t *body = wire_body(&s->message, &bytes);
        if (strncmp(topic, "event/", 6) == 0) {
            rc = take_event(s, body, bytes, notice);
        } else if (strcmp(topic, "heartbeat") == 0) {
            rc = take_heartbeat(s, body, bytes, notice, err);
        } else if (strncmp(topic, "progress", 8) == 0) {
            s->progress = when__progress__unpack(NULL, bytes, body);
            if (s->progress)
                *notice = (WhenNotice){.kind = WHEN_PROGRESS, .progress = s->progress};
        }
        wire_message_clear(&s->message);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* One look at everything that is there already. */
static int step(WhenSubscription *s, WhenNotice *notice, Error *err)
{
    int64_t now_us = clock_monotonic_us();
    int rc = 0;
    if (s->asking && now_us >= s->asked_until_us)
        s->asking = false;
    if (s->asking && !s->response)
        rc = read_replay(s, err);
    if (rc == 0 && s->response)
        rc = next_replayed(s, notice, err);
    if (rc == 0 && !notice->kind && !s->missing)
        rc = read_live(s, notice, err);
    if (rc == 0 && !notice->kind && s->missing && !s->asking && now_us >= s->retry_us)
        rc = ask_replay(s);
    if (rc == 0 && !notice->kind && !s->silent && now_us - s->heard_us > s->silence_us) {
        s->silent = true;
        notice->kind = WHEN_SILENT;
    }
    return rc < 0 ? error_set(err, -rc, EX_OSERR, "%s: %s", s->when->events_endpoint,
                              zmq_strerror(-rc))
                  : 0;
}

int when_next(WhenSubscription *s, int timeout_ms, WhenNotice *notice, Error *err)
{
    int64_t deadline_us =
        timeout_ms < 0 ? INT64_MAX : clock_monotonic_us() + INT64_C(1000) * timeout_ms;
    forget_notice(s);
    *notice = (WhenNotice){0};
    for (;;) {
        int rc = step(s, notice, err);
        if (rc < 0 || notice->kind)
            return rc;
        if (s->response)
            continue;
        int64_t now_us = clock_monotonic_us(), wake_us = deadline_us;
        if (now_us >= deadline_us) {
            notice->kind = WHEN_NOTHING;
            return 0;
        }
        /* While something is missing only the replay counts; else only what is live. */
        zmq_pollitem_t item = {.socket = s->missing ? s->replay : s->live, .events = ZMQ_POLLIN};
        int64_t due_us = !s->missing ? INT64_MAX : s->asking ? s->asked_until_us : s->retry_us;
        if (due_us < wake_us)
            wake_us = due_us;
        if (!s->silent && s->heard_us + s->silence_us + 1000 < wake_us)
            wake_us = s->heard_us + s->silence_us + 1000;
        if (zmq_poll(&item, 1, when_ms_until(wake_us)) < 0) {
            if (errno != EINTR)
                return error_set(err, errno, EX_OSERR, "%s: %s", s->when->events_endpoint,
                                 zmq_strerror(errno));
            /* A signal may be why the caller wants to come back. */
            notice->kind = WHEN_NOTHING;
            return 0;
        }
    }
}

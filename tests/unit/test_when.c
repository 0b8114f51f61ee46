/*
 * libwhen against a service that loses, repeats and reorders what it publishes, answers late or not
 * at all, goes away and comes back. The service runs in a thread of its own and does what it is
 * told over a PAIR socket, one order at a time, so nothing here depends on timing.
 */
#include "client/when.h"

#include "base/mem.h"
#include "proto/wire.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE = 3 }; /* messages of one ReplayResponse */

static char dir[] = "/tmp/when-client-XXXXXX";
static char query_endpoint[64], events_endpoint[64];

typedef struct Service {
    pthread_t thread;
    void *context, *orders; /* PAIR, the test's end */
    /* of the thread */
    void *inbox, *router, *pub;
    uint64_t committed;
    const char *daemon_id;
    bool mute;        /* requests are read and not answered */
    bool stale_first; /* each answer comes behind one to another request */
    int errors;       /* so many requests are answered with EX_TEMPFAIL */
    uint64_t skip;    /* this event is missing in replays: a damaged store */
    int replays;
} Service;

typedef struct Order {
    enum {
        COMMIT,  /* n events, not published: lost on the way */
        PUBLISH, /* n events, committed and published */
        REPEAT,  /* the last n once more */
        HEARTBEAT,
        PROGRESS,
        GARBAGE, /* n damaged messages */
        MUTE,
        STALE,
        ERRORS,
        SKIP,
        ANOTHER, /* a new daemon with n events */
        CLOSE,   /* the sockets go away */
        OPEN,    /* and come back */
        COUNT,   /* answers how many replays there were */
        QUIT
    } what;
    uint64_t n;
} Order;

static void open_sockets(Service *s)
{
    s->router = zmq_socket(s->context, ZMQ_ROUTER);
    s->pub = zmq_socket(s->context, ZMQ_PUB);
    wire_socket_init(s->router, 0, 1000);
    wire_socket_init(s->pub, 0, 10000);
    Error err = {0};
    if (wire_bind(s->router, query_endpoint, &err) < 0 ||
        wire_bind(s->pub, events_endpoint, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
}

static void fill(const Service *s, uint64_t sequence, When__EventMessage *message,
                 When__Event *event)
{
    when__event_message__init(message);
    when__event__init(event);
    event->id = "e";
    event->camera = sequence % 2 ? "gate" : "yard";
    event->watch = "w";
    event->revision = 1;
    event->start_us = (int64_t)sequence * 1000;
    message->version = WIRE_VERSION;
    message->daemon_id = (char *)s->daemon_id;
    message->sequence = sequence;
    message->event = event;
}

static void publish(const Service *s, uint64_t sequence)
{
    When__EventMessage message;
    When__Event event;
    fill(s, sequence, &message, &event);
    wire_publish(s->pub, "event/gate/w", &message.base);
}

static void respond(const Service *s, const WireMessage *m, When__Response *response)
{
    if (s->stale_first) {
        When__Response stale = *response;
        stale.request_id--;
        wire_send(s->router, m->id, m->id_bytes, &stale.base, NULL, 0);
        zmq_send(s->router, m->id, m->id_bytes, ZMQ_SNDMORE);
        zmq_send(s->router, "\xff\xff\xff", 3, 0); /* no protobuf */
    }
    wire_send(s->router, m->id, m->id_bytes, &response->base, NULL, 0);
}

static void respond_replay(Service *s, const WireMessage *m, When__Response *response,
                           uint64_t after)
{
    s->replays++;
    uint64_t next = after ? after : 1; /* one that the client has already */
    do {
        When__EventMessage messages[PAGE], *list[PAGE];
        When__Event events[PAGE];
        When__ReplayResponse replay = WHEN__REPLAY_RESPONSE__INIT;
        for (; replay.n_messages < PAGE && next <= s->committed; next++) {
            if (next == s->skip)
                continue;
            fill(s, next, &messages[replay.n_messages], &events[replay.n_messages]);
            list[replay.n_messages] = &messages[replay.n_messages];
            replay.n_messages++;
        }
        replay.messages = list;
        replay.daemon_id = (char *)s->daemon_id;
        replay.last_sequence = s->committed;
        response->body_case = WHEN__RESPONSE__BODY_REPLAY;
        response->replay = &replay;
        response->last = next > s->committed;
        respond(s, m, response);
    } while (next <= s->committed);
}

static void serve(Service *s, WireMessage *m)
{
    size_t bytes;
    const uint8_t *body = wire_body(m, &bytes);
    When__Request *request = when__request__unpack(NULL, bytes, body);
    When__Response response = WHEN__RESPONSE__INIT;
    response.version = WIRE_VERSION;
    response.request_id = request->request_id;
    response.last = true;
    When__ErrorResponse error = WHEN__ERROR_RESPONSE__INIT;
    When__StatusResponse status = WHEN__STATUS_RESPONSE__INIT;
    if (s->errors > 0) {
        s->errors--;
        error.exit_code = EX_TEMPFAIL;
        error.text = "busy";
        response.body_case = WHEN__RESPONSE__BODY_ERROR;
        response.error = &error;
        respond(s, m, &response);
    } else if (s->mute) {
        /* nothing */
    } else if (request->body_case == WHEN__REQUEST__BODY_REPLAY) {
        respond_replay(s, m, &response, request->replay->after_sequence);
    } else if (request->body_case == WHEN__REQUEST__BODY_STATUS) {
        status.daemon_id = (char *)s->daemon_id;
        status.last_sequence = s->committed;
        response.body_case = WHEN__RESPONSE__BODY_STATUS;
        response.status = &status;
        respond(s, m, &response);
    } else {
        error.exit_code = EX_DATAERR;
        error.text = "what is this?";
        response.body_case = WHEN__RESPONSE__BODY_ERROR;
        response.error = &error;
        respond(s, m, &response);
    }
    when__request__free_unpacked(request, NULL);
}

static void obey(Service *s, const Order *order)
{
    When__Heartbeat heartbeat = WHEN__HEARTBEAT__INIT;
    When__Progress progress = WHEN__PROGRESS__INIT;
    switch (order->what) {
    case COMMIT:
        s->committed += order->n;
        break;
    case PUBLISH:
        for (uint64_t i = 0; i < order->n; i++)
            publish(s, ++s->committed);
        break;
    case REPEAT:
        for (uint64_t i = 0; i < order->n; i++)
            publish(s, s->committed - i);
        break;
    case HEARTBEAT:
        heartbeat.version = WIRE_VERSION;
        heartbeat.daemon_id = (char *)s->daemon_id;
        heartbeat.last_sequence = s->committed;
        wire_publish(s->pub, "heartbeat", &heartbeat.base);
        break;
    case PROGRESS:
        progress.version = WIRE_VERSION;
        progress.camera = "gate";
        wire_publish(s->pub, "progress", &progress.base);
        break;
    case GARBAGE:
        for (uint64_t i = 0; i < order->n; i++) {
            zmq_send(s->pub, "event/x/y", 9, ZMQ_SNDMORE);
            zmq_send(s->pub, "\xff\xff\xff", 3, 0);
            zmq_send(s->pub, "event/alone", 11, 0);
        }
        break;
    case MUTE:
        s->mute = order->n;
        break;
    case STALE:
        s->stale_first = order->n;
        break;
    case ERRORS:
        s->errors = (int)order->n;
        break;
    case SKIP:
        s->skip = order->n;
        break;
    case ANOTHER:
        s->daemon_id = "second";
        s->committed = order->n;
        break;
    case CLOSE:
        zmq_close(s->router);
        zmq_close(s->pub);
        s->router = s->pub = NULL;
        break;
    case OPEN:
        open_sockets(s);
        break;
    case COUNT:
    case QUIT:
        break;
    }
}

static void *run_service(void *argument)
{
    Service *s = argument;
    open_sockets(s);
    zmq_send(s->inbox, &s->replays, sizeof(s->replays), 0);
    WireMessage m = {0};
    for (;;) {
        zmq_pollitem_t items[] = {{.socket = s->inbox, .events = ZMQ_POLLIN},
                                  {.socket = s->router, .events = ZMQ_POLLIN}};
        if (zmq_poll(items, s->router ? 2 : 1, -1) < 0)
            continue;
        if (s->router && (items[1].revents & ZMQ_POLLIN))
            while (wire_receive(s->router, true, &m) == 0)
                serve(s, &m);
        if (!(items[0].revents & ZMQ_POLLIN))
            continue;
        Order order;
        zmq_recv(s->inbox, &order, sizeof(order), 0);
        obey(s, &order);
        zmq_send(s->inbox, &s->replays, sizeof(s->replays), 0);
        if (order.what == QUIT)
            break;
    }
    wire_message_deinit(&m);
    zmq_close(s->router);
    zmq_close(s->pub);
    zmq_close(s->inbox);
    return NULL;
}

static int tell(Service *s, int what, uint64_t n)
{
    Order order = {.n = n};
    order.what = what;
    int replays;
    assert_int_equal(zmq_send(s->orders, &order, sizeof(order), 0), sizeof(order));
    assert_int_equal(zmq_recv(s->orders, &replays, sizeof(replays), 0), sizeof(replays));
    return replays;
}

static void start(Service *s)
{
    *s = (Service){.daemon_id = "first", .context = zmq_ctx_new()};
    s->orders = zmq_socket(s->context, ZMQ_PAIR);
    s->inbox = zmq_socket(s->context, ZMQ_PAIR);
    assert_int_equal(zmq_bind(s->orders, "inproc://orders"), 0);
    assert_int_equal(zmq_connect(s->inbox, "inproc://orders"), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, run_service, s), 0);
    int ready;
    assert_int_equal(zmq_recv(s->orders, &ready, sizeof(ready), 0), sizeof(ready));
}

static void stop(Service *s)
{
    tell(s, QUIT, 0);
    pthread_join(s->thread, NULL);
    zmq_close(s->orders);
    zmq_ctx_term(s->context);
}

static When *connect_to_service(void)
{
    When *when;
    Error err = {0};
    if (when_open(&(WhenOptions){.query_endpoint = query_endpoint}, &when, &err) < 0)
        fail_msg("%s", err.text);
    return when;
}

static WhenSubscription *subscribe(When *when, const WhenSubscribeOptions *options)
{
    WhenSubscription *subscription;
    Error err = {0};
    if (when_subscribe(when, options, &subscription, &err) < 0)
        fail_msg("%s", err.text);
    return subscription;
}

/* The next notice that is no heartbeat. */
static WhenNoticeKind next(WhenSubscription *s, WhenNotice *notice)
{
    Error err = {0};
    do {
        if (when_next(s, 20000, notice, &err) < 0)
            fail_msg("%s", err.text);
    } while (notice->kind == WHEN_HEARTBEAT);
    return notice->kind;
}

static void expect_events(WhenSubscription *s, uint64_t first, uint64_t last)
{
    for (uint64_t sequence = first; sequence <= last; sequence++) {
        WhenNotice notice;
        assert_int_equal(next(s, &notice), WHEN_EVENT);
        assert_int_equal(notice.event->sequence, sequence);
        assert_int_equal(notice.event->event->start_us, sequence * 1000);
        assert_int_equal(when_sequence(s), sequence);
    }
}

/* Heartbeats until one has got through: the SUB is connected then, and all up to it was handed on.
 */
static void wait_level(Service *service, WhenSubscription *s)
{
    for (;;) {
        tell(service, HEARTBEAT, 0);
        WhenNotice notice;
        Error err = {0};
        assert_int_equal(when_next(s, 20, &notice, &err), 0);
        if (notice.kind == WHEN_HEARTBEAT)
            return;
        assert_true(notice.kind == WHEN_NOTHING || notice.kind == WHEN_SILENT);
    }
}

static void test_replay_then_live(void **state)
{
    (void)state;
    Service service;
    start(&service);
    tell(&service, COMMIT, 10);
    When *when = connect_to_service();
    WhenSubscription *s = subscribe(when, &(WhenSubscribeOptions){.after_sequence = 2});
    expect_events(s, 3, 10);
    wait_level(&service, s);
    tell(&service, PUBLISH, 5);
    expect_events(s, 11, 15);
    assert_int_equal(tell(&service, COUNT, 0), 1);
    when_unsubscribe(s);
    when_free(when);
    stop(&service);
}

static void test_from_now(void **state)
{
    (void)state;
    Service service;
    start(&service);
    tell(&service, COMMIT, 7);
    When *when = connect_to_service();
    WhenSubscription *s =
        subscribe(when, &(WhenSubscribeOptions){.from_now = true, .progress = true});
    assert_int_equal(when_sequence(s), 7);
    wait_level(&service, s);
    tell(&service, PROGRESS, 0);
    WhenNotice notice;
    assert_int_equal(next(s, &notice), WHEN_PROGRESS);
    assert_string_equal(notice.progress->camera, "gate");
    tell(&service, PUBLISH, 1);
    expect_events(s, 8, 8);
    when_unsubscribe(s);
    when_free(when);
    stop(&service);
}

/* What is lost is noticed by the next event or by a heartbeat; what is said twice is handed on
 * once. */
static void test_lost_and_repeated(void **state)
{
    (void)state;
    Service service;
    start(&service);
    When *when = connect_to_service();
    WhenSubscription *s = subscribe(when, &(WhenSubscribeOptions){0});
    wait_level(&service, s);
    tell(&service, PUBLISH, 2);
    tell(&service, COMMIT, 4); /* lost */
    tell(&service, PUBLISH, 1);
    expect_events(s, 1, 7);
    tell(&service, REPEAT, 5);
    tell(&service, GARBAGE, 3);
    tell(&service, COMMIT, 2); /* lost, and nothing follows but a heartbeat */
    tell(&service, HEARTBEAT, 0);
    expect_events(s, 8, 9);
    tell(&service, PUBLISH, 1);
    expect_events(s, 10, 10);
    assert_int_equal(tell(&service, COUNT, 0), 2);
    when_unsubscribe(s);
    when_free(when);
    stop(&service);
}

static void test_stale_answers_and_a_busy_service(void **state)
{
    (void)state;
    Service service;
    start(&service);
    tell(&service, COMMIT, 8);
    tell(&service, STALE, 1);
    When *when = connect_to_service();
    WhenSubscription *s = subscribe(when, &(WhenSubscribeOptions){0});
    tell(&service, ERRORS, 2); /* both tried again */
    expect_events(s, 1, 8);
    when_unsubscribe(s);
    when_free(when);
    stop(&service);
}

/* The service goes away and comes back with more events; the subscription goes on. */
static void test_restart(void **state)
{
    (void)state;
    Service service;
    start(&service);
    When *when = connect_to_service();
    WhenSubscription *s = subscribe(when, &(WhenSubscribeOptions){.silence_ms = 50});
    wait_level(&service, s);
    tell(&service, PUBLISH, 3);
    expect_events(s, 1, 3);
    tell(&service, CLOSE, 0);
    WhenNotice notice;
    assert_int_equal(next(s, &notice), WHEN_SILENT);
    Error err = {0};
    assert_int_equal(when_next(s, 80, &notice, &err), 0); /* said once */
    assert_int_equal(notice.kind, WHEN_NOTHING);
    tell(&service, COMMIT, 4);
    tell(&service, OPEN, 0);
    do {
        tell(&service, HEARTBEAT, 0);
        assert_int_equal(when_next(s, 20, &notice, &err), 0);
    } while (notice.kind != WHEN_EVENT);
    assert_int_equal(notice.event->sequence, 4);
    expect_events(s, 5, 7);
    when_unsubscribe(s);
    when_free(when);
    stop(&service);
}

static void test_another_daemon(void **state)
{
    (void)state;
    Service service;
    start(&service);
    When *when = connect_to_service();
    WhenSubscription *s = subscribe(when, &(WhenSubscribeOptions){0});
    wait_level(&service, s);
    tell(&service, PUBLISH, 9);
    expect_events(s, 1, 9);
    tell(&service, ANOTHER, 4);
    tell(&service, HEARTBEAT, 0);
    WhenNotice notice;
    assert_int_equal(next(s, &notice), WHEN_NEW_DAEMON);
    assert_string_equal(notice.daemon_id, "second");
    expect_events(s, 1, 4);
    when_unsubscribe(s);

    /* Resumed with the old one's number and id: the same. Without the id: refused. */
    s = subscribe(when, &(WhenSubscribeOptions){.after_sequence = 9, .daemon_id = "first"});
    do
        tell(&service, HEARTBEAT, 0);
    while (when_next(s, 20, &notice, NULL) == 0 && notice.kind == WHEN_NOTHING);
    assert_int_equal(notice.kind, WHEN_NEW_DAEMON);
    expect_events(s, 1, 4);
    when_unsubscribe(s);
    Error err = {0};
    assert_int_equal(when_subscribe(when, &(WhenSubscribeOptions){.after_sequence = 9}, &s, &err),
                     -ERANGE);
    assert_int_equal(err.exit_code, EX_DATAERR);
    when_free(when);
    stop(&service);
}

static void test_a_damaged_store(void **state)
{
    (void)state;
    for (uint64_t skip = 4; skip <= 6; skip += 2) { /* in the middle, at the end */
        Service service;
        start(&service);
        tell(&service, COMMIT, 6);
        tell(&service, SKIP, skip);
        When *when = connect_to_service();
        WhenSubscription *s = subscribe(when, &(WhenSubscribeOptions){0});
        expect_events(s, 1, skip - 1);
        WhenNotice notice;
        Error err = {0};
        assert_int_equal(when_next(s, 20000, &notice, &err), -EBADMSG);
        assert_int_equal(err.exit_code, EX_PROTOCOL);
        when_unsubscribe(s);
        when_free(when);
        stop(&service);
    }
}

static int count(const When__Response *response, void *context)
{
    (void)response;
    return ++*(int *)context > 1 ? -ECANCELED : 0;
}

static void test_requests(void **state)
{
    (void)state;
    Service service;
    start(&service);
    tell(&service, STALE, 1);
    tell(&service, COMMIT, 7); /* three pages */
    When *when = connect_to_service();
    When__ReplayRequest replay = WHEN__REPLAY_REQUEST__INIT;
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_REPLAY;
    request.replay = &replay;
    Error err = {0};
    int n = -2;
    assert_int_equal(when_request(when, &request, 0, count, &n, &err), 0);
    assert_int_equal(n, 1);
    /* A sink that has enough; what comes later does not disturb the next request. */
    n = 0;
    assert_int_equal(when_request(when, &request, 0, count, &n, &err), -ECANCELED);
    n = -2;
    assert_int_equal(when_request(when, &request, 0, count, &n, &err), 0);
    assert_int_equal(n, 1);

    When__AskRequest ask = WHEN__ASK_REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_ASK;
    request.ask = &ask;
    assert_int_equal(when_request(when, &request, 0, count, &n, &err), -EREMOTEIO);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_string_equal(err.text, "what is this?");

    error_clear(&err);
    tell(&service, MUTE, 1);
    assert_int_equal(when_request(when, &request, 50, count, &n, &err), -ETIMEDOUT);
    assert_int_equal(err.exit_code, EX_UNAVAILABLE);

    _cleanup_free_ char *text = malloc(WIRE_MAX_MESSAGE_BYTES + 1);
    memset(text, 'x', WIRE_MAX_MESSAGE_BYTES);
    text[WIRE_MAX_MESSAGE_BYTES] = '\0';
    ask.question = text;
    error_clear(&err);
    assert_int_equal(when_request(when, &request, 50, count, &n, &err), -EMSGSIZE);
    assert_int_equal(err.exit_code, EX_DATAERR);
    when_free(when);
    stop(&service);
}

static void test_nobody(void **state)
{
    (void)state;
    When *when;
    Error err = {0};
    unlink(query_endpoint + 6);
    assert_int_equal(when_open(&(WhenOptions){.query_endpoint = query_endpoint}, &when, &err),
                     -ENOENT);
    assert_int_equal(err.exit_code, EX_UNAVAILABLE);
    assert_non_null(strstr(err.text, "query.ipc"));
    assert_null(when);
    error_clear(&err);
    assert_true(when_open(&(WhenOptions){.query_endpoint = "nonsense"}, &when, &err) < 0);
    assert_int_equal(err.exit_code, EX_USAGE);
    error_clear(&err);
    assert_int_equal(
        when_open(&(WhenOptions){.query_endpoint = "tcp://127.0.0.1:9", .connect_ms = 50}, &when,
                  &err),
        -ETIMEDOUT);
    assert_int_equal(err.exit_code, EX_UNAVAILABLE);
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(query_endpoint + 6);
    unlink(events_endpoint + 6);
    return rmdir(dir);
}

int main(void)
{
    if (!mkdtemp(dir))
        return EX_OSERR;
    snprintf(query_endpoint, sizeof(query_endpoint), "ipc://%s/query.ipc", dir);
    snprintf(events_endpoint, sizeof(events_endpoint), "ipc://%s/events.ipc", dir);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay_then_live),
        cmocka_unit_test(test_from_now),
        cmocka_unit_test(test_lost_and_repeated),
        cmocka_unit_test(test_stale_answers_and_a_busy_service),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_another_daemon),
        cmocka_unit_test(test_a_damaged_store),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, remove_dir);
}

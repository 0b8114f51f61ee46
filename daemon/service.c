/* The ROUTER that clients ask. See service.h. */
#include "daemon/service.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/answer_list.h"
#include "daemon/peers.h"
#include "daemon/replays.h"
#include "daemon/requests.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS_A_TURN 64

struct Service {
    void *socket;
    Index *index;
    ServiceHooks hooks;
    Peers *peers;
    Outbox *outbox;
    int64_t now_us; /* of this turn of the loop */
    WireMessage message;
    Replays *replays;
    uint64_t bad_messages, dropped_clients;
};

int service_open(void *zmq, const char *endpoint, Index *index, const ServiceHooks *hooks,
                 Service **service, Error *err)
{
    Service *s = calloc(1, sizeof *s);
    if (!s || !(s->peers = peers_new()) || !(s->socket = zmq_socket(zmq, ZMQ_ROUTER))) {
        service_free(s);
        error_set(err, ENOMEM, EX_OSERR, "no memory for the query socket");
        return -ENOMEM;
    }
    if (!(s->outbox = outbox_new(s->socket)) || !(s->replays = replays_new(s, index, s->outbox))) {
        service_free(s);
        return error_set(err, ENOMEM, EX_OSERR, "no memory for the query socket");
    }
    int r = wire_socket_init(s->socket, 500, OUTBOX_QUEUE);
    if (r == 0)
        r = wire_bind(s->socket, endpoint, err);
    if (r < 0) {
        error_set(err, -r, EX_OSERR, "%s: %s", endpoint, strerror(-r));
        service_free(s);
        return r;
    }
    s->index = index;
    s->hooks = *hooks;
    *service = s;
    return 0;
}

void service_free(Service *s)
{
    if (!s)
        return;
    replays_free(s->replays);
    wire_message_deinit(&s->message);
    outbox_free(s->outbox);
    if (s->socket)
        zmq_close(s->socket);
    peers_free(s->peers);
    free(s);
}

int service_open_remote(Service *s, const char *endpoint, const Keys *keys, Error *err)
{
    /* Options count for what is bound after them. */
    int r = keys_protect(keys, s->socket);
    if (r == 0)
        r = wire_socket_limit(s->socket, WIRE_MAX_MESSAGE_BYTES);
    if (r < 0)
        return error_set(err, -r, EX_UNAVAILABLE, "%s: no CURVE: %s", endpoint, zmq_strerror(-r));
    return wire_bind(s->socket, endpoint, err);
}

void *service_socket(Service *s)
{
    return s->socket;
}

uint64_t service_bad_messages(const Service *s)
{
    return s->bad_messages;
}

/* May a client be answered? One from elsewhere only while its key is allowed. */
static bool may_hear(const Service *s, const uint8_t *id, size_t id_bytes)
{
    const char *key = peers_user(s->peers, id, id_bytes);
    return !key || (s->hooks.allows && s->hooks.allows(key, s->hooks.context));
}

static int respond(Service *s, const uint8_t *id, size_t id_bytes, uint64_t request_id, bool last,
                   When__Response *response)
{
    response->version = WIRE_VERSION;
    response->request_id = request_id;
    response->last = last;
    if (!may_hear(s, id, id_bytes) && response->body_case != WHEN__RESPONSE__BODY_ERROR)
        return -EACCES;
    return outbox_send(s->outbox, id, id_bytes, &response->base, s->now_us);
}

bool service_waits(const Service *s)
{
    return outbox_bytes(s->outbox) > 0;
}

int service_respond(Service *s, const ServiceClient *client, bool last, When__Response *response)
{
    return respond(s, client->id, client->id_bytes, client->request_id, last, response);
}

void service_refuse(Service *s, const ServiceClient *client, int exit_code, const char *text)
{
    When__ErrorResponse body = WHEN__ERROR_RESPONSE__INIT;
    body.exit_code = exit_code;
    body.text = (char *)text;
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_ERROR;
    response.error = &body;
    service_respond(s, client, true, &response);
}

/* To the client whose message is being worked on. */
static void answer(Service *s, const When__Request *request, When__Response *response)
{
    int r = respond(s, s->message.id, s->message.id_bytes, request->request_id, true, response);
    if (r < 0) {
        s->dropped_clients++;
        log_warn("service", "a client did not take its answer (%s): dropped=%" PRIu64, strerror(-r),
                 s->dropped_clients);
    }
}

static void answer_error(Service *s, const When__Request *request, int exit_code, const char *text)
{
    When__ErrorResponse body = WHEN__ERROR_RESPONSE__INIT;
    body.exit_code = exit_code;
    body.text = (char *)text;
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_ERROR;
    response.error = &body;
    answer(s, request, &response);
}

static void answer_fault(Service *s, const When__Request *request, int r, const Error *err)
{
    const char *text = err->text[0] ? err->text : r == -ENOMEM ? "no memory" : strerror(-r);
    log_error("service", "request not answered: %s", text);
    answer_error(s, request, err->exit_code ? err->exit_code : EX_OSERR, text);
}

static bool names_fit(char *const *names, size_t n)
{
    if (n > SERVICE_MAX_NAMES)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strlen(names[i]) >= EVENT_NAME_BYTES)
            return false;
    return true;
}

static bool check_names(Service *s, const When__Request *request, char *const *cameras,
                        size_t n_cameras, char *const *watches, size_t n_watches)
{
    if (names_fit(cameras, n_cameras) && names_fit(watches, n_watches))
        return true;
    answer_error(s, request, EX_DATAERR,
                 "too many or too long names of cameras or watches: at most 64 names of 63 bytes");
    return false;
}

static IndexFilter make_filter(char **cameras, size_t n_cameras, char **watches, size_t n_watches,
                               int64_t since_us, int64_t until_us, uint32_t limit)
{
    return (IndexFilter){.cameras = (const char *const *)cameras,
                         .n_cameras = n_cameras,
                         .watches = (const char *const *)watches,
                         .n_watches = n_watches,
                         .since_us = since_us,
                         .until_us = until_us,
                         .limit = limit && limit < SERVICE_MAX_EVENTS ? limit : SERVICE_MAX_EVENTS};
}

static ServiceClient client_of(const Service *s, const When__Request *request)
{
    ServiceClient client = {.id_bytes = s->message.id_bytes, .request_id = request->request_id};
    memcpy(client.id, s->message.id, s->message.id_bytes);
    return client;
}

/* true: the request is owned by the replay now. */
static bool begin_replay(Service *s, When__Request *request)
{
    const When__ReplayRequest *replay = request->replay;
    if (!check_names(s, request, replay->cameras, replay->n_cameras, replay->watches,
                     replay->n_watches))
        return false;
    ServiceClient client = client_of(s, request);
    return replays_begin(s->replays, &client, request);
}

static void handle_change(Service *s, const When__Request *request)
{
    ServiceClient client = client_of(s, request);
    if (s->hooks.change)
        s->hooks.change(&client, request, s->hooks.context);
    else
        answer_error(s, request, EX_UNAVAILABLE, "not to be had here");
}

/* Puts the bounds in the range's place; false: it was refused. */
static bool read_range(Service *s, const When__Request *request, const char *range,
                       const char *time_zone, int64_t *since_us, int64_t *until_us)
{
    Error err = {0};
    if (request_range(range, time_zone, since_us, until_us, &err) == 0)
        return true;
    answer_error(s, request, err.exit_code, err.text);
    return false;
}

static void handle_ask(Service *s, const When__Request *request)
{
    When__AskRequest *ask = request->ask;
    if (!check_names(s, request, ask->cameras, ask->n_cameras, NULL, 0))
        return;
    if (strlen(ask->question) > SERVICE_MAX_QUESTION_BYTES) {
        char text[160];
        snprintf(text, sizeof text,
                 "the question has %zu bytes, at most %d are read: ask it in a sentence",
                 strlen(ask->question), SERVICE_MAX_QUESTION_BYTES);
        answer_error(s, request, EX_DATAERR, text);
        return;
    }
    if (ask->question[strspn(ask->question, " \t\r\n")] == '\0') {
        answer_error(s, request, EX_DATAERR,
                     "the question is empty: ask for example \"when did a red car drive past?\"");
        return;
    }
    if (!read_range(s, request, ask->range, ask->time_zone, &ask->since_us, &ask->until_us))
        return;
    if (ask->mode == WHEN__ASK_MODE__ASK_MODE_DEEP) {
        handle_change(s, request);
        return;
    }
    IndexFilter filter = make_filter(ask->cameras, ask->n_cameras, NULL, 0, ask->since_us,
                                     ask->until_us, ask->limit);
    AnswerList list = {0};
    Error err = {0};
    int r = answer_list_ask(&list, s->index, ask->question, &filter, &err);
    if (r >= 0 && ask->mode == WHEN__ASK_MODE__ASK_MODE_AUTO && list.n_events == 0) {
        handle_change(s, request); /* what was examined already is not examined again */
    } else if (r >= 0) {
        When__AskResponse body;
        answer_list_message(&list, &body);
        body.since_us = ask->since_us;
        body.until_us = ask->until_us;
        When__Response response = WHEN__RESPONSE__INIT;
        response.body_case = WHEN__RESPONSE__BODY_ASK;
        response.ask = &body;
        answer(s, request, &response);
    } else {
        answer_fault(s, request, r, &err);
    }
    answer_list_deinit(&list);
}

static void handle_events(Service *s, const When__Request *request)
{
    When__EventsRequest *events = request->events;
    if (!check_names(s, request, events->cameras, events->n_cameras, events->watches,
                     events->n_watches) ||
        !read_range(s, request, events->range, events->time_zone, &events->since_us,
                    &events->until_us))
        return;
    IndexFilter filter =
        make_filter(events->cameras, events->n_cameras, events->watches, events->n_watches,
                    events->since_us, events->until_us, events->limit);
    AnswerList list = {0};
    Error err = {0};
    int r = index_events(s->index, &filter, answer_list_add_event, &list, &err);
    if (r >= 0)
        r = answer_list_fill(&list);
    if (r >= 0) {
        When__EventsResponse body = WHEN__EVENTS_RESPONSE__INIT;
        body.n_events = list.n_events;
        body.events = list.event_messages;
        body.since_us = events->since_us;
        body.until_us = events->until_us;
        When__Response response = WHEN__RESPONSE__INIT;
        response.body_case = WHEN__RESPONSE__BODY_EVENTS;
        response.events = &body;
        answer(s, request, &response);
    } else {
        answer_fault(s, request, r, &err);
    }
    answer_list_deinit(&list);
}

static void handle_coverage(Service *s, const When__Request *request)
{
    When__CoverageRequest *coverage = request->coverage;
    if (!check_names(s, request, coverage->cameras, coverage->n_cameras, coverage->watches,
                     coverage->n_watches) ||
        !read_range(s, request, coverage->range, coverage->time_zone, &coverage->since_us,
                    &coverage->until_us))
        return;
    IndexFilter filter =
        make_filter(coverage->cameras, coverage->n_cameras, coverage->watches, coverage->n_watches,
                    coverage->since_us, coverage->until_us, 0);
    AnswerList list = {0};
    Error err = {0};
    int r = answer_list_cover(&list, s->index, &filter, false, &err);
    if (r >= 0) {
        When__CoverageResponse body = WHEN__COVERAGE_RESPONSE__INIT;
        body.n_cameras = list.n_coverage;
        body.cameras = list.coverage;
        body.since_us = coverage->since_us;
        body.until_us = coverage->until_us;
        When__Response response = WHEN__RESPONSE__INIT;
        response.body_case = WHEN__RESPONSE__BODY_COVERAGE;
        response.coverage = &body;
        answer(s, request, &response);
    } else {
        answer_fault(s, request, r, &err);
    }
    answer_list_deinit(&list);
}

static void handle_status(Service *s, const When__Request *request)
{
    When__StatusResponse body = WHEN__STATUS_RESPONSE__INIT;
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_STATUS;
    response.status = &body;
    Error err = {0};
    int r = s->hooks.status(&body, s->hooks.context);
    if (r < 0)
        answer_fault(s, request, r, &err);
    else
        answer(s, request, &response);
}

static void handle_cameras(Service *s, const When__Request *request)
{
    When__CamerasResponse body = WHEN__CAMERAS_RESPONSE__INIT;
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_CAMERAS;
    response.cameras = &body;
    Error err = {0};
    int r = s->hooks.cameras(&body, s->hooks.context);
    if (r < 0)
        answer_fault(s, request, r, &err);
    else
        answer(s, request, &response);
}

static void handle_operation(Service *s, const When__Request *request)
{
    if (!s->hooks.operation) {
        answer_error(s, request, EX_UNAVAILABLE, "not offered here");
        return;
    }
    ServiceClient client = {.id_bytes = s->message.id_bytes, .request_id = request->request_id};
    memcpy(client.id, s->message.id, s->message.id_bytes);
    s->hooks.operation(&client, request, s->message.user[0] == '\0', s->hooks.context);
}

static void handle_media(Service *s, const When__Request *request)
{
    if (!s->hooks.media) {
        answer_error(s, request, EX_UNAVAILABLE, "clips and thumbnails are not to be had here");
        return;
    }
    ServiceClient client = client_of(s, request);
    s->hooks.media(&client, request, s->hooks.context);
}

/* --- requests --- */

static void handle(Service *s)
{
    size_t bytes;
    const uint8_t *data = wire_body(&s->message, &bytes);
    When__Request *request =
        s->message.n_pixels == 0 ? when__request__unpack(NULL, bytes, data) : NULL;
    if (!request) {
        s->bad_messages++;
        When__Request unknown = WHEN__REQUEST__INIT;
        answer_error(s, &unknown, EX_PROTOCOL, "not a request of this protocol (see query.proto)");
        return;
    }
    bool kept = false;
    peers_note(s->peers, s->message.id, s->message.id_bytes, s->message.user);
    if (!may_hear(s, s->message.id, s->message.id_bytes)) {
        answer_error(s, request, EX_NOPERM,
                     "your key was revoked (whend's owner allows it: whenctl key allow)");
    } else if (request->version != WIRE_VERSION) {
        char text[96];
        s->bad_messages++;
        snprintf(text, sizeof text, "protocol version %" PRIu32 " is not spoken here: use %d",
                 request->version, WIRE_VERSION);
        answer_error(s, request, EX_PROTOCOL, text);
    } else {
        switch (request->body_case) {
        case WHEN__REQUEST__BODY_ASK:
            handle_ask(s, request);
            break;
        case WHEN__REQUEST__BODY_EVENTS:
            handle_events(s, request);
            break;
        case WHEN__REQUEST__BODY_REPLAY:
            kept = begin_replay(s, request);
            break;
        case WHEN__REQUEST__BODY_STATUS:
            handle_status(s, request);
            break;
        case WHEN__REQUEST__BODY_CAMERAS:
            handle_cameras(s, request);
            break;
        case WHEN__REQUEST__BODY_COVERAGE:
            handle_coverage(s, request);
            break;
        case WHEN__REQUEST__BODY_BACKUP:
        case WHEN__REQUEST__BODY_KEYS:
            handle_operation(s, request);
            break;
        case WHEN__REQUEST__BODY_CANCEL:
        case WHEN__REQUEST__BODY_WATCHES:
        case WHEN__REQUEST__BODY_WATCH_PUT:
        case WHEN__REQUEST__BODY_WATCH_REMOVE:
        case WHEN__REQUEST__BODY_RELOAD:
            handle_change(s, request);
            break;
        case WHEN__REQUEST__BODY_CLIP:
        case WHEN__REQUEST__BODY_THUMBNAIL:
            handle_media(s, request);
            break;
        default:
            s->bad_messages++;
            answer_error(s, request, EX_PROTOCOL,
                         "a request that this version does not know: update whend");
        }
    }
    if (!kept)
        when__request__free_unpacked(request, NULL);
}

bool service_run(Service *s, int64_t now_us)
{
    int r = 0;
    s->now_us = now_us;
    outbox_run(s->outbox, now_us);
    for (int i = 0; i < REQUESTS_A_TURN; i++) {
        r = wire_receive(s->socket, true, &s->message);
        if (r == WIRE_NOTHING || r < 0)
            break;
        if (r == WIRE_REFUSED)
            s->bad_messages++;
        else
            handle(s);
        wire_message_clear(&s->message);
        outbox_run(s->outbox, now_us); /* one who asks fast and reads is given as fast */
    }
    bool more = replays_run(s->replays, now_us);
    return more || r == 0 || r == WIRE_REFUSED;
}

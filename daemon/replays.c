/* What was committed, once more. See replays.h. */
#include "daemon/replays.h"

#include "base/log.h"
#include "daemon/answer_list.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One that is on its way to its client. */
typedef struct Replay {
    ServiceClient client;
    uint64_t after;         /* sequence number: sent so far */
    When__Request *request; /* owns the names of the filter */
    int64_t stuck_us;       /* since when its client has not read what it has; 0: it has */
} Replay;

struct Replays {
    Service *service;
    Index *index;
    const Outbox *outbox;
    Replay list[REPLAYS_MAX]; /* [n] */
    size_t n;
    uint64_t dropped;
};

Replays *replays_new(Service *service, Index *index, const Outbox *outbox)
{
    Replays *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->service = service;
    r->index = index;
    r->outbox = outbox;
    return r;
}

void replays_free(Replays *r)
{
    for (size_t i = 0; r && i < r->n; i++)
        when__request__free_unpacked(r->list[i].request, NULL);
    free(r);
}

bool replays_begin(Replays *r, const ServiceClient *client, When__Request *request)
{
    uint64_t after = request->replay->after_sequence, last = index_last_sequence(r->index);
    if (after > last) {
        char text[160];
        snprintf(text, sizeof text,
                 "sequence %" PRIu64 " is beyond the last one, %" PRIu64
                 ": it is of another daemon (compare daemon_id); ask after 0",
                 after, last);
        service_refuse(r->service, client, EX_DATAERR, text);
        return false;
    }
    if (r->n == REPLAYS_MAX) {
        service_refuse(r->service, client, EX_TEMPFAIL,
                       "too many replays at the same time: try again");
        return false;
    }
    r->list[r->n++] = (Replay){.client = *client, .after = after, .request = request};
    return true;
}

/* It waits for its client: 0, or 1 when that took too long. */
static int wait_for_reader(Replays *r, Replay *replay, int error, int64_t now_us)
{
    if (replay->stuck_us == 0)
        replay->stuck_us = now_us;
    if (error == -EAGAIN && now_us - replay->stuck_us < OUTBOX_PATIENCE_US)
        return 0;
    log_warn("replays", "a client did not take its replay (%s): dropped=%" PRIu64, strerror(-error),
             ++r->dropped);
    return 1;
}

/* Sends what was found: 0, or why not. *last: no more follows. */
static int send_batch(Replays *r, Replay *replay, const AnswerList *list, bool *last, Error *err)
{
    When__ReplayResponse body = WHEN__REPLAY_RESPONSE__INIT;
    When__EventMessage messages[REPLAYS_BATCH], *pointers[REPLAYS_BATCH];
    size_t n = list->n_events < REPLAYS_BATCH ? list->n_events : REPLAYS_BATCH;
    *last = n < REPLAYS_BATCH;
    for (size_t i = 0; i < n; i++) {
        when__event_message__init(&messages[i]);
        messages[i].version = WIRE_VERSION;
        messages[i].daemon_id = (char *)index_daemon_id(r->index);
        messages[i].sequence = list->events[i].sequence;
        messages[i].committed_us = list->events[i].committed_us;
        messages[i].event = list->event_messages[i];
        pointers[i] = &messages[i];
    }
    body.n_messages = n;
    body.messages = pointers;
    body.last_sequence = *last ? index_last_sequence(r->index) : list->events[n - 1].sequence;
    body.daemon_id = (char *)index_daemon_id(r->index);
    int rc = index_forgotten(r->index, &body.forgotten_sequence, err);
    if (rc < 0)
        return rc;
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_REPLAY;
    response.replay = &body;
    rc = service_respond(r->service, &replay->client, *last, &response);
    if (rc == 0) {
        replay->after = body.last_sequence;
        replay->stuck_us = 0;
    }
    return rc;
}

/* The next batch. 0: go on later, 1: over. */
static int step(Replays *r, Replay *replay, int64_t now_us)
{
    if (outbox_waits_for(r->outbox, replay->client.id, replay->client.id_bytes))
        return wait_for_reader(r, replay, -EAGAIN, now_us);
    const When__ReplayRequest *request = replay->request->replay;
    IndexFilter filter = {.cameras = (const char *const *)request->cameras,
                          .n_cameras = request->n_cameras,
                          .watches = (const char *const *)request->watches,
                          .n_watches = request->n_watches,
                          .limit = REPLAYS_BATCH};
    AnswerList list = {0};
    Error err = {0};
    bool last = false;
    int rc = index_replay(r->index, replay->after, &filter, answer_list_add_event, &list, &err);
    if (rc >= 0)
        rc = answer_list_fill(&list);
    if (rc >= 0)
        rc = send_batch(r, replay, &list, &last, &err);
    answer_list_deinit(&list);
    if (rc == 0)
        return last;
    if (rc == -ENOMEM || err.text[0]) {
        service_refuse(r->service, &replay->client, err.exit_code ? err.exit_code : EX_OSERR,
                       err.text[0] ? err.text : "no memory");
        return 1;
    }
    return wait_for_reader(r, replay, rc, now_us);
}

bool replays_run(Replays *r, int64_t now_us)
{
    bool more = false;
    for (size_t i = r->n; i-- > 0;) {
        if (step(r, &r->list[i], now_us) == 0) {
            more = more || r->list[i].stuck_us == 0;
            continue;
        }
        when__request__free_unpacked(r->list[i].request, NULL);
        r->list[i] = r->list[--r->n];
    }
    return more;
}

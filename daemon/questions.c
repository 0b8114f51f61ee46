/* Deep asks. See questions.h. */
#include "daemon/questions.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/watch.h"
#include "daemon/daemon.h"
#include "daemon/watches.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_US     US_PER_S
#define PATIENCE_US     (10 * US_PER_S) /* for a client that does not take its last response */
#define DEADLINE_US     (3600 * US_PER_S)
#define MAX_DEADLINE_US (24 * 3600 * US_PER_S)

typedef struct Question {
    ServiceClient client;
    WatchConfig watch;
    int64_t since_us, until_us;
    uint32_t limit;
    int64_t deadline_us, progress_due_us;
    bool over;
    const char *stopped; /* why before its end; "": it came to it */
    int64_t stuck_us;    /* since when its last response is not taken; 0: it was not tried */
} Question;

struct Questions {
    Daemon *daemon;
    Question list[QUESTIONS_MAX]; /* [n], first come first */
    size_t n;
    const char *names[QUESTIONS_MAX];
    uint64_t dropped_clients;
};

Questions *questions_new(Daemon *daemon)
{
    Questions *q = calloc(1, sizeof *q);
    if (q)
        q->daemon = daemon;
    return q;
}

void questions_free(Questions *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->n; i++)
        watch_config_deinit(&q->list[i].watch);
    free(q);
}

const char *const *questions_names(const Questions *q, size_t *n)
{
    *n = q->n;
    return q->names;
}

const WatchConfig *questions_watch(const Questions *q, const char *name)
{
    for (size_t i = 0; i < q->n; i++)
        if (strcmp(q->list[i].watch.name, name) == 0)
            return &q->list[i].watch;
    return NULL;
}

static void set_names(Questions *q)
{
    for (size_t i = 0; i < q->n; i++)
        q->names[i] = q->list[i].watch.name;
}

static void commit(Questions *q, Batch *batch)
{
    if (committer_add(q->daemon->committer, batch, q->daemon->now_us) < 0)
        daemon_out_of_memory(q->daemon);
}

/* --- the end --- */

static void remove_question(Questions *q, size_t i)
{
    char name[EVENT_NAME_BYTES];
    snprintf(name, sizeof name, "%s", q->list[i].watch.name);
    watch_config_deinit(&q->list[i].watch);
    memmove(&q->list[i], &q->list[i + 1], (q->n - i - 1) * sizeof q->list[i]);
    q->n--;
    set_names(q);
    if (questions_watch(q, name))
        return; /* somebody else asks the same */
    archive_cancel_watch(q->daemon, name);
    Batch *batch = batch_new();
    watches_retire(q->daemon, batch);
    commit(q, batch);
}

static IndexFilter filter_of(const Question *question)
{
    return (IndexFilter){.cameras = (const char *const *)question->watch.cameras,
                         .n_cameras = question->watch.n_cameras,
                         .since_us = question->since_us,
                         .until_us = question->until_us,
                         .limit = question->limit};
}

static int respond(Questions *q, const Question *question, bool last, When__AskResponse *body)
{
    body->since_us = question->since_us;
    body->until_us = question->until_us;
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_ASK;
    response.ask = body;
    return service_respond(q->daemon->service, &question->client, last, &response);
}

static void fill_progress(const AnswerList *list, When__AskProgress *progress)
{
    for (size_t i = 0; i < list->n_coverage; i++) {
        progress->examined_us += list->coverage[i]->examined_us;
        progress->waiting_us += list->coverage[i]->waiting_us;
        progress->lost_us += list->coverage[i]->lost_us;
    }
}

/* All there is, as the index has it now. 0 when it went out. */
static int send_last(Questions *q, const Question *question)
{
    IndexFilter filter = filter_of(question);
    AnswerList list = {0};
    Error err = {0};
    int r = answer_list_ask(&list, q->daemon->index, question->watch.question, &filter, &err);
    if (r >= 0) {
        When__AskResponse body;
        When__AskProgress progress = WHEN__ASK_PROGRESS__INIT;
        answer_list_message(&list, &body);
        fill_progress(&list, &progress);
        progress.stopped = (char *)question->stopped;
        body.progress = &progress;
        r = respond(q, question, true, &body);
    } else {
        log_error("questions", "watch=%s: %s", question->watch.name, err.text);
        service_refuse(q->daemon->service, &question->client,
                       err.exit_code ? err.exit_code : EX_OSERR, err.text);
        r = 0;
    }
    answer_list_deinit(&list);
    return r;
}

static void end_question(Question *question, const char *stopped)
{
    question->over = true;
    question->stopped = stopped;
}

/* true: it is done with. */
static bool try_last(Questions *q, Question *question)
{
    int64_t now = q->daemon->now_us;
    int r = send_last(q, question);
    if (question->stuck_us == 0)
        question->stuck_us = now;
    if (r == -EAGAIN && now - question->stuck_us < PATIENCE_US)
        return false;
    if (r < 0)
        log_warn("questions", "watch=%s a client did not take its answer (%s): dropped=%" PRIu64,
                 question->watch.name, strerror(-r), ++q->dropped_clients);
    else
        log_info("questions", "watch=%s ended%s%s", question->watch.name,
                 question->stopped[0] ? " early: " : "", question->stopped);
    return true;
}

/* --- on the way --- */

/* How far it has come; an error but -EAGAIN: its client is gone. */
static int send_progress(Questions *q, const Question *question)
{
    const char *watch = question->watch.name;
    IndexFilter filter = filter_of(question);
    filter.watches = &watch;
    filter.n_watches = 1;
    AnswerList list = {0};
    Error err = {0};
    int r = answer_list_cover(&list, q->daemon->index, &filter, true, &err);
    if (r < 0) {
        log_error("questions", "watch=%s: %s", watch, err.text);
        answer_list_deinit(&list);
        return -EAGAIN;
    }
    When__AskResponse body = WHEN__ASK_RESPONSE__INIT;
    When__AskProgress progress = WHEN__ASK_PROGRESS__INIT;
    fill_progress(&list, &progress);
    body.progress = &progress;
    r = respond(q, question, false, &body);
    answer_list_deinit(&list);
    return r;
}

/* Is there nothing more to look at for it? */
static bool is_done(Questions *q, const Question *question)
{
    Daemon *daemon = q->daemon;
    if (committer_blocked(daemon->committer) || archive_works_for(daemon, question->watch.name))
        return false;
    const char *name = question->watch.name;
    Backlog backlog = {
        .index = daemon->index, .config = &daemon->config, .questions = &name, .n_questions = 1};
    BacklogJob job;
    Error err = {0};
    Batch *batch = batch_new();
    int r = backlog_next(&backlog, BACKLOG_QUESTION, &job, batch, &err);
    if (r < 0)
        log_error("questions", "watch=%s: %s", name, err.text);
    commit(q, batch);
    return r == BACKLOG_NOTHING;
}

void questions_tick(Questions *q)
{
    int64_t now = q->daemon->now_us;
    for (size_t i = 0; i < q->n;) {
        Question *question = &q->list[i];
        bool gone = false;
        if (!question->over && now >= question->progress_due_us) {
            question->progress_due_us = now + PROGRESS_US;
            int r = send_progress(q, question);
            gone = r < 0 && r != -EAGAIN;
            if (gone)
                log_info("questions", "watch=%s its client is gone", question->watch.name);
            else if (is_done(q, question))
                end_question(question, "");
            else if (now >= question->deadline_us)
                end_question(question, "deadline");
        }
        if (gone || (question->over && try_last(q, question)))
            remove_question(q, i);
        else
            i++;
    }
}

void questions_committed(Questions *q, const Event *event)
{
    if (strncmp(event->watch, WATCH_QUESTION_PREFIX, strlen(WATCH_QUESTION_PREFIX)) != 0)
        return;
    for (size_t i = 0; i < q->n; i++) {
        const Question *question = &q->list[i];
        if (question->over || strcmp(question->watch.name, event->watch) != 0 ||
            !watch_config_covers(&question->watch, event->camera) ||
            (question->since_us && event->end_us < question->since_us) ||
            (question->until_us && event->start_us > question->until_us))
            continue;
        When__Event message, *list[] = {&message};
        When__AskResponse body = WHEN__ASK_RESPONSE__INIT;
        publisher_fill_event(event, &message);
        body.n_events = 1;
        body.events = list;
        respond(q, question, false, &body); /* one that does not read learns it at the end */
    }
}

/* --- the begin --- */

typedef struct Names {
    char names[64][EVENT_NAME_BYTES];
    const char *list[64];
    size_t n;
} Names;

static int add_name(const AskedWatch *watch, void *context)
{
    Names *names = context;
    if (names->n == 64)
        return 0;
    snprintf(names->names[names->n], EVENT_NAME_BYTES, "%s", watch->name);
    names->list[names->n] = names->names[names->n];
    names->n++;
    return 0;
}

/* What of the time asked about nobody looked at with this question waits from now on. */
static int add_waiting(Questions *q, const Question *question, Batch *batch, Error *err)
{
    Daemon *daemon = q->daemon;
    Names same = {0};
    int r = index_match_watches(daemon->index, question->watch.question, add_name, &same, err);
    for (size_t i = 0; r >= 0 && i < daemon->config.n_cameras; i++) {
        const CameraConfig *camera = &daemon->config.cameras[i];
        int64_t start_us, end_us;
        if (!watch_config_covers(&question->watch, camera->name))
            continue;
        r = backlog_recorded(daemon->index, camera->name, &start_us, &end_us, err);
        if (r < 0 || start_us >= end_us)
            continue;
        /* Of a camera that is being recorded the newest file is still open: that time waits. */
        if (camera->record && end_us < clock_utc_us())
            end_us = clock_utc_us();
        if (question->since_us > start_us)
            start_us = question->since_us;
        if (question->until_us && question->until_us < end_us)
            end_us = question->until_us;
        r = backlog_add(daemon->index, camera->name, question->watch.name, same.list, same.n,
                        start_us, end_us, "a question", batch, err);
    }
    return r;
}

static void name_question(const char *question, char name[CONFIG_NAME_BYTES])
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (const char *p = question; *p; p++)
        hash = (hash ^ (unsigned char)*p) * UINT64_C(1099511628211);
    snprintf(name, CONFIG_NAME_BYTES, WATCH_QUESTION_PREFIX "%012" PRIx64,
             (hash ^ hash >> 48) & UINT64_C(0xffffffffffff));
}

static int fill_question(Question *question, const ServiceClient *client,
                         const When__AskRequest *ask)
{
    WatchConfig from = {.question = ask->question, .cameras = ask->cameras};
    from.n_cameras = ask->n_cameras;
    from.days = from.hours = from.time_zone = from.since = (char *)"";
    from.join_gap_us = US_PER_S;
    *question = (Question){
        .client = *client,
        .since_us = ask->since_us,
        .until_us = ask->until_us,
        .limit = ask->limit && ask->limit < SERVICE_MAX_EVENTS ? ask->limit : SERVICE_MAX_EVENTS,
        .stopped = ""};
    name_question(ask->question, from.name);
    return watch_config_copy(&question->watch, &from);
}

void questions_ask(Questions *q, const ServiceClient *client, const When__AskRequest *ask,
                   uint32_t deadline_ms)
{
    Daemon *daemon = q->daemon;
    size_t own = 0;
    for (size_t i = 0; i < q->n; i++)
        own += q->list[i].client.id_bytes == client->id_bytes &&
               memcmp(q->list[i].client.id, client->id, client->id_bytes) == 0;
    const WorkerInfo *analyst = supervisor_by_name(daemon->supervisor, ANALYST_WORKER);
    if (q->n == QUESTIONS_MAX || own >= QUESTIONS_PER_CLIENT) {
        service_refuse(daemon->service, client, EX_TEMPFAIL,
                       "too many questions are being looked into: try again when one is answered");
        return;
    }
    if (analyst && analyst->state == WORKER_FAILED) {
        char text[WORKER_REASON_BYTES + 64];
        snprintf(text, sizeof text, "the model is not there to look: %s", analyst->reason);
        service_refuse(daemon->service, client, EX_UNAVAILABLE, text);
        return;
    }
    Question *question = &q->list[q->n];
    Batch *batch = batch_new();
    Error err = {0};
    if (fill_question(question, client, ask) < 0) {
        batch_free(batch);
        service_refuse(daemon->service, client, EX_OSERR, "no memory");
        return;
    }
    batch_watch(batch, question->watch.name, question->watch.question);
    int r = add_waiting(q, question, batch, &err);
    if (r < 0) {
        batch_free(batch);
        watch_config_deinit(&question->watch);
        service_refuse(daemon->service, client, err.exit_code ? err.exit_code : EX_OSERR,
                       err.text[0] ? err.text : "no memory");
        return;
    }
    int64_t wait_us = deadline_ms ? (int64_t)deadline_ms * 1000 : DEADLINE_US;
    question->deadline_us =
        daemon->now_us + (wait_us < MAX_DEADLINE_US ? wait_us : MAX_DEADLINE_US);
    question->progress_due_us = daemon->now_us;
    q->n++;
    set_names(q);
    commit(q, batch);
    daemon->archive.due_us = daemon->now_us;
    log_info("questions", "watch=%s deadline_s=%" PRId64 " asked", question->watch.name,
             wait_us / US_PER_S);
}

bool questions_cancel(Questions *q, const ServiceClient *client, uint64_t request_id)
{
    for (size_t i = 0; i < q->n; i++) {
        Question *question = &q->list[i];
        if (question->client.request_id == request_id &&
            question->client.id_bytes == client->id_bytes &&
            memcmp(question->client.id, client->id, client->id_bytes) == 0) {
            if (!question->over)
                end_question(question, "cancelled");
            return true;
        }
    }
    return false;
}

/*
 * whenctl ask, events: what was found, and what was examined, so that "it did not happen" can be
 * told from "nobody looked".
 */
#include "client/ctl.h"

#include "base/clock.h"
#include "base/str.h"
#include "client/ctl_print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEEP_TIMEOUT_US (3600 * US_PER_S)
#define MAX_TIMEOUT_US  (24 * 3600 * US_PER_S)

/* Prints what `out` has. -errno when stdout is gone. */
static int put(const Str *out)
{
    if (str_failed(out))
        return -ENOMEM;
    fwrite(str_text(out), 1, out->len, stdout);
    return 0;
}

typedef struct Answer {
    Ctl *ctl;
    size_t found;
    bool nobody; /* no watch asks this, or did once */
    bool shown;  /* a line of progress stands on the terminal */
} Answer;

/* --- ask --- */

static void ask_json(const When__AskResponse *ask, Str *out)
{
    str_add_text(out, "{\"events\":[");
    for (size_t i = 0; i < ask->n_events; i++) {
        str_add_text(out, i ? ",{" : "{");
        json_event(out, ask->events[i]);
        str_add_text(out, "}");
    }
    str_add_text(out, "],\"watches\":");
    json_strings(out, ask->watches, ask->n_watches);
    str_add_text(out, ",\"former_watches\":");
    json_strings(out, ask->former_watches, ask->n_former_watches);
    str_addf(out, ",\"since_us\":%" PRId64 ",\"until_us\":%" PRId64 ",", ask->since_us,
             ask->until_us);
    if (ask->progress) {
        str_add_text(out, "\"stopped\":");
        str_add_json(out, ask->progress->stopped);
        str_add_text(out, ",");
    }
    json_coverage(out, ask->coverage, ask->n_coverage);
    str_add_text(out, "}\n");
}

/* The stretch that was understood, when it was said in words. */
static void print_range(const Ctl *ctl, int64_t since_us, int64_t until_us, Str *out)
{
    char since[CLOCK_UTC_TEXT_BYTES] = "the begin", until[CLOCK_UTC_TEXT_BYTES] = "now";
    if (!ctl->during)
        return;
    if (since_us)
        clock_format_utc(since_us, since);
    if (until_us)
        clock_format_utc(until_us, until);
    str_addf(out, "%s: from %s to %s\n", ctl->during, since, until);
}

static void ask_text(const Ctl *ctl, const When__AskResponse *ask, Str *out)
{
    bool asked = ask->n_watches + ask->n_former_watches > 0;
    print_range(ctl, ask->since_us, ask->until_us, out);
    for (size_t i = 0; i < ask->n_events; i++) {
        print_event(out, ask->events[i]);
        str_add_text(out, "\n");
    }
    if (!asked && ask->n_events == 0)
        return; /* "Nobody looked" comes with the names of the watches that there are */
    if (!asked) {
        str_add_text(out, "Found in the descriptions; no watch asks this, so there may be more.\n");
        return;
    }
    int64_t examined_us = 0;
    for (size_t i = 0; i < ask->n_coverage; i++)
        examined_us += ask->coverage[i]->examined_us;
    _cleanup_str_ Str rest = {0};
    print_unexamined(&rest, ask->coverage, ask->n_coverage);
    if (examined_us <= 0) {
        str_add_text(out, "Nobody looked: nothing of that time was examined");
    } else if (ask->n_events == 0) {
        str_add_text(out, "No: not in what was examined (");
        print_examined(out, ask->coverage, ask->n_coverage, false);
        str_add_text(out, ")");
    } else {
        str_add_text(out, "Examined: ");
        print_examined(out, ask->coverage, ask->n_coverage, true);
    }
    if (rest.len)
        str_addf(out, "; %s", str_text(&rest));
    if (ask->progress && ask->progress->stopped[0])
        str_addf(out, ". Not all was looked at: %s", ask->progress->stopped);
    else if (!ask->progress && ask->n_watches == 0)
        str_add_text(out, ". No watch asks this now");
    str_add_text(out, ".\n");
}

/* What a deep ask says on its way: to people, on standard error; the answer comes at the end. */
static void show_progress(Answer *answer, const When__AskResponse *ask)
{
    _cleanup_str_ Str line = {0};
    bool terminal = isatty(STDERR_FILENO);
    for (size_t i = 0; i < ask->n_events; i++) {
        if (ask->events[i]->state != WHEN__EVENT_STATE__EVENT_STATE_FINAL)
            continue;
        str_add_text(&line, answer->shown ? "\r\033[K" : "");
        str_add_text(&line, "found: ");
        print_event(&line, ask->events[i]);
        str_add_text(&line, "\n");
        answer->shown = false;
    }
    if (ask->progress && terminal) {
        const When__AskProgress *p = ask->progress;
        str_add_text(&line, answer->shown ? "\r\033[K" : "");
        str_add_text(&line, "looked at ");
        print_span(&line, p->examined_us);
        str_add_text(&line, ", to do ");
        print_span(&line, p->waiting_us);
        answer->shown = true;
    }
    if (!str_failed(&line))
        fputs(str_text(&line), stderr);
    fflush(stderr);
}

static int take_ask(const When__Response *response, void *context)
{
    Answer *answer = context;
    if (response->body_case != WHEN__RESPONSE__BODY_ASK)
        return -EBADMSG;
    const When__AskResponse *ask = response->ask;
    if (!response->last) {
        show_progress(answer, ask);
        return 0;
    }
    if (answer->shown)
        fputs("\r\033[K", stderr);
    answer->found += ask->n_events;
    answer->nobody = ask->n_events == 0 && ask->n_watches + ask->n_former_watches == 0;
    _cleanup_str_ Str out = {0};
    if (answer->ctl->json)
        ask_json(ask, &out);
    else
        ask_text(answer->ctl, ask, &out);
    return put(&out);
}

static int take_watches(const When__Response *response, void *context)
{
    (void)context;
    if (response->body_case != WHEN__RESPONSE__BODY_STATUS)
        return -EBADMSG;
    _cleanup_str_ Str out = {0};
    str_add_text(&out, "Nobody looked: no watch asks this. (watches: ");
    for (size_t i = 0; i < response->status->n_watches; i++) {
        str_add_text(&out, i ? ", " : "");
        print_text(&out, response->status->watches[i]);
    }
    if (response->status->n_watches == 0)
        str_add_text(&out, "none");
    str_add_text(&out, ")\n");
    return put(&out);
}

int ctl_ask(Ctl *ctl, Error *err)
{
    When__AskRequest ask = WHEN__ASK_REQUEST__INIT;
    ask.question = (char *)ctl->question;
    ask.since_us = ctl->since_us;
    ask.until_us = ctl->until_us;
    ask.cameras = ctl->cameras;
    ask.n_cameras = ctl->n_cameras;
    ask.limit = ctl->limit;
    if (ctl->during) {
        ask.range = (char *)ctl->during;
        ask.time_zone = (char *)ctl_zone(ctl);
    }
    int deadline_ms = 0;
    if (ctl->deep || ctl->automatic) {
        ask.mode = ctl->deep ? WHEN__ASK_MODE__ASK_MODE_DEEP : WHEN__ASK_MODE__ASK_MODE_AUTO;
        int64_t timeout_us = ctl->timeout_us > 0 ? ctl->timeout_us : DEEP_TIMEOUT_US;
        deadline_ms =
            timeout_us < MAX_TIMEOUT_US ? (int)(timeout_us / 1000) : (int)(MAX_TIMEOUT_US / 1000);
    }
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_ASK;
    request.ask = &ask;
    Answer answer = {.ctl = ctl};
    int rc = when_request(ctl->when, &request, deadline_ms, take_ask, &answer, err);
    if (rc == 0 && answer.nobody && !ctl->json) {
        When__StatusRequest status = WHEN__STATUS_REQUEST__INIT;
        When__Request second = WHEN__REQUEST__INIT;
        second.body_case = WHEN__REQUEST__BODY_STATUS;
        second.status = &status;
        rc = when_request(ctl->when, &second, 0, take_watches, NULL, err);
    }
    return rc < 0 ? rc : answer.found == 0;
}

/* --- events --- */

static int take_events(const When__Response *response, void *context)
{
    Answer *answer = context;
    if (response->body_case != WHEN__RESPONSE__BODY_EVENTS)
        return -EBADMSG;
    _cleanup_str_ Str out = {0};
    for (size_t i = 0; i < response->events->n_events; i++) {
        const When__Event *event = response->events->events[i];
        if (answer->ctl->json) {
            str_add_text(&out, "{");
            json_event(&out, event);
            str_add_text(&out, "}\n");
        } else {
            print_event(&out, event);
            str_add_text(&out, "\n");
        }
    }
    answer->found += response->events->n_events;
    return put(&out);
}

int ctl_events(Ctl *ctl, Error *err)
{
    When__EventsRequest events = WHEN__EVENTS_REQUEST__INIT;
    events.since_us = ctl->since_us;
    events.until_us = ctl->until_us;
    events.cameras = ctl->cameras;
    events.n_cameras = ctl->n_cameras;
    events.watches = ctl->watches;
    events.n_watches = ctl->n_watches;
    events.limit = ctl->limit;
    if (ctl->during) {
        events.range = (char *)ctl->during;
        events.time_zone = (char *)ctl_zone(ctl);
    }
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_EVENTS;
    request.events = &events;
    Answer answer = {.ctl = ctl};
    int rc = when_request(ctl->when, &request, 0, take_events, &answer, err);
    if (rc == 0 && answer.found == 0 && !ctl->json)
        puts("No events. (whenctl coverage tells what was examined)");
    return rc;
}

/*
 * whenctl ask, events, coverage: what was found, and what was examined, so that "it did not happen"
 * can be told from "nobody looked".
 */
#include "client/ctl.h"

#include "base/clock.h"
#include "base/str.h"
#include "client/ctl_print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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
    bool nobody; /* no watch asks this */
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
    str_add_text(out, ",");
    json_coverage(out, ask->coverage, ask->n_coverage);
    str_add_text(out, "}\n");
}

static void ask_text(const When__AskResponse *ask, Str *out)
{
    for (size_t i = 0; i < ask->n_events; i++) {
        print_event(out, ask->events[i]);
        str_add_text(out, "\n");
    }
    if (ask->n_watches == 0 && ask->n_events == 0)
        return; /* "Nobody looked" comes with the names of the watches that there are */
    if (ask->n_watches == 0) {
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
    str_add_text(out, ".\n");
}

static int take_ask(const When__Response *response, void *context)
{
    Answer *answer = context;
    if (response->body_case != WHEN__RESPONSE__BODY_ASK)
        return -EBADMSG;
    const When__AskResponse *ask = response->ask;
    answer->found += ask->n_events;
    answer->nobody = ask->n_events == 0 && ask->n_watches == 0;
    _cleanup_str_ Str out = {0};
    if (answer->ctl->json)
        ask_json(ask, &out);
    else
        ask_text(ask, &out);
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
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_ASK;
    request.ask = &ask;
    Answer answer = {.ctl = ctl};
    int rc = when_request(ctl->when, &request, 0, take_ask, &answer, err);
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
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_EVENTS;
    request.events = &events;
    Answer answer = {.ctl = ctl};
    int rc = when_request(ctl->when, &request, 0, take_events, &answer, err);
    if (rc == 0 && answer.found == 0 && !ctl->json)
        puts("No events. (whenctl coverage tells what was examined)");
    return rc;
}

/* --- coverage --- */

static void coverage_text(const When__CoverageResponse *coverage, Str *out)
{
    for (size_t i = 0; i < coverage->n_cameras; i++) {
        When__CameraCoverage *c = coverage->cameras[i];
        str_add_text(out, "Examined: ");
        print_examined(out, &c, 1, true);
        _cleanup_str_ Str rest = {0};
        print_unexamined(&rest, &c, 1);
        str_addf(out, "%s%s\n", rest.len ? "; " : "", str_text(&rest));
        for (size_t k = 0; k < c->n_spans; k++) {
            const When__Span *span = c->spans[k];
            char start[CLOCK_UTC_TEXT_BYTES], end[CLOCK_UTC_TEXT_BYTES];
            clock_format_utc(span->start_us, start);
            clock_format_utc(span->end_us, end);
            str_addf(out, "  %s .. %s  %-8s  ", start, end, print_span_state(span->state));
            print_text(out, span->watch);
            if (span->fps > 0)
                str_addf(out, "  %.2g fps", (double)span->fps);
            if (span->model[0])
                str_add_text(out, "  ");
            print_text(out, span->model);
            if (span->reason[0])
                str_add_text(out, "  ");
            print_text(out, span->reason);
            str_add_text(out, "\n");
        }
    }
    if (coverage->n_cameras == 0)
        str_add_text(out, "Nothing was examined, nothing waits.\n");
}

static int take_coverage(const When__Response *response, void *context)
{
    Answer *answer = context;
    if (response->body_case != WHEN__RESPONSE__BODY_COVERAGE)
        return -EBADMSG;
    const When__CoverageResponse *coverage = response->coverage;
    _cleanup_str_ Str out = {0};
    if (answer->ctl->json) {
        str_add_text(&out, "{");
        json_coverage(&out, coverage->cameras, coverage->n_cameras);
        str_add_text(&out, "}\n");
    } else {
        coverage_text(coverage, &out);
    }
    return put(&out);
}

int ctl_coverage(Ctl *ctl, Error *err)
{
    When__CoverageRequest coverage = WHEN__COVERAGE_REQUEST__INIT;
    coverage.since_us = ctl->since_us;
    coverage.until_us = ctl->until_us;
    coverage.cameras = ctl->cameras;
    coverage.n_cameras = ctl->n_cameras;
    coverage.watches = ctl->watches;
    coverage.n_watches = ctl->n_watches;
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_COVERAGE;
    request.coverage = &coverage;
    Answer answer = {.ctl = ctl};
    return when_request(ctl->when, &request, 0, take_coverage, &answer, err);
}

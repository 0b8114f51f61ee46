/* whenctl status and cameras: how whend is. */
#include "client/ctl.h"

#include "base/clock.h"
#include "base/str.h"
#include "client/ctl_print.h"
#include "client/print_cameras.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int put(const Str *out)
{
    if (str_failed(out))
        return -ENOMEM;
    fwrite(str_text(out), 1, out->len, stdout);
    return 0;
}

static void status_json(const When__StatusResponse *s, Str *out)
{
    str_add_text(out, "{\"version\":");
    str_add_json(out, s->version);
    str_add_text(out, ",\"daemon_id\":");
    str_add_json(out, s->daemon_id);
    str_addf(out,
             ",\"started_us\":%" PRId64 ",\"now_us\":%" PRId64 ",\"last_sequence\":%" PRIu64
             ",\"model\":",
             s->started_us, s->now_us, s->last_sequence);
    str_add_json(out, s->model);
    str_add_text(out, ",\"model_notice\":");
    str_add_json(out, s->model_notice);
    str_add_text(out, ",\"workers\":[");
    for (size_t i = 0; i < s->n_workers; i++) {
        const When__WorkerStatus *w = s->workers[i];
        str_add_text(out, i ? ",{\"name\":" : "{\"name\":");
        str_add_json(out, w->name);
        str_add_text(out, ",\"state\":");
        str_add_json(out, w->state);
        str_addf(out, ",\"pid\":%" PRId64 ",\"restarts\":%" PRIu32 ",\"reason\":", w->pid,
                 w->restarts);
        str_add_json(out, w->reason);
        str_add_text(out, "}");
    }
    str_addf(out,
             "],\"windows_waiting\":%" PRIu64 ",\"windows_examined\":%" PRIu64
             ",\"questions_asked\":%" PRIu64 ",\"bad_messages\":%" PRIu64
             ",\"recording_bytes\":%" PRIu64 ",\"state_dir\":",
             s->windows_waiting, s->windows_examined, s->questions_asked, s->bad_messages,
             s->recording_bytes);
    str_add_json(out, s->state_dir);
    str_add_text(out, ",\"watches\":");
    json_strings(out, s->watches, s->n_watches);
    str_add_text(out, "}\n");
}

static void status_text(const When__StatusResponse *s, Str *out)
{
    str_add_text(out, "whend      ");
    print_text(out, s->version);
    str_add_text(out, ", up ");
    print_span(out, s->now_us - s->started_us);
    str_add_text(out, ", daemon ");
    print_text(out, s->daemon_id);
    str_add_text(out, "\nmodel      ");
    print_text(out, s->model);
    if (s->model_notice[0]) {
        str_add_text(out, "\n           ");
        print_text(out, s->model_notice);
    }
    for (size_t i = 0; i < s->n_workers; i++) {
        const When__WorkerStatus *w = s->workers[i];
        _cleanup_str_ Str name = {0}, state = {0};
        print_text(&name, w->name);
        print_text(&state, w->state);
        str_addf(out, "\n%s%-16s %-11s", i ? "           " : "workers    ", str_text(&name),
                 str_text(&state));
        if (w->pid > 0)
            str_addf(out, " pid %-7" PRId64, w->pid);
        str_addf(out, " %" PRIu32 " restart%s", w->restarts, w->restarts == 1 ? "" : "s");
        if (w->reason[0])
            str_add_text(out, "  last end: ");
        print_text(out, w->reason);
    }
    str_addf(out,
             "\nwindows    %" PRIu64 " examined, %" PRIu64 " waiting; %" PRIu64
             " questions asked\nevents     last sequence number %" PRIu64 "\nrefused    %" PRIu64
             " bad messages\nrecordings ",
             s->windows_examined, s->windows_waiting, s->questions_asked, s->last_sequence,
             s->bad_messages);
    print_bytes(out, s->recording_bytes);
    str_add_text(out, "\nstate      ");
    print_text(out, s->state_dir);
    str_add_text(out, "\nwatches    ");
    for (size_t i = 0; i < s->n_watches; i++) {
        str_add_text(out, i ? ", " : "");
        print_text(out, s->watches[i]);
    }
    str_add_text(out, s->n_watches ? "\n" : "none\n");
}

static int take_status(const When__Response *response, void *context)
{
    const Ctl *ctl = context;
    if (response->body_case != WHEN__RESPONSE__BODY_STATUS)
        return -EBADMSG;
    _cleanup_str_ Str out = {0};
    if (ctl->json)
        status_json(response->status, &out);
    else
        status_text(response->status, &out);
    return put(&out);
}

int ctl_status(Ctl *ctl, Error *err)
{
    When__StatusRequest status = WHEN__STATUS_REQUEST__INIT;
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_STATUS;
    request.status = &status;
    return when_request(ctl->when, &request, 0, take_status, ctl, err);
}

static int take_cameras(const When__Response *response, void *context)
{
    const Ctl *ctl = context;
    if (response->body_case != WHEN__RESPONSE__BODY_CAMERAS)
        return -EBADMSG;
    _cleanup_str_ Str out = {0};
    str_add_text(&out, ctl->json ? "{\"cameras\":[" : "");
    for (size_t i = 0; i < response->cameras->n_cameras; i++) {
        if (ctl->json) {
            str_add_text(&out, i ? "," : "");
            json_camera(&out, response->cameras->cameras[i]);
        } else {
            print_camera(&out, response->cameras->cameras[i]);
        }
    }
    str_add_text(&out, ctl->json ? "]}\n" : "");
    return put(&out);
}

int ctl_cameras(Ctl *ctl, Error *err)
{
    When__CamerasRequest cameras = WHEN__CAMERAS_REQUEST__INIT;
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_CAMERAS;
    request.cameras = &cameras;
    return when_request(ctl->when, &request, 0, take_cameras, ctl, err);
}

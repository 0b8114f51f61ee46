/* whenctl follow: events as they are committed, each once, in order. */
#include "client/ctl.h"

#include "base/clock.h"
#include "base/str.h"
#include "client/ctl_print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool one_of(char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return n == 0;
}

static void event_line(const Ctl *ctl, const When__EventMessage *message, Str *out)
{
    const When__Event *event = message->event;
    if (ctl->json) {
        str_addf(out,
                 "{\"type\":\"event\",\"sequence\":%" PRIu64 ",\"daemon_id\":", message->sequence);
        str_add_json(out, message->daemon_id);
        str_addf(out, ",\"committed_us\":%" PRId64 ",", message->committed_us);
        json_event(out, event);
        str_add_text(out, "}\n");
        return;
    }
    str_addf(out, "%" PRIu64 "  %-9s  ", message->sequence, print_event_state(event->state));
    print_event(out, event);
    str_add_text(out, "\n");
}

static void progress_line(const Ctl *ctl, const When__Progress *progress, Str *out)
{
    if (ctl->json) {
        str_add_text(out, "{\"type\":\"progress\",\"camera\":");
        str_add_json(out, progress->camera);
        str_addf(out,
                 ",\"utc_us\":%" PRId64 ",\"frames\":%" PRIu64 ",\"windows\":%" PRIu64
                 ",\"questions\":%" PRIu64 ",\"waiting_windows\":%" PRIu64 ",\"done\":",
                 progress->utc_us, progress->frames, progress->windows, progress->questions,
                 progress->waiting_windows);
        json_number(out, progress->done);
        str_add_text(out, "}\n");
        return;
    }
    char utc[CLOCK_UTC_TEXT_BYTES];
    clock_format_utc(progress->utc_us, utc);
    str_add_text(out, "   progress   ");
    print_text(out, progress->camera);
    str_addf(out,
             "  %s  %" PRIu64 " frames, %" PRIu64 " windows, %" PRIu64 " questions, %" PRIu64
             " windows wait",
             utc, progress->frames, progress->windows, progress->questions,
             progress->waiting_windows);
    if (progress->done > 0)
        str_addf(out, ", %.0f %%", 100 * progress->done);
    str_add_text(out, "\n");
}

/* What goes to stdout for this notice, if anything. */
static void notice_line(const Ctl *ctl, const WhenNotice *notice, bool *silent, Str *out)
{
    if (*silent && notice->kind != WHEN_SILENT && notice->kind != WHEN_NOTHING) {
        fputs("whenctl: whend is back\n", stderr);
        *silent = false;
    }
    switch (notice->kind) {
    case WHEN_EVENT:
        if (one_of(ctl->cameras, ctl->n_cameras, notice->event->event->camera) &&
            one_of(ctl->watches, ctl->n_watches, notice->event->event->watch))
            event_line(ctl, notice->event, out);
        break;
    case WHEN_PROGRESS:
        if (one_of(ctl->cameras, ctl->n_cameras, notice->progress->camera))
            progress_line(ctl, notice->progress, out);
        break;
    case WHEN_SILENT:
        fputs("whenctl: whend is silent; waiting for it\n", stderr);
        *silent = true;
        break;
    case WHEN_NEW_DAEMON:
        fprintf(stderr, "whenctl: another whend (%.64s): its events are numbered anew\n",
                notice->daemon_id);
        break;
    case WHEN_HEARTBEAT:
    case WHEN_NOTHING:
        break;
    }
}

int ctl_follow(Ctl *ctl, Error *err)
{
    WhenSubscription *subscription;
    const WhenSubscribeOptions options = {
        .from_now = ctl->from_now, .after_sequence = ctl->after, .progress = ctl->progress};
    int rc = when_subscribe(ctl->when, &options, &subscription, err);
    if (rc < 0)
        return rc;
    _cleanup_str_ Str out = {0};
    for (bool silent = false; rc == 0;) {
        WhenNotice notice;
        rc = when_next(subscription, -1, &notice, err);
        if (rc < 0)
            break;
        str_clear(&out);
        notice_line(ctl, &notice, &silent, &out);
        if (str_failed(&out)) {
            rc = error_set(err, ENOMEM, EX_OSERR, "no memory");
        } else if (out.len && (fwrite(str_text(&out), 1, out.len, stdout) != out.len ||
                               fflush(stdout) == EOF)) {
            rc = error_set(err, errno, EX_IOERR, "standard output: %s", strerror(errno));
        }
    }
    when_unsubscribe(subscription);
    return rc;
}

/* How things look. See ctl_print.h. */
#include "client/ctl_print.h"

#include "base/clock.h"

#include <inttypes.h>
#include <langinfo.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { MAX_REASONS = 4 };

const char *print_plus_minus(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0 ? "±" : "+/-";
}

void print_time(Str *out, int64_t utc_us, int64_t err_us)
{
    /* Tenths of a second, or thousandths where the error is that small. */
    int64_t step_us = err_us >= 100000 ? 100000 : 1000;
    if (utc_us > INT64_MAX - step_us || utc_us < INT64_MIN + step_us) {
        str_add_text(out, "(absurd time)");
        return;
    }
    int64_t half = step_us / 2, shifted = utc_us + half;
    int64_t rest = shifted % step_us < 0 ? shifted % step_us + step_us : shifted % step_us;
    int64_t shown_us = shifted - rest;
    char text[CLOCK_UTC_TEXT_BYTES];
    clock_format_utc(shown_us, text);
    size_t n = strlen(text);
    if (step_us == 100000 && n > 3)
        memcpy(text + n - 3, "Z", 2); /* ".200Z" to ".2Z" */
    double error_s = (fmax((double)err_us, 0) + fabs((double)(utc_us - shown_us))) / 1e6;
    double unit_s = (double)step_us / 1e6;
    /* Upwards: what is shown is a bound. The small part is for sums that are exact on paper. */
    error_s = fmax(ceil(error_s / unit_s - 1e-6), 0) * unit_s;
    str_addf(out, "%s %s %.*f s", text, print_plus_minus(), step_us == 100000 ? 1 : 3, error_s);
}

void print_span(Str *out, int64_t us)
{
    if (us < 0)
        us = 0;
    int64_t s = us / US_PER_S + (us % US_PER_S >= US_PER_S / 2);
    if (us > 0 && us < 9950000)
        str_addf(out, "%.1f s", fmax((double)us / 1e6, 0.1));
    else if (s < 60)
        str_addf(out, "%" PRId64 " s", s);
    else if (s < 3600)
        str_addf(out, "%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
    else if (s < 172800)
        str_addf(out, "%" PRId64 "h%02" PRId64 "m", s / 3600, s % 3600 / 60);
    else
        str_addf(out, "%" PRId64 "d%02" PRId64 "h", s / 86400, s % 86400 / 3600);
}

void print_bytes(Str *out, uint64_t bytes)
{
    static const char *const UNITS[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 999.5 && unit < 4; unit++)
        value /= 1000;
    str_addf(out, "%.*f %s", unit && value < 99.5 ? 1 : 0, value, UNITS[unit]);
}

void print_text(Str *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        /* Also the C1 controls, which are 0xc2 0x80..0x9f in UTF-8. */
        bool c1 = *p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f;
        if (*p < 0x20 || *p == 0x7f || c1)
            str_add_text(out, "?");
        else
            str_add(out, p, 1);
        p += c1;
    }
}

void print_event(Str *out, const When__Event *event)
{
    print_time(out, event->start_us, event->start_err_us);
    str_add_text(out, "  ..  ");
    print_time(out, event->end_us, event->end_err_us);
    str_add_text(out, "  ");
    print_text(out, event->camera);
    str_add_text(out, "  ");
    print_text(out, event->description);
    str_add_text(out, "  (");
    print_text(out, event->watch);
    str_addf(out, ", %.2f%s)", (double)event->confidence,
             event->state == WHEN__EVENT_STATE__EVENT_STATE_OPEN        ? ", not over yet"
             : event->state == WHEN__EVENT_STATE__EVENT_STATE_RETRACTED ? ", taken back"
                                                                        : "");
}

void print_examined(Str *out, When__CameraCoverage *const *coverage, size_t n, bool with_gaps)
{
    for (size_t i = 0; i < n; i++) {
        const When__CameraCoverage *c = coverage[i];
        int64_t missing_us = c->waiting_us + c->lost_us;
        size_t gaps = 0;
        for (size_t k = 0; k < c->n_spans; k++)
            gaps += c->spans[k]->state != WHEN__SPAN_STATE__SPAN_STATE_EXAMINED;
        if (i)
            str_add_text(out, ", ");
        print_text(out, c->camera);
        str_add_text(out, " ");
        if (c->examined_us <= 0) {
            str_add_text(out, "nothing");
        } else {
            print_span(out, c->examined_us);
        }
        if (missing_us > 0 || !with_gaps) {
            str_add_text(out, " of ");
            print_span(out, c->examined_us + missing_us);
        }
        if (with_gaps && gaps)
            str_addf(out, " (%zu gap%s)", gaps, gaps == 1 ? "" : "s");
    }
}

/* "lost 2 s: camera dark, disk full" for the spans of one state. */
static void add_state(Str *out, When__CameraCoverage *const *coverage, size_t n,
                      When__SpanState state, const char *word, int64_t total_us)
{
    if (total_us <= 0)
        return;
    if (out->len)
        str_add_text(out, "; ");
    str_addf(out, "%s ", word);
    print_span(out, total_us);
    const char *reasons[MAX_REASONS];
    size_t n_reasons = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < coverage[i]->n_spans; k++) {
            const When__Span *span = coverage[i]->spans[k];
            bool known = span->state != state || !span->reason[0] || n_reasons == MAX_REASONS;
            for (size_t r = 0; r < n_reasons && !known; r++)
                known = strcmp(reasons[r], span->reason) == 0;
            if (!known)
                reasons[n_reasons++] = span->reason;
        }
    }
    for (size_t r = 0; r < n_reasons; r++) {
        str_add_text(out, r ? ", " : ": ");
        print_text(out, reasons[r]);
    }
}

void print_unexamined(Str *out, When__CameraCoverage *const *coverage, size_t n)
{
    int64_t lost_us = 0, waiting_us = 0;
    for (size_t i = 0; i < n; i++) {
        lost_us += coverage[i]->lost_us;
        waiting_us += coverage[i]->waiting_us;
    }
    add_state(out, coverage, n, WHEN__SPAN_STATE__SPAN_STATE_LOST, "lost", lost_us);
    add_state(out, coverage, n, WHEN__SPAN_STATE__SPAN_STATE_WAITING, "waiting", waiting_us);
}

const char *print_span_state(When__SpanState state)
{
    switch (state) {
    case WHEN__SPAN_STATE__SPAN_STATE_WAITING:
        return "waiting";
    case WHEN__SPAN_STATE__SPAN_STATE_EXAMINED:
        return "examined";
    case WHEN__SPAN_STATE__SPAN_STATE_LOST:
        return "lost";
    default:
        return "unknown";
    }
}

const char *print_event_state(When__EventState state)
{
    switch (state) {
    case WHEN__EVENT_STATE__EVENT_STATE_OPEN:
        return "open";
    case WHEN__EVENT_STATE__EVENT_STATE_FINAL:
        return "final";
    case WHEN__EVENT_STATE__EVENT_STATE_RETRACTED:
        return "retracted";
    default:
        return "unknown";
    }
}

void json_number(Str *out, double value)
{
    if (isfinite(value))
        str_addf(out, "%.6g", value);
    else
        str_add_text(out, "null");
}

void json_strings(Str *out, char *const *texts, size_t n)
{
    str_add_text(out, "[");
    for (size_t i = 0; i < n; i++) {
        str_add_text(out, i ? "," : "");
        str_add_json(out, texts[i]);
    }
    str_add_text(out, "]");
}

static void json_time(Str *out, const char *key, int64_t us)
{
    char text[CLOCK_UTC_TEXT_BYTES];
    clock_format_utc(us, text);
    str_addf(out, ",\"%s\":\"%s\"", key, text);
}

void json_event(Str *out, const When__Event *event)
{
    str_add_text(out, "\"id\":");
    str_add_json(out, event->id);
    str_addf(out, ",\"revision\":%" PRIu32 ",\"state\":\"%s\",\"camera\":", event->revision,
             print_event_state(event->state));
    str_add_json(out, event->camera);
    str_add_text(out, ",\"watch\":");
    str_add_json(out, event->watch);
    str_add_text(out, ",\"description\":");
    str_add_json(out, event->description);
    str_addf(out, ",\"start_us\":%" PRId64 ",\"end_us\":%" PRId64, event->start_us, event->end_us);
    str_addf(out, ",\"start_err_us\":%" PRId64 ",\"end_err_us\":%" PRId64, event->start_err_us,
             event->end_err_us);
    json_time(out, "start_utc", event->start_us);
    json_time(out, "end_utc", event->end_us);
    str_add_text(out, ",\"confidence\":");
    json_number(out, (double)event->confidence);
}

static void json_span(Str *out, const When__Span *span)
{
    str_addf(out, "{\"start_us\":%" PRId64 ",\"end_us\":%" PRId64 ",\"state\":\"%s\",\"watch\":",
             span->start_us, span->end_us, print_span_state(span->state));
    str_add_json(out, span->watch);
    str_add_text(out, ",\"fps\":");
    json_number(out, (double)span->fps);
    str_add_text(out, ",\"model\":");
    str_add_json(out, span->model);
    str_add_text(out, ",\"reason\":");
    str_add_json(out, span->reason);
    json_time(out, "start_utc", span->start_us);
    json_time(out, "end_utc", span->end_us);
    str_add_text(out, "}");
}

void json_coverage(Str *out, When__CameraCoverage *const *coverage, size_t n)
{
    str_add_text(out, "\"coverage\":[");
    for (size_t i = 0; i < n; i++) {
        const When__CameraCoverage *c = coverage[i];
        str_add_text(out, i ? ",{\"camera\":" : "{\"camera\":");
        str_add_json(out, c->camera);
        str_addf(out,
                 ",\"examined_us\":%" PRId64 ",\"waiting_us\":%" PRId64 ",\"lost_us\":%" PRId64
                 ",\"spans\":[",
                 c->examined_us, c->waiting_us, c->lost_us);
        for (size_t k = 0; k < c->n_spans; k++) {
            str_add_text(out, k ? "," : "");
            json_span(out, c->spans[k]);
        }
        str_add_text(out, "]}");
    }
    str_add_text(out, "]");
}

/*
 * whenctl coverage: what was examined, waits or is lost, as text and as a picture (SVG): a strip of
 * time for each camera and watch.
 */
#include "client/ctl.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "client/ctl_print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LEFT = 190, STRIP_W = 960, ROW_H = 26, STRIP_H = 18, TOP = 54, BOTTOM = 46, MAX_TICKS = 9 };

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

/* --- the picture --- */

static void xml(Str *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '&')
            str_add_text(out, "&amp;");
        else if (*p == '<')
            str_add_text(out, "&lt;");
        else if (*p == '>')
            str_add_text(out, "&gt;");
        else if ((unsigned char)*p < 0x20)
            str_add_text(out, " ");
        else
            str_add(out, p, 1);
    }
}

static const char *color_of(When__SpanState state)
{
    switch (state) {
    case WHEN__SPAN_STATE__SPAN_STATE_EXAMINED:
        return "#2e7d5b";
    case WHEN__SPAN_STATE__SPAN_STATE_WAITING:
        return "#e0a526";
    default:
        return "#b3362b";
    }
}

/* The strip of time that is shown. */
typedef struct Axis {
    int64_t start_us, end_us;
} Axis;

static double x_of(const Axis *axis, int64_t us)
{
    us = us < axis->start_us ? axis->start_us : us > axis->end_us ? axis->end_us : us;
    return LEFT +
           STRIP_W * ((double)(us - axis->start_us) / (double)(axis->end_us - axis->start_us));
}

static Axis axis_of(const When__CoverageResponse *coverage)
{
    Axis axis = {coverage->since_us, coverage->until_us};
    for (size_t i = 0; i < coverage->n_cameras; i++)
        for (size_t k = 0; k < coverage->cameras[i]->n_spans; k++) {
            const When__Span *span = coverage->cameras[i]->spans[k];
            if (!coverage->since_us && (!axis.start_us || span->start_us < axis.start_us))
                axis.start_us = span->start_us;
            if (!coverage->until_us && span->end_us > axis.end_us)
                axis.end_us = span->end_us;
        }
    if (axis.end_us <= axis.start_us)
        axis.end_us = axis.start_us + US_PER_S;
    return axis;
}

/* Ticks at whole seconds, minutes, hours or days of UTC. */
static void svg_ticks(const Axis *axis, int height, Str *out)
{
    static const int64_t STEPS_S[] = {1,      2,      5,       10,      15,      30,
                                      60,     120,    300,     600,     900,     1800,
                                      3600,   7200,   10800,   21600,   43200,   86400,
                                      172800, 604800, 1209600, 2592000, 7776000, 31536000};
    int64_t step_us = 0, length_us = axis->end_us - axis->start_us;
    for (size_t i = 0; i < sizeof STEPS_S / sizeof STEPS_S[0]; i++)
        if ((step_us = STEPS_S[i] * US_PER_S) * MAX_TICKS >= length_us)
            break;
    if (length_us / step_us > 100)
        return; /* centuries */
    int64_t first_us = axis->start_us - axis->start_us % step_us;
    for (int64_t us = first_us; us <= axis->end_us; us += step_us) {
        if (us < axis->start_us)
            continue;
        char text[CLOCK_UTC_TEXT_BYTES];
        clock_format_utc(us, text);
        double x = x_of(axis, us);
        str_addf(out,
                 "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#888\" "
                 "stroke-width=\".5\"/><text x=\"%.1f\" y=\"%d\" class=\"t\">%.10s</text>"
                 "<text x=\"%.1f\" y=\"%d\" class=\"t\">%.8s</text>\n",
                 x, TOP - 6, x, height - BOTTOM + 4, x, height - BOTTOM + 18, text, x,
                 height - BOTTOM + 32, text + 11);
    }
}

static void svg_span(const Axis *axis, int y, const When__Span *span, Str *out)
{
    double x = x_of(axis, span->start_us), w = x_of(axis, span->end_us) - x;
    char start[CLOCK_UTC_TEXT_BYTES], end[CLOCK_UTC_TEXT_BYTES];
    clock_format_utc(span->start_us, start);
    clock_format_utc(span->end_us, end);
    str_addf(
        out,
        "<rect x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" fill=\"%s\"><title>%s .. %s %s ", x,
        y, w < 0.5 ? 0.5 : w, STRIP_H, color_of(span->state), start, end,
        print_span_state(span->state));
    if (span->fps > 0)
        str_addf(out, "%.2g fps ", (double)span->fps);
    xml(out, span->model);
    xml(out, span->reason);
    str_add_text(out, "</title></rect>\n");
}

/* Spans of a camera come by time: one row for each watch among them. */
static int svg_camera(const Axis *axis, int y, const When__CameraCoverage *c, Str *out)
{
    for (size_t i = 0; i < c->n_spans; i++) {
        const char *watch = c->spans[i]->watch;
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = strcmp(c->spans[k]->watch, watch) == 0;
        if (seen)
            continue;
        str_addf(out, "<text x=\"%d\" y=\"%d\" class=\"n\">", LEFT - 10, y + STRIP_H - 5);
        xml(out, c->camera);
        str_add_text(out, " ");
        xml(out, watch);
        str_addf(out,
                 "</text><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#e4e4e0\">"
                 "<title>nobody looked</title></rect>\n",
                 LEFT, y, STRIP_W, STRIP_H);
        for (size_t k = i; k < c->n_spans; k++)
            if (strcmp(c->spans[k]->watch, watch) == 0)
                svg_span(axis, y, c->spans[k], out);
        y += ROW_H;
    }
    return y;
}

static void svg_legend(Str *out)
{
    static const struct {
        const char *color, *text;
    } ENTRIES[] = {{"#2e7d5b", "examined"},
                   {"#e0a526", "waiting"},
                   {"#b3362b", "lost"},
                   {"#e4e4e0", "nobody looked"}};
    for (size_t i = 0; i < sizeof ENTRIES / sizeof ENTRIES[0]; i++)
        str_addf(out,
                 "<rect x=\"%zu\" y=\"14\" width=\"14\" height=\"14\" fill=\"%s\"/>"
                 "<text x=\"%zu\" y=\"26\" class=\"l\">%s</text>\n",
                 LEFT + 130 * i, ENTRIES[i].color, LEFT + 130 * i + 20, ENTRIES[i].text);
}

static void coverage_svg(const When__CoverageResponse *coverage, Str *out)
{
    Axis axis = axis_of(coverage);
    _cleanup_str_ Str rows = {0};
    int y = TOP;
    for (size_t i = 0; i < coverage->n_cameras; i++)
        y = svg_camera(&axis, y, coverage->cameras[i], &rows);
    int height = y + BOTTOM;
    str_addf(out,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
             "font-family=\"sans-serif\" font-size=\"12\">\n<style>.n{text-anchor:end}"
             ".t{text-anchor:middle;font-size:10px;fill:#555}</style>\n"
             "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
             LEFT + STRIP_W + 40, height);
    svg_legend(out);
    if (coverage->n_cameras > 0)
        svg_ticks(&axis, height, out);
    str_add(out, str_text(&rows), rows.len);
    str_add_text(out, "</svg>\n");
}

/* --- the verb --- */

typedef struct Coverage {
    const Ctl *ctl;
    Error *err;
} Coverage;

static int take_coverage(const When__Response *response, void *context)
{
    Coverage *c = context;
    if (response->body_case != WHEN__RESPONSE__BODY_COVERAGE)
        return -EBADMSG;
    const When__CoverageResponse *coverage = response->coverage;
    _cleanup_str_ Str out = {0};
    if (c->ctl->svg) {
        coverage_svg(coverage, &out);
        if (str_failed(&out))
            return -ENOMEM;
        if (strcmp(c->ctl->svg, "-") != 0)
            return file_replace(c->ctl->svg, str_text(&out), out.len, c->err);
    } else if (c->ctl->json) {
        str_add_text(&out, "{");
        json_coverage(&out, coverage->cameras, coverage->n_cameras);
        str_add_text(&out, "}\n");
    } else {
        coverage_text(coverage, &out);
    }
    if (str_failed(&out))
        return -ENOMEM;
    fwrite(str_text(&out), 1, out.len, stdout);
    return 0;
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
    if (ctl->during) {
        coverage.range = (char *)ctl->during;
        coverage.time_zone = (char *)ctl_zone(ctl);
    }
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_COVERAGE;
    request.coverage = &coverage;
    Coverage context = {ctl, err};
    return when_request(ctl->when, &request, 0, take_coverage, &context, err);
}

/* What whenscan found, for people and for programs. See scan.h. */
#include "client/scan.h"

#include "base/clock.h"
#include "client/ctl_print.h"

#include <math.h>
#include <string.h>

static double seconds(int64_t us)
{
    return (double)us / 1e6;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void json_event_of_scan(const ScanOptions *options, const ScanResult *result,
                               const ScanEvent *found, Str *out)
{
    const Event *e = &found->event;
    char start[CLOCK_MMSS_TEXT_BYTES], end[CLOCK_MMSS_TEXT_BYTES];
    clock_format_mmss(seconds(e->start_us), start);
    clock_format_mmss(seconds(e->end_us), end);
    str_add_text(out, "{\"question\":");
    str_add_json(out, options->questions[found->question]);
    str_addf(out, ",\"start_time\":\"%s\",\"end_time\":\"%s\",\"description\":", start, end);
    str_add_json(out, e->description);
    str_addf(out, ",\"start_s\":%.3f,\"end_s\":%.3f", seconds(e->start_us), seconds(e->end_us));
    str_addf(out, ",\"start_error_s\":%.3f,\"end_error_s\":%.3f,\"error_s\":%.3f",
             seconds(e->start_err_us), seconds(e->end_err_us),
             seconds(larger(e->start_err_us, e->end_err_us)));
    str_add_text(out, ",\"confidence\":");
    json_number(out, e->confidence);
    if (result->has_utc) {
        char start_utc[CLOCK_UTC_TEXT_BYTES], end_utc[CLOCK_UTC_TEXT_BYTES];
        clock_format_utc(e->start_us + result->utc_minus_pts_us, start_utc);
        clock_format_utc(e->end_us + result->utc_minus_pts_us, end_utc);
        str_addf(out, ",\"start_utc\":\"%s\",\"end_utc\":\"%s\",\"utc_error_s\":%.3f", start_utc,
                 end_utc, seconds(larger(e->start_err_us, e->end_err_us) + result->utc_err_us));
    }
    str_add_text(out, "}");
}

void scan_print_json(const ScanOptions *options, const ScanResult *result, Str *out)
{
    str_add_text(out, "[");
    for (size_t i = 0; i < result->n; i++) {
        str_add_text(out, i ? ",\n " : "");
        json_event_of_scan(options, result, &result->events[i], out);
    }
    str_add_text(out, "]\n");
}

/* Hundredths, upwards: a stated error is a bound. */
static double bound(int64_t err_us)
{
    return ceil(seconds(err_us) * 100 - 1e-6) / 100;
}

void scan_print_text(const ScanOptions *options, const ScanResult *result, Str *out)
{
    char start[CLOCK_MMSS_TEXT_BYTES], end[CLOCK_MMSS_TEXT_BYTES];
    for (size_t i = 0; i < result->n; i++) {
        const Event *e = &result->events[i].event;
        clock_format_mmss(seconds(e->start_us), start);
        clock_format_mmss(seconds(e->end_us), end);
        str_addf(out, "%s %s %.2f .. %s %s %.2f  ", start, print_plus_minus(),
                 bound(e->start_err_us), end, print_plus_minus(), bound(e->end_err_us));
        print_text(out, e->description);
        str_addf(out, "  (%.2f)", e->confidence);
        if (result->has_utc) {
            str_add_text(out, "  [");
            print_time(out, e->start_us + result->utc_minus_pts_us,
                       e->start_err_us + result->utc_err_us);
            str_add_text(out, "]");
        }
        str_add_text(out, "\n");
    }
    for (size_t q = 0; q < options->n_questions; q++) {
        bool found = false;
        for (size_t i = 0; i < result->n && !found; i++)
            found = result->events[i].question == q;
        if (!found) {
            str_add_text(out, "No: not in what was examined: ");
            print_text(out, options->questions[q]);
            str_add_text(out, "\n");
        }
    }
    clock_format_mmss(seconds(result->first_pts_us), start);
    clock_format_mmss(seconds(result->end_pts_us), end);
    double length_s = seconds(result->end_pts_us - result->first_pts_us);
    str_addf(out, "Examined: %s .. %s, %zu frames (%.2g a second), %zu windows, by ", start, end,
             result->frames, length_s > 0 ? (double)result->frames / length_s : 0.0,
             result->windows);
    print_text(out, result->model);
    if (result->truncated)
        str_addf(out, "; %zu answers were cut short, there may be more", result->truncated);
    str_add_text(out, "\n");
    if (result->notice[0]) {
        str_add_text(out, "Note: ");
        print_text(out, result->notice);
        str_add_text(out, "\n");
    }
}

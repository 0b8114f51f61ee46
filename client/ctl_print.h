/*
 * How things look: times with their error, spans of time, events, coverage; for people and as JSON.
 * A stated error always covers the rounding of what is shown.
 */
#ifndef WHEN_CLIENT_CTL_PRINT_H
#define WHEN_CLIENT_CTL_PRINT_H

#include "base/str.h"
#include "proto/event.pb-c.h"
#include "proto/query.pb-c.h"

#include <stdint.h>

/* "±" where the locale can show it, else "+/-". Call setlocale before. */
const char *print_plus_minus(void);

/* "2026-11-23T08:27:47.2Z ± 0.8 s" */
void print_time(Str *out, int64_t utc_us, int64_t err_us);

/* "2.5 s", "58 s", "1m02s", "2h03m", "3d04h" */
void print_span(Str *out, int64_t us);

/* "12 B", "3.4 MB" */
void print_bytes(Str *out, uint64_t bytes);

/* Text of others on a terminal: control characters become "?". */
void print_text(Str *out, const char *text);

/* One line without its newline: start .. end  camera  description  (watch, confidence). */
void print_event(Str *out, const When__Event *event);

/* "gate 58 s of 1m00s" of each camera; says how much of what could be examined was. */
void print_examined(Str *out, When__CameraCoverage *const *coverage, size_t n, bool with_gaps);

/* "lost 2 s: camera dark; waiting 3 s: ..." over all cameras; nothing when nothing is. */
void print_unexamined(Str *out, When__CameraCoverage *const *coverage, size_t n);

const char *print_span_state(When__SpanState state);   /* "examined", ... */
const char *print_event_state(When__EventState state); /* "open", ... */

/* Appends `"key":value` pairs without braces, so that a caller can put more beside them. Names are
 * those of the .proto files. */
void json_event(Str *out, const When__Event *event);
void json_coverage(Str *out, When__CameraCoverage *const *coverage, size_t n);
void json_strings(Str *out, char *const *texts, size_t n); /* a whole array */
void json_number(Str *out, double value);                  /* null when not finite */

#endif

/*
 * A growing byte string. Failure to allocate is remembered: append freely, check str_failed once.
 */
#ifndef WHEN_BASE_STR_H
#define WHEN_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Str {
    char *data; /* NUL-terminated once anything was appended; else NULL */
    size_t len; /* without the NUL */
    size_t capacity;
    bool failed;
} Str;

void str_deinit(Str *s); /* safe on a zeroed Str */
void str_clear(Str *s);  /* keeps the memory */
void str_add(Str *s, const void *bytes, size_t n);
void str_add_text(Str *s, const char *text);
void str_addf(Str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* text as a JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void str_add_json(Str *s, const char *text);

static inline bool str_failed(const Str *s)
{
    return s->failed;
}

/* The text, "" while nothing was appended. Owned by s. */
const char *str_text(const Str *s);

#define _cleanup_str_ __attribute__((cleanup(str_deinit)))

/* Number of single-character edits between a and b (for "did you mean"). */
size_t str_distance(const char *a, const char *b);

#endif

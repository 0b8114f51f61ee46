/* A growing byte string. See str.h. */
#include "base/str.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

void str_deinit(Str *s)
{
    free(s->data);
    *s = (Str){0};
}

void str_clear(Str *s)
{
    s->len = 0;
    s->failed = false;
    if (s->data)
        s->data[0] = '\0';
}

static bool reserve(Str *s, size_t extra)
{
    size_t needed;
    if (s->failed || !mem_add(s->len, extra, &needed) || !mem_add(needed, 1, &needed) ||
        mem_grow((void **)&s->data, &s->capacity, needed, 1) < 0)
        s->failed = true;
    return !s->failed;
}

void str_add(Str *s, const void *bytes, size_t n)
{
    if (!reserve(s, n))
        return;
    if (n)
        memcpy(s->data + s->len, bytes, n);
    s->len += n;
    s->data[s->len] = '\0';
}

void str_add_text(Str *s, const char *text)
{
    str_add(s, text, strlen(text));
}

void str_addf(Str *s, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        s->failed = true;
    else if (reserve(s, (size_t)n)) {
        vsnprintf(s->data + s->len, (size_t)n + 1, format, again);
        s->len += (size_t)n;
    }
    va_end(again);
}

/* Length of the well-formed UTF-8 sequence at p, 0 when there is none (RFC 3629, table of 4). */
static size_t utf8_length(const unsigned char *p)
{
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        return (p[1] & 0xc0) == 0x80 ? 2 : 0;
    if ((p[0] & 0xf0) == 0xe0) {
        unsigned char low = p[0] == 0xe0 ? 0xa0 : 0x80, high = p[0] == 0xed ? 0x9f : 0xbf;
        return p[1] >= low && p[1] <= high && (p[2] & 0xc0) == 0x80 ? 3 : 0;
    }
    if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        unsigned char low = p[0] == 0xf0 ? 0x90 : 0x80, high = p[0] == 0xf4 ? 0x8f : 0xbf;
        return p[1] >= low && p[1] <= high && (p[2] & 0xc0) == 0x80 && (p[3] & 0xc0) == 0x80 ? 4
                                                                                             : 0;
    }
    return 0;
}

void str_add_json(Str *s, const char *text)
{
    str_add(s, "\"", 1);
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        if (*p == '"' || *p == '\\') {
            str_addf(s, "\\%c", *p++);
        } else if (*p < 0x20 || *p == 0x7f) {
            str_addf(s, "\\u%04x", *p++);
        } else {
            size_t n = utf8_length(p);
            if (n)
                str_add(s, p, n);
            else
                str_add_text(s, "\\ufffd");
            p += n ? n : 1;
        }
    }
    str_add(s, "\"", 1);
}

const char *str_text(const Str *s)
{
    return s->data ? s->data : "";
}

size_t str_distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    size_t row[LONGEST + 1];
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST)
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

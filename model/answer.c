/*
 * Reads intervals out of what a model wrote. A scanner over bytes that looks for objects, not a
 * JSON parser: prose around the list, fences, a cut end and damaged objects must not cost what is
 * whole. Every byte is looked at once or twice, whatever the text.
 */
#include "model/answer.h"

#include "base/clock.h"
#include "base/mem.h"
#include "model/utf8.h"

#include <errno.h>
#include <math.h>
#include <string.h>

typedef struct Scanner {
    const char *text;
    size_t n, at;
} Scanner;

/* A decoded string, cut at a character's border; always valid UTF-8 and NUL-terminated. */
typedef struct Text {
    char bytes[256];
    size_t n;
    bool full;
} Text;

typedef enum Scan { SCAN_OK, SCAN_BAD, SCAN_CUT } Scan;

void answer_deinit(Answer *answer)
{
    free(answer->intervals);
    *answer = (Answer){0};
}

static void add_code(Text *text, uint32_t code)
{
    char bytes[4];
    size_t n;
    if (code < 0x20 || (code >= 0x7f && code < 0xa0))
        code = ' '; /* it is printed */
    if (code < 0x80) {
        n = 1;
        bytes[0] = (char)code;
    } else if (code < 0x800) {
        n = 2;
        bytes[0] = (char)(0xc0 | code >> 6);
    } else if (code < 0x10000) {
        n = 3;
        bytes[0] = (char)(0xe0 | code >> 12);
    } else {
        n = 4;
        bytes[0] = (char)(0xf0 | code >> 18);
    }
    for (size_t i = 1; i < n; i++)
        bytes[i] = (char)(0x80 | (code >> (6 * (n - 1 - i)) & 0x3f));
    if (text->full || text->n + n >= sizeof text->bytes) {
        text->full = true;
        return;
    }
    memcpy(text->bytes + text->n, bytes, n);
    text->n += n;
    text->bytes[text->n] = '\0';
}

static void skip_space(Scanner *s)
{
    while (s->at < s->n && memchr(" \t\r\n", s->text[s->at], 4))
        s->at++;
}

/* Four hex digits at `at`; false when they are not there. */
static bool hex4(const Scanner *s, size_t at, uint32_t *code)
{
    *code = 0;
    if (s->n - at < 4)
        return false;
    for (size_t i = at; i < at + 4; i++) {
        char c = s->text[i];
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (uint32_t)((c | 0x20) - 'a') + 10;
        else
            return false;
        *code = *code << 4 | digit;
    }
    return true;
}

/* Behind "\u"; s->at moves over the digits. Surrogates come in pairs or are U+FFFD. */
static void scan_unicode(Scanner *s, Text *out)
{
    uint32_t code, low;
    if (!hex4(s, s->at, &code)) {
        add_code(out, UTF8_REPLACEMENT);
        return;
    }
    s->at += 4;
    if (code >= 0xd800 && code < 0xdc00 && s->n - s->at >= 6 && s->text[s->at] == '\\' &&
        s->text[s->at + 1] == 'u' && hex4(s, s->at + 2, &low) && low >= 0xdc00 && low < 0xe000) {
        s->at += 6;
        code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
    }
    add_code(out, code >= 0xd800 && code < 0xe000 ? UTF8_REPLACEMENT : code);
}

/* s->at is on the opening quote, and behind the closing one when SCAN_OK. */
static Scan scan_string(Scanner *s, Text *out)
{
    *out = (Text){.n = 0};
    s->at++;
    while (s->at < s->n) {
        Utf8Step step = utf8_step(s->text + s->at, s->n - s->at);
        s->at += step.n;
        if (step.code == '"')
            return SCAN_OK;
        if (step.code != '\\') {
            add_code(out, step.code);
            continue;
        }
        if (s->at == s->n)
            break;
        char escape = s->text[s->at++];
        if (escape == 'u')
            scan_unicode(s, out);
        else if (memchr("nrtbf", escape, 5))
            add_code(out, ' ');
        else if (memchr("\"\\/", escape, 3))
            add_code(out, (uint32_t)escape);
        else
            s->at--; /* no escape: the backslash is dropped, the character stays */
    }
    return SCAN_CUT;
}

/* A number, or a bare word such as null, as text. */
static Scan scan_bare(Scanner *s, Text *out)
{
    *out = (Text){.n = 0};
    size_t begin = s->at;
    while (s->at < s->n && s->text[s->at] && !memchr(",:{}[]\" \t\r\n", s->text[s->at], 11))
        add_code(out, (unsigned char)s->text[s->at++]);
    if (s->at == s->n)
        return SCAN_CUT;
    return s->at > begin ? SCAN_OK : SCAN_BAD;
}

static bool is_one_of(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

typedef struct Fields {
    double start_s, end_s; /* NAN: not there */
    Text description;
} Fields;

static double time_of(const Text *value)
{
    double seconds;
    if (clock_parse_mmss(value->bytes, &seconds) < 0 || !isfinite(seconds) || seconds < 0)
        return NAN;
    return seconds;
}

static void take_field(Fields *fields, const char *name, const Text *value)
{
    static const char *const STARTS[] = {"start_time", "start", "start_seconds"};
    static const char *const ENDS[] = {"end_time", "end", "end_seconds"};
    static const char *const TEXTS[] = {"description", "label", "event", "caption"};
    if (is_one_of(name, STARTS, 3))
        fields->start_s = time_of(value);
    else if (is_one_of(name, ENDS, 3))
        fields->end_s = time_of(value);
    else if (is_one_of(name, TEXTS, 4))
        fields->description = *value;
}

/* s->at is on '{', and behind '}' when SCAN_OK; on the offending byte when SCAN_BAD. */
static Scan scan_object(Scanner *s, Fields *fields)
{
    Text name, value;
    *fields = (Fields){.start_s = NAN, .end_s = NAN};
    s->at++;
    for (;;) {
        skip_space(s);
        if (s->at == s->n)
            return SCAN_CUT;
        if (s->text[s->at] == '}') {
            s->at++;
            return SCAN_OK;
        }
        if (s->text[s->at] == ',') {
            s->at++;
            continue;
        }
        if (s->text[s->at] != '"')
            return SCAN_BAD;
        Scan scan = scan_string(s, &name);
        if (scan != SCAN_OK)
            return scan;
        skip_space(s);
        if (s->at == s->n)
            return SCAN_CUT;
        if (s->text[s->at] != ':')
            return SCAN_BAD;
        s->at++;
        skip_space(s);
        if (s->at == s->n)
            return SCAN_CUT;
        scan = s->text[s->at] == '"' ? scan_string(s, &value) : scan_bare(s, &value);
        if (scan != SCAN_OK)
            return scan;
        take_field(fields, name.bytes, &value);
    }
}

static int add_interval(Answer *answer, size_t *capacity, const Fields *fields, size_t begin,
                        size_t end)
{
    if (!(fields->start_s <= fields->end_s) || answer->n == ANSWER_MAX_INTERVALS) {
        answer->rejected++;
        return 0;
    }
    if (mem_grow((void **)&answer->intervals, capacity, answer->n + 1, sizeof *answer->intervals) <
        0)
        return -ENOMEM;
    AnswerInterval *interval = &answer->intervals[answer->n++];
    *interval = (AnswerInterval){
        .start_s = fields->start_s, .end_s = fields->end_s, .begin = begin, .end = end};
    memcpy(interval->description, fields->description.bytes, sizeof interval->description);
    return 0;
}

int answer_parse(const char *text, size_t n, Answer *answer)
{
    Scanner s = {.text = text, .n = n};
    size_t capacity = 0;
    bool open = false;
    *answer = (Answer){0};
    while (s.at < s.n) {
        size_t begin = s.at;
        Fields fields;
        switch (text[s.at]) {
        case '[':
            open = true;
            s.at++;
            break;
        case ']':
            if (open) {
                answer->complete = true;
                return 0; /* what is said behind the list is no answer */
            }
            s.at++;
            break;
        case '{': {
            Scan scan = scan_object(&s, &fields);
            if (scan == SCAN_CUT)
                return 0;
            if (scan == SCAN_BAD) { /* perhaps a list or an object begins there */
                answer->rejected += text[s.at] != '[' && text[s.at] != '{';
                break;
            }
            if (add_interval(answer, &capacity, &fields, begin, s.at) < 0) {
                answer_deinit(answer);
                return -ENOMEM;
            }
            break;
        }
        default:
            s.at++;
        }
    }
    return 0;
}

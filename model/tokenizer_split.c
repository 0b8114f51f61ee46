/*
 * Qwen2's pre-tokenizer, by hand:
 *
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\n\p{L}\p{N}]?\p{L}+ | \p{N} | ?[^\s\p{L}\p{N}]+[\r\n]*
 *   | \s*[\r\n]+ | \s+(?!\S) | \s+
 *
 * (the fourth begins with an optional space). Alternatives are tried in this order; at least one
 * fits at every place. Categories are utf8proc's.
 */
#include "model/tokenizer_private.h"

#include "model/utf8.h"

#include <utf8proc.h>

typedef enum Class { LETTER, NUMBER, LINE_BREAK, SPACE, OTHER } Class;

/* White_Space of Unicode without \r and \n, which are LINE_BREAK. */
static bool is_space(uint32_t c)
{
    return c == ' ' || c == '\t' || c == 0x0b || c == 0x0c || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

static Class class_of(uint32_t c)
{
    if (c == '\r' || c == '\n')
        return LINE_BREAK;
    if (is_space(c))
        return SPACE;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return NUMBER;
    default:
        return OTHER;
    }
}

typedef struct Text {
    const char *bytes;
    size_t n;
} Text;

/* Class of the character at `at` and where the next begins; at < n. */
static Class class_at(Text text, size_t at, size_t *next)
{
    Utf8Step step = utf8_step(text.bytes + at, text.n - at);
    *next = at + step.n;
    return class_of(step.code);
}

/* End of the run of this class from `at`. */
static size_t run_of(Text text, size_t at, Class class)
{
    size_t next;
    while (at < text.n && class_at(text, at, &next) == class)
        at = next;
    return at;
}

/* An ASCII letter in either case, or what folds to it: U+017F is an s. Bytes matched, or 0. */
static size_t folds_to(Text text, size_t at, char letter)
{
    if (at >= text.n)
        return 0;
    if ((text.bytes[at] | 0x20) == letter && text.bytes[at] >= 'A')
        return 1;
    if (letter == 's' && text.n - at >= 2 && text.bytes[at] == '\xc5' &&
        text.bytes[at + 1] == '\xbf')
        return 2;
    return 0;
}

static size_t contraction(Text text, size_t at)
{
    static const char *const ENDINGS[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    if (text.bytes[at] != '\'')
        return 0;
    for (size_t i = 0; i < sizeof ENDINGS / sizeof ENDINGS[0]; i++) {
        size_t end = at + 1, n = 1;
        for (const char *c = ENDINGS[i]; *c && n; c++) {
            n = folds_to(text, end, *c);
            end += n;
        }
        if (n)
            return end - at;
    }
    return 0;
}

/* The last three alternatives; text[at] is white space. */
static size_t white_space(Text text, size_t at)
{
    size_t end = at, last = at, after_break = 0, next;
    while (end < text.n) {
        Class class = class_at(text, end, &next);
        if (class != SPACE && class != LINE_BREAK)
            break;
        last = end;
        end = next;
        if (class == LINE_BREAK)
            after_break = end;
    }
    if (after_break)
        return after_break - at;
    if (end == text.n || last == at)
        return end - at;
    return last - at; /* the last space belongs to what follows */
}

size_t tokenizer_piece(const char *bytes, size_t n, size_t at)
{
    Text text = {bytes, n};
    size_t next, after, length = contraction(text, at);
    if (length)
        return length;
    Class class = class_at(text, at, &next);
    if (class == LETTER)
        return run_of(text, next, LETTER) - at;
    if (class == NUMBER)
        return next - at;
    if (class != LINE_BREAK && next < n && class_at(text, next, &after) == LETTER)
        return run_of(text, after, LETTER) - at;
    size_t other = at;
    if (bytes[at] == ' ')
        other = next;
    if (other < n && class_at(text, other, &after) == OTHER) {
        size_t end = run_of(text, after, OTHER);
        return run_of(text, end, LINE_BREAK) - at;
    }
    return white_space(text, at);
}

/*
 * One step through bytes that may be UTF-8: for everything in model/ that meets text from outside.
 */
#ifndef WHEN_MODEL_UTF8_H
#define WHEN_MODEL_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_REPLACEMENT 0xfffdu

typedef struct Utf8Step {
    uint32_t code; /* UTF8_REPLACEMENT when not valid */
    uint8_t n;     /* bytes: of the character, or of the maximal invalid part (>= 1) */
    bool valid;
    bool cut; /* not valid, but more bytes behind the end could complete it */
} Utf8Step;

/* n >= 1. The maximal invalid part is Unicode's maximal subpart (table 3-7 of the standard). */
static inline Utf8Step utf8_step(const void *bytes, size_t n)
{
    const uint8_t *p = (const uint8_t *)bytes;
    uint8_t low = 0x80, high = 0xbf, more;
    uint32_t code;
    if (p[0] < 0x80)
        return (Utf8Step){p[0], 1, true, false};
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        more = 1;
        code = p[0] & 0x1fu;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        more = 2;
        code = p[0] & 0x0fu;
        low = p[0] == 0xe0 ? 0xa0 : 0x80;
        high = p[0] == 0xed ? 0x9f : 0xbf;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        more = 3;
        code = p[0] & 0x07u;
        low = p[0] == 0xf0 ? 0x90 : 0x80;
        high = p[0] == 0xf4 ? 0x8f : 0xbf;
    } else {
        return (Utf8Step){UTF8_REPLACEMENT, 1, false, false};
    }
    for (uint8_t i = 1; i <= more; i++) {
        if (i == n)
            return (Utf8Step){UTF8_REPLACEMENT, i, false, true};
        if (p[i] < low || p[i] > high)
            return (Utf8Step){UTF8_REPLACEMENT, i, false, false};
        code = code << 6 | (p[i] & 0x3fu);
        low = 0x80;
        high = 0xbf;
    }
    return (Utf8Step){code, (uint8_t)(more + 1), true, false};
}

#endif

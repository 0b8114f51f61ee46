/* Values as people write them. See value.h. */
#include "config/value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

typedef struct Unit {
    const char *name;
    double factor;
} Unit;

static int refuse(const char **reason, const char *text)
{
    *reason = text;
    return -EINVAL;
}

/* The number at *text, which moves behind it. Own code: strtod would read the locale, "inf", "1e9"
 * and "0x10". At most 15 digits, which a double holds exactly. */
static bool scan_number(const char **text, double *number)
{
    const char *p = *text;
    double value = 0, scale = 1;
    int digits = 0;
    for (; isdigit((unsigned char)*p); p++, digits++)
        value = 10 * value + (*p - '0');
    if (!digits)
        return false;
    if (*p == '.') {
        const char *point = p++;
        for (; isdigit((unsigned char)*p); p++, digits++) {
            value = 10 * value + (*p - '0');
            scale *= 10;
        }
        if (p == point + 1)
            return false;
    }
    if (digits > 15)
        return false;
    *number = value / scale;
    *text = p;
    return true;
}

/* Number and unit; a lone 0 needs none. */
static int scan_with_unit(const char *text, const Unit *units, double max, double *result,
                          const char **reason, const char *no_number, const char *no_unit,
                          const char *too_large)
{
    double number;
    if (!scan_number(&text, &number))
        return refuse(reason, no_number);
    while (*text == ' ')
        text++;
    if (*text == '\0' && number == 0) {
        *result = 0;
        return 0;
    }
    for (const Unit *u = units; u->name; u++) {
        if (strcmp(text, u->name) != 0)
            continue;
        if (number * u->factor > max)
            return refuse(reason, too_large);
        *result = number * u->factor;
        return 0;
    }
    return refuse(reason, no_unit);
}

int value_duration(const char *text, int64_t *us, const char **reason)
{
    static const Unit UNITS[] = {{"us", 1},     {"ms", 1e3},   {"s", 1e6},     {"m", 60e6},
                                 {"min", 60e6}, {"h", 3600e6}, {"d", 86400e6}, {NULL, 0}};
    double value;
    int rc = scan_with_unit(
        text, UNITS, 1e15, &value, reason, "not a duration (write it like 16s, 500ms, 1m, 2h)",
        "not a duration: its unit is one of ms, s, m, h, d (like 16s)", "too long a duration");
    if (rc == 0)
        *us = (int64_t)(value + 0.5);
    return rc;
}

int value_size(const char *text, uint64_t *bytes, const char **reason)
{
    static const Unit UNITS[] = {{"B", 1},
                                 {"kB", 1e3},
                                 {"KB", 1e3},
                                 {"MB", 1e6},
                                 {"GB", 1e9},
                                 {"TB", 1e12},
                                 {"KiB", 1024.0},
                                 {"MiB", 1048576.0},
                                 {"GiB", 1073741824.0},
                                 {"TiB", 1099511627776.0},
                                 {NULL, 0}};
    double value;
    int rc = scan_with_unit(text, UNITS, 1e15, &value, reason,
                            "not a size (write it like 2GB, 500MB, 64KiB)",
                            "not a size: its unit is one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB "
                            "(like 2GB)",
                            "too large a size");
    if (rc == 0)
        *bytes = (uint64_t)(value + 0.5);
    return rc;
}

int value_number(const char *text, double *number, const char **reason)
{
    double value;
    if (!scan_number(&text, &value) || *text)
        return refuse(reason, "not a number (write it like 2 or 0.5)");
    *number = value;
    return 0;
}

int value_int(const char *text, int *number, const char **reason)
{
    int value = 0, digits = 0;
    for (; isdigit((unsigned char)*text); text++, digits++)
        if (digits < 9)
            value = 10 * value + (*text - '0');
    if (*text || digits == 0 || digits > 9)
        return refuse(reason, "not a whole number");
    *number = value;
    return 0;
}

int value_bool(const char *text, bool *yes, const char **reason)
{
    static const char *const WORDS[] = {"true", "yes", "on", "false", "no", "off"};
    for (int i = 0; i < 6; i++) {
        if (strcasecmp(text, WORDS[i]) == 0) {
            *yes = i < 3;
            return 0;
        }
    }
    return refuse(reason, "neither true nor false");
}

int value_name(const char *text, unsigned max_bytes, const char **reason)
{
    if (!*text)
        return refuse(reason, "an empty name");
    if (strlen(text) >= max_bytes)
        return refuse(reason, "too long a name (at most 63 characters)");
    for (const char *p = text; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9');
        if (!plain && (p == text || (*p != '_' && *p != '-')))
            return refuse(reason, "not a name (a-z, 0-9, - and _ only, a letter or digit first)");
    }
    return 0;
}

int value_address(const char *text, char host[64], int *port, const char **reason)
{
    static const char SHAPE[] = "not an address with its port (write it like 127.0.0.1:9433)";
    const char *colon = strrchr(text, ':');
    bool six = text[0] == '[';
    if (!colon || colon - text >= 64 || (six && (colon - text < 2 || colon[-1] != ']')))
        return refuse(reason, SHAPE);
    char address[64];
    size_t n = (size_t)(colon - text) - (six ? 2 : 0);
    memcpy(address, text + six, n);
    address[n] = '\0';
    unsigned char bytes[sizeof(struct in6_addr)];
    if (inet_pton(six ? AF_INET6 : AF_INET, address, bytes) != 1)
        return refuse(reason, SHAPE);
    int number;
    if (value_int(colon + 1, &number, reason) < 0 || number < 1 || number > 65535)
        return refuse(reason, "the port is not between 1 and 65535");
    memcpy(host, address, n + 1);
    *port = number;
    return 0;
}

bool value_is_text(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    while (*p) {
        int more;
        unsigned code;
        if (*p < 0x20 || *p == 0x7f)
            return false;
        if (*p < 0x80) {
            p++;
            continue;
        }
        if ((*p & 0xe0) == 0xc0) {
            more = 1;
            code = *p & 0x1f;
        } else if ((*p & 0xf0) == 0xe0) {
            more = 2;
            code = *p & 0x0f;
        } else if ((*p & 0xf8) == 0xf0) {
            more = 3;
            code = *p & 0x07;
        } else {
            return false;
        }
        static const unsigned LEAST[] = {0, 0x80, 0x800, 0x10000};
        p++;
        for (int i = 0; i < more; i++, p++) {
            if ((*p & 0xc0) != 0x80)
                return false;
            code = code << 6 | (*p & 0x3f);
        }
        if (code < LEAST[more] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
            return false;
    }
    return true;
}

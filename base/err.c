/* Errors that a user can cause: filled once where found, carried up unchanged. See err.h. */
#include "base/err.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* A message may quote bytes from outside: control characters must not reach a terminal or log. */
static void one_line(char *text)
{
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
}

int error_set(Error *err, int errnum, int exit_code, const char *format, ...)
{
    assert(errnum > 0);
    if (err && err->exit_code == 0) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        one_line(err->text);
        err->exit_code = exit_code;
    }
    return -errnum;
}

void error_prefix(Error *err, const char *format, ...)
{
    if (!err || err->exit_code == 0)
        return;
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof err->text)
        n = (int)sizeof err->text - 1;
    snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", old);
    one_line(err->text);
}

void error_clear(Error *err)
{
    if (err)
        *err = (Error){0};
}

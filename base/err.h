/*
 * Errors that a user can cause.
 *
 * Functions return int: 0 done, negative errno-style fatal, positive = the module's own enum of
 * expected outcomes. A function that reads what a user gave (a file, a key, a URL, a message)
 * also takes an Error and fills it once, where the fault was found: one line that names the file,
 * camera or key, the reason and the remedy, and the sysexits code that a program should exit with.
 * What only a bug can cause is an assert, not an Error.
 */
#ifndef WHEN_BASE_ERR_H
#define WHEN_BASE_ERR_H

#include <stdarg.h>
#include <sysexits.h>

typedef struct Error {
    int exit_code;  /* EX_* of sysexits.h, 0 while nothing is wrong */
    char text[512]; /* one line, no newline at its end */
} Error;

/* Fills *err (may be NULL) and returns -errnum. errnum > 0. A text already there is kept: the
 * first report is the nearest to the cause. */
int error_set(Error *err, int errnum, int exit_code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "PREFIX: " before the text that is there, for callers that know the file or camera. */
void error_prefix(Error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

void error_clear(Error *err);

#endif

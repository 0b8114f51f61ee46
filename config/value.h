/*
 * Values as people write them in whend.yaml: durations, sizes, numbers, names. Pure text, no YAML.
 * All return 0, or -EINVAL with *reason set to a static text that says what is wrong and how to
 * write it; the output is then unchanged.
 */
#ifndef WHEN_CONFIG_VALUE_H
#define WHEN_CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>

/* "16s", "500ms", "1.5m", "2h", "7d", "0". Microseconds. */
int value_duration(const char *text, int64_t *us, const char **reason);

/* "2GB", "500MB" (powers of 1000), "64KiB", "1GiB" (powers of 1024), "100B", "0". */
int value_size(const char *text, uint64_t *bytes, const char **reason);

/* Digits, and a point with digits behind it. Not negative, no exponent. */
int value_number(const char *text, double *number, const char **reason);

int value_int(const char *text, int *number, const char **reason);

int value_bool(const char *text, bool *yes,
               const char **reason); /* true, yes, on, false, no, off */

/* [a-z0-9][a-z0-9_-]*, shorter than max_bytes. Says so; nothing is converted. */
int value_name(const char *text, unsigned max_bytes, const char **reason);

/* "127.0.0.1:9433" or "[::1]:9433": an address in numbers, without the brackets, and its port. */
int value_address(const char *text, char host[64], int *port, const char **reason);

/* Valid UTF-8 without control characters. */
bool value_is_text(const char *text);

#endif

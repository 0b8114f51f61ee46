/*
 * Log lines on stderr: `level module key=value ...`, one line a fact, numbers with units in the
 * key's name. Under systemd (JOURNAL_STREAM set) the level is sent as the journal's <N> prefix.
 * Thread-safe: a line is one write(2). Nothing secret may be passed: callers redact URLs first.
 */
#ifndef WHEN_BASE_LOG_H
#define WHEN_BASE_LOG_H

typedef enum LogLevel {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARN = 4,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7
} LogLevel;

/* program is kept, not copied. level: lines above it are not written; the default is INFO. */
void log_init(const char *program, LogLevel level);

/* "error", "warn", "info" or "debug" to *level; -EINVAL for anything else. */
int log_level_parse(const char *text, LogLevel *level);

void log_write(LogLevel level, const char *module, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(module, ...) log_write(LOG_LEVEL_ERROR, module, __VA_ARGS__)
#define log_warn(module, ...)  log_write(LOG_LEVEL_WARN, module, __VA_ARGS__)
#define log_info(module, ...)  log_write(LOG_LEVEL_INFO, module, __VA_ARGS__)
#define log_debug(module, ...) log_write(LOG_LEVEL_DEBUG, module, __VA_ARGS__)

#endif

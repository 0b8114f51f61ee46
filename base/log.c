/* Log lines on stderr. See log.h. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *program_name = "whend";
static LogLevel max_level = LOG_LEVEL_INFO;
static int journal;

static const char *level_name(LogLevel level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "error";
    case LOG_LEVEL_WARN:
        return "warn";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_DEBUG:
        return "debug";
    }
    return "error";
}

void log_init(const char *program, LogLevel level)
{
    program_name = program;
    max_level = level;
    journal = getenv("JOURNAL_STREAM") != NULL;
}

int log_level_parse(const char *text, LogLevel *level)
{
    static const LogLevel levels[] = {LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO,
                                      LOG_LEVEL_DEBUG};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (strcmp(text, level_name(levels[i])) == 0) {
            *level = levels[i];
            return 0;
        }
    return -EINVAL;
}

void log_write(LogLevel level, const char *module, const char *format, ...)
{
    if (level > max_level)
        return;
    char line[1024];
    size_t used = 0;
    int n = journal ? snprintf(line, sizeof line, "<%d>%s ", (int)level, module)
                    : snprintf(line, sizeof line, "%s: %s %s ", program_name, level_name(level),
                               module);
    if (n > 0)
        used = (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 1;
    va_list args;
    va_start(args, format);
    n = vsnprintf(line + used, sizeof line - used, format, args);
    va_end(args);
    if (n > 0)
        used = used + (size_t)n < sizeof line - 1 ? used + (size_t)n : sizeof line - 2;
    for (size_t i = 0; i < used; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' ';
    line[used++] = '\n';
    /* A log that cannot be written has nowhere to be reported. */
    ssize_t ignored = write(STDERR_FILENO, line, used);
    (void)ignored;
}

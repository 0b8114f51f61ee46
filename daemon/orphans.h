/*
 * Orphans: workers of a whend that was killed. They get SIGTERM when it dies, but one in a long
 * computation may not hear it for minutes, holding the model's memory, or still write a recording.
 * The supervisor keeps a list of its children in a file; the next whend sees to it that they are
 * gone before it starts its own.
 */
#ifndef WHEN_DAEMON_ORPHANS_H
#define WHEN_DAEMON_ORPHANS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Replaces the list; a list that cannot be written is logged once, nothing else. */
void orphans_store(const char *path, const pid_t *pids, size_t n);

/* Ends the processes of the list that are still the same ones: SIGTERM, SIGKILL after patience_us.
 * Waits for them; only for use before the loop. How many there were. */
size_t orphans_end(const char *path, int64_t patience_us);

#endif

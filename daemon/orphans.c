/* Workers of an earlier whend. See orphans.h. */
#include "daemon/orphans.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_ORPHANS = 1024 };

/* When the process began, in clock ticks since boot: with its pid it names one process for ever. 0:
 * there is none (a zombie counts as none). */
static uint64_t begin_of(pid_t pid)
{
    char path[40], line[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    size_t n = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[n] = '\0';
    /* The name, field 2, may hold anything; what follows its last ')' is numbers. */
    const char *rest = strrchr(line, ')');
    char state;
    uint64_t begin;
    if (!rest || sscanf(rest + 1,
                        " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
                        "%*d %*d %*d %" SCNu64,
                        &state, &begin) != 2)
        return 0;
    return state == 'Z' || state == 'X' ? 0 : begin;
}

void orphans_store(const char *path, const pid_t *pids, size_t n)
{
    static bool told;
    /* Replaced as a whole, so that a kill in between leaves the old or the new one. Not synced: a
     * power cut leaves no orphans. */
    char part[512];
    snprintf(part, sizeof part, "%s.tmp", path);
    FILE *file = fopen(part, "we");
    bool good = file != NULL;
    for (size_t i = 0; good && i < n; i++)
        good = fprintf(file, "%ld %" PRIu64 "\n", (long)pids[i], begin_of(pids[i])) > 0;
    if (file && fclose(file) != 0)
        good = false;
    if (good && rename(part, path) == 0)
        return;
    if (!told)
        log_warn("orphans", "%s: %s", path, strerror(errno));
    told = true;
}

static int open_process(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void send_signal(int fd, int signal)
{
    syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0);
}

/* Waits until all are gone; those that are get fd -1. true: all are. */
static bool wait_gone(struct pollfd *processes, size_t n, int64_t until_us)
{
    for (;;) {
        size_t left = 0;
        for (size_t i = 0; i < n; i++) {
            if (processes[i].revents)
                closep(&processes[i].fd);
            processes[i].revents = 0;
            left += processes[i].fd >= 0;
        }
        int64_t wait_us = until_us - clock_monotonic_us();
        if (left == 0 || wait_us <= 0)
            return left == 0;
        if (poll(processes, n, (int)(wait_us / 1000) + 1) < 0 && errno != EINTR)
            return false;
    }
}

size_t orphans_end(const char *path, int64_t patience_us)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    struct pollfd processes[MAX_ORPHANS];
    size_t n = 0;
    long pid;
    uint64_t begin;
    while (n < MAX_ORPHANS && fscanf(file, "%ld %" SCNu64, &pid, &begin) == 2) {
        if (pid <= 1 || begin == 0)
            continue;
        /* Opened first, compared then: what is compared is what is signalled. */
        int fd = open_process((pid_t)pid);
        if (fd >= 0 && begin_of((pid_t)pid) == begin)
            processes[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
        else
            closep(&fd);
    }
    fclose(file);
    if (n == 0)
        return 0;
    log_info("orphans", "workers=%zu of an earlier whend are still there: waiting for their end",
             n);
    for (size_t i = 0; i < n; i++)
        send_signal(processes[i].fd, SIGTERM);
    if (!wait_gone(processes, n, clock_monotonic_us() + patience_us)) {
        for (size_t i = 0; i < n; i++)
            if (processes[i].fd >= 0)
                send_signal(processes[i].fd, SIGKILL);
        wait_gone(processes, n, clock_monotonic_us() + 2 * US_PER_S);
    }
    for (size_t i = 0; i < n; i++)
        closep(&processes[i].fd);
    return n;
}

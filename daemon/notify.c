/* Words to systemd, by its documented protocol: a datagram to $NOTIFY_SOCKET. Not by libsystemd,
 * whose sd_notify() waits while the reader's queue is full; whend's loop must not. See notify.h. */
#include "daemon/notify.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool ready_waits; /* READY=1 found the queue full */

/* false: the queue is full. Without a reader, or with one that is gone, there is nothing to say. */
static bool say(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path)
        return true;
    size_t length = strlen(path);
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') /* the abstract namespace */
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true;
    ssize_t n = sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
                       (const struct sockaddr *)&address,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    bool full = n < 0 && (errno == EAGAIN || errno == ENOBUFS);
    close(fd);
    return !full;
}

void notify_ready(void)
{
    ready_waits = !say("READY=1");
}

void notify_reloading(void)
{
    char text[80];
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_monotonic_us());
    say(text);
}

void notify_stopping(void)
{
    say("STOPPING=1");
}

void notify_status(const char *line)
{
    static char last[512];
    if (strcmp(last, line) == 0)
        return;
    char text[sizeof last + 8];
    snprintf(text, sizeof text, "STATUS=%s", line);
    if (say(text))
        snprintf(last, sizeof last, "%s", line);
}

void notify_alive(void)
{
    if (ready_waits)
        notify_ready();
    if (getenv("WATCHDOG_USEC"))
        say("WATCHDOG=1");
}

/* What ended a stream, from GStreamer's errors. See source_fault.h. */
#include "pipeline/source_fault.h"

#include "base/mem.h"
#include "pipeline/url.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PROBE_MS = 1000, REASON_BYTES = 256 };

/* rtspsrc only says that it could not connect. Why, a connection of our own tells: at once, or by
 * silence for PROBE_MS. */
static SourceFault why_no_connection(const char *url, char *reason, size_t size)
{
    char host[256], port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    if (!url_host(url, host, sizeof host, port, sizeof port) ||
        getaddrinfo(host, port, &hints, &found) != 0) {
        snprintf(reason, size, "no such host: its name does not resolve");
        return SOURCE_TIMEOUT;
    }
    int error = ETIMEDOUT;
    _cleanup_close_ int fd =
        socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0) {
        error = 0;
    } else if (fd >= 0) {
        struct pollfd item = {.fd = fd, .events = POLLOUT};
        socklen_t n = sizeof error;
        if (errno != EINPROGRESS)
            error = errno;
        else if (poll(&item, 1, PROBE_MS) == 1)
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n);
    }
    freeaddrinfo(found);
    if (error == ECONNREFUSED) {
        snprintf(reason, size, "connection refused: nothing listens there");
        return SOURCE_REFUSED;
    }
    if (error == 0) {
        snprintf(reason, size, "something listens there, but it does not speak RTSP");
        return SOURCE_FAILED;
    }
    snprintf(reason, size, "no answer from there: %s", strerror(error));
    return SOURCE_TIMEOUT;
}

SourceFault source_fault(const char *url, const GError *error, const char *debug, char *reason,
                         size_t size)
{
    const char *all = debug ? debug : "";
    if (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_AUTHORIZED) ||
        strstr(all, "Unauthorized") || strstr(all, "Forbidden")) {
        snprintf(reason, size, "wrong user or password");
        return SOURCE_UNAUTHORIZED;
    }
    if (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND)) {
        snprintf(reason, size, "no such stream on the server (404): check the path of the URL");
        return SOURCE_NOT_FOUND;
    }
    if (strstr(all, "Failed to connect"))
        return why_no_connection(url, reason, size);
    if (strstr(all, "imeout") || strstr(all, "imed out")) {
        snprintf(reason, size, "no answer from there");
        return SOURCE_TIMEOUT;
    }
    char text[REASON_BYTES];
    url_redact(error->message, text, sizeof text);
    g_strdelimit(text, "\r\n\t", ' ');
    snprintf(reason, size, "%s", text);
    return SOURCE_FAILED;
}

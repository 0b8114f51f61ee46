/* Metrics and health over HTTP. See http.h. */
#include "daemon/http.h"

#include "base/mem.h"
#include "config/value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 32, TIMEOUT_S = 10, MEMORY_BYTES = 16384, BACKLOG = 16 };

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define TEXT_TYPE    "text/plain; charset=utf-8"

struct Http {
    struct MHD_Daemon *mhd;
    HttpPages pages;
};

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned code, const char *type,
                             const Str *body)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body->len, (void *)(uintptr_t)str_text(body), MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result r = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return r;
}

static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *data_bytes, void **seen)
{
    (void)version;
    (void)data;
    /* The first call only shows the headers; a body, if there is one, is read and thrown away. */
    static int marker;
    if (!*seen) {
        *seen = &marker;
        return MHD_YES;
    }
    if (*data_bytes) {
        *data_bytes = 0;
        return MHD_YES;
    }
    const Http *http = context;
    _cleanup_str_ Str body = {0};
    unsigned code = MHD_HTTP_OK;
    const char *type = TEXT_TYPE;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        code = MHD_HTTP_METHOD_NOT_ALLOWED;
        str_add_text(&body, "only GET and HEAD\n");
    } else if (strcmp(url, "/metrics") == 0) {
        http->pages.metrics(&body, http->pages.context);
        type = METRICS_TYPE;
    } else if (strcmp(url, "/healthz") == 0) {
        if (http->pages.healthy(&body, http->pages.context))
            str_add_text(&body, "ok\n");
        else
            code = MHD_HTTP_SERVICE_UNAVAILABLE;
    } else {
        code = MHD_HTTP_NOT_FOUND;
        str_add_text(&body, "there are /metrics and /healthz\n");
    }
    return str_failed(&body) ? MHD_NO : reply(connection, code, type, &body);
}

static int listen_on(const char *address, Error *err)
{
    char host[64];
    int port, yes = 1;
    const char *reason;
    if (value_address(address, host, &port, &reason) < 0)
        return error_set(err, EINVAL, EX_CONFIG, "http.address: %s: %s", address, reason);
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool is_four = inet_pton(AF_INET, host, &four.sin_addr) == 1;
    if (!is_four)
        inet_pton(AF_INET6, host, &six.sin6_addr);
    int fd = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd < 0 ||
        bind(fd, is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six,
             is_four ? sizeof four : sizeof six) < 0 ||
        listen(fd, BACKLOG) < 0) {
        int errnum = errno;
        if (fd >= 0)
            close(fd);
        return error_set(err, errnum, EX_UNAVAILABLE,
                         "http.address: %s: %s (choose another one, or off)", address,
                         strerror(errnum));
    }
    return fd;
}

int http_open(const char *address, const HttpPages *pages, Http **opened, Error *err)
{
    *opened = NULL;
    int fd = listen_on(address, err);
    if (fd < 0)
        return fd;
    Http *http = calloc(1, sizeof *http);
    if (http) {
        http->pages = *pages;
        http->mhd = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, answer, http,
                                     MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                                     (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
                                     (unsigned)TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                     (size_t)MEMORY_BYTES, MHD_OPTION_END);
    }
    if (!http || !http->mhd) {
        close(fd);
        free(http);
        return error_set(err, ENOMEM, EX_OSERR, "http.address: %s: no memory to listen", address);
    }
    *opened = http;
    return 0;
}

void http_free(Http *http)
{
    if (!http)
        return;
    MHD_stop_daemon(http->mhd);
    free(http);
}

int http_fd(const Http *http)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    return info ? info->epoll_fd : -1;
}

void http_run(Http *http)
{
    MHD_run(http->mhd);
}

/*
 * HTTP: GET /metrics (Prometheus' text format 0.0.4) and GET /healthz (200 "ok", or 503 and a
 * reason a line). libmicrohttpd in its external mode: no thread of its own, one epoll descriptor in
 * whend's loop, nothing waits. This header is free of it.
 */
#ifndef WHEN_DAEMON_HTTP_H
#define WHEN_DAEMON_HTTP_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>

typedef struct HttpPages {
    void (*metrics)(Str *out, void *context);
    bool (*healthy)(Str *out, void *context); /* and why not */
    void *context;
} HttpPages;

typedef struct Http Http;

/* address: "HOST:PORT" as value_address reads it. EX_UNAVAILABLE: it is taken. */
int http_open(const char *address, const HttpPages *pages, Http **http, Error *err);
void http_free(Http *http);
int http_fd(const Http *http); /* for zmq_poll: readable when http_run has work */
void http_run(Http *http);     /* also once a second, for connections that fell silent */

#endif

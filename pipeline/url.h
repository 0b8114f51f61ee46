/*
 * Camera URLs: user and password are taken out once and never go into a log, message or error.
 */
#ifndef WHEN_PIPELINE_URL_H
#define WHEN_PIPELINE_URL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct Url {
    char *clean;    /* without user and password */
    char *user;     /* decoded; NULL: none in the URL */
    char *password; /* decoded; NULL: none in the URL; wiped by url_deinit */
} Url;

bool url_is_stream(const char *text); /* rtsp://, rtsps://, http:// or https:// */
bool url_is_http(const char *text);

/* Splits "rtsp://user:password@host:port/path". EX_CONFIG with a text that has no secret when the
 * URL is none. A password may contain '@' and ':' as they are, or in percent notation. */
int url_split(const char *text, Url *url, Error *err);
void url_deinit(Url *url);

/* Host and port of a clean URL ("[::1]" without its brackets); false when it has none. */
bool url_host(const char *clean, char *host, size_t host_size, char *port, size_t port_size);

/* Copies text to out, cut to size, with "user:password@" of any URL in it replaced by "***@". */
void url_redact(const char *text, char *out, size_t size);

#endif

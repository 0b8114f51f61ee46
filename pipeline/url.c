/* Camera URLs. See url.h. */
#include "pipeline/url.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_URL_BYTES = 2048 };

bool url_is_http(const char *text)
{
    return strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
}

bool url_is_stream(const char *text)
{
    return strncasecmp(text, "rtsp://", 7) == 0 || strncasecmp(text, "rtsps://", 8) == 0 ||
           url_is_http(text);
}

static int hex(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* n bytes at p with %xx decoded; NULL without memory. */
static char *decode(const char *p, size_t n)
{
    char *out = malloc(n + 1), *q = out;
    if (!out)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '%' && i + 2 < n && hex(p[i + 1]) >= 0 && hex(p[i + 2]) >= 0) {
            char c = (char)(hex(p[i + 1]) * 16 + hex(p[i + 2]));
            *q++ = c ? c : '?';
            i += 2;
        } else {
            *q++ = p[i];
        }
    }
    *q = '\0';
    return out;
}

/* Where "user:password" ends: the last '@' before the path; NULL when there is none. */
static const char *credentials_end(const char *authority, const char *stop_at)
{
    const char *end = authority + strcspn(authority, stop_at), *at = NULL;
    for (const char *p = authority; p < end; p++)
        if (*p == '@')
            at = p;
    return at;
}

int url_split(const char *text, Url *url, Error *err)
{
    *url = (Url){0};
    if (!url_is_stream(text))
        return error_set(err, EINVAL, EX_CONFIG,
                         "url: none of rtsp://, rtsps://, http:// and https://");
    if (strlen(text) > MAX_URL_BYTES)
        return error_set(err, EINVAL, EX_CONFIG, "url: longer than %d bytes", MAX_URL_BYTES);
    const char *authority = strstr(text, "://") + 3;
    const char *at = credentials_end(authority, "/?#");
    const char *host = at ? at + 1 : authority;
    size_t scheme_bytes = (size_t)(authority - text);
    if (host[strcspn(host, "/?#")] == '\0' ? !*host : host[0] == '/' || host[0] == '?')
        return error_set(err, EINVAL, EX_CONFIG, "url: no host in it (rtsp://HOST[:PORT]/PATH)");
    url->clean = malloc(scheme_bytes + strlen(host) + 1);
    bool ok = url->clean != NULL;
    if (ok) {
        memcpy(url->clean, text, scheme_bytes);
        strcpy(url->clean + scheme_bytes, host);
    }
    if (ok && at) {
        const char *colon = memchr(authority, ':', (size_t)(at - authority));
        url->user = decode(authority, (size_t)((colon ? colon : at) - authority));
        if (colon)
            url->password = decode(colon + 1, (size_t)(at - colon - 1));
        ok = url->user && (!colon || url->password);
    }
    if (ok)
        return 0;
    url_deinit(url);
    return error_set(err, ENOMEM, EX_OSERR, "no memory for a URL");
}

void url_deinit(Url *url)
{
    if (url->password)
        explicit_bzero(url->password, strlen(url->password));
    free(url->clean);
    free(url->user);
    free(url->password);
    *url = (Url){0};
}

bool url_host(const char *clean, char *host, size_t host_size, char *port, size_t port_size)
{
    if (!url_is_stream(clean))
        return false;
    const char *begin = strstr(clean, "://") + 3;
    bool bracket = *begin == '[';
    begin += bracket;
    size_t n = strcspn(begin, bracket ? "]" : ":/?#");
    if (n == 0 || n >= host_size)
        return false;
    memcpy(host, begin, n);
    host[n] = '\0';
    const char *rest = begin + n + bracket;
    bool tls = (clean[4] | 32) == 's';
    const char *standard = url_is_http(clean) ? (tls ? "443" : "80") : tls ? "322" : "554";
    snprintf(port, port_size, "%s", standard);
    if (*rest == ':') {
        n = strspn(rest + 1, "0123456789");
        if (n > 0 && n < port_size) {
            memcpy(port, rest + 1, n);
            port[n] = '\0';
        }
    }
    return true;
}

void url_redact(const char *text, char *out, size_t size)
{
    size_t n = 0;
    if (size == 0)
        return;
    while (*text && n + 1 < size) {
        out[n++] = *text++;
        if (n < 3 || memcmp(out + n - 3, "://", 3) != 0)
            continue;
        /* In running text a quote or space ends the URL; a password with a space was encoded. */
        const char *at = credentials_end(text, "/?# \t\r\n\"'<>");
        if (!at)
            continue;
        for (const char *mark = "***"; *mark && n + 1 < size; mark++)
            out[n++] = *mark;
        text = at;
    }
    out[n] = '\0';
}

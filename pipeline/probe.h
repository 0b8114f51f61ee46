/*
 * What a source offers: opens it as a camera worker would and looks for some seconds.
 */
#ifndef WHEN_PIPELINE_PROBE_H
#define WHEN_PIPELINE_PROBE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct ProbeSource {
    const char *url;             /* without a password, or a path */
    bool is_stream;              /* else a file */
    const char *user, *password; /* NULL: none */
    const char *transport;       /* "tcp" or "udp" */
    const char *tls_ca;
    bool tls_unchecked;
} ProbeSource;

typedef struct Probe {
    char codec[32], decoder[40];
    int width, height;          /* of its pictures */
    double fps, duration_s;     /* 0: unknown */
    uint64_t pictures;          /* of a stream: that were decoded */
    const char *utc_source;     /* "rtcp", "arrival", "file", "name"; "": nothing says */
    int64_t utc_us, utc_err_us; /* of a file's first picture, a stream's last */
    int64_t clock_off_us;       /* rtcp: the camera's clock less ours */
} Probe;

/* 0 with *found filled in, or why there is nothing: EX_NOPERM (login), EX_NOINPUT (no such stream
 * or file), EX_DATAERR (no decoder, damaged), EX_UNAVAILABLE (nobody answers). */
int probe_look(const ProbeSource *source, Probe *found, Error *err);

#endif

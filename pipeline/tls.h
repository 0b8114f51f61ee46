/*
 * Whom a camera's TLS connection may talk to. Cameras sign their certificates themselves and their
 * names do not fit: a PEM file with the camera's own certificate is enough, whatever name it bears.
 */
#ifndef WHEN_PIPELINE_TLS_H
#define WHEN_PIPELINE_TLS_H

#include "base/err.h"

#include <gio/gio.h>
#include <stdbool.h>

typedef struct TlsTrust {
    bool unchecked;         /* talk to anybody */
    GTlsDatabase *database; /* who may sign; NULL: the system's */
    GList *own;             /* GTlsCertificate: trusted as they are */
} TlsTrust;

/* ca_path NULL or "": the system's authorities. EX_NOINPUT, EX_CONFIG: not a PEM file;
 * EX_UNAVAILABLE: no TLS is installed. */
int tls_trust_init(TlsTrust *trust, const char *ca_path, bool unchecked, Error *err);
void tls_trust_deinit(TlsTrust *trust); /* safe on zeroed */

/* For a certificate that the usual check refused. */
bool tls_trust_accepts(const TlsTrust *trust, GTlsCertificate *certificate);

#endif

/*
 * Secrets by name, so that none stands in whend.yaml, on a command line or in a log. A credential
 * is a small file with one line, "user:password": $CREDENTIALS_DIRECTORY/NAME (systemd's
 * LoadCredential=), else /etc/whend/credentials/NAME, which must be readable by its owner alone.
 */
#ifndef WHEN_CONFIG_CREDENTIAL_H
#define WHEN_CONFIG_CREDENTIAL_H

#include "base/err.h"

enum { CREDENTIAL_MAX_BYTES = 4096 };

#define CREDENTIAL_DIRECTORY "/etc/whend/credentials"

typedef struct Credential {
    char *user;
    char *password;
} Credential;

/* EX_NOINPUT: there is none; EX_NOPERM: others can read it, or we cannot; EX_DATAERR: not
 * "user:password". No text of an error ever has a part of the secret. */
int credential_read(const char *name, Credential *credential, Error *err);

/* The same from one given folder; others_may_read: systemd's own folder is guarded by its mount. */
int credential_read_from(const char *directory, const char *name, int others_may_read,
                         Credential *credential, Error *err);

/* Overwrites before it frees; safe on zeroed. */
void credential_deinit(Credential *credential);

#endif

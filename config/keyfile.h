/*
 * CURVE keys in files: what whend and its clients from elsewhere prove themselves with. A file has
 * one line a key, "public KEY", "secret KEY" and, for clients, "server KEY" (the public key that
 * whend must prove); KEY is 40 characters of Z85 (ZeroMQ's own text form of 32 bytes). Nobody but
 * its owner may read it.
 */
#ifndef WHEN_CONFIG_KEYFILE_H
#define WHEN_CONFIG_KEYFILE_H

#include "base/err.h"

#include <stdbool.h>

enum { KEY_BYTES = 41 /* with the NUL */ };

typedef struct KeyFile {
    char public_key[KEY_BYTES], secret_key[KEY_BYTES];
    char server_key[KEY_BYTES]; /* "": none stands there */
} KeyFile;

bool keyfile_is_key(const char *text); /* 40 characters of Z85? */

/* EX_NOINPUT: there is none; EX_NOPERM: others can read it; EX_DATAERR: not such a file. No text of
 * an error has a part of a key. */
int keyfile_read(const char *path, KeyFile *keys, Error *err);
/* A new file of mode 0600, on disk when it returns. EX_CANTCREAT, also when it is there already. */
int keyfile_write(const char *path, const KeyFile *keys, Error *err);
void keyfile_forget(KeyFile *keys); /* overwrites the secret */

#endif

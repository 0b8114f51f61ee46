/* CURVE keys in files. See keyfile.h. */
#include "config/keyfile.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_BYTES = 4096 };

bool keyfile_is_key(const char *text)
{
    static const char ALPHABET[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   ".-:+=^!/*?&<>()[]{}@%$#";
    return strlen(text) == KEY_BYTES - 1 && strspn(text, ALPHABET) == KEY_BYTES - 1;
}

static int damaged(const char *path, int line, Error *err)
{
    return error_set(err, EBADMSG, EX_DATAERR,
                     "%s:%d: not a key file (lines are \"public KEY\", \"secret KEY\", \"server "
                     "KEY\"; make one with whenctl key new FILE)",
                     path, line);
}

static int parse(const char *path, char *text, KeyFile *keys, Error *err)
{
    struct {
        const char *name;
        char *key;
    } fields[] = {{"public ", keys->public_key},
                  {"secret ", keys->secret_key},
                  {"server ", keys->server_key}};
    int number = 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        number++;
        if (line[0] == '\0' || line[0] == '#')
            continue;
        size_t i = 0;
        while (i < 3 && strncmp(line, fields[i].name, 7) != 0)
            i++;
        if (i == 3 || fields[i].key[0] || !keyfile_is_key(line + 7))
            return damaged(path, number, err);
        memcpy(fields[i].key, line + 7, KEY_BYTES);
    }
    return keys->public_key[0] && keys->secret_key[0] ? 0 : damaged(path, number, err);
}

int keyfile_read(const char *path, KeyFile *keys, Error *err)
{
    *keys = (KeyFile){0};
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & 077) != 0)
        return error_set(err, EPERM, EX_NOPERM,
                         "%s: others can read this key (chmod 600, or make a new one)", path);
    char *text = NULL;
    size_t bytes;
    int r = file_read(path, MAX_BYTES, &text, &bytes, err);
    if (r < 0)
        return r;
    r = strlen(text) == bytes ? parse(path, text, keys, err) : damaged(path, 1, err);
    explicit_bzero(text, bytes);
    free(text);
    if (r < 0)
        keyfile_forget(keys);
    return r;
}

int keyfile_write(const char *path, const KeyFile *keys, Error *err)
{
    char text[4 * (KEY_BYTES + 8)];
    int n =
        snprintf(text, sizeof text, "public %s\nsecret %s\n", keys->public_key, keys->secret_key);
    if (keys->server_key[0])
        n += snprintf(text + n, sizeof text - (size_t)n, "server %s\n", keys->server_key);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = 0;
    if (fd < 0)
        r = error_set(err, errno, EX_CANTCREAT, "%s: %s%s", path, strerror(errno),
                      errno == EEXIST ? " (a key is never overwritten: name another file)" : "");
    else if (write(fd, text, (size_t)n) != n || fsync(fd) < 0)
        r = error_set(err, errno ? errno : EIO, EX_IOERR, "%s: %s", path, strerror(errno));
    explicit_bzero(text, sizeof text);
    if (r < 0 && fd >= 0)
        unlink(path);
    return r;
}

void keyfile_forget(KeyFile *keys)
{
    explicit_bzero(keys, sizeof *keys);
}

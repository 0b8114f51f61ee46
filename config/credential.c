/* Secrets by name. See credential.h. */
#include "config/credential.h"

#include "base/file.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/value.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void credential_deinit(Credential *credential)
{
    if (credential->user)
        explicit_bzero(credential->user, strlen(credential->user));
    if (credential->password)
        explicit_bzero(credential->password, strlen(credential->password));
    free(credential->user);
    free(credential->password);
    *credential = (Credential){0};
}

/* "user:password" and perhaps one newline; a password may contain colons. */
static int split(const char *path, char *text, size_t bytes, Credential *credential, Error *err)
{
    if (bytes && text[bytes - 1] == '\n')
        text[--bytes] = '\0';
    if (bytes && text[bytes - 1] == '\r')
        text[--bytes] = '\0';
    char *colon = strchr(text, ':');
    if (strlen(text) != bytes || !colon || colon == text || !value_is_text(text))
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: not a credential (write one line: user:password)", path);
    credential->user = strndup(text, (size_t)(colon - text));
    credential->password = strdup(colon + 1);
    if (!credential->user || !credential->password) {
        credential_deinit(credential);
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", path);
    }
    return 0;
}

int credential_read_from(const char *directory, const char *name, int others_may_read,
                         Credential *credential, Error *err)
{
    *credential = (Credential){0};
    const char *reason;
    if (value_name(name, CONFIG_NAME_BYTES, &reason) < 0)
        return error_set(err, EINVAL, EX_CONFIG, "credential %.64s: %s", name, reason);
    _cleanup_free_ char *path = file_join(directory, name);
    if (!path)
        return error_set(err, ENOMEM, EX_OSERR, "credential %s: no memory", name);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, ENOENT, EX_NOINPUT,
                         "credential %s: there is no %s (write user:password into it, mode 0600)",
                         name, path);
    if (fd < 0)
        return error_set(err, errno, EX_NOPERM, "credential %s: %s: %s", name, path,
                         strerror(errno));
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(err, errno, EX_IOERR, "credential %s: %s: %s", name, path,
                         strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, EX_DATAERR, "credential %s: %s: not a regular file", name,
                         path);
    if (!others_may_read && (st.st_mode & 077))
        return error_set(err, EACCES, EX_NOPERM,
                         "credential %s: %s has mode %04o: others can read it (chmod 0600 %s)",
                         name, path, (unsigned)(st.st_mode & 07777), path);
    char text[CREDENTIAL_MAX_BYTES + 1];
    ssize_t bytes = read(fd, text, sizeof(text));
    int rc;
    if (bytes < 0) {
        rc = error_set(err, errno, EX_IOERR, "credential %s: %s: %s", name, path, strerror(errno));
    } else if (bytes > CREDENTIAL_MAX_BYTES) {
        rc = error_set(err, EFBIG, EX_DATAERR, "credential %s: %s: more than %d bytes", name, path,
                       CREDENTIAL_MAX_BYTES);
    } else {
        text[bytes] = '\0';
        rc = split(path, text, (size_t)bytes, credential, err);
    }
    explicit_bzero(text, sizeof(text));
    return rc;
}

int credential_read(const char *name, Credential *credential, Error *err)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    if (directory && directory[0] == '/') {
        Error first = {0};
        int rc = credential_read_from(directory, name, 1, credential, &first);
        if (rc != -ENOENT) {
            if (rc < 0)
                error_set(err, -rc, first.exit_code, "%s", first.text);
            return rc;
        }
    }
    return credential_read_from(CREDENTIAL_DIRECTORY, name, 0, credential, err);
}

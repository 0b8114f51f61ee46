/* Files. See file.h. */
#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(const char *path, size_t max_bytes, char **data, size_t *size, Error *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno, errno == ENOENT ? EX_NOINPUT : EX_IOERR, "%s: %s", path,
                         strerror(errno));
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(err, errno, EX_IOERR, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, EX_NOINPUT, "%s: not a regular file", path);
    if ((uintmax_t)st.st_size > max_bytes)
        return error_set(err, EFBIG, EX_DATAERR, "%s: %jd bytes, at most %zu are read", path,
                         (intmax_t)st.st_size, max_bytes);
    size_t want = (size_t)st.st_size, got = 0;
    _cleanup_free_ char *bytes = malloc(want + 1);
    if (!bytes)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory for %zu bytes", path, want);
    while (got < want) {
        ssize_t n = read(fd, bytes + got, want - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, errno, EX_IOERR, "%s: %s", path, strerror(errno));
        if (n == 0)
            break; /* the file shrank while it was read */
        got += (size_t)n;
    }
    bytes[got] = '\0';
    *data = bytes;
    *size = got;
    bytes = NULL;
    return 0;
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static int sync_folder_of(const char *path)
{
    _cleanup_free_ char *folder = strdup(path);
    if (!folder)
        return -ENOMEM;
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = '\0';
    _cleanup_close_ int fd =
        open(slash ? (folder[0] ? folder : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return fsync(fd) < 0 ? -errno : 0;
}

int file_replace(const char *path, const void *data, size_t size, Error *err)
{
    _cleanup_free_ char *tmp = NULL;
    if (asprintf(&tmp, "%s.tmp", path) < 0) {
        tmp = NULL;
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", path);
    }
    _cleanup_close_ int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return error_set(err, errno, EX_CANTCREAT, "%s: %s", tmp, strerror(errno));
    int r = write_all(fd, data, size);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r == 0 && rename(tmp, path) < 0)
        r = -errno;
    if (r == 0)
        r = sync_folder_of(path);
    if (r < 0) {
        unlink(tmp);
        return error_set(err, -r, EX_IOERR, "%s: %s", path, strerror(-r));
    }
    return 0;
}

int file_make_dir(const char *path, Error *err)
{
    _cleanup_free_ char *copy = strdup(path);
    if (!copy)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", path);
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char end = *p;
        *p = '\0';
        if (mkdir(copy, 0750) < 0 && errno != EEXIST)
            return error_set(err, errno, EX_CANTCREAT, "%s: cannot make the folder: %s", copy,
                             strerror(errno));
        if (end == '\0')
            break;
        *p = end;
    }
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return error_set(err, ENOTDIR, EX_CANTCREAT, "%s: not a folder", path);
    if (access(path, W_OK | X_OK) < 0)
        return error_set(err, errno, EX_CANTCREAT,
                         "%s: not writable: %s (give it to the user that runs whend)", path,
                         strerror(errno));
    return 0;
}

int file_lock_dir(const char *dir, Error *err)
{
    _cleanup_free_ char *path = file_join(dir, "lock");
    if (!path)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return error_set(err, errno, EX_CANTCREAT, "%s: %s", path, strerror(errno));
    char pid[24] = "";
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int r = -errno;
        ssize_t n = r == -EWOULDBLOCK ? pread(fd, pid, sizeof pid - 1, 0) : 0;
        pid[n > 0 ? n : 0] = '\0';
        pid[strcspn(pid, "\n")] = '\0';
        close(fd);
        if (r != -EWOULDBLOCK)
            return error_set(err, -r, EX_OSERR, "%s: %s", path, strerror(-r));
        return error_set(
            err, EBUSY, EX_TEMPFAIL,
            "%s: in use by another whend (pid %s): stop it, or choose another state_dir", dir,
            pid[0] ? pid : "unknown");
    }
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n) {
        int r = errno ? errno : EIO;
        close(fd);
        return error_set(err, r, EX_IOERR, "%s: %s", path, strerror(r));
    }
    return fd;
}

char *file_join(const char *dir, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

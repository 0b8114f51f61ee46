/* whenctl backup: a copy of the index of a running whend, fetched piece by piece. */
#include "client/ctl.h"

#include "base/mem.h"
#include "client/ctl_print.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COPY_MS = 3600000 /* of the whole index, on a slow disk */ };

typedef struct Fetch {
    const Ctl *ctl;
    int fd;
    uint64_t id, bytes, total_bytes, last_sequence;
    bool end;
    int errnum; /* of a write */
} Fetch;

static int take(const When__Response *response, void *context)
{
    Fetch *f = context;
    if (response->body_case != WHEN__RESPONSE__BODY_BACKUP)
        return -EBADMSG;
    const When__BackupResponse *b = response->backup;
    f->id = b->backup_id;
    f->total_bytes = b->total_bytes;
    f->last_sequence = b->last_sequence;
    f->end = response->last && b->data.len == 0;
    if (!response->last && isatty(STDERR_FILENO))
        fprintf(stderr, "\rcopying: %3.0f %%", 100 * b->copied);
    for (size_t done = 0; done < b->data.len;) {
        ssize_t n = write(f->fd, b->data.data + done, b->data.len - done);
        if (n < 0 && errno != EINTR) {
            f->errnum = errno;
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    f->bytes += b->data.len;
    return 0;
}

static int fetch(Ctl *ctl, Fetch *f, Error *err)
{
    When__BackupRequest backup = WHEN__BACKUP_REQUEST__INIT;
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_BACKUP;
    request.backup = &backup;
    int r = when_request(ctl->when, &request, COPY_MS, take, f, err);
    if (isatty(STDERR_FILENO))
        fputs("\r                \r", stderr);
    backup.backup_id = f->id;
    for (f->end = false; r == 0 && !f->end;) {
        backup.offset = f->bytes;
        r = when_request(ctl->when, &request, 0, take, f, err);
    }
    if (r == 0 && f->bytes != f->total_bytes)
        r = error_set(err, EIO, EX_PROTOCOL, "whend sent %" PRIu64 " bytes of %" PRIu64, f->bytes,
                      f->total_bytes);
    return r;
}

/* On disk under its name, or not at all. */
static int settle(const Fetch *f, const char *part, const char *path, Error *err)
{
    _cleanup_free_ char *copy = strdup(path);
    if (!copy)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    if (fsync(f->fd) < 0 || rename(part, path) < 0)
        return error_set(err, errno, EX_IOERR, "%s: %s", path, strerror(errno));
    _cleanup_close_ int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || fsync(folder) < 0)
        return error_set(err, errno, EX_IOERR, "%s: %s", path, strerror(errno));
    return 0;
}

int ctl_backup(Ctl *ctl, Error *err)
{
    const char *path = ctl->words[0];
    _cleanup_free_ char *part = NULL;
    if (asprintf(&part, "%s.part", path) < 0) {
        part = NULL;
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    }
    unlink(part);
    _cleanup_close_ int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(err, errno, EX_CANTCREAT, "%s: %s", part, strerror(errno));
    Fetch f = {.ctl = ctl, .fd = fd};
    int r = fetch(ctl, &f, err);
    if (f.errnum)
        error_set(err, f.errnum, EX_IOERR, "%s: %s", part, strerror(f.errnum));
    if (r == 0)
        r = settle(&f, part, path, err);
    if (r < 0) {
        unlink(part);
        return r;
    }
    _cleanup_str_ Str out = {0};
    if (ctl->json) {
        str_add_text(&out, "{\"file\":");
        str_add_json(&out, path);
        str_addf(&out, ",\"bytes\":%" PRIu64 ",\"last_sequence\":%" PRIu64 "}\n", f.bytes,
                 f.last_sequence);
    } else {
        print_text(&out, path);
        str_add_text(&out, ": ");
        print_bytes(&out, f.bytes);
        str_addf(&out, ", up to sequence number %" PRIu64 "\n", f.last_sequence);
    }
    if (str_failed(&out))
        return -ENOMEM;
    fwrite(str_text(&out), 1, out.len, stdout);
    return 0;
}

/* A client's copy of the index. See backup.h. */
#include "daemon/backup.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_US (60 * US_PER_S) /* a client that asks for no piece so long has given up */
#define PROGRESS_US (US_PER_S / 2)

enum { PAGES_A_TURN = 64 };

struct Backup {
    Index *index;
    char *path;
    uint64_t id;       /* of the one under way or at hand; 0: none */
    IndexBackup *copy; /* while it is made */
    int fd;            /* when it is whole, else -1 */
    uint64_t total_bytes, last_sequence;
    ServiceClient client; /* who began it */
    int64_t heard_us, told_us;
    uint8_t *piece; /* [BACKUP_PIECE_BYTES] */
};

Backup *backup_new(Index *index, const char *state_dir)
{
    Backup *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->index = index;
    b->fd = -1;
    b->path = file_join(state_dir, "backup.tmp");
    b->piece = malloc(BACKUP_PIECE_BYTES);
    if (!b->path || !b->piece) {
        backup_free(b);
        return NULL;
    }
    unlink(b->path); /* of an earlier run that was killed */
    return b;
}

/* Nothing is under way any more. */
static void drop(Backup *b)
{
    if (b->copy) {
        char journal[4200];
        index_backup_free(b->copy);
        unlink(b->path);
        snprintf(journal, sizeof journal, "%s-journal", b->path);
        unlink(journal);
    }
    b->copy = NULL;
    closep(&b->fd);
    b->fd = -1;
    b->id = 0;
}

void backup_free(Backup *b)
{
    if (!b)
        return;
    drop(b);
    free(b->path);
    free(b->piece);
    free(b);
}

static void begin(Backup *b, Service *service, const ServiceClient *client, int64_t now_us)
{
    if (b->id && now_us - b->heard_us < PATIENCE_US) {
        service_refuse(service, client, EX_TEMPFAIL, "another backup is under way: try again");
        return;
    }
    drop(b);
    Error err = {0};
    if (index_backup_begin(b->index, b->path, &b->copy, &err) < 0) {
        log_error("backup", "%s", err.text);
        service_refuse(service, client, err.exit_code, err.text);
        unlink(b->path);
        return;
    }
    b->id = (uint64_t)clock_utc_us();
    b->client = *client;
    b->heard_us = b->told_us = now_us;
    log_info("backup", "id=%" PRIu64 " begins", b->id);
}

static int respond(Backup *b, Service *service, const ServiceClient *client, bool last,
                   When__BackupResponse *body)
{
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_BACKUP;
    response.backup = body;
    body->backup_id = b->id;
    body->total_bytes = b->total_bytes;
    body->last_sequence = b->last_sequence;
    return service_respond(service, client, last, &response);
}

static void send_piece(Backup *b, Service *service, const ServiceClient *client, uint64_t offset)
{
    ssize_t n = 0;
    if (offset < b->total_bytes)
        n = pread(b->fd, b->piece, BACKUP_PIECE_BYTES, (off_t)offset);
    if (n < 0 || (n == 0 && offset < b->total_bytes)) {
        char text[200];
        snprintf(text, sizeof text, "backup: the copy cannot be read back: %s",
                 n < 0 ? strerror(errno) : "it was cut off");
        service_refuse(service, client, EX_IOERR, text);
        drop(b);
        return;
    }
    When__BackupResponse body = WHEN__BACKUP_RESPONSE__INIT;
    body.copied = 1;
    body.data = (ProtobufCBinaryData){(size_t)n, b->piece};
    respond(b, service, client, true, &body);
    if (n == 0) {
        log_info("backup", "id=%" PRIu64 " fetched, bytes=%" PRIu64, b->id, b->total_bytes);
        drop(b);
    }
}

void backup_request(Backup *b, Service *service, const ServiceClient *client,
                    const When__BackupRequest *request, int64_t now_us)
{
    if (request->backup_id == 0) {
        begin(b, service, client, now_us);
    } else if (request->backup_id != b->id || b->fd < 0) {
        service_refuse(service, client, EX_NOINPUT, "this backup is gone: begin a new one");
    } else {
        b->heard_us = now_us;
        send_piece(b, service, client, request->offset);
    }
}

/* The copy is whole: from here on it is only an open file. */
static int settle(Backup *b, Error *err)
{
    struct stat st;
    index_backup_free(b->copy);
    b->copy = NULL;
    b->fd = open(b->path, O_RDONLY | O_CLOEXEC);
    int r = b->fd < 0 || fstat(b->fd, &st) < 0 ? -errno : 0;
    unlink(b->path);
    if (r < 0)
        return error_set(err, -r, EX_IOERR, "%s: %s", b->path, strerror(-r));
    b->total_bytes = (uint64_t)st.st_size;
    b->last_sequence = index_last_sequence(b->index);
    return 0;
}

bool backup_run(Backup *b, Service *service, int64_t now_us)
{
    if (b->fd >= 0 && now_us - b->heard_us >= PATIENCE_US) {
        log_warn("backup", "id=%" PRIu64 " was not fetched", b->id);
        drop(b);
    }
    if (!b->copy)
        return false;
    Error err = {0};
    double share = index_backup_share(b->copy);
    int r = index_backup_step(b->copy, PAGES_A_TURN, &err);
    if (r == INDEX_BACKUP_DONE)
        r = settle(b, &err) < 0 ? -EIO : INDEX_BACKUP_DONE;
    if (r < 0) {
        log_error("backup", "%s", err.text);
        service_refuse(service, &b->client, err.exit_code, err.text);
        drop(b);
        return false;
    }
    b->heard_us = now_us;
    When__BackupResponse body = WHEN__BACKUP_RESPONSE__INIT;
    body.copied = r == INDEX_BACKUP_DONE ? 1 : share;
    if (r != INDEX_BACKUP_DONE && now_us - b->told_us < PROGRESS_US)
        return true;
    b->told_us = now_us;
    if (respond(b, service, &b->client, r == INDEX_BACKUP_DONE, &body) == -EHOSTUNREACH)
        drop(b); /* nobody waits for it */
    return b->copy != NULL;
}

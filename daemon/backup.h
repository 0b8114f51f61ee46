/*
 * Backup: a client's request for a copy of the index. The copy is made next to the index, some
 * pages a turn of the loop, and fetched piece by piece: the client asks for each piece when it has
 * the one before, so a slow one holds no memory. One at a time; its file is gone (unlinked) as soon
 * as it is whole, so that nothing stays behind, whatever happens.
 */
#ifndef WHEN_DAEMON_BACKUP_H
#define WHEN_DAEMON_BACKUP_H

#include "daemon/index.h"
#include "daemon/service.h"

#include <stdbool.h>
#include <stdint.h>

enum { BACKUP_PIECE_BYTES = 512 << 10 };

typedef struct Backup Backup;

/* The index must outlive it. NULL: no memory. */
Backup *backup_new(Index *index, const char *state_dir);
void backup_free(Backup *backup);

/* Answers the client, now or when the copy is whole. */
void backup_request(Backup *backup, Service *service, const ServiceClient *client,
                    const When__BackupRequest *request, int64_t now_us);
/* Copies some pages. true: there is more to copy at once. */
bool backup_run(Backup *backup, Service *service, int64_t now_us);

#endif

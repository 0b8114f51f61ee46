/*
 * Status: the daemon's state in message form, for the service's `status` and `cameras`.
 */
#ifndef WHEN_DAEMON_STATUS_H
#define WHEN_DAEMON_STATUS_H

#include "proto/wire.h"

/* ServiceHooks with a Daemon as context. What is pointed to lives until the next call. */
int status_fill(When__StatusResponse *response, void *daemon);
int status_fill_cameras(When__CamerasResponse *response, void *daemon);

/* The line that systemd shows. */
void status_line(const void *daemon, char *line, size_t bytes);

#endif

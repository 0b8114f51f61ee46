/*
 * Requests that change what whend does, or that are answered when something has happened: deep asks
 * and their end, watches, reload. The service's hook for them.
 */
#ifndef WHEN_DAEMON_REQUESTS_H
#define WHEN_DAEMON_REQUESTS_H

#include "daemon/service.h"

void requests_handle(const ServiceClient *client, const When__Request *request, void *daemon);

/* "yesterday evening" in this zone to UTC, now; an empty range leaves both as they are. EX_DATAERR.
 */
int request_range(const char *range, const char *time_zone, int64_t *since_us, int64_t *until_us,
                  Error *err);

#endif

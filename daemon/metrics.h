/*
 * Metrics: whend's counters in the text format of Prometheus (version 0.0.4). docs/operations.md
 * lists them; a name or a label once given is not changed.
 */
#ifndef WHEN_DAEMON_METRICS_H
#define WHEN_DAEMON_METRICS_H

#include "base/str.h"
#include "daemon/daemon.h"

void metrics_write(Daemon *daemon, Str *out);

#endif

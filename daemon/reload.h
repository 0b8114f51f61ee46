/*
 * Reload: the config's cameras and watches brought to life, at start and on SIGHUP. Cameras that
 * did not change keep running and lose no frame.
 */
#ifndef WHEN_DAEMON_RELOAD_H
#define WHEN_DAEMON_RELOAD_H

#include "base/err.h"

typedef struct Daemon Daemon;

/* At start: makes the cameras, registers the watches, settles what an earlier run left open. */
int reload_begin(Daemon *daemon, Error *err);
/* On SIGHUP: reads the config again; a bad one is refused with its line and the old one stays. */
void reload_config(Daemon *daemon);

#endif

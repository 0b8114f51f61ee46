/*
 * Reload: the config's cameras and watches brought to life, at start and on SIGHUP. Cameras that
 * did not change keep running and lose no frame.
 */
#ifndef WHEN_DAEMON_RELOAD_H
#define WHEN_DAEMON_RELOAD_H

#include "config/config.h"

typedef struct Daemon Daemon;

/* At start: makes the cameras, registers the watches, settles what an earlier run left open. */
int reload_begin(Daemon *daemon, Error *err);
/* On SIGHUP, or when a client asks for it: reads the config again; a bad one is refused with its
 * line (also logged) and the old one stays. */
int reload_config(Daemon *daemon, Error *err);
/* The watches [n] are these now, taken over; cameras go on. */
void reload_watches(Daemon *daemon, WatchConfig *watches, size_t n);

#endif

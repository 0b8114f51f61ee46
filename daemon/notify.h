/*
 * Notify: what systemd is told (its sd_notify protocol). Never waits; does nothing when it did not
 * start us.
 */
#ifndef WHEN_DAEMON_NOTIFY_H
#define WHEN_DAEMON_NOTIFY_H

void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);
void notify_status(const char *line);
void notify_alive(void); /* for WatchdogSec=; said once a second */
#endif

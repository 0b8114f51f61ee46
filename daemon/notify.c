/* Words to systemd. See notify.h. */
#include "daemon/notify.h"

#include "base/clock.h"

#include <inttypes.h>
#include <systemd/sd-daemon.h>

void notify_ready(void)
{
    sd_notify(0, "READY=1");
}

void notify_reloading(void)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_monotonic_us());
}

void notify_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

void notify_status(const char *line)
{
    sd_notifyf(0, "STATUS=%s", line);
}

void notify_alive(void)
{
    sd_notify(0, "WATCHDOG=1");
}

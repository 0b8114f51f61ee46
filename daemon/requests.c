/* Requests for the daemon as a whole. See requests.h. */
#include "daemon/requests.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/time_range.h"
#include "daemon/daemon.h"
#include "daemon/questions.h"
#include "daemon/reload.h"
#include "daemon/watches.h"

#include <errno.h>

int request_range(const char *range, const char *time_zone, int64_t *since_us, int64_t *until_us,
                  Error *err)
{
    if (!range[0])
        return 0;
    if (*since_us || *until_us)
        return error_set(err, EINVAL, EX_DATAERR,
                         "a range and bounds in microseconds: say one of them");
    _cleanup_(time_zone_freep) TimeZone *zone = NULL;
    TimeRange found;
    int r = time_zone_new(time_zone, &zone, err);
    if (r == 0)
        r = time_range_parse(range, zone, clock_utc_us(), &found, err);
    if (r < 0)
        return r;
    *since_us = found.since_us;
    *until_us = found.until_us;
    return 0;
}

static void done(Daemon *daemon, const ServiceClient *client, const char *text)
{
    When__DoneResponse body = WHEN__DONE_RESPONSE__INIT;
    body.text = (char *)text;
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_DONE;
    response.done = &body;
    service_respond(daemon->service, client, true, &response);
}

void requests_handle(const ServiceClient *client, const When__Request *request, void *context)
{
    Daemon *daemon = context;
    Error err = {0};
    switch (request->body_case) {
    case WHEN__REQUEST__BODY_ASK:
        questions_ask(daemon->questions, client, request->ask, request->deadline_ms);
        break;
    case WHEN__REQUEST__BODY_CANCEL:
        if (questions_cancel(daemon->questions, client, request->cancel->request_id))
            done(daemon, client, "cancelled: its last answer follows");
        else
            service_refuse(daemon->service, client, EX_DATAERR,
                           "no question of yours has this request_id: it was answered, or never "
                           "asked on this connection");
        break;
    case WHEN__REQUEST__BODY_WATCHES:
        watches_list(daemon, client);
        break;
    case WHEN__REQUEST__BODY_WATCH_PUT:
        watches_put(daemon, client, request->watch_put);
        break;
    case WHEN__REQUEST__BODY_WATCH_REMOVE:
        watches_remove(daemon, client, request->watch_remove->name);
        break;
    default: /* reload: the last of those that the service hands on */
        if (reload_config(daemon, &err) < 0)
            service_refuse(daemon->service, client, err.exit_code, err.text);
        else
            done(daemon, client, "whend.yaml was read again");
    }
}

/* Metrics, health, keys, backups, retention: see operation.h. */
#include "daemon/operation.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/backup.h"
#include "daemon/daemon.h"
#include "daemon/health.h"
#include "daemon/http.h"
#include "daemon/metrics.h"

#include "config/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FORGET_EVERY_US (60 * US_PER_S)

enum { FORGET_AT_ONCE = 500 };

struct Operation {
    Daemon *daemon;
    Http *http;
    Keys *keys;
    Backup *backup;
    int64_t forget_due_us;
};

/* --- metrics and health --- */

static void write_metrics(Str *out, void *context)
{
    metrics_write(context, out);
}

static bool is_healthy(Str *out, void *context)
{
    return health_check(context, out);
}

static int open_http(Operation *o, Error *err)
{
    const Config *config = &o->daemon->config;
    if (strcmp(config->http_address, "off") == 0)
        return 0;
    HttpPages pages = {write_metrics, is_healthy, o->daemon};
    int r = http_open(config->http_address, &pages, &o->http, err);
    if (r == 0 || config->http_given || r != -EADDRINUSE)
        return r;
    /* Nobody asked for it: a second whend on this machine works all the same. */
    log_warn("operation", "no metrics: %s", err->text);
    error_clear(err);
    return 0;
}

/* --- clients from elsewhere --- */

static int open_remote(Operation *o, Error *err)
{
    Daemon *daemon = o->daemon;
    const Config *config = &daemon->config;
    if (!config->remote_events && !config->remote_query)
        return 0;
    int r = keys_open(daemon->zmq, daemon->index, config->state_dir, &o->keys, err);
    if (r == 0 && config->remote_events)
        r = publisher_open_remote(daemon->publisher, daemon->zmq, config->remote_events, o->keys,
                                  err);
    if (r == 0 && config->remote_query)
        r = service_open_remote(daemon->service, config->remote_query, o->keys, err);
    return r;
}

bool operation_allows(const char *key, void *context)
{
    const Daemon *daemon = context;
    return daemon->operation && daemon->operation->keys &&
           keys_allows(daemon->operation->keys, key);
}

uint64_t operation_refused(const Operation *o)
{
    return o->keys ? keys_refused(o->keys) : 0;
}

static int change_keys(Operation *o, const When__KeysRequest *request, Error *err)
{
    if (request->action == WHEN__KEY_ACTION__KEY_ACTION_LIST)
        return 0;
    const char *reason;
    if (value_name(request->name, EVENT_NAME_BYTES, &reason) < 0)
        return error_set(err, EINVAL, EX_DATAERR, "%.64s: %s", request->name, reason);
    Batch *batch = batch_new();
    int r = -EINVAL;
    if (request->action == WHEN__KEY_ACTION__KEY_ACTION_ALLOW)
        r = keys_allow(o->keys, request->name, request->public_key, batch, err);
    else if (request->action == WHEN__KEY_ACTION__KEY_ACTION_REVOKE)
        r = keys_revoke(o->keys, request->name, batch, err);
    else
        error_set(err, EINVAL, EX_PROTOCOL, "an action on keys that this version does not know");
    if (r < 0) {
        batch_free(batch);
        return r;
    }
    if (request->action == WHEN__KEY_ACTION__KEY_ACTION_REVOKE)
        publisher_drop_remote(o->daemon->publisher);
    if (committer_add(o->daemon->committer, batch, o->daemon->now_us) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "no memory: effective, but not stored");
    return 0;
}

static void handle_keys(Operation *o, const ServiceClient *client, const When__Request *request,
                        bool local)
{
    Service *service = o->daemon->service;
    if (!local) {
        service_refuse(service, client, EX_NOPERM, "keys are managed on whend's own machine");
        return;
    }
    if (!o->keys) {
        service_refuse(service, client, EX_CONFIG,
                       "nobody can connect from elsewhere: name addresses under remote: in "
                       "whend.yaml and restart whend");
        return;
    }
    Error err = {0};
    When__KeysResponse body = WHEN__KEYS_RESPONSE__INIT;
    int r = change_keys(o, request->keys, &err);
    if (r == 0)
        r = keys_fill(o->keys, &body);
    if (r < 0) {
        service_refuse(service, client, err.exit_code ? err.exit_code : EX_OSERR,
                       err.text[0] ? err.text : "no memory");
        return;
    }
    const Config *config = &o->daemon->config;
    body.events = config->remote_events ? config->remote_events : (char *)"";
    body.query = config->remote_query ? config->remote_query : (char *)"";
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_KEYS;
    response.keys = &body;
    service_respond(service, client, true, &response);
}

void operation_request(const ServiceClient *client, const When__Request *request, bool local,
                       void *context)
{
    Daemon *daemon = context;
    Operation *o = daemon->operation;
    if (request->body_case == WHEN__REQUEST__BODY_BACKUP)
        backup_request(o->backup, daemon->service, client, request->backup, daemon->now_us);
    else
        handle_keys(o, client, request, local);
}

/* --- forgetting --- */

/* Some at a time; true: more can go at once. */
static bool forget(Operation *o)
{
    Daemon *daemon = o->daemon;
    const Config *config = &daemon->config;
    if (daemon->now_us < o->forget_due_us || committer_blocked(daemon->committer))
        return false;
    o->forget_due_us = daemon->now_us + FORGET_EVERY_US;
    if (!config->events_keep_us && !config->events_keep_count)
        return false;
    int64_t before_us =
        config->events_keep_us ? clock_utc_us() - config->events_keep_us : INT64_MIN;
    uint64_t sequence;
    Error err = {0};
    if (index_expired(daemon->index, before_us, (uint64_t)config->events_keep_count, FORGET_AT_ONCE,
                      &sequence, &err) < 0) {
        log_error("operation", "%s", err.text);
        return false;
    }
    if (!sequence)
        return false;
    Batch *batch = batch_new();
    batch_forget(batch, sequence);
    if (committer_add(daemon->committer, batch, daemon->now_us) < 0) {
        daemon_out_of_memory(daemon);
        return false;
    }
    log_debug("operation", "forgotten up to sequence=%" PRIu64, sequence);
    o->forget_due_us = daemon->now_us;
    return !committer_blocked(daemon->committer);
}

/* --- the whole --- */

int operation_open(Daemon *daemon, Operation **opened, Error *err)
{
    Operation *o = calloc(1, sizeof *o);
    if (!o)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    *opened = o;
    o->daemon = daemon;
    o->backup = backup_new(daemon->index, daemon->config.state_dir);
    if (!o->backup)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    int r = open_remote(o, err);
    return r < 0 ? r : open_http(o, err);
}

void operation_free(Operation *o)
{
    if (!o)
        return;
    http_free(o->http);
    backup_free(o->backup);
    keys_free(o->keys);
    free(o);
}

size_t operation_poll(Operation *o, zmq_pollitem_t *items)
{
    size_t n = 0;
    if (o->keys)
        items[n++] = (zmq_pollitem_t){.socket = keys_socket(o->keys), .events = ZMQ_POLLIN};
    if (o->http)
        items[n++] = (zmq_pollitem_t){.fd = http_fd(o->http), .events = ZMQ_POLLIN};
    return n;
}

bool operation_run(Operation *o)
{
    Daemon *daemon = o->daemon;
    if (o->keys)
        keys_run(o->keys);
    publisher_rebind(daemon->publisher);
    if (o->http)
        http_run(o->http);
    bool more = backup_run(o->backup, daemon->service, daemon->now_us);
    return forget(o) || more;
}

/* A client of whend: connection and requests. See when.h. */
#include "client/when.h"

#include "base/clock.h"
#include "base/mem.h"
#include "client/when_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Who answers in several responses, answers at least so often. */
#define SILENCE_US (30 * US_PER_S)
#define GRACE_US   (10 * US_PER_S)

int when_ms_until(int64_t deadline_us)
{
    int64_t left_us = deadline_us - clock_monotonic_us();
    if (left_us <= 0)
        return 0;
    int64_t ms = (left_us + 999) / 1000;
    return ms > 1000000000 ? 1000000000 : (int)ms;
}

int when_secure(const When *when, void *socket)
{
    const KeyFile *k = &when->keys;
    if (!k->public_key[0])
        return 0;
    if (zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, k->server_key, KEY_BYTES - 1) < 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, k->public_key, KEY_BYTES - 1) < 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, k->secret_key, KEY_BYTES - 1) < 0)
        return -errno;
    return 0;
}

static int read_keys(When *when, const WhenOptions *options, Error *err)
{
    KeyFile *k = &when->keys;
    if (!options->key_file)
        return options->server_key
                   ? error_set(err, EINVAL, EX_USAGE, "a server key needs a key file as well")
                   : 0;
    int rc = keyfile_read(options->key_file, k, err);
    if (rc < 0)
        return rc;
    if (options->server_key && !keyfile_is_key(options->server_key))
        return error_set(err, EINVAL, EX_USAGE,
                         "the server key is none (40 characters, see whenctl key list there)");
    if (options->server_key)
        memcpy(k->server_key, options->server_key, KEY_BYTES);
    return k->server_key[0] ? 0
                            : error_set(err, EINVAL, EX_USAGE,
                                        "%s: which key must whend prove? (--server-key, or a line "
                                        "\"server KEY\" there)",
                                        options->key_file);
}

void *when_dealer(When *when)
{
    void *socket = zmq_socket(when->context, ZMQ_DEALER);
    if (!socket)
        return NULL;
    /* IMMEDIATE: nothing is queued for a service that is not there, so "no daemon" shows. */
    int one = 1;
    if (wire_socket_init(socket, 0, 1000) < 0 ||
        zmq_setsockopt(socket, ZMQ_IMMEDIATE, &one, sizeof(one)) < 0 ||
        wire_socket_limit(socket, WIRE_MAX_MESSAGE_BYTES) < 0 || when_secure(when, socket) < 0 ||
        zmq_connect(socket, when->query_endpoint) < 0) {
        int errnum = errno;
        zmq_close(socket);
        errno = errnum;
        return NULL;
    }
    return socket;
}

/* ".../query.ipc" to ".../events.ipc". */
static char *events_endpoint_of(const char *query)
{
    static const char FROM[] = "query.ipc";
    size_t bytes = strlen(query), tail = sizeof(FROM) - 1;
    if (bytes < tail || strcmp(query + bytes - tail, FROM) != 0)
        return NULL;
    char *events;
    return asprintf(&events, "%.*sevents.ipc", (int)(bytes - tail), query) < 0 ? NULL : events;
}

static int nobody(const When *when, int errnum, Error *err)
{
    if (errnum == EACCES || errnum == EPERM)
        return error_set(err, errnum, EX_NOPERM,
                         "%s: %s (join the group of whend's user, or use sudo)",
                         when->query_endpoint, strerror(errnum));
    if (when->keys.public_key[0])
        return error_set(err, errnum, EX_UNAVAILABLE,
                         "no whend answers at %s, or it does not allow this key (there: whenctl "
                         "key allow NAME %s)",
                         when->query_endpoint, when->keys.public_key);
    return error_set(err, errnum, EX_UNAVAILABLE,
                     "no whend answers at %s: %s (start it, or name its address with --endpoint or "
                     "--runtime-dir)",
                     when->query_endpoint, strerror(errnum));
}

/* Waits until the connection stands. */
static int wait_connected(When *when, int connect_ms, Error *err)
{
    /* A UNIX socket can tell at once, and why. */
    if (strncmp(when->query_endpoint, "ipc://", 6) == 0 && when->query_endpoint[6] == '/') {
        int rc = wire_probe_ipc(when->query_endpoint + 6);
        if (rc < 0)
            return nobody(when, -rc, err);
    }
    int64_t deadline_us = clock_monotonic_us() + INT64_C(1000) * connect_ms;
    for (;;) {
        zmq_pollitem_t item = {.socket = when->query, .events = ZMQ_POLLOUT};
        int n = zmq_poll(&item, 1, when_ms_until(deadline_us));
        if (n > 0)
            return 0;
        if (n == 0)
            return nobody(when, ETIMEDOUT, err);
        if (errno != EINTR)
            return error_set(err, errno, EX_OSERR, "%s: %s", when->query_endpoint,
                             zmq_strerror(errno));
    }
}

int when_open(const WhenOptions *options, When **when_out, Error *err)
{
    *when_out = NULL;
    When *when = calloc(1, sizeof(*when));
    if (!when)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    const char *query = options->query_endpoint ? options->query_endpoint : WHEN_QUERY_ENDPOINT;
    when->query_endpoint = strdup(query);
    when->events_endpoint =
        options->events_endpoint ? strdup(options->events_endpoint) : events_endpoint_of(query);
    when->context = zmq_ctx_new();
    /* Ids that other runs of this program did not use just before: a late answer to one of them is
     * no answer to us. */
    when->next_request_id = (uint64_t)clock_utc_us();
    int rc = read_keys(when, options, err);
    if (rc < 0) {
        when_free(when);
        return rc;
    }
    if (!when->query_endpoint || !when->context) {
        rc = error_set(err, ENOMEM, EX_OSERR, "no memory");
    } else {
        when->query = when_dealer(when);
        if (!when->query)
            rc = error_set(err, errno, EX_USAGE,
                           "%s: not an address (ipc://PATH or tcp://HOST:PORT): %s", query,
                           zmq_strerror(errno));
    }
    if (rc == 0)
        rc = wait_connected(when, options->connect_ms ? options->connect_ms : WHEN_CONNECT_MS, err);
    if (rc < 0) {
        when_free(when);
        return rc;
    }
    *when_out = when;
    return 0;
}

void when_free(When *when)
{
    if (!when)
        return;
    wire_message_deinit(&when->message);
    if (when->query)
        zmq_close(when->query);
    if (when->context)
        zmq_ctx_term(when->context);
    free(when->query_endpoint);
    free(when->events_endpoint);
    keyfile_forget(&when->keys);
    free(when);
}

int when_take_response(When *when, void *socket, uint64_t request_id, When__Response **response)
{
    *response = NULL;
    for (;;) {
        int rc = wire_receive(socket, false, &when->message);
        if (rc == WIRE_REFUSED)
            continue;
        if (rc != 0)
            return rc;
        size_t bytes;
        const uint8_t *body = wire_body(&when->message, &bytes);
        When__Response *r = when__response__unpack(NULL, bytes, body);
        wire_message_clear(&when->message);
        if (r && r->request_id == request_id) {
            *response = r;
            return 0;
        }
        if (r)
            when__response__free_unpacked(r, NULL);
    }
}

int when_remote_error(const When__Response *response, Error *err)
{
    const When__ErrorResponse *e = response->error;
    int code = e->exit_code >= EX__BASE && e->exit_code <= EX__MAX ? e->exit_code : EX_SOFTWARE;
    return error_set(err, EREMOTEIO, code, "%s",
                     e->text && e->text[0] ? e->text : "whend refused this without saying why");
}

static int wait_response(When *when, int64_t deadline_us, uint64_t request_id,
                         When__Response **response, Error *err)
{
    for (;;) {
        int rc = when_take_response(when, when->query, request_id, response);
        if (rc < 0)
            return error_set(err, -rc, EX_OSERR, "%s: %s", when->query_endpoint, zmq_strerror(-rc));
        if (rc == 0)
            return 0;
        zmq_pollitem_t item = {.socket = when->query, .events = ZMQ_POLLIN};
        int n = zmq_poll(&item, 1, when_ms_until(deadline_us));
        if (n == 0)
            return error_set(err, ETIMEDOUT, EX_UNAVAILABLE,
                             "whend at %s does not answer in time (is it running? see its log)",
                             when->query_endpoint);
        if (n < 0 && errno != EINTR)
            return error_set(err, errno, EX_OSERR, "%s: %s", when->query_endpoint,
                             zmq_strerror(errno));
    }
}

int when_request(When *when, When__Request *request, int deadline_ms, WhenSink sink, void *context,
                 Error *err)
{
    if (deadline_ms <= 0)
        deadline_ms = WHEN_DEADLINE_MS;
    int64_t deadline_us = clock_monotonic_us() + INT64_C(1000) * deadline_ms;
    request->version = WIRE_VERSION;
    request->request_id = when->next_request_id++;
    request->deadline_ms = (uint32_t)deadline_ms;
    int rc = wire_send(when->query, NULL, 0, &request->base, NULL, 0);
    if (rc == -EMSGSIZE)
        return error_set(err, EMSGSIZE, EX_DATAERR,
                         "the request is larger than the %d bytes that whend reads",
                         WIRE_MAX_MESSAGE_BYTES);
    if (rc < 0)
        return nobody(when, -rc, err);
    bool begun = false;
    for (bool last = false; !last; begun = true) {
        When__Response *response;
        /* The service ends it at the deadline and then says so. */
        int64_t wait_us = deadline_us + (begun ? GRACE_US : 0);
        int64_t silent_us = clock_monotonic_us() + SILENCE_US;
        if (begun && silent_us < wait_us)
            wait_us = silent_us;
        rc = wait_response(when, wait_us, request->request_id, &response, err);
        if (rc < 0)
            return rc;
        last = response->last || response->body_case == WHEN__RESPONSE__BODY_ERROR;
        if (response->body_case == WHEN__RESPONSE__BODY_ERROR)
            rc = when_remote_error(response, err);
        else if (response->version != WIRE_VERSION)
            rc = error_set(err, EPROTO, EX_PROTOCOL,
                           "whend at %s speaks version %u of the protocol, this client %d (update "
                           "the older one)",
                           when->query_endpoint, response->version, WIRE_VERSION);
        else
            rc = sink(response, context);
        when__response__free_unpacked(response, NULL);
        if (rc < 0)
            return rc;
    }
    return 0;
}

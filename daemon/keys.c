/* Who may connect from elsewhere. See keys.h. */
#include "daemon/keys.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/keyfile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"
#define ZAP_DOMAIN   "whend"
#define LOG_EVERY_US US_PER_S /* connections that are refused come back several times a second */

enum { ZAP_PARTS = 7, ZAP_MAX_BYTES = 256, PUBLIC_BYTES = 32, QUESTIONS_A_TURN = 64 };

typedef struct Client {
    char name[EVENT_NAME_BYTES];
    char text[KEY_BYTES];
    uint8_t key[PUBLIC_BYTES];
    int64_t added_us;
} Client;

struct Keys {
    void *zap; /* REP */
    KeyFile own;
    Client *clients; /* [n], by name */
    size_t n, capacity;
    uint64_t refused;
    int64_t logged_us;
    When__ClientKey *messages, **list; /* of keys_fill */
};

static Client *find(const Keys *keys, const char *name)
{
    for (size_t i = 0; i < keys->n; i++)
        if (strcmp(keys->clients[i].name, name) == 0)
            return &keys->clients[i];
    return NULL;
}

static int add(Keys *keys, const char *name, const char *text, int64_t added_us)
{
    Client *client = find(keys, name);
    if (!client) {
        void *clients = keys->clients;
        int r = mem_grow(&clients, &keys->capacity, keys->n + 1, sizeof *client);
        keys->clients = clients;
        if (r < 0)
            return r;
        client = &keys->clients[keys->n++];
    }
    *client = (Client){.added_us = added_us};
    snprintf(client->name, sizeof client->name, "%s", name);
    snprintf(client->text, sizeof client->text, "%s", text);
    return zmq_z85_decode(client->key, text) ? 0 : -EINVAL;
}

static int take_client(const char *name, const char *public_key, int64_t added_us, void *context)
{
    Keys *keys = context;
    if (!keyfile_is_key(public_key) || keys->n == KEYS_MAX_CLIENTS) {
        log_error("keys", "client=%s left out: its key in the index is none", name);
        return 0;
    }
    return add(keys, name, public_key, added_us);
}

static int own_key(Keys *keys, const char *state_dir, Error *err)
{
    _cleanup_free_ char *path = file_join(state_dir, "server.key");
    if (!path)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    if (access(path, F_OK) == 0)
        return keyfile_read(path, &keys->own, err);
    if (zmq_curve_keypair(keys->own.public_key, keys->own.secret_key) < 0)
        return error_set(err, errno, EX_UNAVAILABLE,
                         "remote: this libzmq has no CURVE (%s); install one that has",
                         zmq_strerror(errno));
    return keyfile_write(path, &keys->own, err);
}

int keys_open(void *zmq, Index *index, const char *state_dir, Keys **opened, Error *err)
{
    *opened = NULL;
    Keys *keys = calloc(1, sizeof *keys);
    if (!keys)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    int r = own_key(keys, state_dir, err);
    if (r == 0)
        r = index_clients(index, take_client, keys, err);
    if (r == 0 &&
        (!(keys->zap = zmq_socket(zmq, ZMQ_REP)) || zmq_bind(keys->zap, ZAP_ENDPOINT) < 0))
        r = error_set(err, errno, EX_OSERR, "%s: %s", ZAP_ENDPOINT, zmq_strerror(errno));
    if (r < 0) {
        keys_free(keys);
        return r < 0 && err->text[0] ? r : error_set(err, -r, EX_OSERR, "keys: %s", strerror(-r));
    }
    log_info("keys", "server_key=%s clients=%zu", keys->own.public_key, keys->n);
    *opened = keys;
    return 0;
}

void keys_free(Keys *keys)
{
    if (!keys)
        return;
    if (keys->zap) {
        int none = 0;
        zmq_setsockopt(keys->zap, ZMQ_LINGER, &none, sizeof none);
        zmq_close(keys->zap);
    }
    keyfile_forget(&keys->own);
    free(keys->clients);
    free(keys->messages);
    free(keys->list);
    free(keys);
}

int keys_protect(const Keys *keys, void *socket)
{
    int yes = 1;
    if (zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) < 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys->own.secret_key, KEY_BYTES - 1) < 0 ||
        zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, sizeof ZAP_DOMAIN - 1) < 0 ||
        zmq_setsockopt(socket, ZMQ_IPV6, &yes, sizeof yes) < 0)
        return -errno;
    return 0;
}

void *keys_socket(Keys *keys)
{
    return keys->zap;
}

/* --- ZAP: version, request id, domain, address, identity, mechanism, key; and back: version,
 * request id, status code, text, user id, metadata --- */

typedef struct Question {
    uint8_t parts[ZAP_PARTS][ZAP_MAX_BYTES];
    size_t bytes[ZAP_PARTS];
    size_t n; /* parts that came, also those beyond */
} Question;

static bool receive(void *zap, Question *q)
{
    q->n = 0;
    for (int more = 1; more;) {
        zmq_msg_t part;
        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, zap, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&part);
            return false;
        }
        size_t bytes = zmq_msg_size(&part);
        if (q->n < ZAP_PARTS) {
            q->bytes[q->n] = bytes <= ZAP_MAX_BYTES ? bytes : 0;
            memcpy(q->parts[q->n], zmq_msg_data(&part), q->bytes[q->n]);
        }
        q->n++;
        more = zmq_msg_more(&part);
        zmq_msg_close(&part);
    }
    return true;
}

static bool is_text(const Question *q, size_t i, const char *text)
{
    return q->bytes[i] == strlen(text) && memcmp(q->parts[i], text, q->bytes[i]) == 0;
}

/* Whose key this is; NULL: it is not allowed. */
static const Client *judge(const Keys *keys, const Question *q)
{
    if (q->n != ZAP_PARTS || !is_text(q, 0, "1.0") || !is_text(q, 2, ZAP_DOMAIN) ||
        !is_text(q, 5, "CURVE") || q->bytes[6] != PUBLIC_BYTES)
        return NULL;
    for (size_t i = 0; i < keys->n; i++)
        if (memcmp(keys->clients[i].key, q->parts[6], PUBLIC_BYTES) == 0)
            return &keys->clients[i];
    return NULL;
}

static void refuse(Keys *keys, const Question *q)
{
    keys->refused++;
    int64_t now_us = clock_monotonic_us();
    if (keys->logged_us && now_us - keys->logged_us < LOG_EVERY_US)
        return;
    keys->logged_us = now_us;
    char text[KEY_BYTES] = "none";
    if (q->n == ZAP_PARTS && q->bytes[6] == PUBLIC_BYTES)
        zmq_z85_encode(text, q->parts[6], PUBLIC_BYTES);
    log_warn("keys", "address=%.*s key=%s is not allowed: connection refused, refused=%" PRIu64,
             q->n > 3 ? (int)q->bytes[3] : 0, (const char *)q->parts[3], text, keys->refused);
}

void keys_run(Keys *keys)
{
    static Question q;
    for (int i = 0; i < QUESTIONS_A_TURN && receive(keys->zap, &q); i++) {
        const Client *client = judge(keys, &q);
        if (!client)
            refuse(keys, &q);
        else
            log_info("keys", "client=%s connects", client->name);
        size_t id_bytes = q.n > 1 ? q.bytes[1] : 0;
        zmq_send(keys->zap, "1.0", 3, ZMQ_SNDMORE);
        zmq_send(keys->zap, q.parts[1], id_bytes, ZMQ_SNDMORE);
        zmq_send(keys->zap, client ? "200" : "400", 3, ZMQ_SNDMORE);
        zmq_send(keys->zap, client ? "OK" : "key not allowed", client ? 2 : 15, ZMQ_SNDMORE);
        zmq_send(keys->zap, client ? client->text : "", client ? KEY_BYTES - 1 : 0, ZMQ_SNDMORE);
        zmq_send(keys->zap, "", 0, 0);
    }
}

/* --- the list --- */

bool keys_allows(const Keys *keys, const char *public_key)
{
    for (size_t i = 0; i < keys->n; i++)
        if (strcmp(keys->clients[i].text, public_key) == 0)
            return true;
    return false;
}

uint64_t keys_refused(const Keys *keys)
{
    return keys->refused;
}

const char *keys_server_key(const Keys *keys)
{
    return keys->own.public_key;
}

int keys_allow(Keys *keys, const char *name, const char *public_key, Batch *batch, Error *err)
{
    if (!keyfile_is_key(public_key))
        return error_set(err, EINVAL, EX_DATAERR,
                         "not a public key: 40 characters, as whenctl key new prints them");
    for (size_t i = 0; i < keys->n; i++)
        if (strcmp(keys->clients[i].text, public_key) == 0 &&
            strcmp(keys->clients[i].name, name) != 0)
            return error_set(err, EEXIST, EX_DATAERR, "this key is allowed already, as %s",
                             keys->clients[i].name);
    if (keys->n == KEYS_MAX_CLIENTS && !find(keys, name))
        return error_set(err, ENOSPC, EX_DATAERR, "%d keys are allowed already: revoke some",
                         KEYS_MAX_CLIENTS);
    if (add(keys, name, public_key, clock_utc_us()) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    batch_client(batch, name, public_key);
    log_info("keys", "client=%s allowed key=%s", name, public_key);
    return 0;
}

int keys_revoke(Keys *keys, const char *name, Batch *batch, Error *err)
{
    Client *client = find(keys, name);
    if (!client)
        return error_set(err, ENOENT, EX_NOINPUT, "no key of %s is allowed (whenctl key list)",
                         name);
    size_t after = keys->n - (size_t)(client - keys->clients) - 1;
    memmove(client, client + 1, after * sizeof *client);
    keys->n--;
    batch_client(batch, name, "");
    log_info("keys", "client=%s revoked", name);
    return 0;
}

int keys_fill(Keys *keys, When__KeysResponse *response)
{
    free(keys->messages);
    free(keys->list);
    keys->messages = mem_new_array(keys->n, sizeof *keys->messages);
    keys->list = mem_new_array(keys->n, sizeof *keys->list);
    if (!keys->messages || !keys->list)
        return -ENOMEM;
    for (size_t i = 0; i < keys->n; i++) {
        When__ClientKey *message = keys->list[i] = &keys->messages[i];
        when__client_key__init(message);
        message->name = keys->clients[i].name;
        message->public_key = keys->clients[i].text;
        message->added_us = keys->clients[i].added_us;
    }
    response->n_keys = keys->n;
    response->keys = keys->list;
    response->server_key = keys->own.public_key;
    return 0;
}

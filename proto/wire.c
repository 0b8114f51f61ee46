/* Messages on ZeroMQ sockets. See wire.h. */
#include "proto/wire.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

void wire_message_clear(WireMessage *m)
{
    if (m->has_body)
        zmq_msg_close(&m->body);
    m->has_body = false;
    for (size_t i = 0; i < m->n_pixels; i++)
        zmq_msg_close(&m->pixels[i]);
    m->n_pixels = 0;
    m->id_bytes = 0;
    m->user[0] = '\0';
}

void wire_message_deinit(WireMessage *m)
{
    wire_message_clear(m);
    free(m->pixels);
    *m = (WireMessage){0};
}

/* Messages may not be moved by realloc: zmq_msg_move is the only move that ZeroMQ promises. */
static int grow_pixels(WireMessage *m)
{
    if (m->n_pixels < m->capacity)
        return 0;
    size_t capacity = m->capacity ? 2 * m->capacity : 8;
    zmq_msg_t *pixels = mem_new_array(capacity, sizeof(*pixels));
    if (!pixels)
        return -ENOMEM;
    for (size_t i = 0; i < m->n_pixels; i++) {
        zmq_msg_init(&pixels[i]);
        zmq_msg_move(&pixels[i], &m->pixels[i]);
        zmq_msg_close(&m->pixels[i]);
    }
    free(m->pixels);
    m->pixels = pixels;
    m->capacity = capacity;
    return 0;
}

/* Puts one part where it belongs. 0, WIRE_REFUSED or -errno. `part` is closed or moved away. */
static int take_part(WireMessage *m, bool has_id, size_t number, zmq_msg_t *part)
{
    size_t bytes = zmq_msg_size(part);
    if (has_id && number == 0) {
        /* An id that does not fit could never be answered. */
        if (bytes == 0 || bytes > sizeof(m->id))
            return WIRE_REFUSED;
        memcpy(m->id, zmq_msg_data(part), bytes);
        m->id_bytes = bytes;
        return 0;
    }
    if (number == (has_id ? 1U : 0U)) {
        if (bytes > WIRE_MAX_MESSAGE_BYTES)
            return WIRE_REFUSED;
        const char *user = zmq_msg_gets(part, "User-Id");
        if (user && strlen(user) >= sizeof(m->user))
            return WIRE_REFUSED;
        memcpy(m->user, user ? user : "", user ? strlen(user) + 1 : 1);
        zmq_msg_init(&m->body);
        zmq_msg_move(&m->body, part);
        m->has_body = true;
        return 0;
    }
    if (bytes > WIRE_MAX_PIXEL_BYTES || m->n_pixels >= WIRE_MAX_PIXEL_PARTS)
        return WIRE_REFUSED;
    int rc = grow_pixels(m);
    if (rc < 0)
        return rc;
    zmq_msg_init(&m->pixels[m->n_pixels]);
    zmq_msg_move(&m->pixels[m->n_pixels++], part);
    return 0;
}

/* Reads part `number` of a message. 0, WIRE_NOTHING (no message waits) or -errno. */
static int receive_part(void *socket, size_t number, zmq_msg_t *part)
{
    zmq_msg_init(part);
    while (zmq_msg_recv(part, socket, ZMQ_DONTWAIT) < 0) {
        if (errno == EINTR)
            continue;
        int errnum = errno;
        zmq_msg_close(part);
        /* The parts of a message arrive together: only the first can be missing. */
        return errnum == EAGAIN && number == 0 ? WIRE_NOTHING : -errnum;
    }
    return 0;
}

int wire_receive(void *socket, bool has_id, WireMessage *m)
{
    wire_message_clear(m);
    int result = 0;
    bool more = true;
    for (size_t number = 0; more; number++) {
        zmq_msg_t part;
        int rc = receive_part(socket, number, &part);
        if (rc != 0) {
            wire_message_clear(m);
            return rc;
        }
        more = zmq_msg_more(&part);
        /* After a refusal the rest is still read, to the message's end, and thrown away. */
        if (result == 0)
            result = take_part(m, has_id, number, &part);
        zmq_msg_close(&part);
    }
    if (result == 0 && !m->has_body)
        result = WIRE_REFUSED; /* a ROUTER's peer sent an id and nothing else */
    if (result != 0)
        wire_message_clear(m);
    return result;
}

int wire_receive_published(void *socket, char topic[WIRE_MAX_TOPIC_BYTES + 1], WireMessage *m)
{
    wire_message_clear(m);
    int result = 0;
    bool more = true;
    topic[0] = '\0';
    for (size_t number = 0; more; number++) {
        zmq_msg_t part;
        int rc = receive_part(socket, number, &part);
        if (rc != 0) {
            wire_message_clear(m);
            return rc;
        }
        more = zmq_msg_more(&part);
        size_t bytes = zmq_msg_size(&part);
        if (number == 0 && bytes <= WIRE_MAX_TOPIC_BYTES &&
            !memchr(zmq_msg_data(&part), '\0', bytes)) {
            memcpy(topic, zmq_msg_data(&part), bytes);
            topic[bytes] = '\0';
        } else if (number == 1 && bytes <= WIRE_MAX_MESSAGE_BYTES) {
            zmq_msg_init(&m->body);
            zmq_msg_move(&m->body, &part);
            m->has_body = true;
        } else {
            result = WIRE_REFUSED;
        }
        zmq_msg_close(&part);
    }
    if (!m->has_body)
        result = WIRE_REFUSED;
    if (result != 0)
        wire_message_clear(m);
    return result;
}

/* Sends one part. On success it belongs to ZeroMQ, else it is closed. */
static int send_part(void *socket, zmq_msg_t *part, bool more)
{
    int flags = ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0);
    while (zmq_msg_send(part, socket, flags) < 0) {
        if (errno == EINTR)
            continue;
        int errnum = errno;
        zmq_msg_close(part);
        return -errnum;
    }
    return 0;
}

static int send_bytes(void *socket, const void *bytes, size_t n, bool more)
{
    zmq_msg_t part;
    if (zmq_msg_init_size(&part, n) < 0)
        return -ENOMEM;
    if (n)
        memcpy(zmq_msg_data(&part), bytes, n);
    return send_part(socket, &part, more);
}

int wire_pack(const ProtobufCMessage *message, zmq_msg_t *part)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    if (bytes > WIRE_MAX_MESSAGE_BYTES)
        return -EMSGSIZE;
    if (zmq_msg_init_size(part, bytes) < 0)
        return -ENOMEM;
    size_t written = protobuf_c_message_pack(message, zmq_msg_data(part));
    assert(written == bytes);
    (void)written;
    return 0;
}

int wire_send_packed(void *socket, const uint8_t *id, size_t id_bytes, zmq_msg_t *body)
{
    int rc = send_bytes(socket, id, id_bytes, true);
    if (rc == 0 && (rc = send_part(socket, body, false)) < 0)
        zmq_msg_init(body); /* it was closed */
    return rc;
}

int wire_send(void *socket, const uint8_t *id, size_t id_bytes, const ProtobufCMessage *message,
              zmq_msg_t *pixels, size_t n_pixels)
{
    if (n_pixels > WIRE_MAX_PIXEL_PARTS || id_bytes > WIRE_MAX_ID_BYTES)
        return -EMSGSIZE;
    for (size_t i = 0; i < n_pixels; i++)
        if (zmq_msg_size(&pixels[i]) > WIRE_MAX_PIXEL_BYTES)
            return -EMSGSIZE;
    zmq_msg_t body;
    int rc = wire_pack(message, &body);
    if (rc < 0)
        return rc;
    if (id && (rc = send_bytes(socket, id, id_bytes, true)) < 0) {
        zmq_msg_close(&body);
        return rc;
    }
    rc = send_part(socket, &body, n_pixels > 0);
    /* Shared copies go out, so that a caller whose send broke off still has all its pixels. */
    for (size_t i = 0; rc == 0 && i < n_pixels; i++) {
        zmq_msg_t copy;
        zmq_msg_init(&copy);
        if (zmq_msg_copy(&copy, &pixels[i]) < 0) {
            zmq_msg_close(&copy);
            return -errno;
        }
        rc = send_part(socket, &copy, i + 1 < n_pixels);
    }
    for (size_t i = 0; rc == 0 && i < n_pixels; i++) {
        zmq_msg_close(&pixels[i]);
        zmq_msg_init(&pixels[i]);
    }
    return rc;
}

int wire_publish(void *socket, const char *topic, const ProtobufCMessage *message)
{
    size_t topic_bytes = strlen(topic);
    if (topic_bytes > WIRE_MAX_TOPIC_BYTES)
        return -EMSGSIZE;
    zmq_msg_t body;
    int rc = wire_pack(message, &body);
    if (rc < 0)
        return rc;
    rc = send_bytes(socket, topic, topic_bytes, true);
    if (rc < 0) {
        zmq_msg_close(&body);
        return rc;
    }
    return send_part(socket, &body, false);
}

static int set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

int wire_socket_limit(void *socket, int64_t max_part_bytes)
{
    return zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max_part_bytes, sizeof(max_part_bytes)) < 0
               ? -errno
               : 0;
}

int wire_socket_init(void *socket, int linger_ms, int high_water_mark)
{
    int type = 0;
    size_t type_bytes = sizeof(type);
    if (zmq_getsockopt(socket, ZMQ_TYPE, &type, &type_bytes) < 0)
        return -errno;
    int rc = set_int(socket, ZMQ_LINGER, linger_ms);
    if (rc == 0)
        rc = set_int(socket, ZMQ_SNDHWM, high_water_mark);
    if (rc == 0)
        rc = set_int(socket, ZMQ_RCVHWM, high_water_mark);
    if (rc == 0)
        rc = wire_socket_limit(socket, WIRE_MAX_PIXEL_BYTES);
    if (rc == 0 && type == ZMQ_ROUTER)
        rc = set_int(socket, ZMQ_ROUTER_MANDATORY, 1);
    return rc;
}

int wire_probe_ipc(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN)
        return 0; /* EAGAIN: somebody listens and is very busy */
    return -errno;
}

/* Makes way for an ipc socket: a dead one's file is removed, anything else is left alone. */
static int prepare_ipc(const char *endpoint, const char *path, Error *err)
{
    size_t max_bytes = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
    if (strlen(path) > max_bytes)
        return error_set(err, ENAMETOOLONG, EX_CONFIG,
                         "%s: the path is longer than the %zu bytes a socket may have (choose a "
                         "shorter runtime_dir)",
                         endpoint, max_bytes);
    _cleanup_free_ char *folder = strdup(path);
    if (!folder)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", endpoint);
    char *slash = strrchr(folder, '/');
    if (slash)
        *(slash == folder ? slash + 1 : slash) = '\0';
    const char *dir = slash ? folder : ".";
    struct stat st;
    if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
        return error_set(err, ENOENT, EX_CANTCREAT,
                         "%s: there is no folder %s (create it, or set runtime_dir)", endpoint,
                         dir);
    if (access(dir, W_OK | X_OK) < 0)
        return error_set(err, errno, EX_CANTCREAT,
                         "%s: %s is not writable: %s (change its owner, or set runtime_dir)",
                         endpoint, dir, strerror(errno));
    if (lstat(path, &st) < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(err, errno, EX_CANTCREAT, "%s: %s", endpoint, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, EEXIST, EX_CANTCREAT,
                         "%s: %s exists and is not a socket (move it away)", endpoint, path);
    int rc = wire_probe_ipc(path);
    if (rc == 0)
        return error_set(err, EADDRINUSE, EX_UNAVAILABLE,
                         "%s: another process listens there (stop it, or choose another address)",
                         endpoint);
    if (rc != -ECONNREFUSED)
        return error_set(err, -rc, EX_CANTCREAT, "%s: %s", endpoint, strerror(-rc));
    if (unlink(path) < 0)
        return error_set(err, errno, EX_CANTCREAT, "%s: stale socket: %s", endpoint,
                         strerror(errno));
    return 0;
}

/* Socket files of this process, removed when it ends: ZeroMQ leaves them behind. */
static struct {
    char *path;
    dev_t dev;
    ino_t ino;
    pid_t pid;
} bound[16];
static size_t n_bound;

static void remove_bound(void)
{
    for (size_t i = 0; i < n_bound; i++) {
        struct stat st;
        /* Not a forked child's to remove, nor one that somebody else has made anew since. */
        if (bound[i].pid == getpid() && lstat(bound[i].path, &st) == 0 &&
            st.st_dev == bound[i].dev && st.st_ino == bound[i].ino)
            unlink(bound[i].path);
        free(bound[i].path);
    }
    n_bound = 0;
}

static void remove_at_exit(const char *path)
{
    struct stat st;
    char *copy = strdup(path);
    if (!copy || n_bound == sizeof(bound) / sizeof(bound[0]) || lstat(path, &st) < 0) {
        free(copy);
        return; /* one stale file more: the next bind removes it */
    }
    if (n_bound == 0)
        atexit(remove_bound);
    bound[n_bound].path = copy;
    bound[n_bound].dev = st.st_dev;
    bound[n_bound].ino = st.st_ino;
    bound[n_bound++].pid = getpid();
}

int wire_bind(void *socket, const char *endpoint, Error *err)
{
    const char *path = strncmp(endpoint, "ipc://", 6) == 0 ? endpoint + 6 : NULL;
    if (path && (path[0] == '@' || path[0] == '*' || path[0] == '\0'))
        path = NULL; /* the abstract name space, or ZeroMQ's own choice: no file of ours */
    if (path) {
        int rc = prepare_ipc(endpoint, path, err);
        if (rc < 0)
            return rc;
    }
    if (zmq_bind(socket, endpoint) < 0) {
        int errnum = errno;
        if (errnum == EADDRINUSE)
            return error_set(err, errnum, EX_UNAVAILABLE,
                             "%s: the address is taken (stop what listens there, or choose another "
                             "one)",
                             endpoint);
        if (errnum == EINVAL || errnum == EPROTONOSUPPORT)
            return error_set(err, errnum, EX_CONFIG,
                             "%s: not an address to listen on (ipc://PATH or tcp://ADDRESS:PORT)",
                             endpoint);
        return error_set(err, errnum, EX_CANTCREAT, "%s: %s", endpoint, zmq_strerror(errnum));
    }
    if (path)
        remove_at_exit(path);
    if (path && chmod(path, 0600) < 0)
        return error_set(err, errno, EX_CANTCREAT, "%s: %s", endpoint, strerror(errno));
    return 0;
}

int wire_share(const char *endpoint, unsigned mode, const char *group, Error *err)
{
    if (strncmp(endpoint, "ipc:///", 7) != 0)
        return 0;
    const char *path = endpoint + 6;
    if (group) {
        const struct group *entry = getgrnam(group);
        if (!entry)
            return error_set(err, ENOENT, EX_CONFIG,
                             "endpoints.group: there is no group %s (groupadd, or another one)",
                             group);
        if (chown(path, (uid_t)-1, entry->gr_gid) < 0)
            return error_set(err, errno, EX_NOPERM,
                             "%s: cannot be given to group %s: %s (add whend's user to it)",
                             endpoint, group, strerror(errno));
    }
    if (chmod(path, mode) < 0)
        return error_set(err, errno, EX_CANTCREAT, "%s: %s", endpoint, strerror(errno));
    return 0;
}

/* whend-camera's end of the worker protocol. See camera_link.h. */
#include "pipeline/camera_link.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINGER_MS = 2000, HIGH_WATER = 64, SEND_TRIES = 50, TRY_MS = 100 };

static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
    (void)number;
    signalled = 1;
}

void camera_link_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool camera_link_stopped(const CameraLink *link)
{
    return link->stop || signalled;
}

int camera_link_open(CameraLink *link, const char *endpoint, const char *id, Error *err)
{
    *link = (CameraLink){0};
    if (!*id || strlen(id) > WIRE_MAX_ID_BYTES)
        return error_set(err, EINVAL, EX_USAGE, "--id: 1 to %d bytes", WIRE_MAX_ID_BYTES);
    snprintf(link->name, sizeof link->name, "%s", id);
    link->context = zmq_ctx_new();
    link->socket = link->context ? zmq_socket(link->context, ZMQ_DEALER) : NULL;
    int r = link->socket ? wire_socket_init(link->socket, LINGER_MS, HIGH_WATER) : -errno;
    if (r == 0 && zmq_setsockopt(link->socket, ZMQ_ROUTING_ID, id, strlen(id)) < 0)
        r = -errno;
    if (r == 0 && zmq_connect(link->socket, endpoint) < 0)
        r = -errno;
    if (r < 0)
        return error_set(err, -r, EX_UNAVAILABLE, "--connect %s: %s", endpoint, zmq_strerror(-r));
    When__CameraHello hello = WHEN__CAMERA_HELLO__INIT;
    hello.pid = getpid();
    When__FromWorker message = WHEN__FROM_WORKER__INIT;
    message.body_case = WHEN__FROM_WORKER__BODY_CAMERA_HELLO;
    message.camera_hello = &hello;
    camera_link_send(link, &message);
    return 0;
}

static void forget_setup(CameraLink *link)
{
    if (!link->setup_message)
        return;
    char *password = link->setup_message->camera_setup->password;
    explicit_bzero(password, strlen(password));
    when__to_worker__free_unpacked(link->setup_message, NULL);
    link->setup_message = NULL;
    link->setup = NULL;
}

void camera_link_close(CameraLink *link)
{
    forget_setup(link);
    wire_message_deinit(&link->in);
    if (link->socket)
        zmq_close(link->socket);
    if (link->context)
        zmq_ctx_term(link->context);
    *link = (CameraLink){0};
}

static void take(CameraLink *link)
{
    size_t bytes;
    const uint8_t *body = wire_body(&link->in, &bytes);
    When__ToWorker *message = when__to_worker__unpack(NULL, bytes, body);
    if (!message || message->version != WIRE_VERSION) {
        log_warn("camera", "camera=%s a damaged message, or of another version, was refused",
                 link->name);
    } else if (message->body_case == WHEN__TO_WORKER__BODY_STOP) {
        link->stop = true;
    } else if (message->body_case == WHEN__TO_WORKER__BODY_CREDIT) {
        link->credit += message->credit->frames;
    } else if (message->body_case == WHEN__TO_WORKER__BODY_CAMERA_SETUP && !link->setup) {
        link->setup_message = message;
        link->setup = message->camera_setup;
        return;
    }
    if (message)
        when__to_worker__free_unpacked(message, NULL);
}

void camera_link_wait(CameraLink *link, int wake_fd, bool want_room, int timeout_ms)
{
    zmq_pollitem_t items[2] = {
        {.socket = link->socket, .events = (short)(ZMQ_POLLIN | (want_room ? ZMQ_POLLOUT : 0))},
        {.fd = wake_fd, .events = ZMQ_POLLIN},
    };
    if (zmq_poll(items, wake_fd >= 0 ? 2 : 1, timeout_ms) < 0)
        return;
    if (wake_fd >= 0 && items[1].revents) {
        uint64_t count;
        ssize_t n = read(wake_fd, &count, sizeof count);
        (void)n;
    }
    for (int r; (r = wire_receive(link->socket, false, &link->in)) == 0 || r == WIRE_REFUSED;)
        if (r == 0)
            take(link);
}

void camera_link_send(CameraLink *link, When__FromWorker *message)
{
    message->version = WIRE_VERSION;
    for (int i = 0; i < SEND_TRIES; i++) {
        int r = wire_send(link->socket, NULL, 0, &message->base, NULL, 0);
        if (r == 0)
            return;
        if (r != -EAGAIN) {
            log_error("camera", "camera=%s send: %s", link->name, zmq_strerror(-r));
            return;
        }
        zmq_pollitem_t item = {.socket = link->socket, .events = ZMQ_POLLOUT};
        zmq_poll(&item, 1, TRY_MS);
    }
    log_error("camera", "camera=%s whend takes no messages: one was lost", link->name);
}

int camera_link_send_frame(CameraLink *link, const When__FrameInfo *info, zmq_msg_t *pixels)
{
    When__FromWorker message = WHEN__FROM_WORKER__INIT;
    message.version = WIRE_VERSION;
    message.body_case = WHEN__FROM_WORKER__BODY_FRAME;
    message.frame = (When__FrameInfo *)info;
    return wire_send(link->socket, NULL, 0, &message.base, pixels, 1);
}

void camera_link_health(CameraLink *link, When__CameraHealth *health)
{
    When__FromWorker message = WHEN__FROM_WORKER__INIT;
    message.body_case = WHEN__FROM_WORKER__BODY_HEALTH;
    message.health = health;
    camera_link_send(link, &message);
}

void camera_link_end(CameraLink *link, const Error *err, double duration_s)
{
    When__CameraEnd end = WHEN__CAMERA_END__INIT;
    end.failed = err && err->exit_code != 0;
    end.exit_code = err ? err->exit_code : 0;
    end.reason = err ? (char *)err->text : "";
    end.duration_s = duration_s;
    When__FromWorker message = WHEN__FROM_WORKER__INIT;
    message.body_case = WHEN__FROM_WORKER__BODY_END;
    message.end = &end;
    camera_link_send(link, &message);
}

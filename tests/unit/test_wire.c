/* Messages over real sockets: whole, too large, too many, none, and the addresses they come by. */
#include "proto/wire.h"

#include "base/mem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct Pair {
    void *context, *router, *dealer;
    WireMessage m;
} Pair;

static void set_up(Pair *p)
{
    *p = (Pair){.context = zmq_ctx_new()};
    p->router = zmq_socket(p->context, ZMQ_ROUTER);
    p->dealer = zmq_socket(p->context, ZMQ_DEALER);
    assert_int_equal(wire_socket_init(p->router, 0, 2000), 0);
    assert_int_equal(wire_socket_init(p->dealer, 0, 2000), 0);
    assert_int_equal(wire_bind(p->router, "inproc://wire", NULL), 0);
    assert_int_equal(zmq_connect(p->dealer, "inproc://wire"), 0);
}

static void tear_down(Pair *p)
{
    wire_message_deinit(&p->m);
    zmq_close(p->dealer);
    zmq_close(p->router);
    zmq_ctx_term(p->context);
}

static void send_raw(void *socket, size_t bytes, bool more)
{
    zmq_msg_t part;
    assert_int_equal(zmq_msg_init_size(&part, bytes), 0);
    memset(zmq_msg_data(&part), 0, bytes);
    assert_true(zmq_msg_send(&part, socket, more ? ZMQ_SNDMORE : 0) >= 0);
}

static void send_hello(Pair *p, int64_t pid)
{
    When__CameraHello hello = WHEN__CAMERA_HELLO__INIT;
    hello.pid = pid;
    When__FromWorker from = WHEN__FROM_WORKER__INIT;
    from.version = WIRE_VERSION;
    from.body_case = WHEN__FROM_WORKER__BODY_CAMERA_HELLO;
    from.camera_hello = &hello;
    assert_int_equal(wire_send(p->dealer, NULL, 0, &from.base, NULL, 0), 0);
}

static void expect_hello(Pair *p, int64_t pid)
{
    assert_int_equal(wire_receive(p->router, true, &p->m), 0);
    size_t bytes;
    const uint8_t *body = wire_body(&p->m, &bytes);
    When__FromWorker *from = when__from_worker__unpack(NULL, bytes, body);
    assert_non_null(from);
    assert_int_equal(from->body_case, WHEN__FROM_WORKER__BODY_CAMERA_HELLO);
    assert_int_equal(from->camera_hello->pid, pid);
    when__from_worker__free_unpacked(from, NULL);
}

static void test_there_and_back(void **state)
{
    (void)state;
    Pair p;
    set_up(&p);
    assert_int_equal(wire_receive(p.router, true, &p.m), WIRE_NOTHING);
    send_hello(&p, 4711);
    expect_hello(&p, 4711);
    assert_true(p.m.id_bytes > 0);
    assert_int_equal(p.m.n_pixels, 0);

    /* An answer by the id that came with it, with pixels, which are handed over. */
    zmq_msg_t pixels[40];
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(zmq_msg_init_size(&pixels[i], 3 * (i + 1)), 0);
        memset(zmq_msg_data(&pixels[i]), (int)i, 3 * (i + 1));
    }
    When__ToWorker to = WHEN__TO_WORKER__INIT;
    to.version = WIRE_VERSION;
    assert_int_equal(wire_send(p.router, p.m.id, p.m.id_bytes, &to.base, pixels, 40), 0);
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(zmq_msg_size(&pixels[i]), 0);
        zmq_msg_close(&pixels[i]);
    }
    assert_int_equal(wire_receive(p.dealer, false, &p.m), 0);
    assert_int_equal(p.m.id_bytes, 0);
    assert_int_equal(p.m.n_pixels, 40);
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(zmq_msg_size(&p.m.pixels[i]), 3 * (i + 1));
        assert_int_equal(((uint8_t *)zmq_msg_data(&p.m.pixels[i]))[3 * i], i);
    }
    tear_down(&p);
}

static void test_a_refused_message_is_read_to_its_end(void **state)
{
    (void)state;
    Pair p;
    set_up(&p);
    send_raw(p.dealer, WIRE_MAX_MESSAGE_BYTES + 1, true); /* too large a body */
    send_raw(p.dealer, 12, false);
    send_raw(p.dealer, WIRE_MAX_MESSAGE_BYTES, false); /* just not */
    send_raw(p.dealer, 10, true);                      /* too large a frame, not at the end */
    send_raw(p.dealer, WIRE_MAX_PIXEL_BYTES + 1, true);
    send_raw(p.dealer, 10, false);
    send_hello(&p, 1);
    for (int i = 0; i <= WIRE_MAX_PIXEL_PARTS; i++) /* a body and all the frames allowed */
        send_raw(p.dealer, 1, i < WIRE_MAX_PIXEL_PARTS);
    for (int i = 0; i <= WIRE_MAX_PIXEL_PARTS + 1; i++) /* and one more */
        send_raw(p.dealer, 1, i < WIRE_MAX_PIXEL_PARTS + 1);
    send_hello(&p, 2);

    assert_int_equal(wire_receive(p.router, true, &p.m), WIRE_REFUSED);
    assert_false(p.m.has_body);
    assert_int_equal(wire_receive(p.router, true, &p.m), 0);
    assert_int_equal(wire_receive(p.router, true, &p.m), WIRE_REFUSED);
    assert_int_equal(p.m.n_pixels, 0);
    expect_hello(&p, 1);
    assert_int_equal(wire_receive(p.router, true, &p.m), 0);
    assert_int_equal(p.m.n_pixels, WIRE_MAX_PIXEL_PARTS);
    assert_int_equal(wire_receive(p.router, true, &p.m), WIRE_REFUSED);
    expect_hello(&p, 2);
    assert_int_equal(wire_receive(p.router, true, &p.m), WIRE_NOTHING);
    tear_down(&p);
}

static void test_router_ids(void **state)
{
    (void)state;
    Pair p;
    set_up(&p);
    When__ToWorker to = WHEN__TO_WORKER__INIT;
    assert_int_equal(wire_send(p.router, (const uint8_t *)"nobody", 6, &to.base, NULL, 0),
                     -EHOSTUNREACH);

    /* A peer whose id is longer than we keep is refused; the others go on. */
    char id[200];
    memset(id, 'i', sizeof(id));
    void *odd = zmq_socket(p.context, ZMQ_DEALER);
    assert_int_equal(zmq_setsockopt(odd, ZMQ_ROUTING_ID, id, WIRE_MAX_ID_BYTES + 1), 0);
    assert_int_equal(zmq_setsockopt(odd, ZMQ_LINGER, &(int){0}, sizeof(int)), 0);
    assert_int_equal(zmq_connect(odd, "inproc://wire"), 0);
    send_raw(odd, 3, false);
    assert_int_equal(wire_receive(p.router, true, &p.m), WIRE_REFUSED);
    send_hello(&p, 3);
    expect_hello(&p, 3);
    zmq_close(odd);
    tear_down(&p);
}

static void test_what_is_too_large_is_not_sent(void **state)
{
    (void)state;
    Pair p;
    set_up(&p);
    When__AskRequest ask = WHEN__ASK_REQUEST__INIT;
    When__Request request = WHEN__REQUEST__INIT;
    _cleanup_free_ char *text = malloc(WIRE_MAX_MESSAGE_BYTES + 1);
    memset(text, 'x', WIRE_MAX_MESSAGE_BYTES);
    text[WIRE_MAX_MESSAGE_BYTES] = '\0';
    ask.question = text;
    request.body_case = WHEN__REQUEST__BODY_ASK;
    request.ask = &ask;
    assert_int_equal(wire_send(p.dealer, NULL, 0, &request.base, NULL, 0), -EMSGSIZE);
    assert_int_equal(wire_receive(p.router, true, &p.m), WIRE_NOTHING);

    zmq_msg_t pixels;
    assert_int_equal(zmq_msg_init_size(&pixels, WIRE_MAX_PIXEL_BYTES + 1), 0);
    ask.question = NULL;
    When__FromWorker from = WHEN__FROM_WORKER__INIT;
    assert_int_equal(wire_send(p.dealer, NULL, 0, &from.base, &pixels, 1), -EMSGSIZE);
    assert_int_equal(zmq_msg_size(&pixels), WIRE_MAX_PIXEL_BYTES + 1); /* still the caller's */
    zmq_msg_close(&pixels);
    tear_down(&p);
}

static void test_a_full_queue_does_not_wait(void **state)
{
    (void)state;
    void *context = zmq_ctx_new();
    void *dealer = zmq_socket(context, ZMQ_DEALER);
    assert_int_equal(wire_socket_init(dealer, 0, 1), 0);
    When__FromWorker from = WHEN__FROM_WORKER__INIT;
    zmq_msg_t pixels;
    assert_int_equal(zmq_msg_init_size(&pixels, 5), 0);
    assert_int_equal(wire_send(dealer, NULL, 0, &from.base, &pixels, 1), -EAGAIN);
    assert_int_equal(zmq_msg_size(&pixels), 5);
    zmq_msg_close(&pixels);
    zmq_close(dealer);
    zmq_ctx_term(context);
}

static void test_published(void **state)
{
    (void)state;
    void *context = zmq_ctx_new();
    /* PAIR in place of PUB and SUB: no subscription to wait for. */
    void *out = zmq_socket(context, ZMQ_PAIR), *in = zmq_socket(context, ZMQ_PAIR);
    assert_int_equal(zmq_bind(out, "inproc://published"), 0);
    assert_int_equal(zmq_connect(in, "inproc://published"), 0);
    char topic[WIRE_MAX_TOPIC_BYTES + 1];
    WireMessage m = {0};
    assert_int_equal(wire_receive_published(in, topic, &m), WIRE_NOTHING);
    When__Heartbeat heartbeat = WHEN__HEARTBEAT__INIT;
    heartbeat.last_sequence = 9;
    assert_int_equal(wire_publish(out, "heartbeat", &heartbeat.base), 0);
    assert_int_equal(wire_receive_published(in, topic, &m), 0);
    assert_string_equal(topic, "heartbeat");
    assert_true(m.has_body);

    char longer[WIRE_MAX_TOPIC_BYTES + 2];
    memset(longer, 't', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(wire_publish(out, longer, &heartbeat.base), -EMSGSIZE);
    send_raw(out, 5, false);  /* no body */
    send_raw(out, 300, true); /* topic too long */
    send_raw(out, 5, false);
    assert_int_equal(zmq_send(out, "event/a", 7, ZMQ_SNDMORE), 7);
    send_raw(out, 5, true);
    send_raw(out, 5, false); /* a part too many */
    assert_int_equal(wire_publish(out, "heartbeat", &heartbeat.base), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(wire_receive_published(in, topic, &m), WIRE_REFUSED);
    assert_int_equal(wire_receive_published(in, topic, &m), 0);
    wire_message_deinit(&m);
    zmq_close(in);
    zmq_close(out);
    zmq_ctx_term(context);
}

static void test_addresses(void **state)
{
    (void)state;
    char dir[] = "/tmp/when-wire-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char path[64], endpoint[80], other[64];
    snprintf(path, sizeof(path), "%s/a.ipc", dir);
    snprintf(other, sizeof(other), "%s/b", dir);
    snprintf(endpoint, sizeof(endpoint), "ipc://%s", path);
    void *context = zmq_ctx_new();
    void *first = zmq_socket(context, ZMQ_ROUTER), *second = zmq_socket(context, ZMQ_ROUTER);
    Error err = {0};
    assert_int_equal(wire_probe_ipc(path), -ENOENT);
    assert_int_equal(wire_bind(first, endpoint, &err), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(wire_share(endpoint, 0660, NULL, &err), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    assert_int_equal(wire_share("tcp://127.0.0.1:1", 0660, "no-such-group", &err), 0);
    assert_true(wire_share(endpoint, 0660, "no-such-group", &err) < 0);
    assert_int_equal(err.exit_code, EX_CONFIG);
    error_clear(&err);
    assert_int_equal(wire_probe_ipc(path), 0);

    /* Taken. A dead process's file (its name moved away, so that nothing removed it) is not. */
    assert_int_equal(wire_bind(second, endpoint, &err), -EADDRINUSE);
    assert_int_equal(err.exit_code, EX_UNAVAILABLE);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(rename(path, other), 0);
    zmq_close(first);
    zmq_close(second);
    zmq_ctx_term(context);
    context = zmq_ctx_new();
    second = zmq_socket(context, ZMQ_ROUTER);
    assert_int_equal(rename(other, path), 0);
    assert_int_equal(wire_probe_ipc(path), -ECONNREFUSED);
    error_clear(&err);
    assert_int_equal(wire_bind(second, endpoint, &err), 0);
    zmq_close(second);
    zmq_ctx_term(context);

    context = zmq_ctx_new();
    second = zmq_socket(context, ZMQ_ROUTER);
    FILE *f = fopen(other, "w"); /* somebody's file stays */
    assert_non_null(f);
    fclose(f);
    snprintf(endpoint, sizeof(endpoint), "ipc://%s", other);
    assert_int_equal(wire_bind(second, endpoint, &err), -EEXIST);
    assert_int_equal(err.exit_code, EX_CANTCREAT);
    assert_int_equal(access(other, F_OK), 0);
    error_clear(&err);
    assert_int_equal(wire_bind(second, "ipc:///nowhere/at/all.ipc", &err), -ENOENT);
    assert_int_equal(err.exit_code, EX_CANTCREAT);
    error_clear(&err);
    char far[300];
    snprintf(far, sizeof(far), "ipc:///tmp/%0200d", 1);
    assert_int_equal(wire_bind(second, far, &err), -ENAMETOOLONG);
    assert_int_equal(err.exit_code, EX_CONFIG);
    error_clear(&err);
    assert_int_equal(wire_bind(second, "nonsense", &err), -EINVAL);
    assert_int_equal(err.exit_code, EX_CONFIG);

    /* A TCP port taken. */
    void *third = zmq_socket(context, ZMQ_ROUTER);
    char bound[128];
    size_t bound_bytes = sizeof(bound);
    error_clear(&err);
    assert_int_equal(wire_bind(second, "tcp://127.0.0.1:*", &err), 0);
    assert_int_equal(zmq_getsockopt(second, ZMQ_LAST_ENDPOINT, bound, &bound_bytes), 0);
    assert_int_equal(wire_bind(third, bound, &err), -EADDRINUSE);
    assert_int_equal(err.exit_code, EX_UNAVAILABLE);
    zmq_close(third);
    zmq_close(second);
    zmq_ctx_term(context);
    unlink(path);
    unlink(other);
    assert_int_equal(rmdir(dir), 0);
}

/* A process that ends as it should leaves no socket behind, and nobody else's is taken away. */
static void test_sockets_go_with_their_process(void **state)
{
    (void)state;
    char dir[] = "/tmp/when-wire-XXXXXX", mine[64], other[64], moved[64], endpoint[80];
    assert_non_null(mkdtemp(dir));
    snprintf(mine, sizeof(mine), "%s/mine.ipc", dir);
    snprintf(other, sizeof(other), "%s/other.ipc", dir);
    snprintf(moved, sizeof(moved), "%s/moved", dir);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        void *context = zmq_ctx_new();
        void *a = zmq_socket(context, ZMQ_ROUTER), *b = zmq_socket(context, ZMQ_ROUTER);
        snprintf(endpoint, sizeof(endpoint), "ipc://%s", mine);
        int bad = wire_bind(a, endpoint, NULL);
        snprintf(endpoint, sizeof(endpoint), "ipc://%s", other);
        bad = bad || wire_bind(b, endpoint, NULL) || rename(other, moved) < 0;
        FILE *f = fopen(other, "w"); /* the name is another's now */
        bad = bad || !f || fclose(f);
        zmq_close(a);
        zmq_close(b);
        zmq_ctx_term(context);
        exit(bad ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(access(mine, F_OK), -1);
    assert_int_equal(access(other, F_OK), 0);
    unlink(other);
    unlink(moved);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_a_refused_message_is_read_to_its_end),
        cmocka_unit_test(test_router_ids),
        cmocka_unit_test(test_what_is_too_large_is_not_sent),
        cmocka_unit_test(test_a_full_queue_does_not_wait),
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_sockets_go_with_their_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

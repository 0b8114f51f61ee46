/* What clients do not take: order, bounds, patience. */
#include "daemon/outbox.h"

#include "proto/query.pb-c.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT_BYTES = 4000, MANY = 20, WAIT_MS = 30000 };

typedef struct World {
    char dir[64], endpoint[96];
    void *zmq, *router, *clients[MANY];
    size_t n;
    Outbox *outbox;
} World;

static int set_up(void **state)
{
    World *w = calloc(1, sizeof *w);
    snprintf(w->dir, sizeof w->dir, "/tmp/when-outbox-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->endpoint, sizeof w->endpoint, "ipc://%s/q", w->dir);
    w->zmq = zmq_ctx_new();
    w->router = zmq_socket(w->zmq, ZMQ_ROUTER);
    assert_int_equal(wire_socket_init(w->router, 0, OUTBOX_QUEUE), 0);
    assert_int_equal(zmq_bind(w->router, w->endpoint), 0);
    w->outbox = outbox_new(w->router);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    World *w = *state;
    outbox_free(w->outbox);
    for (size_t i = 0; i < w->n; i++)
        zmq_close(w->clients[i]);
    zmq_close(w->router);
    zmq_ctx_term(w->zmq);
    rmdir(w->dir);
    free(w);
    return 0;
}

/* A client that is known to the router by this letter, and reads nothing by itself. */
static void *add_client(World *w, char id)
{
    int none = 0, one = 1;
    void *client = w->clients[w->n++] = zmq_socket(w->zmq, ZMQ_DEALER);
    zmq_setsockopt(client, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(client, ZMQ_RCVHWM, &one, sizeof one);
    zmq_setsockopt(client, ZMQ_ROUTING_ID, &id, 1);
    assert_int_equal(zmq_connect(client, w->endpoint), 0);
    assert_int_equal(zmq_send(client, "x", 1, 0), 1);
    char bytes[8];
    assert_int_equal(zmq_recv(w->router, bytes, sizeof bytes, 0), 1);
    assert_int_equal(bytes[0], id);
    assert_int_equal(zmq_recv(w->router, bytes, sizeof bytes, 0), 1);
    return client;
}

static int send_number(World *w, char id, uint64_t number, int64_t now_us)
{
    static char text[TEXT_BYTES + 1];
    memset(text, 'a', TEXT_BYTES);
    When__ErrorResponse body = WHEN__ERROR_RESPONSE__INIT;
    body.text = text;
    When__Response response = WHEN__RESPONSE__INIT;
    response.request_id = number;
    response.body_case = WHEN__RESPONSE__BODY_ERROR;
    response.error = &body;
    return outbox_send(w->outbox, (const uint8_t *)&id, 1, &response.base, now_us);
}

/* Sends until no more may wait. */
static uint64_t fill(World *w, char id, int64_t now_us)
{
    uint64_t n = 0;
    int r;
    while ((r = send_number(w, id, n, now_us)) == 0)
        n++;
    assert_int_equal(r, -EAGAIN);
    return n;
}

static uint64_t receive_number(World *w, void *client)
{
    zmq_pollitem_t item = {.socket = client, .events = ZMQ_POLLIN};
    for (int waited = 0; zmq_poll(&item, 1, 10) == 0; waited += 10) {
        assert_true(waited < WAIT_MS);
        outbox_run(w->outbox, 1);
    }
    static uint8_t bytes[2 * TEXT_BYTES];
    int n = zmq_recv(client, bytes, sizeof bytes, 0);
    assert_true(n > 0);
    When__Response *response = when__response__unpack(NULL, (size_t)n, bytes);
    assert_non_null(response);
    uint64_t number = response->request_id;
    when__response__free_unpacked(response, NULL);
    return number;
}

static void a_silent_client_holds_so_much(void **state)
{
    World *w = *state;
    void *silent = add_client(w, 's'), *other = add_client(w, 'o');
    uint64_t n = fill(w, 's', 0);
    assert_true(outbox_bytes(w->outbox) <= OUTBOX_CLIENT_BYTES);
    assert_true(outbox_bytes(w->outbox) > OUTBOX_CLIENT_BYTES - 2 * TEXT_BYTES);
    assert_true(outbox_waits_for(w->outbox, (const uint8_t *)"s", 1));
    /* Nobody else waits for it. */
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(send_number(w, 'o', i, 0), 0);
        assert_int_equal(receive_number(w, other), i);
    }
    assert_false(outbox_waits_for(w->outbox, (const uint8_t *)"o", 1));
    /* When it reads it has all that was taken for it, in order. */
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(receive_number(w, silent), i);
    assert_int_equal(outbox_bytes(w->outbox), 0);
    assert_int_equal(send_number(w, 's', 7, 1), 0);
    assert_int_equal(receive_number(w, silent), 7);
    assert_int_equal(outbox_given_up(w->outbox), 0);
}

static void patience_ends(void **state)
{
    World *w = *state;
    add_client(w, 's');
    fill(w, 's', 5);
    for (size_t bytes = 0; bytes != outbox_bytes(w->outbox);) { /* until the sockets are full */
        bytes = outbox_bytes(w->outbox);
        zmq_pollitem_t item = {.socket = w->router, .events = ZMQ_POLLIN};
        zmq_poll(&item, 1, 200);
        outbox_run(w->outbox, 5);
    }
    outbox_run(w->outbox, 5 + OUTBOX_PATIENCE_US - 1);
    assert_int_equal(outbox_given_up(w->outbox), 0);
    assert_true(outbox_bytes(w->outbox) > 0);
    outbox_run(w->outbox, 5 + OUTBOX_PATIENCE_US);
    assert_int_equal(outbox_given_up(w->outbox), 1);
    assert_int_equal(outbox_bytes(w->outbox), 0);
}

static void one_that_went_away_is_forgotten(void **state)
{
    World *w = *state;
    void *client = add_client(w, 's');
    fill(w, 's', 0);
    zmq_close(client);
    w->n--;
    for (int i = 0; outbox_bytes(w->outbox) > 0; i++) {
        assert_true(i < WAIT_MS / 10);
        zmq_pollitem_t item = {.socket = w->router, .events = ZMQ_POLLIN};
        zmq_poll(&item, 1, 10);
        outbox_run(w->outbox, 0);
    }
    assert_int_equal(outbox_given_up(w->outbox), 1);
    assert_int_equal(send_number(w, 's', 0, 0), -EHOSTUNREACH);
}

static void all_together_hold_so_much(void **state)
{
    World *w = *state;
    for (int i = 0; i < MANY; i++) {
        add_client(w, (char)('a' + i));
        fill(w, (char)('a' + i), 0);
        assert_true(outbox_bytes(w->outbox) <= OUTBOX_MAX_BYTES);
    }
    assert_true(outbox_bytes(w->outbox) > OUTBOX_MAX_BYTES - 2 * TEXT_BYTES);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(a_silent_client_holds_so_much), T(patience_ends),
                                       T(one_that_went_away_is_forgotten),
                                       T(all_together_hold_so_much)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

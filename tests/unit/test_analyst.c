/*
 * The analyst against a ROUTER that plays whend, over the tiny checkpoint (argument 1): the order
 * of messages, and every kind of bad job, after each of which a good one must still be answered.
 */
#include "model/analyst.h"

#include "base/mem.h"
#include "proto/wire.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char *checkpoint;

enum { WIDTH = 56, HEIGHT = 28, FRAMES = 3, WAIT_MS = 60000 };
enum { CELLS = WIDTH / 28 * (HEIGHT / 28), GRIDS = (FRAMES + 1) / 2, CELL_BYTES = (CELLS + 7) / 8 };

/* whend's end, and the analyst's thread. */
typedef struct Bench {
    void *context, *socket;
    char dir[64], endpoint[96];
    pthread_t thread;
    int result;
    Error err;
    WireMessage received;
    When__FromWorker *message; /* the last one */
} Bench;

static void *analyst_main(void *arg)
{
    Bench *b = arg;
    b->result = analyst_run(b->endpoint, "analyst/0/1", &b->err);
    return NULL;
}

/* The next message of the analyst. */
static When__FromWorker *next(Bench *b)
{
    zmq_pollitem_t item = {.socket = b->socket, .events = ZMQ_POLLIN};
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    assert_int_equal(wire_receive(b->socket, true, &b->received), 0);
    assert_int_equal(b->received.id_bytes, strlen("analyst/0/1"));
    size_t bytes;
    const uint8_t *body = wire_body(&b->received, &bytes);
    if (b->message)
        when__from_worker__free_unpacked(b->message, NULL);
    b->message = when__from_worker__unpack(NULL, bytes, body);
    assert_non_null(b->message);
    assert_int_equal(b->message->version, WIRE_VERSION);
    return b->message;
}

static void send(Bench *b, When__ToWorker *message, zmq_msg_t *pixels, size_t n)
{
    if (message->version == 0)
        message->version = WIRE_VERSION;
    assert_int_equal(
        wire_send(b->socket, b->received.id, b->received.id_bytes, &message->base, pixels, n), 0);
}

static void start(Bench *b)
{
    memset(b, 0, sizeof *b);
    snprintf(b->dir, sizeof b->dir, "/tmp/test_analyst.XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->endpoint, sizeof b->endpoint, "ipc://%s/whend", b->dir);
    b->context = zmq_ctx_new();
    b->socket = zmq_socket(b->context, ZMQ_ROUTER);
    assert_int_equal(wire_socket_init(b->socket, 0, 1000), 0);
    assert_int_equal(wire_bind(b->socket, b->endpoint, NULL), 0);
    assert_int_equal(pthread_create(&b->thread, NULL, analyst_main, b), 0);
    When__FromWorker *hello = next(b);
    assert_int_equal(hello->body_case, WHEN__FROM_WORKER__BODY_ANALYST_HELLO);
    assert_int_equal(hello->analyst_hello->pid, getpid());
}

static void setup_lora(Bench *b, char *path, char *lora, char *dtype, uint32_t threads)
{
    When__AnalystSetup s = WHEN__ANALYST_SETUP__INIT;
    s.model_path = path;
    s.lora = lora;
    s.dtype = dtype;
    s.threads = threads;
    s.max_answer_tokens = 64;
    When__ToWorker message = WHEN__TO_WORKER__INIT;
    message.body_case = WHEN__TO_WORKER__BODY_ANALYST_SETUP;
    message.analyst_setup = &s;
    send(b, &message, NULL, 0);
}

static void setup(Bench *b, char *path, char *dtype, uint32_t threads)
{
    setup_lora(b, path, (char *)"", dtype, threads);
}

static void finish(Bench *b)
{
    pthread_join(b->thread, NULL);
    wire_message_deinit(&b->received);
    if (b->message)
        when__from_worker__free_unpacked(b->message, NULL);
    zmq_close(b->socket);
    zmq_ctx_term(b->context);
    unlink(b->endpoint + strlen("ipc://"));
    assert_int_equal(rmdir(b->dir), 0);
}

static void stop(Bench *b)
{
    When__Stop s = WHEN__STOP__INIT;
    When__ToWorker message = WHEN__TO_WORKER__INIT;
    message.body_case = WHEN__TO_WORKER__BODY_STOP;
    message.stop = &s;
    send(b, &message, NULL, 0);
    finish(b);
    assert_int_equal(b->result, 0);
}

/* A job that is right until a test makes it wrong. */
typedef struct TestJob {
    When__Job job;
    When__FrameInfo frames[FRAMES];
    When__FrameInfo *frame_list[FRAMES];
    When__Question questions[2];
    When__Question *question_list[2];
    size_t n_pixels, bytes[FRAMES];
} TestJob;

static void job_init(TestJob *t, uint64_t id)
{
    memset(t, 0, sizeof *t);
    when__job__init(&t->job);
    t->job.job_id = id;
    t->job.camera = (char *)"yard";
    for (size_t i = 0; i < FRAMES; i++) {
        when__frame_info__init(&t->frames[i]);
        t->frames[i].width = WIDTH;
        t->frames[i].height = HEIGHT;
        t->frames[i].pts_us = 7000000 + (int64_t)i * 500000;
        t->frames[i].session = 3;
        t->frame_list[i] = &t->frames[i];
        t->bytes[i] = WIDTH * HEIGHT * 3;
    }
    for (size_t i = 0; i < 2; i++) {
        when__question__init(&t->questions[i]);
        t->questions[i].id = 40 + i;
        t->questions[i].text = (char *)(i ? "A dog?" : "When does a red car drive past?");
        t->question_list[i] = &t->questions[i];
    }
    t->job.n_frames = t->n_pixels = FRAMES;
    t->job.frames = t->frame_list;
    t->job.n_questions = 2;
    t->job.questions = t->question_list;
}

static void job_send(Bench *b, TestJob *t)
{
    zmq_msg_t pixels[FRAMES];
    for (size_t i = 0; i < t->n_pixels; i++) {
        zmq_msg_init_size(&pixels[i], t->bytes[i]);
        memset(zmq_msg_data(&pixels[i]), (int)(i * 50 + 20), t->bytes[i]);
    }
    When__ToWorker message = WHEN__TO_WORKER__INIT;
    message.body_case = WHEN__TO_WORKER__BODY_JOB;
    message.job = &t->job;
    send(b, &message, pixels, t->n_pixels);
    for (size_t i = 0; i < t->n_pixels; i++)
        zmq_msg_close(&pixels[i]);
}

static void good_job(Bench *b, uint64_t id)
{
    TestJob t;
    job_init(&t, id);
    job_send(b, &t);
    for (uint64_t question = 40; question < 42; question++) {
        When__FromWorker *m = next(b);
        assert_int_equal(m->body_case, WHEN__FROM_WORKER__BODY_ANSWER);
        assert_int_equal(m->answer->job_id, id);
        assert_int_equal(m->answer->question_id, question);
        assert_true(m->answer->tokens > 0);
        assert_true(m->answer->confidence > 0 && m->answer->confidence <= 1);
    }
    When__FromWorker *m = next(b);
    assert_int_equal(m->body_case, WHEN__FROM_WORKER__BODY_JOB_DONE);
    assert_int_equal(m->job_done->job_id, id);
    assert_false(m->job_done->failed);
}

static void bad_job(Bench *b, TestJob *t, const char *part)
{
    job_send(b, t);
    When__FromWorker *m = next(b);
    assert_int_equal(m->body_case, WHEN__FROM_WORKER__BODY_JOB_DONE);
    assert_int_equal(m->job_done->job_id, t->job.job_id);
    assert_true(m->job_done->failed);
    assert_int_equal(m->job_done->exit_code, EX_DATAERR);
    if (!strstr(m->job_done->reason, part))
        fail_msg("\"%s\" does not say \"%s\"", m->job_done->reason, part);
}

static void test_work(void **state)
{
    (void)state;
    Bench b;
    start(&b);
    setup(&b, checkpoint, (char *)"bf16", 2);
    When__FromWorker *m = next(&b);
    assert_int_equal(m->body_case, WHEN__FROM_WORKER__BODY_JOB_DONE);
    assert_int_equal(m->job_done->job_id, 0);
    assert_false(m->job_done->failed);
    assert_int_equal(m->job_done->cell_px, 28);
    assert_true(m->job_done->min_pixels > 0 && m->job_done->max_pixels >= m->job_done->min_pixels);
    assert_true(strlen(m->job_done->model_name) > 9);
    good_job(&b, 11);

    TestJob t;
    job_init(&t, 12);
    t.n_pixels = FRAMES - 1;
    bad_job(&b, &t, "2 pictures");
    job_init(&t, 13);
    t.bytes[1] -= 1;
    bad_job(&b, &t, "frame 1 is said to be");
    job_init(&t, 14);
    t.frames[2].width = 0;
    bad_job(&b, &t, "frame 2");
    job_init(&t, 15);
    t.frames[0].width = UINT32_MAX;
    t.frames[0].height = UINT32_MAX;
    bad_job(&b, &t, "frame 0");
    job_init(&t, 16);
    t.frames[1].width = HEIGHT; /* the same bytes, turned */
    t.frames[1].height = WIDTH;
    bad_job(&b, &t, "of one size");
    job_init(&t, 17);
    for (size_t i = 0; i < FRAMES; i++) {
        t.frames[i].width = 14;
        t.frames[i].height = WIDTH * HEIGHT / 14;
    }
    bad_job(&b, &t, "multiples of 28");
    job_init(&t, 18);
    t.frames[2].pts_us = 1;
    bad_job(&b, &t, "order of time");
    job_init(&t, 19);
    t.frames[0].pts_us = INT64_MIN;
    t.frames[2].pts_us = INT64_MAX;
    bad_job(&b, &t, "absurd time");
    job_init(&t, 20);
    t.frames[2].session = 4;
    bad_job(&b, &t, "session");
    /* Which cells changed: a bit for each of a frame's. */
    job_init(&t, 22);
    uint8_t cells[64] = {0};
    t.frames[1].cells = (ProtobufCBinaryData){CELL_BYTES + 1, cells};
    bad_job(&b, &t, "bytes of changed cells");
    for (size_t gated = 0; gated < 2; gated++) {
        job_init(&t, 23 + gated);
        for (size_t i = 0; gated && i < FRAMES; i++)
            t.frames[i].cells = (ProtobufCBinaryData){CELL_BYTES, cells};
        t.job.n_questions = 0;
        job_send(&b, &t);
        m = next(&b);
        assert_int_equal(m->body_case, WHEN__FROM_WORKER__BODY_JOB_DONE);
        assert_false(m->job_done->failed);
        assert_int_equal(m->job_done->visual_tokens, GRIDS * CELLS);
        /* All of the first grid, nothing of what did not change. */
        assert_int_equal(m->job_done->visual_tokens_kept, gated ? CELLS : GRIDS * CELLS);
    }
    job_init(&t, 21);
    t.job.n_frames = t.n_pixels = 0;
    bad_job(&b, &t, "0 frames");
    job_init(&t, 22);
    t.questions[1].text = (char *)"";
    bad_job(&b, &t, "question 41");
    job_init(&t, 23);
    _cleanup_free_ char *longer = mem_new_array(100001, 1);
    assert_non_null(longer);
    memset(longer, 'x', 100000);
    t.questions[0].text = longer;
    bad_job(&b, &t, "100000 bytes");
    good_job(&b, 24);

    /* No questions: nothing to answer, done. */
    job_init(&t, 25);
    t.job.n_questions = 0;
    job_send(&b, &t);
    m = next(&b);
    assert_int_equal(m->job_done->job_id, 25);
    assert_false(m->job_done->failed);

    /* Damaged, of another version, not for an analyst, a second setup. */
    assert_true(zmq_send(b.socket, b.received.id, b.received.id_bytes, ZMQ_SNDMORE) > 0);
    assert_true(zmq_send(b.socket, "\xff\xff\xff", 3, 0) == 3);
    When__Stop s = WHEN__STOP__INIT;
    When__ToWorker message = WHEN__TO_WORKER__INIT;
    message.version = WIRE_VERSION + 1;
    message.body_case = WHEN__TO_WORKER__BODY_STOP;
    message.stop = &s;
    send(&b, &message, NULL, 0);
    When__Credit credit = WHEN__CREDIT__INIT;
    message = (When__ToWorker)WHEN__TO_WORKER__INIT;
    message.body_case = WHEN__TO_WORKER__BODY_CREDIT;
    message.credit = &credit;
    send(&b, &message, NULL, 0);
    setup(&b, (char *)"/nonexistent", (char *)"f32", 1);
    good_job(&b, 26);
    stop(&b);
}

static void bad_setup(char *path, char *dtype, uint32_t threads, int exit_code, const char *part)
{
    Bench b;
    start(&b);
    setup(&b, path, dtype, threads);
    When__FromWorker *m = next(&b);
    assert_int_equal(m->body_case, WHEN__FROM_WORKER__BODY_JOB_DONE);
    assert_int_equal(m->job_done->job_id, 0);
    assert_true(m->job_done->failed);
    assert_int_equal(m->job_done->exit_code, exit_code);
    if (!strstr(m->job_done->reason, part))
        fail_msg("\"%s\" does not say \"%s\"", m->job_done->reason, part);
    finish(&b);
    assert_true(b.result < 0);
    assert_int_equal(b.err.exit_code, exit_code);
}

static void test_bad_setup(void **state)
{
    (void)state;
    bad_setup((char *)"/nonexistent/model", (char *)"f32", 1, EX_NOINPUT, "/nonexistent/model");
    bad_setup(checkpoint, (char *)"int3", 1, EX_CONFIG, "use bf16, int8, int4 or f32");
    bad_setup(checkpoint, (char *)"f32", 1000000, EX_CONFIG, "model.threads");
}

/* The adapter beside the checkpoint is merged, and the model's name says so; a bad one is told. */
static void test_lora(void **state)
{
    (void)state;
    Bench b;
    char adapter[512];
    snprintf(adapter, sizeof adapter, "%s/../../08_lora/adapter", checkpoint);
    start(&b);
    setup_lora(&b, checkpoint, adapter, (char *)"f32", 1);
    When__FromWorker *m = next(&b);
    assert_int_equal(m->body_case, WHEN__FROM_WORKER__BODY_JOB_DONE);
    if (m->job_done->failed)
        fail_msg("%s", m->job_done->reason);
    assert_non_null(strstr(m->job_done->model_name, "+adapter"));
    stop(&b);

    start(&b);
    setup_lora(&b, checkpoint, (char *)"/nonexistent/adapter", (char *)"f32", 1);
    m = next(&b);
    assert_true(m->job_done->failed);
    assert_int_equal(m->job_done->exit_code, EX_NOINPUT);
    assert_non_null(strstr(m->job_done->reason, "/nonexistent/adapter"));
    finish(&b);
}

static void test_job_before_setup(void **state)
{
    (void)state;
    Bench b;
    TestJob t;
    start(&b);
    job_init(&t, 5);
    job_send(&b, &t);
    When__FromWorker *m = next(&b);
    assert_int_equal(m->job_done->job_id, 5);
    assert_true(m->job_done->failed);
    stop(&b);
}

static void test_bad_address(void **state)
{
    (void)state;
    Error err = {0};
    assert_true(analyst_run("nonsense", "analyst/0/1", &err) < 0);
    assert_int_equal(err.exit_code, EX_USAGE);
    error_clear(&err);
    assert_true(analyst_run("ipc:///tmp/x", "", &err) < 0);
    assert_int_equal(err.exit_code, EX_USAGE);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work),        cmocka_unit_test(test_bad_setup),
        cmocka_unit_test(test_lora),        cmocka_unit_test(test_job_before_setup),
        cmocka_unit_test(test_bad_address),
    };
    if (argc < 2) {
        fprintf(stderr, "usage: test_analyst CHECKPOINT\n");
        return EX_USAGE;
    }
    checkpoint = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}

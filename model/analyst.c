/*
 * Hello -> Setup -> JobDone 0 (limits of the model) -> Job -> JobAnswer ... JobDone -> ... -> Stop.
 */
#include "model/analyst.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/locate.h"
#include "proto/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    HIGH_WATER_MARK = 1000,
    LINGER_MS = 2000,       /* for the last word, why the model could not be loaded */
    PARENT_CHECK_MS = 1000, /* the signal of a dying parent can be missed while starting */
    SEND_WAIT_MS = 30000
};

typedef struct Analyst {
    void *context, *socket;
    pid_t parent;
    Engine *engine;
    Locator *locator;
    LocateFrame frames[ANALYST_MAX_FRAMES];
} Analyst;

static int send_message(Analyst *a, When__FromWorker *message)
{
    message->version = WIRE_VERSION;
    for (;;) {
        int r = wire_send(a->socket, NULL, 0, &message->base, NULL, 0);
        if (r != -EAGAIN)
            return r;
        zmq_pollitem_t item = {.socket = a->socket, .events = ZMQ_POLLOUT};
        if (zmq_poll(&item, 1, SEND_WAIT_MS) == 0)
            return -EAGAIN;
    }
}

static int send_done(Analyst *a, When__JobDone *done)
{
    When__FromWorker message = WHEN__FROM_WORKER__INIT;
    message.body_case = WHEN__FROM_WORKER__BODY_JOB_DONE;
    message.job_done = done;
    return send_message(a, &message);
}

static int send_failed(Analyst *a, uint64_t job_id, double seconds, const Error *why)
{
    When__JobDone done = WHEN__JOB_DONE__INIT;
    done.job_id = job_id;
    done.failed = true;
    done.exit_code = why->exit_code;
    done.reason = (char *)(uintptr_t)why->text;
    done.seconds = seconds;
    return send_done(a, &done);
}

/* --- setup --- */

static int check_setup(const When__AnalystSetup *setup, EngineOptions *options, Error *err)
{
    if (!engine_dtype_read(setup->dtype, &options->dtype))
        return error_set(err, EINVAL, EX_CONFIG,
                         "model.dtype is \"%.32s\": use bf16, int8, int4 or f32", setup->dtype);
    if (!engine_kv_read(setup->kv[0] ? setup->kv : "auto", &options->kv))
        return error_set(err, EINVAL, EX_CONFIG,
                         "model.kv is \"%.32s\": use auto, bf16, int8 or f32", setup->kv);
    if (setup->threads > ANALYST_MAX_THREADS)
        return error_set(err, EINVAL, EX_CONFIG, "model.threads is %" PRIu32 ": use 0 to %d",
                         setup->threads, ANALYST_MAX_THREADS);
    if (setup->max_answer_tokens > ANALYST_MAX_ANSWER_TOKENS)
        return error_set(err, EINVAL, EX_CONFIG,
                         "model.max_answer_tokens is %" PRIu32 ": use 1 to %d",
                         setup->max_answer_tokens, ANALYST_MAX_ANSWER_TOKENS);
    options->threads = (int)setup->threads;
    options->cache = setup->cache[0] ? setup->cache : NULL;
    options->lora = setup->lora[0] ? setup->lora : NULL;
    return 0;
}

static int load(Analyst *a, const When__AnalystSetup *setup, Error *err)
{
    if (a->engine) {
        log_warn("analyst", "a second setup was ignored");
        return 0;
    }
    int64_t begin_us = clock_monotonic_us();
    EngineOptions options = {0};
    int r = check_setup(setup, &options, err);
    if (r == 0)
        r = engine_open(setup->model_path, &options, &a->engine, err);
    if (r == 0)
        r = locator_new(a->engine, (int)setup->max_answer_tokens, &a->locator, err);
    double seconds = (double)(clock_monotonic_us() - begin_us) / (double)US_PER_S;
    if (r < 0) {
        send_failed(a, 0, seconds, err);
        return r;
    }
    When__JobDone done = WHEN__JOB_DONE__INIT;
    done.seconds = seconds;
    done.model_name = (char *)(uintptr_t)engine_name(a->engine);
    done.model_notice = (char *)(uintptr_t)engine_notice(a->engine);
    done.cell_px = (uint32_t)engine_cell_px(a->engine);
    done.min_pixels = (uint64_t)engine_min_pixels(a->engine);
    done.max_pixels = (uint64_t)engine_max_pixels(a->engine);
    r = send_done(a, &done);
    return r < 0 ? error_set(err, -r, EX_IOERR, "whend does not take messages: %s", strerror(-r))
                 : 0;
}

/* --- jobs --- */

/* The job's frames to a->frames, each checked against its pixels. Sizes and order are checked
 * again, against each other, by locator_watch. */
static int take_frames(Analyst *a, const When__Job *job, WireMessage *m, Error *err)
{
    size_t n = job->n_frames;
    if (n == 0 || n > ANALYST_MAX_FRAMES)
        return error_set(err, EINVAL, EX_DATAERR, "a job of %zu frames: 1 to %d are possible", n,
                         ANALYST_MAX_FRAMES);
    if (n != m->n_pixels)
        return error_set(err, EINVAL, EX_DATAERR, "a job of %zu frames came with %zu pictures", n,
                         m->n_pixels);
    for (size_t i = 0; i < n; i++) {
        const When__FrameInfo *info = job->frames[i];
        size_t bytes = zmq_msg_size(&m->pixels[i]);
        /* Bounded first: then the product cannot overflow. */
        if (info->width == 0 || info->height == 0 || info->width > UINT16_MAX ||
            info->height > UINT16_MAX || (size_t)info->width * info->height * 3 != bytes)
            return error_set(err, EINVAL, EX_DATAERR,
                             "frame %zu is said to be %" PRIu32 " x %" PRIu32
                             " pixels and came with %zu bytes",
                             i, info->width, info->height, bytes);
        if (info->session != job->frames[0]->session)
            return error_set(err, EINVAL, EX_DATAERR,
                             "frame %zu is of another session than frame 0: their times do not "
                             "compare",
                             i);
        /* One bit a cell; sides that are no multiples are locator_watch's. */
        const size_t cell = (size_t)engine_cell_px(a->engine);
        const size_t cells = info->width / cell * (info->height / cell);
        if (info->cells.len > 0 && info->cells.len != (cells + 7) / 8)
            return error_set(
                err, EINVAL, EX_DATAERR,
                "frame %zu has %zu bytes of changed cells: %zu are expected of its %zu "
                "cells",
                i, info->cells.len, (cells + 7) / 8, cells);
        int64_t since_us;
        if (__builtin_sub_overflow(info->pts_us, job->frames[0]->pts_us, &since_us))
            return error_set(err, EINVAL, EX_DATAERR, "frame %zu has an absurd time", i);
        a->frames[i] = (LocateFrame){.rgb = zmq_msg_data(&m->pixels[i]),
                                     .width = (int)info->width,
                                     .height = (int)info->height,
                                     .cells = info->cells.len > 0 ? info->cells.data : NULL,
                                     .seconds = (double)since_us / (double)US_PER_S};
    }
    return 0;
}

static int check_questions(const When__Job *job, Error *err)
{
    if (job->n_questions > ANALYST_MAX_QUESTIONS)
        return error_set(err, EINVAL, EX_DATAERR, "a job of %zu questions: at most %d are possible",
                         job->n_questions, ANALYST_MAX_QUESTIONS);
    for (size_t i = 0; i < job->n_questions; i++) {
        size_t bytes = strlen(job->questions[i]->text);
        if (bytes == 0 || bytes > ANALYST_MAX_QUESTION_BYTES)
            return error_set(err, EINVAL, EX_DATAERR,
                             "question %" PRIu64 " has %zu bytes: 1 to %d are possible",
                             job->questions[i]->id, bytes, ANALYST_MAX_QUESTION_BYTES);
    }
    return 0;
}

static int send_answer(Analyst *a, uint64_t job_id, uint64_t question_id,
                       const LocateAnswer *answer)
{
    _cleanup_free_ When__Interval *intervals = mem_new_array(answer->n, sizeof *intervals);
    _cleanup_free_ When__Interval **pointers = mem_new_array(answer->n, sizeof *pointers);
    if (!intervals || !pointers)
        return -ENOMEM;
    for (size_t i = 0; i < answer->n; i++) {
        const LocateInterval *from = &answer->intervals[i];
        when__interval__init(&intervals[i]);
        intervals[i].start_s = from->start_s;
        intervals[i].end_s = from->end_s;
        intervals[i].confidence = from->confidence;
        intervals[i].description = (char *)(uintptr_t)from->description;
        pointers[i] = &intervals[i];
    }
    When__JobAnswer reply = WHEN__JOB_ANSWER__INIT;
    reply.job_id = job_id;
    reply.question_id = question_id;
    reply.n_intervals = answer->n;
    reply.intervals = pointers;
    reply.truncated = answer->truncated;
    reply.tokens = (uint32_t)answer->tokens;
    reply.confidence = answer->confidence;
    When__FromWorker message = WHEN__FROM_WORKER__INIT;
    message.body_case = WHEN__FROM_WORKER__BODY_ANSWER;
    message.answer = &reply;
    return send_message(a, &message);
}

/* Questions first .. first + n - 1 together, and their answers. */
static int ask_some(Analyst *a, const When__Job *job, size_t first, size_t n, Error *why)
{
    const char *texts[LOCATE_TOGETHER];
    LocateAnswer answers[LOCATE_TOGETHER];
    for (size_t i = 0; i < n; i++)
        texts[i] = job->questions[first + i]->text;
    int r = locator_ask_all(a->locator, texts, n, answers, why);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        if (r == 0)
            r = send_answer(a, job->job_id, job->questions[first + i]->id, &answers[i]);
        locate_answer_deinit(&answers[i]);
    }
    return r;
}

/* Frames to answers. What the job is to blame for is in *why; an -errno without it is the
 * connection's. */
static int work(Analyst *a, const When__Job *job, WireMessage *m, Error *why)
{
    if (!a->locator)
        return error_set(why, EINVAL, EX_SOFTWARE, "a job came before the setup");
    int r = check_questions(job, why);
    if (r == 0)
        r = take_frames(a, job, m, why);
    if (r == 0)
        r = locator_watch(a->locator, a->frames, job->n_frames, why);
    for (size_t i = 0; r == 0 && i < job->n_questions; i += LOCATE_TOGETHER) {
        size_t left = job->n_questions - i, n = left < LOCATE_TOGETHER ? left : LOCATE_TOGETHER;
        r = ask_some(a, job, i, n, why);
    }
    return r;
}

static int run_job(Analyst *a, const When__Job *job, WireMessage *m, Error *err)
{
    int64_t begin_us = clock_monotonic_us();
    Error why = {0};
    int r = work(a, job, m, &why);
    double seconds = (double)(clock_monotonic_us() - begin_us) / (double)US_PER_S;
    if (r < 0 && why.exit_code) {
        log_warn("analyst", "camera=%.64s job=%" PRIu64 " refused: %s", job->camera, job->job_id,
                 why.text);
        r = send_failed(a, job->job_id, seconds, &why);
    } else if (r == 0) {
        log_debug("analyst", "camera=%.64s job=%" PRIu64 " frames=%zu questions=%zu seconds=%.3f",
                  job->camera, job->job_id, job->n_frames, job->n_questions, seconds);
        size_t all;
        When__JobDone done = WHEN__JOB_DONE__INIT;
        done.job_id = job->job_id;
        done.seconds = seconds;
        done.visual_tokens_kept = locator_visual_tokens(a->locator, &all);
        done.visual_tokens = all;
        r = send_done(a, &done);
    }
    return r < 0 ? error_set(err, -r, EX_IOERR, "whend does not take messages: %s", strerror(-r))
                 : 0;
}

/* --- the loop --- */

/* One message. 0, 1: stop, or -errno with err: the end. */
static int handle(Analyst *a, WireMessage *m, Error *err)
{
    size_t bytes;
    const uint8_t *body = wire_body(m, &bytes);
    When__ToWorker *message = when__to_worker__unpack(NULL, bytes, body);
    if (!message || message->version != WIRE_VERSION) {
        log_warn("analyst", "a message of %zu bytes is damaged or of another version: ignored",
                 bytes);
        if (message)
            when__to_worker__free_unpacked(message, NULL);
        return 0;
    }
    int r = 0;
    switch (message->body_case) {
    case WHEN__TO_WORKER__BODY_ANALYST_SETUP:
        r = load(a, message->analyst_setup, err);
        break;
    case WHEN__TO_WORKER__BODY_JOB:
        r = run_job(a, message->job, m, err);
        break;
    case WHEN__TO_WORKER__BODY_STOP:
        r = 1;
        break;
    default:
        log_warn("analyst", "a message that is not for an analyst was ignored");
    }
    when__to_worker__free_unpacked(message, NULL);
    return r;
}

static int loop(Analyst *a, Error *err)
{
    WireMessage m = {0};
    int r = 0;
    while (r == 0) {
        if (getppid() != a->parent) {
            log_info("analyst", "whend is gone: stopping");
            break;
        }
        zmq_pollitem_t item = {.socket = a->socket, .events = ZMQ_POLLIN};
        if (zmq_poll(&item, 1, PARENT_CHECK_MS) < 0 && errno != EINTR) {
            r = error_set(err, errno, EX_IOERR, "waiting for messages: %s", zmq_strerror(errno));
            break;
        }
        int received = wire_receive(a->socket, false, &m);
        if (received == WIRE_REFUSED)
            log_warn("analyst", "a message with absurd sizes was thrown away");
        else if (received < 0)
            r = error_set(err, -received, EX_IOERR, "receiving: %s", strerror(-received));
        else if (received == 0)
            r = handle(a, &m, err);
    }
    wire_message_deinit(&m);
    return r;
}

static int connect_as(Analyst *a, const char *endpoint, const char *id, Error *err)
{
    if (strlen(id) == 0 || strlen(id) > WIRE_MAX_ID_BYTES)
        return error_set(err, EINVAL, EX_USAGE, "--id \"%.80s\": 1 to %d bytes", id,
                         WIRE_MAX_ID_BYTES);
    a->context = zmq_ctx_new();
    a->socket = a->context ? zmq_socket(a->context, ZMQ_DEALER) : NULL;
    if (!a->socket || wire_socket_init(a->socket, LINGER_MS, HIGH_WATER_MARK) < 0 ||
        zmq_setsockopt(a->socket, ZMQ_ROUTING_ID, id, strlen(id)) < 0)
        return error_set(err, errno, EX_OSERR, "no socket: %s", zmq_strerror(errno));
    if (zmq_connect(a->socket, endpoint) < 0)
        return error_set(err, errno, EX_USAGE, "--connect %.200s: %s (ipc://PATH)", endpoint,
                         zmq_strerror(errno));
    When__AnalystHello hello = WHEN__ANALYST_HELLO__INIT;
    hello.pid = getpid();
    When__FromWorker message = WHEN__FROM_WORKER__INIT;
    message.body_case = WHEN__FROM_WORKER__BODY_ANALYST_HELLO;
    message.analyst_hello = &hello;
    int r = send_message(a, &message);
    return r < 0 ? error_set(err, -r, EX_IOERR, "whend does not take messages: %s", strerror(-r))
                 : 0;
}

int analyst_run(const char *endpoint, const char *id, Error *err)
{
    Analyst *a = mem_new_array(1, sizeof *a);
    if (!a)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    a->parent = getppid();
    int r = connect_as(a, endpoint, id, err);
    if (r == 0)
        r = loop(a, err);
    locator_free(a->locator);
    engine_free(a->engine);
    if (a->socket)
        zmq_close(a->socket);
    if (a->context)
        zmq_ctx_term(a->context);
    free(a);
    return r < 0 ? r : 0;
}

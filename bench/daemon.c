/*
 * What whend itself costs, without cameras and model:
 *
 *  - Commits: transactions as the daemon makes them (two event revisions, the ledger, the sequence
 *    number), durable, published to 100 subscribers of which one never reads; against the same rows
 *    written by plain SQLite into the same tables, without publishing. The two take turns, so that
 *    both have the same disk.
 *  - Asking: libwhen asks the service over its ipc socket, one question after another, in indexes
 *    of 10^4, 10^5 and 10^6 events. Of four questions one finds more than the answer holds (1000),
 *    one a hundred spread over all of the index, one nothing, one what happened on one day (576):
 *    in each index the same number, so that what grows is finding them.
 *
 * daemon [--short] [--dir DIR]: figures and a line a goal. --short leaves 10^6 out.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "client/when.h"
#include "daemon/index_watches.h"
#include "daemon/publisher.h"
#include "daemon/service.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_SUBSCRIBERS = 100,
    ROUNDS = 7, /* of each kind of commit; the median counts */
    ROUND_COMMITS = 150,
    ASKS = 2000, /* of an index size */
    MATCHES = 100
};

#define START_US INT64_C(1767594600000000)
#define CAMERAS  8

static char dir[200] = "/var/tmp/when-bench-XXXXXX";
static char path_buffer[512];

static const char *in_dir(const char *name)
{
    snprintf(path_buffer, sizeof path_buffer, "%s/%s", dir, name);
    return path_buffer;
}

static void die(const Error *err, const char *what)
{
    fprintf(stderr, "bench daemon: %s: %s\n", what, err ? err->text : strerror(errno));
    exit(EX_SOFTWARE);
}

static void clear_dir(void)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlink(in_dir(e->d_name));
    if (d)
        closedir(d);
}

static int goal(const char *name, double value, double bound, bool met)
{
    printf("goal daemon.%s %.3g %.3g %s\n", name, value, bound, met ? "met" : "short");
    return met ? 0 : 1;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percentile(double *values, size_t n, double share)
{
    qsort(values, n, sizeof *values, by_value);
    size_t i = (size_t)(share * (double)n);
    return values[i < n ? i : n - 1];
}

/* The i-th event of an index: one in ten is a red car, every n/MATCHES-th a fire engine. */
static Event make_event(uint64_t i, uint64_t n)
{
    static const char *const WORDS[] = {"a white van drives past",        "a person walks by",
                                        "a dog runs across the yard",     "a cyclist rides past",
                                        "the lamp over the door is on",   "a bus stops at the gate",
                                        "a person carries a large box",   "a cat sits on the wall",
                                        "a truck turns in the courtyard", "a red car drives past"};
    Event event = {.revision = 1,
                   .state = EVENT_FINAL,
                   .start_us = START_US + (int64_t)i * 15 * US_PER_S,
                   .end_us = START_US + (int64_t)i * 15 * US_PER_S + 5 * US_PER_S,
                   .start_err_us = 250000,
                   .end_err_us = 250000,
                   .confidence = 0.75};
    snprintf(event.id, sizeof event.id, "e-%" PRIu64, i + 1);
    snprintf(event.camera, sizeof event.camera, "camera-%d", (int)(i % CAMERAS));
    snprintf(event.watch, sizeof event.watch, "watch-%d", (int)(i % 10));
    bool rare = n >= MATCHES && i % (n / MATCHES) == 0;
    snprintf(event.description, sizeof event.description, "%s",
             rare ? "a fire engine with its blue light on" : WORDS[i % 10]);
    return event;
}

/* --- subscribers: a process of their own, so that only publishing is measured --- */

typedef struct Heard {
    uint64_t messages[MAX_SUBSCRIBERS];
} Heard;

/* The first of them stalls: it never reads. */
static void subscribe(const char *endpoint, int subscribers, int to_parent, int from_parent)
{
    void *zmq = zmq_ctx_new();
    void *sockets[MAX_SUBSCRIBERS];
    zmq_pollitem_t items[MAX_SUBSCRIBERS];
    static Heard heard;
    int all = 1000000, none = 0;
    for (int i = 0; i < subscribers; i++) {
        sockets[i] = zmq_socket(zmq, ZMQ_SUB);
        zmq_setsockopt(sockets[i], ZMQ_LINGER, &none, sizeof none);
        if (i > 0)
            zmq_setsockopt(sockets[i], ZMQ_RCVHWM, &all, sizeof all);
        zmq_setsockopt(sockets[i], ZMQ_SUBSCRIBE, "", 0);
        if (zmq_connect(sockets[i], endpoint) < 0)
            _exit(1);
        items[i] = (zmq_pollitem_t){.socket = sockets[i], .events = ZMQ_POLLIN};
    }
    struct pollfd told = {.fd = from_parent, .events = POLLIN};
    bool ending = false, ready = false;
    for (;;) {
        int n = zmq_poll(items + 1, subscribers - 1, ending ? 500 : 20);
        for (int i = 1; i < subscribers && n > 0; i++) {
            char bytes[512];
            while ((items[i].revents & ZMQ_POLLIN) &&
                   zmq_recv(sockets[i], bytes, sizeof bytes, ZMQ_DONTWAIT) >= 0) {
                int more;
                size_t more_bytes = sizeof more;
                bool event = memcmp(bytes, "event/", 6) == 0;
                zmq_getsockopt(sockets[i], ZMQ_RCVMORE, &more, &more_bytes);
                if (more)
                    zmq_recv(sockets[i], bytes, sizeof bytes, 0);
                heard.messages[i] += event;
                if (!event && !ready) { /* a heartbeat: all connections of before it stand */
                    int connected = 1;
                    heard.messages[0]++;
                    if (heard.messages[0] >= (uint64_t)subscribers - 1) {
                        ready = write(to_parent, &connected, sizeof connected) > 0;
                        heard.messages[0] = 0;
                    }
                }
            }
        }
        if (ending && n == 0)
            break;
        if (!ending && poll(&told, 1, 0) > 0)
            ending = true;
    }
    ssize_t n = write(to_parent, &heard, sizeof heard);
    _exit(n == (ssize_t)sizeof heard ? 0 : 1);
}

/* --- commits --- */

static uint64_t next_event; /* of this run of bench_commits */

/* Two revisions, the ledger, the commit, and then the messages: what one window costs the daemon.
 */
static void daemon_commit(Index *index, Publisher *publisher)
{
    Event events[2] = {make_event(next_event, 0), make_event(next_event + 1, 0)};
    LedgerSpan span = {.start_us = events[0].start_us,
                       .end_us = events[0].start_us + 30 * US_PER_S,
                       .state = SPAN_EXAMINED,
                       .fps = 2,
                       .model = "bench"};
    snprintf(span.camera, sizeof span.camera, "%s", events[0].camera);
    snprintf(span.watch, sizeof span.watch, "%s", events[0].watch);
    Error err = {0};
    if (index_begin(index, &err) < 0 || index_put_event(index, &events[0], &err) < 0 ||
        index_put_event(index, &events[1], &err) < 0 || index_ledger_mark(index, &span, &err) < 0 ||
        index_commit(index, &err) < 0)
        die(&err, "commit");
    publisher_event(publisher, &events[0]);
    publisher_event(publisher, &events[1]);
    next_event += 2;
}

typedef struct Plain {
    sqlite3 *db;
    sqlite3_stmt *begin, *revision, *event, *span, *sequence, *commit;
    int64_t last;
} Plain;

static void plain_open(Plain *p, const char *path)
{
    static const struct {
        size_t offset;
        const char *sql;
    } ALL[] = {
        {offsetof(Plain, begin), "BEGIN IMMEDIATE"},
        {offsetof(Plain, revision),
         "INSERT INTO revisions (sequence, id, revision, state, camera, watch, description,"
         " start_us, end_us, start_err_us, end_err_us, confidence, committed_us)"
         " VALUES (?1, ?2, 1, 2, ?3, ?4, ?5, ?6, ?7, 250000, 250000, 0.75, ?6)"},
        {offsetof(Plain, event),
         "INSERT INTO events (sequence, id, revision, state, camera, watch, description,"
         " start_us, end_us, start_err_us, end_err_us, confidence, committed_us, number, key)"
         " VALUES (?1, ?2, 1, 2, ?3, ?4, ?5, ?6, ?7, 250000, 250000, 0.75, ?6, ?1, ?6 * 512)"},
        {offsetof(Plain, span),
         "INSERT INTO ledger (camera, watch, start_us, end_us, state, fps, model, reason)"
         " VALUES (?1, ?2, ?3, ?4, 2, 2, 'bench', '')"},
        {offsetof(Plain, sequence), "UPDATE daemon SET last_sequence = ?1"},
        {offsetof(Plain, commit), "COMMIT"}};
    if (sqlite3_open(path, &p->db) != SQLITE_OK ||
        sqlite3_exec(p->db, "PRAGMA synchronous = FULL", NULL, NULL, NULL) != SQLITE_OK)
        die(NULL, "plain SQLite");
    for (size_t i = 0; i < sizeof ALL / sizeof ALL[0]; i++)
        if (sqlite3_prepare_v2(p->db, ALL[i].sql, -1, (sqlite3_stmt **)((char *)p + ALL[i].offset),
                               NULL) != SQLITE_OK) {
            fprintf(stderr, "bench daemon: %s\n", sqlite3_errmsg(p->db));
            exit(EX_SOFTWARE);
        }
}

static void plain_run(Plain *p, sqlite3_stmt *s)
{
    if (sqlite3_step(s) != SQLITE_DONE) {
        fprintf(stderr, "bench daemon: plain SQLite: %s\n", sqlite3_errmsg(p->db));
        exit(EX_SOFTWARE);
    }
    sqlite3_reset(s);
}

static void plain_event(Plain *p, const Event *e)
{
    sqlite3_stmt *both[] = {p->revision, p->event};
    p->last++;
    for (int k = 0; k < 2; k++) {
        sqlite3_bind_int64(both[k], 1, p->last);
        sqlite3_bind_text(both[k], 2, e->id, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(both[k], 3, e->camera, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(both[k], 4, e->watch, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(both[k], 5, e->description, -1, SQLITE_TRANSIENT);
        sqlite3_bind_int64(both[k], 6, e->start_us);
        sqlite3_bind_int64(both[k], 7, e->end_us);
        plain_run(p, both[k]);
    }
}

static void plain_commit(Plain *p)
{
    plain_run(p, p->begin);
    Event first = make_event((uint64_t)p->last, 0), second = make_event((uint64_t)p->last + 1, 0);
    plain_event(p, &first);
    plain_event(p, &second);
    sqlite3_bind_text(p->span, 1, first.camera, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(p->span, 2, first.watch, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(p->span, 3, first.start_us);
    sqlite3_bind_int64(p->span, 4, first.start_us + 30 * US_PER_S);
    plain_run(p, p->span);
    sqlite3_bind_int64(p->sequence, 1, p->last);
    plain_run(p, p->sequence);
    plain_run(p, p->commit);
}

static void plain_close(Plain *p)
{
    sqlite3_stmt *all[] = {p->begin, p->revision, p->event, p->span, p->sequence, p->commit};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sqlite3_finalize(all[i]);
    sqlite3_close(p->db);
}

static double seconds_since(int64_t begin_us)
{
    return (double)(clock_monotonic_us() - begin_us) / 1e6;
}

static int bench_commits(int subscribers)
{
    Error err = {0};
    Index *index, *made;
    Publisher *publisher;
    Plain plain = {0};
    next_event = 0;
    char endpoint[256], plain_path[256];
    snprintf(endpoint, sizeof endpoint, "ipc://%s/events.ipc", dir);
    snprintf(plain_path, sizeof plain_path, "%s/plain.sqlite", dir);
    int to_child[2], to_parent[2];
    if (pipe(to_child) < 0 || pipe(to_parent) < 0)
        die(NULL, "pipe");
    pid_t child = fork();
    if (child == 0)
        subscribe(endpoint, subscribers, to_parent[1], to_child[0]);
    void *zmq = zmq_ctx_new();
    if (publisher_open(zmq, endpoint, "bench", &publisher, &err) < 0 ||
        index_open(in_dir("daemon.sqlite"), &index, &err) < 0)
        die(&err, "open");
    /* The same tables, then nothing but SQLite. */
    if (index_open(plain_path, &made, &err) < 0)
        die(&err, "open");
    index_free(made);
    plain_open(&plain, plain_path);
    struct pollfd ready = {.fd = to_parent[0], .events = POLLIN};
    for (int i = 0; poll(&ready, 1, 200) == 0; i++) {
        publisher_heartbeat(publisher, 0);
        if (i == 300)
            die(NULL, "subscribers do not connect");
    }
    int connected;
    if (read(to_parent[0], &connected, sizeof connected) != (ssize_t)sizeof connected)
        die(NULL, "subscribers");
    double ours[ROUNDS], theirs[ROUNDS], ratios[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        int64_t begin_us = clock_monotonic_us();
        for (int i = 0; i < ROUND_COMMITS; i++)
            daemon_commit(index, publisher);
        ours[r] = ROUND_COMMITS / seconds_since(begin_us);
        begin_us = clock_monotonic_us();
        for (int i = 0; i < ROUND_COMMITS; i++)
            plain_commit(&plain);
        theirs[r] = ROUND_COMMITS / seconds_since(begin_us);
        ratios[r] = ours[r] / theirs[r];
    }
    static Heard heard;
    if (write(to_child[1], "x", 1) != 1 || read(to_parent[0], &heard, sizeof heard) < 0)
        die(NULL, "subscribers");
    waitpid(child, NULL, 0);
    uint64_t published = next_event;
    int whole = 0;
    for (int i = 1; i < subscribers; i++)
        whole += heard.messages[i] == published;
    double ratio = percentile(ratios, ROUNDS, 0.5);
    printf("commits: %.0f/s of 2 events, ledger and sequence number, durable and published to %d "
           "subscribers, one of them stalled; plain SQLite %.0f/s; medians of %d turns\n",
           percentile(ours, ROUNDS, 0.5), subscribers, percentile(theirs, ROUNDS, 0.5), ROUNDS);
    printf("events published: %" PRIu64 ", %d of %d reading subscribers heard every one\n",
           published, whole, subscribers - 1);
    publisher_free(publisher);
    index_free(index);
    plain_close(&plain);
    zmq_ctx_term(zmq);
    close(to_child[0]), close(to_child[1]), close(to_parent[0]), close(to_parent[1]);
    char name[64];
    snprintf(name, sizeof name, "commit_ratio_%d_subscribers", subscribers);
    int missed = goal(name, ratio, 0.7, ratio >= 0.7);
    snprintf(name, sizeof name, "whole_of_%d_subscribers", subscribers);
    return missed + goal(name, whole, subscribers - 1, whole == subscribers - 1);
}

/* --- asking --- */

typedef struct Server {
    Service *service;
    atomic_bool stop;
} Server;

static void *serve(void *context)
{
    Server *server = context;
    zmq_pollitem_t item = {.socket = service_socket(server->service), .events = ZMQ_POLLIN};
    bool more = false;
    while (!atomic_load(&server->stop)) {
        zmq_poll(&item, 1, more ? 0 : 50);
        more = service_run(server->service, clock_monotonic_us());
    }
    return NULL;
}

static int no_status(When__StatusResponse *response, void *context)
{
    (void)response;
    (void)context;
    return 0;
}

static int no_cameras(When__CamerasResponse *response, void *context)
{
    (void)response;
    (void)context;
    return 0;
}

static void fill_events(const char *path, uint64_t n)
{
    Plain plain = {0};
    plain_open(&plain, path);
    if (sqlite3_exec(plain.db, "PRAGMA synchronous = OFF; PRAGMA cache_size = -200000", NULL, NULL,
                     NULL) != SQLITE_OK)
        die(NULL, "fill");
    for (uint64_t i = 0; i < n;) {
        plain_run(&plain, plain.begin);
        for (int k = 0; k < 50000 && i < n; k++, i++) {
            Event event = make_event(i, n);
            plain_event(&plain, &event);
        }
        sqlite3_bind_int64(plain.sequence, 1, plain.last);
        plain_run(&plain, plain.sequence);
        plain_run(&plain, plain.commit);
    }
    plain_close(&plain);
}

static void fill_ledger(Index *index, uint64_t n)
{
    Error err = {0};
    LedgerSpan span = {.state = SPAN_EXAMINED, .fps = 2, .model = "bench"};
    /* One watch asks what is asked below; its ledger is in 50 pieces a camera. */
    if (index_begin(index, &err) < 0 ||
        index_put_watch(index, "red-car", "When does a red car drive past?", &err) < 0)
        die(&err, "fill");
    snprintf(span.watch, sizeof span.watch, "red-car");
    int64_t length = (int64_t)n * 15 * US_PER_S / 50;
    for (int c = 0; c < CAMERAS; c++) {
        snprintf(span.camera, sizeof span.camera, "camera-%d", c);
        for (int k = 0; k < 50; k++) {
            span.start_us = START_US + k * length;
            span.end_us = span.start_us + length;
            span.state = k % 5 ? SPAN_EXAMINED : SPAN_LOST;
            if (index_ledger_mark(index, &span, &err) < 0)
                die(&err, "fill");
        }
    }
    if (index_commit(index, &err) < 0)
        die(&err, "fill");
}

static int count_events(const When__Response *response, void *context)
{
    if (response->body_case != WHEN__RESPONSE__BODY_ASK)
        return -EBADMSG;
    *(size_t *)context += response->ask->n_events;
    return 0;
}

/* Of service and client together: what is left of the figures when others use the machine. */
static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

enum { KINDS = 4, DAY_EVENTS = 5760 };

static const char *const KIND_NAMES[KINDS] = {"thousand", "hundred", "nothing", "day"};

/* An index with its service and a client of it. */
typedef struct Stand {
    uint64_t n;
    Index *index;
    void *zmq;
    Server server;
    pthread_t thread;
    When *when;
    double ms[ASKS], cpu[ASKS]; /* of each ask, in order */
    size_t found[KINDS];
    double p50, p99, kind_p50[KINDS]; /* in milliseconds */
} Stand;

static void stand_open(Stand *stand, uint64_t n)
{
    Error err = {0};
    char name[64], endpoint[256];
    stand->n = n;
    snprintf(name, sizeof name, "ask-%" PRIu64 ".sqlite", n);
    snprintf(endpoint, sizeof endpoint, "ipc://%s/query-%" PRIu64 ".ipc", dir, n);
    if (index_open(in_dir(name), &stand->index, &err) < 0)
        die(&err, "open");
    index_free(stand->index);
    int64_t begin_us = clock_monotonic_us();
    fill_events(in_dir(name), n);
    if (index_open(in_dir(name), &stand->index, &err) < 0)
        die(&err, "open");
    fill_ledger(stand->index, n);
    printf("filled with %" PRIu64 " events in %.0f s\n", n, seconds_since(begin_us));
    stand->zmq = zmq_ctx_new();
    ServiceHooks hooks = {.status = no_status, .cameras = no_cameras};
    if (service_open(stand->zmq, endpoint, stand->index, &hooks, &stand->server.service, &err) < 0)
        die(&err, "service");
    pthread_create(&stand->thread, NULL, serve, &stand->server);
    if (when_open(&(WhenOptions){.query_endpoint = endpoint}, &stand->when, &err) < 0)
        die(&err, "when_open");
}

static void stand_close(Stand *stand)
{
    atomic_store(&stand->server.stop, true);
    pthread_join(stand->thread, NULL);
    when_free(stand->when);
    service_free(stand->server.service);
    zmq_ctx_term(stand->zmq);
    index_free(stand->index);
}

/* The i-th question; the first ones (i < 0) read the file into memory and do not count. */
static void stand_ask(Stand *stand, int i)
{
    static const char *const QUESTIONS[KINDS] = {
        "when did a red car drive past?", "when was there a fire engine?",
        "when did a submarine surface?", "when did a person walk by?"};
    Error err = {0};
    When__AskRequest ask = WHEN__ASK_REQUEST__INIT;
    When__Request request = WHEN__REQUEST__INIT;
    int kind = (i + KINDS * 2) % KINDS;
    size_t found = 0;
    request.body_case = WHEN__REQUEST__BODY_ASK;
    request.ask = &ask;
    ask.question = (char *)QUESTIONS[kind];
    if (kind == 3) { /* a day, another one each time */
        uint64_t first = (uint64_t)(i + KINDS * 2) * 977 % (stand->n - DAY_EVENTS);
        ask.since_us = START_US + (int64_t)first * 15 * US_PER_S;
        ask.until_us = ask.since_us + 86400 * US_PER_S;
    }
    int64_t asked_us = clock_monotonic_us();
    double cpu_before = cpu_ms();
    if (when_request(stand->when, &request, 60000, count_events, &found, &err) < 0)
        die(&err, "ask");
    if (i < 0)
        return;
    stand->ms[i] = (double)(clock_monotonic_us() - asked_us) / 1e3;
    stand->cpu[i] = cpu_ms() - cpu_before;
    stand->found[kind] += found;
}

static void stand_sum_up(Stand *stand)
{
    for (int k = 0; k < KINDS; k++) {
        double of_kind[ASKS / KINDS];
        for (int i = 0; i < ASKS / KINDS; i++)
            of_kind[i] = stand->ms[i * KINDS + k];
        stand->kind_p50[k] = percentile(of_kind, ASKS / KINDS, 0.5);
    }
    stand->p50 = percentile(stand->ms, ASKS, 0.5);
    stand->p99 = percentile(stand->ms, ASKS, 0.99);
    printf("asking %8" PRIu64 " events: p50 %.2f ms, p99 %.2f ms (of CPU %.2f and %.2f ms)\n ",
           stand->n, stand->p50, stand->p99, percentile(stand->cpu, ASKS, 0.5),
           percentile(stand->cpu, ASKS, 0.99));
    for (int k = 0; k < KINDS; k++)
        printf(" %s: finds %zu, p50 %.2f ms%s", KIND_NAMES[k], stand->found[k] * KINDS / ASKS,
               stand->kind_p50[k], k + 1 < KINDS ? ";" : "\n");
}

/* All indexes [n] take turns, so that each has the same machine. */
static void bench_asking(Stand *stands, size_t n)
{
    static const uint64_t SIZES[] = {10000, 100000, 1000000};
    for (size_t s = 0; s < n; s++)
        stand_open(&stands[s], SIZES[s]);
    for (int i = -2 * KINDS; i < ASKS; i++)
        for (size_t s = 0; s < n; s++)
            stand_ask(&stands[s], i);
    for (size_t s = 0; s < n; s++)
        stand_sum_up(&stands[s]);
    for (size_t s = 0; s < n; s++)
        stand_close(&stands[s]);
    clear_dir();
}

int main(int argc, char **argv)
{
    bool is_short = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--short") == 0) {
            is_short = true;
        } else if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc) {
            snprintf(dir, sizeof dir, "%s/when-bench-XXXXXX", argv[++i]);
        } else {
            fprintf(stderr, "usage: %s [--short] [--dir DIR]\n", argv[0]);
            return EX_USAGE;
        }
    }
    if (!mkdtemp(dir))
        die(NULL, dir);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int missed = bench_commits(2);
    clear_dir();
    missed += bench_commits(MAX_SUBSCRIBERS);
    clear_dir();
    size_t n = is_short ? 2 : 3;
    static Stand stands[3];
    bench_asking(stands, n);
    const Stand *least = &stands[0], *most = &stands[n - 1];
    rmdir(dir);
    char name[64];
    snprintf(name, sizeof name, "ask_p99_ms_at_%" PRIu64, most->n);
    missed += goal(name, most->p99, 20, most->p99 <= 20);
    /* As the logarithm of the number of events at most. */
    double log_growth = log((double)most->n) / log((double)least->n);
    missed += goal("ask_p50_growth", most->p50 / least->p50, log_growth,
                   most->p50 <= log_growth * least->p50);
    missed += goal("ask_p99_growth", most->p99 / least->p99, log_growth,
                   most->p99 <= log_growth * least->p99);
    for (int k = 0; k < KINDS; k++) {
        snprintf(name, sizeof name, "ask_p50_growth_%s", KIND_NAMES[k]);
        missed += goal(name, most->kind_p50[k] / least->kind_p50[k], log_growth,
                       most->kind_p50[k] <= log_growth * least->kind_p50[k]);
    }
    return missed ? 1 : 0;
}

/* The loop. See daemon.h. */
#include "daemon/daemon.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/notify.h"
#include "daemon/orphans.h"
#include "daemon/reload.h"
#include "daemon/requests.h"
#include "daemon/status.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define HEARTBEAT_US    US_PER_S
#define PROGRESS_US     US_PER_S
#define ALL_PROGRESS_US (5 * US_PER_S) /* also of cameras where nothing changed */
#define MAX_SLEEP_US    (US_PER_S / 4)
#define READER_US       (US_PER_S / 100) /* a client reads: it is given more so soon */
#define STOP_US         (8 * US_PER_S)   /* SIGKILL comes after 5: an exit within 10 is sure */
#define LAST_WORDS_US   (US_PER_S / 5)   /* what the workers said last is on its way */
#define ORPHANS_US      (4 * US_PER_S)   /* a recording is closed within 3 */
#define MESSAGES_A_TURN 512
#define WORKER_QUEUE    2000

void daemon_out_of_memory(Daemon *daemon)
{
    daemon->feeds.out_of_memory = true;
}

Camera *daemon_camera(const Daemon *daemon, const char *name)
{
    for (size_t i = 0; i < daemon->n_cameras; i++)
        if (daemon->cameras[i] && strcmp(daemon->cameras[i]->config->name, name) == 0)
            return daemon->cameras[i];
    return NULL;
}

int daemon_send(Daemon *daemon, const char *worker_id, When__ToWorker *message, zmq_msg_t *pixels,
                size_t n_pixels)
{
    message->version = WIRE_VERSION;
    return wire_send(daemon->workers, (const uint8_t *)worker_id, strlen(worker_id), &message->base,
                     pixels, n_pixels);
}

int daemon_start_worker(Daemon *daemon, const char *name, bool is_analyst, bool once)
{
    _cleanup_free_ char *program =
        file_join(daemon->options.libexec_dir, is_analyst ? "whend-analyst" : "whend-camera");
    if (!program)
        return -ENOMEM;
    return supervisor_start(daemon->supervisor, name, program, once, daemon->now_us);
}

/* --- hooks of the parts --- */

static void on_committed(const Event *event, void *context)
{
    Daemon *daemon = context;
    publisher_event(daemon->publisher, event);
    questions_committed(daemon->questions, event);
}

static int on_send_stop(const char *id, void *context)
{
    When__Stop stop = WHEN__STOP__INIT;
    When__ToWorker message = WHEN__TO_WORKER__INIT;
    message.body_case = WHEN__TO_WORKER__BODY_STOP;
    message.stop = &stop;
    return daemon_send(context, id, &message, NULL, 0);
}

static bool is_camera_worker(const char *name, const char **camera)
{
    static const char prefix[] = "camera/";
    *camera = name + sizeof prefix - 1;
    return strncmp(name, prefix, sizeof prefix - 1) == 0;
}

static void on_ended(const WorkerEnd *end, void *context)
{
    Daemon *daemon = context;
    const char *name;
    if (strcmp(end->name, ANALYST_WORKER) == 0) {
        analyst_gone(daemon, end);
    } else if (is_camera_worker(end->name, &name)) {
        Camera *camera = daemon_camera(daemon, name);
        if (camera)
            camera_gone(daemon, camera, end);
    } else if (media_is_worker(end->name)) {
        media_gone(daemon, end);
    } else {
        archive_gone(daemon, end);
    }
}

static int on_task_send(Task *task, void *context)
{
    return analyst_send(context, task);
}

static void on_task_done(Task *task, const char *reason, void *context)
{
    Daemon *daemon = context;
    Feed *feed = task->owner;
    feed_done(feed, task, reason, daemon->now_us);
    daemon->progress_due_us = daemon->now_us; /* people look on */
}

static void on_task_dropped(Task *task, void *context)
{
    Daemon *daemon = context;
    Feed *feed = task->owner;
    feed_dropped(feed, task, daemon->now_us);
}

/* --- messages of workers --- */

/* A file that was closed is there, whichever incarnation says so; the others' words are not wanted
 * any more. The id is "camera/NAME/SPAWN". */
static bool late_message(Daemon *daemon, const When__FromWorker *message, const char *id)
{
    const char *name;
    if (message->body_case != WHEN__FROM_WORKER__BODY_RECORDING || !is_camera_worker(id, &name))
        return true; /* dropped, and nothing wrong with it */
    const char *slash = strchr(name, '/');
    char camera[EVENT_NAME_BYTES];
    if (!slash || (size_t)(slash - name) >= sizeof camera)
        return false;
    memcpy(camera, name, (size_t)(slash - name));
    camera[slash - name] = '\0';
    return camera_recording(daemon, camera, message->recording);
}

static bool dispatch(Daemon *daemon, const When__FromWorker *message)
{
    WireMessage *m = &daemon->message;
    char id[WIRE_MAX_ID_BYTES + 1];
    memcpy(id, m->id, m->id_bytes);
    id[m->id_bytes] = '\0';
    if (message->version != WIRE_VERSION)
        return false;
    if (daemon->archive.feed && strcmp(daemon->archive.id, id) == 0)
        return archive_message(daemon, message, m->pixels, m->n_pixels);
    const WorkerInfo *worker = supervisor_by_id(daemon->supervisor, id, m->id_bytes);
    const char *name;
    if (!worker || worker->state == WORKER_STOPPING)
        return late_message(daemon, message, id);
    if (strcmp(worker->name, ANALYST_WORKER) == 0)
        return analyst_message(daemon, message);
    if (media_is_worker(worker->name))
        return media_message(daemon, worker->name, message);
    if (!is_camera_worker(worker->name, &name))
        return true;
    if (message->body_case == WHEN__FROM_WORKER__BODY_RECORDING)
        return camera_recording(daemon, name, message->recording);
    Camera *camera = daemon_camera(daemon, name);
    return !camera || camera_message(daemon, camera, message, m->pixels, m->n_pixels);
}

/* true: more may wait. */
static bool receive_workers(Daemon *daemon)
{
    for (int i = 0; i < MESSAGES_A_TURN; i++) {
        int r = wire_receive(daemon->workers, true, &daemon->message);
        if (r == WIRE_NOTHING || r < 0)
            return false;
        bool good = false;
        if (r == 0) {
            size_t bytes;
            const uint8_t *body = wire_body(&daemon->message, &bytes);
            When__FromWorker *message = when__from_worker__unpack(NULL, bytes, body);
            if (message) {
                good = dispatch(daemon, message);
                when__from_worker__free_unpacked(message, NULL);
            }
        }
        if (!good) {
            daemon->bad_messages++;
            log_debug("daemon", "a worker's message was refused: bad_messages=%" PRIu64,
                      daemon->bad_messages);
        }
        wire_message_clear(&daemon->message);
    }
    return true;
}

/* --- signals and timers --- */

static void begin_stop(Daemon *daemon, int signal)
{
    if (daemon->stop_due_us)
        return;
    log_info("daemon", "signal=%s: stopping", strsignal(signal));
    notify_stopping();
    daemon->stop_due_us = daemon->now_us + STOP_US;
    archive_cancel(daemon, NULL);
    supervisor_stop_all(daemon->supervisor, daemon->now_us);
}

static void take_signals(Daemon *daemon)
{
    struct signalfd_siginfo info;
    while (read(daemon->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        switch ((int)info.ssi_signo) {
        case SIGCHLD:
            /* What the child said before its end first. */
            receive_workers(daemon);
            supervisor_reap(daemon->supervisor, daemon->now_us);
            break;
        case SIGHUP:
            if (daemon->stop_due_us)
                break;
            notify_reloading();
            reload_config(daemon, &(Error){0});
            notify_ready();
            break;
        default:
            begin_stop(daemon, (int)info.ssi_signo);
        }
    }
}

static void publish_progress(Daemon *daemon)
{
    daemon->progress_due_us = daemon->now_us + PROGRESS_US;
    bool all = daemon->now_us >= daemon->all_progress_due_us;
    if (all)
        daemon->all_progress_due_us = daemon->now_us + ALL_PROGRESS_US;
    for (size_t i = 0; i < daemon->n_cameras; i++)
        camera_publish_progress(daemon, daemon->cameras[i], all);
}

static void tick(Daemon *daemon)
{
    int64_t now = daemon->now_us;
    supervisor_tick(daemon->supervisor, now);
    committer_tick(daemon->committer, now);
    scheduler_hold(daemon->scheduler,
                   committer_blocked(daemon->committer) || daemon->stop_due_us != 0);
    scheduler_run(daemon->scheduler);
    analyst_tick(daemon);
    if (!daemon->stop_due_us) {
        for (size_t i = 0; i < daemon->n_cameras; i++)
            camera_tick(daemon, daemon->cameras[i]);
        archive_tick(daemon);
        media_tick(daemon);
        questions_tick(daemon->questions);
    }
    if (now >= daemon->progress_due_us)
        publish_progress(daemon);
    if (now >= daemon->heartbeat_due_us) {
        daemon->heartbeat_due_us = now + HEARTBEAT_US;
        publisher_heartbeat(daemon->publisher, index_last_sequence(daemon->index));
        char line[512];
        status_line(daemon, line, sizeof line);
        notify_status(line);
        notify_alive();
    }
}

static long sleep_ms(const Daemon *daemon)
{
    bool waits = service_waits(daemon->service);
    int64_t due = daemon->now_us + (waits ? READER_US : MAX_SLEEP_US);
    int64_t dues[] = {supervisor_deadline_us(daemon->supervisor),
                      committer_deadline_us(daemon->committer), daemon->heartbeat_due_us,
                      daemon->progress_due_us};
    for (size_t i = 0; i < sizeof dues / sizeof dues[0]; i++)
        due = dues[i] < due ? dues[i] : due;
    int64_t left = due - daemon->now_us;
    return left > 0 ? (long)((left + 999) / 1000) : 0;
}

/* All workers are gone and what they said last was read, or it takes too long. */
static bool stopped(Daemon *daemon)
{
    if (!daemon->stop_due_us)
        return false;
    if (daemon->now_us >= daemon->stop_due_us)
        return true;
    if (supervisor_any_process(daemon->supervisor))
        return false;
    if (daemon->stop_due_us > daemon->now_us + LAST_WORDS_US)
        daemon->stop_due_us = daemon->now_us + LAST_WORDS_US;
    return false;
}

int daemon_run(Daemon *daemon, Error *err)
{
    daemon->now_us = clock_monotonic_us();
    int r = daemon_start_worker(daemon, ANALYST_WORKER, true, false);
    for (size_t i = 0; r == 0 && i < daemon->n_cameras; i++)
        r = camera_start(daemon, daemon->cameras[i]);
    if (r < 0)
        return error_set(err, -r, EX_OSERR, "workers cannot be started: %s", strerror(-r));
    notify_ready();
    log_info("daemon", "ready daemon_id=%s cameras=%zu watches=%zu events=%s query=%s",
             index_daemon_id(daemon->index), daemon->n_cameras, daemon->config.n_watches,
             daemon->config.events_endpoint, daemon->config.query_endpoint);

    zmq_pollitem_t items[3 + OPERATION_POLL_ITEMS] = {
        {.socket = daemon->workers, .events = ZMQ_POLLIN},
        {.socket = service_socket(daemon->service), .events = ZMQ_POLLIN},
        {.fd = daemon->signal_fd, .events = ZMQ_POLLIN}};
    int n_items = 3 + (int)operation_poll(daemon->operation, items + 3);
    bool more = false;
    while (!stopped(daemon)) {
        if (zmq_poll(items, n_items, more ? 0 : sleep_ms(daemon)) < 0 && errno != EINTR)
            return error_set(err, errno, EX_OSERR, "zmq_poll: %s", strerror(errno));
        daemon->now_us = clock_monotonic_us();
        take_signals(daemon);
        more = receive_workers(daemon);
        more = service_run(daemon->service, daemon->now_us) || more;
        more = operation_run(daemon->operation) || more;
        tick(daemon);
        if (daemon->feeds.out_of_memory)
            return error_set(err, ENOMEM, EX_OSERR, "no memory: whend ends, to be started again");
    }
    log_info("daemon", "stopped");
    return 0;
}

/* --- opening and closing --- */

static int open_signals(Daemon *daemon, Error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return error_set(err, errno, EX_OSERR, "signals: %s", strerror(errno));
    signal(SIGPIPE, SIG_IGN);
    daemon->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (daemon->signal_fd < 0)
        return error_set(err, errno, EX_OSERR, "signalfd: %s", strerror(errno));
    return 0;
}

static int open_index(Daemon *daemon, Error *err)
{
    int r = file_make_dir(daemon->config.state_dir, err);
    if (r == 0) {
        r = file_lock_dir(daemon->config.state_dir, err);
        daemon->lock_fd = r;
    }
    if (r < 0)
        return r;
    _cleanup_free_ char *path = file_join(daemon->config.state_dir, "index.sqlite");
    if (!path)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    r = index_open(path, &daemon->index, err);
    if (r < 0)
        return r;
    uint64_t number = 0;
    r = index_max_event_number(daemon->index, &number, err);
    daemon->feeds.next_event_number = number + 1;
    return r;
}

static int open_sockets(Daemon *daemon, char **workers_endpoint, Error *err)
{
    int r = file_make_dir(daemon->config.runtime_dir, err);
    if (r < 0)
        return r;
    if (asprintf(workers_endpoint, "ipc://%s/workers.ipc", daemon->config.runtime_dir) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    daemon->zmq = zmq_ctx_new();
    daemon->workers = daemon->zmq ? zmq_socket(daemon->zmq, ZMQ_ROUTER) : NULL;
    if (!daemon->workers)
        return error_set(err, ENOMEM, EX_OSERR, "ZeroMQ: %s", zmq_strerror(errno));
    r = wire_socket_init(daemon->workers, 500, WORKER_QUEUE);
    if (r == 0)
        r = wire_bind(daemon->workers, *workers_endpoint, err);
    if (r == 0)
        r = publisher_open(daemon->zmq, daemon->config.events_endpoint,
                           index_daemon_id(daemon->index), &daemon->publisher, err);
    if (r == 0) {
        ServiceHooks hooks = {.status = status_fill,
                              .cameras = status_fill_cameras,
                              .media = media_request,
                              .operation = operation_request,
                              .allows = operation_allows,
                              .change = requests_handle,
                              .context = daemon};
        r = service_open(daemon->zmq, daemon->config.query_endpoint, daemon->index, &hooks,
                         &daemon->service, err);
    }
    const Config *config = &daemon->config;
    if (r == 0)
        r = wire_share(config->events_endpoint, config->socket_mode, config->socket_group, err);
    if (r == 0)
        r = wire_share(config->query_endpoint, config->socket_mode, config->socket_group, err);
    return r < 0 ? error_set(err, -r, EX_OSERR, "sockets: %s", strerror(-r)) : 0;
}

static int open_parts(Daemon *daemon, const char *workers_endpoint, Error *err)
{
    const DaemonOptions *options = &daemon->options;
    _cleanup_free_ char *pid_file = file_join(daemon->config.state_dir, "workers");
    if (!pid_file)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    orphans_end(pid_file, ORPHANS_US);
    SupervisorOptions supervisor = {.endpoint = workers_endpoint,
                                    .log_level = options->log_level ? options->log_level
                                                                    : daemon->config.log_level,
                                    .pid_file = pid_file,
                                    .send_stop = on_send_stop,
                                    .ended = on_ended,
                                    .context = daemon};
    SchedulerHooks scheduler = {on_task_send, on_task_done, on_task_dropped, daemon};
    daemon->supervisor = supervisor_new(&supervisor);
    daemon->committer = committer_new(daemon->index, on_committed, daemon);
    daemon->scheduler = scheduler_new(&scheduler, SCHEDULER_MAX_LIVE);
    daemon->questions = questions_new(daemon);
    if (!daemon->supervisor || !daemon->committer || !daemon->scheduler || !daemon->questions)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    daemon->feeds.index = daemon->index;
    daemon->feeds.committer = daemon->committer;
    daemon->feeds.scheduler = daemon->scheduler;
    daemon->feeds.window_us = daemon->config.window_us;
    daemon->feeds.overlap_us = daemon->config.overlap_us;
    daemon->feeds.boundary_error_us = daemon->config.boundary_error_us;
    daemon->feeds.first_hole = "whend was not running";
    return 0;
}

int daemon_open(const DaemonOptions *options, Daemon **opened, Error *err)
{
    Daemon *daemon = calloc(1, sizeof *daemon);
    _cleanup_free_ char *workers_endpoint = NULL;
    if (!daemon)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    daemon->options = *options;
    daemon->lock_fd = daemon->signal_fd = -1;
    daemon->started_us = clock_utc_us();
    daemon->now_us = clock_monotonic_us();
    int r = config_read(options->config_path, &daemon->config, err);
    if (r == 0)
        r = open_signals(daemon, err);
    if (r == 0)
        r = open_index(daemon, err);
    if (r == 0)
        r = open_sockets(daemon, &workers_endpoint, err);
    if (r == 0)
        r = open_parts(daemon, workers_endpoint, err);
    if (r == 0)
        r = operation_open(daemon, &daemon->operation, err);
    if (r == 0)
        r = media_open(daemon, &daemon->media, err);
    if (r == 0)
        r = reload_begin(daemon, err);
    if (r < 0) {
        daemon_free(daemon);
        return r;
    }
    *opened = daemon;
    return 0;
}

void daemon_free(Daemon *daemon)
{
    if (!daemon)
        return;
    archive_deinit(&daemon->archive);
    for (size_t i = 0; i < daemon->n_cameras; i++)
        camera_free(daemon->cameras[i]);
    free(daemon->cameras);
    media_free(daemon->media);
    supervisor_free(daemon->supervisor);
    scheduler_free(daemon->scheduler);
    committer_free(daemon->committer);
    operation_free(daemon->operation);
    questions_free(daemon->questions);
    service_free(daemon->service);
    publisher_free(daemon->publisher);
    wire_message_deinit(&daemon->message);
    if (daemon->workers)
        zmq_close(daemon->workers);
    if (daemon->zmq)
        zmq_ctx_term(daemon->zmq);
    index_free(daemon->index);
    config_deinit(&daemon->config);
    closep(&daemon->signal_fd);
    closep(&daemon->lock_fd);
    free(daemon);
}

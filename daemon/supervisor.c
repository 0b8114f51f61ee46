/* Worker processes. See supervisor.h. */
#include "daemon/supervisor.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include "daemon/orphans.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACK_OFF_MIN_US (US_PER_S / 2)
#define BACK_OFF_MAX_US (30 * US_PER_S)
#define HEALTHY_US      (60 * US_PER_S)
#define SLOW_RETRY_US   (60 * US_PER_S)
#define STOP_US         (5 * US_PER_S)

typedef struct Worker {
    WorkerInfo info;
    char *program;
    bool once;
    bool wanted;   /* false: forgotten once the process is gone */
    bool stopping; /* the coming end was asked for */
    bool finished;
    unsigned failures; /* in a row, without a minute of health between them */
    int64_t started_us;
    int64_t due_us; /* of the next start, or of SIGKILL while stopping; INT64_MAX: nothing */
    char explained[WORKER_REASON_BYTES];
} Worker;

struct Supervisor {
    SupervisorOptions options;
    char *endpoint, *log_level, *pid_file;
    Worker **workers; /* [n] pointers: WorkerInfo keeps its address while the worker lives */
    size_t n, capacity;
    uint64_t next_spawn;
    uint64_t random;
};

static const char *const state_names[] = {
    [WORKER_STARTING] = "starting",       [WORKER_RUNNING] = "running",
    [WORKER_BACKING_OFF] = "backing off", [WORKER_FINISHED] = "finished",
    [WORKER_FAILED] = "failed",           [WORKER_STOPPING] = "stopping",
};

const char *worker_state_name(WorkerState state)
{
    return state_names[state];
}

static const char *exit_code_name(int code)
{
    switch (code) {
    case EX_USAGE:
        return " (EX_USAGE)";
    case EX_DATAERR:
        return " (EX_DATAERR: damaged or unsupported input)";
    case EX_NOINPUT:
        return " (EX_NOINPUT: no such input)";
    case EX_UNAVAILABLE:
        return " (EX_UNAVAILABLE)";
    case EX_SOFTWARE:
        return " (EX_SOFTWARE: a bug)";
    case EX_OSERR:
        return " (EX_OSERR: no memory or other system fault)";
    case EX_OSFILE:
        return " (EX_OSFILE: the program cannot be run)";
    case EX_CANTCREAT:
        return " (EX_CANTCREAT)";
    case EX_IOERR:
        return " (EX_IOERR)";
    case EX_TEMPFAIL:
        return " (EX_TEMPFAIL)";
    case EX_NOPERM:
        return " (EX_NOPERM: not allowed)";
    case EX_CONFIG:
        return " (EX_CONFIG: wrong setting)";
    default:
        return "";
    }
}

static bool is_incurable(int exit_code)
{
    return exit_code == EX_NOINPUT || exit_code == EX_DATAERR || exit_code == EX_CONFIG ||
           exit_code == EX_NOPERM || exit_code == EX_OSFILE;
}

/* xorshift: jitter needs no better. */
static double random_share(Supervisor *s)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return (double)(s->random >> 11) / 9007199254740992.0;
}

Supervisor *supervisor_new(const SupervisorOptions *options)
{
    Supervisor *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->options = *options;
    if (s->options.stop_us == 0)
        s->options.stop_us = STOP_US;
    s->endpoint = strdup(options->endpoint);
    s->log_level = strdup(options->log_level);
    s->pid_file = options->pid_file ? strdup(options->pid_file) : NULL;
    /* Milliseconds of UTC: a later run of whend begins above all numbers of this one. */
    s->next_spawn = (uint64_t)(clock_utc_us() / 1000);
    s->random = s->next_spawn ^ ((uint64_t)getpid() << 32) ^ 0x9e3779b97f4a7c15u;
    if (!s->endpoint || !s->log_level || (options->pid_file && !s->pid_file)) {
        supervisor_free(s);
        return NULL;
    }
    return s;
}

static void worker_free(Worker *w)
{
    free(w->program);
    free(w);
}

void supervisor_free(Supervisor *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        if (s->workers[i]->info.pid > 0) {
            kill(s->workers[i]->info.pid, SIGKILL);
            while (waitpid(s->workers[i]->info.pid, NULL, 0) < 0 && errno == EINTR)
                ;
        }
        worker_free(s->workers[i]);
    }
    free(s->workers);
    free(s->endpoint);
    free(s->log_level);
    free(s->pid_file);
    free(s);
}

static Worker *find(const Supervisor *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->workers[i]->info.name, name) == 0)
            return s->workers[i];
    return NULL;
}

static void forget(Supervisor *s, Worker *w)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->workers[i] == w) {
            s->workers[i] = s->workers[--s->n];
            worker_free(w);
            return;
        }
}

static void store_children(const Supervisor *s)
{
    _cleanup_free_ pid_t *pids = mem_new_array(s->n, sizeof *pids);
    size_t n = 0;
    if (!s->pid_file || !pids)
        return;
    for (size_t i = 0; i < s->n; i++)
        if (s->workers[i]->info.pid > 0)
            pids[n++] = s->workers[i]->info.pid;
    orphans_store(s->pid_file, pids, n);
}

/* The child: only calls that are safe after fork. */
static _Noreturn void run_child(const char *program, char *const argv[], pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it died before the line above */
        _exit(EX_TEMPFAIL);
    int null = open("/dev/null", O_RDWR);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    close_range(3, ~0U, 0);
    execv(program, argv);
    _exit(EX_OSFILE);
}

static void make_id(Supervisor *s, Worker *w)
{
    char spawn[24];
    int n = snprintf(spawn, sizeof spawn, "/%" PRIx64, s->next_spawn++);
    /* A long camera name is cut: the number alone makes the id unique. */
    int room = (int)sizeof w->info.id - 1 - n;
    snprintf(w->info.id, sizeof w->info.id, "%.*s%s", room, w->info.name, spawn);
}

static void end_worker(Supervisor *s, Worker *w, int status, int64_t now_us);

static void spawn(Supervisor *s, Worker *w, int64_t now_us)
{
    make_id(s, w);
    w->stopping = false;
    w->finished = false;
    w->explained[0] = '\0';
    w->started_us = now_us;
    w->due_us = INT64_MAX;
    w->info.state = WORKER_STARTING;
    char *argv[] = {w->program, "--connect",   s->endpoint,  "--id",
                    w->info.id, "--log-level", s->log_level, NULL};
    if (access(w->program, X_OK) < 0) {
        snprintf(w->explained, sizeof w->explained, "%s: %s (is whend installed completely?)",
                 w->program, strerror(errno));
        end_worker(s, w, EX_OSFILE << 8, now_us);
        return;
    }
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        run_child(w->program, argv, parent);
    if (pid < 0) {
        snprintf(w->explained, sizeof w->explained, "could not be started: %s", strerror(errno));
        end_worker(s, w, EX_OSERR << 8, now_us);
        return;
    }
    w->info.pid = pid;
    store_children(s);
    log_debug("supervisor", "worker=%s pid=%d id=%s started", w->info.name, (int)pid, w->info.id);
}

/* Fills info.reason for an end that was not asked for and tells the exit code (-1: a signal). */
static int explain_end(Worker *w, int status)
{
    char *reason = w->info.reason;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (w->explained[0])
        snprintf(reason, WORKER_REASON_BYTES, "%s", w->explained);
    else if (code < 0)
        snprintf(reason, WORKER_REASON_BYTES, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(reason, WORKER_REASON_BYTES, "ended with exit code %d%s", code,
                 exit_code_name(code));
    return code;
}

static void schedule_restart(Supervisor *s, Worker *w, int code, int64_t now_us)
{
    if (w->info.state == WORKER_RUNNING && now_us - w->started_us >= HEALTHY_US)
        w->failures = 0;
    w->info.restarts++;
    if (is_incurable(code)) {
        w->info.state = WORKER_FAILED;
        w->due_us = now_us + SLOW_RETRY_US;
        log_error("supervisor", "worker=%s state=failed reason=\"%s\" retry_s=%d", w->info.name,
                  w->info.reason, (int)(SLOW_RETRY_US / US_PER_S));
        return;
    }
    unsigned doublings = w->failures < 10 ? w->failures : 10;
    int64_t delay = BACK_OFF_MIN_US << doublings;
    delay = delay < BACK_OFF_MAX_US ? delay : BACK_OFF_MAX_US;
    /* Jitter: what failed together need not come back together. */
    delay += (int64_t)((double)delay * 0.25 * random_share(s));
    w->failures++;
    w->info.state = WORKER_BACKING_OFF;
    w->due_us = now_us + delay;
    log_warn("supervisor", "worker=%s restarts=%u reason=\"%s\" back_off_ms=%" PRId64, w->info.name,
             w->info.restarts, w->info.reason, delay / 1000);
}

static void end_worker(Supervisor *s, Worker *w, int status, int64_t now_us)
{
    bool asked = w->stopping;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    w->info.pid = 0;
    w->stopping = false;
    if (!asked && !(w->finished && code == 0))
        explain_end(w, status);
    bool forgotten = !w->wanted || w->once;
    /* Stopped to start again: that it had finished before does not count any more. */
    if (forgotten || (!asked && w->finished && code == 0)) {
        w->info.state = WORKER_FINISHED;
        w->due_us = INT64_MAX;
    } else if (asked) {
        w->info.state = WORKER_STARTING;
        w->failures = 0;
        w->due_us = now_us;
    } else {
        schedule_restart(s, w, code, now_us);
    }
    char name[WORKER_NAME_BYTES], reason[WORKER_REASON_BYTES];
    memcpy(name, w->info.name, sizeof name);
    memcpy(reason, w->info.reason, sizeof reason);
    WorkerEnd end = {.name = name,
                     .asked = asked,
                     .exit_code = code,
                     .reason = reason,
                     .restarts = w->due_us != INT64_MAX};
    if (forgotten)
        forget(s, w);
    if (s->options.ended)
        s->options.ended(&end, s->options.context);
}

int supervisor_start(Supervisor *s, const char *name, const char *program, bool once,
                     int64_t now_us)
{
    Worker *w = find(s, name);
    if (w) {
        assert(strcmp(w->program, program) == 0);
        w->wanted = true;
        return 0;
    }
    void *workers = s->workers;
    int r = mem_grow(&workers, &s->capacity, s->n + 1, sizeof *s->workers);
    s->workers = workers;
    if (r < 0)
        return r;
    w = calloc(1, sizeof *w);
    if (!w || !(w->program = strdup(program))) {
        free(w);
        return -ENOMEM;
    }
    assert(strlen(name) < sizeof w->info.name);
    snprintf(w->info.name, sizeof w->info.name, "%s", name);
    w->once = once;
    w->wanted = true;
    s->workers[s->n++] = w;
    spawn(s, w, now_us);
    return 0;
}

static void stop_process(Supervisor *s, Worker *w, int64_t now_us)
{
    if (w->stopping)
        return;
    /* Before hello the socket may not know it; and a program without our protocol ends too. */
    bool told = w->info.state == WORKER_RUNNING && s->options.send_stop &&
                s->options.send_stop(w->info.id, s->options.context) == 0;
    if (!told)
        kill(w->info.pid, SIGTERM);
    w->stopping = true;
    w->info.state = WORKER_STOPPING;
    w->due_us = now_us + s->options.stop_us;
}

void supervisor_stop(Supervisor *s, const char *name, int64_t now_us)
{
    Worker *w = find(s, name);
    if (!w)
        return;
    w->wanted = false;
    if (w->info.pid > 0)
        stop_process(s, w, now_us);
    else
        forget(s, w);
}

void supervisor_restart(Supervisor *s, const char *name, int64_t now_us)
{
    Worker *w = find(s, name);
    if (!w)
        return;
    if (w->info.pid > 0) {
        stop_process(s, w, now_us);
        return;
    }
    w->failures = 0;
    w->finished = false;
    w->info.state = WORKER_STARTING;
    w->due_us = now_us;
}

void supervisor_stop_all(Supervisor *s, int64_t now_us)
{
    for (size_t i = s->n; i-- > 0;)
        supervisor_stop(s, s->workers[i]->info.name, now_us);
}

const WorkerInfo *supervisor_by_id(const Supervisor *s, const char *id, size_t id_bytes)
{
    for (size_t i = 0; i < s->n; i++) {
        const WorkerInfo *info = &s->workers[i]->info;
        if (strlen(info->id) == id_bytes && memcmp(info->id, id, id_bytes) == 0)
            return info;
    }
    return NULL;
}

const WorkerInfo *supervisor_by_name(const Supervisor *s, const char *name)
{
    const Worker *w = find(s, name);
    return w ? &w->info : NULL;
}

size_t supervisor_count(const Supervisor *s)
{
    return s->n;
}

const WorkerInfo *supervisor_at(const Supervisor *s, size_t i)
{
    assert(i < s->n);
    return &s->workers[i]->info;
}

bool supervisor_any_process(const Supervisor *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->workers[i]->info.pid > 0)
            return true;
    return false;
}

void supervisor_hello(Supervisor *s, const char *name)
{
    Worker *w = find(s, name);
    if (w && w->info.state == WORKER_STARTING && w->info.pid > 0)
        w->info.state = WORKER_RUNNING;
}

void supervisor_finished(Supervisor *s, const char *name)
{
    Worker *w = find(s, name);
    if (!w)
        return;
    w->finished = true;
    /* Its last message may come after its exit was seen: then the restart is called off. */
    if (w->info.pid == 0 && w->info.state == WORKER_BACKING_OFF) {
        w->info.state = WORKER_FINISHED;
        w->due_us = INT64_MAX;
        w->info.restarts--;
        w->info.reason[0] = '\0';
    }
}

void supervisor_explain(Supervisor *s, const char *name, const char *reason)
{
    Worker *w = find(s, name);
    if (!w)
        return;
    char *text = w->info.pid > 0 ? w->explained : w->info.reason;
    snprintf(text, WORKER_REASON_BYTES, "%s", reason);
}

void supervisor_reap(Supervisor *s, int64_t now_us)
{
    /* One child by one, never waitpid(-1): the libraries' children are not ours. end_worker may
     * shorten the list, so this walks it from its end. */
    for (size_t i = s->n; i-- > 0;) {
        if (i >= s->n || s->workers[i]->info.pid <= 0)
            continue;
        int status;
        pid_t pid = waitpid(s->workers[i]->info.pid, &status, WNOHANG);
        if (pid == s->workers[i]->info.pid)
            end_worker(s, s->workers[i], status, now_us);
    }
}

void supervisor_tick(Supervisor *s, int64_t now_us)
{
    for (size_t i = s->n; i-- > 0;) {
        if (i >= s->n || s->workers[i]->due_us > now_us)
            continue;
        Worker *w = s->workers[i];
        if (w->info.pid > 0) {
            log_warn("supervisor", "worker=%s pid=%d did not stop within %d s: killed",
                     w->info.name, (int)w->info.pid, (int)(s->options.stop_us / US_PER_S));
            kill(w->info.pid, SIGKILL);
            w->due_us = INT64_MAX;
        } else {
            spawn(s, w, now_us);
        }
    }
}

int64_t supervisor_deadline_us(const Supervisor *s)
{
    int64_t due = INT64_MAX;
    for (size_t i = 0; i < s->n; i++)
        due = s->workers[i]->due_us < due ? s->workers[i]->due_us : due;
    return due;
}

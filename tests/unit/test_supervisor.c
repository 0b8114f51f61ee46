/* The supervisor with real children: shell scripts that end in all the ways there are. Time is
 * passed in, so nothing here waits but for a child's end. */
#include "daemon/supervisor.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define S US_PER_S

typedef struct World {
    char folder[32];
    char script[64];
    Supervisor *supervisor;
    int64_t now_us;
    bool can_tell; /* Stop reaches the worker's socket (it does nothing with it) */
    int told;
    int ended;
    WorkerEnd end; /* the last one */
    char name[WORKER_NAME_BYTES], reason[WORKER_REASON_BYTES];
} World;

static int on_stop(const char *id, void *context)
{
    (void)id;
    World *w = context;
    w->told++;
    return w->can_tell ? 0 : -EHOSTUNREACH;
}

static void on_ended(const WorkerEnd *end, void *context)
{
    World *w = context;
    w->ended++;
    w->end = *end;
    snprintf(w->name, sizeof w->name, "%s", end->name);
    snprintf(w->reason, sizeof w->reason, "%s", end->reason);
}

static void set_up(World *w, const char *text)
{
    *w = (World){.folder = "/tmp/when_superXXXXXX", .now_us = 1000 * S};
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->script, sizeof w->script, "%s/worker", w->folder);
    FILE *file = fopen(w->script, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", text);
    fclose(file);
    assert_int_equal(chmod(w->script, 0755), 0);
    SupervisorOptions options = {.endpoint = "ipc:///nowhere",
                                 .log_level = "error",
                                 .send_stop = on_stop,
                                 .ended = on_ended,
                                 .context = w};
    w->supervisor = supervisor_new(&options);
    assert_non_null(w->supervisor);
}

static void tear_down(World *w)
{
    supervisor_free(w->supervisor);
    unlink(w->script);
    rmdir(w->folder);
}

/* Waits until the child is dead, without reaping it. */
static void await_death(World *w, const char *name)
{
    const WorkerInfo *info = supervisor_by_name(w->supervisor, name);
    siginfo_t child;
    assert_int_equal(waitid(P_PID, (id_t)info->pid, &child, WEXITED | WNOWAIT), 0);
}

/* The same, then lets the supervisor see it. */
static void let_end(World *w, const char *name)
{
    await_death(w, name);
    supervisor_reap(w->supervisor, w->now_us);
}

static void start(World *w, const char *name, bool once)
{
    assert_int_equal(supervisor_start(w->supervisor, name, w->script, once, w->now_us), 0);
}

static void backs_off(void **state)
{
    (void)state;
    World w;
    set_up(&w, "kill -9 $$");
    start(&w, "camera/gate", false);
    const WorkerInfo *info = supervisor_by_name(w.supervisor, "camera/gate");
    assert_int_equal(info->state, WORKER_STARTING);
    int64_t before = 0;
    for (uint32_t i = 1; i <= 8; i++) {
        char id[WORKER_ID_BYTES];
        memcpy(id, info->id, sizeof id);
        assert_ptr_equal(supervisor_by_id(w.supervisor, id, strlen(id)), info);
        let_end(&w, "camera/gate");
        assert_int_equal(info->state, WORKER_BACKING_OFF);
        assert_int_equal(info->restarts, i);
        assert_int_equal(info->pid, 0);
        assert_non_null(strstr(info->reason, "signal 9"));
        assert_true(w.end.restarts && !w.end.asked && w.end.exit_code == -1);
        int64_t delay = supervisor_deadline_us(w.supervisor) - w.now_us;
        assert_true(delay >= S / 2 && delay <= 30 * S * 5 / 4);
        if (i > 1 && i < 6)
            assert_true(delay > before);
        before = delay;
        supervisor_tick(w.supervisor, w.now_us + delay - 1);
        assert_int_equal(info->pid, 0); /* not before its time */
        w.now_us += delay;
        supervisor_tick(w.supervisor, w.now_us);
        assert_true(info->pid > 0);
        /* A new incarnation, the old one's messages are not known any more. */
        assert_null(supervisor_by_id(w.supervisor, id, strlen(id)));
    }
    assert_true(before >= 30 * S);
    /* A minute of health: from the beginning. */
    supervisor_hello(w.supervisor, "camera/gate");
    w.now_us += 61 * S;
    let_end(&w, "camera/gate");
    assert_true(supervisor_deadline_us(w.supervisor) - w.now_us < S);
    tear_down(&w);
}

static void incurable(void **state)
{
    (void)state;
    World w;
    set_up(&w, "exit 66");
    start(&w, "camera/gate", false);
    supervisor_explain(w.supervisor, "camera/gate", "/nowhere.mp4: no such file");
    let_end(&w, "camera/gate");
    const WorkerInfo *info = supervisor_by_name(w.supervisor, "camera/gate");
    assert_int_equal(info->state, WORKER_FAILED);
    assert_string_equal(info->reason, "/nowhere.mp4: no such file");
    assert_int_equal(supervisor_deadline_us(w.supervisor) - w.now_us, 60 * S);
    w.now_us += 60 * S;
    supervisor_tick(w.supervisor, w.now_us);
    let_end(&w, "camera/gate");
    assert_string_equal(info->reason, "ended with exit code 66 (EX_NOINPUT: no such input)");
    tear_down(&w);
}

static void no_program(void **state)
{
    (void)state;
    World w;
    set_up(&w, "exit 0");
    unlink(w.script);
    start(&w, "analyst/0", false);
    const WorkerInfo *info = supervisor_by_name(w.supervisor, "analyst/0");
    assert_int_equal(info->state, WORKER_FAILED);
    assert_non_null(strstr(info->reason, w.script));
    assert_int_equal(w.ended, 1);
    start(&w, "archive/gate", true); /* forgotten at once */
    assert_null(supervisor_by_name(w.supervisor, "archive/gate"));
    tear_down(&w);
}

static void finishes(void **state)
{
    (void)state;
    World w;
    set_up(&w, "exit 0");
    start(&w, "camera/yard", false);
    const WorkerInfo *info = supervisor_by_name(w.supervisor, "camera/yard");
    supervisor_finished(w.supervisor, "camera/yard");
    let_end(&w, "camera/yard");
    assert_int_equal(info->state, WORKER_FINISHED);
    assert_int_equal(info->restarts, 0);
    assert_true(supervisor_deadline_us(w.supervisor) == INT64_MAX);

    /* Its last word is read after its exit was seen. */
    supervisor_restart(w.supervisor, "camera/yard", w.now_us);
    supervisor_tick(w.supervisor, w.now_us);
    let_end(&w, "camera/yard");
    assert_int_equal(info->state, WORKER_BACKING_OFF);
    supervisor_finished(w.supervisor, "camera/yard");
    assert_int_equal(info->state, WORKER_FINISHED);
    assert_int_equal(info->restarts, 0);
    assert_string_equal(info->reason, "");
    tear_down(&w);
}

static void stops(void **state)
{
    (void)state;
    World w;
    set_up(&w, "exec sleep 1000");
    start(&w, "camera/gate", false);
    supervisor_stop(w.supervisor, "camera/gate", w.now_us); /* no hello: SIGTERM */
    assert_int_equal(w.told, 0);
    let_end(&w, "camera/gate");
    assert_true(w.end.asked && !w.end.restarts);
    assert_string_equal(w.reason, "");
    assert_null(supervisor_by_name(w.supervisor, "camera/gate"));

    start(&w, "camera/gate", false);
    supervisor_hello(w.supervisor, "camera/gate");
    w.can_tell = true;
    supervisor_stop(w.supervisor, "camera/gate", w.now_us); /* told, but it does not listen */
    assert_int_equal(w.told, 1);
    assert_int_equal(supervisor_deadline_us(w.supervisor) - w.now_us, 5 * S);
    assert_true(supervisor_any_process(w.supervisor));
    w.now_us += 5 * S;
    supervisor_tick(w.supervisor, w.now_us); /* SIGKILL */
    let_end(&w, "camera/gate");
    assert_false(supervisor_any_process(w.supervisor));
    assert_int_equal(supervisor_count(w.supervisor), 0);
    tear_down(&w);
}

static void starts_again_while_stopping(void **state)
{
    (void)state;
    World w;
    set_up(&w, "exec sleep 1000");
    start(&w, "camera/gate", false);
    supervisor_stop(w.supervisor, "camera/gate", w.now_us);
    start(&w, "camera/gate", false); /* the config brought it back */
    let_end(&w, "camera/gate");
    const WorkerInfo *info = supervisor_by_name(w.supervisor, "camera/gate");
    assert_non_null(info);
    assert_true(w.end.restarts);
    supervisor_tick(w.supervisor, w.now_us);
    assert_true(info->pid > 0);
    assert_int_equal(info->restarts, 0); /* asked for: no fault to count */
    supervisor_stop_all(w.supervisor, w.now_us);
    let_end(&w, "camera/gate");
    assert_int_equal(supervisor_count(w.supervisor), 0);
    tear_down(&w);
}

/* It had finished and was on its way out when it was wanted again. */
static void starts_again_after_finishing(void **state)
{
    (void)state;
    World w;
    set_up(&w, "exit 0");
    start(&w, "camera/yard", false);
    supervisor_finished(w.supervisor, "camera/yard");
    await_death(&w, "camera/yard"); /* its SIGCHLD is still to be read */
    supervisor_stop(w.supervisor, "camera/yard", w.now_us);
    start(&w, "camera/yard", false);
    let_end(&w, "camera/yard");
    assert_true(w.end.restarts);
    supervisor_tick(w.supervisor, w.now_us);
    const WorkerInfo *info = supervisor_by_name(w.supervisor, "camera/yard");
    assert_non_null(info);
    assert_true(info->pid > 0);
    let_end(&w, "camera/yard");
    assert_int_equal(info->state, WORKER_BACKING_OFF); /* it did not finish this time */
    tear_down(&w);
}

static void once(void **state)
{
    (void)state;
    World w;
    set_up(&w, "exit 75");
    start(&w, "archive/gate", true);
    let_end(&w, "archive/gate");
    assert_int_equal(w.end.exit_code, 75);
    assert_false(w.end.restarts);
    assert_string_equal(w.name, "archive/gate");
    assert_null(supervisor_by_name(w.supervisor, "archive/gate"));
    tear_down(&w);
}

/* What a child inherits: the arguments, no descriptor, no blocked signal. */
static void child_is_clean(void **state)
{
    (void)state;
    World w;
    set_up(&w, "[ \"$1 $2 $3\" = '--connect ipc:///nowhere --id' ] || exit 1\n"
               "case $4 in camera/gate/*) ;; *) exit 2 ;; esac\n"
               "[ \"$5 $6\" = '--log-level error' ] || exit 3\n"
               "grep -q '^SigBlk:.0*$' /proc/self/status || exit 4\n"
               "[ ! -e /proc/$$/fd/57 ] || exit 5\nexit 42");
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &old);
    int leak = fcntl(STDERR_FILENO, F_DUPFD, 57);
    assert_int_equal(leak, 57);
    start(&w, "camera/gate", false);
    let_end(&w, "camera/gate");
    assert_int_equal(w.end.exit_code, 42);
    close(leak);
    sigprocmask(SIG_SETMASK, &old, NULL);
    tear_down(&w);
}

static void long_names(void **state)
{
    (void)state;
    World w;
    set_up(&w, "exec sleep 1000");
    char a[WORKER_NAME_BYTES] = "archive/", b[WORKER_NAME_BYTES];
    memset(a + strlen(a), 'n', 63);
    memcpy(b, a, sizeof b);
    b[70] = 'm';
    start(&w, a, false);
    start(&w, b, false);
    const WorkerInfo *x = supervisor_by_name(w.supervisor, a);
    const WorkerInfo *y = supervisor_by_name(w.supervisor, b);
    assert_true(strlen(x->id) <= 64 && strlen(y->id) <= 64);
    assert_string_not_equal(x->id, y->id);
    assert_ptr_equal(supervisor_by_id(w.supervisor, y->id, strlen(y->id)), y);
    tear_down(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backs_off),
        cmocka_unit_test(incurable),
        cmocka_unit_test(no_program),
        cmocka_unit_test(finishes),
        cmocka_unit_test(stops),
        cmocka_unit_test(starts_again_while_stopping),
        cmocka_unit_test(starts_again_after_finishing),
        cmocka_unit_test(once),
        cmocka_unit_test(child_is_clean),
        cmocka_unit_test(long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

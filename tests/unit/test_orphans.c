/* Processes of an earlier whend: those on the list end, whatever they do; others are left alone. */
#include "daemon/orphans.h"

#include "base/clock.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/when_orphansXXXXXX";
static char path[64];

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/workers", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

/* A child that sleeps; deaf: SIGTERM does not end it. Returns when that is so. */
static pid_t child(bool deaf)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (deaf)
            signal(SIGTERM, SIG_IGN);
        ssize_t written = write(ready[1], "x", 1);
        (void)written;
        for (;;)
            pause();
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void expect_ended_by(pid_t pid, int signal)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), signal);
}

static void all_end(void **state)
{
    (void)state;
    pid_t pids[] = {child(false), child(true), child(false)};
    orphans_store(path, pids, 2); /* the third is nobody's orphan */
    assert_int_equal(orphans_end(path, US_PER_S / 5), 2);
    expect_ended_by(pids[0], SIGTERM);
    expect_ended_by(pids[1], SIGKILL);
    assert_int_equal(orphans_end(path, US_PER_S / 5), 0); /* gone */
    assert_int_equal(kill(pids[2], 0), 0);
    kill(pids[2], SIGKILL);
    expect_ended_by(pids[2], SIGKILL);
}

static void another_process(void **state)
{
    (void)state;
    /* The pid was given to somebody else since: it began at another time. */
    pid_t pid = child(false);
    FILE *file = fopen(path, "w");
    fprintf(file, "%ld 12345\n1 1\n-1 7\n0 0\n", (long)pid);
    fclose(file);
    assert_int_equal(orphans_end(path, US_PER_S / 5), 0);
    assert_int_equal(kill(pid, 0), 0);
    kill(pid, SIGKILL);
    expect_ended_by(pid, SIGKILL);
}

static void no_list(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(orphans_end(path, US_PER_S), 0);
    FILE *file = fopen(path, "w");
    fputs("nonsense \x01\xff", file);
    fclose(file);
    assert_int_equal(orphans_end(path, US_PER_S), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_end), cmocka_unit_test(another_process),
                                       cmocka_unit_test(no_list)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

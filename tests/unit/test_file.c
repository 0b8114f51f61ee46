/* base/file: bounds, atomic replacement, the lock of a state directory. */
#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/when-file-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static void replaces_and_reads(void **state)
{
    (void)state;
    _cleanup_free_ char *path = file_join(dir, "fact");
    Error err = {0};
    assert_int_equal(file_replace(path, "first", 5, &err), 0);
    assert_int_equal(file_replace(path, "second", 6, &err), 0);
    _cleanup_free_ char *data = NULL;
    size_t size = 0;
    assert_int_equal(file_read(path, 6, &data, &size, &err), 0);
    assert_int_equal(size, 6);
    assert_string_equal(data, "second");
    assert_int_equal(file_read(path, 5, &data, &size, &err), -EFBIG);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_non_null(strstr(err.text, path));
    error_clear(&err);
    assert_int_equal(file_read(dir, 100, &data, &size, &err), -EINVAL);
    error_clear(&err);
    assert_int_equal(file_read("/nonexistent/x", 100, &data, &size, &err), -ENOENT);
    assert_int_equal(err.exit_code, EX_NOINPUT);
    error_clear(&err);
    assert_true(file_replace("/nonexistent/x", "y", 1, &err) < 0);
    assert_int_equal(err.exit_code, EX_CANTCREAT);
}

static void makes_directories(void **state)
{
    (void)state;
    _cleanup_free_ char *path = file_join(dir, "a/b/c");
    Error err = {0};
    assert_int_equal(file_make_dir(path, &err), 0);
    assert_int_equal(file_make_dir(path, &err), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    _cleanup_free_ char *file = file_join(dir, "plain");
    assert_int_equal(file_replace(file, "", 0, &err), 0);
    assert_true(file_make_dir(file, &err) < 0);
    assert_int_equal(err.exit_code, EX_CANTCREAT);
}

static void one_owner(void **state)
{
    (void)state;
    Error err = {0};
    int fd = file_lock_dir(dir, &err);
    assert_true(fd >= 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        Error mine = {0};
        int r = file_lock_dir(dir, &mine);
        char pid[24];
        snprintf(pid, sizeof pid, "pid %ld", (long)getppid());
        _exit(r == -EBUSY && mine.exit_code == EX_TEMPFAIL && strstr(mine.text, pid) ? 0 : 1);
    }
    int status;
    assert_true(waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
    close(fd);
    fd = file_lock_dir(dir, &err);
    assert_true(fd >= 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaces_and_reads),
        cmocka_unit_test(makes_directories),
        cmocka_unit_test(one_owner),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

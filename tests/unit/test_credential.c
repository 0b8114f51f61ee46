/* Secrets: where they come from, who may read them, and that no error repeats them. */
#include "config/credential.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/when-credential-XXXXXX";

static void write_secret(const char *name, const char *text, size_t bytes, mode_t mode)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, bytes, f), bytes);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static void expect(const char *name, int errnum, int exit_code, const char *words)
{
    Credential credential;
    Error err = {0};
    assert_int_equal(credential_read_from(dir, name, 0, &credential, &err), -errnum);
    assert_int_equal(err.exit_code, exit_code);
    if (!strstr(err.text, words) || strstr(err.text, "geheim"))
        fail_msg("%s", err.text);
    assert_null(credential.user);
}

static void test_read(void **state)
{
    (void)state;
    Credential credential;
    Error err = {0};
    write_secret("gate", "admin:ge:heim\n", 14, 0600);
    assert_int_equal(credential_read_from(dir, "gate", 0, &credential, &err), 0);
    assert_string_equal(credential.user, "admin");
    assert_string_equal(credential.password, "ge:heim");
    credential_deinit(&credential);
    write_secret("bare", "u:", 2, 0400);
    assert_int_equal(credential_read_from(dir, "bare", 0, &credential, &err), 0);
    assert_string_equal(credential.password, "");
    credential_deinit(&credential);
    credential_deinit(&credential);
}

static void test_refusals(void **state)
{
    (void)state;
    static char large[CREDENTIAL_MAX_BYTES + 10];
    memset(large, 'x', sizeof(large));
    large[3] = ':';
    write_secret("open", "u:geheim", 8, 0640);
    write_secret("nocolon", "geheim", 6, 0600);
    write_secret("nouser", ":geheim", 7, 0600);
    write_secret("lines", "u:geheim\nmore", 13, 0600);
    write_secret("nul", "u:geh\0eim", 9, 0600);
    write_secret("empty", "", 0, 0600);
    write_secret("large", large, sizeof(large), 0600);
    expect("nobody", ENOENT, EX_NOINPUT, "mode 0600");
    expect("open", EACCES, EX_NOPERM, "chmod 0600");
    expect("nocolon", EINVAL, EX_DATAERR, "user:password");
    expect("nouser", EINVAL, EX_DATAERR, "user:password");
    expect("lines", EINVAL, EX_DATAERR, "user:password");
    expect("nul", EINVAL, EX_DATAERR, "user:password");
    expect("empty", EINVAL, EX_DATAERR, "user:password");
    expect("large", EFBIG, EX_DATAERR, "more than");
    expect("../gate", EINVAL, EX_CONFIG, "not a name");
    expect("", EINVAL, EX_CONFIG, "empty name");
}

static void test_environment(void **state)
{
    (void)state;
    Credential credential;
    Error err = {0};
    write_secret("unit", "a:b\n", 4, 0444); /* systemd guards its own folder */
    setenv("CREDENTIALS_DIRECTORY", dir, 1);
    assert_int_equal(credential_read("unit", &credential, &err), 0);
    assert_string_equal(credential.user, "a");
    credential_deinit(&credential);
    assert_int_equal(credential_read("no-such-credential", &credential, &err), -ENOENT);
    assert_non_null(strstr(err.text, CREDENTIAL_DIRECTORY));
    unsetenv("CREDENTIALS_DIRECTORY");
}

static int remove_all(void **state)
{
    (void)state;
    char command[80];
    snprintf(command, sizeof(command), "rm -r '%s'", dir);
    return system(command);
}

int main(void)
{
    if (!mkdtemp(dir))
        return EX_OSERR;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_environment),
    };
    return cmocka_run_group_tests(tests, NULL, remove_all);
}

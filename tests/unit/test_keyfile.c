/* config/keyfile: what is written comes back; what is open to others or damaged is refused. */
#include "config/keyfile.h"

#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#define A "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define B "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"

static void refused(Scratch *s, const char *text, int exit_code)
{
    KeyFile keys;
    Error err = {0};
    scratch_write_text(s, "k", text);
    chmod(scratch_path(s, "k"), 0600);
    assert_true(keyfile_read(scratch_path(s, "k"), &keys, &err) < 0);
    assert_int_equal(err.exit_code, exit_code);
    assert_null(strstr(err.text, A));
    assert_null(strstr(err.text, B));
    assert_int_equal(keys.secret_key[0], 0);
    unlink(scratch_path(s, "k"));
}

static void round_trip(void **state)
{
    (void)state;
    Scratch s;
    scratch_init(&s);
    KeyFile keys = {A, B, ""}, read;
    Error err = {0};
    assert_int_equal(keyfile_write(scratch_path(&s, "k"), &keys, &err), 0);
    struct stat st;
    assert_int_equal(stat(scratch_path(&s, "k"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(keyfile_read(scratch_path(&s, "k"), &read, &err), 0);
    assert_memory_equal(&keys, &read, sizeof keys);
    assert_true(keyfile_write(scratch_path(&s, "k"), &keys, &err) < 0); /* never overwritten */
    assert_int_equal(err.exit_code, EX_CANTCREAT);
    memcpy(keys.server_key, A, sizeof A);
    assert_int_equal(keyfile_write(scratch_path(&s, "c"), &keys, NULL), 0);
    assert_int_equal(keyfile_read(scratch_path(&s, "c"), &read, NULL), 0);
    assert_memory_equal(&keys, &read, sizeof keys);
    keyfile_forget(&read);
    assert_int_equal(read.secret_key[0], 0);
    error_clear(&err);
    chmod(scratch_path(&s, "c"), 0640);
    assert_true(keyfile_read(scratch_path(&s, "c"), &read, &err) < 0);
    assert_int_equal(err.exit_code, EX_NOPERM);
    error_clear(&err);
    assert_true(keyfile_read(scratch_path(&s, "none"), &read, &err) < 0);
    assert_int_equal(err.exit_code, EX_NOINPUT);
    scratch_deinit(&s);
}

static void damaged(void **state)
{
    (void)state;
    Scratch s;
    scratch_init(&s);
    refused(&s, "", EX_DATAERR);
    refused(&s, "public " A "\n", EX_DATAERR);
    refused(&s, "public " A "\nsecret " B "x\n", EX_DATAERR);
    refused(&s, "public " A "\nsecret short\n", EX_DATAERR);
    refused(&s, "public " A "\npublic " A "\nsecret " B "\n", EX_DATAERR);
    refused(&s, "public " A "\nsecret " B "\nother " B "\n", EX_DATAERR);
    refused(
        &s,
        "public \"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\n",
        EX_DATAERR);
    scratch_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

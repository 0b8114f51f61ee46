/* .npy files: written and read back, and damaged in every byte of the header. */
#include "model/npy.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_round_trip(void **state)
{
    (void)state;
    Scratch scratch;
    Npy npy;
    const float values[6] = {1, -2.5f, 3e30f, 0, 4, 5};
    const size_t shape[2] = {2, 3};
    scratch_init(&scratch);
    assert_int_equal(npy_write(scratch_path(&scratch, "a.npy"), NPY_F32, 2, shape, values, NULL),
                     0);
    assert_int_equal(npy_read(scratch.path, 1 << 20, &npy, NULL), 0);
    assert_int_equal(npy.type, NPY_F32);
    assert_int_equal(npy.n_dims, 2);
    assert_int_equal(npy.shape[0], 2);
    assert_int_equal(npy.shape[1], 3);
    assert_memory_equal(npy.data, values, sizeof values);
    npy_deinit(&npy);
    const uint8_t one = 7; /* no dimensions: one value; a dimension of 0: none */
    assert_int_equal(npy_write(scratch.path, NPY_U8, 0, NULL, &one, NULL), 0);
    assert_int_equal(npy_read(scratch.path, 1 << 20, &npy, NULL), 0);
    assert_int_equal(npy.n, 1);
    npy_deinit(&npy);
    assert_int_equal(npy_write(scratch.path, NPY_I64, 1, (size_t[]){0}, &one, NULL), 0);
    assert_int_equal(npy_read(scratch.path, 1 << 20, &npy, NULL), 0);
    assert_int_equal(npy.n, 0);
    npy_deinit(&npy);
    scratch_deinit(&scratch);
}

static size_t make(char *out, const char *header, size_t n_data)
{
    size_t n = strlen(header);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)n;
    out[9] = (char)(n >> 8);
    memcpy(out + 10, header, n);
    memset(out + 10 + n, 1, n_data);
    return 10 + n + n_data;
}

static int parse(const char *header, size_t n_data)
{
    char bytes[512];
    Npy npy;
    Error err = {0};
    size_t n = make(bytes, header, n_data);
    int r = npy_parse("x.npy", bytes, n, &npy, &err);
    if (r < 0) {
        assert_int_equal(err.exit_code, EX_DATAERR);
        assert_non_null(strstr(err.text, "x.npy"));
    }
    npy_deinit(&npy);
    return r;
}

#define HEADER(descr, order, shape)                                                                \
    "{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }\n"

static void test_refused(void **state)
{
    (void)state;
    assert_int_equal(parse(HEADER("<f4", "False", "(2, 2)"), 16), 0);
    assert_int_equal(parse(HEADER("|u1", "False", "()"), 1), 0);
    assert_int_equal(parse(HEADER("<f4", "False", "(2, 2)"), 15), -EINVAL);
    assert_int_equal(parse(HEADER("<f4", "False", "(2, 2)"), 17), -EINVAL);
    assert_int_equal(parse(HEADER("<f4", "True", "(2, 2)"), 16), -EINVAL);
    assert_int_equal(parse(HEADER(">f4", "False", "(2, 2)"), 16), -EINVAL);
    assert_int_equal(parse(HEADER("<c8", "False", "(2, 2)"), 32), -EINVAL);
    assert_int_equal(parse(HEADER("<f4", "False", "(-1, 2)"), 0), -EINVAL);
    assert_int_equal(parse(HEADER("<f4", "False", "(2, 2"), 16), -EINVAL);
    assert_int_equal(parse(HEADER("<f4", "False", "(4294967296, 4294967296)"), 0), -EINVAL);
    assert_int_equal(parse(HEADER("<f4", "False", "(99999999999999999999999,)"), 0), -EINVAL);
    assert_int_equal(parse(HEADER("<f4", "False", "(1,1,1,1,1,1,1,1,1)"), 4), -EINVAL);
    assert_int_equal(parse("{}", 0), -EINVAL);
}

/* Every header, cut anywhere and with every byte changed, on the heap at its exact size. */
static void test_damage(void **state)
{
    (void)state;
    char good[512];
    size_t n = make(good, HEADER("<f4", "False", "(2, 2)"), 16);
    for (size_t cut = 0; cut < n; cut++) {
        Npy npy;
        char *bytes = malloc(cut ? cut : 1);
        memcpy(bytes, good, cut);
        assert_int_equal(npy_parse("x", bytes, cut, &npy, NULL), -EINVAL);
        free(bytes);
    }
    for (size_t i = 0; i < n - 16; i++)
        for (int value = 0; value < 256; value++) {
            Npy npy;
            char *bytes = malloc(n);
            memcpy(bytes, good, n);
            bytes[i] = (char)value;
            if (npy_parse("x", bytes, n, &npy, NULL) == 0)
                npy_deinit(&npy);
            free(bytes);
        }
}

static void test_missing_and_too_long(void **state)
{
    (void)state;
    Scratch scratch;
    Npy npy;
    Error err = {0};
    scratch_init(&scratch);
    assert_int_equal(npy_read(scratch_path(&scratch, "no.npy"), 100, &npy, &err), -ENOENT);
    assert_int_equal(err.exit_code, EX_NOINPUT);
    error_clear(&err);
    const float values[64] = {0};
    assert_int_equal(
        npy_write(scratch_path(&scratch, "a.npy"), NPY_F32, 1, (size_t[]){64}, values, NULL), 0);
    assert_int_equal(npy_read(scratch.path, 100, &npy, &err), -EFBIG);
    scratch_deinit(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_missing_and_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

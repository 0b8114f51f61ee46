/* safetensors: names, shards, conversion, and headers damaged in every way. */
#include "base/mem.h"
#include "model/safetensors.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A file of this header and n_data bytes 0, 1, 2, ...; the caller frees. */
static unsigned char *make(const char *header, size_t n_data, size_t *size)
{
    size_t n = strlen(header);
    unsigned char *bytes = malloc(8 + n + n_data);
    *size = 8 + n + n_data;
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + n + i] = (unsigned char)i;
    return bytes;
}

static int check(const char *header, size_t n_data, const char *reason)
{
    size_t size;
    Error err = {0};
    unsigned char *bytes = make(header, n_data, &size);
    int r = safetensors_check_bytes("x.safetensors", bytes, size, &err);
    if (r < 0 && (!reason || !strstr(err.text, reason) || !strstr(err.text, "x.safetensors")))
        fail_msg("\"%s\" does not say %s", err.text, reason ? reason : "(should be good)");
    free(bytes);
    return r;
}

#define T(name, dtype, shape, begin, end)                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end \
    "]}"

static void test_headers(void **state)
{
    (void)state;
    assert_int_equal(check("{}", 0, NULL), 0);
    assert_int_equal(check("{" T("a", "F32", "[2]", 0, 8) "}", 8, NULL), 0);
    assert_int_equal(check("{\"__metadata__\":{\"x\":\"y\"}," T("b", "BF16", "[1,2]", 8, 12) "," T(
                               "a", "F32", "[2]", 0, 8) "}",
                           12, NULL),
                     0);
    assert_int_equal(check("{" T("a", "F32", "[]", 0, 4) "}", 4, NULL), 0);
    assert_int_equal(check("{" T("a", "F32", "[0,5]", 0, 0) "}", 0, NULL), 0);
    static const struct {
        const char *header;
        size_t n_data;
        const char *reason;
    } BAD[] = {
        {"[]", 0, "no JSON object"},
        {"{\"a\":", 0, "no JSON object"},
        {"{" T("a", "F32", "[2]", 0, 8) "}", 7, "beyond the end"},
        {"{" T("a", "F32", "[2]", 0, 8) "}", 9, "behind the last"},
        {"{" T("a", "F32", "[3]", 0, 8) "}", 8, "length does not fit"},
        {"{" T("a", "F32", "[2]", 8, 0) "}", 8, "out of order"},
        {"{" T("a", "F32", "[2]", -8, 0) "}", 8, "out of order"},
        {"{" T("a", "F32", "[-2]", 0, 8) "}", 8, "out of range"},
        {"{" T("a", "F32", "[1.5]", 0, 8) "}", 8, "out of range"},
        {"{" T("a", "F32", "[4294967296,4294967296,4]", 0, 8) "}", 8, "out of range"},
        {"{" T("a", "F32", "[9223372036854775807]", 0, 8) "}", 8, "length does not fit"},
        {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,2]", 0, 8) "}", 8, "8 dimensions"},
        {"{" T("a", "I64", "[1]", 0, 8) "}", 8, "I64"},
        {"{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 4, 12) "}", 12, "overlaps"},
        {"{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 12, 20) "}", 20, "hole"},
        {"{" T("a", "F32", "[2]", 0, 8) "," T("a", "F32", "[2]", 8, 16) "}", 16, "no JSON"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "missing"},
        {"{\"a\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "missing"},
        {"{\"a\":7}", 0, "missing"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        assert_true(check(BAD[i].header, BAD[i].n_data, BAD[i].reason) < 0);
}

static void test_lengths_and_cuts(void **state)
{
    (void)state;
    size_t size;
    unsigned char *good = make("{" T("a", "F32", "[2]", 0, 8) "}", 8, &size);
    for (size_t cut = 0; cut < size; cut++) {
        unsigned char *bytes = malloc(cut ? cut : 1);
        memcpy(bytes, good, cut);
        assert_true(safetensors_check_bytes("x", bytes, cut, NULL) < 0);
        free(bytes);
    }
    static const uint64_t LENGTHS[] = {0, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63, 1 << 30};
    for (size_t i = 0; i < 5; i++) {
        for (size_t b = 0; b < 8; b++)
            good[b] = (unsigned char)(LENGTHS[i] >> (8 * b));
        assert_true(safetensors_check_bytes("x", good, size, NULL) < 0);
    }
    free(good);
}

static void test_every_byte_changed(void **state)
{
    (void)state;
    size_t size;
    unsigned char *good =
        make("{" T("a", "F32", "[2]", 0, 8) "," T("b", "F16", "[2]", 8, 12) "}", 12, &size);
    for (size_t i = 0; i < size - 12; i++)
        for (unsigned value = 0; value < 256; value += 7) {
            unsigned char *bytes = malloc(size);
            memcpy(bytes, good, size);
            bytes[i] = (unsigned char)value;
            (void)safetensors_check_bytes("x", bytes, size, NULL);
            free(bytes);
        }
    free(good);
}

static void write_file(Scratch *scratch, const char *name, const char *header, const void *data,
                       size_t n_data)
{
    size_t size;
    unsigned char *bytes = make(header, n_data, &size);
    memcpy(bytes + size - n_data, data, n_data);
    scratch_write(scratch, name, bytes, size);
    free(bytes);
}

static void test_names_of_all_layouts(void **state)
{
    (void)state;
    Scratch scratch;
    Safetensors *s;
    const Tensor *t;
    const float data[6] = {0, 1, 2, 3, 4, 5};
    scratch_init(&scratch);
    write_file(&scratch, "model.safetensors",
               "{" T("model.language_model.norm.weight", "F32", "[1]", 0, 4) "," T(
                   "model.visual.merger.x", "F32", "[1]", 4,
                   8) "," T("lm_head.weight", "F32", "[1]", 8,
                            12) "," T("model.layers.0.x", "F32", "[1]", 12,
                                      16) "," T("visual.y", "F32", "[1]", 16,
                                                20) "," T("base_model.model.model.layers.1.x",
                                                          "F32", "[1]", 20, 24) "}",
               data, sizeof data);
    assert_int_equal(safetensors_open(scratch.dir, "model", &s, NULL), 0);
    assert_int_equal(safetensors_count(s), 6);
    static const char *const NAMES[] = {"model.norm.weight", "visual.merger.x", "lm_head.weight",
                                        "model.layers.0.x",  "visual.y",        "model.layers.1.x"};
    for (size_t i = 0; i < 6; i++) {
        float value;
        assert_int_equal(safetensors_find(s, NAMES[i], &t), 0);
        tensor_to_f32(t, 0, 1, &value);
        assert_true(value == data[i]);
        assert_non_null(strstr(t->file, "model.safetensors"));
    }
    assert_int_equal(safetensors_find(s, "nothing", &t), SAFETENSORS_NONE);
    safetensors_free(s);
    /* The same tensor under two names. */
    Error err = {0};
    write_file(&scratch, "model.safetensors",
               "{" T("model.language_model.norm.weight", "F32", "[1]", 0,
                     4) "," T("model.norm.weight", "F32", "[1]", 4, 8) "}",
               data, 8);
    assert_true(safetensors_open(scratch.dir, "model", &s, &err) < 0);
    assert_non_null(strstr(err.text, "twice"));
    scratch_deinit(&scratch);
}

static void test_need(void **state)
{
    (void)state;
    Scratch scratch;
    Safetensors *s;
    const Tensor *t;
    const float data[12] = {0};
    scratch_init(&scratch);
    write_file(&scratch, "model.safetensors", "{" T("p", "F32", "[2,3,1,2]", 0, 48) "}", data,
               sizeof data);
    assert_int_equal(safetensors_open(scratch.dir, "model", &s, NULL), 0);
    const int64_t whole[] = {2, 3, 1, 2}, folded[] = {2, 6}, wrong[] = {2, 5},
                  more[] = {2, 3, 2, 1}, one[] = {12};
    assert_int_equal(safetensors_need(s, "p", 4, whole, &t, NULL), 0);
    assert_int_equal(safetensors_need(s, "p", 2, folded, &t, NULL), 0);
    assert_int_equal(safetensors_need(s, "p", 1, one, &t, NULL), 0);
    Error err = {0};
    assert_int_equal(safetensors_need(s, "p", 2, wrong, &t, &err), -EINVAL);
    assert_non_null(strstr(err.text, "[2, 3, 1, 2]"));
    assert_non_null(strstr(err.text, "[2, 5]"));
    assert_int_equal(safetensors_need(s, "p", 4, more, &t, NULL), -EINVAL);
    error_clear(&err);
    assert_int_equal(safetensors_need(s, "q", 2, folded, &t, &err), -EINVAL);
    assert_non_null(strstr(err.text, "q [2, 6] is missing"));
    safetensors_free(s);
    scratch_deinit(&scratch);
}

static void test_shards(void **state)
{
    (void)state;
    Scratch scratch;
    Safetensors *s;
    Error err = {0};
    const float data[2] = {7, 8};
    scratch_init(&scratch);
    assert_int_equal(safetensors_open(scratch.dir, "model", &s, &err), -ENOENT);
    assert_int_equal(err.exit_code, EX_NOINPUT);
    write_file(&scratch, "model-1.safetensors", "{" T("a", "F32", "[1]", 0, 4) "}", data, 4);
    write_file(&scratch, "model-2.safetensors", "{" T("b", "F32", "[1]", 0, 4) "}", data + 1, 4);
    scratch_write_text(&scratch, "model.safetensors.index.json",
                       "{\"weight_map\":{\"a\":\"model-1.safetensors\",\"b\":"
                       "\"model-2.safetensors\"}}");
    assert_int_equal(safetensors_open(scratch.dir, "model", &s, NULL), 0);
    assert_int_equal(safetensors_count(s), 2);
    assert_string_equal(safetensors_at(s, 1)->name, "b");
    safetensors_free(s);
    static const char *const BAD[] = {"{}",
                                      "[",
                                      "{\"weight_map\":{\"a\":\"../x.safetensors\"}}",
                                      "{\"weight_map\":{\"a\":\"/etc/passwd\"}}",
                                      "{\"weight_map\":{\"a\":7}}",
                                      "{\"weight_map\":{\"a\":\"missing.safetensors\"}}"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        error_clear(&err);
        scratch_write_text(&scratch, "model.safetensors.index.json", BAD[i]);
        assert_true(safetensors_open(scratch.dir, "model", &s, &err) < 0);
        assert_null(s);
        assert_true(err.exit_code != 0);
        if (i >= 2 && i <= 4)
            assert_non_null(strstr(err.text, "plain file name"));
    }
    /* An index that its shards do not bear out: the tensor and the shard are named. */
    static const char *const WRONG[][3] = {
        {"\"a\":\"model-2.safetensors\",\"b\":\"model-1.safetensors\"", "tensor a is not in",
         "model-2.safetensors"},
        {"\"a\":\"model-1.safetensors\",\"b\":\"model-2.safetensors\","
         "\"c\":\"model-1.safetensors\"",
         "tensor c is not in", "model-1.safetensors"},
        {"\"a\":\"model-1.safetensors\",\"c\":\"model-2.safetensors\"", "tensor c is not in",
         "model-2.safetensors"},
        {"\"a\":\"model-1.safetensors\",\"b\":\"model-2.safetensors\","
         "\"b\":\"model-2.safetensors\"",
         "weight_map", "index.json"},
        {"\"a\":\"model-3.safetensors\"", "tensor b is not listed", "model-3.safetensors"},
    };
    const char both[] = "{" T("a", "F32", "[1]", 0, 4) "," T("b", "F32", "[1]", 4, 8) "}";
    write_file(&scratch, "model-3.safetensors", both, data, 8);
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"weight_map\":{%s}}", WRONG[i][0]);
        error_clear(&err);
        scratch_write_text(&scratch, "model.safetensors.index.json", text);
        assert_true(safetensors_open(scratch.dir, "model", &s, &err) < 0);
        assert_int_equal(err.exit_code, EX_DATAERR);
        if (!strstr(err.text, WRONG[i][1]) || !strstr(err.text, WRONG[i][2]))
            fail_msg("\"%s\" does not say %s, %s", err.text, WRONG[i][1], WRONG[i][2]);
    }
    scratch_deinit(&scratch);
}

static Tensor tensor_of(TensorDtype dtype, const void *data)
{
    return (Tensor){.dtype = dtype, .data = data};
}

static void test_conversion(void **state)
{
    (void)state;
    const uint16_t halves[] = {0x3c00, 0xc000, 0x0001, 0x8400, 0x7bff, 0x7c00, 0x0000, 0x8000};
    const float want[] = {1, -2, 0x1p-24f, -0x1p-14f, 65504, INFINITY, 0, -0.0f};
    float got[8];
    uint16_t rounded[8];
    Tensor t = tensor_of(TENSOR_F16, halves);
    tensor_to_f32(&t, 0, 8, got);
    assert_memory_equal(got, want, sizeof want);
    const uint16_t nan_half = 0x7e01;
    t = tensor_of(TENSOR_F16, &nan_half);
    tensor_to_f32(&t, 0, 1, got);
    assert_true(isnan(got[0]));
    /* Ties go to the even neighbour; NaN does not become infinity. */
    const uint32_t bits[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x7f800001,
                             0x7f7fffff, 0x80000000, 0xff800000, 0x3f807fff};
    const uint16_t to[] = {0x3f80, 0x3f82, 0x3f81, 0x7fc0, 0x7f80, 0x8000, 0xff80, 0x3f80};
    t = tensor_of(TENSOR_F32, bits);
    tensor_to_bf16(&t, 0, 8, rounded);
    assert_memory_equal(rounded, to, sizeof to);
    /* Unaligned, from the middle. */
    unsigned char shifted[17];
    const uint16_t ones[] = {0x3f80, 0x4000, 0x4040, 0x4080};
    memcpy(shifted + 1, ones, sizeof ones);
    t = tensor_of(TENSOR_BF16, shifted + 1);
    tensor_to_f32(&t, 1, 3, got);
    assert_true(got[0] == 2 && got[1] == 3 && got[2] == 4);
    tensor_to_bf16(&t, 3, 1, rounded);
    assert_int_equal(rounded[0], 0x4080);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_lengths_and_cuts),
        cmocka_unit_test(test_every_byte_changed),
        cmocka_unit_test(test_names_of_all_layouts),
        cmocka_unit_test(test_need),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_conversion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

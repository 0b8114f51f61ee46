/* LoRA adapters: pairing, scaling, both ways to name tensors, and what is refused. */
#include "model/lora.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void write_tensors(Scratch *scratch, const char *header, size_t n_floats)
{
    size_t n = strlen(header), size = 8 + n + 4 * n_floats;
    unsigned char *bytes = calloc(1, size);
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, header, n);
    scratch_write(scratch, "adapter_model.safetensors", bytes, size);
    free(bytes);
}

#define T(name, shape, begin, end)                                                                 \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"
#define Q "base_model.model.model.layers.0.self_attn.q_proj"

static const char GOOD[] =
    "{" T(Q ".lora_A.weight", "[4,3]", 0, 48) "," T(Q ".lora_B.weight", "[5,4]", 48, 128) "}";

static int open_with(const char *config, const char *header, size_t n_floats, Lora **lora,
                     Error *err)
{
    Scratch scratch;
    scratch_init(&scratch);
    scratch_write_text(&scratch, "adapter_config.json", config);
    write_tensors(&scratch, header, n_floats);
    int r = lora_open(scratch.dir, lora, err);
    scratch_deinit(&scratch); /* the mapping outlives the files */
    return r;
}

static void test_pairs(void **state)
{
    (void)state;
    Lora *lora;
    const LoraPair *pair;
    assert_int_equal(open_with("{\"peft_type\":\"LORA\",\"lora_alpha\":8}", GOOD, 32, &lora, NULL),
                     0);
    assert_int_equal(lora_count(lora), 1);
    assert_int_equal(lora_find(lora, "model.layers.0.self_attn.q_proj.weight", &pair), 0);
    assert_ptr_equal(pair, lora_at(lora, 0));
    assert_int_equal(pair->r, 4);
    assert_float_equal(pair->scaling, 2, 1e-6);
    assert_int_equal(pair->a->shape[1], 3);
    assert_int_equal(pair->b->shape[0], 5);
    assert_int_equal(lora_find(lora, "model.layers.1.self_attn.q_proj.weight", &pair), LORA_NONE);
    lora_free(lora);
    assert_int_equal(open_with("{\"lora_alpha\":8,\"use_rslora\":true}", GOOD, 32, &lora, NULL), 0);
    assert_float_equal(lora_at(lora, 0)->scaling, 4, 1e-6);
    lora_free(lora);
    assert_int_equal(
        open_with("{\"lora_alpha\":8}",
                  "{" T("base_model.model.model.language_model.layers.7.mlp.up_proj.lora_A."
                        "default.weight",
                        "[1,2]", 0, 8) "," T("base_model.model.model.language_model.layers.7.mlp."
                                             "up_proj.lora_B.default.weight",
                                             "[2,1]", 8, 16) "}",
                  4, &lora, NULL),
        0);
    assert_int_equal(lora_find(lora, "model.layers.7.mlp.up_proj.weight", &pair), 0);
    lora_free(lora);
}

/* What the trainer was told changes nothing; alpha_pattern does, by names and by patterns. */
static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        double scaling; /* r is 4 */
    } CASES[] = {
        {"{\"lora_alpha\":8,\"target_modules\":[\"q_proj\",\"v_proj\"]}", 2},
        {"{\"lora_alpha\":8,\"target_modules\":\"^(?!visual).*q_proj$\",\"r\":64}", 2},
        {"{\"lora_alpha\":8,\"rank_pattern\":{\"q_proj\":4},\"r\":16}", 2},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{}}", 2},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{\"q_proj\":2}}", 0.5},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{\"q_proj\":2},\"use_rslora\":true}", 1},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{\"proj\":2}}", 2},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{\"v_proj\":2,\"self_attn.q_proj\":16}}", 4},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{\"model.layers.0.self_attn.q_proj\":4}}", 1},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{\"model.language_model.layers.0.self_attn.q_proj\":"
         "4}}",
         1},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{\"layers\\\\.\\\\d+\\\\..*(?:q|k)_proj\":4}}", 1},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{\"layers\\\\.1\\\\..*q_proj\":4}}", 2},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        Lora *lora;
        Error err = {0};
        if (open_with(CASES[i].config, GOOD, 32, &lora, &err) < 0)
            fail_msg("%s: %s", CASES[i].config, err.text);
        if (fabs((double)lora_at(lora, 0)->scaling - CASES[i].scaling) > 1e-6)
            fail_msg("%s: scaling %g", CASES[i].config, (double)lora_at(lora, 0)->scaling);
        lora_free(lora);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *config, *header;
        size_t n_floats;
        const char *reason;
    } BAD[] = {
        {"{\"lora_alpha\":8,\"use_dora\":true}", GOOD, 32, "use_dora"},
        {"{\"lora_alpha\":8,\"peft_type\":\"IA3\"}", GOOD, 32, "LORA"},
        {"{\"lora_alpha\":8,\"bias\":\"all\"}", GOOD, 32, "bias"},
        {"{\"lora_alpha\":8,\"modules_to_save\":[\"lm_head\"]}", GOOD, 32, "modules_to_save"},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{\"a\":-2}}", GOOD, 32, "alpha_pattern \"a\""},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{\"(\":2}}", GOOD, 32, "not supported"},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{\"(?=q)q_proj\":2}}", GOOD, 32, "not supported"},
        {"{\"lora_alpha\":8,\"alpha_pattern\":{\"\\\\bq_proj\":2}}", GOOD, 32, "not supported"},
        {"{}", GOOD, 32, "lora_alpha"},
        {"{\"lora_alpha\":-1}", GOOD, 32, "lora_alpha"},
        {"[", GOOD, 32, "adapter_config.json"},
        {"{\"lora_alpha\":8}", "{" T(Q ".lora_A.weight", "[4,3]", 0, 48) "}", 12, "partner"},
        {"{\"lora_alpha\":8}", "{" T(Q ".lora_B.weight", "[4,3]", 0, 48) "}", 12, "partner"},
        {"{\"lora_alpha\":8}", "{" T("x.weight", "[4,3]", 0, 48) "}", 12, "no part"},
        {"{\"lora_alpha\":8}",
         "{" T(Q ".lora_A.weight", "[4,3]", 0, 48) "," T(Q ".lora_B.weight", "[4,5]", 48, 128) "}",
         32, "do not fit"},
        {"{\"lora_alpha\":8}", "{}", 0, "no tensors"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        Lora *lora;
        Error err = {0};
        assert_true(open_with(BAD[i].config, BAD[i].header, BAD[i].n_floats, &lora, &err) < 0);
        assert_null(lora);
        if (!strstr(err.text, BAD[i].reason))
            fail_msg("\"%s\" does not say %s", err.text, BAD[i].reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pairs),
                                       cmocka_unit_test(test_patterns),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

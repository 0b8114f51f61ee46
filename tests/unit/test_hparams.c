/* Model directories: both layouts of config.json, and one wrong value at a time. */
#include "base/str.h"
#include "model/hparams.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define VISION                                                                                     \
    "\"vision_config\":{\"depth\":4,\"hidden_size\":48,\"intermediate_size\":68,\"num_heads\":3,"  \
    "\"in_chans\":3,\"out_hidden_size\":96,\"patch_size\":14,\"spatial_merge_size\":2,"            \
    "\"window_size\":112,\"fullatt_block_indexes\":[1,3],\"tokens_per_second\":2,"                 \
    "\"temporal_patch_size\":2,\"hidden_act\":\"silu\"}"
#define TOKENS "\"image_token_id\":90,\"video_token_id\":91,\"eos_token_id\":94"
#define SIZES                                                                                      \
    "\"hidden_size\":96,\"intermediate_size\":136,\"num_hidden_layers\":4,"                        \
    "\"num_attention_heads\":6,\"num_key_value_heads\":2,\"vocab_size\":100,"                      \
    "\"max_position_embeddings\":1000,\"rms_norm_eps\":1e-05,\"hidden_act\":\"silu\""

static const char FLAT[] =
    "{\"architectures\":[\"Qwen2_5_VLForConditionalGeneration\"],\"model_type\":\"qwen2_5_vl\","
    "\"tie_word_embeddings\":true,\"rope_theta\":500000.0,\"use_sliding_window\":false,"
    "\"rope_scaling\":{\"type\":\"mrope\",\"mrope_section\":[2,3,3]}," SIZES "," TOKENS "," VISION
    "}";
static const char NESTED[] =
    "{\"architectures\":[\"Qwen2_5_VLForConditionalGeneration\"],\"model_type\":\"qwen2_5_vl\","
    "\"tie_word_embeddings\":false,\"text_config\":{\"rope_parameters\":{\"rope_type\":"
    "\"default\",\"rope_theta\":500000.0,\"mrope_section\":[2,3,3]}," SIZES "}," TOKENS "," VISION
    "}";

static Scratch scratch;

static int set_up(void **state)
{
    (void)state;
    scratch_init(&scratch);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_deinit(&scratch);
    return 0;
}

static void expect_sizes(const Hparams *h)
{
    assert_int_equal(h->text.hidden, 96);
    assert_int_equal(h->text.head_dim, 16);
    assert_int_equal(h->text.kv_heads, 2);
    assert_int_equal(h->text.mrope_section[2], 3);
    assert_float_equal(h->text.rope_theta, 500000, 0);
    assert_float_equal(h->text.norm_eps, 1e-5, 1e-9);
    assert_int_equal(h->vision.depth, 4);
    assert_int_equal(h->vision.head_dim, 16);
    assert_false(h->vision.full_attention[0]);
    assert_true(h->vision.full_attention[3]);
    assert_float_equal(h->vision.norm_eps, 1e-6, 1e-12);
    assert_int_equal(h->video_token, 91);
    assert_int_equal(hparams_cell_px(h), 28);
    assert_int_equal(hparams_patch_values(h), 1176);
}

static void test_both_layouts(void **state)
{
    (void)state;
    Hparams h, again;
    scratch_write_text(&scratch, "config.json", FLAT);
    assert_int_equal(hparams_read(scratch.dir, &h, NULL), 0);
    expect_sizes(&h);
    assert_true(h.text.tied);
    assert_int_equal(h.n_eos, 1);
    assert_int_equal(h.eos[0], 94);
    assert_int_equal(h.image.min_pixels, 3136);
    assert_string_equal(h.notice, "");
    scratch_write_text(&scratch, "config.json", NESTED);
    assert_int_equal(hparams_read(scratch.dir, &again, NULL), 0);
    expect_sizes(&again);
    assert_false(again.text.tied);
    assert_true(h.config_hash != again.config_hash);
}

static void test_other_files(void **state)
{
    (void)state;
    Hparams h;
    scratch_write_text(&scratch, "config.json", FLAT);
    scratch_write_text(&scratch, "generation_config.json",
                       "{\"eos_token_id\":[94,95],\"repetition_penalty\":1.05,"
                       "\"whend_notice\":\"knows only\\nits world\"}");
    scratch_write_text(&scratch, "preprocessor_config.json",
                       "{\"min_pixels\":6272,\"max_pixels\":12544,\"image_mean\":[0.5,0.5,0.25],"
                       "\"image_std\":[0.5,0.5,0.125]}");
    scratch_write_text(&scratch, "video_preprocessor_config.json",
                       "{\"size\":{\"shortest_edge\":784,\"longest_edge\":3136}}");
    assert_int_equal(hparams_read(scratch.dir, &h, NULL), 0);
    assert_int_equal(h.n_eos, 2);
    assert_int_equal(h.eos[1], 95);
    assert_float_equal(h.repetition_penalty, 1.05, 1e-6);
    assert_string_equal(h.notice, "knows only its world");
    assert_int_equal(h.image.min_pixels, 6272);
    assert_int_equal(h.video.min_pixels, 784);
    assert_int_equal(h.video.max_pixels, 3136);
    assert_float_equal(h.video.std[2], 0.125, 0);
    static const char *const BAD[][2] = {
        {"generation_config.json", "{\"eos_token_id\":100}"},
        {"generation_config.json", "{\"eos_token_id\":[]}"},
        {"generation_config.json", "{\"repetition_penalty\":0}"},
        {"preprocessor_config.json", "{\"min_pixels\":5,\"max_pixels\":4}"},
        {"preprocessor_config.json", "{\"image_std\":[0.5,0.5,0]}"},
        {"preprocessor_config.json", "{\"image_mean\":[0.5]}"},
        {"preprocessor_config.json", "{\"patch_size\":16}"},
        {"preprocessor_config.json", "["},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        Error err = {0};
        scratch_write_text(&scratch, "generation_config.json", "{}");
        scratch_write_text(&scratch, "preprocessor_config.json", "{}");
        scratch_write_text(&scratch, BAD[i][0], BAD[i][1]);
        assert_true(hparams_read(scratch.dir, &h, &err) < 0);
        assert_int_equal(err.exit_code, EX_DATAERR);
        if (!strstr(err.text, BAD[i][0]))
            fail_msg("\"%s\" does not name %s", err.text, BAD[i][0]);
    }
    unlink(scratch_path(&scratch, "generation_config.json"));
    unlink(scratch_path(&scratch, "preprocessor_config.json"));
    unlink(scratch_path(&scratch, "video_preprocessor_config.json"));
}

static void test_one_wrong_value(void **state)
{
    (void)state;
    static const char *const CHANGES[][3] = {
        {"Qwen2_5_VLForConditionalGeneration", "LlamaForCausalLM", "LlamaForCausalLM"},
        {"\"hidden_size\":96", "\"hidden_size\":97", "hidden"},
        {"\"hidden_size\":96", "\"hidden_size\":-96", "hidden_size"},
        {"\"hidden_size\":96", "\"hidden_size\":\"96\"", "hidden_size"},
        {"\"hidden_size\":96,", "", "hidden_size is missing"},
        {"\"num_hidden_layers\":4", "\"num_hidden_layers\":1000000", "num_hidden_layers"},
        {"\"num_attention_heads\":6", "\"num_attention_heads\":0", "num_attention_heads"},
        {"\"num_key_value_heads\":2", "\"num_key_value_heads\":4", "num_key_value_heads"},
        {"\"vocab_size\":100", "\"vocab_size\":99999999999", "vocab_size"},
        {"\"vocab_size\":100", "\"vocab_size\":91", "video_token_id"},
        {"[2,3,3]", "[2,3,4]", "mrope_section"},
        {"[2,3,3]", "[8,0]", "mrope_section"},
        {"\"type\":\"mrope\"", "\"type\":\"yarn\"", "yarn"},
        {"\"rope_theta\":500000.0", "\"rope_theta\":0", "rope_theta"},
        {"\"rope_scaling\"", "\"rope_missing\"", "rope_scaling"},
        {"\"use_sliding_window\":false", "\"use_sliding_window\":true", "use_sliding_window"},
        {"\"hidden_act\":\"silu\"", "\"hidden_act\":\"gelu\"", "silu"},
        {"\"vision_config\"", "\"other_config\"", "vision_config"},
        {"\"out_hidden_size\":96", "\"out_hidden_size\":95", "out_hidden_size"},
        {"\"num_heads\":3", "\"num_heads\":5", "num_heads"},
        {"\"in_chans\":3", "\"in_chans\":4", "in_chans"},
        {"\"window_size\":112", "\"window_size\":100", "window_size"},
        {"[1,3]", "[1,4]", "fullatt_block_indexes"},
        {"[1,3]", "[-1]", "fullatt_block_indexes"},
        {"\"tokens_per_second\":2", "\"tokens_per_second\":-2", "tokens_per_second"},
        {"\"spatial_merge_size\":2", "\"spatial_merge_size\":0", "spatial_merge_size"},
        {"\"temporal_patch_size\":2", "\"temporal_patch_size\":1", "temporal_patch_size"},
        {"\"image_token_id\":90", "\"image_token_id\":100", "image_token_id"},
        {",\"eos_token_id\":94", "", "eos_token_id"},
        {"\"vocab_size\"", "\"quantization_config\":{},\"vocab_size\"", "quantization_config"},
        {"{\"arch", "{{", "line 1"},
    };
    for (size_t i = 0; i < sizeof CHANGES / sizeof CHANGES[0]; i++) {
        Hparams h;
        Error err = {0};
        Str text = {0};
        const char *at = strstr(FLAT, CHANGES[i][0]);
        assert_non_null(at);
        str_add(&text, FLAT, (size_t)(at - FLAT));
        str_add_text(&text, CHANGES[i][1]);
        str_add_text(&text, at + strlen(CHANGES[i][0]));
        scratch_write(&scratch, "config.json", text.data, text.len);
        if (hparams_read(scratch.dir, &h, &err) == 0)
            fail_msg("%s was taken", CHANGES[i][1]);
        assert_int_equal(err.exit_code, EX_DATAERR);
        if (!strstr(err.text, CHANGES[i][2]))
            fail_msg("\"%s\" does not say %s", err.text, CHANGES[i][2]);
        str_deinit(&text);
    }
}

static void test_no_directory(void **state)
{
    (void)state;
    Hparams h;
    Error err = {0};
    assert_int_equal(hparams_read("/nonexistent/model", &h, &err), -ENOENT);
    assert_int_equal(err.exit_code, EX_NOINPUT);
    assert_non_null(strstr(err.text, "/nonexistent/model"));
    error_clear(&err);
    scratch_write_text(&scratch, "file", "x");
    assert_int_equal(hparams_read(scratch_path(&scratch, "file"), &h, &err), -ENOTDIR);
    error_clear(&err);
    unlink(scratch_path(&scratch, "config.json"));
    assert_int_equal(hparams_read(scratch.dir, &h, &err), -ENOENT);
    assert_non_null(strstr(err.text, "config.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_layouts),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_one_wrong_value),
        cmocka_unit_test(test_no_directory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

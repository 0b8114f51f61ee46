/*
 * The tensors of a checkpoint: the published models' sizes from their config.json alone, and a made
 * checkpoint with one tensor missing, misshapen or too many at a time.
 */
#include "base/str.h"
#include "model/checkpoint.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct Published {
    const char *name;
    int hidden, intermediate, layers, heads, kv_heads, vocab, vision_intermediate;
    bool tied;
    uint64_t parameters;   /* half of the published index's total_size */
    int64_t kv_bytes_bf16; /* of one token */
} Published;

static const Published MODELS[] = {
    {"3B", 2048, 11008, 36, 16, 2, 151936, 3420, true, UINT64_C(3754622976), 36864},
    {"7B", 3584, 18944, 28, 28, 4, 152064, 3420, false, UINT64_C(8292166656), 57344},
    {"72B", 8192, 29568, 80, 64, 8, 152064, 3456, false, UINT64_C(73410777344), 327680},
};
enum { N_MODELS = sizeof MODELS / sizeof MODELS[0] };

/* config.json: flat as on the hub, or nested as newer savers write it. */
static void write_config(Scratch *scratch, const Published *m, bool nested)
{
    _cleanup_str_ Str s = {0};
    str_add_text(&s, "{\"architectures\":[\"Qwen2_5_VLForConditionalGeneration\"],\"model_type\":"
                     "\"qwen2_5_vl\",\"image_token_id\":151655,\"video_token_id\":151656,");
    str_addf(&s, "\"tie_word_embeddings\":%s,", m->tied ? "true" : "false");
    str_add_text(&s, nested ? "\"text_config\":{" : "");
    str_addf(&s,
             "\"hidden_size\":%d,\"intermediate_size\":%d,\"num_hidden_layers\":%d,"
             "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"vocab_size\":%d,"
             "\"max_position_embeddings\":128000,\"rms_norm_eps\":1e-06,\"hidden_act\":\"silu\","
             "\"use_sliding_window\":false,\"sliding_window\":32768,\"eos_token_id\":151645,",
             m->hidden, m->intermediate, m->layers, m->heads, m->kv_heads, m->vocab);
    str_add_text(&s, nested ? "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1e6,"
                              "\"mrope_section\":[16,24,24]}},"
                            : "\"rope_theta\":1000000.0,\"rope_scaling\":{\"type\":\"mrope\","
                              "\"mrope_section\":[16,24,24]},");
    str_addf(&s,
             "\"vision_config\":{\"depth\":32,\"hidden_size\":1280,\"intermediate_size\":%d,"
             "\"num_heads\":16,\"%s\":3,\"out_hidden_size\":%d,\"patch_size\":14,"
             "\"spatial_merge_size\":2,\"window_size\":112,\"hidden_act\":\"silu\","
             "\"fullatt_block_indexes\":[7,15,23,31],\"tokens_per_second\":2,"
             "\"temporal_patch_size\":2}}",
             m->vision_intermediate, nested ? "in_channels" : "in_chans", m->hidden);
    scratch_write(scratch, "config.json", s.data, s.len);
}

static void read_model(Scratch *scratch, Hparams *h)
{
    Error err = {0};
    if (hparams_read(scratch->dir, h, &err) < 0)
        fail_msg("%s", err.text);
}

static void test_published(void **state)
{
    (void)state;
    Scratch scratch;
    Hparams h;
    scratch_init(&scratch);
    for (int i = 0; i < 2 * N_MODELS; i++) {
        const Published *m = &MODELS[i / 2];
        write_config(&scratch, m, i % 2);
        read_model(&scratch, &h);
        assert_int_equal(h.text.head_dim, 128);
        assert_int_equal(h.vision.head_dim, 80);
        assert_int_equal(h.vision.out_hidden, m->hidden);
        assert_int_equal(h.text.tied, m->tied);
        assert_true(h.vision.full_attention[7] && !h.vision.full_attention[8]);
        assert_int_equal(hparams_cell_px(&h), 28);
        assert_true(checkpoint_parameters(&h) == m->parameters);
        assert_int_equal(2 * 2 * h.text.layers * h.text.kv_heads * h.text.head_dim,
                         m->kv_bytes_bf16);
        /* Vectors are kept in f32, matrices in the two bytes of bf16 or rows padded a little. */
        uint64_t bytes = checkpoint_bytes(&h, GEMM_BF16);
        assert_true(bytes >= 2 * m->parameters);
        assert_true((double)bytes < 2.02 * (double)m->parameters);
    }
    scratch_deinit(&scratch);
}

/* --- a small checkpoint, as a file of zeros --- */

enum { MAX_TENSORS = 128 };

typedef struct Entry {
    char name[128];
    int n_dims;
    int64_t shape[2];
} Entry;

typedef struct Entries {
    Entry list[MAX_TENSORS];
    size_t n;
} Entries;

static int collect(void *user, const char *name, int n_dims, const int64_t *shape)
{
    Entries *e = user;
    assert_true(e->n < MAX_TENSORS);
    Entry *to = &e->list[e->n++];
    snprintf(to->name, sizeof to->name, "%s", name);
    to->n_dims = n_dims;
    to->shape[0] = shape[0];
    to->shape[1] = n_dims == 2 ? shape[1] : 1;
    return 0;
}

static void write_tensors(Scratch *scratch, const Entries *e)
{
    _cleanup_str_ Str header = {0};
    uint64_t at = 0;
    str_add_text(&header, "{");
    for (size_t i = 0; i < e->n; i++) {
        const Entry *t = &e->list[i];
        uint64_t bytes = 2 * (uint64_t)t->shape[0] * (uint64_t)t->shape[1];
        str_addf(&header, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%lld", i ? "," : "", t->name,
                 (long long)t->shape[0]);
        if (t->n_dims == 2)
            str_addf(&header, ",%lld", (long long)t->shape[1]);
        str_addf(&header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                 (unsigned long long)(at + bytes));
        at += bytes;
    }
    str_add_text(&header, "}");
    size_t size = 8 + header.len + at;
    unsigned char *bytes = calloc(1, size);
    assert_non_null(bytes);
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)header.len >> (8 * i));
    memcpy(bytes + 8, header.data, header.len);
    scratch_write(scratch, "model.safetensors", bytes, size);
    free(bytes);
}

static int check(Scratch *scratch, const Hparams *h, const Entries *e, Error *err)
{
    Safetensors *tensors;
    error_clear(err);
    write_tensors(scratch, e);
    int r = safetensors_open(scratch->dir, "model", &tensors, err);
    assert_int_equal(r, 0);
    r = checkpoint_check(h, tensors, err);
    safetensors_free(tensors);
    return r;
}

static void must_name(const Error *err, const char *name)
{
    char whole[160];
    snprintf(whole, sizeof whole, "tensor %s ", name);
    assert_int_equal(err->exit_code, EX_DATAERR);
    if (!strstr(err->text, whole))
        fail_msg("\"%s\" does not name %s", err->text, name);
}

static void small_sizes(Scratch *scratch, bool tied, Hparams *h)
{
    const Published small = {"small", 256, 8, 2, 2, 1, 151660, 4, tied, 0, 0};
    write_config(scratch, &small, true);
    read_model(scratch, h);
    h->vision.depth = 1;
    h->vision.hidden = 8;
    h->text.vocab = 4;
}

static void test_one_wrong(void **state)
{
    (void)state;
    Scratch scratch;
    Hparams h;
    Error err = {0};
    static Entries whole, changed;
    scratch_init(&scratch);
    small_sizes(&scratch, false, &h);
    whole.n = 0;
    checkpoint_each(&h, collect, &whole);
    assert_int_equal(whole.n, 1 + 12 + 5 + 2 + 2 * 12 + 1);
    assert_int_equal(check(&scratch, &h, &whole, &err), 0);
    for (size_t i = 0; i < whole.n; i++) {
        changed = whole;
        changed.list[i] = changed.list[--changed.n];
        assert_int_equal(check(&scratch, &h, &changed, &err), -EINVAL);
        must_name(&err, whole.list[i].name);
        assert_non_null(strstr(err.text, "missing"));
        changed = whole;
        changed.list[i].shape[0]++;
        assert_int_equal(check(&scratch, &h, &changed, &err), -EINVAL);
        must_name(&err, whole.list[i].name);
        assert_non_null(strstr(err.text, "shape"));
    }
    scratch_deinit(&scratch);
}

static void test_too_many(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"model.layers.2.mlp.up_proj.weight", "visual.extra.weight",
                                        "visual.blocks.1.norm1.weight", "transformer.h.0.weight"};
    static const char *const HARMLESS[] = {"lm_head.weight", "model.rotary_emb.inv_freq",
                                           "visual.rotary_pos_emb.inv_freq"};
    Scratch scratch;
    Hparams h;
    Error err = {0};
    static Entries e;
    scratch_init(&scratch);
    small_sizes(&scratch, true, &h);
    e.n = 0;
    checkpoint_each(&h, collect, &e);
    const size_t n = e.n;
    for (size_t i = 0; i < sizeof HARMLESS / sizeof HARMLESS[0]; i++)
        collect(&e, HARMLESS[i], 1, (const int64_t[]){3});
    assert_int_equal(check(&scratch, &h, &e, &err), 0);
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        e.n = n;
        collect(&e, NAMES[i], 2, (const int64_t[]){3, 2});
        assert_int_equal(check(&scratch, &h, &e, &err), -EINVAL);
        must_name(&err, NAMES[i]);
        assert_non_null(strstr(err.text, "2 layers"));
    }
    scratch_deinit(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_one_wrong),
        cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

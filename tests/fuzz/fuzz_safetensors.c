/*
 * Tensors from anybody. An input that begins with { is model.safetensors.index.json beside two
 * sound shards, any other is model.safetensors (and an adapter's tensors). Every value of what is
 * accepted can be read.
 */
#include "model/lora.h"
#include "model/safetensors.h"
#include "tests/fuzz/fuzz_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_shard(const char *name, const char *tensor)
{
    char bytes[128] = {0};
    int n = snprintf(bytes + 8, sizeof bytes - 8,
                     "{\"%s\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", tensor);
    bytes[0] = (char)n;
    scratch_write(&fuzz_folder, name, bytes, 8 + (size_t)n + 8);
}

static void read_all(const Safetensors *tensors)
{
    float values[16];
    uint16_t halves[16];
    for (size_t i = 0; i < safetensors_count(tensors); i++) {
        const Tensor *t = safetensors_at(tensors, i), *found;
        assert(safetensors_find(tensors, t->name, &found) == 0 && found == t);
        for (size_t at = 0; at < t->n; at += 16) {
            const size_t n = t->n - at < 16 ? t->n - at : 16;
            tensor_to_f32(t, at, n, values);
            tensor_to_bf16(t, at, n, halves);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const SINGLE[] = {"model.safetensors"};
    static const char *const ADAPTER[] = {"adapter_model.safetensors"};
    static const char *const INDEX[] = {"model.safetensors.index.json"};
    const bool index = size && data[0] == '{';
    Safetensors *tensors;
    Lora *lora;
    Error err = {0};
    fuzz_write(SINGLE, 1, index ? NULL : data, size);
    fuzz_write(INDEX, 1, index ? data : NULL, size);
    write_shard("a.safetensors", "model.a");
    write_shard("b.safetensors", "visual.b");
    if (safetensors_open(fuzz_dir(), "model", &tensors, &err) == 0) {
        read_all(tensors);
        safetensors_free(tensors);
    } else {
        assert(err.exit_code && err.text[0] && !strchr(err.text, '\n'));
    }
    if (index)
        return 0;
    error_clear(&err);
    fuzz_write(ADAPTER, 1, data, size);
    scratch_write_text(
        &fuzz_folder, "adapter_config.json",
        "{\"peft_type\":\"LORA\",\"lora_alpha\":8,\"alpha_pattern\":{\"q_proj\":4}}");
    if (lora_open(fuzz_dir(), &lora, &err) == 0) {
        for (size_t i = 0; i < lora_count(lora); i++)
            assert(lora_at(lora, i)->r >= 1 && lora_at(lora, i)->scaling > 0);
        lora_free(lora);
    } else {
        assert(err.exit_code && err.text[0] && !strchr(err.text, '\n'));
    }
    return 0;
}

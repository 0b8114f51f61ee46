/*
 * fuzz_model DIR SEED ROUNDS: damages one file of a model directory at a time and reads the
 * directory with everything in model/ that meets bytes from outside. Whatever the damage: an
 * Error with an exit code, or an object that works. Meant for the sanitizer builds; the same seed
 * gives the same damage, so a failure can be repeated.
 */
#include "base/file.h"
#include "base/mem.h"
#include "model/answer.h"
#include "model/grammar.h"
#include "model/hparams.h"
#include "model/lora.h"
#include "model/npy.h"
#include "model/prompt.h"
#include "model/safetensors.h"
#include "model/tokenizer.h"
#include "tests/unit/scratch.h"

#include <stdint.h>

static const char *const FILES[] = {"config.json",         "generation_config.json",
                                    "tokenizer.json",      "preprocessor_config.json",
                                    "model.safetensors",   "chat_template.json",
                                    "adapter_config.json", "adapter_model.safetensors"};
enum { N_FILES = sizeof FILES / sizeof FILES[0], HEADER_BYTES = 12000 };

static uint64_t state;

static uint32_t pick(size_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((state >> 33) % below);
}

static void must(bool fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, "fuzz_model: %s\n", what);
        abort();
    }
}

/* A few small damages; binary files mostly in their header. Returns the new length. */
static size_t damage(char *bytes, size_t n, bool binary)
{
    static const char TEXT[] = "0123456789-{}[]\",:.\\ue";
    size_t most = binary && n > HEADER_BYTES ? HEADER_BYTES : n;
    for (uint32_t k = 1 + pick(4); k && most; k--) {
        size_t at = pick(most), length = pick(20), to = pick(most);
        switch (pick(5)) {
        case 0:
            bytes[at] = (char)pick(256);
            break;
        case 1:
            bytes[at] = TEXT[pick(sizeof TEXT - 1)];
            break;
        case 2: /* some bytes are missing */
            if (at + length < n) {
                memmove(bytes + at, bytes + at + length, n - at - length);
                n -= length;
            }
            break;
        case 3: /* the end is missing */
            if (pick(4) == 0)
                n = at;
            break;
        default: /* some bytes are there twice */
            if (at + length < n && to + length < n)
                memmove(bytes + to, bytes + at, length);
        }
        most = most < n ? most : n;
    }
    return n;
}

/* Answers by tokens picked at random from the mask: there must always be one, to the end. */
static void decode_at_random(const Tokenizer *tokenizer)
{
    enum { MOST_STEPS = 400 };
    GrammarRules *rules;
    Grammar *grammar;
    Error err = {0};
    const int32_t eos = 0;
    int r =
        grammar_compile_schema(GRAMMAR_EVENT_LIST_SCHEMA, pick(2) ? GRAMMAR_FREE : GRAMMAR_COMPACT,
                               tokenizer, &eos, 1, &rules, &err);
    must(r == 0 && grammar_new(rules, &grammar) == 0, "grammar");
    for (int step = 0; step < MOST_STEPS && !grammar_done(grammar); step++) {
        _cleanup_token_ids_ TokenIds forced = {0};
        size_t n_words, n = 0;
        int32_t token = -1;
        must(grammar_forced_tokens(grammar, &forced) == 0, "forced tokens");
        for (size_t i = 0; i < forced.n; i++)
            must(grammar_accept(grammar, forced.ids[i]) == 0, "a forced token was refused");
        const uint32_t *mask = grammar_mask(grammar, &n_words);
        for (int32_t id = 0; id < (int32_t)(n_words * 32); id++)
            if (grammar_mask_has(mask, n_words, id) && pick(++n) == 0)
                token = id;
        must(token >= 0 && grammar_accept(grammar, token) == 0, "no token may follow");
    }
    grammar_free(grammar);
    grammar_rules_free(rules);
}

static void read_tokenizer(const char *directory, const char *text, size_t n)
{
    Tokenizer *tokenizer;
    Error err = {0};
    if (tokenizer_open(directory, &tokenizer, &err) < 0) {
        must(err.exit_code != 0, "tokenizer without a reason");
        return;
    }
    _cleanup_token_ids_ TokenIds ids = {0};
    _cleanup_str_ Str decoded = {0};
    must(tokenizer_encode(tokenizer, text, n, pick(2), &ids) == 0, "encode");
    tokenizer_decode(tokenizer, ids.ids, ids.n, pick(2), &decoded);
    if (pick(8) == 0)
        decode_at_random(tokenizer);
    tokenizer_free(tokenizer);
}

static void read_tensors(const char *directory)
{
    Safetensors *tensors;
    Lora *lora;
    Error err = {0};
    if (safetensors_open(directory, "model", &tensors, &err) == 0) {
        for (size_t i = 0; i < safetensors_count(tensors); i++) {
            const Tensor *t = safetensors_at(tensors, i);
            float last;
            if (t->n)
                tensor_to_f32(t, t->n - 1, 1, &last);
        }
        safetensors_free(tensors);
    } else {
        must(err.exit_code != 0, "safetensors without a reason");
    }
    error_clear(&err);
    if (lora_open(directory, &lora, &err) == 0)
        lora_free(lora);
    else
        must(err.exit_code != 0, "adapter without a reason");
}

static void read_all(const char *directory, const char *bytes, size_t n)
{
    Hparams hparams;
    PromptTemplate prompt;
    Answer answer;
    Npy npy;
    Error err = {0};
    must(hparams_read(directory, &hparams, &err) == 0 || err.exit_code, "hparams");
    error_clear(&err);
    must(prompt_template_read(directory, &prompt, &err) == 0 || err.exit_code, "template");
    prompt_template_deinit(&prompt);
    size_t some = n < 4096 ? n : 4096;
    read_tokenizer(directory, bytes, some);
    read_tensors(directory);
    must(answer_parse(bytes, some, &answer) == 0, "answer");
    answer_deinit(&answer);
    if (npy_parse("bytes", bytes, n, &npy, NULL) == 0)
        npy_deinit(&npy);
}

/* From the model directory, or from the adapter's beside it. */
static int read_good(const char *root, const char *name, char **bytes, size_t *n)
{
    static const char *const FOLDERS[] = {"00_checkpoints/tiny", "08_lora/adapter"};
    char path[1024];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", root, FOLDERS[i], name);
        if (file_read(path, 16 << 20, bytes, n, NULL) == 0)
            return 0;
    }
    fprintf(stderr, "fuzz_model: %s has no %s\n", root, name);
    return -1;
}

int main(int argc, char **argv)
{
    char *good[N_FILES] = {NULL};
    size_t n[N_FILES];
    Scratch scratch;
    int failed = 0;
    if (argc != 4) {
        fprintf(stderr, "usage: fuzz_model DIR SEED ROUNDS (DIR: golden vectors)\n");
        return EX_USAGE;
    }
    state = strtoull(argv[2], NULL, 10);
    long rounds = strtol(argv[3], NULL, 10);
    scratch_init(&scratch);
    for (size_t i = 0; i < N_FILES; i++) {
        if (read_good(argv[1], FILES[i], &good[i], &n[i]) == 0)
            scratch_write(&scratch, FILES[i], good[i], n[i]);
        else
            failed = 1;
    }
    for (long round = 0; round < rounds && !failed; round++) {
        size_t file = pick(N_FILES);
        char *bytes = malloc(n[file] + 1);
        must(bytes != NULL, "no memory");
        memcpy(bytes, good[file], n[file]);
        size_t length = damage(bytes, n[file], strstr(FILES[file], ".safetensors") != NULL);
        scratch_write(&scratch, FILES[file], bytes, length);
        read_all(scratch.dir, bytes, length);
        scratch_write(&scratch, FILES[file], good[file], n[file]);
        free(bytes);
    }
    for (size_t i = 0; i < N_FILES; i++)
        free(good[i]);
    scratch_deinit(&scratch);
    printf("fuzz_model: %ld rounds of seed %s\n", failed ? 0 : rounds, argv[2]);
    return failed;
}

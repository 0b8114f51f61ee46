/*
 * Packed weights on disk, with a tiny checkpoint (argument 1): a second start maps what the first
 * one packed and says the same; damage of every part, another source, a full disk, two at once.
 */
#include "model/engine.h"
#include "model/packed_cache.h"
#include "model/timeline.h"
#include "scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

static const char *checkpoint;
static Pool *pool;

static PackedCache *open_cache(const char *dir, const char *layout)
{
    PackedCache *cache;
    packed_cache_open(dir, checkpoint, NULL, "f32", layout, pool, &cache);
    return cache;
}

static const char A[5000] = "some weights", B[64] = "others";

static void fill(const char *dir, const char *layout)
{
    PackedCache *cache = open_cache(dir, layout);
    assert_non_null(cache);
    assert_false(packed_cache_is_filled(cache));
    size_t a = packed_cache_reserve(cache, "a", sizeof A);
    size_t b = packed_cache_reserve(cache, "b", sizeof B);
    packed_cache_write(cache, b, B);
    packed_cache_write(cache, a, A);
    packed_cache_finish(cache);
    packed_cache_free(cache);
}

/* The name of the only file of the folder; "" when there is none. */
static void only_file(const char *dir, char *name, size_t size)
{
    name[0] = '\0';
    DIR *d = opendir(dir);
    struct dirent *entry;
    while (d && (entry = readdir(d)))
        if (entry->d_name[0] != '.') {
            assert_string_equal(name, "");
            snprintf(name, size, "%s", entry->d_name);
        }
    if (d)
        closedir(d);
}

static void test_filled(void **state)
{
    (void)state;
    Scratch s;
    char name[256];
    scratch_init(&s);
    fill(s.dir, "x");
    only_file(s.dir, name, sizeof name);
    assert_non_null(strstr(name, ".weights"));
    PackedCache *cache = open_cache(s.dir, "x");
    assert_true(packed_cache_is_filled(cache));
    const void *a = packed_cache_find(cache, "a", sizeof A);
    const void *b = packed_cache_find(cache, "b", sizeof B);
    assert_true(a && b && (uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0);
    assert_memory_equal(a, A, sizeof A);
    assert_memory_equal(b, B, sizeof B);
    assert_null(packed_cache_find(cache, "b", sizeof B - 1));
    assert_null(packed_cache_find(cache, "c", sizeof B));
    packed_cache_free(cache);

    /* Another CPU: another file, and the old one goes once the new one is there. */
    cache = open_cache(s.dir, "y");
    assert_false(packed_cache_is_filled(cache));
    packed_cache_free(cache);
    cache = open_cache(s.dir, "x");
    assert_true(packed_cache_is_filled(cache));
    packed_cache_free(cache);
    char old[256];
    snprintf(old, sizeof old, "%s", name);
    fill(s.dir, "y");
    only_file(s.dir, name, sizeof name);
    assert_string_not_equal(name, old);
    scratch_deinit(&s);
}

/* Any byte of the header, the blocks and the index, and any length. */
static void test_damage(void **state)
{
    (void)state;
    Scratch s;
    char name[256];
    scratch_init(&s);
    fill(s.dir, "x");
    only_file(s.dir, name, sizeof name);
    FILE *f = fopen(scratch_path(&s, name), "rb");
    assert_non_null(f);
    static char bytes[65536];
    size_t size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    const size_t index = size - 2 * 128, header = 56, block = 4096;
    const struct {
        size_t from, to, step;
    } parts[] = {{0, header, 1},
                 {block, block + sizeof A, 61},
                 {block + sizeof A - 9, block + sizeof A, 1},
                 {3 * block, 3 * block + sizeof B, 1},
                 {index, size, 1}};
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++)
        for (size_t at = parts[p].from; at < parts[p].to; at += parts[p].step) {
            bytes[at] ^= 0x41;
            scratch_write(&s, name, bytes, size);
            bytes[at] ^= 0x41;
            PackedCache *cache = open_cache(s.dir, "x");
            if (packed_cache_is_filled(cache))
                fail_msg("byte %zu of %zu is not checked", at, size);
            packed_cache_free(cache);
        }
    static const size_t lengths[] = {0, 1, 55, 56, 4096, 9000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        scratch_write(&s, name, bytes, lengths[i]);
        PackedCache *cache = open_cache(s.dir, "x");
        assert_false(packed_cache_is_filled(cache));
        packed_cache_free(cache);
    }
    scratch_write(&s, name, bytes, size);
    PackedCache *cache = open_cache(s.dir, "x");
    assert_true(packed_cache_is_filled(cache));
    packed_cache_free(cache);
    scratch_deinit(&s);
}

/* Whether a cache is there for the model in `model`, as it is now. */
static bool knows(const char *dir, const char *model, const char *lora, const char *dtype)
{
    PackedCache *cache;
    packed_cache_open(dir, model, lora, dtype, "x", pool, &cache);
    bool filled = packed_cache_is_filled(cache);
    packed_cache_free(cache);
    return filled;
}

static void write_source(Scratch *s, const char *name, const char *text, size_t size, long ns)
{
    const struct timespec times[2] = {{1000000000, ns}, {1000000000, ns}};
    scratch_write(s, name, text, size);
    assert_int_equal(utimensat(AT_FDCWD, scratch_path(s, name), times, 0), 0);
}

/* The model's files: content, size, time, names; the adapter; the precision. */
static void test_source(void **state)
{
    (void)state;
    Scratch cache, model, lora;
    scratch_init(&cache);
    scratch_init(&model);
    scratch_init(&lora);
    write_source(&model, "config.json", "{ }", 3, 0);
    write_source(&model, "weights", A, sizeof A, 0);
    write_source(&lora, "adapter", "a", 1, 0);
    PackedCache *c;
    packed_cache_open(cache.dir, model.dir, NULL, "f32", "x", pool, &c);
    assert_non_null(c);
    packed_cache_write(c, packed_cache_reserve(c, "a", sizeof A), A);
    packed_cache_finish(c);
    packed_cache_free(c);
    assert_true(knows(cache.dir, model.dir, NULL, "f32"));

    assert_false(knows(cache.dir, model.dir, NULL, "int8"));
    assert_false(knows(cache.dir, model.dir, lora.dir, "f32"));
    write_source(&model, "config.json", "{\n}", 3, 0);
    assert_false(knows(cache.dir, model.dir, NULL, "f32"));
    write_source(&model, "config.json", "{ }", 3, 0);
    write_source(&model, "weights", A, sizeof A, 1);
    assert_false(knows(cache.dir, model.dir, NULL, "f32"));
    write_source(&model, "weights", A, sizeof A - 1, 0);
    assert_false(knows(cache.dir, model.dir, NULL, "f32"));
    write_source(&model, "weights", A, sizeof A, 0);
    write_source(&model, "more", "", 0, 0);
    assert_false(knows(cache.dir, model.dir, NULL, "f32"));
    unlink(scratch_path(&model, "more"));
    assert_true(knows(cache.dir, model.dir, NULL, "f32"));
    scratch_deinit(&cache);
    scratch_deinit(&model);
    scratch_deinit(&lora);
}

/* A file that could not be written to its end leaves nothing; the folder that cannot be made
 * neither. */
static void test_no_room(void **state)
{
    (void)state;
    Scratch s;
    char name[256];
    scratch_init(&s);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit kept, small = {6000, 6000};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &kept), 0);
    small.rlim_max = kept.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    PackedCache *cache = open_cache(s.dir, "x");
    assert_non_null(cache);
    size_t a = packed_cache_reserve(cache, "a", sizeof A);
    size_t b = packed_cache_reserve(cache, "b", sizeof B);
    packed_cache_write(cache, b, B);
    packed_cache_write(cache, a, A);
    packed_cache_finish(cache);
    packed_cache_free(cache);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &kept), 0);
    only_file(s.dir, name, sizeof name);
    assert_string_equal(name, "");
    scratch_write(&s, "file", "", 0);
    char under[300];
    snprintf(under, sizeof under, "%s/file/folder", s.dir);
    assert_null(open_cache(under, "x"));
    scratch_deinit(&s);
}

/* Only one writes; what it did not finish is not there. */
static void test_two(void **state)
{
    (void)state;
    Scratch s;
    char name[256];
    scratch_init(&s);
    PackedCache *first = open_cache(s.dir, "x");
    assert_non_null(first);
    assert_null(open_cache(s.dir, "x"));
    packed_cache_write(first, packed_cache_reserve(first, "a", sizeof A), A);
    packed_cache_free(first);
    only_file(s.dir, name, sizeof name);
    assert_string_equal(name, "");
    fill(s.dir, "x");
    scratch_deinit(&s);
}

static void logits_of(EngineDtype dtype, int threads, const char *cache, float *out, size_t n)
{
    Engine *engine = NULL;
    Timeline *timeline = NULL;
    Error err = {0};
    EngineOptions options = {.dtype = dtype, .threads = threads, .cache = cache};
    if (engine_open(checkpoint, &options, &engine, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(timeline_new(engine, &timeline, NULL), 0);
    const int32_t ids[] = {5, 17, 60, 3, 90, 41};
    const float *logits;
    assert_int_equal(timeline_append_ids(timeline, ids, 6, NULL), 0);
    assert_int_equal(timeline_logits(timeline, &logits, NULL), 0);
    memcpy(out, logits, n * sizeof *out);
    timeline_free(timeline);
    engine_free(engine);
}

static void test_engine(void **state)
{
    (void)state;
    enum { N = 64 };
    for (int dtype = ENGINE_F32; dtype <= ENGINE_INT4; dtype++) {
        Scratch s;
        char name[256];
        float plain[N], first[N], second[N];
        scratch_init(&s);
        logits_of((EngineDtype)dtype, 1, NULL, plain, N);
        logits_of((EngineDtype)dtype, 1, s.dir, first, N);
        only_file(s.dir, name, sizeof name);
        struct stat before, after;
        assert_int_equal(stat(scratch_path(&s, name), &before), 0);
        logits_of((EngineDtype)dtype, 1, s.dir, second, N);
        assert_int_equal(stat(scratch_path(&s, name), &after), 0);
        assert_true(before.st_ino == after.st_ino);
        assert_memory_equal(plain, first, sizeof plain);
        assert_memory_equal(plain, second, sizeof plain);
        scratch_deinit(&s);
    }
}

/* What is packed, and what is kept of it, does not depend on the number of threads. */
static void test_threads(void **state)
{
    (void)state;
    enum { N = 64 };
    for (int dtype = ENGINE_F32; dtype <= ENGINE_INT4; dtype++) {
        Scratch s;
        float one[N], many[N], mapped[N];
        scratch_init(&s);
        logits_of((EngineDtype)dtype, 1, NULL, one, N);
        logits_of((EngineDtype)dtype, 5, s.dir, many, N);
        logits_of((EngineDtype)dtype, 2, s.dir, mapped, N);
        assert_memory_equal(one, many, sizeof one);
        assert_memory_equal(one, mapped, sizeof one);
        scratch_deinit(&s);
    }
}

int main(int argc, char **argv)
{
    assert(argc == 2);
    checkpoint = argv[1];
    if (pool_new(3, &pool) < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filled),  cmocka_unit_test(test_damage),
        cmocka_unit_test(test_source),  cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_two),     cmocka_unit_test(test_engine),
        cmocka_unit_test(test_threads),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pool_free(pool);
    return failed;
}

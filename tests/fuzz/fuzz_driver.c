/*
 * Runs a fuzz target (LLVMFuzzerTestOneInput) without a fuzzing engine: every seed file as it is,
 * then N damaged copies of them, the same ones each time. With clang, the same targets link to
 * -fsanitize=fuzzer instead of this file.
 *
 *     fuzz_NAME [-n N | -t SECONDS] [-s NUMBER] SEED...
 *
 * -s begins with other damage; -t goes on until that time is over.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 1 << 16, MAX_SEEDS = 64 };

typedef struct Seed {
    uint8_t *bytes;
    size_t size;
} Seed;

static uint64_t state = 0x9e3779b97f4a7c15;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static size_t below(size_t n)
{
    return n ? (size_t)(next_random() % n) : 0;
}

/* One change: bytes flipped, replaced, cut out, doubled, or taken from another seed. */
static size_t change(uint8_t *data, size_t size, const Seed *other)
{
    size_t at = below(size + 1), n = below(size - at + 1);
    if (n > 64)
        n = 1 + n % 64;
    switch (next_random() % 6) {
    case 0:
        if (at < size)
            data[at] ^= (uint8_t)(1U << below(8));
        return size;
    case 1:
        if (at < size)
            data[at] = (uint8_t)next_random();
        return size;
    case 2:
        memmove(data + at, data + at + n, size - at - n);
        return size - n;
    case 3:
        if (size + n > MAX_BYTES)
            return size;
        memmove(data + at + n, data + at, size - at);
        return size + n;
    case 4:
        n = n < other->size ? n : other->size;
        n = n < size - at ? n : size - at;
        memcpy(data + at, other->bytes + below(other->size - n + 1), n);
        return size;
    default:
        return at; /* cut off */
    }
}

int main(int argc, char **argv)
{
    static Seed seeds[MAX_SEEDS];
    size_t n_seeds = 0;
    long runs = 20000;
    time_t end = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-n") == 0 && i + 1 < argc) {
            runs = atol(argv[++i]);
            continue;
        }
        if (strcmp(argv[i], "-t") == 0 && i + 1 < argc) {
            end = time(NULL) + atol(argv[++i]);
            continue;
        }
        if (strcmp(argv[i], "-s") == 0 && i + 1 < argc) {
            state ^= strtoull(argv[++i], NULL, 10) * 0x2545f4914f6cdd1d;
            continue;
        }
        FILE *file = fopen(argv[i], "rb");
        uint8_t *bytes = malloc(MAX_BYTES);
        if (!file || !bytes || n_seeds == MAX_SEEDS) {
            fprintf(stderr, "%s: cannot be read\n", argv[i]);
            return 1;
        }
        seeds[n_seeds].bytes = bytes;
        seeds[n_seeds].size = fread(bytes, 1, MAX_BYTES, file);
        fclose(file);
        LLVMFuzzerTestOneInput(bytes, seeds[n_seeds].size);
        n_seeds++;
    }
    if (!n_seeds) {
        fprintf(stderr, "usage: %s [-n RUNS | -t SECONDS] [-s NUMBER] SEED...\n", argv[0]);
        return 1;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    static uint8_t data[MAX_BYTES];
    long run = 0;
    for (; end ? run % 64 || time(NULL) < end : run < runs; run++) {
        const Seed *seed = &seeds[below(n_seeds)];
        size_t size = seed->size;
        memcpy(data, seed->bytes, size);
        for (size_t changes = 1 + below(4); changes; changes--)
            size = change(data, size, &seeds[below(n_seeds)]);
        /* A copy of exactly this size, so that a read beyond it is seen by the address sanitizer.
         */
        uint8_t *exact = malloc(size ? size : 1);
        if (!exact)
            return 1;
        memcpy(exact, data, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    printf("%ld damaged copies of %zu seeds\n", run, n_seeds);
    for (size_t i = 0; i < n_seeds; i++)
        free(seeds[i].bytes);
    return 0;
}

/*
 * Runs a fuzz target (LLVMFuzzerTestOneInput) without a fuzzing engine: every seed as it is, then
 * changed copies, for a number of runs or of seconds. Where the code under test is compiled with
 * -fsanitize-coverage=trace-pc (the CMake option WHEN_FUZZ), copies that reach something new are
 * kept and changed further; else the seeds alone are. The same arguments without -t give the same
 * runs.
 *
 *     fuzz_NAME [-n RUNS] [-t SECONDS] [-s RANDOM_SEED] SEED...
 *
 * An input that ends the process, or takes longer than ten seconds, is left in fuzz_NAME.crash.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_cov_trace_pc(void);
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

enum { MAX_BYTES = 1 << 16, MAX_INPUTS = 8192, MAP_BITS = 16, LONGEST_S = 10 };

typedef struct Input {
    uint8_t *bytes;
    size_t size;
} Input;

static Input inputs[MAX_INPUTS];
static size_t n_inputs;

/* --- coverage: pairs of places that follow each other --- */

static uint8_t seen[1 << MAP_BITS];
static uint32_t previous_place;
static size_t places;
static int found_new;

void __sanitizer_cov_trace_pc(void)
{
    const uint64_t here = (uint64_t)(uintptr_t)__builtin_return_address(0);
    const uint32_t place = (uint32_t)(here * UINT64_C(0x9e3779b97f4a7c15) >> (64 - MAP_BITS));
    const uint32_t pair = place ^ previous_place;
    previous_place = place >> 1;
    if (!seen[pair]) {
        seen[pair] = 1;
        places++;
        found_new = 1;
    }
}

/* --- the input that is running, for the file that a crash leaves --- */

static const uint8_t *running;
static size_t running_size;
static char crash_name[64];

static void leave_crash(void)
{
    int fd = open(crash_name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd >= 0 && write(fd, running, running_size) >= 0)
        close(fd);
}

static void on_signal(int number)
{
    leave_crash();
    signal(number, SIG_DFL);
    raise(number == SIGALRM ? SIGABRT : number);
}

static void run(const uint8_t *data, size_t size)
{
    running = data;
    running_size = size;
    previous_place = 0;
    alarm(LONGEST_S);
    LLVMFuzzerTestOneInput(data, size);
    alarm(0);
}

/* --- changes --- */

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

/* A decimal number in the text at or behind `at` becomes another one. */
static void change_number(uint8_t *data, size_t size, size_t at)
{
    static const char *const NUMBERS[] = {"0", "1", "9", "99999999", "4294967296", "-1"};
    while (at < size && (data[at] < '0' || data[at] > '9'))
        at++;
    const char *number = NUMBERS[below(sizeof NUMBERS / sizeof NUMBERS[0])];
    for (; at < size && data[at] >= '0' && data[at] <= '9' && *number; at++)
        data[at] = (uint8_t)*number++;
}

/* One change: bytes flipped, replaced, cut out, doubled, or taken from another input. */
static size_t change(uint8_t *data, size_t size, const Input *other)
{
    size_t at = below(size + 1), n = below(size - at + 1);
    if (n > 64)
        n = 1 + n % 64;
    switch (next_random() % 7) {
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
    case 5:
        change_number(data, size, at);
        return size;
    default:
        return below(4) ? size : at; /* cut off */
    }
}

static void keep(const uint8_t *data, size_t size)
{
    uint8_t *copy = n_inputs < MAX_INPUTS ? malloc(size ? size : 1) : NULL;
    if (!copy)
        return;
    memcpy(copy, data, size);
    inputs[n_inputs++] = (Input){copy, size};
}

static int read_seed(const char *path)
{
    static uint8_t bytes[MAX_BYTES];
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return -1;
    }
    size_t size = fread(bytes, 1, MAX_BYTES, file);
    fclose(file);
    run(bytes, size);
    keep(bytes, size);
    return 0;
}

static void run_changed(void)
{
    static uint8_t data[MAX_BYTES];
    const Input *from = &inputs[below(n_inputs)];
    size_t size = from->size;
    memcpy(data, from->bytes, size);
    for (size_t changes = 1 + below(4); changes; changes--)
        size = change(data, size, &inputs[below(n_inputs)]);
    /* A copy of exactly this size, so that a read beyond it is seen by the address sanitizer. */
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact)
        abort();
    memcpy(exact, data, size);
    found_new = 0;
    run(exact, size);
    if (found_new)
        keep(exact, size);
    free(exact);
}

int main(int argc, char **argv)
{
    long runs = 20000, seconds = 0, done = 0;
    const char *name = strrchr(argv[0], '/');
    snprintf(crash_name, sizeof crash_name, "%.50s.crash", name ? name + 1 : argv[0]);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(leave_crash);
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && i + 1 < argc) {
            long value = atol(argv[i + 1]);
            if (argv[i][1] == 'n')
                runs = value;
            else if (argv[i][1] == 't')
                seconds = value;
            else
                state += (uint64_t)value * 2;
            i++;
        } else if (read_seed(argv[i]) < 0) {
            return 1;
        }
    }
    if (!n_inputs) {
        fprintf(stderr, "usage: %s [-n RUNS] [-t SECONDS] [-s RANDOM_SEED] SEED...\n", argv[0]);
        return 1;
    }
    const size_t n_seeds = n_inputs;
    const time_t end = time(NULL) + seconds;
    run((const uint8_t *)"", 0);
    for (; seconds ? done % 64 || time(NULL) < end : done < runs; done++)
        run_changed();
    printf("%ld changed copies of %zu seeds, %zu kept, %zu places reached\n", done, n_seeds,
           n_inputs - n_seeds, places);
    for (size_t i = 0; i < n_inputs; i++)
        free(inputs[i].bytes);
    return 0;
}

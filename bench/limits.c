/* Loops that do nothing but what is counted. See limits.h. */
#include "bench/limits.h"

#include "base/mem.h"

#include <errno.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum {
    CHAINS = 10,       /* sums that do not wait for each other */
    ROUNDS = 20000000, /* of each thread */
    READ_BYTES = 1 << 30,
    READ_ITEM = 1 << 23,
    TRIES = 3
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Keeps results alive. */
static _Atomic uint32_t sink;

__attribute__((target("avx2,fma"))) static void f32_avx2(void *user, size_t item, int thread)
{
    (void)user;
    (void)item;
    (void)thread;
    __m256 sum[CHAINS], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
#pragma GCC unroll 10
    for (int c = 0; c < CHAINS; c++)
        sum[c] = _mm256_set1_ps((float)c);
    for (int i = 0; i < ROUNDS; i++)
#pragma GCC unroll 10
        for (int c = 0; c < CHAINS; c++) {
            sum[c] = _mm256_fmadd_ps(sum[c], x, y);
            __asm__ volatile("" : "+x"(sum[c])); /* each is done, and by itself */
        }
#pragma GCC unroll 10 /* or the sums live in memory */
    for (int c = 0; c < CHAINS; c++)
        sink += (uint32_t)_mm256_cvtss_f32(sum[c]);
}

__attribute__((target("avx2,fma"))) static void s16_avx2(void *user, size_t item, int thread)
{
    (void)user;
    (void)item;
    (void)thread;
    __m256i sum[CHAINS], x = _mm256_set1_epi16(3), y = _mm256_set1_epi16(-5);
#pragma GCC unroll 10
    for (int c = 0; c < CHAINS; c++)
        sum[c] = _mm256_set1_epi32(c);
    for (int i = 0; i < ROUNDS; i++)
#pragma GCC unroll 10
        for (int c = 0; c < CHAINS; c++) {
            __asm__ volatile("" : "+x"(x));
            sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(x, y));
            __asm__ volatile("" : "+x"(sum[c]));
        }
#pragma GCC unroll 10 /* or the sums live in memory */
    for (int c = 0; c < CHAINS; c++)
        sink += (uint32_t)_mm256_extract_epi32(sum[c], 0);
}

__attribute__((target("avx512f,avx512bw"))) static void f32_avx512(void *user, size_t item,
                                                                   int thread)
{
    (void)user;
    (void)item;
    (void)thread;
    __m512 sum[CHAINS], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
#pragma GCC unroll 10
    for (int c = 0; c < CHAINS; c++)
        sum[c] = _mm512_set1_ps((float)c);
    for (int i = 0; i < ROUNDS; i++)
#pragma GCC unroll 10
        for (int c = 0; c < CHAINS; c++) {
            sum[c] = _mm512_fmadd_ps(sum[c], x, y);
            __asm__ volatile("" : "+v"(sum[c]));
        }
#pragma GCC unroll 10 /* or the sums live in memory */
    for (int c = 0; c < CHAINS; c++)
        sink += (uint32_t)_mm512_cvtss_f32(sum[c]);
}

__attribute__((target("avx512f,avx512bw"))) static void s16_avx512(void *user, size_t item,
                                                                   int thread)
{
    (void)user;
    (void)item;
    (void)thread;
    __m512i sum[CHAINS], x = _mm512_set1_epi16(3), y = _mm512_set1_epi16(-5);
#pragma GCC unroll 10
    for (int c = 0; c < CHAINS; c++)
        sum[c] = _mm512_set1_epi32(c);
    for (int i = 0; i < ROUNDS; i++)
#pragma GCC unroll 10
        for (int c = 0; c < CHAINS; c++) {
            __asm__ volatile("" : "+v"(x));
            sum[c] = _mm512_add_epi32(sum[c], _mm512_madd_epi16(x, y));
            __asm__ volatile("" : "+v"(sum[c]));
        }
#pragma GCC unroll 10 /* or the sums live in memory */
    for (int c = 0; c < CHAINS; c++)
        sink += (uint32_t)_mm_extract_epi32(_mm512_castsi512_si128(sum[c]), 0);
}

__attribute__((target("avx512f,avx512bf16"))) static void bf16_avx512(void *user, size_t item,
                                                                      int thread)
{
    (void)user;
    (void)item;
    (void)thread;
    __m512 sum[CHAINS];
    __m512bh x = (__m512bh)_mm512_set1_epi16(0x3F7F), y = (__m512bh)_mm512_set1_epi16(0x3A80);
#pragma GCC unroll 10
    for (int c = 0; c < CHAINS; c++)
        sum[c] = _mm512_set1_ps((float)c);
    for (int i = 0; i < ROUNDS; i++)
#pragma GCC unroll 10
        for (int c = 0; c < CHAINS; c++) {
            sum[c] = _mm512_dpbf16_ps(sum[c], x, y);
            __asm__ volatile("" : "+v"(sum[c]));
        }
#pragma GCC unroll 10 /* or the sums live in memory */
    for (int c = 0; c < CHAINS; c++)
        sink += (uint32_t)_mm512_cvtss_f32(sum[c]);
}

__attribute__((target("avx512f,avx512vnni"))) static void s8_avx512(void *user, size_t item,
                                                                    int thread)
{
    (void)user;
    (void)item;
    (void)thread;
    __m512i sum[CHAINS], x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(-5);
#pragma GCC unroll 10
    for (int c = 0; c < CHAINS; c++)
        sum[c] = _mm512_set1_epi32(c);
    for (int i = 0; i < ROUNDS; i++)
#pragma GCC unroll 10
        for (int c = 0; c < CHAINS; c++) {
            sum[c] = _mm512_dpbusd_epi32(sum[c], x, y);
            __asm__ volatile("" : "+v"(sum[c]));
        }
#pragma GCC unroll 10 /* or the sums live in memory */
    for (int c = 0; c < CHAINS; c++)
        sink += (uint32_t)_mm_extract_epi32(_mm512_castsi512_si128(sum[c]), 0);
}

__attribute__((target("avx2"))) static void read_item(void *user, size_t item, int thread)
{
    (void)thread;
    const __m256i *p = (const __m256i *)((const char *)user + item * READ_ITEM);
    __m256i sum[4] = {0};
    for (size_t i = 0; i < READ_ITEM / sizeof *p; i += 4)
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++)
            sum[j] = _mm256_xor_si256(sum[j], _mm256_load_si256(p + i + j));
    sum[0] = _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
    sink += (uint32_t)_mm256_extract_epi32(sum[0], 0);
}

/* The shortest of some tries, in seconds. */
static double best_of(Pool *pool, size_t items, void (*work)(void *, size_t, int), void *user)
{
    double best = 1e30;
    for (int i = 0; i < TRIES; i++) {
        double begin = now_s();
        pool_run(pool, items, work, user);
        double took = now_s() - begin;
        best = took < best ? took : best;
    }
    return best;
}

int limits_measure(Pool *pool, Limits *limits)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return -ENOTSUP;
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
    size_t threads = (size_t)pool_threads(pool), lanes = wide ? 16 : 8;
    limits->cpu = wide ? "avx512" : "avx2";
    double done = (double)threads * ROUNDS * CHAINS * (double)lanes;
    limits->f32_gflops =
        2 * done / best_of(pool, threads, wide ? f32_avx512 : f32_avx2, NULL) * 1e-9;
    /* Two products a lane of 32 bits. */
    limits->s16_gops = 4 * done / best_of(pool, threads, wide ? s16_avx512 : s16_avx2, NULL) * 1e-9;
    limits->bf16_gflops = limits->s8_gops = 0;
    if (wide && __builtin_cpu_supports("avx512bf16"))
        limits->bf16_gflops = 4 * done / best_of(pool, threads, bf16_avx512, NULL) * 1e-9;
    if (wide && __builtin_cpu_supports("avx512vnni"))
        limits->s8_gops = 8 * done / best_of(pool, threads, s8_avx512, NULL) * 1e-9;
    char *memory = mem_new_aligned(READ_BYTES, 1);
    if (!memory)
        return -ENOMEM;
    memset(memory, 1, READ_BYTES);
    limits->read_gb_s =
        READ_BYTES / best_of(pool, READ_BYTES / READ_ITEM, read_item, memory) * 1e-9;
    free(memory);
    return 0;
}

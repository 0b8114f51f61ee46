/* Loops that do nothing but what is counted. See limits.h. */
#include "bench/limits.h"

#include "base/mem.h"
#include "model/amx.h"

#include <errno.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum {
    CHAINS = 10,       /* sums that do not wait for each other */
    ROUNDS = 20000000, /* of each thread */
    AMX_ROUNDS = 1000000,
    AMX_MACS = 4 * 16 * 16 * 32, /* of a round of bf16; of bytes twice that */
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

/* NAME: CHAINS sums of TYPE, begun with SET(chain), each made STEP(sum) ROUNDS times, and a lane of
 * each taken by LANE(sum). REGISTER: a class of the compiler's; each step is done, and by itself.
 */
#define LOOP(NAME, TARGET, TYPE, REGISTER, SET, STEP, LANE)                                        \
    __attribute__((target(TARGET))) static void NAME(void *user, size_t item, int thread)          \
    {                                                                                              \
        (void)user;                                                                                \
        (void)item;                                                                                \
        (void)thread;                                                                              \
        TYPE sum[CHAINS];                                                                          \
        _Pragma("GCC unroll 10") for (int c = 0; c < CHAINS; c++) sum[c] = SET(c);                 \
        for (int i = 0; i < ROUNDS; i++)                                                           \
            _Pragma("GCC unroll 10") for (int c = 0; c < CHAINS; c++)                              \
            {                                                                                      \
                sum[c] = STEP(sum[c]);                                                             \
                __asm__ volatile("" : "+" REGISTER(sum[c]));                                       \
            }                                                                                      \
        /* Unrolled, or the sums live in memory. */                                                \
        _Pragma("GCC unroll 10") for (int c = 0; c < CHAINS; c++) sink += (uint32_t)LANE(sum[c]);  \
    }

#define SET_PS8(c)    _mm256_set1_ps((float)(c))
#define STEP_F32_8(s) _mm256_fmadd_ps(s, _mm256_set1_ps(0.999f), _mm256_set1_ps(0.001f))
LOOP(f32_avx2, "avx2,fma", __m256, "x", SET_PS8, STEP_F32_8, _mm256_cvtss_f32)

#define LANE_I8(s) _mm_extract_epi32(_mm256_castsi256_si128(s), 0)
/* The factor is one that the compiler cannot know: else it makes the product once. */
#define STEP_S16_8(s)                                                                              \
    ({                                                                                             \
        __m256i factor = _mm256_set1_epi16(3);                                                     \
        __asm__ volatile("" : "+x"(factor));                                                       \
        _mm256_add_epi32(s, _mm256_madd_epi16(factor, _mm256_set1_epi16(-5)));                     \
    })
LOOP(s16_avx2, "avx2,fma", __m256i, "x", _mm256_set1_epi32, STEP_S16_8, LANE_I8)

#define SET_PS16(c)    _mm512_set1_ps((float)(c))
#define STEP_F32_16(s) _mm512_fmadd_ps(s, _mm512_set1_ps(0.999f), _mm512_set1_ps(0.001f))
LOOP(f32_avx512, "avx512f,avx512bw", __m512, "v", SET_PS16, STEP_F32_16, _mm512_cvtss_f32)

#define LANE_I16(s) _mm_extract_epi32(_mm512_castsi512_si128(s), 0)
#define STEP_S16_16(s)                                                                             \
    ({                                                                                             \
        __m512i factor = _mm512_set1_epi16(3);                                                     \
        __asm__ volatile("" : "+v"(factor));                                                       \
        _mm512_add_epi32(s, _mm512_madd_epi16(factor, _mm512_set1_epi16(-5)));                     \
    })
LOOP(s16_avx512, "avx512f,avx512bw", __m512i, "v", _mm512_set1_epi32, STEP_S16_16, LANE_I16)

#define STEP_BF16_16(s)                                                                            \
    _mm512_dpbf16_ps(s, (__m512bh)_mm512_set1_epi16(0x3F7F), (__m512bh)_mm512_set1_epi16(0x3A80))
LOOP(bf16_avx512, "avx512f,avx512bf16", __m512, "v", SET_PS16, STEP_BF16_16, _mm512_cvtss_f32)

#define STEP_S8_16(s) _mm512_dpbusd_epi32(s, _mm512_set1_epi8(3), _mm512_set1_epi8(-5))
LOOP(s8_avx512, "avx512f,avx512vnni", __m512i, "v", _mm512_set1_epi32, STEP_S8_16, LANE_I16)

/* Four sums of two tiles by two, as products have them, all of zeros. */
static void amx_begin(void)
{
    AmxConfig c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.rows[i] = AMX_ROWS;
        c.bytes[i] = AMX_BYTES;
    }
    amx_configure(&c);
}

static void bf16_amx(void *user, size_t item, int thread)
{
    (void)user;
    (void)item;
    (void)thread;
    amx_begin();
    for (int i = 0; i < AMX_ROUNDS; i++) {
        AMX_DOT_BF16(0, 4, 6);
        AMX_DOT_BF16(1, 4, 7);
        AMX_DOT_BF16(2, 5, 6);
        AMX_DOT_BF16(3, 5, 7);
    }
    amx_release();
}

static void s8_amx(void *user, size_t item, int thread)
{
    (void)user;
    (void)item;
    (void)thread;
    amx_begin();
    for (int i = 0; i < AMX_ROUNDS; i++) {
        AMX_DOT_S8U8(0, 4, 6);
        AMX_DOT_S8U8(1, 4, 7);
        AMX_DOT_S8U8(2, 5, 6);
        AMX_DOT_S8U8(3, 5, 7);
    }
    amx_release();
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
    if (wide && amx_usable()) {
        limits->cpu = "amx";
        done = 2.0 * (double)threads * AMX_ROUNDS * AMX_MACS;
        limits->bf16_gflops = done / best_of(pool, threads, bf16_amx, NULL) * 1e-9;
        limits->s8_gops = 2 * done / best_of(pool, threads, s8_amx, NULL) * 1e-9;
    }
    return 0;
}

void *limits_memory(void)
{
    char *memory = mem_new_aligned(LIMITS_READ_BYTES, 1);
    if (memory)
        memset(memory, 1, LIMITS_READ_BYTES);
    return memory;
}

void limits_read(Pool *pool, const void *memory)
{
    pool_run(pool, LIMITS_READ_BYTES / READ_ITEM, read_item, (void *)(uintptr_t)memory);
}

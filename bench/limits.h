/*
 * What this machine can do at most: multiply-adds on registers, measured, and reading memory, to be
 * timed beside what reads it; with the threads of a pool.
 */
#ifndef WHEN_BENCH_LIMITS_H
#define WHEN_BENCH_LIMITS_H

#include "model/pool.h"

typedef struct Limits {
    const char *cpu;    /* "avx2", "avx512" or "amx": of the loops below */
    double f32_gflops;  /* fused multiply-adds, two operations each */
    double s16_gops;    /* products of 16-bit integers summed in pairs, and added: int8 without
                           instructions of its own */
    double bf16_gflops; /* products of bf16 in pairs, by tiles with AMX; 0: no such instruction. So
                           too: */
    double s8_gops;     /* products of 8-bit integers in fours */
} Limits;

/* -ENOTSUP: a CPU without AVX2. */
int limits_measure(Pool *pool, Limits *limits);

/* Memory that is read once by limits_read, from begin to end, by all threads: LIMITS_READ_BYTES,
 * touched. NULL: no memory; free() it. */
#define LIMITS_READ_BYTES ((size_t)1 << 30)
void *limits_memory(void);
void limits_read(Pool *pool, const void *memory);

#endif

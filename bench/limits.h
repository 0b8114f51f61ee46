/*
 * What this machine can do at most, measured: multiply-adds on registers and reading memory, with
 * the threads of a pool.
 */
#ifndef WHEN_BENCH_LIMITS_H
#define WHEN_BENCH_LIMITS_H

#include "model/pool.h"

typedef struct Limits {
    const char *cpu;    /* "avx2" or "avx512": of the loops below */
    double f32_gflops;  /* fused multiply-adds, two operations each */
    double s16_gops;    /* products of 16-bit integers summed in pairs, and added: int8 without
                           instructions of its own */
    double bf16_gflops; /* products of bf16 in pairs; 0: no such instruction. So too: */
    double s8_gops;     /* products of 8-bit integers in fours */
    double read_gb_s;   /* 10^9 bytes a second, 1 GiB read once */
} Limits;

/* -ENOMEM, -ENOTSUP: a CPU without AVX2. */
int limits_measure(Pool *pool, Limits *limits);

#endif

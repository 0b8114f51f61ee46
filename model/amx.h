/*
 * AMX's tile instructions: eight registers of up to 16 rows of 64 bytes, of shapes that a
 * configuration gives them. By the assembler itself: gcc 12's header passes 8 bytes of the
 * configuration's 64 to the compiler, which then leaves the others unwritten. Only for
 * kernels_amx.c and what measures or proves it; kernels.h says whether the CPU has them.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
 */
#ifndef WHEN_MODEL_AMX_H
#define WHEN_MODEL_AMX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AMX_ROWS = 16, AMX_BYTES = 64 };

typedef struct AmxConfig {
    uint8_t palette; /* 1 */
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t bytes[16]; /* of a row of tile i; 0, and no rows: not used */
    uint8_t rows[16];
} AmxConfig;

/* Does this CPU have AMX_TILE, AMX_BF16 and AMX_INT8, and may this process use them? Asks the
 * kernel for permission: once a process, before it is used. */
bool amx_usable(void);

/* All tiles become zero. */
static inline void amx_configure(const AmxConfig *config)
{
    __asm__ volatile("ldtilecfg %0" : : "m"(*config));
}

/* Back to the state that costs nothing when threads are switched. */
static inline void amx_release(void)
{
    __asm__ volatile("tilerelease");
}

#define AMX_ZERO(TILE) __asm__ volatile("tilezero %tmm" #TILE)

/* Rows `stride` bytes apart. */
#define AMX_LOAD(TILE, FROM, STRIDE)                                                               \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #TILE                                            \
                     :                                                                             \
                     : "r"(FROM), "r"((size_t)(STRIDE))                                            \
                     : "memory")
#define AMX_STORE(TILE, TO, STRIDE)                                                                \
    __asm__ volatile("tilestored %%tmm" #TILE ", (%0,%1,1)"                                        \
                     :                                                                             \
                     : "r"(TO), "r"((size_t)(STRIDE))                                              \
                     : "memory")

/* SUM [m][n] += A [m][k] . B [k / pair][n][pair]: bf16 in pairs, or in fours of signed bytes of A
 * and unsigned ones of B. Pairs: the products of even and of odd k are summed apart, from zero, in
 * rising order, each rounded once (fused); then both together, then to SUM. */
#define AMX_DOT_BF16(SUM, A, B) __asm__ volatile("tdpbf16ps %tmm" #B ", %tmm" #A ", %tmm" #SUM)
#define AMX_DOT_S8U8(SUM, A, B) __asm__ volatile("tdpbsud %tmm" #B ", %tmm" #A ", %tmm" #SUM)

#endif

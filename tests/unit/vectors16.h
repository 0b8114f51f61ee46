/*
 * The vectors of kernels_body.h, kernels_gemm_body.h and kernels_dot_body.h as arrays of 16, for
 * the tests of their loops on CPUs without AVX-512.
 */
#ifndef WHEN_TESTS_VECTORS16_H
#define WHEN_TESTS_VECTORS16_H

#include "model/kernels.h"

#include <math.h>
#include <string.h>

/* A kernel of hundreds of these, inlined, keeps the compiler busy for a minute. */
#define NOT_INLINE __attribute__((noinline, unused))

typedef struct VEC {
    float lane[16];
} VEC;
#define VEC_N 16
#define EACH(expression)                                                                           \
    VEC out;                                                                                       \
    for (int i = 0; i < 16; i++)                                                                   \
        out.lane[i] = (expression);                                                                \
    return out
static NOT_INLINE VEC V_SET(float x)
{
    EACH(x);
}
static NOT_INLINE VEC V_ZERO(void)
{
    return V_SET(0);
}
static NOT_INLINE VEC V_LOAD(const float *p)
{
    EACH(p[i]);
}
static NOT_INLINE void V_STORE(float *p, VEC v)
{
    memcpy(p, v.lane, sizeof v.lane);
}
static NOT_INLINE VEC V_ADD(VEC a, VEC b)
{
    EACH(a.lane[i] + b.lane[i]);
}
static NOT_INLINE VEC V_SUB(VEC a, VEC b)
{
    EACH(a.lane[i] - b.lane[i]);
}
static NOT_INLINE VEC V_MUL(VEC a, VEC b)
{
    EACH(a.lane[i] * b.lane[i]);
}
static NOT_INLINE VEC V_DIV(VEC a, VEC b)
{
    EACH(a.lane[i] / b.lane[i]);
}
static NOT_INLINE VEC V_MAX(VEC a, VEC b)
{
    EACH(a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]);
}
static NOT_INLINE VEC V_MIN(VEC a, VEC b)
{
    EACH(a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]);
}
static NOT_INLINE VEC V_FMA(VEC a, VEC b, VEC c)
{
    EACH(fmaf(a.lane[i], b.lane[i], c.lane[i]));
}
static NOT_INLINE VEC V_ROUND(VEC v)
{
    EACH(rintf(v.lane[i]));
}
static NOT_INLINE VEC V_POW2(VEC v)
{
    EACH(ldexpf(1, (int)v.lane[i]));
}
static NOT_INLINE VEC V_BF16(const uint16_t *p)
{
    EACH(kernel_bf16(p[i]));
}
static NOT_INLINE VEC V_S8(const int8_t *p)
{
    EACH((float)p[i]);
}
static NOT_INLINE VEC V_BF16_EVEN(const uint16_t *p)
{
    EACH(kernel_bf16(p[2 * i]));
}
static NOT_INLINE VEC V_BF16_ODD(const uint16_t *p)
{
    EACH(kernel_bf16(p[2 * i + 1]));
}
static NOT_INLINE float V_SUM(VEC v)
{
    float sum = 0;
    for (int i = 0; i < 16; i++)
        sum += v.lane[i];
    return sum;
}
static NOT_INLINE float V_MAXIMUM(VEC v)
{
    float best = v.lane[0];
    for (int i = 1; i < 16; i++)
        best = v.lane[i] > best ? v.lane[i] : best;
    return best;
}

typedef union IVEC {
    int32_t s32[16];
    int16_t s16[32];
    int8_t s8[64];
    uint8_t u8[64];
} IVEC;
#define EACH_I(count, member, expression)                                                          \
    IVEC out;                                                                                      \
    for (int i = 0; i < (count); i++)                                                              \
        out.member[i] = (expression);                                                              \
    return out
static NOT_INLINE IVEC I_LOAD(const void *p)
{
    IVEC out;
    memcpy(&out, p, sizeof out);
    return out;
}
static NOT_INLINE void I_STORE(void *p, IVEC v)
{
    memcpy(p, &v, sizeof v);
}
static NOT_INLINE IVEC I_ZERO(void)
{
    EACH_I(16, s32, 0);
}
static NOT_INLINE IVEC I_SET4(const void *p)
{
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    EACH_I(16, s32, bits);
}
static NOT_INLINE IVEC I_ADD32(IVEC a, IVEC b)
{
    EACH_I(16, s32, (int32_t)((uint32_t)a.s32[i] + (uint32_t)b.s32[i]));
}
static NOT_INLINE IVEC I_ADD16(IVEC a, IVEC b)
{
    EACH_I(32, s16, (int16_t)(uint16_t)(a.s16[i] + b.s16[i]));
}
static NOT_INLINE IVEC I_MADD16(IVEC a, IVEC b)
{
    EACH_I(16, s32, a.s16[2 * i] * b.s16[2 * i] + a.s16[2 * i + 1] * b.s16[2 * i + 1]);
}
static NOT_INLINE int16_t saturated(int x)
{
    return (int16_t)(x > INT16_MAX ? INT16_MAX : x < INT16_MIN ? INT16_MIN : x);
}
static NOT_INLINE IVEC I_MADDU8(IVEC a, IVEC b)
{
    EACH_I(32, s16, saturated(a.u8[2 * i] * b.s8[2 * i] + a.u8[2 * i + 1] * b.s8[2 * i + 1]));
}
static NOT_INLINE IVEC I_PAIRS(IVEC a)
{
    EACH_I(16, s32, a.s16[2 * i] + a.s16[2 * i + 1]);
}
static NOT_INLINE IVEC I_WIDEN8(const int8_t *p)
{
    EACH_I(32, s16, p[i]);
}
static NOT_INLINE IVEC I_LOW4(IVEC a)
{
    EACH_I(64, u8, a.u8[i] & 15);
}
static NOT_INLINE IVEC I_HIGH4(IVEC a)
{
    EACH_I(64, u8, a.u8[i] >> 4);
}
static NOT_INLINE VEC I_TO_V(IVEC a)
{
    EACH((float)a.s32[i]);
}
static NOT_INLINE IVEC V_TO_I(VEC a)
{
    EACH_I(16, s32, (int32_t)rintf(a.lane[i]));
}
static NOT_INLINE void V_STORE_S8(int8_t *p, VEC v)
{
    for (int i = 0; i < 16; i++)
        p[i] = (int8_t)rintf(v.lane[i]);
}
static NOT_INLINE void V_STORE_BF16(uint16_t *p, VEC v)
{
    for (int i = 0; i < 16; i++)
        p[i] = kernel_to_bf16(v.lane[i]);
}
#define V_STORE_SHARE V_STORE_BF16
static NOT_INLINE IVEC I_DOT_U8(IVEC sum, IVEC w, IVEC x)
{
    EACH_I(16, s32,
           sum.s32[i] + w.u8[4 * i] * x.s8[4 * i] + w.u8[4 * i + 1] * x.s8[4 * i + 1] +
               w.u8[4 * i + 2] * x.s8[4 * i + 2] + w.u8[4 * i + 3] * x.s8[4 * i + 3]);
}
static NOT_INLINE float bf16_of(const IVEC *v, int i)
{
    return kernel_bf16((uint16_t)v->s16[i]);
}
static NOT_INLINE VEC V_DOT_BF16(VEC sum, IVEC w, IVEC x)
{
    EACH(fmaf(bf16_of(&w, 2 * i + 1), bf16_of(&x, 2 * i + 1),
              fmaf(bf16_of(&w, 2 * i), bf16_of(&x, 2 * i), sum.lane[i])));
}
#define V_DOT_BF16          V_DOT_BF16
/* As a CPU without I_DOT_U8 does it, which the wide CPUs' own tests do not run. */
#define I_Q4_BEGIN(p)       I_ZERO()
#define I_Q4_DOT(sum, w, x) I_ADD16(sum, I_MADDU8(w, x))
#define I_Q4_END(sum, p)    I_ADD32(I_PAIRS(sum), I_SET4(p))

static NOT_INLINE VEC V_ABS(VEC a)
{
    EACH(fabsf(a.lane[i]));
}

#endif

/*
 * kernels_body.h over 16 floats: AVX-512 F (with BW, DQ and VL, which every server CPU with it
 * has). Everything below the pragma is compiled for that CPU, so this file holds nothing that runs
 * before kernels.c has asked the CPU.
 */
#include "model/kernels_table.h"

#include <math.h>
#include <string.h>

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#include <immintrin.h>

typedef __m512 VEC;
#define VEC_N         16
#define V_ZERO()      _mm512_setzero_ps()
#define V_SET(x)      _mm512_set1_ps(x)
#define V_LOAD(p)     _mm512_loadu_ps(p)
#define V_STORE(p, v) _mm512_storeu_ps(p, v)
#define V_ADD         _mm512_add_ps
#define V_SUB         _mm512_sub_ps
#define V_MUL         _mm512_mul_ps
#define V_DIV         _mm512_div_ps
#define V_MAX         _mm512_max_ps
#define V_MIN         _mm512_min_ps
#define V_FMA         _mm512_fmadd_ps
#define V_ROUND(v)    _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define V_SUM         _mm512_reduce_add_ps
#define V_MAXIMUM     _mm512_reduce_max_ps

static inline VEC V_POW2(VEC v)
{
    __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}

static inline VEC V_BF16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

static inline VEC V_BF16_EVEN(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}

static inline VEC V_BF16_ODD(const uint16_t *p)
{
    __m512i high = _mm512_set1_epi32((int)0xffff0000u);
    return _mm512_castsi512_ps(_mm512_and_epi32(_mm512_loadu_si512(p), high));
}

static inline VEC V_S8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

typedef __m512i IVEC;
#define I_LOAD(p)     _mm512_loadu_si512(p)
#define I_STORE(p, v) _mm512_storeu_si512(p, v)
#define I_ZERO()      _mm512_setzero_si512()
#define I_ADD32       _mm512_add_epi32
#define I_ADD16       _mm512_add_epi16
#define I_MADD16      _mm512_madd_epi16
#define I_MADDU8      _mm512_maddubs_epi16
#define I_PAIRS(v)    _mm512_madd_epi16(v, _mm512_set1_epi16(1))
#define I_WIDEN8(p)   _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(p)))
#define I_LOW4(v)     _mm512_and_si512(v, _mm512_set1_epi8(15))
#define I_HIGH4(v)    _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15))
#define I_TO_V        _mm512_cvtepi32_ps
#define V_TO_I        _mm512_cvtps_epi32
#define V_ABS         _mm512_abs_ps

static inline __m512i I_SET4(const void *p)
{
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    return _mm512_set1_epi32(bits);
}

#include "model/kernels_body.h"
#include "model/kernels_gemm_body.h"

const GemmKernels gemm_kernels_avx512 = BODY_GEMM;
const KernelTable kernels_avx512 = BODY_TABLE(KERNEL_AVX512, "avx512", &gemm_kernels_avx512);

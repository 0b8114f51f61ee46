/*
 * The vectors of kernels_body.h and kernels_gemm_body.h as AVX-512 registers: included below the
 * pragma that names the CPU, by kernels_avx512*.c alone.
 */
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

static inline __m256i V_TO_BF16(VEC v)
{
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_srli_epi32(
        _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
    const __m512i nan = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(
        _mm512_mask_mov_epi32(up, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), nan));
}
#define V_STORE_BF16(p, v) _mm256_storeu_si256((__m256i *)(p), V_TO_BF16(v))
/* The CPU's own instruction takes subnormal numbers for zeros. */
#ifdef CPU_BF16
#define V_STORE_SHARE(p, v) _mm256_storeu_si256((__m256i *)(p), (__m256i)_mm512_cvtneps_pbh(v))
#else
#define V_STORE_SHARE V_STORE_BF16
#endif
#define V_STORE_S8(p, v) _mm_storeu_si128((__m128i *)(p), _mm512_cvtepi32_epi8(V_TO_I(v)))

#ifdef I_DOT_U8
#define I_Q4_BEGIN(p)       I_SET4(p)
#define I_Q4_DOT(sum, w, x) I_DOT_U8(sum, w, x)
#define I_Q4_END(sum, p)    ((void)(p), (sum))
#else
#define I_Q4_BEGIN(p)       I_ZERO()
#define I_Q4_DOT(sum, w, x) I_ADD16(sum, I_MADDU8(w, x))
#define I_Q4_END(sum, p)    I_ADD32(I_PAIRS(sum), I_SET4(p))
#endif

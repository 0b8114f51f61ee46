/* Loops over rows of pixels. See rows.h. */
#include "pipeline/rows.h"

#include <immintrin.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* --- any CPU --- */

/* The upper half of a 16-bit product: rounds towards minus infinity. */
static inline int upper(int a, int b)
{
    return a * b >> 16;
}

static inline uint8_t clamped(int x)
{
    return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
}

static void to_rgb_generic(const YuvMatrix *m, const uint8_t *y, const uint8_t *u, const uint8_t *v,
                           size_t step, size_t n, uint8_t *rgb)
{
    for (size_t i = 0; i < n; i++, rgb += 3) {
        const size_t c = i / 2 * step;
        const int luma = upper(y[i] * 8 - m->y_offset, m->y);
        const int cb = u[c] * 8 - 1024, cr = v[c] * 8 - 1024;
        rgb[0] = clamped(luma + upper(cr, m->v_to_r));
        rgb[1] = clamped(luma + upper(cb, m->u_to_g) + upper(cr, m->v_to_g));
        rgb[2] = clamped(luma + upper(cb, m->u_to_b));
    }
}

enum { BLOCK = 1024, AT_ONCE = 4 }; /* floats that stay in the nearest cache; taps a pass */

static void weigh_generic(const uint8_t *src, size_t stride, size_t n, const float *weights,
                          int taps, float *restrict out)
{
    for (size_t begin = 0; begin < n; begin += BLOCK) {
        size_t end = begin + BLOCK < n ? begin + BLOCK : n;
        for (size_t i = begin; i < end; i++)
            out[i] = 0;
        int j = 0;
        for (; j + AT_ONCE <= taps; j += AT_ONCE) {
            const uint8_t *a = src + (size_t)j * stride, *b = a + stride, *c = b + stride,
                          *d = c + stride;
            const float *w = weights + j;
            for (size_t i = begin; i < end; i++)
                out[i] += (w[0] * (float)a[i] + w[1] * (float)b[i]) +
                          (w[2] * (float)c[i] + w[3] * (float)d[i]);
        }
        for (; j < taps; j++) {
            const uint8_t *a = src + (size_t)j * stride;
            for (size_t i = begin; i < end; i++)
                out[i] += weights[j] * (float)a[i];
        }
    }
}

/* --- SSSE3 --- */

/* 8 chroma samples, centred, times 8; each for two pixels: lo and hi have 8 pixels. */
__attribute__((target("ssse3"))) static inline void chroma_of(const uint8_t *p, size_t step,
                                                              __m128i *lo, __m128i *hi)
{
    __m128i c = step == 1 ? _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(const void *)p),
                                              _mm_setzero_si128())
                          : _mm_and_si128(_mm_loadu_si128((const __m128i *)(const void *)p),
                                          _mm_set1_epi16(255));
    c = _mm_sub_epi16(_mm_slli_epi16(c, 3), _mm_set1_epi16(1024));
    *lo = _mm_unpacklo_epi16(c, c);
    *hi = _mm_unpackhi_epi16(c, c);
}

/* Which pixel's r, g, b goes to each of 48 bytes; -1: another colour is there. */
static const int8_t PLACES[3][3][16] = {
    {{0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1, 5},
     {-1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1},
     {-1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1}},
    {{-1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10, -1},
     {5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10},
     {-1, 5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1}},
    {{-1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1, -1},
     {-1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1},
     {10, -1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15}}};

/* r, g, b of 16 pixels to 48 bytes. */
__attribute__((target("ssse3"))) static inline void store_rgb(uint8_t *out, __m128i r, __m128i g,
                                                              __m128i b)
{
    for (int k = 0; k < 3; k++) {
        const __m128i *f = (const __m128i *)(const void *)PLACES[k];
        __m128i bytes = _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(r, _mm_loadu_si128(f)),
                                                  _mm_shuffle_epi8(g, _mm_loadu_si128(f + 1))),
                                     _mm_shuffle_epi8(b, _mm_loadu_si128(f + 2)));
        _mm_storeu_si128((__m128i *)(void *)(out + 16 * k), bytes);
    }
}

__attribute__((target("ssse3"))) static void to_rgb_ssse3(const YuvMatrix *m, const uint8_t *y,
                                                          const uint8_t *u, const uint8_t *v,
                                                          size_t step, size_t n, uint8_t *rgb)
{
    const __m128i zero = _mm_setzero_si128(), offset = _mm_set1_epi16(m->y_offset);
    const __m128i my = _mm_set1_epi16(m->y), rv = _mm_set1_epi16(m->v_to_r),
                  gu = _mm_set1_epi16(m->u_to_g), gv = _mm_set1_epi16(m->v_to_g),
                  bu = _mm_set1_epi16(m->u_to_b);
    size_t i = 0;
    /* In NV12 a load of 8 of V ends one byte behind them: the last ones go the plain way. */
    for (; (step == 1 || step == 2) && i + 16 + (step == 2) <= n; i += 16) {
        __m128i raw = _mm_loadu_si128((const __m128i *)(const void *)(y + i));
        __m128i u2[2], v2[2], r[2], g[2], b[2];
        chroma_of(u + i / 2 * step, step, &u2[0], &u2[1]);
        chroma_of(v + i / 2 * step, step, &v2[0], &v2[1]);
        for (int k = 0; k < 2; k++) {
            __m128i luma = k ? _mm_unpackhi_epi8(raw, zero) : _mm_unpacklo_epi8(raw, zero);
            luma = _mm_mulhi_epi16(_mm_sub_epi16(_mm_slli_epi16(luma, 3), offset), my);
            r[k] = _mm_add_epi16(luma, _mm_mulhi_epi16(v2[k], rv));
            g[k] = _mm_add_epi16(
                luma, _mm_add_epi16(_mm_mulhi_epi16(u2[k], gu), _mm_mulhi_epi16(v2[k], gv)));
            b[k] = _mm_add_epi16(luma, _mm_mulhi_epi16(u2[k], bu));
        }
        store_rgb(rgb + 3 * i, _mm_packus_epi16(r[0], r[1]), _mm_packus_epi16(g[0], g[1]),
                  _mm_packus_epi16(b[0], b[1]));
    }
    if (i < n)
        to_rgb_generic(m, y + i, u + i / 2 * step, v + i / 2 * step, step, n - i, rgb + 3 * i);
}

/* --- AVX2 --- */

__attribute__((target("avx2"))) static inline __m256 floats(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(
        _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

/* The same sums in the same order as weigh_generic: the same bits. */
__attribute__((target("avx2"))) static void weigh_avx2(const uint8_t *src, size_t stride, size_t n,
                                                       const float *weights, int taps, float *out)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256 lo = _mm256_setzero_ps(), hi = lo;
        int j = 0;
        for (; j + AT_ONCE <= taps; j += AT_ONCE) {
            const uint8_t *p = src + (size_t)j * stride + i;
            __m256 pl[2], ph[2];
            for (int k = 0; k < 2; k++, p += 2 * stride) {
                __m256 w = _mm256_set1_ps(weights[j + 2 * k]);
                __m256 x = _mm256_set1_ps(weights[j + 2 * k + 1]);
                pl[k] = _mm256_add_ps(_mm256_mul_ps(w, floats(p)),
                                      _mm256_mul_ps(x, floats(p + stride)));
                ph[k] = _mm256_add_ps(_mm256_mul_ps(w, floats(p + 8)),
                                      _mm256_mul_ps(x, floats(p + stride + 8)));
            }
            lo = _mm256_add_ps(lo, _mm256_add_ps(pl[0], pl[1]));
            hi = _mm256_add_ps(hi, _mm256_add_ps(ph[0], ph[1]));
        }
        for (; j < taps; j++) {
            const uint8_t *p = src + (size_t)j * stride + i;
            __m256 w = _mm256_set1_ps(weights[j]);
            lo = _mm256_add_ps(lo, _mm256_mul_ps(w, floats(p)));
            hi = _mm256_add_ps(hi, _mm256_mul_ps(w, floats(p + 8)));
        }
        _mm256_storeu_ps(out + i, lo);
        _mm256_storeu_ps(out + i + 8, hi);
    }
    if (i < n)
        weigh_generic(src + i, stride, n - i, weights, taps, out + i);
}

/* --- the choice --- */

static const Rows GENERIC = {"generic", to_rgb_generic, weigh_generic};
static const Rows SSSE3 = {"ssse3", to_rgb_ssse3, weigh_generic};
static const Rows AVX2 = {"avx2", to_rgb_ssse3, weigh_avx2};
static const Rows *chosen = &GENERIC;

static void choose(void)
{
    const char *forced = getenv("WHEN_CPU");
    __builtin_cpu_init();
    if (forced && strcmp(forced, "generic") == 0)
        return;
    if (__builtin_cpu_supports("avx2"))
        chosen = &AVX2;
    else if (__builtin_cpu_supports("ssse3"))
        chosen = &SSSE3;
}

const Rows *rows(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose);
    return chosen;
}

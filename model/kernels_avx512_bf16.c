/*
 * kernels_body.h over 16 floats: AVX-512 with VNNI and BF16, which multiplies bytes
 * in fours and bf16 in pairs (Zen 4, Cooper Lake, Sapphire Rapids and what came after).
 * Everything below the pragma is compiled for that CPU, so this file holds nothing that runs before
 * kernels.c has asked the CPU.
 */
#include "model/kernels_table.h"

#include <math.h>
#include <string.h>

#define CPU_BF16
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma,avx512vnni,avx512bf16")
#define I_DOT_U8(sum, w, x)   _mm512_dpbusd_epi32(sum, w, x)
#define V_DOT_BF16(sum, w, x) _mm512_dpbf16_ps(sum, (__m512bh)(w), (__m512bh)(x))
#include "model/kernels_avx512.h"

#include "model/kernels_body.h"
#include "model/kernels_gemm_body.h"

#include "model/kernels_dot_body.h"

const GemmKernels gemm_kernels_avx512_bf16 = {BODY_GEMM, BODY_GEMM_U8, BODY_GEMM_BF16};
const KernelTable kernels_avx512_bf16 = {
    BODY_TABLE(KERNEL_AVX512_BF16, "avx512bf16", &gemm_kernels_avx512_bf16),
    .tile_pairs = body_tile_pairs};

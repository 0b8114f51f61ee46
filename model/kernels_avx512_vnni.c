/*
 * kernels_body.h over 16 floats: AVX-512 with VNNI, which multiplies bytes in fours
 * (Cascade Lake, Ice Lake).
 * Everything below the pragma is compiled for that CPU, so this file holds nothing that runs before
 * kernels.c has asked the CPU.
 */
#include "model/kernels_table.h"

#include <math.h>
#include <string.h>

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma,avx512vnni")
#define I_DOT_U8(sum, w, x) _mm512_dpbusd_epi32(sum, w, x)
#include "model/kernels_avx512.h"

#include "model/kernels_body.h"
#include "model/kernels_gemm_body.h"

#include "model/kernels_dot_body.h"

const GemmKernels gemm_kernels_avx512_vnni = {BODY_GEMM, BODY_GEMM_U8};
const KernelTable kernels_avx512_vnni = {
    BODY_TABLE(KERNEL_AVX512_VNNI, "avx512vnni", &gemm_kernels_avx512_vnni)};

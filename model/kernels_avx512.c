/*
 * kernels_body.h over 16 floats: AVX-512 F with BW, DQ and VL, which every server
 * CPU with it has.
 * Everything below the pragma is compiled for that CPU, so this file holds nothing that runs before
 * kernels.c has asked the CPU.
 */
#include "model/kernels_table.h"

#include <math.h>
#include <string.h>

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#include "model/kernels_avx512.h"

#include "model/kernels_body.h"
#include "model/kernels_gemm_body.h"

const GemmKernels gemm_kernels_avx512 = {BODY_GEMM};
const KernelTable kernels_avx512 = {BODY_TABLE(KERNEL_AVX512, "avx512", &gemm_kernels_avx512)};

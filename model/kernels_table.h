/* The tables of kernels_gemm.c, kernels_avx2.c and kernels_avx512*.c: only for kernels.c. */
#ifndef WHEN_MODEL_KERNELS_TABLE_H
#define WHEN_MODEL_KERNELS_TABLE_H

#include "model/kernels.h"

extern const GemmKernels gemm_kernels_plain;
extern const GemmKernels gemm_kernels_avx2;
extern const GemmKernels gemm_kernels_avx512;
extern const GemmKernels gemm_kernels_avx512_vnni;
extern const GemmKernels gemm_kernels_avx512_bf16;
extern const GemmKernels gemm_kernels_amx;
extern const KernelTable kernels_avx2;
extern const KernelTable kernels_avx512;
extern const KernelTable kernels_avx512_vnni;
extern const KernelTable kernels_avx512_bf16;
extern const KernelTable kernels_amx;

#endif

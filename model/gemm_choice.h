/*
 * Who multiplies bf16 weights with many rows on this CPU: our kernels or oneDNN.
 * Decided by a short measurement of both on a weight larger than L2, in turns, by one thread and in
 * its own processor time, which other work hardly disturbs; and kept in a file beside the packed
 * weights: the same CPU and oneDNN are not measured again.
 *
 * Ours are taken unless oneDNN is a tenth faster: with them a row has the same bits whatever it is
 * computed with, and few rows cost what reading the weights costs.
 */
#ifndef WHEN_MODEL_GEMM_CHOICE_H
#define WHEN_MODEL_GEMM_CHOICE_H

#include "model/gemm.h"

typedef struct GemmChoice {
    GemmLayout layout;                   /* for weights of GEMM_BF16 */
    double panels_gflops, onednn_gflops; /* of one thread; 0: not measured */
    char text[96]; /* "avx512bf16 (201 GFLOPS a thread, oneDNN 2.6.3: 205)": log and bench */
} GemmChoice;

/* dir: where the choice is kept; NULL: nowhere. measure: false when it is not worth the half
 * second that it takes. Never fails: what cannot be measured, read or written is not chosen, read
 * or written. */
void gemm_choose(const char *dir, bool measure, GemmChoice *choice);

#endif

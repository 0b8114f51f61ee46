/* What a GemmWeight and a Gemm are: only for gemm*.c. */
#ifndef WHEN_MODEL_GEMM_PRIVATE_H
#define WHEN_MODEL_GEMM_PRIVATE_H

#include "model/gemm.h"
#include "model/panels.h"

typedef struct OnednnWeight OnednnWeight;
typedef struct Onednn Onednn;

struct GemmWeight {
    size_t n, k;
    Panels panels;        /* when `packed` is NULL */
    OnednnWeight *packed; /* as oneDNN wants it */
    size_t bytes;         /* of the block of memory */
    const void *block;
    void *own; /* that block, when it is this weight's */
};

/* Memory that grows and is not copied when it does. */
typedef struct GemmScratch {
    void *data;
    size_t bytes;
} GemmScratch;

struct Gemm {
    Pool *pool;
    Onednn *onednn;     /* made when first needed */
    GemmScratch *wide;  /* [threads] */
    GemmScratch inputs; /* rounded to s8 */
};

bool gemm_scratch_need(GemmScratch *scratch, size_t bytes);

/* gemm_panels.c. -ENOMEM. */
int gemm_panels_run(Gemm *gemm, const Panels *panels, const float *x, size_t m, float *y);

/* gemm_onednn*.c. The block of a weight is panels of columns, bf16 or f32 as oneDNN blocks each,
 * then the bias. */
bool onednn_multiplies_bf16(void);
const char *onednn_version(void);
/* -ENOTSUP, -ENOMEM */
int onednn_weight_bytes(bool is_bf16, const GemmSource *source, size_t *bytes);
/* source->values NULL: the block is filled already. */
int onednn_weight_new(bool is_bf16, const GemmSource *source, void *block, OnednnWeight **weight);
void onednn_weight_free(OnednnWeight *weight);
int onednn_run(Gemm *gemm, const OnednnWeight *weight, const float *x, size_t m, float *y);
void onednn_free(Onednn *onednn);

#endif

/*
 * The vision transformer of Qwen2.5-VL (arXiv 2502.13923, section 2.1.1):
 *   pixels [n, 1176] -> patch embedding [n, C] -> windows -> depth x (norm, attention within
 *   windows or within the frame, norm, SwiGLU) -> merger: 4 patches to one token [n / 4, out]
 * Grids (pairs of frames) do not see each other, so a long video is worked through in pieces.
 */
#ifndef WHEN_MODEL_VIT_H
#define WHEN_MODEL_VIT_H

#include "model/compute.h"
#include "model/hparams.h"
#include "model/weights.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Vit Vit;

/* hparams must outlive the result. */
int vit_new(const VisionHparams *hparams, Weights *weights, Vit **vit);
void vit_free(Vit *vit);

/* pixels [t * h * w, 1176]; tokens [t * h * w / 4, out_hidden]. -EINVAL: sides that are no multiple
 * of the merge; -ENOMEM, -EIO. Taps: "patch_embed" (natural order), "block" (window order),
 * "merger" (natural order). */
int vit_run(const Vit *vit, Compute *compute, const float *pixels, const int32_t grid_thw[3],
            float *tokens);

/* Where a frame's patches are computed: order [h * w / 4] is the merged unit at each place of the
 * window order; begins [n_windows + 1] the first patch of each window; all for one frame of h x w
 * patches. Arrays have room for h * w / 4 (+ 1) values. Returns n_windows. */
size_t vit_windows(const VisionHparams *hparams, int h, int w, int32_t *order, int32_t *begins);

/* Rotation of a frame's patches, natural order: cos and sin [h * w, head_dim / 2]. */
void vit_rope(const VisionHparams *hparams, int h, int w, float *cos, float *sin);

#endif

/*
 * The parts of a picture that are never looked at: polygons, blanked before anything else sees the
 * picture. Pure: no GStreamer.
 */
#ifndef WHEN_PIPELINE_MASK_H
#define WHEN_PIPELINE_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MASK_LEVEL = 128 }; /* of each colour of a blanked pixel */

/* A closed polygon in shares of the picture as displayed: [n_points, 2] x, y in 0..1. */
typedef struct MaskShape {
    const float *xy;
    size_t n_points;
} MaskShape;

/* How the decoder's picture lies to the displayed one: displayed(x, y) = decoded(transposed, then
 * mirrored). */
typedef struct MaskTurn {
    bool transpose, flip_x, flip_y;
} MaskTurn;

/* Is this point (shares of the displayed picture) in any of the shapes? Even-odd in each. */
bool mask_contains(const MaskShape *shapes, size_t n, double x, double y);

/* Where a point of the decoded picture is displayed, both as shares. */
void mask_displayed(MaskTurn turn, double column, double row, double *x, double *y);

/* The shapes for decoded pictures of one size. */
typedef struct Mask Mask;
int mask_new(const MaskShape *shapes, size_t n, MaskTurn turn, int width, int height, Mask **mask);
void mask_free(Mask *mask);

/* rgb [height, stride] as decoded, 3 bytes a pixel: every pixel whose centre is in a shape. */
void mask_blank(const Mask *mask, uint8_t *rgb, size_t stride);
size_t mask_pixels(const Mask *mask);

#endif

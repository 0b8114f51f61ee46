/* What of a camera's pictures is looked at. See camera_picture.h. */
#include "pipeline/camera_picture.h"

#include <errno.h>
#include <math.h>

int camera_picture_init(CameraPicture *picture, const When__CameraSetup *setup, Error *err)
{
    *picture = (CameraPicture){0};
    if (setup->n_mask > CAMERA_MAX_SHAPES)
        return error_set(err, EINVAL, EX_CONFIG, "mask: %zu polygons, at most %d are read",
                         setup->n_mask, CAMERA_MAX_SHAPES);
    for (size_t i = 0; i < setup->n_mask; i++) {
        const When__MaskPolygon *polygon = setup->mask[i];
        bool good = polygon->n_xy >= 6 && polygon->n_xy % 2 == 0;
        for (size_t k = 0; k < polygon->n_xy; k++)
            good = good && isfinite(polygon->xy[k]);
        if (!good)
            return error_set(err, EINVAL, EX_CONFIG, "mask: polygon %zu makes no sense", i + 1);
        picture->shapes[i] = (MaskShape){polygon->xy, polygon->n_xy / 2};
    }
    picture->limits = (PictureLimits){.cell_px = (int)setup->cell_px,
                                      .min_pixels = (int64_t)setup->min_pixels,
                                      .max_pixels = (int64_t)setup->max_pixels,
                                      .shapes = picture->shapes,
                                      .n_shapes = setup->n_mask};
    if (setup->gate && setup->gate->refresh_us > 0) {
        picture->limits.gate_sensitivity = setup->gate->sensitivity;
        picture->limits.gate_refresh_us = setup->gate->refresh_us;
    }
    return 0;
}

/* What of a camera's pictures is looked at. See camera_setup.h. */
#include "daemon/camera_setup.h"

#include <string.h>

static void fill_pixels(const CameraConfig *config, When__CameraSetup *setup)
{
    uint64_t most = (uint64_t)config->max_pixels, least = (uint64_t)config->min_pixels;
    if (most && most < setup->max_pixels)
        setup->max_pixels = most;
    /* One cell is the least that the model takes. */
    uint64_t cell = (uint64_t)setup->cell_px * setup->cell_px;
    if (setup->max_pixels < cell)
        setup->max_pixels = cell;
    if (least > setup->min_pixels)
        setup->min_pixels = least;
    if (setup->min_pixels > setup->max_pixels)
        setup->min_pixels = setup->max_pixels;
}

static float sensitivity_of(const char *gate)
{
    if (strcmp(gate, "low") == 0)
        return 0.5f;
    return strcmp(gate, "high") == 0 ? 2.0f : 1.0f;
}

void camera_view_fill(CameraView *view, const CameraConfig *config, When__CameraSetup *setup)
{
    fill_pixels(config, setup);
    setup->max_tokens_per_minute = (uint32_t)config->max_tokens_per_minute;
    setup->keep_for_us = config->keep_for_us;
    if (config->gate && strcmp(config->gate, "off") != 0) {
        when__gate_setup__init(&view->gate);
        view->gate.sensitivity = sensitivity_of(config->gate);
        view->gate.refresh_us = config->gate_refresh_us;
        setup->gate = &view->gate;
    }
    for (size_t i = 0; i < config->n_mask && i < CONFIG_MAX_POLYGONS; i++) {
        when__mask_polygon__init(&view->polygons[i]);
        view->polygons[i].xy = config->mask[i].xy;
        view->polygons[i].n_xy = 2 * config->mask[i].n_points;
        view->polygon_list[i] = &view->polygons[i];
        setup->n_mask = i + 1;
    }
    setup->mask = view->polygon_list;
}

/*
 * `mask:` of a camera: polygons as lists of [x, y]. For config.c alone.
 */
#ifndef WHEN_CONFIG_MASK_H
#define WHEN_CONFIG_MASK_H

#include "config/config.h"
#include "config/table.h"

/* Fills camera->mask; complains about anything but lists of at least three points within 0..1. */
int mask_config_read(TableReader *r, const yaml_node_t *node, const char *name,
                     CameraConfig *camera);
void mask_config_deinit(CameraConfig *camera);
bool mask_config_equal(const CameraConfig *a, const CameraConfig *b);

#endif

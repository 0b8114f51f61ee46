/*
 * A camera's section of whend.yaml. For config.c alone, but for camera_config_equal (config.h).
 */
#ifndef WHEN_CONFIG_CAMERA_H
#define WHEN_CONFIG_CAMERA_H

#include "config/config.h"
#include "config/table.h"

extern const TableKey CAMERA_KEYS[], FPS_KEYS[];

/* The camera's name is set already; `key` is where complaints about what is missing point. 0, or
 * what was complained. */
int camera_config_read(TableReader *r, yaml_node_t *key, yaml_node_t *node, CameraConfig *camera);
void camera_config_deinit(CameraConfig *camera);

#endif

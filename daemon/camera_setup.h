/*
 * The part of a camera worker's setup that shapes what is looked at and kept: frame size, gate,
 * mask, retention. Belongs to camera_fill_setup.
 */
#ifndef WHEN_DAEMON_CAMERA_SETUP_H
#define WHEN_DAEMON_CAMERA_SETUP_H

#include "config/config.h"
#include "proto/worker.pb-c.h"

/* Where the lists of a setup point to; as long-lived as the setup. */
typedef struct CameraView {
    When__GateSetup gate;
    When__MaskPolygon polygons[CONFIG_MAX_POLYGONS], *polygon_list[CONFIG_MAX_POLYGONS];
} CameraView;

/* setup has the model's own cell and pixel limits already: the camera's narrow them. */
void camera_view_fill(CameraView *view, const CameraConfig *config, When__CameraSetup *setup);

#endif

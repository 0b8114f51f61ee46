/*
 * What of a camera's pictures is looked at, out of its setup: frame size, mask, gate.
 */
#ifndef WHEN_PIPELINE_CAMERA_PICTURE_H
#define WHEN_PIPELINE_CAMERA_PICTURE_H

#include "pipeline/picture.h"
#include "proto/worker.pb-c.h"

enum { CAMERA_MAX_SHAPES = 64 };

typedef struct CameraPicture {
    MaskShape shapes[CAMERA_MAX_SHAPES]; /* borrow their points from the setup */
    PictureLimits limits;                /* borrows the shapes */
} CameraPicture;

/* A mask that makes no sense (or has too many shapes) is refused: what must not be seen is not. */
int camera_picture_init(CameraPicture *picture, const When__CameraSetup *setup, Error *err);

#endif

/*
 * How a camera looks in `whenctl cameras`: for people and as JSON. What each counter means stands
 * in docs/operations.md.
 */
#ifndef WHEN_CLIENT_PRINT_CAMERAS_H
#define WHEN_CLIENT_PRINT_CAMERAS_H

#include "base/str.h"
#include "proto/query.pb-c.h"

void print_camera(Str *out, const When__CameraStatus *camera); /* some lines */
void json_camera(Str *out, const When__CameraStatus *camera);  /* a whole object */

#endif

/*
 * From a decoder's raw buffer to a frame for the model: colour conversion, resizing, rotation. Only
 * pictures that the sampler let through come here.
 */
#ifndef WHEN_PIPELINE_PICTURE_H
#define WHEN_PIPELINE_PICTURE_H

#include "base/err.h"
#include "pipeline/frame.h"
#include "pipeline/motion.h"

#include <gst/gst.h>
#include <stdbool.h>

typedef struct Picture Picture; /* holds converter, resizer and buffers; belongs to one thread */

typedef struct PictureLimits {
    int cell_px;
    int64_t min_pixels, max_pixels;
    const MaskShape *shapes; /* [n_shapes] never looked at; as long-lived as the Picture */
    size_t n_shapes;
    float gate_sensitivity;
    int64_t gate_refresh_us; /* 0: no gate */
} PictureLimits;

Picture *picture_new(const PictureLimits *limits);
void picture_free(Picture *p);

/* Value of the image-orientation tag ("rotate-90", "flip-rotate-0", ...); unknown ones: as is. */
void picture_set_orientation(Picture *p, const char *orientation);

/* Width and height of what comes out for these raw caps. */
int picture_prepare(Picture *p, GstCaps *caps, Error *err);
void picture_size(const Picture *p, int *width, int *height);        /* as sent to the model */
void picture_source_size(const Picture *p, int *width, int *height); /* after rotation */

/* Frames a minute for this many visual tokens a minute (two frames share those of a grid), at the
 * size prepared; at least 1; 0 when tokens is 0. */
uint32_t picture_frames_for_tokens(const Picture *p, uint32_t tokens);

/* What is not looked at, for motion_measure of raw pictures. */
void picture_mask_motion(const Picture *p, Motion *motion);

/* What was converted last did not reach the model: the gate begins anew. */
void picture_lost(Picture *p);

/* Fills frame->rgb (borrowed until the next call), width and height; and what the gate found, if
 * there is one (frame->pts_us must be set before). */
int picture_convert(Picture *p, GstSample *sample, Frame *frame, Error *err);

/* Motion of a raw picture; negative when its format has no 8-bit luma to look at. */
float picture_motion(Motion *m, int64_t pts_us, GstSample *sample);

#endif

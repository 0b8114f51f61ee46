/* From a decoder's raw buffer to a frame for the model. See picture.h. */
#include "pipeline/picture.h"

#include "base/mem.h"
#include "pipeline/gate.h"
#include "pipeline/resize.h"
#include "pipeline/yuv.h"

#include <errno.h>
#include <gst/video/video.h>
#include <string.h>

struct Picture {
    PictureLimits limits;
    MaskTurn turn; /* applied to the resized picture */
    GstCaps *caps; /* that the rest was made for */
    GstVideoInfo in, rgb;
    YuvMatrix yuv;
    bool is_yuv; /* of 8 bits 4:2:0; else: */
    GstVideoConverter *converter;
    GstBuffer *full; /* RGB at the source's size */
    Resizer *resizer;
    int width, height; /* of the frame, after rotation */
    uint8_t *resized;  /* before rotation */
    uint8_t *rotated;  /* NULL when there is none */
    Mask *mask;        /* for pictures of the source's size; NULL: all is looked at */
    Gate *gate;        /* NULL: off */
};

Picture *picture_new(const PictureLimits *limits)
{
    Picture *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->limits = *limits;
    if (limits->gate_refresh_us > 0) {
        GateOptions options = {limits->cell_px, limits->gate_sensitivity, limits->gate_refresh_us};
        p->gate = gate_new(&options);
        if (!p->gate) {
            picture_free(p);
            return NULL;
        }
    }
    return p;
}

static void drop_prepared(Picture *p)
{
    gst_clear_caps(&p->caps);
    if (p->converter)
        gst_video_converter_free(p->converter);
    p->converter = NULL;
    gst_clear_buffer(&p->full);
    resizer_free(p->resizer);
    p->resizer = NULL;
    free(p->resized);
    free(p->rotated);
    p->resized = p->rotated = NULL;
    mask_free(p->mask);
    p->mask = NULL;
}

void picture_free(Picture *p)
{
    if (!p)
        return;
    drop_prepared(p);
    gate_free(p->gate);
    free(p);
}

void picture_set_orientation(Picture *p, const char *orientation)
{
    /* out(x, y) = in(transposed, then mirrored): clockwise turns as the tag means them. */
    static const struct {
        const char *name;
        MaskTurn turn;
    } known[] = {
        {"rotate-0", {false, false, false}},       {"rotate-90", {true, true, false}},
        {"rotate-180", {false, true, true}},       {"rotate-270", {true, false, true}},
        {"flip-rotate-0", {false, true, false}},   {"flip-rotate-90", {true, true, true}},
        {"flip-rotate-180", {false, false, true}}, {"flip-rotate-270", {true, false, false}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(orientation, known[i].name) == 0 &&
            (p->turn.transpose != known[i].turn.transpose ||
             p->turn.flip_x != known[i].turn.flip_x || p->turn.flip_y != known[i].turn.flip_y)) {
            p->turn = known[i].turn;
            drop_prepared(p);
        }
}

static int prepare_sizes(Picture *p, Error *err)
{
    int w = GST_VIDEO_INFO_WIDTH(&p->in), h = GST_VIDEO_INFO_HEIGHT(&p->in);
    int r = p->turn.transpose ? resize_target(w, h, p->limits.cell_px, p->limits.min_pixels,
                                              (double)p->limits.max_pixels, &p->height, &p->width)
                              : resize_target(h, w, p->limits.cell_px, p->limits.min_pixels,
                                              (double)p->limits.max_pixels, &p->height, &p->width);
    if (r != 0)
        return error_set(err, EINVAL, EX_DATAERR,
                         "pictures of %d x %d pixels cannot be sized for the model (%s)", w, h,
                         r == RESIZE_ASPECT ? "one side is over 200 times the other"
                                            : "see min_pixels and max_pixels");
    int to_w = p->turn.transpose ? p->height : p->width,
        to_h = p->turn.transpose ? p->width : p->height;
    r = resizer_new(h, w, to_h, to_w, &p->resizer);
    size_t bytes = (size_t)p->width * (size_t)p->height * 3;
    p->resized = mem_new_aligned(bytes, 1);
    bool turned = p->turn.transpose || p->turn.flip_x || p->turn.flip_y;
    if (turned)
        p->rotated = mem_new_aligned(bytes, 1);
    if (r == -EINVAL)
        return error_set(err, EINVAL, EX_DATAERR, "pictures of %d x %d pixels are too large", w, h);
    if (r == 0 && p->limits.n_shapes > 0)
        r = mask_new(p->limits.shapes, p->limits.n_shapes, p->turn, w, h, &p->mask);
    if (r < 0 || !p->resized || (turned && !p->rotated))
        return error_set(err, ENOMEM, EX_OSERR, "no memory for pictures of %d x %d pixels", w, h);
    return 0;
}

/* Whether yuv.h converts these pictures: progressive, 8 bits, chroma of half the sides. */
static bool is_plain_yuv(const GstVideoInfo *in, YuvMatrix *matrix)
{
    const GstVideoFormatInfo *f = in->finfo;
    gdouble kr, kb;
    if (!GST_VIDEO_FORMAT_INFO_IS_YUV(f) || GST_VIDEO_FORMAT_INFO_IS_TILED(f) ||
        GST_VIDEO_FORMAT_INFO_N_COMPONENTS(f) != 3 || GST_VIDEO_FORMAT_INFO_DEPTH(f, 0) != 8 ||
        GST_VIDEO_FORMAT_INFO_DEPTH(f, 1) != 8 || GST_VIDEO_FORMAT_INFO_PSTRIDE(f, 0) != 1 ||
        GST_VIDEO_FORMAT_INFO_W_SUB(f, 1) != 1 || GST_VIDEO_FORMAT_INFO_H_SUB(f, 1) != 1 ||
        GST_VIDEO_INFO_IS_INTERLACED(in) ||
        !gst_video_color_matrix_get_Kr_Kb(in->colorimetry.matrix, &kr, &kb) ||
        (in->colorimetry.range != GST_VIDEO_COLOR_RANGE_0_255 &&
         in->colorimetry.range != GST_VIDEO_COLOR_RANGE_16_235))
        return false;
    *matrix = yuv_matrix(kr, kb, in->colorimetry.range == GST_VIDEO_COLOR_RANGE_0_255);
    return true;
}

static GstVideoConverter *new_converter(Picture *p)
{
    /* Chroma as decoded, each sample for its 2x2 pixels, and no dither: as yuv.h has it. */
    GstStructure *options = gst_structure_new(
        "options", GST_VIDEO_CONVERTER_OPT_CHROMA_MODE, GST_TYPE_VIDEO_CHROMA_MODE,
        GST_VIDEO_CHROMA_MODE_NONE, GST_VIDEO_CONVERTER_OPT_DITHER_METHOD,
        GST_TYPE_VIDEO_DITHER_METHOD, GST_VIDEO_DITHER_NONE, NULL);
    return gst_video_converter_new(&p->in, &p->rgb, options);
}

/* From a mapped picture to mapped RGB. */
static void to_rgb(Picture *p, GstVideoFrame *in, GstVideoFrame *rgb)
{
    if (!p->is_yuv) {
        gst_video_converter_frame(p->converter, in, rgb);
        return;
    }
    const YuvPicture picture = {.y = GST_VIDEO_FRAME_COMP_DATA(in, 0),
                                .u = GST_VIDEO_FRAME_COMP_DATA(in, 1),
                                .v = GST_VIDEO_FRAME_COMP_DATA(in, 2),
                                .y_stride = (size_t)GST_VIDEO_FRAME_COMP_STRIDE(in, 0),
                                .u_stride = (size_t)GST_VIDEO_FRAME_COMP_STRIDE(in, 1),
                                .v_stride = (size_t)GST_VIDEO_FRAME_COMP_STRIDE(in, 2),
                                .chroma_step = (size_t)GST_VIDEO_FRAME_COMP_PSTRIDE(in, 1),
                                .width = GST_VIDEO_FRAME_WIDTH(in),
                                .height = GST_VIDEO_FRAME_HEIGHT(in)};
    yuv_to_rgb(&p->yuv, &picture, GST_VIDEO_FRAME_PLANE_DATA(rgb, 0),
               (size_t)GST_VIDEO_FRAME_PLANE_STRIDE(rgb, 0));
}

int picture_prepare(Picture *p, GstCaps *caps, Error *err)
{
    if (p->caps && (p->caps == caps || gst_caps_is_equal(p->caps, caps)))
        return 0;
    drop_prepared(p);
    if (!gst_video_info_from_caps(&p->in, caps))
        return error_set(err, EINVAL, EX_DATAERR, "the decoder's pictures have no known format");
    int w = GST_VIDEO_INFO_WIDTH(&p->in), h = GST_VIDEO_INFO_HEIGHT(&p->in);
    gst_video_info_set_format(&p->rgb, GST_VIDEO_FORMAT_RGB, (guint)w, (guint)h);
    p->rgb.fps_n = p->in.fps_n; /* the converter wants them equal */
    p->rgb.fps_d = p->in.fps_d;
    p->rgb.par_n = p->in.par_n;
    p->rgb.par_d = p->in.par_d;
    int r = prepare_sizes(p, err);
    if (r < 0) {
        drop_prepared(p);
        return r;
    }
    p->is_yuv = is_plain_yuv(&p->in, &p->yuv);
    if (!p->is_yuv)
        p->converter = new_converter(p);
    p->full = gst_buffer_new_allocate(NULL, GST_VIDEO_INFO_SIZE(&p->rgb), NULL);
    if ((!p->is_yuv && !p->converter) || !p->full) {
        drop_prepared(p);
        return error_set(err, ENOTSUP, EX_DATAERR, "pictures in format %s cannot be converted",
                         GST_VIDEO_INFO_NAME(&p->in));
    }
    p->caps = gst_caps_ref(caps);
    return 0;
}

void picture_size(const Picture *p, int *width, int *height)
{
    *width = p->width;
    *height = p->height;
}

void picture_source_size(const Picture *p, int *width, int *height)
{
    int w = GST_VIDEO_INFO_WIDTH(&p->in), h = GST_VIDEO_INFO_HEIGHT(&p->in);
    *width = p->turn.transpose ? h : w;
    *height = p->turn.transpose ? w : h;
}

static const uint8_t *rotate(Picture *p)
{
    if (!p->rotated)
        return p->resized;
    int w = p->width, h = p->height;
    size_t in_stride = (size_t)(p->turn.transpose ? h : w) * 3;
    uint8_t *out = p->rotated;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, out += 3) {
            int sx = p->turn.flip_x ? w - 1 - x : x, sy = p->turn.flip_y ? h - 1 - y : y;
            size_t row = (size_t)(p->turn.transpose ? sx : sy),
                   column = (size_t)(p->turn.transpose ? sy : sx);
            memcpy(out, p->resized + row * in_stride + column * 3, 3);
        }
    return p->rotated;
}

int picture_convert(Picture *p, GstSample *sample, Frame *frame, Error *err)
{
    GstCaps *caps = gst_sample_get_caps(sample);
    GstBuffer *buffer = gst_sample_get_buffer(sample);
    if (!caps || !buffer)
        return error_set(err, EINVAL, EX_DATAERR, "the decoder sent a picture without a format");
    int r = picture_prepare(p, caps, err);
    if (r < 0)
        return r;
    GstVideoFrame in, rgb;
    if (!gst_video_frame_map(&in, &p->in, buffer, GST_MAP_READ))
        return error_set(err, EIO, EX_DATAERR, "a decoded picture cannot be read");
    if (!gst_video_frame_map(&rgb, &p->rgb, p->full, GST_MAP_WRITE)) {
        gst_video_frame_unmap(&in);
        return error_set(err, ENOMEM, EX_OSERR, "no memory for a picture");
    }
    to_rgb(p, &in, &rgb);
    if (p->mask)
        mask_blank(p->mask, GST_VIDEO_FRAME_PLANE_DATA(&rgb, 0),
                   (size_t)GST_VIDEO_FRAME_PLANE_STRIDE(&rgb, 0));
    resizer_run(p->resizer, GST_VIDEO_FRAME_PLANE_DATA(&rgb, 0),
                (size_t)GST_VIDEO_FRAME_PLANE_STRIDE(&rgb, 0), p->resized);
    gst_video_frame_unmap(&rgb);
    gst_video_frame_unmap(&in);
    frame->rgb = (uint8_t *)rotate(p);
    frame->width = p->width;
    frame->height = p->height;
    if (!p->gate)
        return 0;
    GateLook look;
    if (gate_look(p->gate, frame->pts_us, frame->rgb, p->width, p->height, &look) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "no memory for the gate");
    frame->cells = look.cells;
    frame->n_cells = look.n_cells;
    frame->n_kept = look.n_kept;
    frame->n_changed = look.n_changed;
    return 0;
}

uint32_t picture_frames_for_tokens(const Picture *p, uint32_t tokens)
{
    uint64_t cell = (uint64_t)p->limits.cell_px * (uint64_t)p->limits.cell_px;
    uint64_t cells = (uint64_t)p->width * (uint64_t)p->height / cell;
    if (tokens == 0 || cells == 0)
        return 0;
    uint64_t frames = 2 * (uint64_t)tokens / cells;
    return frames < 1 ? 1 : frames > UINT32_MAX ? UINT32_MAX : (uint32_t)frames;
}

void picture_mask_motion(const Picture *p, Motion *motion)
{
    motion_set_mask(motion, p->limits.shapes, p->limits.n_shapes, p->turn);
}

void picture_lost(Picture *p)
{
    if (p->gate)
        gate_reset(p->gate);
}

float picture_motion(Motion *m, int64_t pts_us, GstSample *sample)
{
    GstVideoInfo info;
    GstVideoFrame frame;
    GstCaps *caps = gst_sample_get_caps(sample);
    if (!caps || !gst_video_info_from_caps(&info, caps) || GST_VIDEO_INFO_N_COMPONENTS(&info) < 1 ||
        GST_VIDEO_INFO_COMP_DEPTH(&info, 0) != 8 || GST_VIDEO_FORMAT_INFO_IS_TILED(info.finfo) ||
        !gst_video_frame_map(&frame, &info, gst_sample_get_buffer(sample), GST_MAP_READ))
        return -1;
    float motion =
        motion_measure(m, pts_us, GST_VIDEO_FRAME_COMP_DATA(&frame, 0),
                       (size_t)GST_VIDEO_FRAME_COMP_STRIDE(&frame, 0),
                       (size_t)GST_VIDEO_FRAME_COMP_PSTRIDE(&frame, 0), info.width, info.height);
    gst_video_frame_unmap(&frame);
    return motion;
}

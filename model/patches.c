/* u8 frames [T, height, width, 3] -> pixel values [t * h * w, 3 * 2 * 14 * 14] f32. */
#include "model/patches.h"

#include <errno.h>

int patches_grid(const VisionHparams *vision, size_t n_frames, int height, int width,
                 int32_t grid_thw[3])
{
    int cell = vision->patch * vision->merge;
    if (n_frames == 0 || n_frames > INT32_MAX || height <= 0 || width <= 0 || height % cell != 0 ||
        width % cell != 0)
        return -EINVAL;
    size_t pair = (size_t)vision->temporal_patch;
    grid_thw[0] = (int32_t)((n_frames + pair - 1) / pair);
    grid_thw[1] = height / vision->patch;
    grid_thw[2] = width / vision->patch;
    return 0;
}

/* One patch row of values from `pair` frames; (y, x): its corner in pixels. */
static float *patch_row(const VisionHparams *v, const float (*table)[256],
                        const uint8_t *const *pair, size_t width, size_t y, size_t x, float *out)
{
    const size_t patch = (size_t)v->patch, channels = (size_t)v->in_channels;
    for (size_t c = 0; c < channels; c++)
        for (int f = 0; f < v->temporal_patch; f++)
            for (size_t i = 0; i < patch; i++) {
                const uint8_t *from = pair[f] + ((y + i) * width + x) * channels + c;
                for (size_t j = 0; j < patch; j++)
                    *out++ = table[c][from[j * channels]];
            }
    return out;
}

void patches_make(const VisionHparams *v, const PixelHparams *scale, const uint8_t *const *frames,
                  size_t n_frames, int height, int width, size_t first, size_t n, float *pixels)
{
    float table[3][256];
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 256; i++)
            table[c][i] = ((float)i - 255.0f * scale->mean[c]) / (255.0f * scale->std[c]);

    const size_t patch = (size_t)v->patch, merge = (size_t)v->merge;
    const size_t rows = (size_t)height / patch / merge, columns = (size_t)width / patch / merge;
    const size_t temporal = (size_t)v->temporal_patch;
    float *out = pixels;
    for (size_t t = first; t < first + n; t++) {
        const uint8_t *pair[8];
        for (size_t f = 0; f < temporal; f++) {
            size_t at = t * temporal + f;
            pair[f] = frames[at < n_frames ? at : n_frames - 1];
        }
        for (size_t row = 0; row < rows; row++)
            for (size_t column = 0; column < columns; column++)
                for (size_t y = 0; y < merge; y++)
                    for (size_t x = 0; x < merge; x++)
                        out =
                            patch_row(v, (const float(*)[256])table, pair, (size_t)width,
                                      (row * merge + y) * patch, (column * merge + x) * patch, out);
    }
}

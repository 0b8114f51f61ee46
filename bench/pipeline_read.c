/*
 * Reads a file as the camera worker does, for bench/pipeline.py.
 *
 *     pipeline_read FILE FPS [SENSITIVITY]
 *
 * Prints "picture PTS_S CELLS KEPT CHANGED" a frame when there is a sensitivity (then the gate is
 * on, refreshed every 2 s), and last "read FRAMES DECODED STILL SECONDS".
 */
#include "base/clock.h"
#include "pipeline/reader.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: pipeline_read FILE FPS [SENSITIVITY]\n");
        return EX_USAGE;
    }
    ReaderOptions options = {.fps = atof(argv[2]),
                             .cell_px = 28,
                             .min_pixels = 28 * 28 * 4,
                             .max_pixels = 448 * 252,
                             .any_instant = argc == 3};
    if (argc == 4) {
        options.gate_sensitivity = (float)atof(argv[3]);
        options.gate_refresh_us = 2 * US_PER_S;
    }
    Reader *reader = NULL;
    Error err = {0};
    int64_t begin_us = clock_monotonic_us();
    unsigned long frames = 0;
    Frame frame;
    int r = reader_open(argv[1], &options, &reader, &err);
    for (; r == 0 && (r = reader_next(reader, &frame, &err)) == 0; frames++)
        if (argc == 4)
            printf("picture %.3f %zu %zu %zu\n", (double)frame.pts_us / 1e6, frame.n_cells,
                   frame.n_kept, frame.n_changed);
    if (r < 0) {
        fprintf(stderr, "pipeline_read: %s\n", err.text);
        reader_free(reader);
        return err.exit_code;
    }
    uint64_t decoded;
    int64_t pts_us;
    reader_position(reader, &decoded, &pts_us);
    printf("read %lu %lu %lu %.3f\n", frames, (unsigned long)decoded,
           (unsigned long)reader_still(reader), (double)(clock_monotonic_us() - begin_us) / 1e6);
    reader_free(reader);
    return 0;
}

/*
 * config.json, generation_config.json, preprocessor_config.json and video_preprocessor_config.json
 * from anybody: sizes that later code can trust, or one line with the file and an exit code.
 */
#include "model/checkpoint.h"
#include "tests/fuzz/fuzz_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const NAMES[] = {"config.json", "generation_config.json",
                                        "preprocessor_config.json",
                                        "video_preprocessor_config.json"};
    static Hparams h;
    Error err = {0};
    fuzz_write(NAMES, 4, data, size);
    if (hparams_read(fuzz_dir(), &h, &err) < 0) {
        assert(err.exit_code == EX_DATAERR && err.text[0] && !strchr(err.text, '\n'));
        return 0;
    }
    assert(h.text.heads % h.text.kv_heads == 0 && h.text.head_dim % 2 == 0);
    assert(2 * (h.text.mrope_section[0] + h.text.mrope_section[1] + h.text.mrope_section[2]) ==
           h.text.head_dim);
    assert(h.vision.head_dim % 4 == 0 && h.vision.window_px % hparams_cell_px(&h) == 0);
    assert(h.n_eos >= 1 && h.eos[0] >= 0 && h.eos[0] < h.text.vocab);
    assert(h.image.min_pixels <= h.image.max_pixels && h.video.min_pixels <= h.video.max_pixels);
    assert(checkpoint_parameters(&h) > 0);
    return 0;
}

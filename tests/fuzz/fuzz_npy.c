/* .npy from anybody: an array whose last byte is there, or one line; what is written reads back. */
#include "model/npy.h"
#include "tests/fuzz/fuzz_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Npy npy, again;
    Error err = {0};
    if (npy_parse("input.npy", data, size, &npy, &err) < 0) {
        assert(err.exit_code && strncmp(err.text, "input.npy: ", 11) == 0);
        assert(!strchr(err.text, '\n'));
        return 0;
    }
    const size_t bytes = npy.n * npy_type_bytes(npy.type);
    size_t n = 1;
    for (int i = 0; i < npy.n_dims; i++)
        n *= npy.shape[i];
    assert(n == npy.n && bytes <= size);
    fuzz_dir();
    const char *path = scratch_path(&fuzz_folder, "again.npy");
    if (npy_write(path, npy.type, npy.n_dims, npy.shape, npy.data, &err) == 0) {
        assert(npy_read(path, (size_t)1 << 20, &again, &err) == 0);
        assert(again.type == npy.type && again.n_dims == npy.n_dims && again.n == npy.n);
        assert(!bytes || memcmp(again.data, npy.data, bytes) == 0);
        npy_deinit(&again);
    }
    npy_deinit(&npy);
    return 0;
}

/* For targets whose parser opens files: the input, cut at its NUL bytes, as files of one folder. */
#ifndef WHEN_TESTS_FUZZ_FILES_H
#define WHEN_TESTS_FUZZ_FILES_H

#include "tests/unit/scratch.h"

#include <stdint.h>

static Scratch fuzz_folder;

static void fuzz_folder_remove(void)
{
    scratch_deinit(&fuzz_folder);
}

/* Makes the folder when it is first asked for; it goes with the process. */
static inline const char *fuzz_dir(void)
{
    if (!fuzz_folder.dir[0]) {
        scratch_init(&fuzz_folder);
        atexit(fuzz_folder_remove);
    }
    return fuzz_folder.dir;
}

/* Part k of the input to names[k]; files without a part are removed. The last part takes the rest.
 */
static inline void fuzz_write(const char *const *names, size_t n, const uint8_t *data, size_t size)
{
    fuzz_dir();
    for (size_t k = 0; k < n; k++) {
        const uint8_t *stop = data && k + 1 < n ? memchr(data, 0, size) : NULL;
        const size_t part = stop ? (size_t)(stop - data) : size;
        if (data)
            scratch_write(&fuzz_folder, names[k], data, part);
        else
            unlink(scratch_path(&fuzz_folder, names[k]));
        data = stop ? stop + 1 : NULL;
        size = stop ? size - part - 1 : 0;
    }
}

#endif

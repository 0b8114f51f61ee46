/* Memory: checked sizes and cleanup. See mem.h. */
#include "base/mem.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* Large blocks ask for large pages: fewer page faults and misses of the translation cache. */
#define HUGE_PAGE ((size_t)2 << 20)
#define HUGE_FROM (4 * HUGE_PAGE)

void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void *mem_new_array(size_t count, size_t size)
{
    return calloc(count ? count : 1, size);
}

void *mem_new_aligned(size_t count, size_t size)
{
    size_t bytes;
    if (!mem_mul(count, size, &bytes) || !mem_add(bytes, 63, &bytes))
        return NULL;
    bytes &= ~(size_t)63;
    if (bytes < HUGE_FROM)
        return aligned_alloc(64, bytes ? bytes : 64);
    void *memory;
    if (posix_memalign(&memory, HUGE_PAGE, bytes) != 0)
        return NULL;
    /* A wish, and for whole pages alone: of a last, partial one all would be in use. */
    (void)madvise(memory, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    return memory;
}

int mem_grow(void **array, size_t *capacity, size_t needed, size_t size)
{
    if (needed <= *capacity)
        return 0;
    size_t wanted = *capacity ? *capacity : 8;
    while (wanted < needed)
        if (!mem_mul(wanted, 2, &wanted))
            return -ENOMEM;
    size_t bytes;
    if (!mem_mul(wanted, size, &bytes))
        return -ENOMEM;
    void *bigger = realloc(*array, bytes);
    if (!bigger)
        return -ENOMEM;
    *array = bigger;
    *capacity = wanted;
    return 0;
}

/* Memory: checked sizes and cleanup. See mem.h. */
#include "base/mem.h"

#include <errno.h>
#include <unistd.h>

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
    return aligned_alloc(64, bytes ? bytes : 64);
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

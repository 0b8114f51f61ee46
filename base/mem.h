/*
 * Memory: checked sizes and cleanup. Allocation failure is reported as NULL, never an abort.
 */
#ifndef WHEN_BASE_MEM_H
#define WHEN_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

static inline void freep(void *p)
{
    free(*(void **)p);
}
#define _cleanup_free_ _cleanup_(freep)

/* fd >= 0 is closed and set to -1. Safe on -1. */
void closep(int *fd);
#define _cleanup_close_ _cleanup_(closep)

static inline bool mem_mul(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

static inline bool mem_add(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

/* count * size bytes, zeroed; NULL on overflow or when there is no memory. */
void *mem_new_array(size_t count, size_t size);

/* count * size bytes aligned to 64, not zeroed; release with free(). */
void *mem_new_aligned(size_t count, size_t size);

/* Makes room for `needed` elements, doubling; 0 or -ENOMEM (then *array is unchanged). */
int mem_grow(void **array, size_t *capacity, size_t needed, size_t size);

#endif

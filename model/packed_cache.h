/*
 * Packed weights on disk, so that a second start maps them instead of packing: one file a model
 * directory and precision, DIR/<path>-<dtype>-<key>.weights. The key is a hash of what the weights
 * depend on: names, sizes and times of the directory's files (and the adapter's), the beginning of
 * each, the precision, the layout that this CPU takes, the version of this format. Another key is
 * another file; the old one is removed when the new one is written.
 *
 *   header   magic, number of blocks, key, size of the file, place of the index, checksum of header
 *            and index
 *   blocks   at multiples of 4096
 *   index    one entry a block: name, place, size, checksum
 *
 * Written to a name of its own, synced, renamed: what has the name is complete. Checked when
 * opened; every byte that is read counts in a checksum; what is not as it should be counts as not
 * there. Used by one thread, but for packed_cache_write.
 */
#ifndef WHEN_MODEL_PACKED_CACHE_H
#define WHEN_MODEL_PACKED_CACHE_H

#include "model/pool.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct PackedCache PackedCache;

/* Opens what is there, or begins a new file. Never an error: without room, rights or memory there
 * is a warning in the log and *cache is NULL. lora: the adapter's directory, or NULL; layout: what
 * the CPU decides (gemm_layout_name). The pool's threads check what is there. */
void packed_cache_open(const char *dir, const char *model, const char *lora, const char *dtype,
                       const char *layout, Pool *pool, PackedCache **cache);
/* Unmaps; a file that was not finished is removed. */
void packed_cache_free(PackedCache *cache);

/* Has the blocks already: they are not to be made. */
bool packed_cache_is_filled(const PackedCache *cache);

/* The block of that name, mapped for as long as the cache lives; NULL when there is none of this
 * size. */
const void *packed_cache_find(const PackedCache *cache, const char *name, size_t bytes);

/* The place of the next block. All are reserved before the first is written. */
size_t packed_cache_reserve(PackedCache *cache, const char *name, size_t bytes);
/* Fills a place; by several threads at once, each another one. */
void packed_cache_write(PackedCache *cache, size_t place, const void *block);
/* All are there: the file gets its name. A failure before (logged here) leaves nothing. */
void packed_cache_finish(PackedCache *cache);

#endif

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
 *   index    one entry a block: name, place, size
 *
 * Written to a name of its own, synced, renamed: what has the name is complete. Checked when
 * opened; what is not as it should be counts as not there. Used by the thread that loads.
 */
#ifndef WHEN_MODEL_PACKED_CACHE_H
#define WHEN_MODEL_PACKED_CACHE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct PackedCache PackedCache;

/* Opens what is there, or begins a new file. Never an error: without room, rights or memory there
 * is a warning in the log and *cache is NULL. lora: the adapter's directory, or NULL; layout: what
 * the CPU decides (gemm_description). */
void packed_cache_open(const char *dir, const char *model, const char *lora, const char *dtype,
                       const char *layout, PackedCache **cache);
/* Unmaps; a file that was not finished is removed. */
void packed_cache_free(PackedCache *cache);

/* Has the blocks already: they are not to be made. */
bool packed_cache_is_filled(const PackedCache *cache);

/* The block of that name, mapped for as long as the cache lives; NULL when there is none of this
 * size. */
const void *packed_cache_find(const PackedCache *cache, const char *name, size_t bytes);

/* Appends one. After a failure (logged once) nothing more is written. */
void packed_cache_add(PackedCache *cache, const char *name, const void *block, size_t bytes);
/* All are there: the file gets its name. */
void packed_cache_finish(PackedCache *cache);

#endif

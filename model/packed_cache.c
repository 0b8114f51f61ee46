/* The file of packed weights: found by its key, mapped, or written a block at a time. */
#include "model/packed_cache.h"

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    BLOCK_ALIGN = 4096,
    NAME_BYTES = 104,
    MAX_BLOCKS = 1 << 16,
    MAX_FILES = 4096,      /* of a model directory */
    BEGIN_BYTES = 1 << 16, /* of each file, that the key depends on */
};
/* Bytes that stay free on the disk: a cache must not be what fills it. */
#define KEEP_FREE ((uint64_t)256 << 20)

static const char MAGIC[8] = "whenpk04";

typedef struct Header {
    char magic[8];
    uint64_t blocks;
    uint64_t key[2];
    uint64_t size, index; /* of the file, and where its index is */
    uint64_t checksum;    /* of the header with 0 here, and the index */
} Header;

typedef struct Entry {
    char name[NAME_BYTES];
    uint64_t at, bytes, checksum;
} Entry;

struct PackedCache {
    char *dir, *path, *partial; /* the file, and its name while it is written */
    char prefix[64];            /* of all files of this model and precision */
    uint64_t key[2];
    /* Filled: */
    const char *map;
    size_t map_bytes;
    const Entry *index;
    size_t blocks;
    /* Being written: */
    int fd; /* -1: not */
    uint64_t at;
    Entry *entries;
    size_t entries_capacity;
    atomic_int failed; /* errno of a block that could not be written */
};

/* --- the key: FNV-1a from two starts --- */

static uint64_t hash(uint64_t h, const void *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)data)[i]) * UINT64_C(0x100000001b3);
    return h;
}

#define HASH_START UINT64_C(0xcbf29ce484222325)

static void key_add(uint64_t key[2], const void *data, size_t n)
{
    key[0] = hash(key[0], data, n);
    key[1] = hash(key[1], data, n);
}

static void key_add_text(uint64_t key[2], const char *text)
{
    key_add(key, text, strlen(text) + 1);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int key_add_file(uint64_t key[2], const char *dir, const char *name)
{
    _cleanup_free_ char *path = file_join(dir, name);
    _cleanup_free_ char *begin = mem_new_array(BEGIN_BYTES, 1);
    _cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct stat st;
    if (!begin || fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    ssize_t n = S_ISREG(st.st_mode) ? pread(fd, begin, BEGIN_BYTES, 0) : 0;
    if (n < 0)
        return -errno;
    int64_t facts[] = {st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
    key_add_text(key, name);
    key_add(key, facts, sizeof facts);
    key_add(key, begin, (size_t)n);
    return 0;
}

static int key_add_folder(uint64_t key[2], const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return -errno;
    char **names = NULL;
    size_t n = 0, capacity = 0;
    int r = 0;
    struct dirent *entry;
    while (r == 0 && (entry = readdir(d))) {
        if (entry->d_name[0] == '.')
            continue;
        r = n == MAX_FILES ? -E2BIG : mem_grow((void **)&names, &capacity, n + 1, sizeof *names);
        if (r == 0 && !(names[n] = strdup(entry->d_name)))
            r = -ENOMEM;
        n += r == 0;
    }
    closedir(d);
    if (n > 1)
        qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        if (r == 0)
            r = key_add_file(key, dir, names[i]);
        free(names[i]);
    }
    free(names);
    return r;
}

/* --- a filled one --- */

static uint64_t checksum(const Header *header, const Entry *index)
{
    Header h = *header;
    h.checksum = 0;
    return hash(hash(HASH_START, &h, sizeof h), index, h.blocks * sizeof *index);
}

/* FNV-1a of words instead of bytes, eight side by side: as fast as memory is read. */
static uint64_t block_checksum(const void *block, size_t bytes)
{
    enum { LANES = 8, STEP = LANES * sizeof(uint64_t) };
    uint64_t lane[LANES], words[LANES];
    for (size_t i = 0; i < LANES; i++)
        lane[i] = HASH_START + i;
    const size_t whole = bytes / STEP * STEP;
    for (size_t at = 0; at < whole; at += STEP) {
        memcpy(words, (const char *)block + at, STEP);
        for (size_t i = 0; i < LANES; i++)
            lane[i] = (lane[i] ^ words[i]) * UINT64_C(0x100000001b3);
    }
    return hash(hash(HASH_START, lane, sizeof lane), (const char *)block + whole, bytes - whole);
}

typedef struct Check {
    const char *map;
    const Entry *index;
    atomic_bool damaged;
} Check;

static void check_block(void *user, size_t item, int thread)
{
    Check *check = user;
    const Entry *e = &check->index[item];
    (void)thread;
    if (block_checksum(check->map + e->at, e->bytes) != e->checksum)
        atomic_store(&check->damaged, true);
}

static bool is_whole(const PackedCache *c, const Header *h, Pool *pool)
{
    uint64_t size = c->map_bytes;
    if (memcmp(h->magic, MAGIC, sizeof h->magic) != 0 || h->key[0] != c->key[0] ||
        h->key[1] != c->key[1] || h->size != size || h->blocks > MAX_BLOCKS ||
        h->index % BLOCK_ALIGN != 0 || h->index > size ||
        h->blocks * sizeof(Entry) != size - h->index)
        return false;
    const Entry *index = (const Entry *)(c->map + h->index);
    if (checksum(h, index) != h->checksum)
        return false;
    for (size_t i = 0; i < h->blocks; i++)
        if (index[i].at % BLOCK_ALIGN != 0 || index[i].at > h->index ||
            index[i].bytes > h->index - index[i].at || index[i].name[NAME_BYTES - 1] != '\0')
            return false;
    Check check = {.map = c->map, .index = index};
    pool_run(pool, h->blocks, check_block, &check);
    return !atomic_load(&check.damaged);
}

/* 1: there is none, or a damaged one. */
static int map_file(PackedCache *c, Pool *pool)
{
    _cleanup_close_ int fd = open(c->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return 1;
    if (!S_ISREG(st.st_mode) || (size_t)st.st_size < sizeof(Header)) {
        log_warn("packed_cache", "%s is damaged: made again", c->path);
        return 1;
    }
    c->map_bytes = (size_t)st.st_size;
    void *map = mmap(NULL, c->map_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return 1;
    c->map = map;
    const Header *h = map;
    if (!is_whole(c, h, pool)) {
        munmap(map, c->map_bytes);
        c->map = NULL;
        log_warn("packed_cache", "%s is damaged: made again", c->path);
        return 1;
    }
    c->index = (const Entry *)(c->map + h->index);
    c->blocks = h->blocks;
    return 0;
}

bool packed_cache_is_filled(const PackedCache *c)
{
    return c && c->map;
}

const void *packed_cache_find(const PackedCache *c, const char *name, size_t bytes)
{
    if (!packed_cache_is_filled(c))
        return NULL;
    for (size_t i = 0; i < c->blocks; i++)
        if (strcmp(c->index[i].name, name) == 0)
            return c->index[i].bytes == bytes ? c->map + c->index[i].at : NULL;
    return NULL;
}

/* --- one being written --- */

static void give_up(PackedCache *c, int errnum)
{
    log_warn("packed_cache", "packed weights are not kept in %s: %s", c->dir, strerror(errnum));
    unlink(c->partial);
    closep(&c->fd);
}

static int write_at(const PackedCache *c, const void *data, size_t bytes, uint64_t at)
{
    while (bytes > 0) {
        ssize_t n = pwrite(c->fd, data, bytes < 1 << 30 ? bytes : 1 << 30, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : ENOSPC;
        data = (const char *)data + n;
        bytes -= (size_t)n;
        at += (uint64_t)n;
    }
    return 0;
}

size_t packed_cache_reserve(PackedCache *c, const char *name, size_t bytes)
{
    if (!c || c->fd < 0)
        return 0;
    struct statvfs fs;
    if (fstatvfs(c->fd, &fs) < 0 || (uint64_t)fs.f_bavail * fs.f_frsize < KEEP_FREE + c->at + bytes)
        give_up(c, ENOSPC);
    else if (strlen(name) >= NAME_BYTES || c->blocks == MAX_BLOCKS)
        give_up(c, E2BIG);
    else if (mem_grow((void **)&c->entries, &c->entries_capacity, c->blocks + 1,
                      sizeof *c->entries) < 0)
        give_up(c, ENOMEM);
    if (c->fd < 0)
        return 0;
    Entry *e = &c->entries[c->blocks];
    memset(e, 0, sizeof *e);
    snprintf(e->name, sizeof e->name, "%s", name);
    e->at = c->at;
    e->bytes = bytes;
    c->at = (c->at + bytes + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
    return c->blocks++;
}

void packed_cache_write(PackedCache *c, size_t place, const void *block)
{
    if (!c || c->fd < 0 || atomic_load(&c->failed))
        return;
    Entry *e = &c->entries[place];
    e->checksum = block_checksum(block, e->bytes);
    int errnum = write_at(c, block, e->bytes, e->at);
    if (errnum)
        atomic_store(&c->failed, errnum);
}

/* What other keys of this model and precision left. */
static void remove_old(const PackedCache *c)
{
    DIR *d = opendir(c->dir);
    const char *own = strrchr(c->path, '/') + 1;
    struct dirent *entry;
    while (d && (entry = readdir(d))) {
        const char *end = strrchr(entry->d_name, '.');
        if (strncmp(entry->d_name, c->prefix, strlen(c->prefix)) == 0 && end &&
            strcmp(end, ".weights") == 0 && strcmp(entry->d_name, own) != 0)
            unlinkat(dirfd(d), entry->d_name, 0);
    }
    if (d)
        closedir(d);
}

void packed_cache_finish(PackedCache *c)
{
    if (!c || c->fd < 0)
        return;
    Header h = {.blocks = c->blocks,
                .key = {c->key[0], c->key[1]},
                .size = c->at + c->blocks * sizeof(Entry),
                .index = c->at};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    h.checksum = checksum(&h, c->entries);
    int errnum = atomic_load(&c->failed);
    if (errnum == 0)
        errnum = write_at(c, c->entries, c->blocks * sizeof *c->entries, c->at);
    if (errnum == 0)
        errnum = write_at(c, &h, sizeof h, 0);
    if (errnum == 0 && (ftruncate(c->fd, (off_t)h.size) < 0 || fsync(c->fd) < 0 ||
                        rename(c->partial, c->path) < 0))
        errnum = errno;
    if (errnum) {
        give_up(c, errnum);
        return;
    }
    closep(&c->fd);
    _cleanup_close_ int folder = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0)
        fsync(folder);
    remove_old(c);
    log_info("packed_cache", "wrote file=%s mib=%" PRIu64, c->path, h.size >> 20);
}

/* Only one process writes; the others go without. */
static void begin(PackedCache *c)
{
    Error err = {0};
    if (file_make_dir(c->dir, &err) < 0) {
        log_warn("packed_cache", "packed weights are not kept: %s", err.text);
        return;
    }
    c->fd = open(c->partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (c->fd < 0) {
        log_warn("packed_cache", "packed weights are not kept in %s: %s", c->dir, strerror(errno));
        return;
    }
    if (flock(c->fd, LOCK_EX | LOCK_NB) < 0) {
        closep(&c->fd);
        return;
    }
    if (ftruncate(c->fd, 0) < 0)
        give_up(c, errno);
    c->at = BLOCK_ALIGN;
}

static int open_cache(PackedCache *c, const char *dir, const char *model, const char *lora,
                      const char *dtype, const char *layout, Pool *pool)
{
    c->key[0] = HASH_START;
    c->key[1] = HASH_START ^ UINT64_C(0x9e3779b97f4a7c15);
    key_add_text(c->key, dtype);
    key_add_text(c->key, layout);
    int r = key_add_folder(c->key, model);
    if (r == 0 && lora)
        r = key_add_folder(c->key, lora);
    if (r < 0)
        return r;
    _cleanup_free_ char *real = realpath(model, NULL);
    if (!real)
        return -errno;
    snprintf(c->prefix, sizeof c->prefix, "%016" PRIx64 "-%s%s-",
             hash(HASH_START, real, strlen(real)), dtype, lora ? "+lora" : "");
    char name[sizeof c->prefix + 48];
    snprintf(name, sizeof name, "%s%016" PRIx64 "%016" PRIx64 ".weights", c->prefix, c->key[0],
             c->key[1]);
    c->dir = strdup(dir);
    c->path = file_join(dir, name);
    snprintf(name, sizeof name, "%spartial", c->prefix);
    c->partial = file_join(dir, name);
    if (!c->dir || !c->path || !c->partial)
        return -ENOMEM;
    if (map_file(c, pool) == 1)
        begin(c);
    return 0;
}

void packed_cache_open(const char *dir, const char *model, const char *lora, const char *dtype,
                       const char *layout, Pool *pool, PackedCache **cache)
{
    *cache = NULL;
    PackedCache *c = mem_new_array(1, sizeof *c);
    if (!c)
        return;
    c->fd = -1;
    int r = open_cache(c, dir, model, lora, dtype, layout, pool);
    if (r < 0)
        log_warn("packed_cache", "packed weights are not kept in %s: %s", dir, strerror(-r));
    if (r < 0 || (!c->map && c->fd < 0)) {
        packed_cache_free(c);
        return;
    }
    *cache = c;
}

void packed_cache_free(PackedCache *c)
{
    if (!c)
        return;
    if (c->fd >= 0) {
        unlink(c->partial);
        closep(&c->fd);
    }
    if (c->map)
        munmap((void *)(uintptr_t)c->map, c->map_bytes);
    free(c->dir);
    free(c->path);
    free(c->partial);
    free(c->entries);
    free(c);
}

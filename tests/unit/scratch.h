/*
 * A folder of its own for a test, removed with its files.
 */
#ifndef WHEN_TESTS_SCRATCH_H
#define WHEN_TESTS_SCRATCH_H

#include <assert.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Scratch {
    char dir[64];
    char path[512];
} Scratch;

static inline void scratch_init(Scratch *s)
{
    snprintf(s->dir, sizeof s->dir, "%s", "/tmp/when-test-XXXXXX");
    char *made = mkdtemp(s->dir);
    assert(made);
    (void)made;
}

/* The path of a file in the folder, until the next call. */
static inline const char *scratch_path(Scratch *s, const char *name)
{
    snprintf(s->path, sizeof s->path, "%s/%s", s->dir, name);
    return s->path;
}

static inline void scratch_write(Scratch *s, const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(scratch_path(s, name), "wb");
    assert(f);
    size_t written = fwrite(bytes, 1, n, f);
    assert(written == n);
    (void)written;
    fclose(f);
}

static inline void scratch_write_text(Scratch *s, const char *name, const char *text)
{
    scratch_write(s, name, text, strlen(text));
}

static inline void scratch_deinit(Scratch *s)
{
    DIR *d = opendir(s->dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlink(scratch_path(s, e->d_name));
    if (d)
        closedir(d);
    rmdir(s->dir);
}

#endif

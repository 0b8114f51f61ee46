/* .npy files: magic, version, a Python dict as header, then the values. See npy.h. */
#include "model/npy.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

static const struct {
    const char *descr;
    size_t bytes;
} TYPES[] = {
    [NPY_F32] = {"<f4", 4}, [NPY_F64] = {"<f8", 8}, [NPY_I32] = {"<i4", 4},
    [NPY_I64] = {"<i8", 8}, [NPY_U8] = {"|u1", 1},  [NPY_U32] = {"<u4", 4},
};
#define N_TYPES ((int)(sizeof TYPES / sizeof TYPES[0]))

size_t npy_type_bytes(NpyType type)
{
    return TYPES[type].bytes;
}

static int damaged(const char *name, const char *reason, Error *err)
{
    return error_set(err, EINVAL, EX_DATAERR, "%s: not a usable .npy file: %s", name, reason);
}

/* The text behind 'key': in the header dict, or NULL. The header is NUL-terminated. */
static const char *value_of(const char *header, const char *key)
{
    const char *p = strstr(header, key);
    if (!p)
        return NULL;
    p += strlen(key);
    while (*p == ' ')
        p++;
    if (*p++ != ':')
        return NULL;
    while (*p == ' ')
        p++;
    return p;
}

static int parse_type(const char *p, NpyType *type)
{
    char quote = *p;
    if (quote != '\'' && quote != '"')
        return -EINVAL;
    for (int i = 0; i < N_TYPES; i++) {
        size_t n = strlen(TYPES[i].descr);
        if (strncmp(p + 1, TYPES[i].descr, n) == 0 && p[n + 1] == quote) {
            *type = (NpyType)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* "(3, 4)", "(3,)" or "()" */
static int parse_shape(const char *p, Npy *npy)
{
    if (*p++ != '(')
        return -EINVAL;
    npy->n = 1;
    for (;;) {
        while (*p == ' ' || *p == ',')
            p++;
        if (*p == ')')
            return 0;
        if (!isdigit((unsigned char)*p) || npy->n_dims == NPY_MAX_DIMS)
            return -EINVAL;
        size_t size = 0;
        for (; isdigit((unsigned char)*p); p++)
            if (!mem_mul(size, 10, &size) || !mem_add(size, (size_t)(*p - '0'), &size))
                return -EINVAL;
        npy->shape[npy->n_dims++] = size;
        if (!mem_mul(npy->n, size, &npy->n))
            return -EINVAL;
    }
}

int npy_parse(const char *name, const void *bytes, size_t size, Npy *npy, Error *err)
{
    enum { LONGEST_HEADER = 65536 };
    const unsigned char *b = bytes;
    *npy = (Npy){0};
    if (size < 12 || memcmp(b, "\x93NUMPY", 6) != 0)
        return damaged(name, "it does not begin with the format's mark", err);
    size_t at, length;
    if (b[6] == 1) {
        at = 10;
        length = (size_t)b[8] | (size_t)b[9] << 8;
    } else if (b[6] == 2) {
        at = 12;
        length = (size_t)b[8] | (size_t)b[9] << 8 | (size_t)b[10] << 16 | (size_t)b[11] << 24;
    } else {
        return damaged(name, "only versions 1 and 2 are read", err);
    }
    if (length > LONGEST_HEADER || length > size - at)
        return damaged(name, "its header is cut off or too long", err);
    _cleanup_free_ char *header = malloc(length + 1);
    if (!header)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", name);
    memcpy(header, b + at, length);
    header[length] = '\0';
    at += length;

    const char *descr = value_of(header, "'descr'");
    const char *order = value_of(header, "'fortran_order'");
    const char *shape = value_of(header, "'shape'");
    if (!descr || !order || !shape)
        return damaged(name, "its header lacks descr, fortran_order or shape", err);
    if (parse_type(descr, &npy->type) < 0)
        return damaged(name, "its type is none of f4, f8, i4, i8, u1, u4 in little endian", err);
    if (strncmp(order, "False", 5) != 0)
        return damaged(name, "its order is not C", err);
    if (parse_shape(shape, npy) < 0)
        return damaged(name, "its shape cannot be read", err);
    size_t n_bytes;
    if (!mem_mul(npy->n, TYPES[npy->type].bytes, &n_bytes) || n_bytes != size - at)
        return damaged(name, "its length does not fit its shape", err);
    npy->data = mem_new_aligned(npy->n, TYPES[npy->type].bytes);
    if (!npy->data)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory for %zu bytes", name, n_bytes);
    if (n_bytes)
        memcpy(npy->data, b + at, n_bytes);
    return 0;
}

int npy_read(const char *path, size_t max_bytes, Npy *npy, Error *err)
{
    _cleanup_free_ char *bytes = NULL;
    size_t size;
    *npy = (Npy){0};
    int r = file_read(path, max_bytes, &bytes, &size, err);
    return r < 0 ? r : npy_parse(path, bytes, size, npy, err);
}

void npy_deinit(Npy *npy)
{
    free(npy->data);
    *npy = (Npy){0};
}

int npy_write(const char *path, NpyType type, int n_dims, const size_t *shape, const void *data,
              Error *err)
{
    _cleanup_str_ Str header = {0};
    _cleanup_str_ Str file = {0};
    size_t bytes = TYPES[type].bytes;
    str_addf(&header, "{'descr': '%s', 'fortran_order': False, 'shape': (", TYPES[type].descr);
    for (int i = 0; i < n_dims; i++) {
        str_addf(&header, i + 1 < n_dims ? "%zu, " : "%zu,", shape[i]);
        if (!mem_mul(bytes, shape[i], &bytes))
            return error_set(err, EOVERFLOW, EX_SOFTWARE, "%s: shape too large", path);
    }
    str_add_text(&header, "), }");
    while ((10 + header.len + 1) % 64 && !str_failed(&header)) /* the data begins aligned */
        str_add_text(&header, " ");
    str_add_text(&header, "\n");
    unsigned char length[2] = {(unsigned char)header.len, (unsigned char)(header.len >> 8)};
    str_add(&file, "\x93NUMPY\x01\x00", 8);
    str_add(&file, length, 2);
    str_add(&file, header.data, header.len);
    str_add(&file, data, bytes);
    if (str_failed(&header) || str_failed(&file))
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", path);
    return file_replace(path, file.data, file.len, err);
}

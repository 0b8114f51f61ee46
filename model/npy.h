/*
 * Arrays in .npy files (NumPy format 1.0 and 2.0, C order, little endian).
 */
#ifndef WHEN_MODEL_NPY_H
#define WHEN_MODEL_NPY_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define NPY_MAX_DIMS 8

typedef enum NpyType { NPY_F32, NPY_F64, NPY_I32, NPY_I64, NPY_U8, NPY_U32 } NpyType;

typedef struct Npy {
    NpyType type;
    int n_dims;
    size_t shape[NPY_MAX_DIMS];
    size_t n;   /* elements: the product of shape, 1 when n_dims is 0 */
    void *data; /* [n], owned; aligned to 64 */
} Npy;

size_t npy_type_bytes(NpyType type);

/* EX_NOINPUT, or EX_DATAERR for anything that is no such file or is longer than max_bytes. */
int npy_read(const char *path, size_t max_bytes, Npy *npy, Error *err);
/* The same from bytes in memory; `name` stands in the error. Safe on arbitrary bytes. */
int npy_parse(const char *name, const void *bytes, size_t size, Npy *npy, Error *err);
void npy_deinit(Npy *npy); /* safe on zeroed */

/* Replaces path atomically. */
int npy_write(const char *path, NpyType type, int n_dims, const size_t *shape, const void *data,
              Error *err);

#endif

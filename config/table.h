/*
 * Tables that say which keys a YAML mapping may have and what stands behind each; every complaint
 * is "FILE:LINE:COLUMN: key: reason (remedy)". For config.c alone.
 */
#ifndef WHEN_CONFIG_TABLE_H
#define WHEN_CONFIG_TABLE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

enum { TABLE_MAX_KEYS = 32, TABLE_MAX_SOCKET_PATH_BYTES = 107 };

/* What a value is and where it goes. */
typedef enum TableKind {
    TABLE_TEXT,
    TABLE_CHOICE, /* one of `choices`, separated by spaces */
    TABLE_FOLDER, /* a path, made absolute */
    TABLE_DURATION,
    TABLE_SIZE,
    TABLE_UTC,
    TABLE_YES_NO,
    TABLE_INTEGER,
    TABLE_ENDPOINT,
    TABLE_OTHER /* read by the caller */
} TableKind;

typedef struct TableKey {
    const char *name;
    TableKind kind;
    size_t offset;
    double min, max; /* of TABLE_DURATION in microseconds, TABLE_SIZE in bytes, TABLE_INTEGER */
    const char *choices;
} TableKey;

typedef struct TableReader {
    const char *path; /* what complaints call the file */
    char *folder;     /* absolute, where relative paths start */
    yaml_document_t document;
    Error *err;
} TableReader;

/* Which keys of a table stood in a mapping; by the table's order, NULL where none. */
typedef struct TableFound {
    yaml_node_t *key[TABLE_MAX_KEYS], *value[TABLE_MAX_KEYS];
} TableFound;

/* Fills r->err with the place of `at`. -EINVAL. */
int table_complain(TableReader *r, const yaml_node_t *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int table_no_memory(TableReader *r);

bool table_is_null(const yaml_node_t *node); /* nothing, ~ or null behind the colon */

/* The text of a scalar, borrowed from the document; NULL when complained. */
const char *table_scalar(TableReader *r, const yaml_node_t *node, const char *name);

int table_set_text(TableReader *r, char **field, const char *text);

/* Checks that `node` is a mapping of nothing but these keys, each once (no value: an empty
 * mapping). `where` is put before a key's name: empty, or with a point at its end. */
int table_find(TableReader *r, yaml_node_t *node, const char *where, const TableKey *keys,
               TableFound *found);
yaml_node_t *table_value(const TableFound *found, const TableKey *keys, const char *name);

/* table_find, then reads all but the keys of kind TABLE_OTHER into `target`. */
int table_read(TableReader *r, yaml_node_t *node, const char *where, const TableKey *keys,
               void *target, TableFound *found);

#endif

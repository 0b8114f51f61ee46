/* Tables of keys over a YAML document. See table.h. */
#include "config/table.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "config/value.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- complaints --- */

int table_complain(TableReader *r, const yaml_node_t *at, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return error_set(r->err, EINVAL, EX_CONFIG, "%s:%zu:%zu: %s", r->path, at->start_mark.line + 1,
                     at->start_mark.column + 1, text);
}

int table_no_memory(TableReader *r)
{
    return error_set(r->err, ENOMEM, EX_OSERR, "%s: no memory", r->path);
}

static const char *nearest(const TableKey *keys, const char *name)
{
    const char *best = NULL;
    size_t best_distance = 0;
    for (const TableKey *k = keys; k->name; k++) {
        size_t distance = str_distance(name, k->name);
        if (!best || distance < best_distance) {
            best = k->name;
            best_distance = distance;
        }
    }
    /* Only a likely slip is worth a guess. */
    return best && best_distance <= 1 + strlen(name) / 3 ? best : NULL;
}

static int complain_unknown(TableReader *r, const yaml_node_t *at, const char *where,
                            const TableKey *keys, const char *name)
{
    const char *near = nearest(keys, name);
    if (near)
        return table_complain(r, at, "%s%.64s: unknown key (did you mean %s?)", where, name, near);
    char list[256] = "";
    for (const TableKey *k = keys; k->name; k++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", k->name);
    }
    return table_complain(r, at, "%s%.64s: unknown key (known here: %s)", where, name, list);
}

/* --- nodes --- */

bool table_is_null(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (node->data.scalar.length == 0 ||
            strcmp((const char *)node->data.scalar.value, "~") == 0 ||
            strcmp((const char *)node->data.scalar.value, "null") == 0);
}

/* The text of a table_scalar, borrowed from the document; NULL when complained. */
const char *table_scalar(TableReader *r, const yaml_node_t *node, const char *name)
{
    if (node->type != YAML_SCALAR_NODE) {
        table_complain(r, node, "%s: one value belongs here, not a list or keys", name);
        return NULL;
    }
    const char *text = (const char *)node->data.scalar.value;
    if (table_is_null(node)) {
        table_complain(r, node, "%s: no value (write one, or remove the key)", name);
        return NULL;
    }
    if (strlen(text) != node->data.scalar.length || !value_is_text(text)) {
        table_complain(r, node, "%s: control characters are not allowed", name);
        return NULL;
    }
    return text;
}

/* Checks that `node` is a mapping of nothing but these keys, each once. A section with no value is
 * an empty one. */
int table_find(TableReader *r, yaml_node_t *node, const char *where, const TableKey *keys,
               TableFound *found)
{
    *found = (TableFound){0};
    if (table_is_null(node))
        return 0;
    if (node->type != YAML_MAPPING_NODE)
        return table_complain(r, node, "%s%skeys belong here, like \"%s: ...\"", where,
                              *where ? " " : "", keys[0].name);
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
         p++) {
        yaml_node_t *key = yaml_document_get_node(&r->document, p->key);
        if (key->type != YAML_SCALAR_NODE)
            return table_complain(r, key, "%s: a key is a plain word", *where ? where : "here");
        const char *name = (const char *)key->data.scalar.value;
        size_t i = 0;
        while (keys[i].name && strcmp(keys[i].name, name) != 0)
            i++;
        if (!keys[i].name)
            return complain_unknown(r, key, where, keys, name);
        assert(i < TABLE_MAX_KEYS);
        if (found->key[i])
            return table_complain(r, key, "%s%s: stands here twice (first in line %zu)", where,
                                  name, found->key[i]->start_mark.line + 1);
        found->key[i] = key;
        found->value[i] = yaml_document_get_node(&r->document, p->value);
    }
    return 0;
}

yaml_node_t *table_value(const TableFound *found, const TableKey *keys, const char *name)
{
    for (size_t i = 0; keys[i].name; i++)
        if (strcmp(keys[i].name, name) == 0)
            return found->value[i];
    assert(!"a key that its table lacks");
    return NULL;
}

/* --- values --- */

int table_set_text(TableReader *r, char **field, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return table_no_memory(r);
    free(*field);
    *field = copy;
    return 0;
}

static int read_choice(TableReader *r, const yaml_node_t *node, const char *name,
                       const char *choices, const char *text, char **field)
{
    for (const char *p = choices; *p;) {
        size_t n = strcspn(p, " ");
        if (strlen(text) == n && strncmp(text, p, n) == 0)
            return table_set_text(r, field, text);
        p += n;
        p += strspn(p, " ");
    }
    return table_complain(r, node, "%s: %.64s is none of: %s", name, text, choices);
}

static int read_folder(TableReader *r, const yaml_node_t *node, const char *name, const char *text,
                       char **field)
{
    if (text[0] == '/')
        return table_set_text(r, field, text);
    if (text[0] == '~')
        return table_complain(r, node, "%s: ~ is not expanded (write the whole path)", name);
    _cleanup_free_ char *path = file_join(r->folder, text);
    return path ? table_set_text(r, field, path) : table_no_memory(r);
}

/* Nothing on these sockets is encrypted or authenticated: they must not leave the machine. */
static int read_endpoint(TableReader *r, const yaml_node_t *node, const char *name,
                         const char *text, char **field)
{
    if (strncmp(text, "ipc://", 6) == 0) {
        const char *path = text + 6;
        if (path[0] != '/' && path[0] != '@')
            return table_complain(r, node, "%s: ipc:// needs a path from the root (ipc:///run/...)",
                                  name);
        if (strlen(path) > TABLE_MAX_SOCKET_PATH_BYTES)
            return table_complain(r, node, "%s: a socket's path has at most %d bytes", name,
                                  TABLE_MAX_SOCKET_PATH_BYTES);
        return table_set_text(r, field, text);
    }
    if (strncmp(text, "tcp://", 6) != 0)
        return table_complain(r, node, "%s: neither ipc://PATH nor tcp://127.0.0.1:PORT", name);
    const char *host = text + 6, *colon = strrchr(host, ':');
    static const char *const LOCAL[] = {"127.0.0.1", "localhost", "[::1]"};
    bool local = false;
    for (size_t i = 0; colon && i < 3; i++)
        local = local || (strlen(LOCAL[i]) == (size_t)(colon - host) &&
                          strncmp(host, LOCAL[i], strlen(LOCAL[i])) == 0);
    if (!local)
        return table_complain(r, node,
                              "%s: tcp:// is for this machine only, nothing is encrypted here "
                              "(tcp://127.0.0.1:PORT; for clients from elsewhere: remote:)",
                              name);
    int port;
    const char *reason;
    if (value_int(colon + 1, &port, &reason) < 0 || port < 1 || port > 65535)
        return table_complain(r, node, "%s: the port is not between 1 and 65535", name);
    return table_set_text(r, field, text);
}

/* Reads one value of a table into `target`, whose type the table names. */
static int read_value(TableReader *r, const TableKey *key, yaml_node_t *node, const char *name,
                      void *target)
{
    void *field = (char *)target + key->offset;
    const char *text = table_scalar(r, node, name), *reason = NULL;
    if (!text)
        return -EINVAL;
    int rc = 0;
    double number = 0;
    switch (key->kind) {
    case TABLE_TEXT:
        return table_set_text(r, field, text);
    case TABLE_CHOICE:
        return read_choice(r, node, name, key->choices, text, field);
    case TABLE_FOLDER:
        return read_folder(r, node, name, text, field);
    case TABLE_ENDPOINT:
        return read_endpoint(r, node, name, text, field);
    case TABLE_DURATION:
        rc = value_duration(text, field, &reason);
        number = (double)*(int64_t *)field;
        break;
    case TABLE_SIZE:
        rc = value_size(text, field, &reason);
        number = (double)*(uint64_t *)field;
        break;
    case TABLE_INTEGER:
        rc = value_int(text, field, &reason);
        number = *(int *)field;
        break;
    case TABLE_YES_NO:
        rc = value_bool(text, field, &reason);
        break;
    case TABLE_UTC:
        rc = clock_parse_utc(text, field);
        reason = "not a TABLE_UTC time (write it like 2026-11-23T08:00:00Z)";
        break;
    case TABLE_OTHER:
        assert(!"read by the caller");
    }
    if (rc < 0)
        return table_complain(r, node, "%s: %.64s: %s", name, text, reason);
    if (key->max > 0 && (number < key->min || number > key->max)) {
        if (key->kind == TABLE_DURATION)
            return table_complain(r, node, "%s: %.64s is not between %gs and %gs", name, text,
                                  key->min / 1e6, key->max / 1e6);
        if (key->kind == TABLE_SIZE)
            return table_complain(r, node, "%s: %.64s is not between %gMB and %gMB", name, text,
                                  key->min / 1e6, key->max / 1e6);
        return table_complain(r, node, "%s: %.64s is not between %g and %g", name, text, key->min,
                              key->max);
    }
    return 0;
}

/* Reads all keys of a table but those of kind TABLE_OTHER. `where` ends in a point or is empty. */
int table_read(TableReader *r, yaml_node_t *node, const char *where, const TableKey *keys,
               void *target, TableFound *found)
{
    int rc = table_find(r, node, where, keys, found);
    for (size_t i = 0; rc == 0 && keys[i].name; i++) {
        char name[192];
        snprintf(name, sizeof(name), "%s%s", where, keys[i].name);
        if (found->value[i] && keys[i].kind != TABLE_OTHER)
            rc = read_value(r, &keys[i], found->value[i], name, target);
    }
    return rc;
}

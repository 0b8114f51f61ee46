/* How whend is reached and what it keeps. See operation.h. */
#include "config/operation.h"

#include "base/clock.h"
#include "config/value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define YEARS(n) ((double)(n)*366 * 86400e6)

const TableKey ENDPOINT_KEYS[] = {
    {"events", TABLE_ENDPOINT, offsetof(Config, events_endpoint), 0, 0, NULL},
    {"query", TABLE_ENDPOINT, offsetof(Config, query_endpoint), 0, 0, NULL},
    {"mode", TABLE_OTHER, 0, 0, 0, NULL},
    {"group", TABLE_TEXT, offsetof(Config, socket_group), 0, 0, NULL},
    {0}};

const TableKey REMOTE_KEYS[] = {{"events", TABLE_TEXT, offsetof(Config, remote_events), 0, 0, NULL},
                                {"query", TABLE_TEXT, offsetof(Config, remote_query), 0, 0, NULL},
                                {0}};

const TableKey HTTP_KEYS[] = {{"address", TABLE_TEXT, offsetof(Config, http_address), 0, 0, NULL},
                              {0}};

const TableKey EVENTS_KEYS[] = {
    {"keep_for", TABLE_DURATION, offsetof(Config, events_keep_us), 0, YEARS(100), NULL},
    {"keep_count", TABLE_INTEGER, offsetof(Config, events_keep_count), 0, 999999999, NULL},
    {0}};

static int default_endpoint(TableReader *r, const Config *config, const char *name, char **field)
{
    if (*field)
        return 0;
    if (asprintf(field, "ipc://%s/%s.ipc", config->runtime_dir, name) < 0) {
        *field = NULL;
        return table_no_memory(r);
    }
    return 0;
}

/* Three octal digits, with or without the 0 before them. Others never: what is asked is private. */
static int read_mode(TableReader *r, const yaml_node_t *node, unsigned *mode)
{
    const char *text = table_scalar(r, node, "endpoints.mode");
    if (!text)
        return -EINVAL;
    char *end;
    unsigned long value = strtoul(text, &end, 8);
    if (strspn(text, "01234567") != strlen(text) || strlen(text) < 3 || strlen(text) > 4 || *end ||
        (value & ~0770UL) || (value & 0600) != 0600)
        return table_complain(r, node,
                              "endpoints.mode: %.64s: write 0600 (whend's user) or 0660 (and the "
                              "group)",
                              text);
    *mode = (unsigned)value;
    return 0;
}

static int read_endpoints(TableReader *r, yaml_node_t *node, Config *config)
{
    TableFound found = {0};
    int rc = node ? table_read(r, node, "endpoints.", ENDPOINT_KEYS, config, &found) : 0;
    if (rc == 0)
        rc = default_endpoint(r, config, "events", &config->events_endpoint);
    if (rc == 0)
        rc = default_endpoint(r, config, "query", &config->query_endpoint);
    if (rc < 0)
        return rc;
    if (strcmp(config->events_endpoint, config->query_endpoint) == 0)
        return table_complain(r, node, "endpoints: events and query have the same address");
    yaml_node_t *mode = table_value(&found, ENDPOINT_KEYS, "mode");
    return mode ? read_mode(r, mode, &config->socket_mode) : 0;
}

static int check_remote(TableReader *r, const yaml_node_t *node, const char *name, const char *text)
{
    int port;
    char host[64];
    const char *reason = "write it like tcp://0.0.0.0:5702";
    bool good = strncmp(text, "tcp://", 6) == 0;
    if (good && strncmp(text + 6, "*:", 2) == 0)
        good = value_int(text + 8, &port, &reason) == 0 && port >= 1 && port <= 65535;
    else
        good = good && value_address(text + 6, host, &port, &reason) == 0;
    return good ? 0 : table_complain(r, node, "remote.%s: %.64s: %s", name, text, reason);
}

static int read_remote(TableReader *r, yaml_node_t *node, Config *config)
{
    TableFound found;
    int rc = table_read(r, node, "remote.", REMOTE_KEYS, config, &found);
    if (rc < 0)
        return rc;
    yaml_node_t *events = table_value(&found, REMOTE_KEYS, "events");
    yaml_node_t *query = table_value(&found, REMOTE_KEYS, "query");
    if (events)
        rc = check_remote(r, events, "events", config->remote_events);
    if (rc == 0 && query)
        rc = check_remote(r, query, "query", config->remote_query);
    if (rc == 0 && events && query && strcmp(config->remote_events, config->remote_query) == 0)
        rc = table_complain(r, query, "remote: events and query have the same address");
    return rc;
}

static int read_http(TableReader *r, yaml_node_t *node, Config *config)
{
    TableFound found = {0};
    int rc = node ? table_read(r, node, "http.", HTTP_KEYS, config, &found) : 0;
    if (rc < 0)
        return rc;
    yaml_node_t *address = table_value(&found, HTTP_KEYS, "address");
    config->http_given = address != NULL;
    if (!address)
        return table_set_text(r, &config->http_address, CONFIG_HTTP_ADDRESS);
    char host[64];
    int port;
    const char *reason;
    if (strcmp(config->http_address, "off") != 0 &&
        value_address(config->http_address, host, &port, &reason) < 0)
        return table_complain(r, address, "http.address: %.64s: %s", config->http_address, reason);
    return 0;
}

int operation_read(TableReader *r, const OperationNodes *nodes, Config *config)
{
    config->socket_mode = 0660;
    int rc = read_endpoints(r, nodes->endpoints, config);
    if (rc == 0 && nodes->remote)
        rc = read_remote(r, nodes->remote, config);
    if (rc == 0)
        rc = read_http(r, nodes->http, config);
    TableFound found;
    if (rc == 0 && nodes->events)
        rc = table_read(r, nodes->events, "events.", EVENTS_KEYS, config, &found);
    return rc;
}

void operation_deinit(Config *config)
{
    free(config->events_endpoint);
    free(config->query_endpoint);
    free(config->socket_group);
    free(config->remote_events);
    free(config->remote_query);
    free(config->http_address);
}

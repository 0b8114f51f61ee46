/*
 * The sections of whend.yaml that say how whend is reached and what it keeps: `endpoints:`,
 * `remote:`, `http:`, `events:`. For config.c alone.
 */
#ifndef WHEN_CONFIG_OPERATION_H
#define WHEN_CONFIG_OPERATION_H

#include "config/config.h"
#include "config/table.h"

extern const TableKey ENDPOINT_KEYS[], REMOTE_KEYS[], HTTP_KEYS[], EVENTS_KEYS[];

/* The sections as they stand in the document (NULL: not there), runtime_dir being read already;
 * fills in defaults. 0, or what was complained. */
typedef struct OperationNodes {
    yaml_node_t *endpoints, *remote, *http, *events;
} OperationNodes;
int operation_read(TableReader *r, const OperationNodes *nodes, Config *config);

void operation_deinit(Config *config);

#endif

/* Polygons of a camera's mask. See mask.h. */
#include "config/mask.h"

#include "base/mem.h"
#include "config/value.h"

#include <errno.h>
#include <string.h>

static size_t length(const yaml_node_t *node)
{
    return (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
}

static yaml_node_t *item(TableReader *r, const yaml_node_t *node, size_t i)
{
    return yaml_document_get_node(&r->document, node->data.sequence.items.start[i]);
}

static int read_share(TableReader *r, const yaml_node_t *node, const char *name, float *share)
{
    const char *text = table_scalar(r, node, name), *reason;
    double number;
    if (!text)
        return -EINVAL;
    if (value_number(text, &number, &reason) < 0)
        return table_complain(r, node, "%s: %.64s: %s", name, text, reason);
    if (number > 1)
        return table_complain(r, node, "%s: %.64s is not between 0 and 1 (1 is the whole picture)",
                              name, text);
    *share = (float)number;
    return 0;
}

static int read_polygon(TableReader *r, const yaml_node_t *node, const char *name,
                        MaskPolygon *polygon)
{
    if (node->type != YAML_SEQUENCE_NODE)
        return table_complain(r, node, "%s: a polygon is a list like [[0, 0], [1, 0], [1, 0.1]]",
                              name);
    size_t n = length(node);
    if (n < 3 || n > CONFIG_MAX_POINTS)
        return table_complain(r, node, "%s: a polygon of %zu points (3 to %d)", name, n,
                              CONFIG_MAX_POINTS);
    polygon->xy = mem_new_array(2 * n, sizeof *polygon->xy);
    if (!polygon->xy)
        return table_no_memory(r);
    polygon->n_points = n;
    for (size_t i = 0; i < n; i++) {
        const yaml_node_t *point = item(r, node, i);
        if (point->type != YAML_SEQUENCE_NODE || length(point) != 2)
            return table_complain(r, point, "%s: a point is [x, y]", name);
        for (size_t k = 0; k < 2; k++) {
            int rc = read_share(r, item(r, point, k), name, &polygon->xy[2 * i + k]);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

int mask_config_read(TableReader *r, const yaml_node_t *node, const char *name,
                     CameraConfig *camera)
{
    if (node->type != YAML_SEQUENCE_NODE)
        return table_complain(r, node, "%s: a list of polygons belongs here", name);
    size_t n = length(node);
    if (n > CONFIG_MAX_POLYGONS)
        return table_complain(r, node, "%s: %zu polygons, at most %d are read", name, n,
                              CONFIG_MAX_POLYGONS);
    camera->mask = mem_new_array(n, sizeof *camera->mask);
    if (!camera->mask)
        return table_no_memory(r);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = read_polygon(r, item(r, node, i), name, &camera->mask[camera->n_mask++]);
    return rc;
}

void mask_config_deinit(CameraConfig *camera)
{
    for (size_t i = 0; i < camera->n_mask; i++)
        free(camera->mask[i].xy);
    free(camera->mask);
    camera->mask = NULL;
    camera->n_mask = 0;
}

bool mask_config_equal(const CameraConfig *a, const CameraConfig *b)
{
    if (a->n_mask != b->n_mask)
        return false;
    for (size_t i = 0; i < a->n_mask; i++) {
        const MaskPolygon *p = &a->mask[i], *q = &b->mask[i];
        if (p->n_points != q->n_points ||
            memcmp(p->xy, q->xy, 2 * p->n_points * sizeof *p->xy) != 0)
            return false;
    }
    return true;
}

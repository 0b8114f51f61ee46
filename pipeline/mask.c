/* Parts of a picture that are never looked at. See mask.h. */
#include "pipeline/mask.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>

typedef struct Span {
    int y, x0, x1; /* pixels [x0, x1) of row y */
} Span;

struct Mask {
    Span *spans;
    size_t n, capacity;
};

static bool shape_contains(const MaskShape *shape, double x, double y)
{
    bool inside = false;
    for (size_t i = 0, j = shape->n_points - 1; i < shape->n_points; j = i++) {
        double xi = shape->xy[2 * i], yi = shape->xy[2 * i + 1];
        double xj = shape->xy[2 * j], yj = shape->xy[2 * j + 1];
        if ((yi > y) != (yj > y) && x < (xj - xi) * (y - yi) / (yj - yi) + xi)
            inside = !inside;
    }
    return inside;
}

bool mask_contains(const MaskShape *shapes, size_t n, double x, double y)
{
    for (size_t i = 0; i < n; i++)
        if (shapes[i].n_points >= 3 && shape_contains(&shapes[i], x, y))
            return true;
    return false;
}

void mask_displayed(MaskTurn turn, double column, double row, double *x, double *y)
{
    double u = turn.transpose ? row : column, v = turn.transpose ? column : row;
    *x = turn.flip_x ? 1 - u : u;
    *y = turn.flip_y ? 1 - v : v;
}

static int add(Mask *mask, Span span)
{
    void *spans = mask->spans;
    int r = mem_grow(&spans, &mask->capacity, mask->n + 1, sizeof span);
    mask->spans = spans;
    if (r == 0)
        mask->spans[mask->n++] = span;
    return r;
}

int mask_new(const MaskShape *shapes, size_t n, MaskTurn turn, int width, int height, Mask **mask)
{
    Mask *m = calloc(1, sizeof *m);
    int r = m ? 0 : -ENOMEM;
    for (int row = 0; r == 0 && row < height; row++) {
        int begin = -1;
        for (int column = 0; r == 0 && column <= width; column++) {
            double x, y;
            mask_displayed(turn, (column + 0.5) / width, (row + 0.5) / height, &x, &y);
            bool in = column < width && mask_contains(shapes, n, x, y);
            if (in && begin < 0)
                begin = column;
            if (!in && begin >= 0) {
                r = add(m, (Span){row, begin, column});
                begin = -1;
            }
        }
    }
    if (r < 0) {
        mask_free(m);
        return r;
    }
    *mask = m;
    return 0;
}

void mask_free(Mask *mask)
{
    if (!mask)
        return;
    free(mask->spans);
    free(mask);
}

void mask_blank(const Mask *mask, uint8_t *rgb, size_t stride)
{
    for (size_t i = 0; i < mask->n; i++) {
        const Span *s = &mask->spans[i];
        memset(rgb + (size_t)s->y * stride + (size_t)s->x0 * 3, MASK_LEVEL,
               (size_t)(s->x1 - s->x0) * 3);
    }
}

size_t mask_pixels(const Mask *mask)
{
    size_t n = 0;
    for (size_t i = 0; i < mask->n; i++)
        n += (size_t)(mask->spans[i].x1 - mask->spans[i].x0);
    return n;
}

/* Which cells of a frame changed. See gate.h. */
#include "pipeline/gate.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

enum { SIDE = 4, BLOCKS = SIDE * SIDE, CHANNELS = 3, BINS = 1024 };

/* Levels of a block's mean (49 pixels of a cell of 28). */
static const float FLOOR_LEVELS[CHANNELS] = {5.0f, 5.0f, 5.0f};
static const float CEILING_LEVELS = 16.0f; /* no noise excuses more than this */
static const float NOISE_FACTOR = 5.0f;    /* of a mean absolute difference: four sigma */
static const float NOISE_RATE = 1.0f / 16; /* a frame */
static const float COST_CAP = 8.0f;        /* beyond this a block is no witness of the light */
static const float COST_GAIN = 0.7f;       /* what a richer model of the light must be better by */
static const float BIN_LEVELS = 0.25f;

struct Gate {
    GateOptions options;
    int width, height;
    size_t columns, rows, n_cells, n_blocks;
    bool started;
    int64_t last_pts_us, refreshed_us;
    /* [CHANNELS, n_blocks] means: luma, blue less luma, red less luma. Blocks of a cell lie
     * together. */
    float *now, *sent, *before, *noise;
    float *off;     /* [n_blocks] now less sent less light, of one channel */
    uint8_t *over;  /* [n_cells] blocks over their limit; STRONG when one alone settles it */
    uint8_t *cells; /* bitmap */
};

enum { STRONG = 255 };

Gate *gate_new(const GateOptions *options)
{
    Gate *gate = calloc(1, sizeof *gate);
    if (gate)
        gate->options = *options;
    return gate;
}

static void drop_sized(Gate *gate)
{
    free(gate->now);
    free(gate->sent);
    free(gate->before);
    free(gate->noise);
    free(gate->off);
    free(gate->over);
    free(gate->cells);
    *gate = (Gate){.options = gate->options};
}

void gate_free(Gate *gate)
{
    if (!gate)
        return;
    drop_sized(gate);
    free(gate);
}

void gate_reset(Gate *gate)
{
    gate->started = false;
}

static int resize(Gate *gate, int width, int height)
{
    int cell = gate->options.cell_px;
    assert(cell >= SIDE && width > 0 && height > 0 && width % cell == 0 && height % cell == 0);
    drop_sized(gate);
    gate->width = width;
    gate->height = height;
    gate->columns = (size_t)(width / cell);
    gate->rows = (size_t)(height / cell);
    gate->n_cells = gate->columns * gate->rows;
    gate->n_blocks = gate->n_cells * BLOCKS;
    size_t n = gate->n_blocks * CHANNELS;
    gate->now = mem_new_array(n, sizeof(float));
    gate->sent = mem_new_array(n, sizeof(float));
    gate->before = mem_new_array(n, sizeof(float));
    gate->noise = mem_new_array(n, sizeof(float));
    gate->off = mem_new_array(gate->n_blocks, sizeof(float));
    gate->over = mem_new_array(gate->n_cells, 1);
    gate->cells = mem_new_array((gate->n_cells + 7) / 8, 1);
    if (gate->now && gate->sent && gate->before && gate->noise && gate->off && gate->over &&
        gate->cells)
        return 0;
    drop_sized(gate);
    return -ENOMEM;
}

/* Sums of r, g, b over one block's part of a row. */
static void add_row(const uint8_t *p, int n, uint32_t sum[3])
{
    uint32_t r = 0, g = 0, b = 0;
    for (int x = 0; x < n; x++, p += 3) {
        r += p[0];
        g += p[1];
        b += p[2];
    }
    sum[0] += r;
    sum[1] += g;
    sum[2] += b;
}

static void measure_block(Gate *gate, const uint8_t *rgb, int x0, int x1, int y0, int y1, size_t at)
{
    uint32_t sum[3] = {0};
    size_t stride = (size_t)gate->width * 3;
    for (int y = y0; y < y1; y++)
        add_row(rgb + (size_t)y * stride + (size_t)x0 * 3, x1 - x0, sum);
    float scale = 1.0f / (float)((x1 - x0) * (y1 - y0));
    float r = (float)sum[0] * scale, g = (float)sum[1] * scale, b = (float)sum[2] * scale;
    float luma = 0.299f * r + 0.587f * g + 0.114f * b;
    gate->now[at] = luma;
    gate->now[gate->n_blocks + at] = b - luma;
    gate->now[2 * gate->n_blocks + at] = r - luma;
}

static void measure(Gate *gate, const uint8_t *rgb)
{
    int cell = gate->options.cell_px;
    size_t at = 0;
    for (size_t row = 0; row < gate->rows; row++)
        for (size_t column = 0; column < gate->columns; column++)
            for (int i = 0; i < BLOCKS; i++, at++) {
                int x = (int)column * cell, y = (int)row * cell, bx = i % SIDE, by = i / SIDE;
                measure_block(gate, rgb, x + bx * cell / SIDE, x + (bx + 1) * cell / SIDE,
                              y + by * cell / SIDE, y + (by + 1) * cell / SIDE, at);
            }
}

/* --- light --- */

typedef struct Histogram {
    uint32_t count[BINS], n;
} Histogram;

static void histogram_add(Histogram *h, float difference)
{
    int bin = (int)lrintf(difference / BIN_LEVELS) + BINS / 2;
    h->count[bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin]++;
    h->n++;
}

static float histogram_median(const Histogram *h)
{
    uint32_t below = 0;
    int bin = 0;
    while (bin < BINS - 1 && (below += h->count[bin]) * 2 < h->n)
        bin++;
    return (float)(bin - BINS / 2) * BIN_LEVELS;
}

/* now = sent * gain + offset, by the light alone. */
typedef struct Light {
    float gain, offset;
} Light;

static float light_cost(const float *sent, const float *now, size_t n, Light light)
{
    float cost = 0;
    for (size_t i = 0; i < n; i++)
        cost += fminf(fabsf(now[i] - sent[i] * light.gain - light.offset), COST_CAP);
    return cost;
}

static Light light_offset(const float *sent, const float *now, size_t n)
{
    Histogram h = {0};
    for (size_t i = 0; i < n; i++)
        histogram_add(&h, now[i] - sent[i]);
    return (Light){1, histogram_median(&h)};
}

/* A line through the median differences of the darker and of the brighter half. */
static Light light_line(const float *sent, const float *now, size_t n)
{
    Histogram levels = {0}, half[2] = {{{0}, 0}, {{0}, 0}};
    float sum[2] = {0, 0};
    for (size_t i = 0; i < n; i++)
        histogram_add(&levels, sent[i] - 128);
    float middle = histogram_median(&levels) + 128;
    for (size_t i = 0; i < n; i++) {
        int bright = sent[i] > middle;
        histogram_add(&half[bright], now[i] - sent[i]);
        sum[bright] += sent[i];
    }
    if (half[0].n == 0 || half[1].n == 0)
        return (Light){1, 0};
    float x0 = sum[0] / (float)half[0].n, x1 = sum[1] / (float)half[1].n;
    float y0 = histogram_median(&half[0]), y1 = histogram_median(&half[1]);
    if (x1 - x0 < 16)
        return (Light){1, 0};
    float slope = fminf(fmaxf((y1 - y0) / (x1 - x0), -0.5f), 0.5f);
    return (Light){1 + slope, y0 - slope * x0};
}

/* The simplest model that explains the difference about as well as the next one: what moves is no
 * light, and must not be explained away by it. */
static Light find_light(const float *sent, const float *now, size_t n, bool with_gain)
{
    Light light = {1, 0}, offset = light_offset(sent, now, n);
    float cost = light_cost(sent, now, n, light), better = light_cost(sent, now, n, offset);
    if (better < COST_GAIN * cost) {
        light = offset;
        cost = better;
    }
    if (!with_gain)
        return light;
    Light line = light_line(sent, now, n);
    return light_cost(sent, now, n, line) < COST_GAIN * cost ? line : light;
}

/* --- cells --- */

static void count_over(Gate *gate, int channel)
{
    const float *noise = gate->noise + (size_t)channel * gate->n_blocks;
    float sensitivity = gate->options.sensitivity > 0 ? gate->options.sensitivity : 1;
    for (size_t i = 0; i < gate->n_blocks; i++) {
        float limit = fmaxf(FLOOR_LEVELS[channel], NOISE_FACTOR * noise[i]);
        limit = fminf(limit, CEILING_LEVELS) / sensitivity;
        float off = fabsf(gate->off[i]);
        uint8_t *over = &gate->over[i / BLOCKS];
        if (off > 2 * limit)
            *over = STRONG;
        else if (off > limit && *over < STRONG - 1)
            (*over)++;
    }
}

/* Has a neighbour that changed for sure. */
static bool beside_changed(const Gate *gate, size_t cell)
{
    size_t row = cell / gate->columns, column = cell % gate->columns;
    for (size_t r = row ? row - 1 : 0; r <= row + 1 && r < gate->rows; r++)
        for (size_t c = column ? column - 1 : 0; c <= column + 1 && c < gate->columns; c++)
            if (gate->over[r * gate->columns + c] >= 2)
                return true;
    return false;
}

static void learn_noise(Gate *gate, size_t cell)
{
    for (int channel = 0; channel < CHANNELS; channel++) {
        size_t from = (size_t)channel * gate->n_blocks + cell * BLOCKS;
        for (size_t i = from; i < from + BLOCKS; i++)
            gate->noise[i] +=
                (fminf(fabsf(gate->now[i] - gate->before[i]), CEILING_LEVELS) - gate->noise[i]) *
                NOISE_RATE;
    }
}

static void keep(Gate *gate, size_t cell)
{
    gate->cells[cell / 8] |= (uint8_t)(1U << cell % 8);
    for (int channel = 0; channel < CHANNELS; channel++) {
        size_t from = (size_t)channel * gate->n_blocks + cell * BLOCKS;
        memcpy(gate->sent + from, gate->now + from, BLOCKS * sizeof(float));
    }
}

/* Takes the light out: `sent` becomes what was sent as it would look in the light of now. */
static void compare(Gate *gate)
{
    memset(gate->over, 0, gate->n_cells);
    for (int channel = 0; channel < CHANNELS; channel++) {
        float *sent = gate->sent + (size_t)channel * gate->n_blocks;
        float *before = gate->before + (size_t)channel * gate->n_blocks;
        const float *now = gate->now + (size_t)channel * gate->n_blocks;
        Light light = find_light(sent, now, gate->n_blocks, channel == 0);
        Light step = light_offset(before, now, gate->n_blocks);
        for (size_t i = 0; i < gate->n_blocks; i++) {
            sent[i] = sent[i] * light.gain + light.offset;
            before[i] += step.offset;
            gate->off[i] = now[i] - sent[i];
        }
        count_over(gate, channel);
    }
}

static bool is_refresh(Gate *gate, int64_t pts_us)
{
    if (!gate->started || pts_us < gate->last_pts_us)
        return true;
    /* Now rather than late: the next frame is as far off as the last one. */
    int64_t next_us = pts_us + (pts_us - gate->last_pts_us);
    return next_us - gate->refreshed_us > gate->options.refresh_us;
}

int gate_look(Gate *gate, int64_t pts_us, const uint8_t *rgb, int width, int height, GateLook *look)
{
    int r = 0;
    if ((width != gate->width || height != gate->height) && (r = resize(gate, width, height)) < 0)
        return r;
    bool refresh = is_refresh(gate, pts_us);
    measure(gate, rgb);
    if (!gate->started) {
        for (size_t i = 0; i < gate->n_blocks * CHANNELS; i++)
            gate->noise[i] = 1; /* until it is learnt */
        memset(gate->over, STRONG, gate->n_cells);
    } else {
        compare(gate);
    }
    *look = (GateLook){.cells = gate->cells, .n_cells = gate->n_cells, .refreshed = refresh};
    memset(gate->cells, 0, (gate->n_cells + 7) / 8);
    for (size_t cell = 0; cell < gate->n_cells; cell++) {
        bool changed =
            gate->over[cell] >= 2 || (gate->over[cell] == 1 && beside_changed(gate, cell));
        if (!changed)
            learn_noise(gate, cell);
        if (changed || refresh) {
            keep(gate, cell);
            look->n_kept++;
            look->n_changed += changed;
        }
    }
    if (refresh)
        gate->refreshed_us = pts_us;
    memcpy(gate->before, gate->now, gate->n_blocks * CHANNELS * sizeof(float));
    gate->started = true;
    gate->last_pts_us = pts_us;
    return 0;
}

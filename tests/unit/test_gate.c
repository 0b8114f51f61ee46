/* The gate: quiet under noise, flicker and changing light; no change is lost, however slow. */
#include "pipeline/gate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { CELL = 28, COLUMNS = 16, ROWS = 8, W = COLUMNS * CELL, H = ROWS * CELL };
#define FRAME_US INT64_C(250000)

static uint8_t picture[W * H * 3];
static uint32_t seed;

static int noise(int levels)
{
    seed = seed * 1664525 + 1013904223;
    return levels ? (int)((seed >> 16) % (uint32_t)(2 * levels + 1)) - levels : 0;
}

static uint8_t level(double v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5);
}

/* What a scene has: light, a box in a colour, noise, a pulse of codec blocks. */
typedef struct Scene {
    double gain, offset, warm;
    int noise, pulse;
    int x, y, w, h;
    double r, g, b, alpha;
} Scene;

static const Scene PLAIN = {.gain = 1};

static void colour_at(const Scene *s, int x, int y, double rgb[3])
{
    double ground = 90 + 40 * sin(x * 0.05) + 30 * cos(y * 0.07) + (x / 40 % 2) * 25;
    rgb[0] = ground + 10;
    rgb[1] = ground;
    rgb[2] = ground - 5;
    if (x >= s->x && x < s->x + s->w && y >= s->y && y < s->y + s->h) {
        double a = s->alpha > 0 ? s->alpha : 1, box[3] = {s->r, s->g, s->b};
        for (int c = 0; c < 3; c++)
            rgb[c] += a * (box[c] - rgb[c]);
    }
}

static void draw(const Scene *s)
{
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            double rgb[3];
            colour_at(s, x, y, rgb);
            /* Eight by eight blocks shift together, as after a key frame. */
            int block = s->pulse * ((x / 8 * 7 + y / 8 * 13) % 3 - 1);
            for (int c = 0; c < 3; c++)
                picture[(y * W + x) * 3 + c] = level(rgb[c] * s->gain + s->offset + block +
                                                     (c - 1) * s->warm + noise(s->noise));
        }
}

static bool bit(const GateLook *look, size_t cell)
{
    return look->cells[cell / 8] >> cell % 8 & 1;
}

static GateLook show(Gate *gate, int i, const Scene *s)
{
    GateLook look;
    draw(s);
    assert_int_equal(gate_look(gate, i * FRAME_US, picture, W, H, &look), 0);
    assert_int_equal(look.n_cells, COLUMNS * ROWS);
    size_t n = 0;
    for (size_t cell = 0; cell < look.n_cells; cell++)
        n += bit(&look, cell);
    assert_int_equal(n, look.n_kept);
    assert_true(look.n_changed <= look.n_kept);
    return look;
}

static Gate *new_gate(float sensitivity, int64_t refresh_us)
{
    seed = 7;
    Gate *gate = gate_new(&(GateOptions){CELL, sensitivity, refresh_us});
    assert_non_null(gate);
    return gate;
}

#define NEVER INT64_C(1000000000)

/* Cells kept of frames [from, to) while `change` moves the scene. */
static size_t kept(Gate *gate, int from, int to, Scene scene, void (*change)(Scene *, int))
{
    size_t n = 0;
    for (int i = from; i < to; i++) {
        if (change)
            change(&scene, i);
        n += show(gate, i, &scene).n_kept;
    }
    return n;
}

static void light_drifts(Scene *s, int i)
{
    s->offset = 20 * sin(i * 0.05);
    s->gain = 1 + 0.1 * sin(i * 0.03);
}

static void exposure_jumps(Scene *s, int i)
{
    s->gain = i / 10 % 2 ? 1.25 : 0.9;
    s->offset = i / 10 % 2 ? 4 : -3;
    s->warm = i / 20 % 2 ? 4 : 0;
}

static void keyframe_pulses(Scene *s, int i)
{
    s->pulse = i % 8 == 0 ? 2 : 1;
}

static void test_quiet(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        void (*change)(Scene *, int);
        int noise;
    } cases[] = {{"nothing", NULL, 0},
                 {"noise", NULL, 4},
                 {"strong noise", NULL, 16},
                 {"drifting light", light_drifts, 4},
                 {"jumping exposure", exposure_jumps, 4},
                 {"key frame pulses", keyframe_pulses, 4}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        Gate *gate = new_gate(1, NEVER);
        Scene scene = PLAIN;
        scene.noise = cases[k].noise;
        assert_int_equal(show(gate, 0, &scene).n_kept, COLUMNS * ROWS);
        size_t n = kept(gate, 1, 121, scene, cases[k].change), all = 120 * COLUMNS * ROWS;
        if (n * 200 > all)
            fail_msg("%s: %zu of %zu cells were kept", cases[k].what, n, all);
        gate_free(gate);
    }
}

/* The greatest difference of a cell's 4 x 4 patches between two noiseless scenes, in one colour. */
static double difference(const Scene *a, const Scene *b, size_t cell)
{
    int x0 = (int)(cell % COLUMNS) * CELL, y0 = (int)(cell / COLUMNS) * CELL;
    double most = 0;
    for (int patch = 0; patch < 16; patch++) {
        double sum[3] = {0};
        for (int k = 0; k < 49; k++) {
            int x = x0 + patch % 4 * 7 + k % 7, y = y0 + patch / 4 * 7 + k / 7;
            double p[3], q[3];
            colour_at(a, x, y, p);
            colour_at(b, x, y, q);
            for (int c = 0; c < 3; c++)
                sum[c] += (p[c] - q[c]) / 49;
        }
        for (int c = 0; c < 3; c++)
            most = fmax(most, fabs(sum[c]));
    }
    return most;
}

/* What the model has of each cell is never far from what is there. */
static void check_nothing_lost(void (*change)(Scene *, int), double allowed, int n)
{
    Gate *gate = new_gate(1, NEVER);
    Scene scene = PLAIN, sent[COLUMNS * ROWS];
    scene.noise = 4;
    size_t kept_cells = 0, all = 0;
    for (int i = 0; i < n; i++) {
        change(&scene, i);
        GateLook look = show(gate, i, &scene);
        for (size_t cell = 0; cell < look.n_cells; cell++) {
            if (bit(&look, cell))
                sent[cell] = scene;
            double off = difference(&scene, &sent[cell], cell);
            if (off > allowed)
                fail_msg("frame %d, cell %zu is off by %.1f levels and was not kept", i, cell, off);
        }
        kept_cells += i ? look.n_kept : 0;
        all += i ? look.n_cells : 0;
    }
    if (kept_cells * 3 > all)
        fail_msg("%zu of %zu cells were kept", kept_cells, all);
    gate_free(gate);
}

static void car_drives(Scene *s, int i)
{
    s->x = i * 9 - 60;
    s->y = 100;
    s->w = 60;
    s->h = 30;
    s->r = 200;
    s->g = 40;
    s->b = 40;
}

/* As bright as the ground: only its colour tells. */
static void colour_alone(Scene *s, int i)
{
    car_drives(s, i);
    s->r = 130;
    s->g = 55;
    s->b = 30;
}

static void small_walker(Scene *s, int i)
{
    s->x = i * 3;
    s->y = 40;
    s->w = 8;
    s->h = 16;
    s->r = s->g = s->b = 10;
}

static void fades_in(Scene *s, int i)
{
    s->x = 200;
    s->y = 60;
    s->w = 50;
    s->h = 50;
    s->r = s->g = s->b = 220;
    s->alpha = i < 20 ? 1e-9 : fmin(1, (i - 20) * 0.004);
}

static void test_nothing_lost(void **state)
{
    (void)state;
    check_nothing_lost(car_drives, 16, 60);
    check_nothing_lost(colour_alone, 16, 60);
    check_nothing_lost(small_walker, 16, 120);
    check_nothing_lost(fades_in, 16, 240); /* under one level a frame: noise must not excuse it */
}

/* A lamp goes on in a part of the picture while the light of all of it jumps. */
static void test_change_within_light(void **state)
{
    (void)state;
    Gate *gate = new_gate(1, NEVER);
    Scene scene = PLAIN;
    scene.noise = 3;
    for (int i = 0; i < 20; i++)
        show(gate, i, &scene);
    Scene lit = scene;
    lit.x = 2 * CELL;
    lit.y = 2 * CELL;
    lit.w = lit.h = 2 * CELL;
    lit.r = lit.g = lit.b = 250;
    lit.gain = 0.85;
    lit.offset = 12;
    GateLook look = show(gate, 20, &lit);
    for (size_t row = 2; row < 4; row++)
        for (size_t column = 2; column < 4; column++)
            assert_true(bit(&look, row * COLUMNS + column));
    assert_true(look.n_kept < 24); /* the rest is light */
    gate_free(gate);
}

static void test_refresh(void **state)
{
    (void)state;
    Gate *gate = new_gate(1, 4 * FRAME_US);
    int last = 0;
    for (int i = 0; i < 40; i++) {
        GateLook look = show(gate, i, &PLAIN);
        if (look.refreshed) {
            assert_int_equal(look.n_kept, look.n_cells);
            assert_int_equal(look.n_changed, i ? 0 : look.n_cells);
            last = i;
        }
        assert_true(i - last < 4);
    }
    GateLook look;
    assert_int_equal(gate_look(gate, FRAME_US, picture, W, H, &look), 0); /* back in time */
    assert_true(look.refreshed);
    assert_int_equal(gate_look(gate, 2 * FRAME_US, picture, W / 2, H / 2, &look), 0);
    assert_true(look.refreshed && look.n_kept == COLUMNS * ROWS / 4);
    gate_reset(gate);
    assert_int_equal(gate_look(gate, 3 * FRAME_US, picture, W / 2, H / 2, &look), 0);
    assert_true(look.refreshed);
    gate_free(gate);
}

static void test_sensitivity(void **state)
{
    (void)state;
    size_t n[3];
    for (int k = 0; k < 3; k++) {
        Gate *gate = new_gate(0.5f * (float)(1 << k), NEVER);
        Scene scene = PLAIN;
        scene.noise = 3;
        n[k] = kept(gate, 0, 60, scene, small_walker);
        gate_free(gate);
    }
    assert_true(n[0] <= n[1] && n[1] <= n[2] && n[0] < n[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quiet),       cmocka_unit_test(test_nothing_lost),
        cmocka_unit_test(test_refresh),     cmocka_unit_test(test_change_within_light),
        cmocka_unit_test(test_sensitivity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

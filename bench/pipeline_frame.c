/*
 * What one sampled 1080p picture costs on its way to the model: colour, mask, size, gate. Prints
 * "frame NAME MEDIAN_MS MIN_MS ALLOCATIONS" lines for bench/pipeline.py.
 */
#include "base/clock.h"
#include "pipeline/fault.h"
#include "pipeline/gate.h"
#include "pipeline/picture.h"
#include "pipeline/resize.h"

#include <dlfcn.h>
#include <gst/video/video.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { W = 1920, H = 1080, N = 120, WARM = 10, MAX_PIXELS = 448 * 252 };

/* Allocations are counted where they are asked for, by whichever library. */
static atomic_ulong allocations;

void *malloc(size_t bytes)
{
    static void *(*real)(size_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "malloc");
    atomic_fetch_add(&allocations, 1);
    return real(bytes);
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* A picture with texture everywhere and a box that moves. */
static GstSample *sample_of(int i)
{
    static GstCaps *caps;
    if (!caps)
        caps = gst_caps_new_simple("video/x-raw", "format", G_TYPE_STRING, "I420", "width",
                                   G_TYPE_INT, W, "height", G_TYPE_INT, H, "framerate",
                                   GST_TYPE_FRACTION, 25, 1, NULL);
    GstBuffer *buffer = gst_buffer_new_allocate(NULL, W * H * 3 / 2, NULL);
    GstMapInfo map;
    if (!gst_buffer_map(buffer, &map, GST_MAP_WRITE))
        abort();
    uint32_t seed = 1;
    for (size_t k = 0; k < map.size; k++) {
        seed = seed * 1664525 + 1013904223;
        map.data[k] = (uint8_t)(60 + k % W / 16 + (seed >> 28));
    }
    for (int y = 300; y < 500; y++)
        memset(map.data + y * W + 10 * i % (W - 300), 200, 300);
    gst_buffer_unmap(buffer, &map);
    GstSample *sample = gst_sample_new(buffer, caps, NULL, NULL);
    gst_buffer_unref(buffer);
    return sample;
}

static void report(const char *name, double *ms, unsigned long allocated)
{
    qsort(ms, N, sizeof *ms, by_value);
    printf("frame %s %.3f %.3f %.2f\n", name, ms[N / 2], ms[0], (double)allocated / N);
}

static void whole(GstSample **samples, bool gate)
{
    PictureLimits limits = {.cell_px = 28,
                            .min_pixels = 28 * 28 * 4,
                            .max_pixels = MAX_PIXELS,
                            .gate_sensitivity = 1,
                            .gate_refresh_us = gate ? 2000000 : 0};
    Picture *picture = picture_new(&limits);
    static double ms[N];
    unsigned long before = 0;
    for (int i = -WARM; i < N; i++) {
        Frame frame = {.pts_us = (i + WARM) * INT64_C(500000)};
        Error err = {0};
        if (i == 0)
            before = atomic_load(&allocations);
        double begin = cpu_ms();
        if (picture_convert(picture, samples[(i + WARM) % 4], &frame, &err) < 0) {
            fprintf(stderr, "%s\n", err.text);
            exit(70);
        }
        if (i >= 0)
            ms[i] = cpu_ms() - begin;
    }
    report(gate ? "gate+resize+rgb" : "resize+rgb", ms, atomic_load(&allocations) - before);
    picture_free(picture);
}

static void resize_alone(void)
{
    static uint8_t rgb[W * H * 3], out[448 * 252 * 3];
    static double ms[N];
    Resizer *resizer = NULL;
    if (resizer_new(H, W, 252, 448, &resizer) < 0)
        exit(71);
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)(i * 7 / 3);
    unsigned long before = atomic_load(&allocations);
    for (int i = 0; i < N; i++) {
        double begin = cpu_ms();
        resizer_run(resizer, rgb, W * 3, out);
        ms[i] = cpu_ms() - begin;
    }
    report("resize", ms, atomic_load(&allocations) - before);
    resizer_free(resizer);
}

static void gate_alone(void)
{
    static uint8_t rgb[448 * 252 * 3];
    static double ms[N];
    Gate *gate = gate_new(&(GateOptions){28, 1, 2000000});
    unsigned long before = 0;
    for (int i = -1; i < N; i++) {
        GateLook look;
        for (size_t k = 0; k < sizeof rgb; k += 5)
            rgb[k] = (uint8_t)(100 + (k + (size_t)i) % 7);
        if (i == 0)
            before = atomic_load(&allocations);
        double begin = cpu_ms();
        if (gate_look(gate, (i + 1) * INT64_C(500000), rgb, 448, 252, &look) < 0)
            exit(71);
        if (i >= 0)
            ms[i] = cpu_ms() - begin;
    }
    report("gate", ms, atomic_load(&allocations) - before);
    gate_free(gate);
}

int main(void)
{
    Error err = {0};
    if (fault_init_gst(&err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 71;
    }
    GstSample *samples[4];
    for (int i = 0; i < 4; i++)
        samples[i] = sample_of(i);
    resize_alone();
    gate_alone();
    whole(samples, false);
    whole(samples, true);
    for (int i = 0; i < 4; i++)
        gst_sample_unref(samples[i]);
    return 0;
}

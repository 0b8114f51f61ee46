/* The measurement, and the file DIR/bf16-products: one line, "KEY: ours GFLOPS oneDNN GFLOPS". */
#include "model/gemm_choice.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/gemm_private.h"
#include "model/kernels.h"

#include <cpuid.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    COLUMNS = 4096, /* 16 MB of bf16: more than L2 */
    STEPS = 2048,
    ROWS = 512, /* as many as make reading the weights cheap, with AMX too */
    TURNS = 3,
    FILE_MAX = 1024
};

#define FILE_NAME  "bf16-products"
#define WORTH_IT   1.1 /* oneDNN's advantage from which on it is taken */
#define GFLOPS_MAX 1e7

/* "AMD EPYC 9B14, avx512bf16, oneDNN 2.6.3 in panels": what is timed, and where. */
static void make_key(char *key, size_t size)
{
    union {
        unsigned registers[12];
        char text[49];
    } brand = {{0}};
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002 + i, &brand.registers[4 * i], &brand.registers[4 * i + 1],
                         &brand.registers[4 * i + 2], &brand.registers[4 * i + 3]))
            brand.text[0] = 0;
    snprintf(key, size, "%s, %s, %s in panels", brand.text, kernels()->name, onednn_version());
}

static void set(GemmChoice *c, double panels, double onednn)
{
    c->panels_gflops = panels;
    c->onednn_gflops = onednn;
    c->layout = onednn > WORTH_IT * panels ? GEMM_ONEDNN : GEMM_PANELS;
    if (c->layout == GEMM_ONEDNN)
        snprintf(c->text, sizeof c->text, "%s (%.0f GFLOPS a thread, %s: %.0f)", onednn_version(),
                 onednn, kernels()->name, panels);
    else
        snprintf(c->text, sizeof c->text, "%s (%.0f GFLOPS a thread, %s: %.0f)", kernels()->name,
                 panels, onednn_version(), onednn);
}

/* Is what an earlier start found there, and about the same machine? */
static bool read_choice(const char *path, const char *key, GemmChoice *c)
{
    _cleanup_free_ char *text = NULL;
    size_t size, n = strlen(key);
    double panels, onednn;
    Error err = {0};
    int end = 0;
    if (file_read(path, FILE_MAX, &text, &size, &err) < 0 || strncmp(text, key, n) != 0 ||
        sscanf(text + n, ": ours %lf oneDNN %lf\n%n", &panels, &onednn, &end) != 2 ||
        (size_t)end != size - n || !(panels > 0 && panels < GFLOPS_MAX) ||
        !(onednn > 0 && onednn < GFLOPS_MAX))
        return false;
    set(c, panels, onednn);
    return true;
}

static void write_choice(const char *path, const char *key, const GemmChoice *c)
{
    char text[FILE_MAX];
    Error err = {0};
    int n = snprintf(text, sizeof text, "%s: ours %.1f oneDNN %.1f\n", key, c->panels_gflops,
                     c->onednn_gflops);
    if (file_replace(path, text, (size_t)n, &err) < 0)
        log_warn("gemm", "the choice between products is not kept: %s", err.text);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The best of some turns of each. */
static bool measure_both(GemmChoice *c)
{
    static const GemmLayout LAYOUTS[] = {GEMM_PANELS, GEMM_ONEDNN};
    GemmWeight *weights[2] = {NULL};
    Pool *pool = NULL;
    Gemm *gemm = NULL;
    double best[2] = {1e9, 1e9};
    /* Zeros: how fast they are multiplied does not depend on the values. */
    _cleanup_free_ void *values = mem_new_array((size_t)COLUMNS * STEPS, sizeof(uint16_t));
    _cleanup_free_ float *x = mem_new_array((size_t)ROWS * STEPS, sizeof *x);
    _cleanup_free_ float *y = mem_new_aligned((size_t)ROWS * COLUMNS, sizeof *y);
    const GemmSource source = {.n = COLUMNS, .k = STEPS, .values = values, .is_bf16 = true};
    bool ok = values && x && y && pool_new(1, &pool) == 0 && gemm_new(pool, &gemm) == 0;
    for (int i = 0; ok && i < 2; i++)
        ok = gemm_weight_new(GEMM_BF16, LAYOUTS[i], &source, NULL, &weights[i]) == 0;
    /* The first turn warms up. */
    for (int turn = 0; ok && turn <= TURNS; turn++)
        for (int i = 0; ok && i < 2; i++) {
            double begin = seconds();
            ok = gemm_run(gemm, weights[i], x, ROWS, y) == 0;
            double took = seconds() - begin;
            if (turn > 0 && took < best[i])
                best[i] = took;
        }
    for (int i = 0; i < 2; i++)
        gemm_weight_free(weights[i]);
    gemm_free(gemm);
    pool_free(pool);
    if (ok)
        set(c, 2e-9 * ROWS * COLUMNS * STEPS / best[0], 2e-9 * ROWS * COLUMNS * STEPS / best[1]);
    return ok;
}

void gemm_choose(const char *dir, bool measure, GemmChoice *c)
{
    *c = (GemmChoice){.layout = GEMM_PANELS};
    snprintf(c->text, sizeof c->text, "%s", kernels()->name);
    if (!measure || !onednn_multiplies_bf16())
        return;
    char key[256];
    make_key(key, sizeof key);
    _cleanup_free_ char *path = dir ? file_join(dir, FILE_NAME) : NULL;
    if ((path && read_choice(path, key, c)) || !measure_both(c))
        return;
    if (path)
        write_choice(path, key, c);
}

/*
 * Products by AMX's tiles (Sapphire Rapids and later); all else is kernels_avx512_bf16.c's. Four
 * tiles of sums, 32 rows by 32 columns: two tiles of inputs and two of weights are loaded for four
 * products, and a product takes as long as two loads from L1.
 *
 * Steps of k are 64 bytes of a row, counted from its begin; the last may be shorter. Sums go step
 * by step, so a row has the same bits whatever rows it is computed with, few or many, as on other
 * CPUs; but not those of other CPUs.
 */
#include "model/kernels_table.h"

#include "model/amx.h"

#include <math.h>
#include <string.h>

#define CPU_BF16
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma,avx512vnni,avx512bf16")
#define I_DOT_U8(sum, w, x) _mm512_dpbusd_epi32(sum, w, x)
#include "model/kernels_avx512.h"

#include "model/kernels_body.h"
#include "model/kernels_gemm_body.h"

#include "model/kernels_dot_body.h"

enum {
    TWO = 2 * AMX_ROWS, /* rows of two tiles */
    LINE = 64,
    /* Of a block's k, so that the inputs of two tiles (32 KB) stay in L1 while the weights of all
     * its columns go by, from L2. */
    PIECE_BYTES = 1024,
    /* Sums of so many rows by 256 columns (512 KB) stay in L2 from piece to piece. */
    UNIT_ROWS = 512
};

typedef enum Kind { KIND_BF16, KIND_U8 } Kind;

/* One tile or two of rows, by one or two of columns. Strides in bytes. */
typedef struct Tiles {
    const char *x;
    size_t x_row, x_half, x_step; /* rows; from the first tile to the second; steps of k */
    const char *w;
    size_t w_row, w_step;
    char *y;
    size_t y_row;
    const char *from; /* where sums begin: NULL: at zero */
    size_t from_row, from_column;
    size_t steps;
} Tiles;

/* Tiles 0..3 are sums, 4 and 5 inputs, 6 and 7 weights. bytes: of a step. */
static void configure(size_t rows, size_t bytes)
{
    AmxConfig c = {.palette = 1};
    const size_t of[2] = {rows < AMX_ROWS ? rows : AMX_ROWS, rows < AMX_ROWS ? 0 : rows - AMX_ROWS};
    for (int i = 0; i < 2; i++) {
        for (int j = 0; of[i] > 0 && j < 2; j++) {
            c.rows[2 * i + j] = (uint8_t)of[i];
            c.bytes[2 * i + j] = AMX_BYTES;
        }
        c.rows[4 + i] = (uint8_t)of[i];
        c.bytes[4 + i] = of[i] > 0 ? (uint16_t)bytes : 0;
        c.rows[6 + i] = (uint8_t)(bytes / 4);
        c.bytes[6 + i] = AMX_BYTES;
    }
    amx_configure(&c);
}

#define DOT(SUM, A, B)                                                                             \
    do {                                                                                           \
        if (kind == KIND_BF16)                                                                     \
            AMX_DOT_BF16(SUM, A, B);                                                               \
        else                                                                                       \
            AMX_DOT_S8U8(SUM, A, B);                                                               \
    } while (0)

#define BEGIN(SUM, ROW, COLUMN)                                                                    \
    do {                                                                                           \
        if (t->from)                                                                               \
            AMX_LOAD(SUM, t->from + (ROW)*AMX_ROWS * t->from_row + (COLUMN)*t->from_column,        \
                     t->from_row);                                                                 \
        else                                                                                       \
            AMX_ZERO(SUM);                                                                         \
    } while (0)

/* kind, rows and columns (tiles) are constants at each call. */
static inline __attribute__((always_inline)) void run_tiles(const Kind kind, const int rows,
                                                            const int columns, const Tiles *t)
{
    BEGIN(0, 0, 0);
    if (columns > 1)
        BEGIN(1, 0, 1);
    if (rows > 1)
        BEGIN(2, 1, 0);
    if (rows > 1 && columns > 1)
        BEGIN(3, 1, 1);
    const char *x = t->x, *w = t->w;
    for (size_t i = 0; i < t->steps; i++) {
        AMX_LOAD(4, x, t->x_row);
        AMX_LOAD(6, w, t->w_row);
        DOT(0, 4, 6);
        if (columns > 1) {
            AMX_LOAD(7, w + AMX_BYTES, t->w_row);
            DOT(1, 4, 7);
        }
        if (rows > 1) {
            AMX_LOAD(5, x + t->x_half, t->x_row);
            DOT(2, 5, 6);
            if (columns > 1)
                DOT(3, 5, 7);
        }
        x += t->x_step;
        w += t->w_step;
    }
    AMX_STORE(0, t->y, t->y_row);
    if (columns > 1)
        AMX_STORE(1, t->y + AMX_BYTES, t->y_row);
    if (rows > 1)
        AMX_STORE(2, t->y + AMX_ROWS * t->y_row, t->y_row);
    if (rows > 1 && columns > 1)
        AMX_STORE(3, t->y + AMX_ROWS * t->y_row + AMX_BYTES, t->y_row);
}

/* --- blocks of packed weights --- */

/* bytes: of a value of x and w; offset: of KIND_U8. Whole steps of k for all of the block, then the
 * shorter one: each shape of tiles is configured once. */
static inline __attribute__((always_inline)) void run_block(const Kind kind, const size_t bytes,
                                                            const KernelDotBlock *b, void *y,
                                                            const void *x, const int32_t *offset,
                                                            const void *w)
{
    const size_t whole = b->k * bytes / AMX_BYTES, rest = b->k * bytes % AMX_BYTES;
    const size_t w_step = AMX_BYTES * KERNEL_DOT_PANEL, x_step = AMX_BYTES * TWO;
    int32_t offsets[TWO][AMX_ROWS];
    for (int part = 0; part < 2; part++) {
        const size_t steps = part == 0 ? whole : rest > 0, before = part == 0 ? 0 : whole;
        const bool begins = b->first && before == 0;
        if (steps == 0)
            continue;
        configure(TWO, part == 0 ? AMX_BYTES : rest);
        for (size_t g = 0; g < b->groups; g++) {
            for (int r = 0; kind == KIND_U8 && begins && r < TWO; r++)
                for (int i = 0; i < AMX_ROWS; i++)
                    offsets[r][i] = offset[g * TWO + (size_t)r];
            for (size_t p = 0; p < b->panels; p++) {
                Tiles t = {
                    .x = (const char *)x + g * b->x_group * bytes + before * x_step,
                    .x_row = AMX_BYTES,
                    .x_half = AMX_ROWS * AMX_BYTES,
                    .x_step = x_step,
                    .w = (const char *)w + p * b->w_panel * bytes + before * w_step,
                    .w_row = 4 * KERNEL_DOT_PANEL,
                    .w_step = w_step,
                    .y = (char *)y + (g * TWO * b->y_stride + p * KERNEL_DOT_PANEL) * sizeof(float),
                    .y_row = b->y_stride * sizeof(float),
                    .steps = steps,
                };
                if (begins && kind == KIND_U8) {
                    t.from = (const char *)offsets;
                    t.from_row = sizeof offsets[0];
                } else if (!begins) {
                    t.from = t.y;
                    t.from_row = t.y_row;
                    t.from_column = AMX_BYTES;
                }
                if (part == 0 && g == 0) {
                    const char *ahead = (const char *)w + p * b->w_panel * bytes + b->ahead;
                    for (size_t i = 0; i < b->ahead_bytes; i += LINE)
                        __builtin_prefetch(ahead + i, 0, 2);
                }
                run_tiles(kind, 2, 2, &t);
            }
        }
    }
    amx_release();
}

static void amx_dot_bf16(const KernelDotBlock *b, float *y, const uint16_t *x, const uint16_t *w)
{
    run_block(KIND_BF16, sizeof *w, b, y, x, NULL, w);
}

static void amx_dot_u8(const KernelDotBlock *b, int32_t *y, const int8_t *x, const int32_t *offset,
                       const uint8_t *w)
{
    run_block(KIND_U8, sizeof *w, b, y, x, offset, w);
}

/* Few rows wait for memory; by tiles too, so that they have the bits that many have. */
static void amx_few_dot_bf16(float *y, size_t y_stride, const uint16_t *x, size_t x_stride,
                             size_t m, const uint16_t *w, size_t panel, size_t k, size_t from,
                             size_t to)
{
    const size_t whole = k * sizeof *w / AMX_BYTES, rest = k * sizeof *w % AMX_BYTES;
    for (int part = 0; part < 2; part++) {
        const size_t steps = part == 0 ? whole : rest > 0, before = part == 0 ? 0 : whole;
        if (steps == 0)
            continue;
        configure(m, part == 0 ? AMX_BYTES : rest);
        for (size_t p = from; p < to; p++) {
            char *out = (char *)(y + (p - from) * KERNEL_DOT_PANEL);
            const Tiles t = {
                .x = (const char *)x + before * AMX_BYTES,
                .x_row = x_stride * sizeof *x,
                .x_step = AMX_BYTES,
                .w = (const char *)(w + p * panel) + before * AMX_BYTES * KERNEL_DOT_PANEL,
                .w_row = 4 * KERNEL_DOT_PANEL,
                .w_step = AMX_BYTES * KERNEL_DOT_PANEL,
                .y = out,
                .y_row = y_stride * sizeof *y,
                .from = before > 0 ? out : NULL,
                .from_row = y_stride * sizeof *y,
                .from_column = AMX_BYTES,
                .steps = steps,
            };
            run_tiles(KIND_BF16, 1, 2, &t);
        }
    }
    amx_release();
}

/* --- attention --- */

/* `rows` rows a time, all columns: those of a tile's columns stay in L1 for all rows. */
static void pairs_of(const Tiles *first, size_t groups, size_t rows, size_t cols)
{
    for (size_t j = 0; j < cols;) {
        const bool two = cols - j >= 2 * KERNEL_ALIGN;
        for (size_t g = 0; g < groups; g++) {
            Tiles t = *first;
            t.x += g * rows * t.x_row;
            t.w += j * 4;
            t.y += g * rows * t.y_row + j * sizeof(float);
            t.from = first->from ? t.y : NULL;
            if (rows > AMX_ROWS && two)
                run_tiles(KIND_BF16, 2, 2, &t);
            else if (rows > AMX_ROWS)
                run_tiles(KIND_BF16, 2, 1, &t);
            else if (two)
                run_tiles(KIND_BF16, 1, 2, &t);
            else
                run_tiles(KIND_BF16, 1, 1, &t);
        }
        j += two ? 2 * KERNEL_ALIGN : KERNEL_ALIGN;
    }
}

static void amx_tile_pairs(float *c, size_t c_stride, const uint16_t *a, size_t a_stride,
                           const uint16_t *b, size_t b_stride, size_t rows, size_t inner,
                           size_t cols, bool accumulate)
{
    const size_t whole = inner * sizeof *a / AMX_BYTES, rest = inner * sizeof *a % AMX_BYTES;
    const size_t x_row = a_stride * sizeof *a, w_row = b_stride * 2 * sizeof *b;
    if (inner == 0)
        for (size_t r = 0; !accumulate && r < rows; r++)
            memset(c + r * c_stride, 0, cols * sizeof *c);
    for (int part = 0; part < 2; part++) {
        const size_t steps = part == 0 ? whole : rest > 0, before = part == 0 ? 0 : whole;
        if (steps == 0)
            continue;
        Tiles t = {
            .x = (const char *)a + before * AMX_BYTES,
            .x_row = x_row,
            .x_half = AMX_ROWS * x_row,
            .x_step = AMX_BYTES,
            .w = (const char *)b + before * AMX_ROWS * w_row,
            .w_row = w_row,
            .w_step = AMX_ROWS * w_row,
            .y = (char *)c,
            .y_row = c_stride * sizeof *c,
            .from = accumulate || before > 0 ? (const char *)c : NULL,
            .from_row = c_stride * sizeof *c,
            .from_column = AMX_BYTES,
            .steps = steps,
        };
        const size_t bytes = part == 0 ? AMX_BYTES : rest, groups = rows / TWO, last = rows % TWO;
        if (groups > 0) {
            configure(TWO, bytes);
            pairs_of(&t, groups, TWO, cols);
        }
        if (last > 0) {
            configure(last, bytes);
            t.x += groups * TWO * t.x_row;
            t.y += groups * TWO * t.y_row;
            pairs_of(&t, 1, last, cols);
        }
    }
    amx_release();
}

const GemmKernels gemm_kernels_amx = {BODY_GEMM,
                                      .dot_rows = TWO,
                                      .dot_bytes = AMX_BYTES,
                                      .dot_piece_bytes = PIECE_BYTES,
                                      .dot_unit_rows = UNIT_ROWS,
                                      .dot_bf16 = amx_dot_bf16,
                                      .dot_u8 = amx_dot_u8,
                                      .few_dot_bf16 = amx_few_dot_bf16,
                                      .few_dot_u8 = body_few_dot_u8};
const KernelTable kernels_amx = {BODY_TABLE(KERNEL_AMX, "amx", &gemm_kernels_amx),
                                 .tile_pairs = amx_tile_pairs};

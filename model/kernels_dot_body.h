/*
 * Products for CPUs that multiply neighbours of k in one instruction, bf16 in pairs or bytes in
 * fours, written once over the vectors of kernels_body.h and kernels_gemm_body.h with VEC_N = 16
 * and
 *   V_DOT_BF16(sum, w, x)   sum + the products of each lane's two bf16 (left out: no such CPU)
 *   I_DOT_U8(sum, w, x)     sum + the products of each lane's four bytes, w unsigned, x signed
 * Weights are read as they are packed: two vectors are one step of a panel, one stream.
 */

#define DOT_AHEAD     4096 /* bytes */
/* X(N) for each number of rows that is fewer than a tile's. */
#define DOT_COUNTS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define DOT_ROWS      12 /* of a tile; 12 x 2 sums, two of w and one of x are 27 of 32 registers */

#ifdef V_DOT_BF16
/* y [rows, vecs * 16] = (add: +=) x . w over `pairs` steps. Pair i of row r is at x[i * x_step +
 * r * x_row], vector v of step i at w + i * w_step + v * w_vec (in bf16). */
static inline __attribute__((always_inline)) void
body_dot_bf16(const int rows, const int vecs, float *y, size_t y_stride, const uint16_t *x,
              size_t x_row, size_t x_step, const uint16_t *w, size_t w_vec, size_t w_step,
              size_t pairs, bool add)
{
    VEC sum[DOT_ROWS][2];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++)
            sum[r][v] = add ? V_LOAD(y + (size_t)r * y_stride + (size_t)v * VEC_N) : V_ZERO();
    for (size_t i = 0; i < pairs; i++) {
        IVEC of_w[2];
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++) {
            of_w[v] = I_LOAD(w + (size_t)v * w_vec);
            /* Several rows keep the core busy enough to fall behind memory. */
            if (rows > 1 && rows < DOT_ROWS)
                __builtin_prefetch((const char *)(w + (size_t)v * w_vec) + DOT_AHEAD);
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            IVEC in = I_SET4(x + (size_t)r * x_row);
#pragma GCC unroll 2
            for (int v = 0; v < vecs; v++)
                sum[r][v] = V_DOT_BF16(sum[r][v], of_w[v], in);
        }
        w += w_step;
        x += x_step;
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++)
            V_STORE(y + (size_t)r * y_stride + (size_t)v * VEC_N, sum[r][v]);
}

/* Rows outside: a tile's inputs (48 KB at most) stay in L1 while the panels go by. */
static void body_block_bf16(const KernelDotBlock *b, float *y, const uint16_t *x, const uint16_t *w)
{
    for (size_t g = 0; g < b->groups; g++)
        for (size_t p = 0; p < b->panels; p++)
            body_dot_bf16(DOT_ROWS, 2, y + g * DOT_ROWS * b->y_stride + p * KERNEL_DOT_PANEL,
                          b->y_stride, x + g * b->x_group, 2, 2 * DOT_ROWS, w + p * b->w_panel,
                          2 * VEC_N, 2 * KERNEL_DOT_PANEL, b->k / 2, !b->first);
}

/* rows: as many as there are. */
static inline __attribute__((always_inline)) void
body_few_dot_bf16_of(const int vecs, size_t rows, float *y, size_t y_stride, const uint16_t *x,
                     size_t x_stride, const uint16_t *w, size_t w_vec, size_t w_step, size_t pairs,
                     bool add)
{
#define ROWS(N)                                                                                    \
    case N:                                                                                        \
        body_dot_bf16(N, vecs, y, y_stride, x, x_stride, 2, w, w_vec, w_step, pairs, add);         \
        return;
    switch (rows) {
        DOT_COUNTS(ROWS)
    default:
        body_dot_bf16(DOT_ROWS, vecs, y, y_stride, x, x_stride, 2, w, w_vec, w_step, pairs, add);
    }
}

static void body_few_dot_bf16(float *y, size_t y_stride, const uint16_t *x, size_t x_stride,
                              size_t m, const uint16_t *w, size_t panel, size_t k, size_t from,
                              size_t to)
{
    for (size_t p = from; p < to; p++)
        body_few_dot_bf16_of(2, m, y + (p - from) * KERNEL_DOT_PANEL, y_stride, x, x_stride,
                             w + p * panel, 2 * VEC_N, 2 * KERNEL_DOT_PANEL, k / 2, false);
}

/* Columns outside: what a tile's columns need of b stays in L1 for all rows. */
static void body_tile_pairs(float *c, size_t c_stride, const uint16_t *a, size_t a_stride,
                            const uint16_t *b, size_t b_stride, size_t rows, size_t inner,
                            size_t cols, bool accumulate)
{
    const size_t step = 2 * b_stride, pairs = inner / 2;
    for (size_t j = 0; j < cols;) {
        const size_t wide = cols - j >= 2 * VEC_N ? 2 : 1;
        const uint16_t *w = b + 2 * j;
        for (size_t r = 0; r < rows;) {
            const size_t count = rows - r < DOT_ROWS ? rows - r : DOT_ROWS;
            float *y = c + r * c_stride + j;
            const uint16_t *x = a + r * a_stride;
            if (wide == 2)
                body_few_dot_bf16_of(2, count, y, c_stride, x, a_stride, w, 2 * VEC_N, step, pairs,
                                     accumulate);
            else
                body_few_dot_bf16_of(1, count, y, c_stride, x, a_stride, w, 2 * VEC_N, step, pairs,
                                     accumulate);
            r += count;
        }
        j += wide * VEC_N;
    }
}
#undef ROWS
#endif

/* As above, of bytes; the sums begin with the rows' offsets. */
static inline __attribute__((always_inline)) void
body_dot_u8(const int rows, int32_t *y, size_t y_stride, const int8_t *x, size_t x_row,
            size_t x_step, const int32_t *offset, const uint8_t *w, size_t fours, bool first)
{
    const int vecs = 2;
    IVEC sum[DOT_ROWS][2];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++)
            sum[r][v] =
                first ? I_SET4(offset + r) : I_LOAD(y + (size_t)r * y_stride + (size_t)v * VEC_N);
    for (size_t i = 0; i < fours; i++) {
        IVEC of_w[2];
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++)
            of_w[v] = I_LOAD(w + (size_t)v * 4 * VEC_N);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            IVEC in = I_SET4(x + (size_t)r * x_row);
#pragma GCC unroll 2
            for (int v = 0; v < vecs; v++)
                sum[r][v] = I_DOT_U8(sum[r][v], of_w[v], in);
        }
        w += 4 * KERNEL_DOT_PANEL;
        x += x_step;
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++)
            I_STORE(y + (size_t)r * y_stride + (size_t)v * VEC_N, sum[r][v]);
}

/* unused: AMX has its own. */
static __attribute__((unused)) void body_block_u8(const KernelDotBlock *b, int32_t *y,
                                                  const int8_t *x, const int32_t *offset,
                                                  const uint8_t *w)
{
    for (size_t g = 0; g < b->groups; g++)
        for (size_t p = 0; p < b->panels; p++)
            body_dot_u8(DOT_ROWS, y + g * DOT_ROWS * b->y_stride + p * KERNEL_DOT_PANEL,
                        b->y_stride, x + g * b->x_group, 4, 4 * DOT_ROWS, offset + g * DOT_ROWS,
                        w + p * b->w_panel, b->k / 4, b->first);
}

static void body_few_dot_u8(int32_t *y, size_t y_stride, const int8_t *x, size_t x_stride,
                            const int32_t *offset, size_t m, const uint8_t *w, size_t panel,
                            size_t k, size_t from, size_t to)
{
#define ROWS(N)                                                                                    \
    case N:                                                                                        \
        body_dot_u8(N, out, y_stride, x, x_stride, 4, offset, at, k / 4, true);                    \
        break;
    for (size_t p = from; p < to; p++) {
        const uint8_t *at = w + p * panel;
        int32_t *out = y + (p - from) * KERNEL_DOT_PANEL;
        switch (m) {
            DOT_COUNTS(ROWS)
        default:
            body_dot_u8(DOT_ROWS, out, y_stride, x, x_stride, 4, offset, at, k / 4, true);
        }
    }
#undef ROWS
}

/* A piece of weights of a unit's 256 columns is 1 MB. */
#define BODY_GEMM_U8                                                                               \
    .dot_rows = DOT_ROWS, .dot_bytes = 4, .dot_piece_bytes = 4096, .dot_unit_rows = SIZE_MAX,      \
    .dot_u8 = body_block_u8, .few_dot_u8 = body_few_dot_u8
#ifdef V_DOT_BF16
#define BODY_GEMM_BF16 .dot_bf16 = body_block_bf16, .few_dot_bf16 = body_few_dot_bf16
#endif

/*
 * The kernels of kernels.h, written once over a vector type. The including file defines
 *   VEC, VEC_N                   the type and its number of floats (8 or 16)
 *   V_ZERO() V_SET(x) V_LOAD(p) V_STORE(p, v)
 *   V_ADD V_SUB V_MUL V_DIV V_MAX V_MIN  V_FMA(a, b, c) = a * b + c
 *   V_SUM(v) V_MAXIMUM(v)        across lanes
 *   V_ROUND(v)                   to the nearest integer
 *   V_POW2(v)                    2^v of integers -126..127
 *   V_BF16(p)                    VEC_N bf16 from p, widened
 *   V_S8(p)                      VEC_N signed bytes from p, widened
 *   V_BF16_EVEN(p) V_BF16_ODD(p) of 2 * VEC_N bf16 at p, those with even and odd index
 *   V_STORE_BF16(p, v)           rounded as kernel_to_bf16 does
 *   V_STORE_SHARE(p, v)          the same of zeros and numbers from 2^-126 on, NaN among them
 * and gets a static KernelTable's functions. tests/unit/test_kernels.c includes it once more over
 * plain arrays of 16, which proves the wide version's loops on CPUs without it.
 */

/* e^x: x = n ln2 + r, |r| <= ln2 / 2, polynomial of degree 6 (error under 2 ulp). Below -87.3 the
 * result is 0 to within f32's normal range, so the input is clamped there (a NaN stays one: MIN
 * and MAX give their second operand for it). */
static inline VEC body_exp(VEC x)
{
    x = V_MAX(V_SET(-87.0f), V_MIN(V_SET(88.0f), x));
    VEC n = V_ROUND(V_MUL(x, V_SET(1.44269504088896341f)));
    VEC r = V_FMA(n, V_SET(-0.693359375f), x);
    r = V_FMA(n, V_SET(2.12194440e-4f), r);
    VEC p = V_SET(1.9875691500e-4f);
    p = V_FMA(p, r, V_SET(1.3981999507e-3f));
    p = V_FMA(p, r, V_SET(8.3334519073e-3f));
    p = V_FMA(p, r, V_SET(4.1665795894e-2f));
    p = V_FMA(p, r, V_SET(1.6666665459e-1f));
    p = V_FMA(p, r, V_SET(5.0000001201e-1f));
    p = V_ADD(V_FMA(V_MUL(p, r), r, r), V_SET(1.0f));
    return V_MUL(p, V_POW2(n));
}

/* The last, partial vector of a row goes through these. */
static inline VEC body_load_part(const float *x, size_t n, float fill)
{
    float part[VEC_N];
    for (size_t i = 0; i < VEC_N; i++)
        part[i] = i < n ? x[i] : fill;
    return V_LOAD(part);
}

static inline void body_store_part(float *y, VEC v, size_t n)
{
    float part[VEC_N];
    V_STORE(part, v);
    for (size_t i = 0; i < n; i++)
        y[i] = part[i];
}

static void body_rmsnorm(float *y, const float *x, const float *weight, size_t n, float eps)
{
    VEC squares = V_ZERO(), squares2 = V_ZERO();
    size_t i = 0;
    for (; i + 2 * VEC_N <= n; i += 2 * VEC_N) {
        VEC a = V_LOAD(x + i), b = V_LOAD(x + i + VEC_N);
        squares = V_FMA(a, a, squares);
        squares2 = V_FMA(b, b, squares2);
    }
    for (; i < n; i += VEC_N) {
        VEC a = n - i >= VEC_N ? V_LOAD(x + i) : body_load_part(x + i, n - i, 0);
        squares = V_FMA(a, a, squares);
    }
    float scale = 1.0f / sqrtf(V_SUM(V_ADD(squares, squares2)) / (float)n + eps);
    VEC s = V_SET(scale);
    for (i = 0; i + VEC_N <= n; i += VEC_N)
        V_STORE(y + i, V_MUL(V_MUL(V_LOAD(x + i), s), V_LOAD(weight + i)));
    for (; i < n; i++)
        y[i] = x[i] * scale * weight[i];
}

static inline VEC body_silu_mul_one(VEC gate, VEC up)
{
    VEC e = body_exp(V_SUB(V_ZERO(), gate));
    return V_MUL(V_DIV(gate, V_ADD(V_SET(1.0f), e)), up);
}

static void body_silu_mul(float *y, const float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        V_STORE(y + i, body_silu_mul_one(V_LOAD(gate + i), V_LOAD(up + i)));
    if (i < n)
        body_store_part(
            y + i,
            body_silu_mul_one(body_load_part(gate + i, n - i, 0), body_load_part(up + i, n - i, 0)),
            n - i);
}

static void body_add(float *y, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        V_STORE(y + i, V_ADD(V_LOAD(y + i), V_LOAD(x + i)));
    for (; i < n; i++)
        y[i] += x[i];
}

static void body_scale(float *y, float s, size_t n)
{
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        V_STORE(y + i, V_MUL(V_LOAD(y + i), V_SET(s)));
    for (; i < n; i++)
        y[i] *= s;
}

static float body_max(const float *x, size_t n)
{
    VEC m = V_SET(x[0]);
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        m = V_MAX(m, V_LOAD(x + i));
    float best = V_MAXIMUM(m);
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

static float body_exp_sum(float *x, size_t n, float subtract)
{
    VEC sum = V_ZERO(), shift = V_SET(subtract);
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N) {
        VEC e = body_exp(V_SUB(V_LOAD(x + i), shift));
        V_STORE(x + i, e);
        sum = V_ADD(sum, e);
    }
    float total = V_SUM(sum);
    if (i < n) {
        body_store_part(x + i, body_exp(V_SUB(body_load_part(x + i, n - i, 0), shift)), n - i);
        for (; i < n; i++)
            total += x[i];
    }
    return total;
}

static float body_exp_share(uint16_t *y, const float *x, size_t n, float subtract)
{
    VEC sum = V_ZERO(), shift = V_SET(subtract);
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N) {
        VEC e = body_exp(V_SUB(V_LOAD(x + i), shift));
        V_STORE_SHARE(y + i, e);
        sum = V_ADD(sum, e);
    }
    float total = V_SUM(sum), part[VEC_N] = {0};
    if (i < n) {
        V_STORE(part, body_exp(V_SUB(V_LOAD(x + i), shift)));
        for (size_t j = 0; j < VEC_N; j++) {
            part[j] = i + j < n ? part[j] : 0;
            total += part[j];
        }
        V_STORE_SHARE(y + i, V_LOAD(part));
        i += VEC_N;
    }
    memset(y + i, 0, (KERNEL_BLOCK - i) * sizeof *y);
    return total;
}

static void body_rope(float *x, const float *cos, const float *sin, size_t half)
{
    size_t i = 0;
    for (; i + VEC_N <= half; i += VEC_N) {
        VEC a = V_LOAD(x + i), b = V_LOAD(x + half + i);
        VEC c = V_LOAD(cos + i), s = V_LOAD(sin + i);
        V_STORE(x + i, V_SUB(V_MUL(a, c), V_MUL(b, s)));
        V_STORE(x + half + i, V_ADD(V_MUL(b, c), V_MUL(a, s)));
    }
    for (; i < half; i++) {
        float a = x[i], b = x[half + i];
        x[i] = a * cos[i] - b * sin[i];
        x[half + i] = b * cos[i] + a * sin[i];
    }
}

/* Rows of a tile's block: 6 x 2 vectors of sums, two of b and one of a are 15 of AVX2's 16
 * registers. */
#define BODY_TILE_ROWS 6

/* rows x vecs sums stay in registers over the whole inner loop; both are constants at each call. */
static inline __attribute__((always_inline)) void
body_tile_of(const int rows, const int vecs, float *c, size_t c_stride, const float *a,
             size_t a_stride, const float *b, size_t b_stride, size_t inner, bool accumulate)
{
    VEC sum[BODY_TILE_ROWS][2];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++)
            sum[r][v] =
                accumulate ? V_LOAD(c + (size_t)r * c_stride + (size_t)v * VEC_N) : V_ZERO();
    for (size_t i = 0; i < inner; i++) {
        const float *row = b + i * b_stride;
        VEC first = V_LOAD(row), second = vecs > 1 ? V_LOAD(row + VEC_N) : first;
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            VEC x = V_SET(a[(size_t)r * a_stride + i]);
            sum[r][0] = V_FMA(x, first, sum[r][0]);
            if (vecs > 1)
                sum[r][1] = V_FMA(x, second, sum[r][1]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++)
            V_STORE(c + (size_t)r * c_stride + (size_t)v * VEC_N, sum[r][v]);
}

static inline __attribute__((always_inline)) void
body_tile_rows(const int vecs, float *c, size_t c_stride, const float *a, size_t a_stride,
               const float *b, size_t b_stride, size_t rows, size_t inner, bool accumulate)
{
    for (size_t r = 0; r < rows;) {
        float *y = c + r * c_stride;
        const float *x = a + r * a_stride;
        /* 7 and 8 rows as 4 and 3 or 4: a single row waits for its own sums. */
        size_t left = rows - r, count = left == 7 || left == 8 ? 4 : left;
        if (count >= 6)
            body_tile_of(6, vecs, y, c_stride, x, a_stride, b, b_stride, inner, accumulate);
        else if (count == 5)
            body_tile_of(5, vecs, y, c_stride, x, a_stride, b, b_stride, inner, accumulate);
        else if (count == 4)
            body_tile_of(4, vecs, y, c_stride, x, a_stride, b, b_stride, inner, accumulate);
        else if (count == 3)
            body_tile_of(3, vecs, y, c_stride, x, a_stride, b, b_stride, inner, accumulate);
        else if (count == 2)
            body_tile_of(2, vecs, y, c_stride, x, a_stride, b, b_stride, inner, accumulate);
        else
            body_tile_of(1, vecs, y, c_stride, x, a_stride, b, b_stride, inner, accumulate);
        r += count < BODY_TILE_ROWS ? count : BODY_TILE_ROWS;
    }
}

static void body_tile(float *c, size_t c_stride, const float *a, size_t a_stride, const float *b,
                      size_t b_stride, size_t rows, size_t inner, size_t cols, bool accumulate)
{
    size_t j = 0;
    for (; cols - j >= 2 * VEC_N; j += 2 * VEC_N)
        body_tile_rows(2, c + j, c_stride, a, a_stride, b + j, b_stride, rows, inner, accumulate);
    if (j < cols)
        body_tile_rows(1, c + j, c_stride, a, a_stride, b + j, b_stride, rows, inner, accumulate);
}

static inline __attribute__((always_inline)) VEC body_weights(const void *w, bool bf16, size_t i)
{
    return bf16 ? V_BF16((const uint16_t *)w + i) : V_LOAD((const float *)w + i);
}

/* KERNEL_ALIGN columns of a packed panel; every vector of sums walks down the panel. k in pairs:
 * (k, k + 1) of a column are neighbours, and an odd last k has a padded partner. */
#define BODY_GROUP (KERNEL_ALIGN / VEC_N)

static inline __attribute__((always_inline)) void
body_panels(const bool bf16, float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
            const void *w, const KernelPanels *p, size_t k, size_t from, size_t to)
{
    const size_t row = p->width * p->pair;
    for (size_t i = from; i < to; i += KERNEL_ALIGN) {
        const size_t at = i / p->width * p->panel + i % p->width * p->pair;
        for (size_t r = 0; r < m; r++) {
            const float *in = x + r * x_stride;
            VEC sum[BODY_GROUP];
            for (size_t v = 0; v < BODY_GROUP; v++)
                sum[v] = V_ZERO();
            for (size_t j = 0; j < k; j += p->pair) {
                VEC x0 = V_SET(in[j]), x1 = V_SET(j + 1 < k ? in[j + 1] : 0);
                for (size_t v = 0; v < BODY_GROUP; v++) {
                    size_t here = at + j / p->pair * row + v * VEC_N * p->pair;
                    if (p->pair == 1) {
                        sum[v] = V_FMA(x0, body_weights(w, bf16, here), sum[v]);
                    } else {
                        const uint16_t *pairs = (const uint16_t *)w + here;
                        sum[v] = V_FMA(x0, V_BF16_EVEN(pairs), sum[v]);
                        if (j + 1 < k)
                            sum[v] = V_FMA(x1, V_BF16_ODD(pairs), sum[v]);
                    }
                }
            }
            for (size_t v = 0; v < BODY_GROUP; v++) {
                size_t column = i + v * VEC_N;
                if (column + VEC_N <= to)
                    V_STORE(y + r * y_stride + column, sum[v]);
                else if (column < to)
                    body_store_part(y + r * y_stride + column, sum[v], to - column);
            }
        }
    }
}

static void body_panels_f32(float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
                            const float *w, const KernelPanels *p, size_t k, size_t from, size_t to)
{
    body_panels(false, y, y_stride, x, x_stride, m, w, p, k, from, to);
}

static void body_panels_bf16(float *y, size_t y_stride, const float *x, size_t x_stride, size_t m,
                             const uint16_t *w, const KernelPanels *p, size_t k, size_t from,
                             size_t to)
{
    body_panels(true, y, y_stride, x, x_stride, m, w, p, k, from, to);
}

static void body_bf16_to_f32(float *y, const uint16_t *x, size_t n)
{
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        V_STORE(y + i, V_BF16(x + i));
    for (; i < n; i++)
        y[i] = kernel_bf16(x[i]);
}

static void body_s8_scale(float *y, const int8_t *x, float scale, size_t n)
{
    VEC by = V_SET(scale);
    for (size_t i = 0; i < n; i += VEC_N)
        V_STORE(y + i, V_MUL(V_S8(x + i), by));
}

static void body_s8_mul(float *y, const int8_t *x, const float *scales, size_t n)
{
    for (size_t i = 0; i < n; i += VEC_N)
        V_STORE(y + i, V_MUL(V_S8(x + i), V_LOAD(scales + i)));
}

static void body_pairs_to_f32(float *y, const uint16_t *x, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i += 2)
        for (size_t j = 0; j < columns; j += VEC_N) {
            const uint16_t *pairs = x + (i / 2 * columns + j) * 2;
            V_STORE(y + i * columns + j, V_BF16_EVEN(pairs));
            V_STORE(y + (i + 1) * columns + j, V_BF16_ODD(pairs));
        }
}

static void body_f32_to_bf16(uint16_t *y, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        V_STORE_BF16(y + i, V_LOAD(x + i));
    for (; i < n; i++)
        y[i] = kernel_to_bf16(x[i]);
}

#define BODY_TABLE(CPU, NAME, GEMM)                                                                \
    .cpu = CPU, .name = NAME, .rmsnorm = body_rmsnorm, .silu_mul = body_silu_mul, .add = body_add, \
    .scale = body_scale, .max = body_max, .exp_sum = body_exp_sum, .exp_share = body_exp_share,    \
    .rope = body_rope, .tile = body_tile, .panels_f32 = body_panels_f32,                           \
    .panels_bf16 = body_panels_bf16, .bf16_to_f32 = body_bf16_to_f32,                              \
    .pairs_to_f32 = body_pairs_to_f32, .f32_to_bf16 = body_f32_to_bf16, .gemm = GEMM,              \
    .s8_scale = body_s8_scale, .s8_mul = body_s8_mul

/*
 * Our side of ./run bench engine: holds one model and measures what it is told, a line at a time,
 * so that the driver (bench/engine.py) can take turns with other engines. bench/engine MODEL DTYPE
 * KV THREADS [CACHE], a folder for packed weights. stdin: one command a line; stdout: one JSON
 * object a line with "seconds" (wall), "cpu_s" (of this process) and "steal" (share of the
 * machine's time that the host took), and what the command adds. limits | gemm M | gemm_vit M |
 * prefill N | depth D N | vit GRIDS HEIGHT WIDTH | decode SEQUENCES STEPS CONTEXT | plain TEXT |
 * grammar TEXT | memory CONTEXT | logits ID ... (not timed: the values behind these tokens) |
 * see HEIGHT WIDTH (nor that: the first 16 values of each visual token of one grid) | quit
 */
#include "bench/limits.h"

#include "base/mem.h"
#include "base/str.h"
#include "model/engine_private.h"
#include "model/kernels.h"
#include "model/patches.h"
#include "model/timeline.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_COMMAND = 4096, MAX_TEXT_TOKENS = 1024 };

typedef struct Bench {
    Engine *engine;
    GemmDtype dtype;
    Timeline *timeline;
    Compute compute; /* for what goes below the timeline */
    uint32_t seed;
    /* Weights of one layer's products, made when first asked for. */
    GemmWeight *llm[4], *vit[4];
    KvCache deep; /* random keys and values */
} Bench;

/* --- time --- */

typedef struct Gauge {
    double wall_s, cpu_s;
    uint64_t steal, total; /* ticks of the machine */
} Gauge;

static double clock_s(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static Gauge gauge(void)
{
    Gauge g = {0};
    FILE *file = fopen("/proc/stat", "re");
    uint64_t ticks[8] = {0};
    if (file && fscanf(file,
                       "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                       " %" SCNu64 " %" SCNu64,
                       ticks, ticks + 1, ticks + 2, ticks + 3, ticks + 4, ticks + 5, ticks + 6,
                       ticks + 7) == 8) {
        g.steal = ticks[7];
        for (int i = 0; i < 8; i++)
            g.total += ticks[i];
    }
    if (file)
        fclose(file);
    g.cpu_s = clock_s(CLOCK_PROCESS_CPUTIME_ID);
    g.wall_s = clock_s(CLOCK_MONOTONIC);
    return g;
}

/* The begin of the answer's line; more fields may follow. */
static void print_since(const Gauge *begin)
{
    Gauge end = gauge();
    double total = (double)(end.total - begin->total);
    printf("{\"seconds\":%.6f,\"cpu_s\":%.6f,\"steal\":%.4f", end.wall_s - begin->wall_s,
           end.cpu_s - begin->cpu_s, total > 0 ? (double)(end.steal - begin->steal) / total : 0);
}

static int fail(const char *what, const Error *err)
{
    fprintf(stderr, "bench/engine: %s: %s\n", what, err->text);
    return -1;
}

/* --- inputs --- */

static float random_value(Bench *b)
{
    b->seed = b->seed * 1664525u + 1013904223u;
    return (float)(b->seed >> 8) / (float)(1 << 23) - 1;
}

static float *random_values(Bench *b, size_t n)
{
    float *values = mem_new_aligned(n, sizeof *values);
    for (size_t i = 0; values && i < n; i++)
        values[i] = random_value(b);
    return values;
}

static int append_random(Bench *b, Timeline *t, size_t n, Error *err)
{
    _cleanup_free_ int32_t *ids = mem_new_array(n, sizeof *ids);
    if (!ids)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)((random_value(b) + 1) * 500); /* of a vocabulary of 1000 at least */
    return timeline_append_ids(t, ids, n, err);
}

/* --- products alone --- */

static GemmWeight *random_weight(Bench *b, int n, int k)
{
    size_t count = (size_t)n * (size_t)k;
    _cleanup_free_ uint16_t *values = mem_new_aligned(count, sizeof *values);
    GemmWeight *weight = NULL;
    for (size_t i = 0; values && i < count; i++) {
        float value = random_value(b) * 0.03f;
        kernels()->f32_to_bf16(values + i, &value, 1);
    }
    GemmSource source = {.n = (size_t)n, .k = (size_t)k, .values = values, .is_bf16 = true};
    if (!values ||
        gemm_weight_new(b->dtype, b->engine->products.layout, &source, NULL, &weight) < 0)
        return NULL;
    return weight;
}

/* The products of one layer at m rows. macs: multiply-adds of them. */
static int run_products(Bench *b, bool vision, size_t m)
{
    const TextHparams *t = &b->engine->hparams.text;
    const VisionHparams *v = &b->engine->hparams.vision;
    const int q = t->heads * t->head_dim, kv = t->kv_heads * t->head_dim;
    const int shapes[2][4][2] = {{{q + 2 * kv, t->hidden},
                                  {t->hidden, q},
                                  {2 * t->intermediate, t->hidden},
                                  {t->hidden, t->intermediate}},
                                 {{3 * v->hidden, v->hidden},
                                  {v->hidden, v->hidden},
                                  {2 * v->intermediate, v->hidden},
                                  {v->hidden, v->intermediate}}};
    GemmWeight **weights = vision ? b->vit : b->llm;
    double macs = 0;
    size_t wide = 0;
    for (int i = 0; i < 4; i++) {
        const int *s = shapes[vision][i];
        if (!weights[i])
            weights[i] = random_weight(b, s[0], s[1]);
        if (!weights[i])
            return -1;
        macs += (double)s[0] * s[1] * (double)m;
        wide = (size_t)s[0] > wide ? (size_t)s[0] : wide;
        wide = (size_t)s[1] > wide ? (size_t)s[1] : wide;
    }
    _cleanup_free_ float *x = random_values(b, m * wide);
    _cleanup_free_ float *y = mem_new_aligned(m * wide, sizeof *y);
    if (!x || !y)
        return -1;
    memset(y, 0, m * wide * sizeof *y);
    Gauge begin = gauge();
    for (int i = 0; i < 4; i++)
        if (gemm_run(b->compute.gemm, weights[i], x, m, y) < 0)
            return -1;
    print_since(&begin);
    printf(",\"layers\":%d,\"macs\":%.0f}\n", vision ? v->depth : t->layers, macs);
    return 0;
}

/* --- the model --- */

static int run_prefill(Bench *b, size_t n)
{
    Error err = {0};
    const float *logits;
    timeline_rollback(b->timeline, (TimelineMark){0});
    Gauge begin = gauge();
    if (append_random(b, b->timeline, n, &err) < 0 ||
        timeline_logits(b->timeline, &logits, &err) < 0)
        return fail("prefill", &err);
    print_since(&begin);
    printf("}\n");
    return 0;
}

/* What the model says behind the ids of `text`, to be compared with other engines. */
static int print_logits(Bench *b, const char *text)
{
    Error err = {0};
    const float *logits;
    char *end;
    timeline_rollback(b->timeline, (TimelineMark){0});
    for (long id = strtol(text, &end, 10); end != text; id = strtol(text, &end, 10)) {
        if (timeline_append_ids(b->timeline, &(int32_t){(int32_t)id}, 1, &err) < 0)
            return fail("logits", &err);
        text = end;
    }
    if (timeline_logits(b->timeline, &logits, &err) < 0)
        return fail("logits", &err);
    for (int i = 0; i < b->engine->hparams.text.vocab; i++)
        printf("%s%.6g", i ? "," : "{\"values\":[", (double)logits[i]);
    printf("]}\n");
    return 0;
}

/* One grid of the pictures of bench/peers/runner.py. */
static int print_seen(Bench *b, size_t height, size_t width)
{
    const Hparams *h = &b->engine->hparams;
    const size_t bytes = height * width * 3, hidden = (size_t)h->text.hidden;
    int32_t grid[3];
    if (patches_grid(&h->vision, 2, (int)height, (int)width, grid) < 0)
        return -1;
    const size_t patches = (size_t)grid[1] * (size_t)grid[2];
    _cleanup_free_ uint8_t *rgb = mem_new_array(2 * bytes, 1);
    _cleanup_free_ float *pixels =
        mem_new_aligned(patches * (size_t)hparams_patch_values(h), sizeof *pixels);
    _cleanup_free_ float *tokens = mem_new_aligned(patches / 4 * hidden, sizeof *tokens);
    if (!rgb || !pixels || !tokens)
        return -1;
    for (size_t i = 0; i < 2 * bytes; i++) {
        uint32_t x = (uint32_t)i * 2654435761u;
        x = (x ^ x >> 15) * 2246822519u;
        rgb[i] = (uint8_t)(x >> 24);
    }
    const uint8_t *frames[2] = {rgb, rgb + bytes};
    patches_make(&h->vision, &h->video, frames, 2, (int)height, (int)width, 0, 1, pixels);
    if (vit_run(b->engine->vit, &b->compute, pixels, grid, tokens) < 0)
        return -1;
    for (size_t i = 0; i < patches / 4; i++)
        for (size_t j = 0; j < 16; j++)
            printf("%s%.6g", i + j ? "," : "{\"values\":[", (double)tokens[i * hidden + j]);
    printf("]}\n");
    return 0;
}

/* n tokens behind `depth` others. Those are never computed: random keys and values. */
static int run_depth(Bench *b, size_t depth, size_t n)
{
    const TextHparams *h = &b->engine->hparams.text;
    const size_t hidden = (size_t)h->hidden, kv = (size_t)(h->kv_heads * h->head_dim);
    if (!b->deep.chunk_bytes)
        kv_cache_init(&b->deep, b->engine->kv, h->layers, h->kv_heads, h->head_dim);
    _cleanup_free_ float *embeds = random_values(b, n * hidden);
    _cleanup_free_ float *row = random_values(b, KV_CACHE_CHUNK * kv);
    _cleanup_free_ int32_t *positions = mem_new_array(n, sizeof *positions);
    _cleanup_free_ float *last = mem_new_aligned(hidden, sizeof *last);
    if (!embeds || !row || !positions || !last || kv_cache_reserve(&b->deep, depth + n) < 0)
        return -1;
    for (size_t at = b->deep.n; at < depth; at++) {
        for (int layer = 0; layer < h->layers; layer++)
            kv_cache_put(&b->deep, layer, at, 1, row + at % KV_CACHE_CHUNK * kv,
                         row + (at + 7) % KV_CACHE_CHUNK * kv, kv);
        b->deep.n = at + 1;
    }
    kv_cache_truncate(&b->deep, depth);
    for (size_t i = 0; i < n; i++)
        positions[i] = (int32_t)(depth + i);
    LlmSequence sequence = {&b->deep, n, last};
    Gauge begin = gauge();
    if (llm_run(b->engine->llm, &b->compute, &sequence, 1, embeds, positions, 0) < 0)
        return -1;
    print_since(&begin);
    double macs = 2.0 * (double)n * (double)depth * h->heads * h->head_dim * h->layers;
    printf(",\"depth_macs\":%.0f}\n", macs);
    kv_cache_truncate(&b->deep, depth);
    return 0;
}

static int run_vit(Bench *b, int grids, int height, int width)
{
    const Hparams *h = &b->engine->hparams;
    const int32_t grid[3] = {grids, height / h->vision.patch, width / h->vision.patch};
    size_t patches = (size_t)grids * (size_t)grid[1] * (size_t)grid[2];
    _cleanup_free_ float *pixels = random_values(b, patches * (size_t)hparams_patch_values(h));
    _cleanup_free_ float *tokens =
        mem_new_aligned(patches / 4 * (size_t)h->text.hidden, sizeof *tokens);
    if (!pixels || !tokens)
        return -1;
    Gauge begin = gauge();
    if (vit_run(b->engine->vit, &b->compute, pixels, grid, tokens) < 0)
        return -1;
    print_since(&begin);
    printf(",\"patches\":%zu}\n", patches);
    return 0;
}

/* `sequences` answers of `steps` tokens on one prefix of `context` tokens. */
static int run_decode(Bench *b, size_t sequences, size_t steps, size_t context)
{
    Error err = {0};
    Timeline *forks[TIMELINE_MAX_TOGETHER] = {0};
    TokenIds outs[TIMELINE_MAX_TOGETHER] = {0}, *to[TIMELINE_MAX_TOGETHER];
    GenerateOptions options[TIMELINE_MAX_TOGETHER];
    int results[TIMELINE_MAX_TOGETHER];
    const int32_t never = -1;
    if (sequences > TIMELINE_MAX_TOGETHER)
        return -1;
    timeline_rollback(b->timeline, (TimelineMark){0});
    int r = append_random(b, b->timeline, context, &err);
    for (size_t i = 0; r == 0 && i < sequences; i++) {
        r = timeline_fork(b->timeline, &forks[i], &err);
        if (r == 0) /* each goes its own way */
            r = append_random(b, forks[i], 1, &err);
        to[i] = &outs[i];
        options[i] = (GenerateOptions){.max_tokens = 1, .eos = &never, .n_eos = 1};
    }
    /* The first token warms up. */
    if (r == 0)
        r = timeline_generate_together(forks, options, to, results, sequences, &err);
    for (size_t i = 0; r == 0 && i < sequences; i++) {
        r = timeline_append_ids(forks[i], outs[i].ids, 1, &err);
        options[i].max_tokens = steps;
    }
    Gauge begin = gauge();
    if (r == 0)
        r = timeline_generate_together(forks, options, to, results, sequences, &err);
    if (r == 0) {
        print_since(&begin);
        printf(",\"tokens\":%zu}\n", sequences * steps);
    }
    for (size_t i = 0; i < sequences; i++) {
        timeline_free(forks[i]);
        token_ids_deinit(&outs[i]);
    }
    return r < 0 ? fail("decode", &err) : 0;
}

/* --- a given answer, token after token and under the grammar --- */

typedef struct Script {
    const char *text;
    size_t at, n; /* bytes written */
} Script;

static int script_next(const Bench *b, Script *s, int32_t *id)
{
    _cleanup_token_ids_ TokenIds ids = {0};
    if (tokenizer_encode(b->engine->tokenizer, s->text + s->at, s->n - s->at, false, &ids) < 0 ||
        ids.n == 0)
        return -1;
    *id = ids.ids[0];
    return 0;
}

static void script_take(const Bench *b, Script *s, int32_t id)
{
    size_t bytes = 0;
    (void)tokenizer_bytes(b->engine->tokenizer, id, &bytes);
    s->at += bytes;
}

/* The answer `text`: forced: what the grammar forces is appended together with the next chosen
 * token; else each token is a step of its own, as without a grammar. The tokens are the same. */
static int run_answer(Bench *b, const char *text, bool forced)
{
    Error err = {0};
    const Hparams *h = &b->engine->hparams;
    GrammarRules *rules = NULL;
    Grammar *grammar = NULL;
    _cleanup_token_ids_ TokenIds feed = {0}, one = {0};
    const float *logits;
    size_t tokens = 0, steps = 0, words;
    Script s = {.text = text, .n = strlen(text)};
    if (grammar_compile_schema(GRAMMAR_MINUTE_EVENT_LIST_SCHEMA, GRAMMAR_COMPACT,
                               b->engine->tokenizer, h->eos, h->n_eos, &rules, &err) < 0 ||
        grammar_new(rules, &grammar) < 0)
        return fail("grammar", &err);
    timeline_rollback(b->timeline, (TimelineMark){0});
    int r = append_random(b, b->timeline, 512, &err);
    for (int warm = 1; r == 0 && warm >= 0; warm--) {
        TimelineMark mark = timeline_mark(b->timeline);
        Gauge begin = gauge();
        grammar_reset(grammar);
        tokens = steps = s.at = 0;
        while (r == 0 && s.at < s.n) {
            feed.n = 0;
            r = grammar_forced_tokens(grammar, &feed);
            for (size_t i = 0; r == 0 && i < feed.n; i++) {
                r = grammar_accept(grammar, feed.ids[i]);
                script_take(b, &s, feed.ids[i]);
            }
            if (r == 0 && s.at < s.n) {
                int32_t id = -1;
                r = script_next(b, &s, &id);
                (void)grammar_mask(grammar, &words);
                if (r == 0)
                    r = grammar_accept(grammar, id);
                script_take(b, &s, id);
                if (r == 0)
                    r = token_ids_add(&feed, id);
            }
            tokens += feed.n;
            for (size_t i = 0; r == 0 && !forced && i < feed.n; i++, steps++) {
                r = timeline_append_ids(b->timeline, feed.ids + i, 1, &err);
                if (r == 0)
                    r = timeline_logits(b->timeline, &logits, &err);
            }
            if (r == 0 && forced) {
                r = timeline_append_ids(b->timeline, feed.ids, feed.n, &err);
                if (r == 0)
                    r = timeline_logits(b->timeline, &logits, &err);
                steps++;
            }
        }
        if (r == 0 && warm == 0) {
            print_since(&begin);
            printf(",\"tokens\":%zu,\"steps\":%zu}\n", tokens, steps);
        }
        timeline_rollback(b->timeline, mark);
    }
    grammar_free(grammar);
    grammar_rules_free(rules);
    if (r < 0 && !err.exit_code)
        fprintf(stderr, "bench/engine: the grammar does not allow \"%s\" from byte %zu on\n", text,
                s.at);
    return r < 0 ? fail("answer", &err) : 0;
}

/* --- memory --- */

static long status_kib(const char *key)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    long kib = -1;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtol(line + strlen(key), NULL, 10);
    if (file)
        fclose(file);
    return kib;
}

static int print_memory(const Bench *b, size_t context)
{
    const TextHparams *h = &b->engine->hparams.text;
    KvCache cache;
    kv_cache_init(&cache, b->engine->kv, h->layers, h->kv_heads, h->head_dim);
    /* What only the bench holds: weights of products alone, and the deep cache. */
    size_t bench = b->deep.n_chunks * b->deep.chunk_bytes;
    for (int i = 0; i < 4; i++)
        bench += (b->llm[i] ? gemm_weight_bytes(b->llm[i]) : 0) +
                 (b->vit[i] ? gemm_weight_bytes(b->vit[i]) : 0);
    printf("{\"anonymous_kib\":%ld,\"file_kib\":%ld,\"peak_kib\":%ld,\"weights_bytes\":%zu,"
           "\"kv_bytes\":%zu,\"bench_bytes\":%zu}\n",
           status_kib("RssAnon:"), status_kib("RssFile:"), status_kib("VmHWM:"),
           engine_bytes(b->engine), kv_cache_bytes(&cache, context), bench);
    kv_cache_deinit(&cache);
    return 0;
}

/* --- commands --- */

static int run_limits(Bench *b)
{
    Limits l;
    if (limits_measure(b->compute.pool, &l) < 0)
        return -1;
    printf("{\"cpu\":\"%s\",\"f32_gflops\":%.1f,\"s16_gops\":%.1f,\"bf16_gflops\":%.1f,"
           "\"s8_gops\":%.1f,\"math\":\"%s\"}\n",
           l.cpu, l.f32_gflops, l.s16_gops, l.bf16_gflops, l.s8_gops, b->engine->products.text);
    return 0;
}

/* A streaming read of so many bytes, twice over. */
static int run_read(Bench *b)
{
    _cleanup_free_ void *memory = limits_memory();
    if (!memory)
        return -1;
    Gauge begin = gauge();
    limits_read(b->compute.pool, memory);
    limits_read(b->compute.pool, memory);
    print_since(&begin);
    printf(",\"bytes\":%zu}\n", 2 * LIMITS_READ_BYTES);
    return 0;
}

static int run_command(Bench *b, const char *line)
{
    char name[32] = "";
    size_t x = 0, y = 0, z = 0;
    int at = 0;
    if (sscanf(line, "%31s %n", name, &at) < 1)
        return -1;
    const char *text = line + at;
    sscanf(text, "%zu %zu %zu", &x, &y, &z);
    if (strcmp(name, "limits") == 0)
        return run_limits(b);
    if (strcmp(name, "read") == 0)
        return run_read(b);
    if (strcmp(name, "gemm") == 0 || strcmp(name, "gemm_vit") == 0)
        return run_products(b, name[4] == '_', x);
    if (strcmp(name, "prefill") == 0)
        return run_prefill(b, x);
    if (strcmp(name, "logits") == 0)
        return print_logits(b, text);
    if (strcmp(name, "see") == 0)
        return print_seen(b, x, y);
    if (strcmp(name, "depth") == 0)
        return run_depth(b, x, y);
    if (strcmp(name, "vit") == 0)
        return run_vit(b, (int)x, (int)y, (int)z);
    if (strcmp(name, "decode") == 0)
        return run_decode(b, x, y, z);
    if (strcmp(name, "plain") == 0 || strcmp(name, "grammar") == 0)
        return run_answer(b, text, name[0] == 'g');
    if (strcmp(name, "memory") == 0)
        return print_memory(b, x);
    printf("{\"unsupported\":true}\n");
    return 0;
}

static bool parse(const char *dtype, const char *kv, EngineOptions *options, GemmDtype *gemm)
{
    static const GemmDtype gemm_of[] = {[ENGINE_F32] = GEMM_F32,
                                        [ENGINE_BF16] = GEMM_BF16,
                                        [ENGINE_INT8] = GEMM_INT8,
                                        [ENGINE_INT4] = GEMM_INT4};
    if (!engine_dtype_read(dtype, &options->dtype) || !engine_kv_read(kv, &options->kv))
        return false;
    *gemm = gemm_of[options->dtype];
    return true;
}

int main(int argc, char **argv)
{
    Bench b = {.seed = 1};
    EngineOptions options = {0};
    Error err = {0};
    if (argc < 5 || argc > 6 || !parse(argv[2], argv[3], &options, &b.dtype)) {
        fprintf(stderr, "usage: engine MODEL f32|bf16|int8|int4 auto|f32|bf16|int8 THREADS "
                        "[CACHE]\n");
        return EX_USAGE;
    }
    options.threads = atoi(argv[4]);
    options.cache = argv[5]; /* or NULL */
    const int dim = 256;
    if (engine_open(argv[1], &options, &b.engine, &err) < 0 ||
        timeline_new(b.engine, &b.timeline, &err) < 0 ||
        compute_init(&b.compute, b.engine->threads, dim) < 0) {
        fprintf(stderr, "bench/engine: %s\n", err.text);
        return err.exit_code ? err.exit_code : EX_OSERR;
    }
    printf("{\"ready\":true}\n");
    fflush(stdout);
    char line[MAX_COMMAND];
    int r = 0;
    while (r == 0 && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (strcmp(line, "quit") == 0)
            break;
        r = run_command(&b, line);
        fflush(stdout);
    }
    for (int i = 0; i < 4; i++) {
        gemm_weight_free(b.llm[i]);
        gemm_weight_free(b.vit[i]);
    }
    kv_cache_deinit(&b.deep);
    compute_deinit(&b.compute);
    timeline_free(b.timeline);
    engine_free(b.engine);
    return r < 0 ? EX_SOFTWARE : 0;
}

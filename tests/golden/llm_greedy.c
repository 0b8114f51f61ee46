/* Greedy answers against stored steps: generated freely, and with the reference's ids forced. */
#include "tests/golden/llm_case.h"

#include "base/mem.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TOP = 16 };

/* One .jsonl while it is worked through. */
typedef struct Steps {
    LlmCase *c;
    json_t *list;
    const char *path;
    float penalty;
    double tolerance; /* of a logit, absolute */
    size_t at;
    bool parted; /* at a near tie: later ids say nothing */
} Steps;

static double number(const json_t *step, const char *key)
{
    return json_number_value(json_object_get(step, key));
}

static size_t top_of(const json_t *step, int32_t ids[MAX_TOP], float logits[MAX_TOP])
{
    const json_t *list = json_object_get(step, "top5_ids");
    const json_t *values = json_object_get(step, "top5_logits");
    size_t n = json_array_size(list) < MAX_TOP ? json_array_size(list) : MAX_TOP;
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
        logits[i] = (float)json_number_value(json_array_get(values, i));
    }
    return n;
}

/* What a logit may be off: in f32 the row's share of the largest stored one; in bf16 twice what the
 * reference is. */
static double logit_tolerance(const Steps *s)
{
    double largest = 0;
    for (size_t i = 0; i < json_array_size(s->list); i++) {
        int32_t ids[MAX_TOP];
        float logits[MAX_TOP];
        size_t n = top_of(json_array_get(s->list, i), ids, logits);
        for (size_t k = 0; k < n; k++)
            largest = fabs((double)logits[k]) > largest ? fabs((double)logits[k]) : largest;
    }
    if (!s->c->bf16)
        return s->c->rows->top_logits.tolerance * largest;
    return golden_measured(s->c->g, largest > 0 ? 0.1 * largest : 1,
                           "%s/forced_decode_logits/max_abs", s->c->measured);
}

static void check_id(Steps *s, const json_t *want, int32_t id)
{
    GoldenRow *row = &s->c->rows->greedy;
    const int32_t reference = (int32_t)json_integer_value(json_object_get(want, "id"));
    row->cases++;
    if (id == reference)
        return;
    if (number(want, "margin") > 2 * s->tolerance)
        golden_fail(row, "%.120s step %zu: id %d, reference %d (margin %.4g, logits to %.2g)",
                    s->path, s->at, (int)id, (int)reference, number(want, "margin"), s->tolerance);
    s->parted = true;
}

/* log_prob and the top logits of a step whose ids before it were the reference's. */
static void check_values(const Steps *s, const json_t *want, const float *logits, double log_prob)
{
    LlmRows *rows = s->c->rows;
    int32_t ids[MAX_TOP];
    float references[MAX_TOP], values[MAX_TOP];
    char what[192];
    snprintf(what, sizeof what, "%.150s step %zu", s->path, s->at);
    const size_t n = top_of(want, ids, references);
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        values[i] = ids[i] >= 0 && (size_t)ids[i] < s->c->vocab ? logits[ids[i]] : NAN;
        largest = fabs((double)references[i]) > largest ? fabs((double)references[i]) : largest;
    }
    if (n)
        golden_close(&rows->top_logits, what, values, references, n,
                     s->c->bf16 && largest > 0 ? s->tolerance / largest
                                               : rows->top_logits.tolerance);
    if (!json_is_number(json_object_get(want, "log_prob")))
        return;
    GoldenRow *row = &rows->log_prob;
    const double difference = fabs(log_prob - number(want, "log_prob"));
    row->cases++;
    if (difference > row->worst_abs)
        row->worst_abs = row->worst_rel = difference;
    if (!(difference <= row->tolerance))
        golden_fail(row, "%s: log_prob %.6f, reference %.6f", what, log_prob,
                    number(want, "log_prob"));
}

static void check_position(const Steps *s, const json_t *want, int32_t position)
{
    const json_t *reference = json_object_get(want, "position");
    if (reference && position != json_integer_value(reference))
        golden_fail(&s->c->rows->greedy, "%.120s step %zu: position %d, reference %d", s->path,
                    s->at, (int)position, (int)json_integer_value(reference));
}

static void on_step(void *user, const GenerateStep *step)
{
    Steps *s = user;
    const json_t *want = json_array_get(s->list, s->at);
    if (!want || s->parted)
        return;
    check_position(s, want, step->position);
    check_id(s, want, step->id);
    if (!s->parted)
        check_values(s, want, step->logits, step->log_prob);
    s->at++;
}

/* As whend generates. */
static void run_free(Steps *s)
{
    const size_t n = json_array_size(s->list);
    const GenerateOptions options = {
        .max_tokens = n, .repetition_penalty = s->penalty, .step = on_step, .user = s};
    _cleanup_token_ids_ TokenIds out = {0};
    Error err = {0};
    s->at = 0;
    if (timeline_generate(s->c->timeline, &options, &out, &err) < 0)
        golden_fail(&s->c->rows->greedy, "%.120s: %s", s->path, err.text);
    else if (!s->parted && out.n != n)
        golden_fail(&s->c->rows->greedy, "%.120s: %zu tokens, reference %zu", s->path, out.n, n);
}

/* The penalty once more, from its definition: each id of prompt and output counts once. */
static void penalise(const Steps *s, const float *from, float *logits)
{
    const int32_t *ids = timeline_ids(s->c->timeline);
    memcpy(logits, from, s->c->vocab * sizeof *logits);
    for (size_t i = 0; s->penalty != 1 && i < timeline_length(s->c->timeline); i++) {
        const float x = from[ids[i]];
        logits[ids[i]] = x > 0 ? x / s->penalty : x * s->penalty;
    }
}

/* The reference's ids, whatever ours would be: every step's values count. */
static void run_forced(Steps *s)
{
    _cleanup_free_ float *logits = mem_new_aligned(s->c->vocab, sizeof *logits);
    Timeline *timeline = s->c->timeline;
    Error err = {0};
    for (s->at = 0; logits && s->at < json_array_size(s->list); s->at++) {
        const json_t *want = json_array_get(s->list, s->at);
        const int32_t id = (int32_t)json_integer_value(json_object_get(want, "id"));
        const float *raw;
        int32_t best = 0;
        double sum = 0;
        if (id < 0 || (size_t)id >= s->c->vocab || timeline_logits(timeline, &raw, &err) < 0) {
            golden_fail(&s->c->rows->greedy, "%.120s step %zu: %s", s->path, s->at, err.text);
            return;
        }
        penalise(s, raw, logits);
        for (size_t i = 1; i < s->c->vocab; i++)
            if (logits[i] > logits[best])
                best = (int32_t)i;
        for (size_t i = 0; i < s->c->vocab; i++)
            sum += exp((double)logits[i] - (double)logits[best]);
        check_position(s, want, timeline_next_position(timeline));
        check_id(s, want, best);
        check_values(s, want, logits, (double)logits[id] - (double)logits[best] - log(sum));
        if (timeline_append_ids(timeline, &id, 1, &err) < 0) {
            golden_fail(&s->c->rows->greedy, "%.120s step %zu: %s", s->path, s->at, err.text);
            return;
        }
    }
}

static void run_file(LlmCase *c, const char *name, float penalty)
{
    char path[256];
    snprintf(path, sizeof path, "%.180s%.60s", c->folder, name);
    Steps s = {.c = c, .path = path, .penalty = penalty};
    s.list = golden_jsonl(&c->rows->greedy, golden_path(c->g, "%s", path));
    if (!s.list)
        return;
    s.tolerance = logit_tolerance(&s);
    if (!c->bf16 && llm_case_prefill(c))
        run_free(&s);
    if (llm_case_prefill(c))
        run_forced(&s);
    json_decref(s.list);
}

/* stop_case.json: another end token. */
static void run_stop(LlmCase *c)
{
    GoldenRow *row = &c->rows->greedy;
    json_t *stop = golden_json(row, golden_path(c->g, "%sstop_case.json", c->folder));
    size_t n_eos = 0, n_want = 0;
    _cleanup_free_ int32_t *eos = golden_ids(json_object_get(stop, "eos_token_ids"), &n_eos);
    _cleanup_free_ int32_t *want = golden_ids(json_object_get(stop, "ids"), &n_want);
    json_decref(stop);
    if (!eos || !want || !llm_case_prefill(c))
        return;
    const GenerateOptions options = {.max_tokens = n_want + 8, .eos = eos, .n_eos = (int)n_eos};
    _cleanup_token_ids_ TokenIds out = {0};
    Error err = {0};
    int r = timeline_generate(c->timeline, &options, &out, &err);
    if (r != 0 || out.n != n_want)
        golden_fail(row, "%sstop_case.json: %zu tokens, reference %zu", c->folder, out.n, n_want);
    else
        golden_i32(row, "stop_case.json", out.ids, want, n_want);
}

void llm_case_greedy(LlmCase *c)
{
    static const char PENALTY[] = "greedy_f32_repetition_penalty_";
    /* A folder's files, or those with its prefix ("08_lora/text_"). */
    const char *slash = strrchr(c->folder, '/');
    char folder[192];
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - c->folder), c->folder);
    const size_t skip = strlen(slash + 1);
    DIR *d = opendir(golden_path(c->g, "%s", folder));
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        const char *name = e->d_name + skip;
        if (strncmp(e->d_name, slash + 1, skip) != 0)
            continue;
        if (strcmp(name, "greedy_f32.jsonl") == 0 ||
            (c->bf16 && strcmp(name, "greedy_bf16.jsonl") == 0))
            run_file(c, name, 1);
        else if (!c->bf16 && strcmp(name, "stop_case.json") == 0)
            run_stop(c);
        else if (!c->bf16 && strncmp(name, PENALTY, sizeof PENALTY - 1) == 0)
            run_file(c, name, strtof(name + sizeof PENALTY - 1, NULL));
    }
    if (d)
        closedir(d);
}

/* Windows to the model, answers to the segmenters. See scan.h. */
#include "client/scan.h"

#include "base/clock.h"
#include "base/mem.h"
#include "model/locate.h"
#include "model/npy.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As the daemon cuts. */
#define GAP_US           (5 * US_PER_S)
#define REST_US          US_PER_S
#define MAX_FRAMES       1000
#define MAX_WINDOW_BYTES ((size_t)256 << 20)

typedef struct Scan {
    const ScanOptions *options;
    Engine *engine;
    Locator *locator;
    ScanSource *source;
    Cutter *cutter;
    LocateFrame *frames;
    size_t capacity;
    ScanAnswer *answers; /* [n_answers], in order of time */
    size_t n_answers, answers_capacity;
    bool dumped;
    bool on_terminal;
    ScanResult *result;
} Scan;

static void show_progress(const Scan *scan, int64_t pts_us)
{
    if (!scan->on_terminal)
        return;
    char now[CLOCK_MMSS_TEXT_BYTES], all[CLOCK_MMSS_TEXT_BYTES];
    double duration_s = scan_source_duration_s(scan->source);
    clock_format_mmss((double)pts_us / 1e6, now);
    clock_format_mmss(duration_s, all);
    fprintf(stderr, "\r%s%s%s examined, %zu windows, %zu questions asked ", now,
            duration_s > 0 ? " of " : "", duration_s > 0 ? all : "", scan->result->windows,
            scan->result->windows * scan->options->n_questions);
}

static void end_progress(const Scan *scan)
{
    if (scan->on_terminal)
        fputs("\r\033[K", stderr);
}

/* --logits, --positions, --ids: what the model saw and said first. */
static int dump(Scan *scan, Error *err)
{
    const ScanOptions *o = scan->options;
    size_t n;
    int rc = 0;
    if (o->logits) {
        const float *logits = locator_prompt_logits(scan->locator, &n);
        rc = npy_write(o->logits, NPY_F32, 1, &n, logits, err);
    }
    if (rc == 0 && o->positions) {
        const int32_t *positions = locator_prompt_positions(scan->locator, &n);
        const size_t shape[] = {3, n};
        rc = npy_write(o->positions, NPY_I32, 2, shape, positions, err);
    }
    if (rc == 0 && o->ids) {
        const int32_t *ids = locator_prompt_ids(scan->locator, &n);
        rc = npy_write(o->ids, NPY_I32, 1, &n, ids, err);
    }
    scan->dumped = true;
    return rc;
}

/* Keeps an answer's intervals, as times of the source, until all windows were asked. */
static int keep_answer(Scan *scan, const Window *window, const LocateAnswer *answer,
                       size_t question)
{
    void *answers = scan->answers;
    int rc =
        mem_grow(&answers, &scan->answers_capacity, scan->n_answers + 1, sizeof(*scan->answers));
    scan->answers = answers;
    if (rc < 0)
        return rc;
    ScanAnswer kept = {.question = question,
                       .start_us = window_start_us(window),
                       .end_us = window_end_us(window),
                       .settled_us = window_settled_us(window),
                       .intervals =
                           mem_new_array(answer->n ? answer->n : 1, sizeof(*kept.intervals))};
    if (!kept.intervals)
        return -ENOMEM;
    for (size_t i = 0; i < answer->n && rc == 0; i++) {
        const LocateInterval *a = &answer->intervals[i];
        SegmenterInterval *interval = &kept.intervals[kept.n];
        if (window_interval(window, a->start_s, a->end_s, a->confidence, NULL,
                            scan->options->boundary_error_us, interval) < 0)
            continue;
        interval->description = strdup(a->description);
        if (!interval->description)
            rc = -ENOMEM;
        else
            kept.n++;
    }
    if (rc < 0)
        scan_answer_deinit(&kept);
    else
        scan->answers[scan->n_answers++] = kept;
    return rc;
}

static int examine(Scan *scan, const Window *window, Error *err)
{
    void *frames = scan->frames;
    int rc = mem_grow(&frames, &scan->capacity, window->n, sizeof(*scan->frames));
    scan->frames = frames;
    if (rc < 0)
        return error_set(err, -rc, EX_OSERR, "no memory");
    zmq_msg_t *held = mem_new_array(window->n, sizeof(*held));
    if (!held)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    size_t n = 0;
    for (; rc == 0 && n < window->n; n++) {
        const WindowFrame *f = &window->frames[n];
        rc = pixels_message(f->pixels, &held[n]);
        if (rc < 0)
            break;
        scan->frames[n] =
            (LocateFrame){.rgb = zmq_msg_data(&held[n]),
                          .width = (int)f->width,
                          .height = (int)f->height,
                          .seconds = (double)(f->pts_us - window->frames[0].pts_us) / 1e6};
    }
    if (rc == 0)
        rc = locator_watch(scan->locator, scan->frames, n, err);
    for (size_t q = 0; rc == 0 && q < scan->options->n_questions; q++) {
        LocateAnswer answer = {0};
        rc = locator_ask(scan->locator, scan->options->questions[q], &answer, err);
        if (rc == 0 && !scan->dumped)
            rc = dump(scan, err);
        if (rc == 0)
            rc = keep_answer(scan, window, &answer, q);
        scan->result->truncated += answer.truncated;
        locate_answer_deinit(&answer);
    }
    for (size_t i = 0; i < n; i++)
        zmq_msg_close(&held[i]);
    free(held);
    if (rc < 0)
        return error_set(err, -rc, EX_OSERR, "window at %g s: %s",
                         (double)window_start_us(window) / 1e6, strerror(-rc));
    ScanResult *result = scan->result;
    if (result->windows == 0)
        result->first_pts_us = window->frames[0].pts_us;
    result->windows++;
    result->end_pts_us = window->end_pts_us;
    show_progress(scan, window->end_pts_us);
    return 0;
}

static int examine_ready(Scan *scan, Error *err)
{
    Window window = {0};
    int rc = 0;
    while (rc == 0 && cutter_take(scan->cutter, &window) == 0) {
        rc = examine(scan, &window, err);
        window_deinit(&window);
    }
    return rc;
}

static int open_scan(Scan *scan, Error *err)
{
    const ScanOptions *o = scan->options;
    /* Before a large model is loaded in vain. */
    const char *const files[] = {o->video, o->frames, o->pts};
    for (size_t i = 0; i < 3; i++)
        if (files[i] && access(files[i], R_OK) < 0)
            return error_set(err, errno, EX_NOINPUT, "%s: %s", files[i], strerror(errno));
    const EngineOptions engine = {
        .dtype = o->dtype, .kv = o->kv, .threads = o->threads, .lora = o->lora, .cache = o->cache};
    int rc = engine_open(o->model, &engine, &scan->engine, err);
    if (rc == 0)
        rc = locator_new(scan->engine, o->max_answer_tokens, &scan->locator, err);
    if (rc == 0)
        rc = scan_source_open(o, scan->engine, &scan->source, err);
    if (rc < 0)
        return rc;
    const CutterOptions cutter = {.window_us = o->window_us,
                                  .overlap_us = o->overlap_us,
                                  .gap_us = GAP_US,
                                  .rest_us = REST_US,
                                  .max_frames = MAX_FRAMES,
                                  .max_bytes = MAX_WINDOW_BYTES};
    scan->cutter = cutter_new(&cutter);
    if (!scan->cutter)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    snprintf(scan->result->model, sizeof(scan->result->model), "%s", engine_name(scan->engine));
    snprintf(scan->result->notice, sizeof(scan->result->notice), "%s", engine_notice(scan->engine));
    return 0;
}

/* Frames to windows to answers, to the end of the file or to where it breaks off. */
static int scan_frames(Scan *scan, Error *err)
{
    int rc = 0, broken = 0;
    while (rc == 0) {
        WindowFrame frame;
        broken = scan_source_next(scan->source, &frame, err);
        if (broken != 0)
            break;
        scan->result->frames++;
        rc = cutter_add(scan->cutter, &frame);
        if (rc < 0)
            return error_set(err, -rc, EX_OSERR, "no memory");
        rc = examine_ready(scan, err);
    }
    if (rc == 0 && (rc = cutter_end(scan->cutter)) < 0)
        return error_set(err, -rc, EX_OSERR, "no memory");
    if (rc == 0)
        rc = examine_ready(scan, err);
    if (rc == 0 && broken < 0)
        return broken;
    if (rc == 0 && scan->result->frames == 0)
        return error_set(err, EINVAL, EX_DATAERR, "%s: no picture in it",
                         scan->options->video ? scan->options->video : scan->options->frames);
    return rc;
}

int scan_run(const ScanOptions *options, ScanResult *result, Error *err)
{
    *result = (ScanResult){0};
    Scan scan = {.options = options,
                 .result = result,
                 .on_terminal = !options->quiet && isatty(STDERR_FILENO)};
    int rc = open_scan(&scan, err);
    if (rc == 0) {
        rc = scan_frames(&scan, err);
        end_progress(&scan);
        result->has_utc =
            scan_source_utc(scan.source, &result->utc_minus_pts_us, &result->utc_err_us);
    }
    if (scan_join(scan.answers, scan.n_answers, result) < 0)
        rc = error_set(err, ENOMEM, EX_OSERR, "no memory");
    for (size_t i = 0; i < scan.n_answers; i++)
        scan_answer_deinit(&scan.answers[i]);
    free(scan.answers);
    cutter_free(scan.cutter);
    scan_source_free(scan.source);
    locator_free(scan.locator);
    engine_free(scan.engine);
    free(scan.frames);
    return rc;
}

/*
 * whenscan: one file through the whole model without a daemon. The source gives frames, the
 * daemon's own cutter makes windows of them, the model answers, the daemon's own segmenter joins
 * the answers.
 *
 * In here "UTC" of cutter and segmenter is the source's own time (pts); real UTC is put beside it
 * when it is printed.
 */
#ifndef WHEN_CLIENT_SCAN_H
#define WHEN_CLIENT_SCAN_H

#include "base/err.h"
#include "base/str.h"
#include "daemon/event.h"
#include "daemon/segmenter.h"
#include "daemon/window.h"
#include "model/engine.h"
#include "model/timeline.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SCAN_MAX_QUESTIONS = 64,
    SCAN_MAX_QUESTION_BYTES = 1000,
    SCAN_MAX_PARTS = 64,
    SCAN_MAX_PROMPT_BYTES = 1 << 20
};

/* A part of a free prompt, in the order in which the parts were written. */
typedef enum ScanKind { SCAN_TEXT, SCAN_IMAGE, SCAN_VIDEO, SCAN_FRAMES } ScanKind;

typedef struct ScanPart {
    ScanKind kind;
    const char *path; /* SCAN_TEXT: the text itself; SCAN_FRAMES: the pictures' .npy */
    const char *pts;  /* SCAN_FRAMES: their times' .npy */
} ScanPart;

typedef struct ScanOptions {
    const char *model, *lora, *cache;
    const char *video;                         /* or: */
    const char *frames, *pts;                  /* .npy: uint8 [T, H, W, 3] and seconds [T] */
    const char *questions[SCAN_MAX_QUESTIONS]; /* [n_questions] */
    size_t n_questions;
    double fps; /* 0: every picture */
    int64_t window_us, overlap_us, boundary_error_us;
    int64_t start_utc_us, start_utc_err_us; /* of the first picture; 0: what the file says */
    EngineDtype dtype;
    EngineKv kv;
    int threads, max_answer_tokens;
    bool json, quiet;
    const char *logits, *positions, *ids; /* .npy files to write, of the first question asked */

    /* A free prompt instead of questions. */
    ScanPart parts[SCAN_MAX_PARTS]; /* [n_parts] */
    size_t n_parts, n_prompts;      /* n_prompts of the parts are text */
    const char *system;             /* NULL: the template's own */
    bool raw_prompt;                /* the text is the whole prompt, without the chat template */
    float repetition_penalty;       /* 1: none */
} ScanOptions;

/* --- scan_source.c --- */

typedef struct ScanSource ScanSource;

enum { SCAN_END = 1 };

int scan_source_open(const ScanOptions *options, const Engine *engine, ScanSource **source,
                     Error *err);
void scan_source_free(ScanSource *source);
double scan_source_duration_s(const ScanSource *source); /* 0: unknown */

/* The next frame, its pixels handed over; utc_us is its pts. 0, SCAN_END, or -errno. */
int scan_source_next(ScanSource *source, WindowFrame *frame, Error *err);

/* UTC minus pts and its error; false when the source does not know. */
bool scan_source_utc(const ScanSource *source, int64_t *utc_minus_pts_us, int64_t *utc_err_us);

/* --- scan_run.c --- */

typedef struct ScanEvent {
    Event event; /* times are pts */
    size_t question;
} ScanEvent;

typedef struct ScanResult {
    ScanEvent *events; /* [n], in order of time */
    size_t n, capacity;
    size_t windows, frames;
    int64_t first_pts_us, end_pts_us; /* what was examined, holes included */
    size_t truncated;                 /* answers cut at max_answer_tokens */
    bool has_utc;
    int64_t utc_minus_pts_us, utc_err_us;
    char model[128], notice[256];
} ScanResult;

void scan_result_deinit(ScanResult *result); /* safe on zeroed */

/* What was found of these questions. On an error in the middle of a file *result has what was found
 * before it. */
int scan_run(const ScanOptions *options, ScanResult *result, Error *err);

/* --- scan_join.c --- */

/* What the model said to one question about one window. */
typedef struct ScanAnswer {
    size_t question;
    int64_t start_us, end_us, settled_us; /* of the window: as in SegmenterWindow */
    SegmenterInterval *intervals;         /* [n], owned with their descriptions */
    size_t n;
} ScanAnswer;

void scan_answer_deinit(ScanAnswer *answer); /* safe on zeroed */

/* Joins the answers of all windows (in order of time) into result->events. A question under which
 * one answer names different things at the same time ("list all events") is joined thing by thing,
 * told apart by their descriptions. 0 or -ENOMEM. */
int scan_join(const ScanAnswer *answers, size_t n, ScanResult *result);

/* --- scan_media.c --- */

/* The pictures of one part, sized for the model. */
typedef struct ScanMedia {
    bool image;
    uint8_t *pixels; /* [n, height, width, 3], owned */
    size_t pixels_capacity;
    const uint8_t **frames; /* [n] of pixels, owned */
    size_t n;
    int width, height;
    double *seconds; /* [(n + 1) / 2] of each grid from the first, owned */
} ScanMedia;

void scan_media_deinit(ScanMedia *media); /* safe on zeroed */
int scan_media_read(const ScanOptions *options, const ScanPart *part, const Engine *engine,
                    ScanMedia *media, Error *err);

/* --- scan_prompt.c --- */

/* Answers a free prompt (no grammar, greedy) to standard output as it is written: text, or one JSON
 * object. The files of --logits, --positions and --ids are written before the answer begins. */
int scan_prompt_run(const ScanOptions *options, Error *err);

/* --- scan_print.c --- */

void scan_print_json(const ScanOptions *options, const ScanResult *result, Str *out);
void scan_print_text(const ScanOptions *options, const ScanResult *result, Str *out);

#endif

/*
 * Golden vectors: each stage of the model against stored reference values, one printed row a
 * stage: cases, worst absolute error, worst relative error (over the largest reference value),
 * tolerance, pass or fail.
 *
 * A stage is `void stage_x(Golden *g)`: it finds its folder with golden_has (a folder that is not
 * there is reported as absent), runs all cases into one or more rows and ends each with
 * golden_row_end. Whatever goes wrong inside a case is golden_fail on the row, never an exit.
 */
#ifndef WHEN_TESTS_GOLDEN_H
#define WHEN_TESTS_GOLDEN_H

#include "base/err.h"
#include "model/npy.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Golden {
    const char *dir; /* of the vectors */
    int rows, failed, absent;
    json_t *measured; /* tolerances.json, or NULL */
} Golden;

typedef struct GoldenRow {
    Golden *golden;
    const char *stage; /* "06 vit merger" */
    double tolerance;  /* of rel; 0: exact */
    size_t cases, bad;
    double worst_abs, worst_rel; /* rel: largest |got - want| over the largest |want| of a tensor */
    char first_bad[256];
} GoldenRow;

/* The path of a file below the vectors, in one of four static buffers. */
const char *golden_path(const Golden *g, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool golden_exists(const Golden *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Whether the stage's folder is there; counts and prints a row that says so when not. */
bool golden_has(Golden *g, const char *folder);

/* Names of the folders in DIR/folder, sorted, NULL-terminated; free with golden_list_free. */
char **golden_list(const Golden *g, const char *folder);
void golden_list_free(char **names);

void golden_row_begin(GoldenRow *row, Golden *g, const char *stage, double tolerance);
void golden_row_end(GoldenRow *row); /* prints */

/* One case went wrong, with what; the first is printed below the row. Does not count a case. */
void golden_fail(GoldenRow *row, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What tolerances.json holds at "llm/a/text/logits/rel_rms", twice over: how far the reference's
 * own bf16 run is from its f32 run; `otherwise` when it does not say. At least 1e-6. */
double golden_measured(const Golden *g, double otherwise, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Each counts one case. `what` names it. golden_close and golden_rms have a tolerance of their own,
 * relative to the largest value and of the relative rms; the row shows the widest. */
void golden_close(GoldenRow *row, const char *what, const float *got, const float *want, size_t n,
                  double tolerance);
void golden_rms(GoldenRow *row, const char *what, const float *got, const float *want, size_t n,
                double tolerance);
void golden_f32(GoldenRow *row, const char *what, const float *got, const float *want, size_t n);
/* allowed_share of the values may differ by up to the row's tolerance read as levels. */
void golden_u8(GoldenRow *row, const char *what, const uint8_t *got, const uint8_t *want, size_t n,
               int levels, double allowed_share);
void golden_i32(GoldenRow *row, const char *what, const int32_t *got, const int32_t *want,
                size_t n);
void golden_bytes(GoldenRow *row, const char *what, const void *got, size_t n_got, const void *want,
                  size_t n_want);

/* An array of that type from DIR/path; false (and golden_fail) when it cannot be read. */
bool golden_npy(GoldenRow *row, const char *path, NpyType type, Npy *npy);
json_t *golden_json(GoldenRow *row, const char *path);
/* A .jsonl as a JSON array. NULL and golden_fail when damaged. */
json_t *golden_jsonl(GoldenRow *row, const char *path);
/* A .csv as a JSON array of objects of strings, keyed by the first line. */
json_t *golden_csv(GoldenRow *row, const char *path);
/* An array of integers to a new int32 array; NULL when it is none. */
int32_t *golden_ids(const json_t *array, size_t *n);

/* Stages, in the order in which they run. */
void stage_tokenizer(Golden *g);     /* 01, stage_text.c */
void stage_chat_template(Golden *g); /* 02, stage_text.c */
void stage_resize(Golden *g);        /* 03 and the resized pictures of 05, stage_resize.c */
void stage_mrope(Golden *g);         /* 04, stage_text.c */
void stage_patches(Golden *g);       /* 05, stage_vision.c */
void stage_vit(Golden *g);           /* 06, stage_vision.c */
void stage_llm(Golden *g);           /* 07, stage_llm.c */
void stage_lora(Golden *g);          /* 08, stage_llm.c */
void stage_end_to_end(Golden *g);    /* 09, stage_clip.c */

#endif

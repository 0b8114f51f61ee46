/*
 * What a model answered, as intervals. Takes the grammar's JSON, but also what an unconstrained
 * model writes around it (fences, prose, numbers for times) and text that breaks off in the middle:
 * the complete intervals before the break count. Safe on arbitrary bytes.
 */
#ifndef WHEN_MODEL_ANSWER_H
#define WHEN_MODEL_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#define ANSWER_MAX_INTERVALS 1024

typedef struct AnswerInterval {
    double start_s, end_s; /* start_s <= end_s, both >= 0 and finite */
    size_t begin, end;     /* bytes of the text: from its '{' to behind its '}' */
    char description[256]; /* valid UTF-8, cut at a character's border */
} AnswerInterval;

typedef struct Answer {
    AnswerInterval *intervals; /* [n], owned */
    size_t n;
    size_t rejected; /* objects without two usable times, or with start after end */
    bool complete;   /* the list was closed */
} Answer;

void answer_deinit(Answer *answer); /* safe on zeroed */

/* -ENOMEM only: a text without a list gives n = 0 and complete = false. */
int answer_parse(const char *text, size_t n, Answer *answer);

#endif

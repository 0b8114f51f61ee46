/*
 * The analyst's side of proto/worker.proto: loads the model that whend names, then watches one
 * window after another and answers its questions. One thread, one DEALER socket.
 *
 * Every message is checked before it is used: a bad one is refused with a reason (JobDone.failed)
 * and the analyst goes on.
 */
#ifndef WHEN_MODEL_ANALYST_H
#define WHEN_MODEL_ANALYST_H

#include "base/err.h"

enum {
    ANALYST_MAX_FRAMES = 1024,
    ANALYST_MAX_QUESTIONS = 256,
    ANALYST_MAX_QUESTION_BYTES = 4096,
    ANALYST_MAX_THREADS = 1024,
    ANALYST_MAX_ANSWER_TOKENS = 8192
};

/* Connects to whend as `id` and works until Stop: 0. Otherwise -errno with err: the socket, or the
 * model could not be loaded (whend was told). */
int analyst_run(const char *endpoint, const char *id, Error *err);

#endif

/*
 * Backlog: what of the ledger's WAITING spans is examined next, and how spans come to wait. Looks
 * at the index alone: no clock, no worker.
 *
 * Order: questions that somebody waits for, then a watch's older video ("since:"), then nightly
 * work: what live examination missed; in each the newest first. Neighbouring spans of a camera are
 * one job, at most BACKLOG_MAX_SPAN_US long: a worker's start costs more than a small hole between
 * them. A span that reaches beyond the newest closed recording keeps waiting there, its file may
 * still be open; what no recording has is LOST.
 */
#ifndef WHEN_DAEMON_BACKLOG_H
#define WHEN_DAEMON_BACKLOG_H

#include "config/config.h"
#include "daemon/commit.h"

#define BACKLOG_MAX_SPAN_US INT64_C(600000000)
#define BACKLOG_MERGE_US                                                                           \
    INT64_C(60000000) /* spans with a smaller hole between them are one job                        \
                       */

/* The reason of spans that wait because a watch wants older video. */
#define BACKLOG_OLDER "older video for a watch"

typedef enum BacklogRank { BACKLOG_QUESTION, BACKLOG_WATCH, BACKLOG_NIGHTLY } BacklogRank;

typedef struct BacklogJob {
    char camera[EVENT_NAME_BYTES];
    char watch[EVENT_NAME_BYTES]; /* of a question; "": all watches */
    int64_t start_us, end_us;
    BacklogRank rank;
} BacklogJob;

typedef struct Backlog {
    Index *index;
    const Config *config;
    const char *const *questions; /* [n_questions]: the names of their watches, first come first */
    size_t n_questions;
} Backlog;

/* BACKLOG_LOST: nothing to start, but the batch says LOST of spans: commit it and ask again. */
enum { BACKLOG_NOTHING = 1, BACKLOG_LOST = 2 };

/* 0 with the next job of at most this rank; or BACKLOG_*; or -errno. */
int backlog_next(const Backlog *backlog, BacklogRank worst, BacklogJob *job, Batch *batch,
                 Error *err);

/* What still waits in [start_us, end_us), of one watch or of all (NULL), is LOST. */
int backlog_lose(Index *index, const char *camera, const char *watch, int64_t start_us,
                 int64_t end_us, const char *reason, Batch *batch, Error *err);

/* What of [start_us, end_us) nobody has spoken of for `watch`, and what none of the watches `same`
 * [n_same] examined either, waits from now on. */
int backlog_add(Index *index, const char *camera, const char *watch, const char *const *same,
                size_t n_same, int64_t start_us, int64_t end_us, const char *reason, Batch *batch,
                Error *err);

/* From the begin of the oldest to the end of the newest recording of a camera; 0, 0: none. */
int backlog_recorded(Index *index, const char *camera, int64_t *start_us, int64_t *end_us,
                     Error *err);

#endif

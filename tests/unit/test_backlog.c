/* What waits and is examined next: order, what is one job, what is lost. */
#include "daemon/backlog.h"
#include "tests/unit/index_fixture.h"

#define S INT64_C(1000000)

static char *car_cameras[] = {(char *)"gate", (char *)"yard"};

static CameraConfig cameras[] = {{.name = "gate", .record = true}, {.name = "yard"}};
static WatchConfig watches[] = {{.name = "car", .cameras = car_cameras, .n_cameras = 2}};
static Config config = {.cameras = cameras, .n_cameras = 2, .watches = watches, .n_watches = 1};

static void mark(Fixture *f, const char *camera, const char *watch, int64_t start_s, int64_t end_s,
                 SpanState state, const char *reason)
{
    LedgerSpan span = {.start_us = start_s * S, .end_us = end_s * S, .state = state};
    snprintf(span.camera, sizeof span.camera, "%s", camera);
    snprintf(span.watch, sizeof span.watch, "%s", watch);
    snprintf(span.reason, sizeof span.reason, "%s", reason);
    Error err = {0};
    begin(f);
    assert_int_equal(index_ledger_mark(f->index, &span, &err), 0);
    assert_int_equal(index_commit(f->index, &err), 0);
}

static void record(Fixture *f, const char *camera, int64_t start_s, int64_t end_s)
{
    Recording r = {.start_us = start_s * S, .end_us = end_s * S, .bytes = 1};
    snprintf(r.camera, sizeof r.camera, "%s", camera);
    snprintf(r.path, sizeof r.path, "/r/%s/%lld.mp4", camera, (long long)start_s);
    Error err = {0};
    begin(f);
    assert_int_equal(index_put_recording(f->index, &r, &err), 0);
    assert_int_equal(index_commit(f->index, &err), 0);
}

/* Asks for the next job, and commits what is lost of it. */
static int next(Fixture *f, const char *question, BacklogRank worst, BacklogJob *job)
{
    Backlog backlog = {.index = f->index,
                       .config = &config,
                       .questions = &question,
                       .n_questions = question ? 1 : 0};
    Error err = {0};
    Batch *batch = batch_new();
    Committer *committer = committer_new(f->index, NULL, NULL);
    int r = backlog_next(&backlog, worst, job, batch, &err);
    if (r < 0)
        fail_msg("%s", err.text);
    assert_int_equal(committer_add(committer, batch, 0), 0);
    committer_free(committer);
    return r;
}

static void is_job(Fixture *f, const char *question, BacklogRank worst, const char *camera,
                   BacklogRank rank, int64_t start_s, int64_t end_s)
{
    BacklogJob job;
    assert_int_equal(next(f, question, worst, &job), 0);
    assert_string_equal(job.camera, camera);
    assert_int_equal(job.rank, rank);
    assert_int_equal(job.start_us, start_s * S);
    assert_int_equal(job.end_us, end_s * S);
    assert_string_equal(job.watch, rank == BACKLOG_QUESTION ? question : "");
}

static void is_nothing(Fixture *f, const char *question, BacklogRank worst)
{
    BacklogJob job;
    assert_int_equal(next(f, question, worst, &job), BACKLOG_NOTHING);
}

/* A question, then older video for a watch, then nightly work, though each is newer than the one
 * before it. */
static void by_rank(void **state)
{
    Fixture *f = *state;
    record(f, "gate", 0, 10000);
    mark(f, "gate", "car", 5000, 5010, SPAN_WAITING, "analyst too slow");
    mark(f, "gate", "car", 3000, 3010, SPAN_WAITING, BACKLOG_OLDER);
    mark(f, "gate", "ask-1", 1000, 1010, SPAN_WAITING, "a question");
    is_job(f, "ask-1", BACKLOG_NIGHTLY, "gate", BACKLOG_QUESTION, 1000, 1010);
    is_job(f, "ask-1", BACKLOG_QUESTION, "gate", BACKLOG_QUESTION, 1000, 1010);
    /* Nobody waits for that question. */
    is_job(f, NULL, BACKLOG_NIGHTLY, "gate", BACKLOG_WATCH, 3000, 3010);
    is_nothing(f, NULL, BACKLOG_QUESTION);
    mark(f, "gate", "car", 3000, 3010, SPAN_EXAMINED, "");
    is_nothing(f, NULL, BACKLOG_WATCH); /* not in the hours of nightly work */
    is_job(f, NULL, BACKLOG_NIGHTLY, "gate", BACKLOG_NIGHTLY, 5000, 5010);
    mark(f, "gate", "car", 5000, 5010, SPAN_EXAMINED, "");
    is_nothing(f, NULL, BACKLOG_NIGHTLY);
}

static void newest_first_and_neighbours_together(void **state)
{
    Fixture *f = *state;
    record(f, "gate", 0, 10000);
    record(f, "yard", 0, 10000);
    mark(f, "gate", "car", 100, 110, SPAN_WAITING, "analyst too slow");
    mark(f, "gate", "car", 160, 170, SPAN_WAITING, "whend was not running"); /* a minute at most */
    mark(f, "yard", "car", 172, 174, SPAN_WAITING, "analyst too slow");
    mark(f, "gate", "car", 176, 180, SPAN_WAITING, BACKLOG_OLDER);
    mark(f, "gate", "car", 190, 200, SPAN_WAITING, "analyst too slow");
    mark(f, "gate", "gone", 300, 310, SPAN_WAITING, "analyst too slow"); /* nobody asks that now */
    is_job(f, NULL, BACKLOG_WATCH, "gate", BACKLOG_WATCH, 176, 180);
    mark(f, "gate", "car", 176, 180, SPAN_EXAMINED, "");
    is_job(f, NULL, BACKLOG_NIGHTLY, "gate", BACKLOG_NIGHTLY, 100, 200);
    mark(f, "gate", "car", 160, 200, SPAN_EXAMINED, "");
    is_job(f, NULL, BACKLOG_NIGHTLY, "yard", BACKLOG_NIGHTLY, 172, 174);
    mark(f, "yard", "car", 172, 174, SPAN_EXAMINED, "");
    /* At most ten minutes, the newest of them. */
    mark(f, "gate", "car", 3000, 5000, SPAN_WAITING, "analyst too slow");
    is_job(f, NULL, BACKLOG_NIGHTLY, "gate", BACKLOG_NIGHTLY, 4400, 5000);
}

static int add_length(const LedgerSpan *span, void *context)
{
    *(int64_t *)context += (span->end_us - span->start_us) / S;
    return 0;
}

static int64_t lost_s(Fixture *f)
{
    int64_t seconds = 0;
    assert_int_equal(index_ledger_spans(f->index, NULL, SPAN_LOST, add_length, &seconds, NULL), 0);
    return seconds;
}

/* What no recording has is lost; of a camera that records the file may be open still. */
static void no_recording(void **state)
{
    Fixture *f = *state;
    BacklogJob job;
    mark(f, "yard", "car", 100, 110, SPAN_WAITING, "analyst too slow");
    mark(f, "gate", "car", 100, 110, SPAN_WAITING, "analyst too slow");
    int r;
    while ((r = next(f, NULL, BACKLOG_NIGHTLY, &job)) == BACKLOG_LOST) {
    }
    assert_int_equal(r, BACKLOG_NOTHING);
    assert_int_equal(lost_s(f), 10); /* of the yard, which is not recorded */
    record(f, "gate", 0, 105);
    is_job(f, NULL, BACKLOG_NIGHTLY, "gate", BACKLOG_NIGHTLY, 100, 105); /* the rest: later */
    mark(f, "gate", "car", 100, 105, SPAN_EXAMINED, "");
    is_nothing(f, NULL, BACKLOG_NIGHTLY);
    record(f, "gate", 200, 260); /* and nothing of what lies between */
    assert_int_equal(next(f, NULL, BACKLOG_NIGHTLY, &job), BACKLOG_LOST);
    assert_int_equal(lost_s(f), 15);
    is_nothing(f, NULL, BACKLOG_NIGHTLY);
}

/* A watch's older video: what it has not spoken of, but what another watch that asks the same
 * examined. */
static void only_what_nobody_looked_at(void **state)
{
    Fixture *f = *state;
    static const char *const SAME[] = {"auto"};
    mark(f, "gate", "car", 100, 200, SPAN_EXAMINED, "");
    mark(f, "gate", "car", 200, 210, SPAN_LOST, "analyst too slow");
    mark(f, "gate", "auto", 300, 400, SPAN_EXAMINED, "");
    mark(f, "gate", "auto", 400, 410, SPAN_LOST, "analyst too slow");
    mark(f, "gate", "dog", 0, 1000, SPAN_EXAMINED, "");
    Error err = {0};
    Batch *batch = batch_new();
    Committer *committer = committer_new(f->index, NULL, NULL);
    assert_int_equal(
        backlog_add(f->index, "gate", "car", SAME, 1, 50 * S, 500 * S, BACKLOG_OLDER, batch, &err),
        0);
    assert_int_equal(committer_add(committer, batch, 0), 0);
    committer_free(committer);
    record(f, "gate", 0, 10000);
    is_job(f, NULL, BACKLOG_WATCH, "gate", BACKLOG_WATCH, 400, 500);
    mark(f, "gate", "car", 400, 500, SPAN_EXAMINED, "");
    is_job(f, NULL, BACKLOG_WATCH, "gate", BACKLOG_WATCH, 210, 300);
    mark(f, "gate", "car", 210, 300, SPAN_EXAMINED, "");
    is_job(f, NULL, BACKLOG_WATCH, "gate", BACKLOG_WATCH, 50, 100);
    mark(f, "gate", "car", 50, 100, SPAN_EXAMINED, "");
    is_nothing(f, NULL, BACKLOG_NIGHTLY);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {T(by_rank), T(newest_first_and_neighbours_together),
                                       T(no_recording), T(only_what_nobody_looked_at)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

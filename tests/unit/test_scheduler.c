/* Windows to jobs: order, what a dying analyst costs, and how overload thins out. */
#include "daemon/scheduler.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX = 512 };

/* What the hooks were told, as the windows' first pts. */
typedef struct World {
    Scheduler *scheduler;
    bool refuse; /* the analyst's queue is full */
    int64_t sent[MAX], done[MAX], dropped[MAX];
    uint64_t jobs[MAX];
    size_t n_sent, n_done, n_dropped;
    char reason[128];
    size_t intervals; /* of the first question of the last one done */
    char description[EVENT_DESCRIPTION_BYTES];
} World;

static int on_send(Task *task, void *context)
{
    World *w = context;
    if (w->refuse)
        return -EAGAIN;
    w->jobs[w->n_sent] = task->job_id;
    w->sent[w->n_sent++] = task->window.frames[0].pts_us;
    return 0;
}

static void on_done(Task *task, const char *reason, void *context)
{
    World *w = context;
    w->done[w->n_done++] = task->window.frames[0].pts_us;
    snprintf(w->reason, sizeof w->reason, "%s", reason ? reason : "");
    w->intervals = task->questions[0].n;
    if (w->intervals)
        memcpy(w->description, task->questions[0].intervals[0].description, sizeof w->description);
    task_free(task);
}

static void on_dropped(Task *task, void *context)
{
    World *w = context;
    w->dropped[w->n_dropped++] = task->window.frames[0].pts_us;
    task_free(task);
}

static void set_up(World *w)
{
    *w = (World){0};
    SchedulerHooks hooks = {on_send, on_done, on_dropped, w};
    w->scheduler = scheduler_new(&hooks, 8);
    scheduler_ready(w->scheduler);
}

static void add(World *w, TaskKind kind, void *owner, int64_t pts_us)
{
    WindowFrame *frame = calloc(1, sizeof *frame);
    frame->pts_us = pts_us;
    Window window = {frame, 1, pts_us + 1, pts_us + 1, WINDOW_GOES_ON};
    Task *task = task_new(kind, owner, "gate", &window, 1);
    assert_non_null(task);
    assert_int_equal(task_ask(task, "car", "When does a car drive past?"), 0);
    scheduler_add(w->scheduler, task);
}

static int finish(World *w, uint64_t job, const char *failure)
{
    When__JobDone done = WHEN__JOB_DONE__INIT;
    done.job_id = job;
    done.failed = failure != NULL;
    done.reason = (char *)(failure ? failure : "");
    return scheduler_job_done(w->scheduler, &done);
}

static int answer(World *w, uint64_t job, uint64_t question, size_t n, const char *description)
{
    When__Interval interval = WHEN__INTERVAL__INIT;
    interval.end_s = 1.0;
    interval.description = (char *)description;
    When__Interval *intervals[2000];
    for (size_t i = 0; i < n; i++)
        intervals[i] = &interval;
    When__JobAnswer message = WHEN__JOB_ANSWER__INIT;
    message.job_id = job;
    message.question_id = question;
    message.n_intervals = n;
    message.intervals = intervals;
    return scheduler_answer(w->scheduler, &message);
}

static int a, b; /* owners */

static void in_order_of_priority(void **state)
{
    (void)state;
    World w;
    set_up(&w);
    add(&w, TASK_NIGHTLY, &a, 1);
    add(&w, TASK_WATCH, &a, 2);
    add(&w, TASK_FILE, &a, 3);
    add(&w, TASK_QUESTION, &a, 4);
    add(&w, TASK_QUESTION, &b, 5);
    add(&w, TASK_LIVE, &a, 6);
    add(&w, TASK_LIVE, &b, 7);
    for (size_t i = 0; i < 7; i++) {
        scheduler_run(w.scheduler);
        assert_true(w.n_sent - i <= SCHEDULER_IN_FLIGHT);
        assert_int_equal(finish(&w, w.jobs[i], NULL), 0);
    }
    const int64_t order[] = {6, 4, 7, 5, 3, 2, 1}; /* live and questions take turns */
    assert_memory_equal(w.done, order, sizeof order);
    assert_true(scheduler_idle(w.scheduler));
    assert_int_equal(scheduler_examined(w.scheduler), 7);
    scheduler_free(w.scheduler);
}

/* Whatever comes while others wait takes its place by its priority, not by when it came. */
static void late_but_first(void **state)
{
    (void)state;
    World w;
    set_up(&w);
    w.refuse = true;
    const TaskKind kinds[] = {TASK_FILE,    TASK_NIGHTLY, TASK_LIVE,  TASK_WATCH,
                              TASK_NIGHTLY, TASK_FILE,    TASK_WATCH, TASK_LIVE};
    for (int64_t i = 0; i < 8; i++)
        add(&w, kinds[i], &a, i);
    w.refuse = false;
    for (size_t i = 0; i < 8; i++) {
        scheduler_run(w.scheduler);
        assert_int_equal(finish(&w, w.jobs[i], NULL), 0);
    }
    const int64_t order[] = {2, 7, 0, 5, 3, 6, 1, 4};
    assert_memory_equal(w.done, order, sizeof order);
    scheduler_free(w.scheduler);
}

static void analyst_dies(void **state)
{
    (void)state;
    World w;
    set_up(&w);
    for (int64_t i = 1; i <= 3; i++)
        add(&w, TASK_FILE, &a, i);
    scheduler_run(w.scheduler);
    assert_int_equal(w.n_sent, 2);
    assert_int_equal(answer(&w, w.jobs[0], 0, 3, "x"), 0);
    scheduler_analyst_gone(w.scheduler, true, "killed by signal 9 (Killed)");
    assert_int_equal(scheduler_waiting(w.scheduler, &a), 3);
    scheduler_run(w.scheduler);
    assert_int_equal(w.n_sent, 2); /* nobody is there */
    scheduler_ready(w.scheduler);
    scheduler_run(w.scheduler);
    assert_int_equal(w.n_sent, 4);
    assert_int_equal(w.sent[2], 1); /* in the same order as before */
    assert_int_equal(w.sent[3], 2);
    /* Late words of the dead one mean nothing. */
    assert_int_equal(answer(&w, w.jobs[0], 0, 1, "x"), -EINVAL);
    assert_int_equal(finish(&w, w.jobs[0], NULL), -EINVAL);
    assert_int_equal(w.n_done, 0);
    /* What was half answered is asked anew. */
    assert_int_equal(answer(&w, w.jobs[2], 0, 2, "x"), 0);
    assert_int_equal(finish(&w, w.jobs[2], NULL), 0);
    assert_int_equal(w.intervals, 2);
    scheduler_free(w.scheduler);
}

static void deadly_window(void **state)
{
    (void)state;
    World w;
    set_up(&w);
    add(&w, TASK_FILE, &a, 1);
    add(&w, TASK_FILE, &a, 2);
    /* An asked-for stop is nobody's fault. */
    scheduler_run(w.scheduler);
    scheduler_analyst_gone(w.scheduler, false, "");
    for (int i = 0; i < 2; i++) {
        scheduler_ready(w.scheduler);
        scheduler_run(w.scheduler);
        assert_int_equal(w.n_done, 0);
        scheduler_analyst_gone(w.scheduler, true, "killed by signal 11");
    }
    assert_int_equal(w.n_done, 1);
    assert_int_equal(w.done[0], 1);
    assert_string_equal(w.reason, "killed by signal 11");
    assert_int_equal(scheduler_waiting(w.scheduler, &a), 1); /* the other one is innocent */
    scheduler_free(w.scheduler);
}

static void overload_thins_evenly(void **state)
{
    (void)state;
    World w;
    set_up(&w);
    w.refuse = true;
    add(&w, TASK_LIVE, &b, 100);
    for (int64_t i = 1; i <= 11; i++)
        add(&w, TASK_LIVE, &a, i);
    /* 12 for 8 places: four of the camera with most, and no two neighbours. */
    assert_int_equal(w.n_dropped, 4);
    const int64_t dropped[] = {1, 3, 5, 7};
    assert_memory_equal(w.dropped, dropped, sizeof dropped);
    assert_int_equal(scheduler_waiting(w.scheduler, &b), 1);
    /* Files never are dropped. */
    for (int64_t i = 0; i < 20; i++)
        add(&w, TASK_FILE, &a, 200 + i);
    assert_int_equal(w.n_dropped, 4);
    scheduler_free(w.scheduler);
}

/* Four cameras, of which only every other window can be examined: each gets its share. */
static void overload_is_shared_by_all(void **state)
{
    (void)state;
    enum { CAMERAS = 4, TURNS = 100 };
    static int owners[CAMERAS];
    World w;
    set_up(&w);
    size_t done = 0;
    for (int64_t turn = 0; turn < TURNS; turn++) {
        for (int64_t c = 0; c < CAMERAS; c++)
            add(&w, TASK_LIVE, &owners[c], turn * CAMERAS + c);
        for (int k = 0; k < CAMERAS / 2; k++) {
            scheduler_run(w.scheduler);
            assert_int_equal(finish(&w, w.jobs[done++], NULL), 0);
        }
    }
    size_t dropped[CAMERAS] = {0}, least = MAX, most = 0;
    for (size_t i = 0; i < w.n_dropped; i++)
        dropped[w.dropped[i] % CAMERAS]++;
    for (int c = 0; c < CAMERAS; c++) {
        least = dropped[c] < least ? dropped[c] : least;
        most = dropped[c] > most ? dropped[c] : most;
    }
    assert_true(least > TURNS / 3 && most <= least + 2);
    assert_int_equal(w.n_dropped + w.n_done + scheduler_waiting(w.scheduler, NULL),
                     CAMERAS * TURNS);
    scheduler_free(w.scheduler);
}

static void forgotten(void **state)
{
    (void)state;
    World w;
    set_up(&w);
    for (int64_t i = 1; i <= 3; i++)
        add(&w, TASK_FILE, &a, i);
    add(&w, TASK_FILE, &b, 4);
    scheduler_run(w.scheduler);
    scheduler_forget(w.scheduler, &a);
    assert_int_equal(scheduler_waiting(w.scheduler, &a), 0);
    assert_int_equal(finish(&w, w.jobs[0], NULL), 0);
    scheduler_analyst_gone(w.scheduler, true, "gone");
    assert_int_equal(w.n_done, 0);
    scheduler_ready(w.scheduler);
    scheduler_run(w.scheduler);
    assert_int_equal(w.sent[w.n_sent - 1], 4);
    scheduler_free(w.scheduler);
}

static void answers_are_bounded(void **state)
{
    (void)state;
    World w;
    set_up(&w);
    add(&w, TASK_LIVE, &a, 1);
    scheduler_run(w.scheduler);
    char text[EVENT_DESCRIPTION_BYTES + 10];
    memset(text, 'a', sizeof text);
    memcpy(text + EVENT_DESCRIPTION_BYTES - 2, "\xc3\xa4", 2); /* would be cut in its middle */
    text[sizeof text - 1] = '\0';
    assert_int_equal(answer(&w, w.jobs[0], 1, 1, "x"), -EINVAL);
    assert_int_equal(answer(&w, w.jobs[0], 0, 1500, text), 0);
    assert_int_equal(answer(&w, w.jobs[0], 0, 1, "again"), -EINVAL);
    assert_int_equal(finish(&w, w.jobs[0], NULL), 0);
    assert_int_equal(w.intervals, TASK_MAX_INTERVALS);
    assert_int_equal(strlen(w.description), EVENT_DESCRIPTION_BYTES - 2);
    add(&w, TASK_LIVE, &a, 2);
    scheduler_run(w.scheduler);
    assert_int_equal(finish(&w, w.jobs[1], "the frames do not fit"), 0);
    assert_string_equal(w.reason, "the frames do not fit");
    assert_int_equal(scheduler_examined(w.scheduler), 1);
    scheduler_free(w.scheduler);
}

static void on_hold(void **state)
{
    (void)state;
    World w;
    set_up(&w);
    add(&w, TASK_LIVE, &a, 1);
    scheduler_hold(w.scheduler, true);
    scheduler_run(w.scheduler);
    assert_int_equal(w.n_sent, 0);
    scheduler_hold(w.scheduler, false);
    w.refuse = true;
    scheduler_run(w.scheduler);
    assert_int_equal(w.n_sent, 0);
    assert_int_equal(scheduler_waiting(w.scheduler, NULL), 1);
    w.refuse = false;
    scheduler_run(w.scheduler);
    assert_int_equal(w.n_sent, 1);
    scheduler_free(w.scheduler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order_of_priority),
        cmocka_unit_test(late_but_first),
        cmocka_unit_test(analyst_dies),
        cmocka_unit_test(deadly_window),
        cmocka_unit_test(overload_thins_evenly),
        cmocka_unit_test(forgotten),
        cmocka_unit_test(overload_is_shared_by_all),
        cmocka_unit_test(answers_are_bounded),
        cmocka_unit_test(on_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

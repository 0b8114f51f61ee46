/* Windows in, jobs out. See scheduler.h. */
#include "daemon/scheduler.h"

#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Scheduler {
    SchedulerHooks hooks;
    size_t max_live;
    Task *waiting;   /* by kind, then age */
    Task *in_flight; /* in the order in which they were sent */
    size_t n_in_flight, n_live;
    bool ready, hold;
    bool question_next; /* the last one sent was live */
    uint64_t next_job_id;
    uint64_t examined, questions;
};

Task *task_new(TaskKind kind, void *owner, const char *camera, Window *window, size_t max_questions)
{
    Task *task = calloc(1, sizeof *task);
    TaskQuestion *questions = mem_new_array(max_questions, sizeof *questions);
    if (!task || !questions) {
        free(task);
        free(questions);
        window_deinit(window);
        return NULL;
    }
    task->kind = kind;
    task->owner = owner;
    assert(strlen(camera) < sizeof task->camera);
    snprintf(task->camera, sizeof task->camera, "%s", camera);
    task->window = *window;
    *window = (Window){0};
    task->questions = questions;
    return task;
}

int task_ask(Task *task, const char *watch, const char *question)
{
    TaskQuestion *q = &task->questions[task->n_questions];
    assert(strlen(watch) < sizeof q->watch);
    snprintf(q->watch, sizeof q->watch, "%s", watch);
    if (!(q->text = strdup(question)))
        return -ENOMEM;
    task->n_questions++;
    return 0;
}

static void forget_answers(Task *task)
{
    for (size_t i = 0; i < task->n_questions; i++) {
        free(task->questions[i].intervals);
        task->questions[i].intervals = NULL;
        task->questions[i].n = 0;
        task->questions[i].answered = false;
    }
}

void task_free(Task *task)
{
    if (!task)
        return;
    forget_answers(task);
    for (size_t i = 0; i < task->n_questions; i++)
        free(task->questions[i].text);
    free(task->questions);
    window_deinit(&task->window);
    free(task);
}

Scheduler *scheduler_new(const SchedulerHooks *hooks, size_t max_live)
{
    Scheduler *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->hooks = *hooks;
    s->max_live = max_live;
    s->next_job_id = 1; /* 0 is the model's loading */
    return s;
}

static void free_list(Task *task)
{
    while (task) {
        Task *next = task->next;
        task_free(task);
        task = next;
    }
}

void scheduler_free(Scheduler *s)
{
    if (!s)
        return;
    free_list(s->waiting);
    free_list(s->in_flight);
    free(s);
}

/* Behind all of its kind, or before them when it comes back from a dead analyst. */
static void insert(Scheduler *s, Task *task, bool front)
{
    Task **at = &s->waiting;
    while (*at && ((*at)->kind < task->kind || (!front && (*at)->kind == task->kind)))
        at = &(*at)->next;
    task->next = *at;
    *at = task;
    s->n_live += task->kind == TASK_LIVE;
}

static Task *take(Scheduler *s, Task **at)
{
    Task *task = *at;
    *at = task->next;
    task->next = NULL;
    s->n_live -= task->kind == TASK_LIVE;
    return task;
}

static size_t live_of(const Scheduler *s, const void *owner)
{
    size_t n = 0;
    for (const Task *task = s->waiting; task && task->kind == TASK_LIVE; task = task->next)
        n += task->owner == owner;
    return n;
}

/* Too many live windows wait: one of the camera that has most goes, its oldest that does not follow
 * a dropped one, so that every other window stays. */
static void thin_out(Scheduler *s)
{
    const void *owner = NULL;
    size_t most = 0;
    for (const Task *task = s->waiting; task && task->kind == TASK_LIVE; task = task->next) {
        size_t n = live_of(s, task->owner);
        if (n > most) {
            most = n;
            owner = task->owner;
        }
    }
    Task **victim = NULL;
    for (Task **at = &s->waiting; *at && (*at)->kind == TASK_LIVE; at = &(*at)->next) {
        if ((*at)->owner != owner || (victim && (*at)->after_drop))
            continue;
        if (!victim || (*victim)->after_drop)
            victim = at;
    }
    assert(victim); /* n_live > 0 */
    Task *task = take(s, victim);
    for (Task *later = *victim; later && later->kind == TASK_LIVE; later = later->next)
        if (later->owner == owner) {
            later->after_drop = true;
            break;
        }
    s->hooks.dropped(task, s->hooks.context);
}

void scheduler_add(Scheduler *s, Task *task)
{
    insert(s, task, false);
    while (s->n_live > s->max_live)
        thin_out(s);
}

/* Which one is sent next; the queue is not empty. */
static Task **next_task(Scheduler *s)
{
    Task **at = &s->waiting;
    if (!s->question_next)
        return at;
    while (*at && (*at)->kind == TASK_LIVE)
        at = &(*at)->next;
    return *at && (*at)->kind == TASK_QUESTION ? at : &s->waiting;
}

void scheduler_run(Scheduler *s)
{
    while (s->ready && !s->hold && s->waiting && s->n_in_flight < SCHEDULER_IN_FLIGHT) {
        Task **next = next_task(s);
        (*next)->job_id = s->next_job_id++;
        if (s->hooks.send(*next, s->hooks.context) != 0)
            return;
        Task *task = take(s, next);
        s->question_next = task->kind == TASK_LIVE;
        Task **tail = &s->in_flight;
        while (*tail)
            tail = &(*tail)->next;
        *tail = task;
        s->n_in_flight++;
    }
}

void scheduler_ready(Scheduler *s)
{
    s->ready = true;
}

void scheduler_hold(Scheduler *s, bool hold)
{
    s->hold = hold;
}

void scheduler_analyst_gone(Scheduler *s, bool blame, const char *reason)
{
    s->ready = false;
    Task *back = NULL; /* newest first, so that the oldest comes to the very front */
    Task *given_up = NULL;
    bool first = true;
    while (s->in_flight) {
        Task *task = s->in_flight;
        s->in_flight = task->next;
        task->next = NULL;
        s->n_in_flight--;
        forget_answers(task);
        /* Jobs are worked through in order: the oldest is the one that it died on. */
        task->deaths += blame && first;
        first = false;
        if (!task->owner) {
            task_free(task);
        } else if (task->deaths >= SCHEDULER_MAX_DEATHS) {
            log_error("scheduler", "camera=%s window given up: the analyst ended on it %u times",
                      task->camera, task->deaths);
            given_up = task; /* the first only: there is one at most */
        } else {
            task->next = back;
            back = task;
        }
    }
    while (back) {
        Task *task = back;
        back = task->next;
        insert(s, task, true);
    }
    /* Last: its owner may look at what still waits. */
    if (given_up)
        s->hooks.done(given_up, reason, s->hooks.context);
}

static Task **find(Scheduler *s, uint64_t job_id)
{
    Task **at = &s->in_flight;
    while (*at && (*at)->job_id != job_id)
        at = &(*at)->next;
    return *at ? at : NULL;
}

int scheduler_answer(Scheduler *s, const When__JobAnswer *answer)
{
    Task **at = find(s, answer->job_id);
    if (!at || answer->question_id >= (*at)->n_questions)
        return -EINVAL;
    TaskQuestion *q = &(*at)->questions[answer->question_id];
    if (q->answered)
        return -EINVAL;
    size_t n = answer->n_intervals;
    if (n > TASK_MAX_INTERVALS)
        n = TASK_MAX_INTERVALS;
    if (!(q->intervals = mem_new_array(n, sizeof *q->intervals)))
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const When__Interval *from = answer->intervals[i];
        TaskInterval *to = &q->intervals[i];
        to->start_s = from->start_s;
        to->end_s = from->end_s;
        to->confidence = from->confidence;
        size_t length = strnlen(from->description, sizeof to->description);
        if (length == sizeof to->description) /* cut, and not within a character */
            for (length--; length > 0 && ((unsigned char)from->description[length] & 0xc0) == 0x80;)
                length--;
        memcpy(to->description, from->description, length);
    }
    q->n = n;
    q->answered = true;
    s->questions++;
    return 0;
}

int scheduler_job_done(Scheduler *s, const When__JobDone *done)
{
    Task **at = find(s, done->job_id);
    if (!at)
        return -EINVAL;
    Task *task = *at;
    *at = task->next;
    task->next = NULL;
    s->n_in_flight--;
    if (!task->owner) {
        task_free(task);
        return 0;
    }
    if (!done->failed)
        s->examined++;
    const char *reason = done->reason[0] ? done->reason : "the analyst gave no reason";
    s->hooks.done(task, done->failed ? reason : NULL, s->hooks.context);
    return 0;
}

void scheduler_retime(Scheduler *s, void *owner, uint64_t session, int64_t utc_minus_pts_us,
                      int64_t utc_err_us, int utc_source)
{
    Task *lists[] = {s->waiting, s->in_flight};
    for (size_t i = 0; i < 2; i++)
        for (Task *task = lists[i]; task; task = task->next)
            if (task->owner == owner)
                window_retime(&task->window, session, utc_minus_pts_us, utc_err_us, utc_source);
}

void scheduler_forget(Scheduler *s, const void *owner)
{
    for (Task **at = &s->waiting; *at;) {
        if ((*at)->owner == owner)
            task_free(take(s, at));
        else
            at = &(*at)->next;
    }
    for (Task *task = s->in_flight; task; task = task->next)
        if (task->owner == owner)
            task->owner = NULL;
}

size_t scheduler_waiting(const Scheduler *s, const void *owner)
{
    size_t n = 0;
    for (const Task *task = s->waiting; task; task = task->next)
        n += !owner || task->owner == owner;
    for (const Task *task = s->in_flight; task; task = task->next)
        n += !owner || task->owner == owner;
    return n;
}

size_t scheduler_frames(const Scheduler *s, const void *owner)
{
    size_t n = 0;
    for (const Task *task = s->waiting; task; task = task->next)
        n += task->owner == owner ? task->window.n : 0;
    for (const Task *task = s->in_flight; task; task = task->next)
        n += task->owner == owner ? task->window.n : 0;
    return n;
}

size_t scheduler_in_flight(const Scheduler *s)
{
    return s->n_in_flight;
}

bool scheduler_idle(const Scheduler *s)
{
    return s->ready && !s->hold && !s->waiting && !s->in_flight;
}

uint64_t scheduler_examined(const Scheduler *s)
{
    return s->examined;
}

uint64_t scheduler_questions(const Scheduler *s)
{
    return s->questions;
}

/* The analyst, as whend sees it. See analyst.h. */
#include "daemon/analyst.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void analyst_setup(Daemon *daemon)
{
    const WorkerInfo *worker = supervisor_by_name(daemon->supervisor, ANALYST_WORKER);
    if (!worker)
        return;
    When__AnalystSetup setup = WHEN__ANALYST_SETUP__INIT;
    setup.model_path = daemon->config.model_path;
    setup.lora = daemon->config.model_lora ? daemon->config.model_lora : "";
    setup.dtype = daemon->config.model_dtype;
    setup.kv = daemon->config.model_kv;
    _cleanup_free_ char *cache = file_join(daemon->config.state_dir, "weights");
    setup.cache = cache ? cache : "";
    setup.threads = (uint32_t)daemon->config.model_threads;
    setup.max_answer_tokens = (uint32_t)daemon->config.model_max_answer_tokens;
    When__ToWorker message = WHEN__TO_WORKER__INIT;
    message.body_case = WHEN__TO_WORKER__BODY_ANALYST_SETUP;
    message.analyst_setup = &setup;
    int r = daemon_send(daemon, worker->id, &message, NULL, 0);
    if (r < 0)
        log_error("analyst", "setup not sent: %s", strerror(-r));
}

/* The model is there: what frames it wants decides the cameras' setup. */
static bool model_loaded(Daemon *daemon, const When__JobDone *done)
{
    Analyst *analyst = &daemon->analyst;
    if (done->failed) {
        log_error("analyst", "model=%s cannot be loaded: %s", daemon->config.model_path,
                  done->reason);
        supervisor_explain(daemon->supervisor, ANALYST_WORKER, done->reason);
        return true;
    }
    if (done->cell_px == 0 || done->cell_px > 1024 || done->max_pixels < done->min_pixels ||
        done->max_pixels == 0)
        return false;
    bool changed = analyst->limits_known &&
                   (analyst->cell_px != done->cell_px || analyst->min_pixels != done->min_pixels ||
                    analyst->max_pixels != done->max_pixels);
    analyst->cell_px = done->cell_px;
    analyst->min_pixels = done->min_pixels;
    analyst->max_pixels = done->max_pixels;
    analyst->limits_known = analyst->loaded = true;
    snprintf(analyst->notice, sizeof analyst->notice, "%s", done->model_notice);
    snprintf(daemon->feeds.model_name, sizeof daemon->feeds.model_name, "%s", done->model_name);
    log_info("analyst", "model=%s loaded seconds=%.1f", done->model_name, done->seconds);
    scheduler_ready(daemon->scheduler);
    for (size_t i = 0; i < daemon->n_cameras; i++) {
        if (changed) /* its frames have the wrong size now */
            supervisor_restart(daemon->supervisor, daemon->cameras[i]->worker, daemon->now_us);
        else
            camera_setup(daemon, daemon->cameras[i]);
    }
    return true;
}

bool analyst_message(Daemon *daemon, const When__FromWorker *message)
{
    daemon->analyst.heard_us = daemon->now_us;
    switch (message->body_case) {
    case WHEN__FROM_WORKER__BODY_ANALYST_HELLO:
        supervisor_hello(daemon->supervisor, ANALYST_WORKER);
        analyst_setup(daemon);
        return true;
    case WHEN__FROM_WORKER__BODY_ANSWER: {
        int r = scheduler_answer(daemon->scheduler, message->answer);
        if (r == -ENOMEM)
            daemon_out_of_memory(daemon);
        return r == 0;
    }
    case WHEN__FROM_WORKER__BODY_JOB_DONE:
        if (message->job_done->job_id == 0)
            return model_loaded(daemon, message->job_done);
        daemon->analyst.visual_tokens += message->job_done->visual_tokens;
        daemon->analyst.visual_tokens_kept += message->job_done->visual_tokens_kept;
        return scheduler_job_done(daemon->scheduler, message->job_done) == 0;
    default:
        return false;
    }
}

void analyst_gone(Daemon *daemon, const WorkerEnd *end)
{
    daemon->analyst.loaded = false;
    scheduler_analyst_gone(daemon->scheduler, !end->asked, end->reason);
}

/* Fills message and pixels (all of them initialised) from the task. */
static int fill_job(const Task *task, When__Job *job, When__FrameInfo *infos,
                    When__FrameInfo **info_list, When__Question *questions,
                    When__Question **question_list, zmq_msg_t *pixels, size_t *n_pixels)
{
    const Window *window = &task->window;
    for (size_t i = 0; i < window->n; i++) {
        const WindowFrame *frame = &window->frames[i];
        when__frame_info__init(&infos[i]);
        infos[i].pts_us = frame->pts_us;
        infos[i].utc_us = frame->utc_us;
        infos[i].utc_err_us = frame->utc_err_us;
        infos[i].utc_source = (When__UtcSource)frame->utc_source;
        infos[i].width = frame->width;
        infos[i].height = frame->height;
        infos[i].session = frame->session;
        infos[i].motion = frame->motion;
        infos[i].cells.data =
            (uint8_t *)(uintptr_t)pixels_cells(frame->pixels, &infos[i].cells.len);
        info_list[i] = &infos[i];
        int r = pixels_message(frame->pixels, &pixels[i]);
        if (r < 0)
            return r;
        *n_pixels = i + 1;
    }
    for (size_t i = 0; i < task->n_questions; i++) {
        when__question__init(&questions[i]);
        questions[i].id = i;
        questions[i].text = task->questions[i].text;
        question_list[i] = &questions[i];
    }
    when__job__init(job);
    job->job_id = task->job_id;
    job->camera = (char *)task->camera;
    job->n_frames = window->n;
    job->frames = info_list;
    job->n_questions = task->n_questions;
    job->questions = question_list;
    return 0;
}

int analyst_send(Daemon *daemon, Task *task)
{
    const WorkerInfo *worker = supervisor_by_name(daemon->supervisor, ANALYST_WORKER);
    if (!worker || worker->state != WORKER_RUNNING)
        return -EHOSTUNREACH;
    size_t n = task->window.n, m = task->n_questions, n_pixels = 0;
    _cleanup_free_ When__FrameInfo *infos = mem_new_array(n, sizeof *infos);
    _cleanup_free_ When__FrameInfo **info_list = mem_new_array(n, sizeof *info_list);
    _cleanup_free_ When__Question *questions = mem_new_array(m, sizeof *questions);
    _cleanup_free_ When__Question **question_list = mem_new_array(m, sizeof *question_list);
    _cleanup_free_ zmq_msg_t *pixels = mem_new_array(n, sizeof *pixels);
    if (!infos || !info_list || !questions || !question_list || !pixels)
        return -ENOMEM;
    When__Job job;
    int r = fill_job(task, &job, infos, info_list, questions, question_list, pixels, &n_pixels);
    if (r == 0) {
        When__ToWorker message = WHEN__TO_WORKER__INIT;
        message.body_case = WHEN__TO_WORKER__BODY_JOB;
        message.job = &job;
        r = daemon_send(daemon, worker->id, &message, pixels, n);
    }
    /* Handed over they are empty; else they are copies that nobody needs. */
    for (size_t i = 0; i < n_pixels; i++)
        zmq_msg_close(&pixels[i]);
    if (r == 0 && scheduler_in_flight(daemon->scheduler) == 0)
        daemon->analyst.heard_us = daemon->now_us;
    if (r < 0 && r != -EAGAIN)
        log_warn("analyst", "job=%" PRIu64 " camera=%s frames=%zu not sent: %s", task->job_id,
                 task->camera, n, strerror(-r));
    return r;
}

void analyst_tick(Daemon *daemon)
{
    Analyst *analyst = &daemon->analyst;
    int64_t silent_us = daemon->now_us - analyst->heard_us;
    const WorkerInfo *worker = supervisor_by_name(daemon->supervisor, ANALYST_WORKER);
    if (!analyst->loaded || scheduler_in_flight(daemon->scheduler) == 0 || !worker ||
        worker->pid <= 0 || silent_us < daemon->config.model_timeout_us)
        return;
    char reason[96];
    snprintf(reason, sizeof reason, "it hung: no word for %" PRId64 " s while it worked",
             silent_us / US_PER_S);
    log_error("analyst", "%s: killed", reason);
    supervisor_explain(daemon->supervisor, ANALYST_WORKER, reason);
    kill((pid_t)worker->pid, SIGKILL);
    analyst->heard_us = daemon->now_us;
}

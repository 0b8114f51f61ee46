/* Is whend doing what it is there for? See health.h. */
#include "daemon/health.h"

#include "base/clock.h"
#include "base/mem.h"
#include "daemon/coverage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

static void reason(Str *out, const char *what, const char *name, const char *why, const char *more)
{
    str_addf(out, "%s%s%s: %s%s%s\n", what, name[0] ? " " : "", name, why, more[0] ? ": " : "",
             more);
}

static void check_cameras(const Daemon *daemon, Str *out)
{
    for (size_t i = 0; i < daemon->n_cameras; i++) {
        const Camera *camera = daemon->cameras[i];
        const WorkerInfo *worker = supervisor_by_name(daemon->supervisor, camera->worker);
        bool finished = strcmp(camera->state, "finished") == 0;
        if (worker && (worker->state == WORKER_FAILED || worker->state == WORKER_BACKING_OFF))
            reason(out, "camera", camera->config->name, worker_state_name(worker->state),
                   worker->reason);
        else if (strcmp(camera->state, "running") != 0 && !(finished && camera->config->is_file))
            reason(out, "camera", camera->config->name, camera->state, camera->reason);
    }
}

static void check_analyst(const Daemon *daemon, Str *out)
{
    const WorkerInfo *worker = supervisor_by_name(daemon->supervisor, ANALYST_WORKER);
    if (!worker)
        reason(out, ANALYST_WORKER, "", "not started", "");
    else if (worker->state != WORKER_RUNNING)
        reason(out, ANALYST_WORKER, "", worker_state_name(worker->state), worker->reason);
    else if (!daemon->analyst.loaded)
        reason(out, ANALYST_WORKER, "", "the model is being loaded", "");
}

void health_disk(const Daemon *daemon, uint64_t *free_bytes, uint64_t *all_bytes)
{
    struct statvfs st;
    *free_bytes = *all_bytes = 0;
    if (statvfs(daemon->config.state_dir, &st) < 0)
        return;
    *free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    *all_bytes = (uint64_t)st.f_blocks * st.f_frsize;
}

static void check_disk(const Daemon *daemon, Str *out)
{
    uint64_t left, all;
    health_disk(daemon, &left, &all);
    double enough = (double)all * HEALTH_DISK_SHARE;
    if (enough > (double)HEALTH_DISK_BYTES)
        enough = (double)HEALTH_DISK_BYTES;
    if (all && (double)left < enough)
        str_addf(out, "disk %s: nearly full: %" PRIu64 " MB are left\n", daemon->config.state_dir,
                 left / 1000000);
    if (committer_blocked(daemon->committer))
        reason(out, "index", "", "events cannot be stored", committer_reason(daemon->committer));
}

typedef struct Spans {
    LedgerSpan *list;
    size_t n, capacity;
} Spans;

static int add_span(const LedgerSpan *span, void *context)
{
    Spans *spans = context;
    void *list = spans->list;
    int r = mem_grow(&list, &spans->capacity, spans->n + 1, sizeof *span);
    spans->list = list;
    if (r == 0)
        spans->list[spans->n++] = *span;
    return r;
}

/* Of the last minutes of each live camera, how much was examined? A window is examined at the
 * earliest when it has ended: the newest two windows do not count. */
static void check_ledger(Daemon *daemon, Str *out)
{
    int64_t until_us = clock_utc_us() - 2 * daemon->config.window_us;
    int64_t since_us = until_us - HEALTH_BEHIND_US;
    if (since_us < daemon->started_us)
        return;
    for (size_t i = 0; i < daemon->n_cameras; i++) {
        const Camera *camera = daemon->cameras[i];
        const char *name = camera->config->name;
        if (camera->config->is_file || strcmp(camera->state, "running") != 0)
            continue;
        IndexFilter filter = {
            .cameras = &name, .n_cameras = 1, .since_us = since_us, .until_us = until_us};
        Spans spans = {0};
        CoverageTotals totals = {0};
        Error err = {0};
        if (index_ledger_spans(daemon->index, &filter, 0, add_span, &spans, &err) >= 0 &&
            coverage_sum(spans.list, spans.n, since_us, until_us, true, &totals) >= 0 &&
            spans.n > 0 && totals.examined_us < HEALTH_BEHIND_US / 2)
            str_addf(
                out,
                "ledger: falls behind: %.0f %% of the last 10 minutes of camera %s are examined\n",
                100.0 * (double)totals.examined_us / (double)HEALTH_BEHIND_US, name);
        free(spans.list);
    }
}

bool health_check(Daemon *daemon, Str *out)
{
    size_t before = out->len;
    if (daemon->stop_due_us)
        reason(out, "whend", "", "stopping", "");
    check_analyst(daemon, out);
    check_cameras(daemon, out);
    check_disk(daemon, out);
    check_ledger(daemon, out);
    return out->len == before;
}

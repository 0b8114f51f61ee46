/* Counters for Prometheus. See metrics.h. */
#include "daemon/metrics.h"

#include "base/clock.h"
#include "daemon/health.h"
#include "daemon/operation.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* A family begins: what its samples are. */
static void family(Str *out, const char *name, const char *type, const char *help)
{
    str_addf(out, "# HELP whend_%s %s\n# TYPE whend_%s %s\n", name, help, name, type);
}

/* As label values are written: backslash, quote and line end escaped. */
static void add_label(Str *out, const char *name, const char *value)
{
    str_addf(out, "%s=\"", name);
    for (const char *p = value; *p; p++) {
        if (*p == '\\' || *p == '"')
            str_add(out, "\\", 1);
        if (*p == '\n')
            str_add_text(out, "\\n");
        else
            str_add(out, p, 1);
    }
    str_add_text(out, "\"");
}

static void sample(Str *out, const char *name, const char *label, const char *value, double number)
{
    str_addf(out, "whend_%s", name);
    if (label) {
        str_add_text(out, "{");
        add_label(out, label, value);
        str_add_text(out, "}");
    }
    if (fabs(number) < 9e15 && number == floor(number))
        str_addf(out, " %" PRId64 "\n", (int64_t)number);
    else
        str_addf(out, " %.17g\n", number);
}

static void one(Str *out, const char *name, const char *type, const char *help, double number)
{
    family(out, name, type, help);
    sample(out, name, NULL, NULL, number);
}

/* What is said of each camera. */
typedef struct CameraMetric {
    const char *name, *type, *help;
    double (*read)(const Camera *camera, const FeedCounts *counts);
} CameraMetric;

static double is_up(const Camera *camera, const FeedCounts *counts)
{
    (void)counts;
    return strcmp(camera->state, "running") == 0 ||
           (camera->config->is_file && strcmp(camera->state, "finished") == 0);
}

static double frames(const Camera *camera, const FeedCounts *counts)
{
    (void)camera;
    return (double)counts->frames;
}

static double dropped(const Camera *camera, const FeedCounts *counts)
{
    return (double)(camera->worker_dropped + counts->dropped);
}

static double last_frame(const Camera *camera, const FeedCounts *counts)
{
    (void)camera;
    return (double)counts->last_utc_us / 1e6;
}

static double reconnects(const Camera *camera, const FeedCounts *counts)
{
    (void)counts;
    return (double)camera->reconnects;
}

static double clock_error(const Camera *camera, const FeedCounts *counts)
{
    (void)counts;
    return (double)camera->utc_err_us / 1e6;
}

static double fps(const Camera *camera, const FeedCounts *counts)
{
    (void)counts;
    return camera->fps_out;
}

static double recorded(const Camera *camera, const FeedCounts *counts)
{
    (void)counts;
    return (double)camera->recording_bytes;
}

static const CameraMetric CAMERA_METRICS[] = {
    {"camera_up", "gauge", "1 while the camera delivers, or a file was read to its end.", is_up},
    {"camera_frames_total", "counter", "Frames received.", frames},
    {"camera_frames_dropped_total", "counter", "Frames that nobody examined.", dropped},
    {"camera_reconnects_total", "counter", "Connections made anew.", reconnects},
    {"camera_last_frame_timestamp_seconds", "gauge", "UTC of the newest frame.", last_frame},
    {"camera_clock_error_seconds", "gauge", "Bound on the error of its time.", clock_error},
    {"camera_frames_per_second", "gauge", "Frames that go to the model's queue.", fps},
    {"camera_recording_bytes", "gauge", "Size of its recordings.", recorded}};

static void cameras(const Daemon *daemon, Str *out)
{
    for (size_t m = 0; m < sizeof CAMERA_METRICS / sizeof CAMERA_METRICS[0]; m++) {
        const CameraMetric *metric = &CAMERA_METRICS[m];
        family(out, metric->name, metric->type, metric->help);
        for (size_t i = 0; i < daemon->n_cameras; i++) {
            FeedCounts counts = feed_counts(daemon->cameras[i]->feed);
            sample(out, metric->name, "camera", daemon->cameras[i]->config->name,
                   metric->read(daemon->cameras[i], &counts));
        }
    }
}

static void workers(const Daemon *daemon, Str *out)
{
    size_t n = supervisor_count(daemon->supervisor);
    family(out, "worker_up", "gauge", "1 while the worker runs.");
    for (size_t i = 0; i < n; i++) {
        const WorkerInfo *worker = supervisor_at(daemon->supervisor, i);
        sample(out, "worker_up", "worker", worker->name, worker->state == WORKER_RUNNING);
    }
    family(out, "worker_restarts_total", "counter", "Times it was started again.");
    for (size_t i = 0; i < n; i++) {
        const WorkerInfo *worker = supervisor_at(daemon->supervisor, i);
        sample(out, "worker_restarts_total", "worker", worker->name, worker->restarts);
    }
}

static int waiting(const char *camera, int64_t waiting_us, void *context)
{
    sample(context, "ledger_waiting_seconds", "camera", camera, (double)waiting_us / 1e6);
    return 0;
}

void metrics_write(Daemon *daemon, Str *out)
{
    family(out, "info", "gauge", "Version and daemon id.");
    str_add_text(out, "whend_info{");
    add_label(out, "version", WHEN_VERSION);
    str_add_text(out, ",");
    add_label(out, "daemon_id", index_daemon_id(daemon->index));
    str_add_text(out, "} 1\n");
    one(out, "start_time_seconds", "gauge", "UTC of the start.", (double)daemon->started_us / 1e6);
    one(out, "event_revisions_total", "counter", "Event revisions ever committed.",
        (double)index_last_sequence(daemon->index));
    one(out, "commits_blocked", "gauge", "1 while events cannot be stored.",
        committer_blocked(daemon->committer));
    one(out, "windows_waiting", "gauge", "Windows that wait for the model.",
        (double)scheduler_waiting(daemon->scheduler, NULL));
    one(out, "windows_examined_total", "counter", "Windows examined.",
        (double)scheduler_examined(daemon->scheduler));
    one(out, "questions_total", "counter", "Questions asked of the model.",
        (double)scheduler_questions(daemon->scheduler));
    one(out, "visual_tokens_total", "counter", "Visual tokens of the windows examined.",
        (double)daemon->analyst.visual_tokens);
    one(out, "visual_tokens_kept_total", "counter", "Of those: not left out as unchanged (gate).",
        (double)daemon->analyst.visual_tokens_kept);
    one(out, "bad_messages_total", "counter", "Messages refused: unknown, oversized or damaged.",
        (double)(daemon->bad_messages + service_bad_messages(daemon->service)));
    one(out, "refused_connections_total", "counter", "Connections from elsewhere without a key.",
        (double)operation_refused(daemon->operation));
    uint64_t left, all;
    health_disk(daemon, &left, &all);
    one(out, "disk_free_bytes", "gauge", "Free where the state is.", (double)left);
    one(out, "model_loaded", "gauge", "1 while the model is ready.", daemon->analyst.loaded);
    cameras(daemon, out);
    workers(daemon, out);
    family(out, "ledger_waiting_seconds", "gauge",
           "Recorded video, times watches, not examined yet.");
    Error err = {0};
    index_ledger_waiting(daemon->index, waiting, out, &err);
}

/* Watches of the config and of clients. See watches.h. */
#include "daemon/watches.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "config/schedule.h"
#include "config/watch.h"
#include "daemon/backlog.h"
#include "daemon/daemon.h"
#include "daemon/index_watches.h"
#include "daemon/questions.h"
#include "daemon/reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- bringing them together --- */

static WatchConfig *find(const Config *config, const char *name)
{
    for (size_t i = 0; i < config->n_watches; i++)
        if (strcmp(config->watches[i].name, name) == 0)
            return &config->watches[i];
    return NULL;
}

static int add_watch(const WatchConfig *watch, void *context)
{
    Config *config = context;
    if (find(config, watch->name)) {
        log_warn("watches",
                 "watch=%s was added at run time and stands in whend.yaml now, which counts",
                 watch->name);
        return 0;
    }
    if (config->n_watches == CONFIG_MAX_WATCHES)
        return 0;
    WatchConfig *watches =
        realloc(config->watches, (config->n_watches + 1) * sizeof *config->watches);
    if (!watches)
        return -ENOMEM;
    config->watches = watches;
    if (watch_config_copy(&watches[config->n_watches], watch) < 0)
        return -ENOMEM;
    config->n_watches++;
    return 0;
}

int watches_merge(Config *config, Index *index, Error *err)
{
    int r = index_added_watches(index, add_watch, config, err);
    return r == -ENOMEM ? error_set(err, ENOMEM, EX_OSERR, "no memory") : r;
}

/* --- registering --- */

typedef struct NameList {
    size_t n;
    char names[CONFIG_MAX_WATCHES + QUESTIONS_MAX][EVENT_NAME_BYTES];
} NameList;

static int retire_others(Index *index, const void *data, Error *err)
{
    const NameList *list = data;
    const char *names[CONFIG_MAX_WATCHES + QUESTIONS_MAX];
    for (size_t i = 0; i < list->n; i++)
        names[i] = list->names[i];
    if (list->n == 0) /* no list at all would be every watch */
        names[0] = "";
    return index_retire_watches(index, names, list->n ? list->n : 1, err);
}

void watches_retire(Daemon *daemon, Batch *batch)
{
    NameList *list = calloc(1, sizeof *list);
    size_t n;
    const char *const *questions = questions_names(daemon->questions, &n);
    for (size_t i = 0; list && i < daemon->config.n_watches; i++)
        snprintf(list->names[list->n++], EVENT_NAME_BYTES, "%s", daemon->config.watches[i].name);
    for (size_t i = 0; list && i < n; i++)
        snprintf(list->names[list->n++], EVENT_NAME_BYTES, "%s", questions[i]);
    batch_call(batch, retire_others, list, free);
}

/* The recordings of one camera that the watch wants. */
static int want_older(Daemon *daemon, const WatchConfig *watch, const Schedule *schedule,
                      const char *camera, int64_t since_us, Batch *batch, Error *err)
{
    int64_t start_us, end_us;
    int r = backlog_recorded(daemon->index, camera, &start_us, &end_us, err);
    if (r < 0)
        return r;
    start_us = start_us > since_us ? start_us : since_us;
    while (r == 0 && start_us < end_us) {
        int64_t from_us, to_us;
        schedule_next(schedule, start_us, &from_us, &to_us);
        from_us = from_us > start_us ? from_us : start_us;
        to_us = to_us < end_us ? to_us : end_us;
        r = backlog_add(daemon->index, camera, watch->name, NULL, 0, from_us, to_us, BACKLOG_OLDER,
                        batch, err);
        start_us = to_us > start_us ? to_us : end_us;
    }
    return r;
}

static int register_watch(Daemon *daemon, const WatchConfig *watch, Batch *batch, Error *err)
{
    int64_t since_us;
    if (watch_since(watch->since, clock_utc_us(), &since_us) < 0)
        since_us = INT64_MAX;
    Schedule *schedule;
    int r = schedule_new(watch->days, watch->hours, watch->time_zone, &schedule, err);
    for (size_t i = 0; r == 0 && i < daemon->config.n_cameras; i++) {
        const CameraConfig *camera = &daemon->config.cameras[i];
        /* A folder's files are asked as a whole, as one file is. */
        int64_t from_us = camera->is_folder ? 0 : since_us;
        if (!camera->is_file && from_us < INT64_MAX && watch_config_covers(watch, camera->name))
            r = want_older(daemon, watch, schedule, camera->name, from_us, batch, err);
    }
    schedule_free(schedule);
    return r;
}

int watches_register(Daemon *daemon, Batch *batch, Error *err)
{
    int r = 0;
    /* First the questions, so that what an earlier one examined is not taken for this one's. */
    Batch *names = batch_new();
    for (size_t i = 0; i < daemon->config.n_watches; i++)
        batch_watch(names, daemon->config.watches[i].name, daemon->config.watches[i].question);
    watches_retire(daemon, names);
    if (committer_add(daemon->committer, names, daemon->now_us) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    for (size_t i = 0; r >= 0 && i < daemon->config.n_watches; i++)
        r = register_watch(daemon, &daemon->config.watches[i], batch, err);
    return r;
}

/* --- requests --- */

static void fill_watch(const WatchConfig *watch, When__Watch *message)
{
    when__watch__init(message);
    message->name = (char *)watch->name;
    message->question = watch->question;
    message->cameras = watch->cameras;
    message->n_cameras = watch->n_cameras;
    message->join_gap_us = watch->join_gap_us;
    message->min_duration_us = watch->min_duration_us;
    message->cool_down_us = watch->cool_down_us;
    message->min_confidence = watch->min_confidence;
    message->days = watch->days;
    message->hours = watch->hours;
    message->time_zone = watch->time_zone;
    message->since = watch->since;
    message->configured = !watch->added;
}

void watches_list(Daemon *daemon, const ServiceClient *client)
{
    size_t n = daemon->config.n_watches;
    _cleanup_free_ When__Watch *messages = mem_new_array(n, sizeof *messages);
    _cleanup_free_ When__Watch **list = mem_new_array(n, sizeof *list);
    if (!messages || !list) {
        service_refuse(daemon->service, client, EX_OSERR, "no memory");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        fill_watch(&daemon->config.watches[i], &messages[i]);
        list[i] = &messages[i];
    }
    When__WatchesResponse body = WHEN__WATCHES_RESPONSE__INIT;
    body.n_watches = n;
    body.watches = list;
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_WATCHES;
    response.watches = &body;
    service_respond(daemon->service, client, true, &response);
}

static void refuse(Daemon *daemon, const ServiceClient *client, const Error *err)
{
    service_refuse(daemon->service, client, err->exit_code ? err->exit_code : EX_OSERR,
                   err->text[0] ? err->text : "no memory");
}

static void done(Daemon *daemon, const ServiceClient *client, const char *text)
{
    When__DoneResponse body = WHEN__DONE_RESPONSE__INIT;
    body.text = (char *)text;
    When__Response response = WHEN__RESPONSE__INIT;
    response.body_case = WHEN__RESPONSE__BODY_DONE;
    response.done = &body;
    service_respond(daemon->service, client, true, &response);
}

static int set_text(char **to, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    free(*to);
    *to = copy;
    return 0;
}

static int set_cameras(WatchConfig *watch, char *const *cameras, size_t n)
{
    char **list = mem_new_array(n, sizeof *list);
    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < watch->n_cameras; i++)
        free(watch->cameras[i]);
    free(watch->cameras);
    watch->cameras = list;
    watch->n_cameras = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(list[i] = strdup(cameras[i])))
            return -ENOMEM;
        watch->n_cameras++;
    }
    return 0;
}

/* The field of the message that is named so goes into the watch. */
static int set_field(WatchConfig *watch, const When__Watch *from, const char *field, Error *err)
{
    struct {
        const char *name;
        char **text;
        const char *from;
    } texts[] = {{"question", &watch->question, from->question},
                 {"days", &watch->days, from->days},
                 {"hours", &watch->hours, from->hours},
                 {"time_zone", &watch->time_zone, from->time_zone},
                 {"since", &watch->since, from->since}};
    struct {
        const char *name;
        int64_t *us, from;
    } durations[] = {{"join_gap_us", &watch->join_gap_us, from->join_gap_us},
                     {"min_duration_us", &watch->min_duration_us, from->min_duration_us},
                     {"cool_down_us", &watch->cool_down_us, from->cool_down_us}};
    int r = -EINVAL;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(field, texts[i].name) == 0)
            r = set_text(texts[i].text, texts[i].from);
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++)
        if (strcmp(field, durations[i].name) == 0) {
            *durations[i].us = durations[i].from;
            r = 0;
        }
    if (strcmp(field, "min_confidence") == 0) {
        watch->min_confidence = from->min_confidence;
        r = 0;
    }
    if (strcmp(field, "cameras") == 0)
        r = set_cameras(watch, from->cameras, from->n_cameras);
    if (r == -EINVAL)
        return error_set(err, EINVAL, EX_DATAERR, "%.64s: a watch has no such field", field);
    return r < 0 ? error_set(err, ENOMEM, EX_OSERR, "no memory") : 0;
}

static int check_watch(const Daemon *daemon, const WatchConfig *watch, Error *err)
{
    const char *key;
    Error why = {0};
    if (watch_config_check(watch, &key, &why) < 0)
        return error_set(err, EINVAL, why.exit_code, "watch %.64s: %s: %s", watch->name, key,
                         why.text);
    for (size_t i = 0; i < watch->n_cameras; i++)
        if (!daemon_camera(daemon, watch->cameras[i]))
            return error_set(err, ENOENT, EX_NOINPUT, "watch %s: %.64s: no such camera",
                             watch->name, watch->cameras[i]);
    return 0;
}

/* The watch as it is to be: what is there now, or the defaults, with the fields of the request. */
static int make_watch(const Daemon *daemon, const When__WatchPutRequest *request,
                      WatchConfig *watch, Error *err)
{
    const When__Watch *from = request->watch;
    const WatchConfig *now = find(&daemon->config, from->name);
    if (strlen(from->name) >= sizeof watch->name)
        return error_set(err, EINVAL, EX_DATAERR, "a watch's name has at most %zu bytes",
                         sizeof watch->name - 1);
    if (now && !now->added)
        return error_set(err, EEXIST, EX_CONFIG,
                         "watch %s stands in whend.yaml: change it there and reload whend",
                         from->name);
    if (now && !request->replace)
        return error_set(err, EEXIST, EX_DATAERR, "watch %s is there already (whenctl watch edit)",
                         from->name);
    if (!now && request->replace)
        return error_set(err, ENOENT, EX_NOINPUT, "%s: no such watch (whenctl watch add)",
                         from->name);
    if (!now && daemon->config.n_watches == CONFIG_MAX_WATCHES)
        return error_set(err, E2BIG, EX_DATAERR, "there are %d watches: no more are possible",
                         CONFIG_MAX_WATCHES);
    int r = 0;
    if (now) {
        r = watch_config_copy(watch, now);
    } else {
        memcpy(watch->name, from->name, strlen(from->name) + 1);
        watch->added = true;
        r = watch_config_init(watch);
        if (r == 0)
            r = set_text(&watch->question, "");
    }
    if (r < 0)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    for (size_t i = 0; r == 0 && i < request->n_fields; i++)
        r = set_field(watch, from, request->fields[i], err);
    return r < 0 ? r : check_watch(daemon, watch, err);
}

static int store_watch(Index *index, const void *data, Error *err)
{
    return index_put_added_watch(index, data, err);
}

static int drop_watch(Index *index, const void *data, Error *err)
{
    return index_remove_added_watch(index, data, err);
}

static void free_watch(void *watch)
{
    if (watch)
        watch_config_deinit(watch);
    free(watch);
}

static WatchConfig *clone(const WatchConfig *watch)
{
    WatchConfig *copy = calloc(1, sizeof *copy);
    if (copy && watch_config_copy(copy, watch) < 0) {
        free(copy);
        return NULL;
    }
    return copy;
}

/* All watches but `name`, and `put` unless that is NULL. -ENOMEM. */
static int change_watches(const Config *config, const char *name, const WatchConfig *put,
                          WatchConfig **watches, size_t *n)
{
    WatchConfig *list = mem_new_array(config->n_watches + 1, sizeof *list);
    int r = list ? 0 : -ENOMEM;
    bool placed = put == NULL;
    *n = 0;
    for (size_t i = 0; r == 0 && i <= config->n_watches; i++) {
        const WatchConfig *from = i < config->n_watches ? &config->watches[i] : NULL;
        if (!from || strcmp(from->name, name) == 0) {
            if (placed)
                continue;
            from = put;
            placed = true;
        }
        r = watch_config_copy(&list[*n], from);
        *n += r == 0;
    }
    if (r < 0) {
        for (size_t i = 0; i < *n; i++)
            watch_config_deinit(&list[i]);
        free(list);
        return r;
    }
    *watches = list;
    return 0;
}

/* Stores the change and lets it count. `put` NULL: the watch goes. */
static int apply(Daemon *daemon, const char *name, const WatchConfig *put, Error *err)
{
    WatchConfig *watches;
    size_t n;
    if (committer_blocked(daemon->committer))
        return error_set(err, EAGAIN, EX_TEMPFAIL, "nothing can be stored now: %.300s",
                         committer_reason(daemon->committer));
    if (change_watches(&daemon->config, name, put, &watches, &n) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    Batch *batch = batch_new();
    if (put)
        batch_call(batch, store_watch, clone(put), free_watch);
    else
        batch_call(batch, drop_watch, strdup(name), free);
    if (committer_add(daemon->committer, batch, daemon->now_us) < 0)
        daemon_out_of_memory(daemon);
    reload_watches(daemon, watches, n);
    return 0;
}

void watches_put(Daemon *daemon, const ServiceClient *client, const When__WatchPutRequest *request)
{
    WatchConfig watch = {0};
    Error err = {0};
    int r = request->watch ? make_watch(daemon, request, &watch, &err)
                           : error_set(&err, EINVAL, EX_DATAERR, "which watch?");
    if (r == 0)
        r = apply(daemon, watch.name, &watch, &err);
    if (r < 0) {
        refuse(daemon, client, &err);
    } else {
        log_info("watches", "watch=%s %s", watch.name, request->replace ? "changed" : "added");
        char text[EVENT_NAME_BYTES + 64];
        snprintf(text, sizeof text, "watch %s %s", watch.name,
                 request->replace ? "changed" : "added");
        done(daemon, client, text);
    }
    watch_config_deinit(&watch);
}

void watches_remove(Daemon *daemon, const ServiceClient *client, const char *name)
{
    const WatchConfig *watch = find(&daemon->config, name);
    Error err = {0};
    int r = 0;
    if (!watch)
        r = error_set(&err, ENOENT, EX_NOINPUT, "%.64s: no such watch", name);
    else if (!watch->added)
        r = error_set(&err, EEXIST, EX_CONFIG,
                      "watch %s stands in whend.yaml: remove it there and reload whend", name);
    if (r == 0)
        r = apply(daemon, name, NULL, &err);
    if (r < 0) {
        refuse(daemon, client, &err);
        return;
    }
    log_info("watches", "watch=%.64s removed", name);
    char text[EVENT_NAME_BYTES + 64];
    snprintf(text, sizeof text, "watch %.64s removed; what it found stays", name);
    done(daemon, client, text);
}

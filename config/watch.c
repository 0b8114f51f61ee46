/* A watch's settings. See watch.h. */
#include "config/watch.h"

#include "base/clock.h"
#include "base/mem.h"
#include "config/schedule.h"
#include "config/value.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CAMERAS = CONFIG_MAX_CAMERAS };

int watch_config_init(WatchConfig *watch)
{
    watch->join_gap_us = US_PER_S;
    char **texts[] = {&watch->days, &watch->hours, &watch->time_zone, &watch->since};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!(*texts[i] = strdup("")))
            return -ENOMEM;
    return 0;
}

void watch_config_deinit(WatchConfig *watch)
{
    for (size_t i = 0; i < watch->n_cameras; i++)
        free(watch->cameras[i]);
    free(watch->cameras);
    free(watch->question);
    free(watch->days);
    free(watch->hours);
    free(watch->time_zone);
    free(watch->since);
    *watch = (WatchConfig){0};
}

int watch_config_copy(WatchConfig *to, const WatchConfig *from)
{
    *to = *from;
    to->n_cameras = 0;
    to->question = strdup(from->question);
    to->days = strdup(from->days);
    to->hours = strdup(from->hours);
    to->time_zone = strdup(from->time_zone);
    to->since = strdup(from->since);
    to->cameras = mem_new_array(from->n_cameras, sizeof *to->cameras);
    bool good = to->question && to->days && to->hours && to->time_zone && to->since && to->cameras;
    for (size_t i = 0; good && i < from->n_cameras; i++) {
        good = (to->cameras[i] = strdup(from->cameras[i])) != NULL;
        to->n_cameras += good;
    }
    if (!good)
        watch_config_deinit(to);
    return good ? 0 : -ENOMEM;
}

int watch_config_check(const WatchConfig *watch, const char **key, Error *err)
{
    const char *reason;
    *key = "name";
    if (value_name(watch->name, CONFIG_NAME_BYTES, &reason) < 0)
        return error_set(err, EINVAL, EX_DATAERR, "%s", reason);
    if (strncmp(watch->name, WATCH_QUESTION_PREFIX, strlen(WATCH_QUESTION_PREFIX)) == 0)
        return error_set(err, EINVAL, EX_DATAERR,
                         "names that begin with " WATCH_QUESTION_PREFIX
                         " are those of one-off questions (choose another one)");
    *key = "question";
    size_t bytes = strlen(watch->question);
    if (bytes == 0 || bytes > WATCH_MAX_QUESTION_BYTES)
        return error_set(err, EINVAL, EX_DATAERR, "%zu bytes (1 to %d)", bytes,
                         WATCH_MAX_QUESTION_BYTES);
    if (!value_is_text(watch->question))
        return error_set(err, EINVAL, EX_DATAERR, "not UTF-8 text, or control characters in it");
    *key = "cameras";
    if (watch->n_cameras > MAX_CAMERAS)
        return error_set(err, EINVAL, EX_DATAERR, "%zu cameras (at most %d)", watch->n_cameras,
                         MAX_CAMERAS);
    static const struct {
        const char *key;
        size_t offset;
    } DURATIONS[] = {{"join_gap", offsetof(WatchConfig, join_gap_us)},
                     {"min_duration", offsetof(WatchConfig, min_duration_us)},
                     {"cool_down", offsetof(WatchConfig, cool_down_us)}};
    for (size_t i = 0; i < sizeof DURATIONS / sizeof DURATIONS[0]; i++) {
        *key = DURATIONS[i].key;
        int64_t us = *(const int64_t *)((const char *)watch + DURATIONS[i].offset);
        if (us < 0 || us > 86400 * US_PER_S)
            return error_set(err, EINVAL, EX_DATAERR, "not between 0 and 24h");
    }
    *key = "confidence";
    if (!(watch->min_confidence >= 0 && watch->min_confidence <= 1))
        return error_set(err, EINVAL, EX_DATAERR, "%g is not between 0 and 1",
                         watch->min_confidence);
    *key = "schedule";
    Schedule *schedule = NULL;
    int r = schedule_new(watch->days, watch->hours, watch->time_zone, &schedule, err);
    schedule_free(schedule);
    if (r < 0)
        return r;
    *key = "since";
    int64_t since_us;
    if (watch_since(watch->since, 0, &since_us) < 0)
        return error_set(err, EINVAL, EX_DATAERR,
                         "%.64s: neither how long back (7d), nor a time (2026-11-01), nor all",
                         watch->since);
    return 0;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool watch_config_equal(const WatchConfig *a, const WatchConfig *b)
{
    if (!same_text(a->name, b->name) || !same_text(a->question, b->question) ||
        a->n_cameras != b->n_cameras || a->join_gap_us != b->join_gap_us ||
        a->min_duration_us != b->min_duration_us || a->cool_down_us != b->cool_down_us ||
        a->min_confidence != b->min_confidence || !same_text(a->days, b->days) ||
        !same_text(a->hours, b->hours) || !same_text(a->time_zone, b->time_zone) ||
        !same_text(a->since, b->since) || a->added != b->added)
        return false;
    for (size_t i = 0; i < a->n_cameras; i++)
        if (!same_text(a->cameras[i], b->cameras[i]))
            return false;
    return true;
}

bool watch_config_covers(const WatchConfig *watch, const char *camera)
{
    for (size_t i = 0; i < watch->n_cameras; i++)
        if (strcmp(watch->cameras[i], camera) == 0)
            return true;
    return watch->n_cameras == 0;
}

int watch_since(const char *since, int64_t now_us, int64_t *since_us)
{
    const char *reason;
    int64_t back_us;
    if (!since[0]) {
        *since_us = INT64_MAX;
        return 0;
    }
    if (strcmp(since, "all") == 0) {
        *since_us = 0;
        return 0;
    }
    if (clock_parse_utc(since, since_us) == 0)
        return 0;
    if (value_duration(since, &back_us, &reason) < 0)
        return -EINVAL;
    *since_us = now_us - back_us;
    return 0;
}

/* whenctl watch, reload: standing questions at run time; whend.yaml read again. */
#include "client/ctl.h"

#include "base/str.h"
#include "client/ctl_print.h"
#include "config/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FIELDS = 16 };

const char *ctl_zone(const Ctl *ctl)
{
    static char path[256];
    static const char DATABASE[] = "zoneinfo/";
    const char *tz = getenv("TZ");
    if (ctl->zone)
        return ctl->zone;
    if (tz && tz[0])
        return tz[0] == ':' ? tz + 1 : tz;
    ssize_t n = readlink("/etc/localtime", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    const char *name = strstr(path, DATABASE);
    return name ? name + strlen(DATABASE) : "";
}

int ctl_watch_check(const Ctl *ctl, Error *err)
{
    const char *verb = ctl->n_words > 0 ? ctl->words[0] : "";
    size_t n = ctl->n_words;
    bool settings = ctl->n_cameras || ctl->days || ctl->hours || ctl->zone || ctl->since ||
                    ctl->join_gap_us >= 0 || ctl->min_duration_us >= 0 || ctl->cool_down_us >= 0 ||
                    ctl->confidence >= 0;
    const char *usage = NULL;
    if (strcmp(verb, "list") == 0)
        usage = n == 1 && !settings ? NULL : "watch list";
    else if (strcmp(verb, "remove") == 0)
        usage = n == 2 && !settings ? NULL : "watch remove NAME";
    else if (strcmp(verb, "add") == 0)
        usage = n == 3 ? NULL : "watch add NAME \"QUESTION\"";
    else if (strcmp(verb, "edit") == 0)
        usage = n == 3 || (n == 2 && settings) ? NULL : "watch edit NAME [\"QUESTION\"] [--...]";
    else
        usage = "watch list, add, edit or remove";
    if (usage)
        return error_set(err, EINVAL, EX_USAGE, "%s (whenctl --help)", usage);
    const char *reason;
    if (n > 1 && value_name(ctl->words[1], 64, &reason) < 0)
        return error_set(err, EINVAL, EX_USAGE, "watch %.64s: %s", ctl->words[1], reason);
    return 0;
}

static int print_out(Str *out)
{
    if (str_failed(out))
        return -ENOMEM;
    fwrite(str_text(out), 1, out->len, stdout);
    return 0;
}

/* --- list --- */

static void watch_json(const When__Watch *w, Str *out)
{
    struct {
        const char *key, *text;
    } texts[] = {{"name", w->name},   {"question", w->question},   {"days", w->days},
                 {"hours", w->hours}, {"time_zone", w->time_zone}, {"since", w->since}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        str_addf(out, "%s\"%s\":", i ? "," : "{", texts[i].key);
        str_add_json(out, texts[i].text);
    }
    str_add_text(out, ",\"cameras\":");
    json_strings(out, w->cameras, w->n_cameras);
    str_addf(out,
             ",\"join_gap_us\":%" PRId64 ",\"min_duration_us\":%" PRId64
             ",\"cool_down_us\":%" PRId64 ",\"configured\":%s,\"min_confidence\":",
             w->join_gap_us, w->min_duration_us, w->cool_down_us, w->configured ? "true" : "false");
    json_number(out, w->min_confidence);
    str_add_text(out, "}");
}

static void add_setting(Str *out, const char *name, const char *text)
{
    if (!text[0])
        return;
    str_addf(out, "; %s ", name);
    print_text(out, text);
}

static void add_span_setting(Str *out, const char *name, int64_t us)
{
    if (us == 0)
        return;
    str_addf(out, "; %s ", name);
    print_span(out, us);
}

static void watch_text(const When__Watch *w, Str *out)
{
    _cleanup_str_ Str name = {0};
    print_text(&name, w->name);
    str_addf(out, "%-16s ", str_text(&name));
    print_text(out, w->question);
    str_addf(out, "\n                 %s", w->configured ? "whend.yaml" : "added");
    for (size_t i = 0; i < w->n_cameras; i++)
        add_setting(out, "camera", w->cameras[i]);
    add_span_setting(out, "join gap", w->join_gap_us);
    add_span_setting(out, "at least", w->min_duration_us);
    add_span_setting(out, "cool-down", w->cool_down_us);
    if (w->min_confidence > 0)
        str_addf(out, "; confidence %.2g", w->min_confidence);
    add_setting(out, "on", w->days);
    add_setting(out, "at", w->hours);
    add_setting(out, "zone", w->time_zone);
    add_setting(out, "since", w->since);
    str_add_text(out, "\n");
}

static int take_watches(const When__Response *response, void *context)
{
    const Ctl *ctl = context;
    if (response->body_case != WHEN__RESPONSE__BODY_WATCHES)
        return -EBADMSG;
    const When__WatchesResponse *watches = response->watches;
    _cleanup_str_ Str out = {0};
    str_add_text(&out, ctl->json ? "{\"watches\":[" : "");
    for (size_t i = 0; i < watches->n_watches; i++) {
        if (ctl->json) {
            str_add_text(&out, i ? "," : "");
            watch_json(watches->watches[i], &out);
        } else {
            watch_text(watches->watches[i], &out);
        }
    }
    str_add_text(&out, ctl->json ? "]}\n" : watches->n_watches ? "" : "No watches.\n");
    return print_out(&out);
}

/* --- changes --- */

static int take_done(const When__Response *response, void *context)
{
    const Ctl *ctl = context;
    if (response->body_case != WHEN__RESPONSE__BODY_DONE)
        return -EBADMSG;
    _cleanup_str_ Str out = {0};
    if (ctl->json) {
        str_add_text(&out, "{\"done\":");
        str_add_json(&out, response->done->text);
        str_add_text(&out, "}");
    } else {
        print_text(&out, response->done->text);
    }
    str_add_text(&out, "\n");
    return print_out(&out);
}

/* What the command line says of the watch, and which fields that is. */
static size_t fill_watch(const Ctl *ctl, When__Watch *watch, const char *fields[MAX_FIELDS])
{
    size_t n = 0;
    watch->name = ctl->words[1];
    if (ctl->n_words > 2) {
        watch->question = ctl->words[2];
        fields[n++] = "question";
    }
    if (ctl->n_cameras) {
        watch->cameras = (char **)ctl->cameras;
        watch->n_cameras = ctl->n_cameras;
        fields[n++] = "cameras";
    }
    struct {
        const char *field, *value;
        char **to;
    } texts[] = {
        {"days", ctl->days, &watch->days},
        {"hours", ctl->hours, &watch->hours},
        {"since", ctl->since, &watch->since},
        {"time_zone", ctl->days || ctl->hours ? ctl_zone(ctl) : ctl->zone, &watch->time_zone}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].value) {
            *texts[i].to = (char *)texts[i].value;
            fields[n++] = texts[i].field;
        }
    struct {
        const char *field;
        int64_t value, *to;
    } spans[] = {{"join_gap_us", ctl->join_gap_us, &watch->join_gap_us},
                 {"min_duration_us", ctl->min_duration_us, &watch->min_duration_us},
                 {"cool_down_us", ctl->cool_down_us, &watch->cool_down_us}};
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        if (spans[i].value >= 0) {
            *spans[i].to = spans[i].value;
            fields[n++] = spans[i].field;
        }
    if (ctl->confidence >= 0) {
        watch->min_confidence = ctl->confidence;
        fields[n++] = "min_confidence";
    }
    return n;
}

int ctl_watch(Ctl *ctl, Error *err)
{
    const char *verb = ctl->words[0];
    When__WatchesRequest list = WHEN__WATCHES_REQUEST__INIT;
    When__WatchRemoveRequest gone = WHEN__WATCH_REMOVE_REQUEST__INIT;
    When__WatchPutRequest put = WHEN__WATCH_PUT_REQUEST__INIT;
    When__Watch watch = WHEN__WATCH__INIT;
    When__Request request = WHEN__REQUEST__INIT;
    const char *fields[MAX_FIELDS];
    WhenSink sink = take_done;
    if (strcmp(verb, "list") == 0) {
        request.body_case = WHEN__REQUEST__BODY_WATCHES;
        request.watches = &list;
        sink = take_watches;
    } else if (strcmp(verb, "remove") == 0) {
        gone.name = ctl->words[1];
        request.body_case = WHEN__REQUEST__BODY_WATCH_REMOVE;
        request.watch_remove = &gone;
    } else {
        put.watch = &watch;
        put.replace = strcmp(verb, "edit") == 0;
        put.n_fields = fill_watch(ctl, &watch, fields);
        put.fields = (char **)fields;
        request.body_case = WHEN__REQUEST__BODY_WATCH_PUT;
        request.watch_put = &put;
    }
    return when_request(ctl->when, &request, 0, sink, ctl, err);
}

int ctl_reload(Ctl *ctl, Error *err)
{
    When__ReloadRequest reload = WHEN__RELOAD_REQUEST__INIT;
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_RELOAD;
    request.reload = &reload;
    return when_request(ctl->when, &request, 0, take_done, ctl, err);
}

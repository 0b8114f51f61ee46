/*
 * whenctl: are the cameras and watches on the command line known? A slip must not look like "it did
 * not happen". Known is what whend is configured for, and what its ledger still speaks of.
 */
#include "client/ctl.h"

#include "base/str.h"
#include "client/ctl_print.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct Known {
    const char *name;
    bool found;
    Str list;         /* all names, for the message */
    char nearest[64]; /* the likely one */
    size_t distance;
} Known;

static void consider(Known *known, const char *name)
{
    known->found = known->found || strcmp(name, known->name) == 0;
    str_add_text(&known->list, known->list.len ? ", " : "");
    print_text(&known->list, name);
    size_t distance = strlen(name) < sizeof(known->nearest) ? str_distance(name, known->name) : 99;
    if (distance < known->distance) {
        known->distance = distance;
        memcpy(known->nearest, name, strlen(name) + 1);
    }
}

static int take_names(const When__Response *response, void *context)
{
    Known *known = context;
    if (response->body_case == WHEN__RESPONSE__BODY_CAMERAS) {
        for (size_t i = 0; i < response->cameras->n_cameras; i++)
            consider(known, response->cameras->cameras[i]->name);
    } else if (response->body_case == WHEN__RESPONSE__BODY_STATUS) {
        for (size_t i = 0; i < response->status->n_watches; i++)
            consider(known, response->status->watches[i]);
    } else if (response->body_case == WHEN__RESPONSE__BODY_COVERAGE) {
        for (size_t i = 0; i < response->coverage->n_cameras; i++)
            known->found = known->found || response->coverage->cameras[i]->n_spans > 0;
    } else {
        return -EBADMSG;
    }
    return 0;
}

static int check(Ctl *ctl, bool is_camera, char *name, Error *err)
{
    Known known = {.name = name, .distance = 99};
    When__CamerasRequest cameras = WHEN__CAMERAS_REQUEST__INIT;
    When__StatusRequest status = WHEN__STATUS_REQUEST__INIT;
    When__CoverageRequest coverage = WHEN__COVERAGE_REQUEST__INIT;
    When__Request request = WHEN__REQUEST__INIT;
    if (is_camera) {
        request.body_case = WHEN__REQUEST__BODY_CAMERAS;
        request.cameras = &cameras;
    } else {
        request.body_case = WHEN__REQUEST__BODY_STATUS;
        request.status = &status;
    }
    int rc = when_request(ctl->when, &request, 0, take_names, &known, err);
    if (rc == 0 && !known.found) { /* no more configured, but it was once */
        if (is_camera) {
            coverage.cameras = &name;
            coverage.n_cameras = 1;
        } else {
            coverage.watches = &name;
            coverage.n_watches = 1;
        }
        request.body_case = WHEN__REQUEST__BODY_COVERAGE;
        request.coverage = &coverage;
        rc = when_request(ctl->when, &request, 0, take_names, &known, err);
    }
    if (rc == 0 && !known.found) {
        const char *what = is_camera ? "camera" : "watch";
        if (known.distance <= 1 + strlen(name) / 3)
            rc = error_set(err, ENOENT, EX_NOINPUT, "%s: no such %s (did you mean %s?)", name, what,
                           known.nearest);
        else
            rc = error_set(err, ENOENT, EX_NOINPUT, "%s: no such %s (there are: %.300s)", name,
                           what, known.list.len ? str_text(&known.list) : "none");
    }
    str_deinit(&known.list);
    return rc;
}

int ctl_check_names(Ctl *ctl, Error *err)
{
    int rc = 0;
    for (size_t i = 0; i < ctl->n_cameras && rc == 0; i++)
        rc = check(ctl, true, ctl->cameras[i], err);
    for (size_t i = 0; i < ctl->n_watches && rc == 0; i++)
        rc = check(ctl, false, ctl->watches[i], err);
    return rc;
}

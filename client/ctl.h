/*
 * whenctl: what its verbs share. ctl_print.h has how things look.
 */
#ifndef WHEN_CLIENT_CTL_H
#define WHEN_CLIENT_CTL_H

#include "base/err.h"
#include "client/when.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CTL_MAX_NAMES = 64, /* what the service reads */ CTL_MAX_LIMIT = 10000 };

typedef struct Ctl {
    When *when;
    /* The command line; names and texts are borrowed from it. */
    const char *question;
    int64_t since_us, until_us;   /* 0: no bound */
    char *cameras[CTL_MAX_NAMES]; /* [n_cameras] */
    size_t n_cameras;
    char *watches[CTL_MAX_NAMES];
    size_t n_watches;
    uint32_t limit;
    bool json;
    bool progress;
    bool from_now;
    uint64_t after;
    char **words; /* [n_words]: what stands behind the verb */
    size_t n_words;
    const char *output;       /* file; NULL: named by the event; "-": standard output */
    bool deep, automatic;     /* ask */
    const char *during;       /* in words; NULL: since_us and until_us count */
    const char *zone;         /* of `during` and of a watch's hours; NULL: this machine's */
    int64_t timeout_us;       /* ask --deep; 0: an hour */
    const char *svg;          /* coverage: the file for its picture; NULL: as text */
    const char *since;        /* as it was written */
    const char *days, *hours; /* watch; NULL: as it is */
    int64_t join_gap_us, min_duration_us, cool_down_us; /* watch; -1: as it is */
    double confidence;                                  /* watch; below 0: as it is */
    int64_t margin_us;                 /* more of a clip before and after its event */
    const char *key_file, *server_key; /* for a whend elsewhere; NULL: none */
} Ctl;

/* EX_NOINPUT for a camera or watch that whend knows nothing of, with the likely one. */
int ctl_check_names(Ctl *ctl, Error *err);

/* Each does one verb and returns the program's exit code, or -errno with err filled. */
int ctl_ask(Ctl *ctl, Error *err);    /* 0: found, 1: not found */
int ctl_events(Ctl *ctl, Error *err); /* as ctl_ask */
int ctl_follow(Ctl *ctl, Error *err);
int ctl_status(Ctl *ctl, Error *err);
int ctl_cameras(Ctl *ctl, Error *err);
int ctl_coverage(Ctl *ctl, Error *err);
int ctl_backup(Ctl *ctl, Error *err);
int ctl_clip(Ctl *ctl, Error *err);
int ctl_thumbnail(Ctl *ctl, Error *err);
int ctl_key(Ctl *ctl, Error *err);
int ctl_watch(Ctl *ctl, Error *err);
int ctl_reload(Ctl *ctl, Error *err);

/* The words of `watch`, as ctl_key_check. */
int ctl_watch_check(const Ctl *ctl, Error *err);
/* The zone for what is said in words: --zone, else this machine's. Borrowed. */
const char *ctl_zone(const Ctl *ctl);

/* The words of `key`: EX_USAGE when they are none of its forms. Does it need no whend? */
int ctl_key_check(const Ctl *ctl, Error *err);
bool ctl_key_is_local(const Ctl *ctl);

#endif

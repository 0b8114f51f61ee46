/* An index in a temporary folder, for the tests of daemon/index. */
#ifndef WHEN_TESTS_INDEX_FIXTURE_H
#define WHEN_TESTS_INDEX_FIXTURE_H

#include "daemon/index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct Fixture {
    char dir[64], path[96];
    Index *index;
} Fixture;

static inline int fixture_setup(void **state)
{
    Fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/when-index-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/index.db", f->dir);
    Error err = {0};
    int r = index_open(f->path, &f->index, &err);
    if (r < 0)
        print_error("%s\n", err.text);
    *state = f;
    return r;
}

static inline int fixture_teardown(void **state)
{
    Fixture *f = *state;
    index_free(f->index);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    int r = system(command);
    free(f);
    return r;
}

static inline void reopen(Fixture *f)
{
    index_free(f->index);
    Error err = {0};
    if (index_open(f->path, &f->index, &err) < 0)
        fail_msg("%s", err.text);
}

static inline void begin(Fixture *f)
{
    Error err = {0};
    if (index_begin(f->index, &err) < 0)
        fail_msg("%s", err.text);
}

static inline void commit(Fixture *f)
{
    Error err = {0};
    if (index_commit(f->index, &err) < 0)
        fail_msg("%s", err.text);
}

static inline Event make_event(const char *id, uint32_t revision, EventState state, int64_t start,
                               int64_t end)
{
    Event event = {.revision = revision,
                   .state = state,
                   .camera = "gate",
                   .watch = "car",
                   .description = "a red car drives past",
                   .start_us = start,
                   .end_us = end,
                   .confidence = 0.5};
    snprintf(event.id, sizeof event.id, "%s", id);
    return event;
}

static inline void put(Fixture *f, Event *event)
{
    Error err = {0};
    if (index_put_event(f->index, event, &err) < 0)
        fail_msg("%s", err.text);
}

typedef struct EventList {
    Event events[64];
    size_t n;
} EventList;

static inline int keep_event(const Event *event, void *context)
{
    EventList *list = context;
    assert_true(list->n < sizeof list->events / sizeof list->events[0]);
    list->events[list->n++] = *event;
    return 0;
}

#endif

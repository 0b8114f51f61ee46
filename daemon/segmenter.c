/*
 * Segmenter: what is live, how it changes with each window, and what is handed out of it. Where
 * two windows disagree, segmenter_join.c decides.
 *
 * Every call works on a copy of the live events, hands out what changed, and only then takes the
 * copy over: a sink that fails leaves all as it was.
 */
#include "daemon/segmenter.h"

#include "base/mem.h"
#include "daemon/segmenter_join.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An event that some window to come may change. */
typedef struct Live {
    Seen seen;
    Event said; /* as it was handed out last; revision 0: never */
} Live;

/* Everything that segmenter_add changes. */
typedef struct Now {
    Live *live; /* [n], in order of start */
    size_t n, capacity;
    uint64_t next_id;
    int64_t settled_us; /* nothing looks at anything before this again */
    int64_t quiet_us;   /* cool-down of the last final event: none begins before this ... */
    int64_t rest_us;    /* ... but what is the rest of one of an earlier run does, up to here */
    bool has_window;
    int64_t window_start_us, window_end_us; /* of the window that reaches farthest */
} Now;

struct Segmenter {
    char camera[EVENT_NAME_BYTES], watch[EVENT_NAME_BYTES];
    char id_prefix[EVENT_ID_BYTES - 21]; /* room for '-' and a number */
    int64_t join_gap_us, min_duration_us, cool_down_us;
    double min_confidence;
    Now now;
};

/* Nothing before is known, and nothing is settled. */
static void begin_anew(Now *now)
{
    now->settled_us = now->quiet_us = now->rest_us = -SEEN_LIMIT_US;
    now->has_window = false;
}

Segmenter *segmenter_new(const SegmenterOptions *options)
{
    Segmenter *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    assert(strlen(options->id_prefix) < sizeof s->id_prefix);
    snprintf(s->camera, sizeof s->camera, "%s", options->camera);
    snprintf(s->watch, sizeof s->watch, "%s", options->watch);
    snprintf(s->id_prefix, sizeof s->id_prefix, "%s", options->id_prefix);
    s->join_gap_us = options->join_gap_us > 0 ? seen_clamp(options->join_gap_us) : 0;
    s->min_duration_us = options->min_duration_us;
    s->cool_down_us = options->cool_down_us > 0 ? seen_clamp(options->cool_down_us) : 0;
    s->min_confidence = options->min_confidence;
    s->now.next_id = options->next_id;
    begin_anew(&s->now);
    return s;
}

void segmenter_free(Segmenter *s)
{
    if (s)
        free(s->now.live);
    free(s);
}

uint64_t segmenter_next_id(const Segmenter *s)
{
    return s->now.next_id;
}

static Live *add_live(Now *now)
{
    if (mem_grow((void **)&now->live, &now->capacity, now->n + 1, sizeof *now->live) < 0)
        return NULL;
    Live *live = &now->live[now->n++];
    *live = (Live){0};
    return live;
}

static int by_start(const void *a, const void *b)
{
    const Seen *x = &((const Live *)a)->seen, *y = &((const Live *)b)->seen;
    if (x->start.us != y->start.us)
        return x->start.us < y->start.us ? -1 : 1;
    return (x->end.us > y->end.us) - (x->end.us < y->end.us);
}

static Edge plain_edge(int64_t us, int64_t err_us)
{
    int64_t at = seen_clamp(us);
    return (Edge){.us = at, .err_us = err_us > 0 ? seen_clamp(err_us) : 0, .reach_us = at};
}

static void restore_final(Segmenter *s, const Event *event)
{
    int64_t end = seen_clamp(event->end_us), err = seen_clamp(event->end_err_us);
    int64_t quiet = end + s->cool_down_us, rest = end + (err > 0 ? err : 0) + s->join_gap_us;
    if (s->cool_down_us > 0 && quiet > s->now.quiet_us) {
        s->now.quiet_us = quiet;
        s->now.rest_us = rest;
    }
}

int segmenter_restore(Segmenter *s, const Event *event)
{
    if (event->state == EVENT_RETRACTED || event->revision == 0 || event->start_us > event->end_us)
        return -EINVAL;
    if (event->state == EVENT_FINAL) {
        restore_final(s, event);
        return 0;
    }
    Live *live = add_live(&s->now);
    if (!live)
        return -ENOMEM;
    /* How well it was seen is not known any more: any window that sees it now knows better. */
    live->seen.start = plain_edge(event->start_us, event->start_err_us);
    live->seen.end = plain_edge(event->end_us, event->end_err_us);
    live->seen.confidence = event->confidence;
    memcpy(live->seen.description, event->description, sizeof live->seen.description);
    live->said = *event;
    Now *now = &s->now;
    if (!now->has_window || live->seen.end.us > now->window_end_us) {
        /* So far at least somebody looked. */
        now->has_window = true;
        now->window_start_us = live->seen.start.us;
        now->window_end_us = live->seen.end.us;
    }
    qsort(now->live, now->n, sizeof *now->live, by_start);
    return 0;
}

/* --- handing out --- */

static Event event_of(const Segmenter *s, const Live *live, EventState state)
{
    Event event = live->said;
    const Seen *seen = &live->seen;
    event.state = state;
    memcpy(event.camera, s->camera, sizeof event.camera);
    memcpy(event.watch, s->watch, sizeof event.watch);
    memcpy(event.description, seen->description, sizeof event.description);
    event.start_us = seen->start.us;
    event.end_us = seen->end.us;
    event.start_err_us = seen->start.err_us;
    event.end_err_us = seen->end.err_us;
    event.confidence = seen->confidence;
    event.sequence = 0;
    event.committed_us = 0;
    return event;
}

static bool same(const Event *a, const Event *b)
{
    return a->state == b->state && a->start_us == b->start_us && a->end_us == b->end_us &&
           a->start_err_us == b->start_err_us && a->end_err_us == b->end_err_us &&
           a->confidence == b->confidence && strcmp(a->description, b->description) == 0;
}

/* Hands out a revision if anything changed. */
static int say(const Segmenter *s, Now *now, Live *live, EventState state, SegmenterSink sink,
               void *context)
{
    Event event = event_of(s, live, state);
    assert(event.start_us <= event.end_us);
    assert(live->said.state != EVENT_FINAL && live->said.state != EVENT_RETRACTED);
    if (live->said.revision == 0) {
        if (state == EVENT_RETRACTED)
            return 0; /* nobody has heard of it */
        snprintf(event.id, sizeof event.id, "%s-%" PRIu64, s->id_prefix, now->next_id++);
    } else if (same(&event, &live->said)) {
        return 0;
    }
    event.revision++;
    assert(event.revision == live->said.revision + 1);
    live->said = event;
    return sink(&event, context);
}

static int end_of_life(const Segmenter *s, Now *now, Live *live, bool wanted, SegmenterSink sink,
                       void *context)
{
    bool too_short = live->seen.end.us - live->seen.start.us < s->min_duration_us;
    if (too_short || !wanted)
        return say(s, now, live, EVENT_RETRACTED, sink, context);
    if (s->cool_down_us > 0)
        now->quiet_us = live->seen.end.us + s->cool_down_us;
    return say(s, now, live, EVENT_FINAL, sink, context);
}

/* Hands out all that changed and forgets what no window to come can change. */
static int hand_out(const Segmenter *s, Now *now, bool finish, SegmenterSink sink, void *context)
{
    if (now->n > 0)
        qsort(now->live, now->n, sizeof *now->live, by_start);
    size_t kept = 0;
    int64_t quiet_us = now->quiet_us; /* also after what is open still */
    for (size_t i = 0; i < now->n; i++) {
        Live *live = &now->live[i];
        bool sure = live->seen.confidence >= s->min_confidence;
        int64_t reach = live->seen.end.reach_us > live->seen.end.us ? live->seen.end.reach_us
                                                                    : live->seen.end.us;
        /* Not <=: an interval that begins at the settled edge may be join_gap_us away. */
        bool over = finish || reach + s->join_gap_us < now->settled_us;
        /* The final word on cool-down needs the final events before it, which came before. */
        const Edge *start = &live->seen.start;
        bool in_time = start->us >= (over ? now->quiet_us : quiet_us) ||
                       (start->cut && start->us - start->err_us <= now->rest_us);
        bool wanted = sure && in_time;
        int r = 0;
        if (over)
            r = end_of_life(s, now, live, wanted, sink, context);
        else if (wanted)
            r = say(s, now, live, EVENT_OPEN, sink, context);
        if (r != 0)
            return r;
        if (wanted && !over && s->cool_down_us > 0)
            quiet_us = live->seen.end.us + s->cool_down_us;
        quiet_us = now->quiet_us > quiet_us ? now->quiet_us : quiet_us;
        if (!over)
            now->live[kept++] = *live;
    }
    now->n = kept;
    return 0;
}

/* --- joining --- */

static int64_t reach_start(const Seen *seen)
{
    return seen->start.reach_us < seen->start.us ? seen->start.reach_us : seen->start.us;
}

static int64_t reach_end(const Seen *seen)
{
    return seen->end.reach_us > seen->end.us ? seen->end.reach_us : seen->end.us;
}

/* Live events and intervals that belong together, found by walking both in order. */
typedef struct Group {
    size_t first_event, n_events;
    size_t first_interval, n_intervals;
} Group;

static void next_group(const Now *now, const Seen *intervals, size_t n_intervals,
                       int64_t join_gap_us, Group *group)
{
    size_t e = group->first_event + group->n_events;
    size_t i = group->first_interval + group->n_intervals;
    *group = (Group){.first_event = e, .first_interval = i};
    int64_t reach = 0;
    bool any = false;
    for (;;) {
        bool has_event = e < now->n, has_interval = i < n_intervals;
        bool event_first = has_event && (!has_interval || reach_start(&now->live[e].seen) <=
                                                              reach_start(&intervals[i]));
        if (!has_event && !has_interval)
            return;
        const Seen *next = event_first ? &now->live[e].seen : &intervals[i];
        if (any && reach_start(next) - reach > join_gap_us)
            return;
        int64_t end = reach_end(next);
        reach = any && reach > end ? reach : end;
        any = true;
        if (event_first) {
            e++;
            group->n_events++;
        } else {
            i++;
            group->n_intervals++;
        }
    }
}

/* Which event goes on as which stretch: those that overlap first, then those that are near. */
static void assign(const Seen *const *events, size_t n_events, const Seen *out, size_t n_out,
                   size_t *owner)
{
    for (size_t p = 0; p < n_out; p++)
        owner[p] = SIZE_MAX;
    for (int near = 0; near < 2; near++) {
        size_t p = 0;
        for (size_t e = 0; e < n_events; e++) {
            bool taken = false;
            for (size_t k = 0; k < n_out; k++)
                taken |= owner[k] == e;
            for (p = 0; !taken && p < n_out; p++) {
                if (owner[p] == SIZE_MAX && (near || seen_overlap(events[e], &out[p]))) {
                    owner[p] = e;
                    taken = true;
                }
            }
        }
    }
}

/* The group's result goes to the end of now->live; of its events those that go on do so there. */
static int join_group(const Segmenter *s, const Sight *sight, Now *now, const Live *old,
                      const Group *group, const Seen *intervals, SegmenterSink sink, void *context)
{
    size_t n_most = group->n_events + group->n_intervals;
    _cleanup_free_ const Seen **events = mem_new_array(group->n_events, sizeof(const Seen *));
    _cleanup_free_ Seen *out = mem_new_array(n_most, sizeof *out);
    _cleanup_free_ size_t *owner = mem_new_array(n_most, sizeof *owner);
    if (!events || !out || !owner)
        return -ENOMEM;
    for (size_t e = 0; e < group->n_events; e++)
        events[e] = &old[group->first_event + e].seen;
    const Seen *seen = &intervals[group->first_interval];
    size_t n_out = sight_join(sight, events, group->n_events, seen, group->n_intervals, out);
    assign(events, group->n_events, out, n_out, owner);

    for (size_t e = 0; e < group->n_events; e++) {
        bool goes_on = false;
        for (size_t p = 0; p < n_out; p++)
            goes_on |= owner[p] == e;
        if (goes_on)
            continue;
        Live gone = old[group->first_event + e];
        int r = say(s, now, &gone, EVENT_RETRACTED, sink, context); /* it is part of another one */
        if (r != 0)
            return r;
    }
    for (size_t p = 0; p < n_out; p++) {
        Live *live = add_live(now);
        if (!live)
            return -ENOMEM;
        if (owner[p] != SIZE_MAX)
            *live = old[group->first_event + owner[p]];
        else
            live->seen.best_depth_us = -1;
        live->seen.start = out[p].start;
        live->seen.end = out[p].end;
        assert(live->seen.start.us <= live->seen.end.us);
        for (size_t e = 0; e < group->n_events; e++)
            if (seen_overlap(events[e], &out[p]))
                seen_take_best(&live->seen, events[e]);
        for (size_t i = 0; i < group->n_intervals; i++)
            if (seen_overlap(&seen[i], &out[p]))
                seen_take_best(&live->seen, &seen[i]);
    }
    return 0;
}

static int join_window(const Segmenter *s, const Sight *sight, Now *now, const Live *old,
                       size_t n_old, const Seen *intervals, size_t n_intervals, SegmenterSink sink,
                       void *context)
{
    Now before = {.live = (Live *)old, .n = n_old};
    Group group = {0};
    for (;;) {
        next_group(&before, intervals, n_intervals, s->join_gap_us, &group);
        if (group.n_events == 0 && group.n_intervals == 0)
            return 0;
        if (group.n_events > 0 && group.n_intervals > 0) {
            int r = join_group(s, sight, now, old, &group, intervals, sink, context);
            if (r != 0)
                return r;
            continue;
        }
        for (size_t e = 0; e < group.n_events; e++) {
            Live event = old[group.first_event + e];
            if (sight_denies_event(sight, &event.seen)) {
                int r = say(s, now, &event, EVENT_RETRACTED, sink, context);
                if (r != 0)
                    return r;
                continue;
            }
            Live *live = add_live(now);
            if (!live)
                return -ENOMEM;
            *live = event;
        }
        for (size_t i = 0; i < group.n_intervals; i++) {
            const Seen *interval = &intervals[group.first_interval + i];
            if (sight_denies_interval(sight, interval))
                continue;
            Live *live = add_live(now);
            if (!live)
                return -ENOMEM;
            live->seen = *interval;
        }
    }
}

int segmenter_add(Segmenter *s, const SegmenterWindow *window, SegmenterSink sink, void *context)
{
    bool reversed = window->start_us > window->end_us;
    int64_t start = seen_clamp(reversed ? window->end_us : window->start_us);
    int64_t end = seen_clamp(reversed ? window->start_us : window->end_us);
    if (end <= s->now.settled_us)
        return 0;
    Sight sight = {.start_us = start > s->now.settled_us ? start : s->now.settled_us,
                   .end_us = end,
                   .has_earlier = s->now.has_window,
                   .earlier_start_us = s->now.window_start_us,
                   .earlier_end_us = s->now.window_end_us,
                   .join_gap_us = s->join_gap_us};
    _cleanup_free_ Seen *intervals = mem_new_array(window->n, sizeof *intervals);
    if (!intervals)
        return -ENOMEM;
    size_t n = seen_read(&sight, window->intervals, window->n, intervals);

    Now next = s->now;
    next.live = NULL;
    next.n = next.capacity = 0;
    int64_t settled = seen_clamp(window->settled_us);
    settled = settled < sight.end_us ? settled : sight.end_us;
    if (settled > next.settled_us)
        next.settled_us = settled;
    if (!next.has_window || sight.end_us >= next.window_end_us) {
        next.has_window = true;
        next.window_start_us = sight.start_us;
        next.window_end_us = sight.end_us;
    }
    int r = join_window(s, &sight, &next, s->now.live, s->now.n, intervals, n, sink, context);
    if (r == 0)
        r = hand_out(s, &next, false, sink, context);
    if (r != 0) {
        free(next.live);
        return r;
    }
    free(s->now.live);
    s->now = next;
    return 0;
}

int segmenter_finish(Segmenter *s, SegmenterSink sink, void *context)
{
    Now next = s->now;
    next.capacity = next.n;
    next.live = mem_new_array(next.n, sizeof *next.live);
    if (!next.live)
        return -ENOMEM;
    if (next.n > 0)
        memcpy(next.live, s->now.live, next.n * sizeof *next.live);
    int r = hand_out(s, &next, true, sink, context);
    if (r != 0) {
        free(next.live);
        return r;
    }
    begin_anew(&next);
    free(s->now.live);
    s->now = next;
    return 0;
}

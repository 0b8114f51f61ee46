/* Events over the edges of what one feed examined. See track_join.h. */
#include "daemon/track_join.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* An event since the last hole: the segmenter has decided about it already. */
static bool is_own(const Track *track, const char *id)
{
    size_t n = strlen(track->prefix);
    return strncmp(id, track->prefix, n) == 0 && id[n] == '-' &&
           strtoull(id + n + 1, NULL, 10) >= track->first_number;
}

static bool covers(const Event *known, int64_t start_us, int64_t end_us)
{
    return start_us >= known->start_us - known->start_err_us &&
           end_us <= known->end_us + known->end_err_us;
}

static IndexFilter filter_of(const char *const *camera, const char *const *watch, int64_t start_us,
                             int64_t end_us)
{
    return (IndexFilter){.cameras = camera,
                         .n_cameras = 1,
                         .watches = watch,
                         .n_watches = 1,
                         .since_us = start_us,
                         .until_us = end_us};
}

typedef struct Join {
    const JoinSink *sink;
    const Event *event; /* as this feed saw it */
    Event whole;        /* with all that it continues */
    bool part;          /* it is part of a known one */
} Join;

/* Is this known event the same one, seen from elsewhere? They overlap; or an edge of what was
 * examined, where ours was cut, lies between them. */
static bool continues(const Join *join, const Event *known)
{
    const Event *event = join->event;
    int64_t join_gap_us = join->sink->track->config.join_gap_us;
    if (known->end_us >= event->start_us && known->start_us <= event->end_us)
        return true;
    if (known->end_us < event->start_us) {
        int64_t near_us = join_gap_us + known->end_err_us + event->start_err_us;
        return event->start_us - known->end_us <= near_us &&
               event->start_us - join->sink->from_us <= near_us;
    }
    int64_t near_us = join_gap_us + known->start_err_us + event->end_err_us;
    return known->start_us - event->end_us <= near_us &&
           join->sink->to_us - event->end_us <= near_us;
}

static int join_known(const Event *known, void *context)
{
    Join *join = context;
    Event *whole = &join->whole;
    if (known->state != EVENT_FINAL || is_own(join->sink->track, known->id) ||
        !continues(join, known))
        return 0;
    if (covers(known, join->event->start_us, join->event->end_us)) {
        join->part = true;
        return 0;
    }
    if (known->start_us < whole->start_us) {
        whole->start_us = known->start_us;
        whole->start_err_us = known->start_err_us;
    }
    if (known->end_us > whole->end_us) {
        whole->end_us = known->end_us;
        whole->end_err_us = known->end_err_us;
    }
    if (known->end_us - known->start_us > join->event->end_us - join->event->start_us) {
        whole->confidence = known->confidence;
        memcpy(whole->description, known->description, sizeof whole->description);
    }
    return 0;
}

static int retract_known(const Event *known, void *context)
{
    const Join *join = context;
    if (known->state != EVENT_FINAL || is_own(join->sink->track, known->id) ||
        !continues(join, known))
        return 0;
    Event retracted = *known;
    retracted.state = EVENT_RETRACTED;
    retracted.revision++;
    batch_event(join->sink->batch, &retracted);
    return 0;
}

int join_sink(const Event *event, void *context)
{
    const JoinSink *sink = context;
    if (event->state != EVENT_FINAL) {
        batch_event(sink->batch, event);
        return 0;
    }
    const char *watch = sink->track->watch;
    int64_t around_us = sink->track->config.join_gap_us + 60 * INT64_C(1000000);
    IndexFilter filter = filter_of(&sink->feed->camera, &watch, event->start_us - around_us,
                                   event->end_us + around_us);
    Join join = {.sink = sink, .event = event, .whole = *event};
    Error err = {0};
    if (index_events(sink->context->index, &filter, join_known, &join, &err) < 0)
        log_error("track", "watch=%s: %s", watch, err.text);
    if (join.part) {
        join.whole = *event;
        join.whole.state = EVENT_RETRACTED;
        if (event->revision > 1) /* else nobody has heard of it */
            batch_event(sink->batch, &join.whole);
        return 0;
    }
    if (index_events(sink->context->index, &filter, retract_known, &join, &err) < 0)
        log_error("track", "watch=%s: %s", watch, err.text);
    batch_event(sink->batch, &join.whole);
    return 0;
}

/* Index: events and their revisions, sequence numbers, replay. */
#include "daemon/index_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* N of PREFIX-N; 0 when the id is none of ours. */
static int64_t number_of(const char *id)
{
    const char *dash = strrchr(id, '-');
    if (!dash || dash[1] < '0' || dash[1] > '9')
        return 0;
    char *end;
    errno = 0;
    long long number = strtoll(dash + 1, &end, 10);
    return errno == 0 && *end == '\0' ? number : 0;
}

/* The key of an event that begins at start_us: keys are in order of start (and, for the same
 * microsecond, of arrival), which is the order that queries answer in. */
static int find_key(Index *index, int64_t start_us, int64_t *key, Error *err)
{
    static const char DOING[] = "store an event";
    const int64_t limit = INT64_C(9007199254740991), room = 512;
    int64_t first = (start_us > limit ? limit : start_us < -limit ? -limit : start_us) * room;
    /* A microsecond that is full (nothing but a broken model gets there) runs over into the next.
     */
    for (;; first += room) {
        sqlite3_stmt *s = index_acquire(index, STATEMENT_LAST_KEY, DOING, err);
        if (!s)
            return -EIO;
        sqlite3_bind_int64(s, 1, first);
        int r = sqlite3_step(s) == SQLITE_ROW ? 0 : index_fail(index, DOING, err);
        bool none = r == 0 && sqlite3_column_type(s, 0) == SQLITE_NULL;
        int64_t last = r == 0 && !none ? sqlite3_column_int64(s, 0) : first - 1;
        index_release(index, STATEMENT_LAST_KEY, s);
        if (r < 0)
            return r;
        if (last < first + room - 1) {
            *key = last + 1;
            return 0;
        }
    }
}

/* Does this revision follow what is stored? A fault of the caller, not of the disk: the transaction
 * goes on without it. *key becomes where the event is to stand. */
static int check_revision(Index *index, const Event *event, int64_t *key, Error *err)
{
    static const char DOING[] = "store an event";
    if (event->id[0] == '\0' || event->revision == 0 || event->start_us > event->end_us ||
        event->state < EVENT_OPEN || event->state > EVENT_RETRACTED ||
        !(event->confidence >= 0 && event->confidence <= 1))
        return error_set(err, EINVAL, EX_SOFTWARE, "event %s: not well-formed", event->id);
    sqlite3_stmt *statement = index_acquire(index, STATEMENT_GET_EVENT, DOING, err);
    if (!statement)
        return -EIO;
    index_bind_text(statement, 1, event->id);
    int r = sqlite3_step(statement);
    bool stays = false; /* it has a key, and begins where it began */
    if (r == SQLITE_ROW) {
        int64_t revision = sqlite3_column_int64(statement, 0);
        int state = sqlite3_column_int(statement, 1);
        stays = sqlite3_column_int64(statement, 2) == event->start_us;
        *key = sqlite3_column_int64(statement, 3);
        r = 0;
        if (event->revision <= revision)
            r = error_set(err, EINVAL, EX_SOFTWARE,
                          "event %s: revision %" PRIu32 " is not above %" PRId64, event->id,
                          event->revision, revision);
        else if (state == EVENT_RETRACTED ||
                 (state == EVENT_FINAL && event->state != EVENT_RETRACTED))
            r = error_set(err, EINVAL, EX_SOFTWARE, "event %s: it is %s and stays so", event->id,
                          state == EVENT_FINAL ? "final" : "retracted");
    } else {
        r = r == SQLITE_DONE ? 0 : index_fail(index, DOING, err);
    }
    index_release(index, STATEMENT_GET_EVENT, statement);
    return r < 0 || stays ? r : find_key(index, event->start_us, key, err);
}

static int put(Index *index, IndexStatement id, const Event *event, int64_t key, Error *err)
{
    static const char DOING[] = "store an event";
    sqlite3_stmt *s = index_acquire(index, id, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, event->id);
    sqlite3_bind_int64(s, 2, event->revision);
    sqlite3_bind_int(s, 3, (int)event->state);
    index_bind_text(s, 4, event->camera);
    index_bind_text(s, 5, event->watch);
    index_bind_text(s, 6, event->description);
    sqlite3_bind_int64(s, 7, event->start_us);
    sqlite3_bind_int64(s, 8, event->end_us);
    sqlite3_bind_int64(s, 9, event->start_err_us);
    sqlite3_bind_int64(s, 10, event->end_err_us);
    sqlite3_bind_double(s, 11, event->confidence);
    sqlite3_bind_int64(s, 12, (int64_t)event->sequence);
    sqlite3_bind_int64(s, 13, event->committed_us);
    if (id == STATEMENT_PUT_EVENT) {
        sqlite3_bind_int64(s, 14, number_of(event->id));
        sqlite3_bind_int64(s, 15, key);
    }
    return index_run(index, id, s, DOING, err);
}

int index_put_event(Index *index, Event *event, Error *err)
{
    int64_t key = 0;
    int r = index_check_write(index, "store an event", err);
    if (r == 0)
        r = check_revision(index, event, &key, err);
    if (r < 0)
        return r;
    Event stored = *event;
    stored.sequence = index->pending_sequence + 1;
    stored.committed_us = clock_utc_us();
    r = put(index, STATEMENT_PUT_REVISION, &stored, key, err);
    if (r == 0)
        r = put(index, STATEMENT_PUT_EVENT, &stored, key, err);
    if (r < 0)
        return r;
    index->pending_sequence = stored.sequence;
    *event = stored;
    return 0;
}

static void read_event(sqlite3_stmt *s, Event *event)
{
    memset(event, 0, sizeof *event);
    index_column_text(s, 0, event->id, sizeof event->id);
    event->revision = (uint32_t)sqlite3_column_int64(s, 1);
    event->state = (EventState)sqlite3_column_int(s, 2);
    index_column_text(s, 3, event->camera, sizeof event->camera);
    index_column_text(s, 4, event->watch, sizeof event->watch);
    index_column_text(s, 5, event->description, sizeof event->description);
    event->start_us = sqlite3_column_int64(s, 6);
    event->end_us = sqlite3_column_int64(s, 7);
    event->start_err_us = sqlite3_column_int64(s, 8);
    event->end_err_us = sqlite3_column_int64(s, 9);
    event->confidence = sqlite3_column_double(s, 10);
    event->sequence = (uint64_t)sqlite3_column_int64(s, 11);
    event->committed_us = sqlite3_column_int64(s, 12);
}

int index_walk_events(Index *index, IndexStatement id, sqlite3_stmt *statement, const char *doing,
                      IndexEventSink sink, void *context, Error *err)
{
    int r = 0;
    while (r == 0) {
        int step = sqlite3_step(statement);
        if (step == SQLITE_DONE)
            break;
        if (step != SQLITE_ROW) {
            r = index_fail(index, doing, err);
            break;
        }
        Event event;
        read_event(statement, &event);
        r = sink(&event, context);
    }
    index_release(index, id, statement);
    return r;
}

int index_events(Index *index, const IndexFilter *filter, IndexEventSink sink, void *context,
                 Error *err)
{
    static const char DOING[] = "read events";
    sqlite3_stmt *s = index_acquire(index, STATEMENT_EVENTS, DOING, err);
    if (!s)
        return -EIO;
    int r = index_bind_filter(s, filter, err);
    if (r < 0) {
        index_release(index, STATEMENT_EVENTS, s);
        return r;
    }
    return index_walk_events(index, STATEMENT_EVENTS, s, DOING, sink, context, err);
}

int index_event(Index *index, const char *id, IndexEventSink sink, void *context, Error *err)
{
    static const char DOING[] = "read an event";
    sqlite3_stmt *s = index_acquire(index, STATEMENT_EVENT, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, id);
    return index_walk_events(index, STATEMENT_EVENT, s, DOING, sink, context, err);
}

int index_open_events(Index *index, IndexEventSink sink, void *context, Error *err)
{
    static const char DOING[] = "read open events";
    sqlite3_stmt *s = index_acquire(index, STATEMENT_OPEN_EVENTS, DOING, err);
    if (!s)
        return -EIO;
    return index_walk_events(index, STATEMENT_OPEN_EVENTS, s, DOING, sink, context, err);
}

int index_replay(Index *index, uint64_t after, const IndexFilter *filter, IndexEventSink sink,
                 void *context, Error *err)
{
    static const char DOING[] = "replay";
    if (after > INT64_MAX)
        return 0; /* no sequence number is above it */
    sqlite3_stmt *s = index_acquire(index, STATEMENT_REPLAY, DOING, err);
    if (!s)
        return -EIO;
    int r = index_bind_filter(s, filter, err);
    if (r < 0) {
        index_release(index, STATEMENT_REPLAY, s);
        return r;
    }
    sqlite3_bind_int64(s, 6, (int64_t)after);
    return index_walk_events(index, STATEMENT_REPLAY, s, DOING, sink, context, err);
}

int index_max_event_number(Index *index, uint64_t *number, Error *err)
{
    static const char DOING[] = "read the highest event number";
    *number = 0;
    sqlite3_stmt *s = index_acquire(index, STATEMENT_MAX_EVENT_NUMBER, DOING, err);
    if (!s)
        return -EIO;
    int r = sqlite3_step(s) == SQLITE_ROW ? 0 : index_fail(index, DOING, err);
    if (r == 0)
        *number = (uint64_t)sqlite3_column_int64(s, 0);
    index_release(index, STATEMENT_MAX_EVENT_NUMBER, s);
    return r;
}

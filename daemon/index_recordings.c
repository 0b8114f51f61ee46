/* Index: which files hold which stretch of a camera's video. */
#include "daemon/index_internal.h"

#include <errno.h>

int index_put_recording(Index *index, const Recording *recording, Error *err)
{
    static const char DOING[] = "note a recording";
    int r = index_check_write(index, DOING, err);
    if (r < 0)
        return r;
    if (recording->start_us > recording->end_us || recording->path[0] == '\0')
        return error_set(err, EINVAL, EX_SOFTWARE, "recording %s: not well-formed",
                         recording->path);
    sqlite3_stmt *s = index_acquire(index, STATEMENT_PUT_RECORDING, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, recording->path);
    index_bind_text(s, 2, recording->camera);
    sqlite3_bind_int64(s, 3, recording->start_us);
    sqlite3_bind_int64(s, 4, recording->end_us);
    sqlite3_bind_int64(s, 5, recording->utc_err_us);
    sqlite3_bind_int(s, 6, recording->utc_source);
    sqlite3_bind_int64(s, 7, recording->bytes);
    return index_run(index, STATEMENT_PUT_RECORDING, s, DOING, err);
}

int index_remove_recording(Index *index, const char *path, Error *err)
{
    static const char DOING[] = "forget a recording";
    int r = index_check_write(index, DOING, err);
    if (r < 0)
        return r;
    sqlite3_stmt *s = index_acquire(index, STATEMENT_REMOVE_RECORDING, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, path);
    return index_run(index, STATEMENT_REMOVE_RECORDING, s, DOING, err);
}

/* Within what SQL may add and subtract. */
static int64_t bounded(int64_t us)
{
    const int64_t limit = INT64_C(1) << 61;
    return us > limit ? limit : us < -limit ? -limit : us;
}

int index_recordings(Index *index, const char *camera, int64_t start_us, int64_t end_us,
                     IndexRecordingSink sink, void *context, Error *err)
{
    static const char DOING[] = "find recordings";
    sqlite3_stmt *s = index_acquire(index, STATEMENT_RECORDINGS, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, camera);
    sqlite3_bind_int64(s, 2, bounded(start_us));
    sqlite3_bind_int64(s, 3, bounded(end_us));
    int r = 0;
    while (r == 0) {
        int step = sqlite3_step(s);
        if (step == SQLITE_DONE)
            break;
        if (step != SQLITE_ROW) {
            r = index_fail(index, DOING, err);
            break;
        }
        Recording recording = {0};
        index_column_text(s, 0, recording.path, sizeof recording.path);
        index_column_text(s, 1, recording.camera, sizeof recording.camera);
        recording.start_us = sqlite3_column_int64(s, 2);
        recording.end_us = sqlite3_column_int64(s, 3);
        recording.utc_err_us = sqlite3_column_int64(s, 4);
        recording.utc_source = sqlite3_column_int(s, 5);
        recording.bytes = sqlite3_column_int64(s, 6);
        r = sink(&recording, context);
    }
    index_release(index, STATEMENT_RECORDINGS, s);
    return r;
}

int index_recording_bytes(Index *index, const char *camera, int64_t *bytes, Error *err)
{
    static const char DOING[] = "add up recordings";
    *bytes = 0;
    sqlite3_stmt *s = index_acquire(index, STATEMENT_RECORDING_BYTES, DOING, err);
    if (!s)
        return -EIO;
    index_bind_text(s, 1, camera);
    int r = sqlite3_step(s) == SQLITE_ROW ? 0 : index_fail(index, DOING, err);
    if (r == 0)
        *bytes = sqlite3_column_int64(s, 0);
    index_release(index, STATEMENT_RECORDING_BYTES, s);
    return r;
}

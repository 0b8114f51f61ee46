/* The recorder without a camera: retention by age and bytes, and a disk without room. */
#include "pipeline/recorder.h"

#include "base/clock.h"
#include "tests/unit/scratch.h"

#include <dirent.h>
#include <gst/app/gstappsink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char *camera; /* H.264, 60 s */

typedef struct Seen {
    char removed[8][512];
    size_t n_removed, n_closed;
    uint64_t bytes;
} Seen;

static void on_closed(const RecorderFile *file, void *data)
{
    Seen *seen = data;
    for (size_t i = 0; i < file->n_removed && seen->n_removed < 8; i++)
        snprintf(seen->removed[seen->n_removed++], 512, "%s", file->removed[i]);
    seen->n_closed += file->path != NULL;
    seen->bytes += file->path ? file->bytes : 0;
}

static void make_file(const char *dir, int64_t utc_us, size_t bytes)
{
    char text[CLOCK_UTC_TEXT_BYTES], path[600];
    clock_format_utc(utc_us, text);
    size_t n = (size_t)snprintf(path, sizeof path, "%s/", dir);
    for (const char *p = text; *p; p++)
        if (*p != '-' && *p != ':')
            path[n++] = *p;
    snprintf(path + n, sizeof path - n, ".mp4");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < bytes; i++)
        fputc('x', f);
    fclose(f);
}

static size_t count_files(const char *dir)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static Recorder *open_recorder(const RecorderOptions *options, Seen *seen)
{
    Recorder *r = NULL;
    Error err = {0};
    if (recorder_open(options, on_closed, seen, &r, &err) < 0)
        fail_msg("%s", err.text);
    return r;
}

static void test_age_and_bytes(void **state)
{
    (void)state;
    Scratch scratch;
    scratch_init(&scratch);
    const char *dir = scratch.dir;
    int64_t now_us = clock_utc_us(), hour_us = 3600 * US_PER_S;
    for (int i = 5; i > 0; i--)
        make_file(dir, now_us - i * hour_us, 1000);
    Seen seen = {0};
    RecorderOptions options = {.dir = dir, .keep_for_us = 4 * hour_us - US_PER_S};
    recorder_free(open_recorder(&options, &seen));
    assert_int_equal(seen.n_removed, 2); /* five and four hours old */
    assert_int_equal(count_files(dir), 3);
    assert_true(strcmp(seen.removed[0], seen.removed[1]) < 0);
    for (size_t i = 0; i < seen.n_removed; i++)
        assert_true(access(seen.removed[i], F_OK) < 0);
    options = (RecorderOptions){.dir = dir, .keep_bytes = 2500};
    Recorder *r = open_recorder(&options, &seen);
    assert_int_equal(seen.n_removed, 3);
    assert_int_equal(recorder_bytes(r), 2000);
    recorder_free(r);
    options.keep_bytes = 0;
    recorder_free(open_recorder(&options, &seen));
    assert_int_equal(count_files(dir), 2);
    scratch_deinit(&scratch);
}

/* The whole committed camera as compressed pieces. */
static void push_all(Recorder *r)
{
    gchar *line =
        g_strdup_printf("filesrc location=\"%s\" ! qtdemux ! h264parse ! appsink name=out "
                        "sync=false",
                        camera);
    GstElement *pipeline = gst_parse_launch(line, NULL);
    g_free(line);
    assert_non_null(pipeline);
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "out");
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    GstSample *sample;
    int64_t at_us = clock_utc_us() - 60 * US_PER_S;
    for (int i = 0; (sample = gst_app_sink_pull_sample(GST_APP_SINK(sink))); i++) {
        recorder_push(r, sample, at_us + i * US_PER_S / 10);
        gst_sample_unref(sample);
    }
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(sink);
    gst_object_unref(pipeline);
}

static void test_no_room(void **state)
{
    (void)state;
    Scratch scratch;
    scratch_init(&scratch);
    const char *dir = scratch.dir;
    Seen seen = {0};
    /* More than any disk has free. */
    RecorderOptions options = {
        .dir = dir, .segment_us = 60 * US_PER_S, .reserve_bytes = UINT64_C(1) << 62};
    Recorder *r = open_recorder(&options, &seen);
    assert_true(recorder_stopped(r));
    assert_non_null(strstr(recorder_reason(r), "the disk is full"));
    push_all(r);
    recorder_end(r, NULL);
    recorder_free(r);
    assert_int_equal(count_files(dir), 0);
    options.reserve_bytes = 1;
    r = open_recorder(&options, &seen);
    assert_false(recorder_stopped(r));
    push_all(r);
    recorder_end(r, NULL);
    assert_int_equal(seen.n_closed, 1);
    assert_int_equal(count_files(dir), 1);
    assert_int_equal(recorder_bytes(r), seen.bytes);
    recorder_free(r);
    scratch_deinit(&scratch);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 64;
    camera = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_age_and_bytes),
                                       cmocka_unit_test(test_no_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

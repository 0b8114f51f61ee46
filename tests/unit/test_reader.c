/* Files: the committed camera, cut and damaged copies of it, times in names, and no videos. */
#include "pipeline/container.h"
#include "pipeline/reader.h"

#include "base/clock.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char *camera; /* a file of 60 s, 448 x 224, 10 pictures a second */
static uint8_t *camera_bytes;
static size_t camera_size;

static ReaderOptions options(double fps)
{
    return (ReaderOptions){
        .fps = fps, .cell_px = 28, .min_pixels = 4 * 28 * 28, .max_pixels = 602112};
}

static Reader *open_at(const char *path, const ReaderOptions *o)
{
    Reader *r = NULL;
    Error err = {0};
    int result = reader_open(path, o, &r, &err);
    if (result != 0)
        print_error("%s\n", err.text);
    assert_int_equal(result, 0);
    return r;
}

static void test_sampled(void **state)
{
    (void)state;
    ReaderOptions o = options(2);
    o.start_utc_us = 1000 * US_PER_S;
    o.start_utc_err_us = 50000;
    Reader *r = open_at(camera, &o);
    Frame f;
    Error err = {0};
    assert_int_equal(reader_info(r)->width, 448);
    assert_int_equal(reader_info(r)->height, 224);
    assert_true(reader_info(r)->fps == 10 && reader_info(r)->duration_s == 60);
    for (uint64_t i = 0; i < 120; i++) {
        assert_int_equal(reader_next(r, &f, &err), 0);
        assert_int_equal(f.index, i * 5);
        assert_int_equal(f.pts_us, i * 500000);
        assert_int_equal(f.utc_us, 1000 * US_PER_S + f.pts_us);
        assert_int_equal(f.utc_err_us, 50000);
        assert_int_equal(f.utc_source, UTC_CONFIG);
        assert_true(f.width == 448 && f.height == 224);
    }
    assert_int_equal(reader_next(r, &f, &err), READER_END);
    assert_int_equal(reader_next(r, &f, &err), READER_END);
    reader_free(r);
}

/* Key frames alone where they are near enough (two seconds apart in this file), else as ever. */
static void test_any_instant(void **state)
{
    (void)state;
    static const double rates[] = {0.25, 0.5, 0.3, 1, 2};
    for (size_t k = 0; k < sizeof rates / sizeof *rates; k++) {
        ReaderOptions o = options(rates[k]);
        Frame f, g;
        Error err = {0};
        Reader *exact = open_at(camera, &o);
        o.any_instant = true;
        Reader *near = open_at(camera, &o);
        bool keyed = rates[k] <= 0.5;
        int64_t spacing_us = (int64_t)(1e6 / rates[k]), last_us = -1;
        size_t n = 0;
        for (int e; (e = reader_next(near, &f, &err)) != READER_END; n++) {
            assert_int_equal(e, 0);
            assert_true(f.pts_us > last_us);
            assert_int_equal(f.index, f.pts_us / 100000);
            if (keyed) {
                assert_int_equal(f.pts_us % 2000000, 0);
                assert_int_equal(f.pts_us / spacing_us, n); /* one in every spacing */
            } else {
                assert_int_equal(reader_next(exact, &g, &err), 0);
                assert_int_equal(f.pts_us, g.pts_us);
                assert_memory_equal(f.rgb, g.rgb, 448 * 224 * 3);
            }
            last_us = f.pts_us;
        }
        assert_int_equal(n, (size_t)(60 * rates[k]));
        uint64_t decoded;
        reader_position(near, &decoded, &last_us);
        assert_true(keyed ? decoded < 60 : decoded >= 600);
        reader_free(near);
        reader_free(exact);
    }
    /* In a span too. */
    ReaderOptions o = options(0.5);
    o.any_instant = true;
    o.from_pts_us = 21 * US_PER_S;
    o.to_pts_us = 40 * US_PER_S;
    Frame f;
    Error err = {0};
    Reader *r = open_at(camera, &o);
    for (int64_t want_us = 22 * US_PER_S; want_us < 40 * US_PER_S; want_us += 2 * US_PER_S) {
        assert_int_equal(reader_next(r, &f, &err), 0);
        assert_int_equal(f.pts_us, want_us);
    }
    assert_int_equal(reader_next(r, &f, &err), READER_END);
    reader_free(r);
}

/* Pixels behind the mask never come; a gate leaves out what does not change, but shows the frame
 * before each change. */
static void test_mask_and_gate(void **state)
{
    (void)state;
    static const float left[] = {0, 0, 0.5f, 0, 0.5f, 1, 0, 1}, all[] = {0, 0, 1, 0, 1, 1, 0, 1};
    MaskShape shape = {left, 4};
    ReaderOptions o = options(2);
    o.shapes = &shape;
    o.n_shapes = 1;
    Frame f;
    Error err = {0};
    Reader *r = open_at(camera, &o);
    assert_int_equal(reader_next(r, &f, &err), 0);
    for (int y = 0; y < f.height; y++)
        for (int x = 0; x < f.width; x++) {
            const uint8_t *p = f.rgb + (y * f.width + x) * 3;
            bool blank = p[0] == MASK_LEVEL && p[1] == MASK_LEVEL && p[2] == MASK_LEVEL;
            assert_true(x < f.width / 2 ? blank : 1);
        }
    assert_true(f.n_cells == 0 && !f.cells);
    reader_free(r);

    size_t n[2] = {0}, lone = 0;
    for (int k = 0; k < 2; k++) {
        shape.xy = k ? all : left;
        o.gate_sensitivity = 1;
        o.gate_refresh_us = 2 * US_PER_S;
        r = open_at(camera, &o);
        int64_t last_us = -1, before_us = 0;
        for (; reader_next(r, &f, &err) == 0; n[k]++) {
            assert_int_equal(f.n_cells, 16 * 8);
            assert_true(f.pts_us > last_us && f.pts_us - last_us <= 2 * US_PER_S + 1);
            size_t bits = 0;
            for (size_t i = 0; i < f.n_cells; i++)
                bits += f.cells[i / 8] >> i % 8 & 1;
            assert_int_equal(bits, f.n_kept);
            /* A change is seen half a second after what was before it. */
            if (f.n_changed > 0 && last_us >= 0)
                assert_true(f.pts_us - last_us == US_PER_S / 2);
            lone += f.n_kept == 0;
            before_us = last_us;
            last_us = f.pts_us;
        }
        assert_int_equal(last_us, 59500000); /* its end is known */
        assert_true(before_us > 0);
        assert_int_equal(n[k] + reader_still(r), 120);
        reader_free(r);
    }
    assert_true(n[0] < 115 && lone > 3);
    assert_int_equal(n[1], 60 / 2 + 1); /* nothing to be seen: refreshed alone, and the end */
}

/* What is read from the middle is what lies there. */
static void test_span(void **state)
{
    (void)state;
    enum { BYTES = 448 * 224 * 3 };
    static uint8_t whole[10][BYTES];
    ReaderOptions o = options(2);
    Frame f;
    Error err = {0};
    Reader *r = open_at(camera, &o);
    for (int i = 0; i < 60; i++) {
        assert_int_equal(reader_next(r, &f, &err), 0);
        if (i >= 42 && i < 52)
            memcpy(whole[i - 42], f.rgb, BYTES);
    }
    reader_free(r);
    o.from_pts_us = 21 * US_PER_S;
    o.to_pts_us = 26 * US_PER_S;
    r = open_at(camera, &o);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(reader_next(r, &f, &err), 0);
        assert_int_equal(f.pts_us, 21 * US_PER_S + i * 500000);
        assert_int_equal(f.index, 210 + i * 5);
        assert_memory_equal(f.rgb, whole[i], BYTES);
    }
    assert_int_equal(reader_next(r, &f, &err), READER_END);
    reader_free(r);
}

static void test_follows_motion(void **state)
{
    (void)state;
    ReaderOptions o = options(2);
    o.fps_min = 1;
    o.fps_max = 10;
    Reader *r = open_at(camera, &o);
    Frame f;
    Error err = {0};
    int64_t last = -1, shortest = INT64_MAX, longest = 0;
    for (int n = 0, result; (result = reader_next(r, &f, &err)) != READER_END; n++) {
        assert_int_equal(result, 0);
        assert_true(f.motion >= 0 && f.motion <= 1);
        if (last >= 0) {
            shortest = f.pts_us - last < shortest ? f.pts_us - last : shortest;
            longest = f.pts_us - last > longest ? f.pts_us - last : longest;
        }
        last = f.pts_us;
    }
    reader_free(r);
    assert_int_equal(shortest, 100000);
    assert_true(longest >= 400000 && longest <= 1100000);
}

static void check_refused(const char *path, int exit_code, const char *word)
{
    Reader *r = NULL;
    Error err = {0};
    ReaderOptions o = options(1);
    assert_true(reader_open(path, &o, &r, &err) < 0);
    assert_null(r);
    assert_int_equal(err.exit_code, exit_code);
    if (!strstr(err.text, word))
        fail_msg("'%s' does not say '%s'", err.text, word);
    assert_non_null(strstr(err.text, path));
}

static void test_refused(void **state)
{
    Scratch *s = *state;
    check_refused("/no/such.mp4", EX_NOINPUT, "no such file");
    check_refused(s->dir, EX_NOINPUT, "folder");
    scratch_write(s, "empty.mp4", "", 0);
    check_refused(s->path, EX_DATAERR, "empty");
    scratch_write_text(s, "text.mp4", "When did the car come?\nNobody knows.\n");
    check_refused(s->path, EX_DATAERR, "not a video");
    uint8_t junk[4096];
    for (size_t i = 0; i < sizeof junk; i++)
        junk[i] = (uint8_t)(i * 167 + i / 256 * 31);
    scratch_write(s, "junk.mp4", junk, sizeof junk);
    check_refused(s->path, EX_DATAERR, "not a video");
}

static void test_broken_off(void **state)
{
    Scratch *s = *state;
    scratch_write(s, "cut.mp4", camera_bytes, camera_size / 3);
    ReaderOptions o = options(1);
    Reader *r = open_at(s->path, &o);
    Frame f;
    Error err = {0};
    int n = 0, result;
    while ((result = reader_next(r, &f, &err)) == 0)
        n++;
    assert_true(n > 5 && n < 50);
    assert_true(result < 0);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_non_null(strstr(err.text, "truncated"));
    assert_int_equal(reader_next(r, &f, &err), READER_END);
    reader_free(r);
    scratch_write(s, "stub.mp4", camera_bytes, 2000);
    check_refused(s->path, EX_DATAERR, "truncated");
}

static void test_name(void **state)
{
    (void)state;
    static const struct {
        const char *path, *utc;
        bool says_utc;
    } rows[] = {
        {"/a/20261123T084500.250Z.mp4", "2026-11-23T08:45:00.250Z", true},
        {"20261123_084500.mp4", "2026-11-23T08:45:00.000Z", false},
        {"cam1_20261123084500.avi", "2026-11-23T08:45:00.000Z", false},
        {"gate-2026-11-23_08-45-00.mkv", "2026-11-23T08:45:00.000Z", false},
        {"2026-11-23T08:45:00Z", "2026-11-23T08:45:00.000Z", true},
        {"2026.11.23 08.45.59.mp4", "2026-11-23T08:45:59.000Z", false},
        {"/20261123_084500/cam.mp4", NULL, false},
        {"20261323_084500.mp4", NULL, false},
        {"20261123_254500.mp4", NULL, false},
        {"202611230845001.mp4", NULL, false},
        {"20261123.mp4", NULL, false},
        {"video.mp4", NULL, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        NameTime time = {0};
        bool found = container_name_time(rows[i].path, NULL, &time);
        assert_int_equal(found, rows[i].utc != NULL);
        if (!found)
            continue;
        char text[CLOCK_UTC_TEXT_BYTES];
        clock_format_utc(time.utc_us, text);
        assert_string_equal(text, rows[i].utc);
        assert_int_equal(time.says_utc, rows[i].says_utc);
    }
}

/* Names by clocks on a wall: put forward on 2026-03-29 at 2, back on 2026-10-25 at 3. */
static void test_name_of_zone(void **state)
{
    (void)state;
    static const struct {
        const char *path, *utc;
        int64_t unsure_us;
    } rows[] = {
        {"20260105_084500.250.mp4", "2026-01-05T07:45:00.250Z", 0},
        {"20260705_084500.mp4", "2026-07-05T06:45:00.000Z", 0},
        {"20260105T084500Z.mp4", "2026-01-05T08:45:00.000Z", 0},
        {"20261025_015959.mp4", "2026-10-24T23:59:59.000Z", 0},
        {"20261025_023000.mp4", "2026-10-25T00:30:00.000Z", 3600 * US_PER_S},
        {"20261025_030000.mp4", "2026-10-25T02:00:00.000Z", 0},
        {"20260329_013000.mp4", "2026-03-29T00:30:00.000Z", 0},
    };
    TimeZone *zone = NULL;
    Error err = {0};
    assert_int_equal(time_zone_new("CET-1CEST,M3.5.0,M10.5.0/3", &zone, &err), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        NameTime time = {0};
        char text[CLOCK_UTC_TEXT_BYTES];
        assert_true(container_name_time(rows[i].path, zone, &time));
        clock_format_utc(time.utc_us, text);
        assert_string_equal(text, rows[i].utc);
        assert_int_equal(time.unsure_us, rows[i].unsure_us);
    }
    time_zone_free(zone);
}

static void test_utc_of_name(void **state)
{
    Scratch *s = *state;
    scratch_write(s, "20261123T084500.250Z.mp4", camera_bytes, camera_size);
    ReaderOptions o = options(1);
    Reader *r = open_at(s->path, &o);
    Frame f;
    Error err = {0};
    int64_t want;
    clock_parse_utc("2026-11-23T08:45:00.250Z", &want);
    assert_int_equal(reader_next(r, &f, &err), 0);
    assert_int_equal(reader_next(r, &f, &err), 0);
    assert_int_equal(f.utc_us, want + US_PER_S);
    assert_int_equal(f.utc_source, UTC_NAME);
    assert_int_equal(f.utc_err_us, US_PER_S);
    reader_free(r);
}

static int make_scratch(void **state)
{
    static Scratch scratch;
    scratch_init(&scratch);
    *state = &scratch;
    return 0;
}

static int drop_scratch(void **state)
{
    scratch_deinit(*state);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    camera = argv[1];
    FILE *f = fopen(camera, "rb");
    if (!f)
        return 2;
    camera_bytes = malloc(4 << 20);
    camera_size = fread(camera_bytes, 1, 4 << 20, f);
    fclose(f);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sampled),        cmocka_unit_test(test_mask_and_gate),
        cmocka_unit_test(test_any_instant),    cmocka_unit_test(test_span),
        cmocka_unit_test(test_follows_motion), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_broken_off),     cmocka_unit_test(test_name),
        cmocka_unit_test(test_name_of_zone),   cmocka_unit_test(test_utc_of_name)};
    int failed = cmocka_run_group_tests(tests, make_scratch, drop_scratch);
    free(camera_bytes);
    return failed;
}

/* daemon/index_search: questions in words, and their match with watches. */
#include "daemon/index_watches.h"
#include "tests/unit/index_fixture.h"

#include <errno.h>

static void describe(Fixture *f, const char *id, uint32_t revision, EventState state,
                     const char *description)
{
    Event e = make_event(id, revision, state, 100 * (id[2] - '0'), 100 * (id[2] - '0') + 50);
    snprintf(e.description, sizeof e.description, "%s", description);
    snprintf(e.watch, sizeof e.watch, "%s", id[2] == '4' ? "big-dog" : "street");
    put(f, &e);
}

static int setup(void **state)
{
    int r = fixture_setup(state);
    if (r < 0)
        return r;
    Fixture *f = *state;
    begin(f);
    describe(f, "e-3", 1, EVENT_FINAL, "a red car drives past");
    describe(f, "e-1", 1, EVENT_FINAL, "A RED CAR, driving past the gate");
    describe(f, "e-2", 1, EVENT_OPEN, "a white car is parked");
    describe(f, "e-4", 1, EVENT_FINAL, "a dog (brown) AND \"its\" owner: NEAR the wall");
    describe(f, "e-5", 1, EVENT_FINAL, "the caf\xc3\xa9 opens");
    describe(f, "e-6", 1, EVENT_FINAL, "a red car that never was");
    describe(f, "e-6", 2, EVENT_RETRACTED, "a red car that never was");
    describe(f, "e-7", 1, EVENT_OPEN, "a bicycle");
    describe(f, "e-7", 2, EVENT_OPEN, "a motorcycle");
    commit(f);
    return 0;
}

/* The ids found, "1 3" for e-1 and e-3. */
static void finds(Fixture *f, const char *question, const char *expected)
{
    EventList list = {0};
    Error err = {0};
    if (index_search(f->index, question, NULL, keep_event, &list, &err) < 0)
        fail_msg("%s: %s", question, err.text);
    char ids[128] = "";
    for (size_t i = 0; i < list.n; i++)
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s%s", i ? " " : "",
                 list.events[i].id + 2);
    if (strcmp(ids, expected) != 0)
        fail_msg("%s: found \"%s\", not \"%s\"", question, ids, expected);
}

static void finds_events_by_content_words(void **state)
{
    Fixture *f = *state;
    finds(f, "when did a red car drive past?", "1 3");
    finds(f, "When does the RED CAR drive past", "1 3");
    finds(f, "cars", "1 2 3");
    finds(f, "red car at the gate", "1");
    finds(f, "when was a car parked?", "2");
    finds(f, "when did a blue car drive past?", "");
    finds(f, "when did the cafe open?", "5");
    finds(f, "the caf\xc3\xa9?", "5");
    finds(f, "motorcycle", "7");
    finds(f, "when was a big dog near the wall?", "4"); /* the watch is named so */
    finds(f, "street", "1 2 3 5 7");
    finds(f, "bicycle", ""); /* what an older revision said is not found any more */
    finds(f, "dog near wall", "4");
}

static void filters_hold(void **state)
{
    Fixture *f = *state;
    EventList list = {0};
    IndexFilter filter = {.since_us = 200, .limit = 1};
    assert_int_equal(index_search(f->index, "car", &filter, keep_event, &list, NULL), 0);
    assert_int_equal(list.n, 1);
    assert_string_equal(list.events[0].id, "e-2");
    const char *const yard[] = {"yard"};
    filter = (IndexFilter){.cameras = yard, .n_cameras = 1};
    list.n = 0;
    assert_int_equal(index_search(f->index, "car", &filter, keep_event, &list, NULL), 0);
    assert_int_equal(list.n, 0);
}

static void syntax_is_only_text(void **state)
{
    Fixture *f = *state;
    static const char *const QUESTIONS[] = {"car\" OR \"dog",
                                            "car OR dog NOT (",
                                            "description:car dog*",
                                            "^car NEAR(dog, 5)",
                                            "{description} : dog-",
                                            "car' OR 1=1 --; DROP TABLE events",
                                            "\"\"\"",
                                            "dog\\\" AND (((((",
                                            "car + dog",
                                            "\xe2\x80\x9c"
                                            "car\xe2\x80\x9d \xe2\x80\x94 dog",
                                            "NOT car -dog",
                                            "\xff\xfe car \x80 dog",
                                            "AND OR NOT",
                                            "\xf0\x9f\x9a\x97 dog"};
    for (size_t i = 0; i < sizeof QUESTIONS / sizeof QUESTIONS[0]; i++) {
        EventList list = {0};
        Error err = {0};
        int r = index_search(f->index, QUESTIONS[i], NULL, keep_event, &list, &err);
        if (r != 0) {
            assert_int_equal(r, -EINVAL); /* nothing in it counts */
            assert_int_equal(err.exit_code, EX_DATAERR);
        }
    }
    finds(f, "car\" OR \"dog", "");
    finds(f, "car NOT red", "");
    finds(f, "dog brown AND owner", "4");
    /* quotes and dashes above ASCII are no words */
    finds(f,
          "\xe2\x80\x9c"
          "dog\xe2\x80\x9d \xe2\x80\x94 \xf0\x9f\x90\x95 owner",
          "4");
}

static void refuses(Fixture *f, const char *question, int expected, const char *part)
{
    EventList list = {0};
    Error err = {0};
    assert_int_equal(index_search(f->index, question, NULL, keep_event, &list, &err), expected);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_non_null(strstr(err.text, part));
    error_clear(&err);
    assert_int_equal(index_match_watches(f->index, question, NULL, NULL, &err), expected);
    assert_int_equal(err.exit_code, EX_DATAERR);
}

static void bounds_questions(void **state)
{
    Fixture *f = *state;
    char *large = malloc(100001);
    memset(large, 'x', 100000);
    large[100000] = '\0';
    refuses(f, large, -E2BIG, "100000 bytes long; the limit is 8192");
    large[8193] = '\0';
    refuses(f, large, -E2BIG, "8193");
    large[8192] = '\0';
    finds(f, large, "");
    for (size_t i = 0; i < 8000; i++) { /* two thousand words */
        size_t word = i / 4, letter[] = {word % 20, word / 20 % 20, word / 400};
        large[i] = i % 4 == 3 ? ' ' : (char)('b' + letter[i % 4]);
    }
    large[8000] = '\0';
    refuses(f, large, -E2BIG, "more than 64 words");
    for (size_t i = 0; i < 8000; i++) /* one word, said often, is one */
        large[i] = "car "[i % 4];
    finds(f, large, "1 2 3");
    free(large);
    refuses(f, "", -EINVAL, "nothing to look for");
    refuses(f, "When was it?", -EINVAL, "nothing to look for");
    refuses(f, " \t?!\" ", -EINVAL, "nothing to look for");
    refuses(f, "\xe2\x80\x94", -EINVAL, "nothing to look for");
}

static int keep_name(const AskedWatch *watch, void *context)
{
    assert_true(watch->question[0] != '\0');
    assert_true(watch->asked_us > 0);
    char *names = context;
    strcat(names, watch->retired_us ? "-" : "");
    strcat(names, watch->name);
    strcat(names, " ");
    return 0;
}

static void matches(Fixture *f, const char *question, const char *expected)
{
    char names[256] = "";
    Error err = {0};
    if (index_match_watches(f->index, question, keep_name, names, &err) < 0)
        fail_msg("%s: %s", question, err.text);
    if (strcmp(names, expected) != 0)
        fail_msg("%s: matches \"%s\", not \"%s\"", question, names, expected);
}

static void watches_match_both_ways(void **state)
{
    Fixture *f = *state;
    begin(f);
    assert_int_equal(index_put_watch(f->index, "red-car", "When does a red car drive past?", NULL),
                     0);
    assert_int_equal(index_put_watch(f->index, "car", "When does a car drive past?", NULL), 0);
    assert_int_equal(index_put_watch(f->index, "door", "When is the door open?", NULL), 0);
    assert_int_equal(index_put_watch(f->index, "door2", "door opened", NULL), 0);
    assert_int_equal(index_put_watch(f->index, "odd", "?!", NULL), 0);
    commit(f);
    matches(f, "when did a red car drive past?", "red-car ");
    matches(f, "Past drives the car: RED, red!", "red-car ");
    matches(f, "when did a car drive past", "car ");
    matches(f, "when did a blue car drive past?", "");
    matches(f, "when did a fast red car drive past?", "");
    matches(f, "when was the door open", "door door2 ");
    matches(f, "when did a red car drive?", ""); /* "past" is part of what is asked */
    matches(f, "At what times is there any car, driving past it?", "car ");
    matches(f, "a dog", "");
    begin(f);
    assert_int_equal(index_put_watch(f->index, "door", "When is the door shut?", NULL), 0);
    commit(f);
    matches(f, "when was the door open", "door2 -door@1 ");
    matches(f, "when was the door shut", "door ");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(finds_events_by_content_words), T(filters_hold),
        T(syntax_is_only_text),           T(bounds_questions),
        T(watches_match_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

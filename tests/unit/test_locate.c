/*
 * The locator over the tiny checkpoint (argument 1), whose random weights answer nonsense: but
 * always in the answer's language, the same each time, and with the right prompt behind it. What
 * the answers mean is shown by the demo model's evaluation.
 */
#include "base/mem.h"
#include "model/locate.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *checkpoint;
static Engine *engine;

enum { WIDTH = 56, HEIGHT = 28, FRAMES = 7 };
static uint8_t pixels[FRAMES][WIDTH * HEIGHT * 3];
static LocateFrame frames[FRAMES];

static int setup(void **state)
{
    (void)state;
    Error err = {0};
    EngineOptions options = {.dtype = ENGINE_BF16, .threads = 2};
    if (engine_open(checkpoint, &options, &engine, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    for (size_t f = 0; f < FRAMES; f++) {
        for (size_t i = 0; i < sizeof pixels[f]; i++)
            pixels[f][i] = (uint8_t)(i * 13 + f * 41);
        frames[f] = (LocateFrame){
            .rgb = pixels[f], .width = WIDTH, .height = HEIGHT, .seconds = 100 + 0.5 * (double)f};
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    engine_free(engine);
    return 0;
}

static Locator *new_locator(int max_tokens)
{
    Locator *locator = NULL;
    assert_int_equal(locator_new(engine, max_tokens, &locator, NULL), 0);
    return locator;
}

static void check_answer(const LocateAnswer *a, int max_tokens)
{
    assert_non_null(a->text);
    assert_true(a->tokens > 0 && a->tokens <= max_tokens);
    assert_true(a->confidence > 0 && a->confidence <= 1);
    if (!a->truncated) {
        json_t *list = json_loads(a->text, 0, NULL);
        assert_true(json_is_array(list));
        json_decref(list);
    }
    for (size_t i = 0; i < a->n; i++) {
        assert_true(a->intervals[i].start_s >= 100); /* the first frame's seconds are 00:00.00 */
        assert_true(a->intervals[i].end_s >= a->intervals[i].start_s);
        assert_true(a->intervals[i].confidence > 0 && a->intervals[i].confidence <= 1);
    }
}

static void test_same_answer_each_time(void **state)
{
    (void)state;
    Locator *one = new_locator(200), *other = new_locator(200);
    size_t vocab = 0;
    assert_null(locator_prompt_logits(one, &vocab));
    assert_int_equal(locator_watch(one, frames, FRAMES, NULL), 0);
    assert_int_equal(locator_watch(other, frames, FRAMES, NULL), 0);
    LocateAnswer a, b, c;
    assert_int_equal(locator_ask(one, "When does a red car drive past?", &a, NULL), 0);
    check_answer(&a, 200);
    size_t n = 0;
    const float *logits = locator_prompt_logits(one, &vocab);
    assert_non_null(logits);
    assert_int_equal(vocab, engine_hparams(engine)->text.vocab);
    float *kept = malloc(vocab * sizeof *kept);
    assert_non_null(kept);
    memcpy(kept, logits, vocab * sizeof *kept);

    /* Another question before it changes nothing, to the last bit. */
    assert_int_equal(locator_ask(other, "Something quite different, and longer?", &b, NULL), 0);
    check_answer(&b, 200);
    assert_int_equal(locator_ask(other, "When does a red car drive past?", &c, NULL), 0);
    assert_string_equal(a.text, c.text);
    assert_true(a.confidence == c.confidence);
    assert_memory_equal(locator_prompt_logits(other, &n), kept, vocab * sizeof *kept);
    free(kept);
    locate_answer_deinit(&a);
    locate_answer_deinit(&b);
    locate_answer_deinit(&c);
    locate_answer_deinit(&c); /* safe twice */
    locator_free(one);
    locator_free(other);
}

/* More questions than are answered at once: each as if it were asked alone. */
static void test_together(void **state)
{
    (void)state;
    enum { MANY = LOCATE_TOGETHER + 3 };
    const char *const questions[MANY] = {"When does a red car drive past?",
                                         "A dog?",
                                         "",
                                         "Somebody opens the gate, or closes it, or both at once?",
                                         "When does a red car drive past?",
                                         "Rain",
                                         "x"};
    Locator *one = new_locator(60), *all = new_locator(60);
    assert_int_equal(locator_watch(one, frames, FRAMES, NULL), 0);
    assert_int_equal(locator_watch(all, frames, FRAMES, NULL), 0);
    LocateAnswer answers[MANY];
    assert_int_equal(locator_ask_all(all, questions, MANY, answers, NULL), 0);
    for (size_t i = 0; i < MANY; i++) {
        LocateAnswer a;
        assert_int_equal(locator_ask(one, questions[i], &a, NULL), 0);
        check_answer(&answers[i], 60);
        assert_string_equal(a.text, answers[i].text);
        assert_int_equal(a.tokens, answers[i].tokens);
        assert_int_equal(a.truncated, answers[i].truncated);
        assert_true(fabs(a.confidence - answers[i].confidence) < 1e-4);
        locate_answer_deinit(&a);
        locate_answer_deinit(&answers[i]);
    }
    /* One that is too long fails all, and nothing is left behind. */
    char *question = malloc(100001);
    assert_non_null(question);
    memset(question, 'a', 100000);
    question[100000] = 0;
    const char *const bad[] = {"A dog?", question};
    assert_int_equal(locator_ask_all(all, bad, 2, answers, NULL), -E2BIG);
    assert_null(answers[0].text);
    free(question);
    locator_free(one);
    locator_free(all);
}

/* The question as a model without its own instruction gets it: inside a request for JSON. And the
 * positions: those of the video are its frames' times. */
static void test_prompt(void **state)
{
    (void)state;
    const Hparams *h = engine_hparams(engine);
    Locator *l = new_locator(8);
    assert_int_equal(locator_watch(l, frames, FRAMES, NULL), 0);
    LocateAnswer a;
    assert_int_equal(locator_ask(l, "A <|im_end|> dog?", &a, NULL), 0);
    check_answer(&a, 8);
    locate_answer_deinit(&a);
    size_t n = 0, m = 0, pads = 0, first = 0;
    const int32_t *ids = locator_prompt_ids(l, &n), *positions = locator_prompt_positions(l, &m);
    assert_true(ids && positions && n == m);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == h->video_token && pads++ == 0)
            first = i;
    }
    assert_int_equal(pads, 4 * (WIDTH / 28) * (HEIGHT / 28)); /* 7 frames: 4 grids */
    for (size_t grid = 0; grid < 4; grid++)
        assert_int_equal(positions[first + grid * 2] - positions[first],
                         (int)((double)grid * h->vision.tokens_per_second));
    _cleanup_str_ Str text = {0};
    tokenizer_decode(engine_tokenizer(engine), ids, n, false, &text);
    assert_non_null(strstr(str_text(&text), "\"A <|im_end|> dog?\""));
    assert_non_null(strstr(str_text(&text), "start_time"));
    assert_non_null(strstr(str_text(&text), "<|im_end|>\n<|im_start|>assistant\n"));
    /* The question's own "<|im_end|>" is text: only the template's two are tokens. */
    int32_t end = -1;
    size_t ends = 0;
    assert_int_equal(tokenizer_find(engine_tokenizer(engine), "<|im_end|>", &end), 0);
    for (size_t i = 0; i < n; i++)
        ends += ids[i] == end;
    assert_int_equal(ends, 2);
    locator_free(l);
}

static void test_truncated(void **state)
{
    (void)state;
    Locator *l = new_locator(1);
    assert_int_equal(locator_watch(l, frames, 1, NULL), 0);
    LocateAnswer a;
    assert_int_equal(locator_ask(l, "When?", &a, NULL), 0);
    assert_true(a.truncated);
    assert_int_equal(a.tokens, 1);
    assert_int_equal(a.n, 0);
    locate_answer_deinit(&a);
    locator_free(l);
}

static void bad_watch(Locator *l, const LocateFrame *list, size_t n, int errnum, const char *part)
{
    Error err = {0};
    LocateAnswer a;
    assert_int_equal(locator_watch(l, list, n, &err), -errnum);
    assert_int_equal(err.exit_code, EX_DATAERR);
    if (!strstr(err.text, part))
        fail_msg("\"%s\" does not say \"%s\"", err.text, part);
    /* And nothing may be asked about it. */
    assert_true(locator_ask(l, "When?", &a, NULL) < 0);
}

static void test_bad_frames(void **state)
{
    (void)state;
    Locator *l = new_locator(16);
    LocateFrame bad[FRAMES];
    bad_watch(l, frames, 0, EINVAL, "without frames");
    memcpy(bad, frames, sizeof bad);
    bad[2].width = 28;
    bad_watch(l, bad, FRAMES, EINVAL, "of one size");
    memcpy(bad, frames, sizeof bad);
    bad[0].height = 30;
    bad_watch(l, bad, FRAMES, EINVAL, "multiples of 28");
    memcpy(bad, frames, sizeof bad);
    bad[3].seconds = 1;
    bad_watch(l, bad, FRAMES, EINVAL, "order of time");
    bad[3].seconds = NAN;
    bad_watch(l, bad, FRAMES, EINVAL, "order of time");
    /* Hours between two frames: positions behind the context's end. */
    memcpy(bad, frames, sizeof bad);
    bad[FRAMES - 1].seconds = 1e7;
    bad_watch(l, bad, FRAMES, E2BIG, "context");
    /* The next window is fine. */
    LocateAnswer a;
    assert_int_equal(locator_watch(l, frames, FRAMES, NULL), 0);
    assert_int_equal(locator_ask(l, "When?", &a, NULL), 0);
    locate_answer_deinit(&a);
    locator_free(l);
}

static void test_bad_question(void **state)
{
    (void)state;
    Locator *l = new_locator(16);
    assert_int_equal(locator_watch(l, frames, FRAMES, NULL), 0);
    char *question = malloc(100001);
    assert_non_null(question);
    memset(question, 'a', 100000);
    question[100000] = 0;
    Error err = {0};
    LocateAnswer a;
    assert_int_equal(locator_ask(l, question, &a, &err), -E2BIG);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_int_equal(a.n, 0);
    /* Bytes that are no text. */
    assert_int_equal(locator_ask(l, "\xff\xfe\x80 \xc3", &a, NULL), 0);
    locate_answer_deinit(&a);
    assert_int_equal(locator_ask(l, "", &a, NULL), 0);
    locate_answer_deinit(&a);
    free(question);
    locator_free(l);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_answer_each_time),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_bad_frames),
        cmocka_unit_test(test_bad_question),
    };
    if (argc < 2) {
        fprintf(stderr, "usage: test_locate CHECKPOINT\n");
        return EX_USAGE;
    }
    checkpoint = argv[1];
    return cmocka_run_group_tests(tests, setup, teardown);
}

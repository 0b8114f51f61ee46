/*
 * Who multiplies bf16: measured once, kept, taken from what was kept; what was kept elsewhere, or
 * is damaged, is measured anew.
 */
#include "model/gemm_choice.h"
#include "model/kernels.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static Scratch scratch;
#define PATH scratch_path(&scratch, "bf16-products")

static bool measures(void)
{
    return kernels()->cpu >= KERNEL_AVX512_BF16;
}

static void read_file(char *text, size_t size)
{
    FILE *file = fopen(PATH, "re");
    assert_non_null(file);
    size_t n = fread(text, 1, size - 1, file);
    text[n] = 0;
    fclose(file);
}

static void test_not_measured(void **state)
{
    (void)state;
    GemmChoice c;
    gemm_choose(scratch.dir, false, &c);
    assert_int_equal(c.layout, GEMM_PANELS);
    assert_string_equal(c.text, kernels()->name);
    assert_true(access(PATH, F_OK) < 0);
}

static void test_measured_and_kept(void **state)
{
    (void)state;
    GemmChoice c;
    gemm_choose(scratch.dir, true, &c);
    if (!measures()) {
        assert_int_equal(c.layout, GEMM_PANELS);
        assert_true(c.panels_gflops == 0 && access(PATH, F_OK) < 0);
        print_message("not run: this CPU does not multiply bf16\n");
        skip();
    }
    assert_true(c.panels_gflops > 1 && c.onednn_gflops > 1);
    assert_int_equal(c.layout, c.onednn_gflops > 1.1 * c.panels_gflops ? GEMM_ONEDNN : GEMM_PANELS);
    char text[1024], planted[1200];
    read_file(text, sizeof text);
    char *numbers = strstr(text, ": ours ");
    assert_non_null(numbers);

    /* What is kept decides, either way. */
    static const struct {
        const char *numbers;
        GemmLayout layout;
    } kept[] = {{": ours 100.0 oneDNN 111.0\n", GEMM_ONEDNN},
                {": ours 100.0 oneDNN 109.0\n", GEMM_PANELS}};
    for (size_t i = 0; i < 2; i++) {
        snprintf(planted, sizeof planted, "%.*s%s", (int)(numbers - text), text, kept[i].numbers);
        scratch_write_text(&scratch, "bf16-products", planted);
        gemm_choose(scratch.dir, true, &c);
        assert_int_equal(c.layout, kept[i].layout);
        assert_true(c.panels_gflops == 100.0);
    }

    /* What says nothing about this machine is replaced. */
    static const char *const OTHERS[] = {"", "x", ": ours 100.0 oneDNN 111.0\n",
                                         "another CPU: ours 100.0 oneDNN 111.0\n"};
    static const char *const DAMAGED[] = {": ours 100.0 oneDNN", ": ours -1 oneDNN 5\n",
                                          ": ours nan oneDNN 5\n", ": ours 100.0 oneDNN 1 x\n"};
    for (size_t i = 0; i < 8; i++) {
        if (i < 4)
            snprintf(planted, sizeof planted, "%s", OTHERS[i]);
        else
            snprintf(planted, sizeof planted, "%.*s%s", (int)(numbers - text), text,
                     DAMAGED[i - 4]);
        scratch_write_text(&scratch, "bf16-products", planted);
        gemm_choose(scratch.dir, true, &c);
        assert_true(c.panels_gflops != 100.0 && c.panels_gflops > 1);
        read_file(planted, sizeof planted);
        assert_true(strncmp(planted, text, (size_t)(numbers - text)) == 0);
    }
}

/* A folder that cannot be written costs the measurement, nothing else. */
static void test_no_folder(void **state)
{
    (void)state;
    GemmChoice c;
    gemm_choose("/nonexistent/folder", true, &c);
    assert_true(c.text[0] != 0 && (c.panels_gflops > 1) == measures());
    gemm_choose(NULL, true, &c);
    assert_true((c.panels_gflops > 1) == measures());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_measured),
        cmocka_unit_test(test_measured_and_kept),
        cmocka_unit_test(test_no_folder),
    };
    scratch_init(&scratch);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_deinit(&scratch);
    return failed;
}

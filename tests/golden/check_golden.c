/*
 * check_golden DIR [STAGE...]: all stages, or those whose number (01 .. 09) is named. Exit code 1
 * when a stage fails or nothing was compared.
 */
#include "tests/golden/golden.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *number;
    void (*run)(Golden *g);
} STAGES[] = {
#if defined(HAVE_STAGE_TEXT)
    {"01", stage_tokenizer}, {"02", stage_chat_template},
#endif
#if defined(HAVE_STAGE_RESIZE)
    {"03", stage_resize},
#endif
#if defined(HAVE_STAGE_TEXT)
    {"04", stage_mrope},
#endif
#if defined(HAVE_STAGE_VISION)
    {"05", stage_patches},   {"06", stage_vit},
#endif
#if defined(HAVE_STAGE_LLM)
    {"07", stage_llm},       {"08", stage_lora},          {"09", stage_end_to_end},
#endif
};

static bool wanted(const char *number, int argc, char **argv)
{
    if (argc <= 2)
        return true;
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], number) == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: check_golden DIR [STAGE...]\n");
        return EX_USAGE;
    }
    Golden golden = {.dir = argv[1]};
    printf("%-34s %6s %12s %12s %10s  %s\n", "stage", "cases", "worst abs", "worst rel",
           "tolerance", "result");
    for (size_t i = 0; i < sizeof STAGES / sizeof STAGES[0]; i++)
        if (wanted(STAGES[i].number, argc, argv))
            STAGES[i].run(&golden);
    printf("%d rows, %d failed, %d skipped\n", golden.rows, golden.failed, golden.skipped);
    if (golden.rows == 0) {
        fprintf(stderr, "%s: nothing to compare here\n", argv[1]);
        return 1;
    }
    return golden.failed ? 1 : 0;
}

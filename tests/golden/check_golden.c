/*
 * check_golden DIR [STAGE...]: all stages, or those whose number (01 .. 09) is named. One row for
 * each kind of comparison; exit code 1 when one fails, when a stage of DIR is none that is known
 * here, or when nothing was compared.
 */
#include "tests/golden/golden.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *number, *folder;
    void (*run)(Golden *g);
} STAGES[] = {
    {"01", "01_tokenizer", stage_tokenizer},
    {"02", "02_chat_template", stage_chat_template},
    {"03", "03_resize_sampling", stage_resize},
    {"04", "04_mrope", stage_mrope},
    {"05", "05_preprocess", stage_patches},
    {"06", "06_vit", stage_vit},
    {"07", "07_llm", stage_llm},
    {"08", "08_lora", stage_lora},
    {"09", "09_end_to_end", stage_end_to_end},
};
enum { N_STAGES = sizeof STAGES / sizeof STAGES[0] };

static bool wanted(const char *number, int argc, char **argv)
{
    if (argc <= 2)
        return true;
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], number) == 0)
            return true;
    return false;
}

/* Folders of DIR that no stage reads: what they hold was not compared, and that is no pass. */
static void report_unknown(Golden *g)
{
    char **folders = golden_list(g, ".");
    for (char **name = folders; name && *name; name++) {
        bool known = strcmp(*name, "00_checkpoints") == 0;
        for (size_t i = 0; i < N_STAGES && !known; i++)
            known = strcmp(*name, STAGES[i].folder) == 0;
        if (known)
            continue;
        printf("%-34s %6s %12s %12s %10s  NOT RUN: no such stage here\n", *name, "-", "-", "-",
               "-");
        g->failed++;
    }
    golden_list_free(folders);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: check_golden DIR [STAGE...]\n");
        return EX_USAGE;
    }
    Golden golden = {.dir = argv[1]};
    if (golden_exists(&golden, "tolerances.json"))
        golden.measured = json_load_file(golden_path(&golden, "tolerances.json"), 0, NULL);
    printf("%-34s %6s %12s %12s %10s  %s\n", "stage", "cases", "worst abs", "worst rel",
           "tolerance", "result");
    for (size_t i = 0; i < N_STAGES; i++)
        if (wanted(STAGES[i].number, argc, argv))
            STAGES[i].run(&golden);
    if (argc == 2)
        report_unknown(&golden);
    printf("%d rows, %d failed or not run, %d stages not in this directory\n", golden.rows,
           golden.failed, golden.absent);
    json_decref(golden.measured);
    if (golden.rows == 0) {
        fprintf(stderr, "%s: nothing to compare here\n", argv[1]);
        return 1;
    }
    return golden.failed ? 1 : 0;
}

/*
 * whend-analyst --connect ENDPOINT --id ID [--log-level LEVEL]: started by whend.
 * Ends with 0 on Stop, on SIGTERM and when whend dies; else with the sysexits code of the reason.
 */
#include "base/log.h"
#include "model/analyst.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* A window can take long and nothing here needs to be put away: at once, from wherever it is. */
static void on_sigterm(int number)
{
    (void)number;
    _exit(0);
}

static int usage(const char *problem)
{
    fprintf(stderr,
            "whend-analyst: %s\n"
            "usage: whend-analyst --connect ipc://PATH --id ID [--log-level "
            "error|warn|info|debug]\n"
            "whend starts it; there is no need to start it by hand.\n",
            problem);
    return EX_USAGE;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"connect", required_argument, NULL, 'c'},
                                            {"id", required_argument, NULL, 'i'},
                                            {"log-level", required_argument, NULL, 'l'},
                                            {"version", no_argument, NULL, 'v'},
                                            {NULL, 0, NULL, 0}};
    const char *endpoint = NULL, *id = NULL;
    LogLevel level = LOG_LEVEL_INFO;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            endpoint = optarg;
            break;
        case 'i':
            id = optarg;
            break;
        case 'l':
            if (log_level_parse(optarg, &level) < 0)
                return usage("--log-level: error, warn, info or debug");
            break;
        case 'v':
            printf("whend-analyst %s\n", WHEN_VERSION);
            return 0;
        default:
            return usage("unknown option, or one without its value");
        }
    }
    if (!endpoint || !id || optind != argc)
        return usage("--connect and --id are needed, and nothing else");

    struct sigaction action = {.sa_handler = on_sigterm};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    /* Ctrl-C in a terminal goes to the whole group: whend decides what becomes of its workers. */
    signal(SIGINT, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGTERM);

    log_init("whend-analyst", level);
    Error err = {0};
    if (analyst_run(endpoint, id, &err) < 0) {
        log_error("analyst", "%s", err.text);
        return err.exit_code;
    }
    return 0;
}

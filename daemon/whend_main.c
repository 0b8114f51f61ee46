/* whend: command line and start. The daemon itself is daemon.c. */
#include "base/log.h"
#include "config/config.h"
#include "daemon/daemon.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "whend --config FILE [--log-level error|warn|info|debug]\n"
    "whend --check-config FILE\n"
    "\n"
    "Watches the cameras of FILE and keeps \"when did X happen?\" answerable.\n"
    "\n"
    "  --config FILE        what to watch (see whend.yaml, the commented example)\n"
    "  --check-config FILE  only say whether FILE is right\n"
    "  --log-level LEVEL    overrides log_level of FILE\n"
    "  --version, --help\n"
    "\n"
    "SIGTERM stops, SIGHUP reads FILE again. Exit codes are those of sysexits.h.\n"
    "WHEN_LIBEXEC_DIR: where whend-camera and whend-analyst are, if not beside whend.\n";

static int fail(const Error *err)
{
    fprintf(stderr, "whend: %s\n", err->text);
    return err->exit_code ? err->exit_code : EX_SOFTWARE;
}

static int fail_usage(const char *text)
{
    fprintf(stderr, "whend: %s\nwhend: see whend --help\n", text);
    return EX_USAGE;
}

/* The workers lie beside this binary. */
static int find_libexec(char *dir, size_t bytes, Error *err)
{
    const char *given = getenv("WHEN_LIBEXEC_DIR");
    if (given && given[0]) {
        if (strlen(given) >= bytes)
            return error_set(err, ENAMETOOLONG, EX_USAGE, "WHEN_LIBEXEC_DIR is too long");
        snprintf(dir, bytes, "%s", given);
        return 0;
    }
    ssize_t n = readlink("/proc/self/exe", dir, bytes - 1);
    if (n < 0)
        return error_set(err, errno, EX_OSERR, "/proc/self/exe: %s (is /proc mounted?)",
                         strerror(errno));
    dir[n] = '\0';
    *strrchr(dir, '/') = '\0';
    return 0;
}

static int check_config(const char *path)
{
    Config config = {0};
    Error err = {0};
    int r = config_read(path, &config, &err);
    if (r == 0)
        printf("%s: fine, cameras %zu, watches %zu\n", path, config.n_cameras, config.n_watches);
    config_deinit(&config);
    return r < 0 ? fail(&err) : 0;
}

/* The level of the config counts from the first line on. */
static int set_log_level(const char *option, const char *config_path, Error *err)
{
    LogLevel level = LOG_LEVEL_INFO;
    if (option) {
        if (log_level_parse(option, &level) < 0)
            return error_set(err, EINVAL, EX_USAGE,
                             "--log-level %s: use error, warn, info or debug", option);
    } else {
        Config config = {0};
        int r = config_read(config_path, &config, err);
        if (r == 0 && config.log_level)
            log_level_parse(config.log_level, &level);
        config_deinit(&config);
        if (r < 0)
            return r;
    }
    log_init("whend", level);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"check-config", required_argument, NULL, 'k'},
                                            {"log-level", required_argument, NULL, 'l'},
                                            {"version", no_argument, NULL, 'v'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    DaemonOptions daemon_options = {0};
    int option;
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            daemon_options.config_path = optarg;
            break;
        case 'k':
            return check_config(optarg);
        case 'l':
            daemon_options.log_level = optarg;
            break;
        case 'v':
            printf("whend %s\n", WHEN_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            return EX_USAGE;
        }
    }
    if (optind < argc)
        return fail_usage("takes no arguments but options");
    if (!daemon_options.config_path)
        return fail_usage("--config FILE is missing");

    char libexec[PATH_MAX];
    Error err = {0};
    Daemon *daemon = NULL;
    umask(0027); /* state and sockets: for the owner and its group */
    int r = find_libexec(libexec, sizeof libexec, &err);
    daemon_options.libexec_dir = libexec;
    if (r == 0)
        r = set_log_level(daemon_options.log_level, daemon_options.config_path, &err);
    if (r == 0)
        r = daemon_open(&daemon_options, &daemon, &err);
    if (r == 0)
        r = daemon_run(daemon, &err);
    daemon_free(daemon);
    return r < 0 ? fail(&err) : 0;
}

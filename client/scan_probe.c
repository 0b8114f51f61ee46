/* What a source offers. See scan_probe.h. */
#include "client/scan_probe.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "client/ctl_print.h"
#include "config/credential.h"
#include "config/url.h"
#include "pipeline/probe.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libgen.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ProbeOptions {
    const char *url;        /* without a password */
    const char *credential; /* a file with one line user:password, mode 0600; NULL: none */
    const char *transport;  /* "tcp" or "udp" */
    const char *tls_ca;     /* see config/whend.yaml; NULL */
    bool tls_unchecked, json;
} ProbeOptions;

static int print_found(const ProbeOptions *options, const Probe *f, Error *err)
{
    _cleanup_str_ Str out = {0};
    if (options->json) {
        str_add_text(&out, "{\"codec\":");
        str_add_json(&out, f->codec);
        str_add_text(&out, ",\"decoder\":");
        str_add_json(&out, f->decoder);
        str_addf(&out, ",\"width\":%d,\"height\":%d,\"fps\":", f->width, f->height);
        json_number(&out, f->fps);
        str_add_text(&out, ",\"duration_s\":");
        json_number(&out, f->duration_s);
        str_addf(&out,
                 ",\"utc_source\":\"%s\",\"utc_us\":%" PRId64 ",\"utc_err_us\":%" PRId64
                 ",\"clock_off_us\":%" PRId64 "}\n",
                 f->utc_source, f->utc_us, f->utc_err_us, f->clock_off_us);
    } else {
        str_add_text(&out, "video    ");
        print_text(&out, f->codec);
        str_addf(&out, " %dx%d", f->width, f->height);
        if (f->fps > 0)
            str_addf(&out, ", %.1f pictures a second", f->fps);
        str_add_text(&out, f->decoder[0] ? ", decoded by " : "");
        print_text(&out, f->decoder);
        if (f->duration_s > 0)
            str_addf(&out, "\nlength   %.1f s", f->duration_s);
        str_add_text(&out, "\nUTC      ");
        if (f->utc_us)
            print_time(&out, f->utc_us, f->utc_err_us);
        str_addf(&out, "%s%s", f->utc_us ? " by " : "",
                 f->utc_source[0] ? f->utc_source : "nothing says when it begins (set start:)");
        if (strcmp(f->utc_source, "rtcp") == 0)
            str_addf(&out, "\nclock    the camera's is %+.2f s off this machine's",
                     (double)f->clock_off_us / 1e6);
        str_add_text(&out, "\n");
    }
    if (str_failed(&out))
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    if (fwrite(str_text(&out), 1, out.len, stdout) != out.len || fflush(stdout) == EOF)
        return error_set(err, EIO, EX_IOERR, "standard output: %s", strerror(errno));
    return 0;
}

static int read_credential(const char *path, Credential *credential, Error *err)
{
    _cleanup_free_ char *folder = strdup(path), *name = strdup(path);
    if (!folder || !name)
        return error_set(err, ENOMEM, EX_OSERR, "no memory");
    return credential_read_from(dirname(folder), basename(name), 0, credential, err);
}

static int probe(const ProbeOptions *options, Error *err)
{
    Probe found = {0};
    Credential credential = {0};
    _cleanup_free_ char *url = NULL;
    UrlKind kind;
    const char *reason;
    int r = url_read(options->url, ".", &url, &kind, &reason);
    if (r < 0) /* the URL is not repeated: a password may stand in it */
        return error_set(err, -r, EX_USAGE, "--probe: %s", reason);
    if (kind == URL_FOLDER)
        return error_set(err, EISDIR, EX_USAGE, "--probe %s: a folder: name a file in it", url);
    if (options->credential)
        r = read_credential(options->credential, &credential, err);
    ProbeSource source = {.url = url,
                          .is_stream = kind == URL_STREAM,
                          .user = credential.user,
                          .password = credential.password,
                          .transport = options->transport,
                          .tls_ca = options->tls_ca,
                          .tls_unchecked = options->tls_unchecked};
    if (r == 0)
        r = probe_look(&source, &found, err);
    credential_deinit(&credential);
    return r < 0 ? r : print_found(options, &found, err);
}

static const char PROBE_USAGE[] =
    "usage: whenscan --probe URL [--credential FILE] [--transport tcp|udp] [--tls-ca FILE]\n"
    "                            [--tls-unchecked] [--json]\n"
    "\n"
    "What rtsp://, rtsps://, http://, https:// or a file offers. FILE of --credential has one "
    "line,\n"
    "user:password, and mode 0600.\n";

int scan_probe_main(int argc, char **argv)
{
    static const struct option OPTIONS[] = {{"probe", required_argument, NULL, 'p'},
                                            {"credential", required_argument, NULL, 'c'},
                                            {"transport", required_argument, NULL, 't'},
                                            {"tls-ca", required_argument, NULL, 'a'},
                                            {"tls-unchecked", no_argument, NULL, 'u'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    ProbeOptions options = {.transport = "tcp"};
    Error err = {0};
    int rc = 0, option;
    setlocale(LC_CTYPE, "");
    log_init("whenscan", LOG_LEVEL_WARN);
    opterr = 0;
    while (rc == 0 && (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        if (option == 'p')
            options.url = optarg;
        else if (option == 'c')
            options.credential = optarg;
        else if (option == 'a')
            options.tls_ca = optarg;
        else if (option == 'u')
            options.tls_unchecked = true;
        else if (option == 'j')
            options.json = true;
        else if (option == 't' && (strcmp(optarg, "tcp") == 0 || strcmp(optarg, "udp") == 0))
            options.transport = optarg;
        else
            rc = error_set(&err, EINVAL, EX_USAGE, "%.60s: not understood", argv[optind - 1]);
    }
    if (rc == 0 && (!options.url || optind < argc))
        rc = error_set(&err, EINVAL, EX_USAGE, "one URL or file is needed");
    if (rc == 0)
        rc = probe(&options, &err);
    if (rc >= 0)
        return 0;
    fprintf(stderr, "whenscan: %s\n", err.text);
    if (err.exit_code == EX_USAGE)
        fputs(PROBE_USAGE, stderr);
    return err.exit_code ? err.exit_code : EX_SOFTWARE;
}

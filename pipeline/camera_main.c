/*
 * whend-camera: one camera's worker. Started by whend, which tells it by ZeroMQ what to do; see
 * proto/worker.proto.
 */
#include "base/log.h"
#include "pipeline/camera.h"
#include "pipeline/url.h"

#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { WAIT_MS = 200, MAX_CELL_PX = 4096, ARENAS = 2 };

static int usage(void)
{
    fprintf(stderr, "whend-camera: usage: whend-camera --connect ENDPOINT --id ID [--log-level "
                    "LEVEL] (it is started by whend)\n");
    return EX_USAGE;
}

static int check(const When__CameraSetup *setup, Error *err)
{
    if (setup->cell_px == 0 || setup->cell_px > MAX_CELL_PX || setup->max_pixels == 0 ||
        setup->max_pixels > WIRE_MAX_PIXEL_BYTES / 3 || setup->min_pixels > setup->max_pixels ||
        !(setup->fps_base > 0) || !(setup->fps_base <= 1000))
        return error_set(err, EINVAL, EX_CONFIG,
                         "setup: cell_px %u, pixels %llu to %llu, fps %g make no sense",
                         setup->cell_px, (unsigned long long)setup->min_pixels,
                         (unsigned long long)setup->max_pixels, setup->fps_base);
    return 0;
}

static int work(CameraLink *link)
{
    const When__CameraSetup *setup = link->setup;
    Error err = {0};
    if (check(setup, &err) < 0) {
        camera_link_end(link, &err, 0);
        return err.exit_code;
    }
    if (setup->media)
        return camera_media_run(link);
    if (setup->span_end_us > setup->span_start_us)
        return camera_archive_run(link);
    if (setup->folder)
        return camera_folder_run(link);
    return url_is_stream(setup->url) && !setup->once ? camera_live_run(link)
                                                     : camera_file_run(link);
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
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'v') {
            puts("whend-camera " WHEN_VERSION);
            return 0;
        }
        if (option == 'c')
            endpoint = optarg;
        else if (option == 'i')
            id = optarg;
        else if (option != 'l' || log_level_parse(optarg, &level) < 0)
            return usage();
    }
    if (!endpoint || !id || optind != argc)
        return usage();
    log_init("whend-camera", level);
    /* GStreamer's threads come and go with each connection. In an arena each the heap would settle
     * 7 MB higher after some tens of them, though nothing is lost. */
    mallopt(M_ARENA_MAX, ARENAS);
    /* Dies with whend. If that died before this call, nobody would ever say so. */
    pid_t parent = getppid();
    camera_link_catch_signals();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        return EX_TEMPFAIL;
    CameraLink link;
    Error err = {0};
    if (camera_link_open(&link, endpoint, id, &err) < 0) {
        log_error("camera", "camera=%s %s", id, err.text);
        camera_link_close(&link);
        return err.exit_code;
    }
    while (!link.setup && !camera_link_stopped(&link))
        camera_link_wait(&link, -1, false, WAIT_MS);
    int exit_code = link.setup && !camera_link_stopped(&link) ? work(&link) : 0;
    camera_link_close(&link);
    return exit_code;
}

/*
 * Camera: one camera of the config: its worker's messages, its feed, its health. Frames of files
 * flow by credit, so that at most CAMERA_FILE_WINDOWS windows of them are in memory.
 */
#ifndef WHEN_DAEMON_CAMERA_H
#define WHEN_DAEMON_CAMERA_H

#include "config/config.h"
#include "daemon/camera_counters.h"
#include "daemon/camera_setup.h"
#include "daemon/feed.h"
#include "daemon/folder.h"
#include "daemon/supervisor.h"

enum { CAMERA_FILE_WINDOWS = 3 };

typedef struct Daemon Daemon;

typedef struct Camera {
    const CameraConfig *config; /* of the daemon's config */
    char worker[WORKER_NAME_BYTES];
    Feed *feed;
    bool setup_sent;
    bool interrupted; /* its worker ended before its time */
    uint32_t credit;  /* frames that a file's worker may still send */
    char state[32], reason[512];
    uint64_t worker_dropped, reconnects;
    int utc_source;
    int64_t utc_err_us;
    double fps_in, fps_out, duration_s;
    uint64_t recording_bytes;
    bool recording_stopped;
    bool file_noted; /* a file is its own recording: the index knows of it */
    CameraCounters counters;
    FeedCounts published; /* as of the last progress message */
} Camera;

/* err names the camera. */
int camera_new(Daemon *daemon, const CameraConfig *config, Camera **camera, Error *err);
void camera_free(Camera *camera);

/* Starts the worker, unless the file was examined to its end before. */
int camera_start(Daemon *daemon, Camera *camera);
/* Sends the setup as soon as the worker said hello and the model's frame limits are known. */
void camera_setup(Daemon *daemon, Camera *camera);
/* A message of the newest incarnation of its worker. false: it was not right. */
bool camera_message(Daemon *daemon, Camera *camera, const When__FromWorker *message,
                    zmq_msg_t *pixels, size_t n_pixels);
void camera_gone(Daemon *daemon, Camera *camera, const WorkerEnd *end);
void camera_tick(Daemon *daemon, Camera *camera); /* silence, credit */
/* Only if something changed, or anyway. */
void camera_publish_progress(Daemon *daemon, Camera *camera, bool anyway);

double camera_done(const Camera *camera); /* share of a file that was examined */

/* Shared with archive jobs. */
/* Text of a setup that is owned by the caller. */
typedef struct CameraSetupTexts {
    char *user, *password, *recording_dir;
    FolderKnown known;
    CameraView view;
} CameraSetupTexts;
int camera_fill_setup(Daemon *daemon, const CameraConfig *config, When__CameraSetup *setup,
                      CameraSetupTexts *texts, Error *err);
void camera_setup_texts_deinit(CameraSetupTexts *texts);
/* How many frames more to allow, given those allowed and held. */
uint32_t camera_credit(const Daemon *daemon, const CameraConfig *config, size_t held,
                       uint32_t credit);
/* RecordingClosed of a camera, also of an earlier incarnation: the file is there. */
bool camera_recording(Daemon *daemon, const char *camera, const When__RecordingClosed *closed);

#endif

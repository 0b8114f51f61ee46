/*
 * whend-camera's end of the worker protocol (proto/worker.proto): one DEALER socket, used in the
 * main thread only.
 */
#ifndef WHEN_PIPELINE_CAMERA_LINK_H
#define WHEN_PIPELINE_CAMERA_LINK_H

#include "base/err.h"
#include "pipeline/timebase.h"
#include "proto/wire.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct CameraLink {
    void *context, *socket;
    char name[WIRE_MAX_ID_BYTES + 1]; /* for logs */
    WireMessage in;
    When__ToWorker *setup_message; /* owns *setup */
    const When__CameraSetup *setup;
    uint64_t credit; /* frames that may still be sent (files) */
    bool stop;
} CameraLink;

int camera_link_open(CameraLink *link, const char *endpoint, const char *id, Error *err);
/* Waits up to two seconds for what was sent to leave. */
void camera_link_close(CameraLink *link);

/* Waits for a message, for wake_fd (>= 0) to be readable, for room to send (want_room), a signal or
 * the time; reads all messages that wait. */
void camera_link_wait(CameraLink *link, int wake_fd, bool want_room, int timeout_ms);

/* Anything but a frame: waits for room up to some seconds, since these are never dropped. */
void camera_link_send(CameraLink *link, When__FromWorker *message);

/* pixels is handed over when 0 is returned. -EAGAIN: no room. */
int camera_link_send_frame(CameraLink *link, const When__FrameInfo *info, zmq_msg_t *pixels);

void camera_link_health(CameraLink *link, When__CameraHealth *health);
void camera_link_end(CameraLink *link, const Error *err, double duration_s);

/* SIGTERM or SIGINT came, or Stop. */
bool camera_link_stopped(const CameraLink *link);
void camera_link_catch_signals(void);

#endif

/*
 * The compressed pictures of a video file, in the order they are stored, nothing decoded: for clips
 * and to learn how long a file is that nobody closed. In the caller's thread.
 */
#ifndef WHEN_PIPELINE_DEMUX_H
#define WHEN_PIPELINE_DEMUX_H

#include "base/err.h"

#include <gst/gst.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Demux Demux;

enum { DEMUX_END = 1 };

/* EX_NOINPUT, EX_DATAERR as reader_open. */
int demux_open(const char *path, Demux **demux, Error *err);
void demux_free(Demux *demux);

/* Goes to the last key frame at or before this pts. */
int demux_seek(Demux *demux, int64_t pts_us, Error *err);

/* The next picture (an access unit): 0 and *sample (the caller unrefs), DEMUX_END (also where a
 * file breaks off), or -errno. */
int demux_next(Demux *demux, GstSample **sample, Error *err);

/* When it is shown, from the file's first picture; and for how long (0: not known). */
int64_t demux_pts_us(const Demux *demux, GstSample *sample);
int64_t demux_duration_us(GstSample *sample);
bool demux_is_key(GstSample *sample);

#endif

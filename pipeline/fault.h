/*
 * GStreamer's errors in words for users: what is wrong, and what to do, without a secret.
 */
#ifndef WHEN_PIPELINE_FAULT_H
#define WHEN_PIPELINE_FAULT_H

#include "base/err.h"

#include <gst/gst.h>

/* gst_init, once in the process. */
int fault_init_gst(Error *err);

/* The Debian package with the decoder or demuxer for caps of this name. */
const char *fault_package_for(const char *caps_name);

/* An element message: -ENOTSUP with err filled when it says that a plugin is missing, else 0. */
int fault_missing_plugin(GstMessage *message, Error *err);

/* An error message of a file's pipeline as one line; returns -errno. */
int fault_of_file(GstMessage *message, const char *path, Error *err);

#endif

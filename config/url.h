/*
 * A camera's `url:`: rtsp:// or rtsps:// without a password in it, a path, or file://PATH.
 */
#ifndef WHEN_CONFIG_URL_H
#define WHEN_CONFIG_URL_H

#include <stdbool.h>

/* *url becomes an rtsp URL as it was written, or an absolute path (a relative one counts from
 * `folder`); the caller frees it. 0, -ENOMEM, or -EINVAL with *reason: a static text with the
 * remedy that never repeats any part of `text`. */
int url_read(const char *text, const char *folder, char **url, bool *is_file, const char **reason);

#endif

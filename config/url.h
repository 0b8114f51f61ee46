/*
 * A camera's `url:`, without a password in it: rtsp://, rtsps://, http:// or https://; a file, a
 * folder (ends in '/'), or file://PATH. What http brings is a stream, unless the URL's path ends
 * like a video file (.mp4, .mkv, ...): that is read once, as a file is.
 */
#ifndef WHEN_CONFIG_URL_H
#define WHEN_CONFIG_URL_H

typedef enum UrlKind { URL_STREAM, URL_FILE, URL_FOLDER } UrlKind;

/* *url becomes a URL as it was written, or an absolute path (a relative one counts from
 * `folder`); the caller frees it. 0, -ENOMEM, or -EINVAL with *reason: a static text with the
 * remedy that never repeats any part of `text`. */
int url_read(const char *text, const char *folder, char **url, UrlKind *kind, const char **reason);

#endif

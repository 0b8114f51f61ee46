/* A camera's `url:`. See url.h. */
#include "config/url.h"

#include "base/file.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* %XX of file:// in place. A NUL would cut the path short. */
static bool decode_percent(char *text)
{
    char *out = text;
    for (const char *in = text; *in; in++) {
        if (*in != '%') {
            *out++ = *in;
            continue;
        }
        if (!isxdigit((unsigned char)in[1]) || !isxdigit((unsigned char)in[2]))
            return false;
        char c = (char)(hex_digit(in[1]) << 4 | hex_digit(in[2]));
        if (c == '\0')
            return false;
        *out++ = c;
        in += 2;
    }
    *out = '\0';
    return true;
}

static int read_stream(const char *text, const char *authority, char **url, const char **reason)
{
    size_t length = strcspn(authority, "/?#");
    if (memchr(authority, '@', length)) {
        *reason = "a user or password does not belong into a URL (write `credential: NAME` beside "
                  "it and user:password into that file)";
        return -EINVAL;
    }
    if (length == 0 || authority[0] == ':') {
        *reason = "no host (write it like rtsp://192.0.2.10:554/stream1)";
        return -EINVAL;
    }
    if (strpbrk(text, " \t\"<>\\")) {
        *reason = "a URL has no spaces or quotes (write them as %20, %22)";
        return -EINVAL;
    }
    *url = strdup(text);
    return *url ? 0 : -ENOMEM;
}

/* Does the path of an http URL end like a file of video? A playlist (.m3u8) does not. */
static bool names_a_file(const char *authority)
{
    static const char *const ENDS[] = {".mp4", ".m4v",  ".mov", ".mkv", ".webm",
                                       ".avi", ".mpeg", ".mpg", ".ts",  ".flv"};
    const char *path = strchr(authority, '/');
    size_t length = path ? strcspn(path, "?#") : 0;
    for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++) {
        size_t n = strlen(ENDS[i]);
        if (length > n && strncasecmp(path + length - n, ENDS[i], n) == 0)
            return true;
    }
    return false;
}

/* A path: a folder when it ends in '/', without it then. */
static UrlKind kind_of_path(char *path)
{
    size_t length = strlen(path);
    if (length == 0 || path[length - 1] != '/')
        return URL_FILE;
    while (length > 1 && path[length - 1] == '/')
        path[--length] = '\0';
    return URL_FOLDER;
}

int url_read(const char *text, const char *folder, char **url, UrlKind *kind, const char **reason)
{
    static const char *const STREAMS[] = {"rtsp://", "rtsps://", "http://", "https://"};
    *url = NULL;
    *kind = URL_STREAM;
    for (size_t i = 0; i < sizeof STREAMS / sizeof *STREAMS; i++) {
        size_t n = strlen(STREAMS[i]);
        if (strncasecmp(text, STREAMS[i], n) != 0)
            continue;
        if (i >= 2 && names_a_file(text + n))
            *kind = URL_FILE;
        return read_stream(text, text + n, url, reason);
    }
    if (strncasecmp(text, "file://", 7) == 0) {
        if (text[7] != '/') {
            *reason = "file:// needs a path from the root (file:///srv/video/yard.mp4)";
            return -EINVAL;
        }
        char *path = strdup(text + 7);
        if (!path)
            return -ENOMEM;
        if (!decode_percent(path)) {
            free(path);
            *reason = "a % in file:// is followed by two hexadecimal digits (%25 for itself)";
            return -EINVAL;
        }
        *kind = kind_of_path(path);
        *url = path;
        return 0;
    }
    if (strstr(text, "://")) {
        *reason = "not a kind of URL that whend reads (rtsp://, rtsps://, http://, https://, a "
                  "file, or a folder/)";
        return -EINVAL;
    }
    if (!*text) {
        *reason = "empty (name rtsp://HOST/PATH, a video file, or a folder/)";
        return -EINVAL;
    }
    if (text[0] == '~') {
        *reason = "~ is not expanded (write the whole path)";
        return -EINVAL;
    }
    *url = text[0] == '/' ? strdup(text) : file_join(folder, text);
    if (!*url)
        return -ENOMEM;
    *kind = kind_of_path(*url);
    return 0;
}

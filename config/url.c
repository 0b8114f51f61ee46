/* A camera's `url:`. See url.h. */
#include "config/url.h"

#include "base/file.h"

#include <ctype.h>
#include <errno.h>
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

int url_read(const char *text, const char *folder, char **url, bool *is_file, const char **reason)
{
    *url = NULL;
    *is_file = false;
    if (strncasecmp(text, "rtsp://", 7) == 0)
        return read_stream(text, text + 7, url, reason);
    if (strncasecmp(text, "rtsps://", 8) == 0)
        return read_stream(text, text + 8, url, reason);
    *is_file = true;
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
        *url = path;
        return 0;
    }
    if (strstr(text, "://")) {
        *reason = "not a kind of URL that whend reads (rtsp://, rtsps://, or a file)";
        return -EINVAL;
    }
    if (!*text || text[strlen(text) - 1] == '/') {
        *reason = "not a file (name a video file, rtsp://HOST/PATH or rtsps://HOST/PATH)";
        return -EINVAL;
    }
    if (text[0] == '~') {
        *reason = "~ is not expanded (write the whole path)";
        return -EINVAL;
    }
    *url = text[0] == '/' ? strdup(text) : file_join(folder, text);
    return *url ? 0 : -ENOMEM;
}

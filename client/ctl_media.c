/* whenctl clip, whenctl thumbnail: the camera's own video of an event, fetched piece by piece. */
#include "client/ctl.h"

#include "base/clock.h"
#include "base/mem.h"
#include "client/ctl_print.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAKE_MS = 150000 /* whend gives up before */ };

typedef struct Fetch {
    int fd;
    uint64_t id, bytes, total_bytes;
    int64_t start_us, end_us, offset_us;
    char notice[256];
    int errnum; /* of a write */
} Fetch;

static int take(const When__Response *response, void *context)
{
    Fetch *f = context;
    if (response->body_case != WHEN__RESPONSE__BODY_MEDIA)
        return -EBADMSG;
    const When__MediaResponse *m = response->media;
    if (m->offset != f->bytes || (m->data.len == 0 && m->total_bytes > f->bytes))
        return -EBADMSG;
    if (f->bytes == 0) {
        f->id = m->media_id;
        f->start_us = m->start_us;
        f->end_us = m->end_us;
        f->offset_us = m->event_offset_us;
        snprintf(f->notice, sizeof f->notice, "%s", m->notice);
    }
    f->total_bytes = m->total_bytes;
    for (size_t done = 0; done < m->data.len;) {
        ssize_t n = write(f->fd, m->data.data + done, m->data.len - done);
        if (n < 0 && errno != EINTR) {
            f->errnum = errno;
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    f->bytes += m->data.len;
    return 0;
}

static int fetch(Ctl *ctl, bool thumbnail, Fetch *f, Error *err)
{
    When__ThumbnailRequest still = WHEN__THUMBNAIL_REQUEST__INIT;
    When__ClipRequest clip = WHEN__CLIP_REQUEST__INIT;
    When__Request request = WHEN__REQUEST__INIT;
    still.event_id = clip.event_id = ctl->words[0];
    clip.before_us = clip.after_us = ctl->margin_us;
    request.body_case = thumbnail ? WHEN__REQUEST__BODY_THUMBNAIL : WHEN__REQUEST__BODY_CLIP;
    if (thumbnail)
        request.thumbnail = &still;
    else
        request.clip = &clip;
    int r = when_request(ctl->when, &request, MAKE_MS, take, f, err);
    request.body_case = WHEN__REQUEST__BODY_CLIP;
    request.clip = &clip;
    clip.media_id = f->id;
    while (r == 0 && f->bytes < f->total_bytes) {
        clip.offset = f->bytes;
        r = when_request(ctl->when, &request, 0, take, f, err);
    }
    return r;
}

static void print(const Ctl *ctl, const Fetch *f, const char *path, bool thumbnail)
{
    char start[CLOCK_UTC_TEXT_BYTES], end[CLOCK_UTC_TEXT_BYTES];
    clock_format_utc(f->start_us, start);
    clock_format_utc(f->end_us, end);
    if (ctl->json) {
        Str out = {0};
        str_addf(&out, "{\"file\": ");
        str_add_json(&out, path);
        str_addf(&out, ", \"bytes\": %" PRIu64, f->bytes);
        if (f->start_us)
            str_addf(&out, ", \"start\": \"%s\", \"end\": \"%s\", \"event_offset_s\": %.3f", start,
                     end, (double)f->offset_us / 1e6);
        str_addf(&out, ", \"notice\": ");
        str_add_json(&out, f->notice);
        str_addf(&out, "}\n");
        fputs(str_text(&out), stdout);
        str_deinit(&out);
        return;
    }
    if (thumbnail)
        printf("%s: %" PRIu64 " bytes%s%s\n", path, f->bytes, f->start_us ? ", " : "",
               f->start_us ? start : "");
    else
        printf("%s: %s to %s, %" PRIu64 " bytes; the event begins %.1f s into it\n", path, start,
               end, f->bytes, (double)f->offset_us / 1e6);
    if (f->notice[0])
        printf("%s\n", f->notice);
}

static int run(Ctl *ctl, bool thumbnail, Error *err)
{
    char *path = NULL, *part = NULL;
    bool to_stdout = ctl->output && strcmp(ctl->output, "-") == 0;
    Fetch f = {.fd = STDOUT_FILENO};
    int r = 0;
    if (ctl->output)
        path = strdup(ctl->output);
    else if (asprintf(&path, "%s.%s", ctl->words[0], thumbnail ? "jpg" : "mp4") < 0)
        path = NULL;
    if (!path || asprintf(&part, "%s.part", path) < 0)
        part = NULL;
    if (!part)
        r = error_set(err, ENOMEM, EX_OSERR, "no memory");
    if (r == 0 && !to_stdout) {
        f.fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        if (f.fd < 0)
            r = error_set(err, errno, EX_CANTCREAT, "%s: %s", part, strerror(errno));
    }
    if (r == 0) {
        r = fetch(ctl, thumbnail, &f, err);
        if (f.errnum)
            r = error_set(err, f.errnum, EX_IOERR, "%s: %s", part, strerror(f.errnum));
        else if (r == -EBADMSG)
            error_set(err, EBADMSG, EX_PROTOCOL, "whend answered something else than was asked");
        if (!to_stdout && close(f.fd) < 0 && r == 0)
            r = error_set(err, errno, EX_IOERR, "%s: %s", part, strerror(errno));
        if (r == 0 && !to_stdout && rename(part, path) < 0)
            r = error_set(err, errno, EX_CANTCREAT, "%s: %s", path, strerror(errno));
        if (r < 0 && !to_stdout)
            unlink(part); /* all of it or nothing */
        if (r == 0 && !to_stdout)
            print(ctl, &f, path, thumbnail);
    }
    free(path);
    free(part);
    return r;
}

int ctl_clip(Ctl *ctl, Error *err)
{
    return run(ctl, false, err);
}

int ctl_thumbnail(Ctl *ctl, Error *err)
{
    return run(ctl, true, err);
}

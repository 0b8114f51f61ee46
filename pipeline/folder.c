/* Video files of a folder. See folder.h. */
#include "pipeline/folder.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <glib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

typedef enum FileState {
    FILE_NEW, /* to be handed out when it is settled */
    FILE_GOOD,
    FILE_BAD
} FileState;

typedef struct File {
    char *path; /* the table's key */
    uint64_t bytes;
    int64_t mtime_us;
    FileState state;
    bool was_good;
    bool closed;        /* its writer said so: no waiting */
    int64_t changed_us; /* seen to be other than before; in now_us's clock */
    uint64_t seen;      /* number of the last scan that saw it */
} File;

struct Folder {
    char *path;
    int fd;
    GHashTable *files;   /* path: File */
    GHashTable *folders; /* watch descriptor: path */
    GQueue removed;      /* char * */
    char *handed, *told; /* what the last call gave out */
    uint64_t scans;
    int64_t rescan_us;
    bool missing;
};

static void file_free(void *data)
{
    File *file = data;
    g_free(file->path);
    g_free(file);
}

static bool is_video(const char *name)
{
    static const char *const ENDS[] = {"mp4", "m4v", "mov",  "mkv", "webm", "avi", "ts",
                                       "mts", "mpg", "mpeg", "flv", "3gp",  "m2ts"};
    const char *point = strrchr(name, '.');
    if (!point || name[0] == '.')
        return false;
    for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++)
        if (g_ascii_strcasecmp(point + 1, ENDS[i]) == 0)
            return true;
    return false;
}

/* What stat says of a file; news restart its settling. */
static void see(Folder *f, const char *path, const struct stat *st, bool closed, int64_t now_us)
{
    int64_t mtime_us = (int64_t)st->st_mtim.tv_sec * 1000000 + st->st_mtim.tv_nsec / 1000;
    File *file = g_hash_table_lookup(f->files, path);
    if (!file) {
        if (g_hash_table_size(f->files) >= FOLDER_MAX_FILES)
            return;
        file = g_new0(File, 1);
        file->path = g_strdup(path);
        file->mtime_us = -1;
        g_hash_table_insert(f->files, file->path, file);
    }
    file->seen = f->scans;
    /* Known from an earlier run, which did not keep the time of writing. */
    if (file->state == FILE_GOOD && file->mtime_us == -1 && file->bytes == (uint64_t)st->st_size)
        file->mtime_us = mtime_us;
    if (file->mtime_us != mtime_us || file->bytes != (uint64_t)st->st_size) {
        file->mtime_us = mtime_us;
        file->bytes = (uint64_t)st->st_size;
        file->state = FILE_NEW;
        file->closed = f->scans == 1 && clock_utc_us() - mtime_us > FOLDER_SETTLE_US;
        file->changed_us = now_us;
    }
    file->closed |= closed;
}

static void scan(Folder *f, const char *path, int depth, int64_t now_us, uint64_t *n_seen)
{
    DIR *dir = opendir(path);
    if (!dir)
        return;
    int watch = inotify_add_watch(f->fd, path,
                                  IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
                                      IN_CREATE | IN_ONLYDIR | IN_EXCL_UNLINK);
    if (watch >= 0)
        g_hash_table_insert(f->folders, GINT_TO_POINTER(watch), g_strdup(path));
    for (struct dirent *entry; (entry = readdir(dir));) {
        char child[PATH_MAX];
        struct stat st;
        int n = snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || n < 0 || (size_t)n >= sizeof child)
            continue;
        if (is_video(entry->d_name) && stat(child, &st) == 0 && S_ISREG(st.st_mode)) {
            ++*n_seen;
            see(f, child, &st, false, now_us);
        } else if (depth < FOLDER_MAX_DEPTH && lstat(child, &st) == 0 && S_ISDIR(st.st_mode)) {
            scan(f, child, depth + 1, now_us, n_seen);
        }
    }
    closedir(dir);
}

static void forget(Folder *f, const char *path)
{
    File *file = g_hash_table_lookup(f->files, path);
    if (!file)
        return;
    if (file->was_good)
        g_queue_push_tail(&f->removed, g_strdup(path));
    g_hash_table_remove(f->files, path);
}

static void forget_unseen(Folder *f)
{
    GHashTableIter all;
    void *value;
    g_hash_table_iter_init(&all, f->files);
    while (g_hash_table_iter_next(&all, NULL, &value)) {
        File *file = value;
        if (file->seen == f->scans)
            continue;
        if (file->was_good)
            g_queue_push_tail(&f->removed, g_strdup(file->path));
        g_hash_table_iter_remove(&all);
    }
}

static void rescan(Folder *f, int64_t now_us)
{
    struct stat st;
    uint64_t n_seen = 0;
    f->scans++;
    f->rescan_us = now_us + FOLDER_RESCAN_US;
    bool there = stat(f->path, &st) == 0 && S_ISDIR(st.st_mode);
    if (there)
        scan(f, f->path, 0, now_us, &n_seen);
    f->missing = !there || (n_seen == 0 && g_hash_table_size(f->files) > 1);
    if (!f->missing)
        forget_unseen(f);
}

static void take_event(Folder *f, const struct inotify_event *event, int64_t now_us)
{
    const char *parent = g_hash_table_lookup(f->folders, GINT_TO_POINTER(event->wd));
    if (event->mask & IN_IGNORED) {
        g_hash_table_remove(f->folders, GINT_TO_POINTER(event->wd));
        return;
    }
    /* A folder came or went, or events were lost: look at everything. */
    if ((event->mask & (IN_ISDIR | IN_Q_OVERFLOW)) || !parent || event->len == 0) {
        f->rescan_us = now_us;
        return;
    }
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/%s", parent, event->name);
    if (n < 0 || (size_t)n >= sizeof path || !is_video(event->name))
        return;
    if (event->mask & (IN_DELETE | IN_MOVED_FROM))
        forget(f, path);
    else if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        see(f, path, &st, event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO), now_us);
}

int folder_open(const char *path, int64_t now_us, Folder **folder, Error *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return error_set(err, errno, EX_NOINPUT, "%s: %s", path,
                         errno == ENOENT ? "no such folder" : strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return error_set(err, ENOTDIR, EX_NOINPUT, "%s: not a folder (write a file without '/')",
                         path);
    Folder *f = calloc(1, sizeof *f);
    if (!f)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", path);
    f->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (f->fd < 0) /* then the folder is read every minute */
        log_warn("folder", "%s: inotify: %s", path, strerror(errno));
    f->path = g_strdup(path);
    f->files = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, file_free);
    f->folders = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    g_queue_init(&f->removed);
    f->rescan_us = now_us;
    *folder = f;
    return 0;
}

void folder_free(Folder *f)
{
    if (!f)
        return;
    closep(&f->fd);
    g_hash_table_destroy(f->files);
    g_hash_table_destroy(f->folders);
    g_queue_clear_full(&f->removed, g_free);
    g_free(f->handed);
    g_free(f->told);
    g_free(f->path);
    free(f);
}

void folder_know(Folder *f, const char *path, uint64_t bytes)
{
    if (g_hash_table_contains(f->files, path))
        return;
    File *file = g_new0(File, 1);
    file->path = g_strdup(path);
    file->bytes = bytes;
    file->mtime_us = -1;
    file->state = FILE_GOOD;
    file->was_good = true;
    g_hash_table_insert(f->files, file->path, file);
}

void folder_tick(Folder *f, int64_t now_us)
{
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n;
    while (f->fd >= 0 && (n = read(f->fd, buffer, sizeof buffer)) > 0) {
        for (char *p = buffer; p < buffer + n;) {
            const struct inotify_event *event = (const struct inotify_event *)p;
            take_event(f, event, now_us);
            p += sizeof *event + event->len;
        }
    }
    if (now_us >= f->rescan_us)
        rescan(f, now_us);
}

bool folder_next(Folder *f, int64_t now_us, FolderFile *out)
{
    GHashTableIter all;
    void *value;
    File *first = NULL;
    if (f->missing)
        return false;
    g_hash_table_iter_init(&all, f->files);
    while (g_hash_table_iter_next(&all, NULL, &value)) {
        File *file = value;
        struct stat st;
        if (file->state != FILE_NEW || (first && strcmp(file->path, first->path) > 0))
            continue;
        if (!file->closed && now_us - file->changed_us < FOLDER_SETTLE_US)
            continue;
        /* A writer may go on without closing: the last look counts. */
        if (stat(file->path, &st) < 0)
            continue;
        see(f, file->path, &st, false, now_us);
        if (file->closed || now_us - file->changed_us >= FOLDER_SETTLE_US)
            first = file;
    }
    if (!first)
        return false;
    g_free(f->handed);
    f->handed = g_strdup(first->path);
    *out = (FolderFile){f->handed, first->bytes, first->mtime_us};
    return true;
}

void folder_result(Folder *f, bool good)
{
    File *file = f->handed ? g_hash_table_lookup(f->files, f->handed) : NULL;
    if (!file)
        return; /* gone meanwhile */
    file->state = good ? FILE_GOOD : FILE_BAD;
    file->was_good |= good;
}

const char *folder_removed(Folder *f)
{
    g_free(f->told);
    f->told = g_queue_pop_head(&f->removed);
    return f->told;
}

FolderCounts folder_counts(const Folder *f)
{
    FolderCounts counts = {.missing = f->missing};
    GHashTableIter all;
    void *value;
    g_hash_table_iter_init(&all, f->files);
    while (g_hash_table_iter_next(&all, NULL, &value)) {
        counts.good += ((const File *)value)->state == FILE_GOOD;
        counts.bad += ((const File *)value)->state == FILE_BAD;
    }
    return counts;
}

/* Rows, comparison and reading of golden vectors. See golden.h. */
#include "tests/golden/golden.h"

#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FILE_BYTES = 256 << 20 };

static const char *path_of(const Golden *g, const char *format, va_list args)
{
    static char buffers[4][1024];
    static unsigned turn;
    char *path = buffers[turn++ % 4];
    int n = snprintf(path, sizeof buffers[0], "%s/", g->dir);
    if (n > 0 && (size_t)n < sizeof buffers[0])
        vsnprintf(path + n, sizeof buffers[0] - (size_t)n, format, args);
    return path;
}

const char *golden_path(const Golden *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *path = path_of(g, format, args);
    va_end(args);
    return path;
}

bool golden_exists(const Golden *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *path = path_of(g, format, args);
    va_end(args);
    return access(path, F_OK) == 0;
}

bool golden_has(Golden *g, const char *folder)
{
    if (golden_exists(g, "%s", folder))
        return true;
    printf("%-34s %6s %12s %12s %10s  not in this directory\n", folder, "-", "-", "-", "-");
    g->absent++;
    return false;
}

static int is_folder(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN);
}

char **golden_list(const Golden *g, const char *folder)
{
    struct dirent **entries = NULL;
    int n = scandir(golden_path(g, "%s", folder), &entries, is_folder, alphasort);
    char **names = mem_new_array(n > 0 ? (size_t)n + 1 : 1, sizeof *names);
    for (int i = 0; i < n; i++) {
        if (names)
            names[i] = strdup(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return names;
}

void golden_list_free(char **names)
{
    for (char **name = names; name && *name; name++)
        free(*name);
    free(names);
}

void golden_row_begin(GoldenRow *row, Golden *g, const char *stage, double tolerance)
{
    *row = (GoldenRow){.golden = g, .stage = stage, .tolerance = tolerance};
}

void golden_row_end(GoldenRow *row)
{
    char tolerance[24] = "exact";
    if (row->tolerance > 0)
        snprintf(tolerance, sizeof tolerance, "%.1e", row->tolerance);
    if (row->cases == 0 && row->bad == 0)
        golden_fail(row, "no case was found");
    printf("%-34s %6zu %12.3e %12.3e %10s  ", row->stage, row->cases, row->worst_abs,
           row->worst_rel, tolerance);
    if (row->bad)
        printf("FAIL (%zu)\n    %s\n", row->bad, row->first_bad);
    else
        printf("pass\n");
    fflush(stdout);
    row->golden->rows++;
    row->golden->failed += row->bad > 0;
}

void golden_fail(GoldenRow *row, const char *format, ...)
{
    if (row->bad++)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(row->first_bad, sizeof row->first_bad, format, args);
    va_end(args);
}

double golden_measured(const Golden *g, double otherwise, const char *format, ...)
{
    char path[256];
    va_list args;
    va_start(args, format);
    vsnprintf(path, sizeof path, format, args);
    va_end(args);
    const json_t *at = g->measured;
    char *rest = path;
    for (char *key; at && (key = strsep(&rest, "/")) != NULL;)
        at = json_object_get(at, key);
    const double twice = json_is_number(at) ? 2 * json_number_value(at) : otherwise;
    return twice > 1e-6 ? twice : 1e-6;
}

void golden_f32(GoldenRow *row, const char *what, const float *got, const float *want, size_t n)
{
    golden_close(row, what, got, want, n, row->tolerance);
}

void golden_rms(GoldenRow *row, const char *what, const float *got, const float *want, size_t n,
                double tolerance)
{
    double error = 0, size = 0;
    row->cases++;
    for (size_t i = 0; i < n; i++) {
        double difference = (double)got[i] - (double)want[i];
        error += difference * difference;
        size += (double)want[i] * (double)want[i];
        if (fabs(difference) > row->worst_abs)
            row->worst_abs = fabs(difference);
    }
    double relative = size > 0 ? sqrt(error / size) : sqrt(error);
    if (tolerance > row->tolerance)
        row->tolerance = tolerance;
    if (relative > row->worst_rel)
        row->worst_rel = relative;
    if (!(relative <= tolerance))
        golden_fail(row, "%s: relative rms %.4g, tolerance %.4g", what, relative, tolerance);
}

void golden_close(GoldenRow *row, const char *what, const float *got, const float *want, size_t n,
                  double tolerance)
{
    double worst = 0, largest = 0;
    size_t where = 0;
    row->cases++;
    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)got[i] - (double)want[i]);
        if (fabs((double)want[i]) > largest)
            largest = fabs((double)want[i]);
        if (!(difference <= worst)) { /* also NaN */
            worst = isnan(difference) ? INFINITY : difference;
            where = i;
        }
    }
    double relative = largest > 0 ? worst / largest : worst;
    if (worst > row->worst_abs)
        row->worst_abs = worst;
    if (relative > row->worst_rel)
        row->worst_rel = relative;
    if (tolerance > row->tolerance)
        row->tolerance = tolerance;
    if (!(relative <= tolerance))
        golden_fail(row, "%s: element %zu of %zu is %.9g, reference %.9g", what, where, n,
                    (double)got[where], (double)want[where]);
}

void golden_u8(GoldenRow *row, const char *what, const uint8_t *got, const uint8_t *want, size_t n,
               int levels, double allowed_share)
{
    size_t differ = 0, where = 0;
    int worst = 0;
    row->cases++;
    for (size_t i = 0; i < n; i++) {
        int difference = abs((int)got[i] - (int)want[i]);
        differ += difference > 0;
        if (difference > worst) {
            worst = difference;
            where = i;
        }
    }
    if (worst > row->worst_abs)
        row->worst_abs = worst;
    if (worst / 255.0 > row->worst_rel)
        row->worst_rel = worst / 255.0;
    if (worst > levels || (double)differ > allowed_share * (double)n)
        golden_fail(row, "%s: %zu of %zu values differ, by up to %d (value %zu)", what, differ, n,
                    worst, where);
}

void golden_i32(GoldenRow *row, const char *what, const int32_t *got, const int32_t *want, size_t n)
{
    row->cases++;
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i]) {
            double difference = fabs((double)got[i] - (double)want[i]);
            if (difference > row->worst_abs)
                row->worst_abs = difference;
            golden_fail(row, "%s: element %zu of %zu is %d, reference %d", what, i, n, (int)got[i],
                        (int)want[i]);
            return;
        }
}

void golden_bytes(GoldenRow *row, const char *what, const void *got, size_t n_got, const void *want,
                  size_t n_want)
{
    row->cases++;
    if (n_got != n_want)
        golden_fail(row, "%s: %zu bytes, reference %zu", what, n_got, n_want);
    else if (n_got && memcmp(got, want, n_got) != 0)
        golden_fail(row, "%s: other bytes than the reference", what);
}

bool golden_npy(GoldenRow *row, const char *path, NpyType type, Npy *npy)
{
    Error err = {0};
    int r = npy_read(path, MAX_FILE_BYTES, npy, &err);
    if (r == 0 && npy->type == type)
        return true;
    golden_fail(row, "%s", r < 0 ? err.text : "an array of another type");
    npy_deinit(npy);
    return false;
}

static char *read_text(GoldenRow *row, const char *path, size_t *size)
{
    Error err = {0};
    char *text;
    if (file_read(path, MAX_FILE_BYTES, &text, size, &err) == 0)
        return text;
    golden_fail(row, "%s", err.text);
    return NULL;
}

json_t *golden_json(GoldenRow *row, const char *path)
{
    size_t size;
    _cleanup_free_ char *text = read_text(row, path, &size);
    json_t *json = text ? json_loadb(text, size, JSON_ALLOW_NUL, NULL) : NULL;
    if (text && !json)
        golden_fail(row, "%s: no JSON", path);
    return json;
}

json_t *golden_jsonl(GoldenRow *row, const char *path)
{
    size_t size;
    _cleanup_free_ char *text = read_text(row, path, &size);
    if (!text)
        return NULL;
    json_t *list = json_array();
    for (char *line = text, *end = text + size; line < end;) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((stop ? stop : end) - line);
        json_t *json = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
        if (n && !json)
            golden_fail(row, "%s: line %zu is no JSON", path, json_array_size(list) + 1);
        if (json)
            json_array_append_new(list, json);
        line = stop ? stop + 1 : end;
    }
    return list;
}

/* One field, quotes taken off; returns where the next begins. */
static char *csv_field(char *p, char **field, bool *last)
{
    char *out = p;
    bool quoted = *p == '"';
    *field = p;
    if (quoted)
        p++;
    for (; *p; p++) {
        if (quoted && p[0] == '"' && p[1] == '"')
            *out++ = *p++;
        else if (quoted && *p == '"')
            quoted = false;
        else if (!quoted && *p == ',')
            break;
        else
            *out++ = *p;
    }
    *last = *p == '\0';
    *out = '\0';
    return p + 1;
}

json_t *golden_csv(GoldenRow *row, const char *path)
{
    enum { MAX_COLUMNS = 64 };
    char *keys[MAX_COLUMNS];
    size_t size, n_keys = 0;
    _cleanup_free_ char *text = read_text(row, path, &size);
    if (!text)
        return NULL;
    json_t *list = json_array();
    bool first = true;
    for (char *line = text; *line; first = false) {
        char *stop = line + strcspn(line, "\r\n");
        bool last_line = *stop == '\0';
        *stop = '\0';
        json_t *object = first ? NULL : json_object();
        bool last = false;
        for (size_t i = 0; !last && i < MAX_COLUMNS; i++) {
            char *field;
            line = csv_field(line, &field, &last);
            if (first)
                keys[n_keys++] = field;
            else if (i < n_keys)
                json_object_set_new(object, keys[i], json_string(field));
        }
        if (object)
            json_array_append_new(list, object);
        line = last_line ? stop : stop + 1;
        line += strspn(line, "\r\n");
    }
    return list;
}

int32_t *golden_ids(const json_t *array, size_t *n)
{
    *n = json_array_size(array);
    int32_t *ids = json_is_array(array) ? mem_new_array(*n, sizeof *ids) : NULL;
    for (size_t i = 0; ids && i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return ids;
}

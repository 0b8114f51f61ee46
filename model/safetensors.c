/*
 * safetensors: 8 bytes of header length, a JSON header, then raw tensors. A file is trusted only
 * after its whole header was checked: every offset inside the file, every size equal to
 * dtype * shape, no byte in two tensors and none outside of all.
 */
#include "model/safetensors.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_TENSORS = 1 << 20, MAX_SHARDS = 1024, MAX_HEADER_BYTES = 64 << 20 };

typedef struct Map {
    char *path;
    void *bytes;
    size_t size;
} Map;

struct Safetensors {
    char *directory;
    Map *maps; /* [n_maps] */
    size_t n_maps, maps_capacity;
    Tensor *tensors; /* [n], sorted by name */
    size_t n, capacity;
};

typedef struct Span {
    uint64_t begin, end;
    const char *name;
} Span;

static int damaged(const char *file, const char *tensor, const char *reason, Error *err)
{
    if (tensor)
        return error_set(err, EINVAL, EX_DATAERR, "%s: tensor %.120s: %s (download the file again)",
                         file, tensor, reason);
    return error_set(err, EINVAL, EX_DATAERR, "%s: %s (download the file again)", file, reason);
}

/* A new string with the canonical name. */
static char *canonical_name(const char *name)
{
    static const struct {
        const char *prefix, *becomes;
    } RULES[] = {
        {"model.language_model.", "model."}, {"model.visual.", "visual."},
        {"language_model.model.", "model."}, {"language_model.lm_head.", "lm_head."},
        {"model.lm_head.", "lm_head."},
    };
    if (strncmp(name, "base_model.model.", 17) == 0)
        name += 17;
    char *canonical = NULL;
    for (size_t i = 0; i < sizeof RULES / sizeof RULES[0]; i++) {
        size_t n = strlen(RULES[i].prefix);
        if (strncmp(name, RULES[i].prefix, n) == 0)
            return asprintf(&canonical, "%s%s", RULES[i].becomes, name + n) < 0 ? NULL : canonical;
    }
    return strdup(name);
}

static size_t dtype_bytes(TensorDtype dtype)
{
    return dtype == TENSOR_F32 ? 4 : 2;
}

static int parse_dtype(const char *text, TensorDtype *dtype)
{
    if (strcmp(text, "BF16") == 0)
        *dtype = TENSOR_BF16;
    else if (strcmp(text, "F16") == 0)
        *dtype = TENSOR_F16;
    else if (strcmp(text, "F32") == 0)
        *dtype = TENSOR_F32;
    else
        return -EINVAL;
    return 0;
}

/* One entry of the header into *tensor and *span; data_size is what follows the header. */
static int parse_entry(const char *file, const char *name, const json_t *entry, uint64_t data_size,
                       Tensor *tensor, Span *span, Error *err)
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    const json_t *shape = json_object_get(entry, "shape");
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (!dtype || !json_is_array(shape) || json_array_size(offsets) != 2)
        return damaged(file, name, "dtype, shape or data_offsets is missing", err);
    if (parse_dtype(dtype, &tensor->dtype) < 0)
        return error_set(err, ENOTSUP, EX_DATAERR,
                         "%s: tensor %.120s has dtype %.16s; BF16, F16 and F32 are read (take the "
                         "model that is not quantised)",
                         file, name, dtype);
    if (json_array_size(shape) > TENSOR_MAX_DIMS)
        return damaged(file, name, "more than 8 dimensions", err);
    tensor->n_dims = (int)json_array_size(shape);
    tensor->n = 1;
    for (int i = 0; i < tensor->n_dims; i++) {
        const json_t *size = json_array_get(shape, (size_t)i);
        tensor->shape[i] = json_integer_value(size);
        if (!json_is_integer(size) || tensor->shape[i] < 0 ||
            !mem_mul(tensor->n, (size_t)tensor->shape[i], &tensor->n))
            return damaged(file, name, "its shape is out of range", err);
    }
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (!json_is_integer(begin) || !json_is_integer(end) || json_integer_value(begin) < 0 ||
        json_integer_value(end) < json_integer_value(begin))
        return damaged(file, name, "its data_offsets are out of order", err);
    span->begin = (uint64_t)json_integer_value(begin);
    span->end = (uint64_t)json_integer_value(end);
    span->name = name;
    if (span->end > data_size)
        return damaged(file, name, "its data lies beyond the end of the file", err);
    size_t bytes;
    if (!mem_mul(tensor->n, dtype_bytes(tensor->dtype), &bytes) || bytes != span->end - span->begin)
        return damaged(file, name, "its length does not fit its dtype and shape", err);
    return 0;
}

static int by_begin(const void *a, const void *b)
{
    const Span *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* Tensors must tile the data exactly. */
static int check_spans(const char *file, Span *spans, size_t n, uint64_t data_size, Error *err)
{
    uint64_t at = 0;
    if (n)
        qsort(spans, n, sizeof *spans, by_begin);
    for (size_t i = 0; i < n; i++) {
        if (spans[i].begin < at)
            return damaged(file, spans[i].name, "its data overlaps another tensor's", err);
        if (spans[i].begin > at)
            return damaged(file, spans[i].name, "there is a hole before its data", err);
        at = spans[i].end;
    }
    if (at != data_size)
        return damaged(file, NULL, "there is data behind the last tensor", err);
    return 0;
}

static int add_tensor(Safetensors *s, const Tensor *tensor)
{
    int r = mem_grow((void **)&s->tensors, &s->capacity, s->n + 1, sizeof *s->tensors);
    if (r == 0)
        s->tensors[s->n++] = *tensor;
    return r;
}

/* Checks one file in memory and, when s is not NULL, adds its tensors. */
static int parse_file(const char *file, const unsigned char *bytes, size_t size, Safetensors *s,
                      Error *err)
{
    if (size < 10)
        return damaged(file, NULL, "too short for a safetensors file", err);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | bytes[i];
    if (length > MAX_HEADER_BYTES || length > size - 8)
        return damaged(file, NULL, "its header is cut off or too long: no safetensors file", err);
    const unsigned char *data = bytes + 8 + length;
    uint64_t data_size = size - 8 - length;
    json_error_t json_error;
    json_t *header =
        json_loadb((const char *)bytes + 8, (size_t)length, JSON_REJECT_DUPLICATES, &json_error);
    if (!json_is_object(header) || json_object_size(header) > MAX_TENSORS) {
        json_decref(header);
        return damaged(file, NULL, "its header is no JSON object", err);
    }
    size_t n = 0;
    int r = 0;
    const char *name;
    json_t *entry;
    _cleanup_free_ Span *spans = mem_new_array(json_object_size(header), sizeof *spans);
    if (!spans)
        r = error_set(err, ENOMEM, EX_OSERR, "%s: no memory", file);
    if (r == 0)
        json_object_foreach(header, name, entry)
        {
            if (strcmp(name, "__metadata__") == 0)
                continue;
            Tensor tensor = {.file = file};
            r = parse_entry(file, name, entry, data_size, &tensor, &spans[n], err);
            if (r < 0)
                break;
            tensor.data = data + spans[n++].begin;
            if (!s)
                continue;
            tensor.name = canonical_name(name);
            if (!tensor.name || add_tensor(s, &tensor) < 0) {
                free((char *)tensor.name);
                r = error_set(err, ENOMEM, EX_OSERR, "%s: no memory", file);
                break;
            }
        }
    if (r == 0)
        r = check_spans(file, spans, n, data_size, err);
    json_decref(header);
    return r;
}

int safetensors_check_bytes(const char *name, const void *bytes, size_t size, Error *err)
{
    return parse_file(name, bytes, size, NULL, err);
}

static int open_file(Safetensors *s, const char *path, Error *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set(err, errno, errno == ENOENT ? EX_NOINPUT : EX_IOERR, "%s: %s", path,
                         strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size < 10)
        return damaged(path, NULL, "not a safetensors file", err);
    if (mem_grow((void **)&s->maps, &s->maps_capacity, s->n_maps + 1, sizeof *s->maps) < 0)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", path);
    Map map = {.path = strdup(path), .size = (size_t)st.st_size};
    if (!map.path)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", path);
    map.bytes = mmap(NULL, map.size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map.bytes == MAP_FAILED) {
        int e = errno;
        free(map.path);
        return error_set(err, e, EX_OSERR, "%s: cannot be mapped: %s", path, strerror(e));
    }
    s->maps[s->n_maps++] = map;
    return parse_file(map.path, map.bytes, map.size, s, err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const Tensor *)a)->name, ((const Tensor *)b)->name);
}

/* Sorts the tensors by name; each may be there once. */
static int sort_tensors(Safetensors *s, Error *err)
{
    if (s->n)
        qsort(s->tensors, s->n, sizeof *s->tensors, by_name);
    for (size_t i = 1; i < s->n; i++)
        if (strcmp(s->tensors[i - 1].name, s->tensors[i].name) == 0)
            return damaged(s->tensors[i].file, s->tensors[i].name, "it is there twice", err);
    return 0;
}

/* Opens each shard that the map names, once. A shard's name is a plain file name: the index comes
 * from outside and must not lead elsewhere. */
static int open_shards(Safetensors *s, const char *index_path, const json_t *map, Error *err)
{
    size_t n_shards = 0;
    int r = 0;
    json_t *seen = json_object(), *shard;
    const char *tensor_name;
    json_object_foreach((json_t *)map, tensor_name, shard)
    {
        const char *name = json_string_value(shard);
        if (!name || !name[0] || strchr(name, '/') || name[0] == '.') {
            r = damaged(index_path, tensor_name, "its shard is no plain file name", err);
            break;
        }
        if (json_object_get(seen, name))
            continue;
        if (++n_shards > MAX_SHARDS) {
            r = damaged(index_path, NULL, "more than 1024 shards", err);
            break;
        }
        if (json_object_set_new(seen, name, json_true()) < 0) {
            r = error_set(err, ENOMEM, EX_OSERR, "%s: no memory", index_path);
            break;
        }
        _cleanup_free_ char *path = file_join(s->directory, name);
        r = path ? open_file(s, path, err)
                 : error_set(err, ENOMEM, EX_OSERR, "%s: no memory", index_path);
        if (r < 0)
            break;
    }
    json_decref(seen);
    return r;
}

static int not_the_shards(const char *index_path, const char *tensor, const char *what,
                          const char *shard, Error *err)
{
    return error_set(err, EINVAL, EX_DATAERR,
                     "%s: tensor %.120s %s %.200s: the index belongs to other shards (download all "
                     "of them again)",
                     index_path, tensor, what, shard);
}

/* The index and the sorted tensors of its shards say the same. */
static int check_index(const Safetensors *s, const char *index_path, const json_t *map, Error *err)
{
    const char *name;
    json_t *shard;
    _cleanup_free_ bool *listed = mem_new_array(s->n ? s->n : 1, sizeof *listed);
    if (!listed)
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", index_path);
    json_object_foreach((json_t *)map, name, shard)
    {
        _cleanup_free_ char *canonical = canonical_name(name);
        const Tensor *found;
        if (!canonical)
            return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", index_path);
        if (safetensors_find(s, canonical, &found) != 0 ||
            strcmp(strrchr(found->file, '/') + 1, json_string_value(shard)) != 0)
            return not_the_shards(index_path, name, "is not in", json_string_value(shard), err);
        listed[found - s->tensors] = true;
    }
    for (size_t i = 0; i < s->n; i++)
        if (!listed[i])
            return not_the_shards(index_path, s->tensors[i].name, "is not listed but in",
                                  s->tensors[i].file, err);
    return 0;
}

static int open_index(Safetensors *s, const char *index_path, Error *err)
{
    _cleanup_free_ char *text = NULL;
    size_t size;
    int r = file_read(index_path, MAX_HEADER_BYTES, &text, &size, err);
    if (r < 0)
        return r;
    json_error_t json_error;
    json_t *index = json_loadb(text, size, JSON_REJECT_DUPLICATES, &json_error);
    const json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map))
        r = damaged(index_path, NULL, "no JSON object with a weight_map", err);
    if (r == 0)
        r = open_shards(s, index_path, map, err);
    if (r == 0)
        r = sort_tensors(s, err);
    if (r == 0)
        r = check_index(s, index_path, map, err);
    json_decref(index);
    return r;
}

int safetensors_open(const char *directory, const char *name, Safetensors **tensors, Error *err)
{
    _cleanup_free_ char *single = NULL;
    _cleanup_free_ char *index = NULL;
    *tensors = NULL;
    Safetensors *s = calloc(1, sizeof *s);
    if (!s || !(s->directory = strdup(directory)) ||
        asprintf(&single, "%s/%s.safetensors", directory, name) < 0 ||
        asprintf(&index, "%s/%s.safetensors.index.json", directory, name) < 0) {
        safetensors_free(s);
        return error_set(err, ENOMEM, EX_OSERR, "%s: no memory", directory);
    }
    int r;
    if (access(single, F_OK) == 0) {
        r = open_file(s, single, err);
        if (r == 0)
            r = sort_tensors(s, err);
    } else if (access(index, F_OK) == 0) {
        r = open_index(s, index, err);
    } else {
        r = error_set(err, ENOENT, EX_NOINPUT,
                      "%s: neither %s.safetensors nor %s.safetensors.index.json is there",
                      directory, name, name);
    }
    if (r < 0) {
        safetensors_free(s);
        return r;
    }
    *tensors = s;
    return 0;
}

void safetensors_free(Safetensors *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        free((char *)s->tensors[i].name);
    for (size_t i = 0; i < s->n_maps; i++) {
        munmap(s->maps[i].bytes, s->maps[i].size);
        free(s->maps[i].path);
    }
    free(s->tensors);
    free(s->maps);
    free(s->directory);
    free(s);
}

size_t safetensors_count(const Safetensors *s)
{
    return s->n;
}

const Tensor *safetensors_at(const Safetensors *s, size_t i)
{
    return &s->tensors[i];
}

int safetensors_find(const Safetensors *s, const char *name, const Tensor **tensor)
{
    Tensor key = {.name = name};
    const Tensor *found =
        s->n ? bsearch(&key, s->tensors, s->n, sizeof *s->tensors, by_name) : NULL;
    if (!found)
        return SAFETENSORS_NONE;
    *tensor = found;
    return 0;
}

static void shape_text(int n_dims, const int64_t *shape, char *text, size_t size)
{
    size_t at = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < n_dims && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%" PRId64, i ? ", " : "", shape[i]);
    if (at < size)
        snprintf(text + at, size - at, "]");
}

static bool shape_matches(const Tensor *tensor, int n_dims, const int64_t *shape)
{
    if (tensor->n_dims < n_dims || n_dims < 1)
        return false;
    for (int i = 0; i + 1 < n_dims; i++)
        if (tensor->shape[i] != shape[i])
            return false;
    int64_t folded = 1; /* cannot overflow: the product of all was checked */
    for (int i = n_dims - 1; i < tensor->n_dims; i++)
        folded *= tensor->shape[i];
    return folded == shape[n_dims - 1];
}

int safetensors_need(const Safetensors *s, const char *name, int n_dims, const int64_t *shape,
                     const Tensor **tensor, Error *err)
{
    char want[128], got[128];
    const Tensor *found = NULL;
    shape_text(n_dims, shape, want, sizeof want);
    if (safetensors_find(s, name, &found) == SAFETENSORS_NONE)
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: tensor %s %s is missing: the checkpoint is incomplete or of another "
                         "architecture",
                         s->directory, name, want);
    if (!shape_matches(found, n_dims, shape)) {
        shape_text(found->n_dims, found->shape, got, sizeof got);
        return error_set(err, EINVAL, EX_DATAERR,
                         "%s: tensor %s has shape %s, config.json asks for %s", found->file, name,
                         got, want);
    }
    *tensor = found;
    return 0;
}

static float f32_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float f32_of_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 31)
        return f32_of_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) { /* subnormal: mantissa * 2^-24, exact in f32 */
        float f = (float)mantissa * 0x1p-24f;
        return sign ? -f : f;
    }
    return f32_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static uint16_t bf16_of_f32(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40); /* NaN stays NaN */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static float element(const Tensor *tensor, size_t i)
{
    const unsigned char *data = tensor->data;
    uint16_t half;
    float f;
    if (tensor->dtype == TENSOR_F32) {
        memcpy(&f, data + 4 * i, sizeof f);
        return f;
    }
    memcpy(&half, data + 2 * i, sizeof half);
    return tensor->dtype == TENSOR_BF16 ? f32_of_bits((uint32_t)half << 16) : f32_of_f16(half);
}

void tensor_to_f32(const Tensor *tensor, size_t first, size_t n, float *out)
{
    if (tensor->dtype == TENSOR_F32 && n) {
        memcpy(out, (const unsigned char *)tensor->data + 4 * first, 4 * n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = element(tensor, first + i);
}

void tensor_to_bf16(const Tensor *tensor, size_t first, size_t n, uint16_t *out)
{
    if (tensor->dtype == TENSOR_BF16 && n) {
        memcpy(out, (const unsigned char *)tensor->data + 2 * first, 2 * n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = bf16_of_f32(element(tensor, first + i));
}

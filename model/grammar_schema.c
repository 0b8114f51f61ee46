/* Compiles the JSON schema of an answer to the steps of grammar_private.h. */
#include "model/grammar_private.h"

#include "base/mem.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

/* Two times and a description; time: their pattern. */
#define EVENT_LIST(TIME)                                                                           \
    "{\"type\":\"array\",\"maxItems\":64,\"items\":{\"type\":\"object\",\"properties\":{"          \
    "\"start_time\":{\"type\":\"string\",\"pattern\":\"" TIME "\"},"                               \
    "\"end_time\":{\"type\":\"string\",\"pattern\":\"" TIME "\"},"                                 \
    "\"description\":{\"type\":\"string\",\"maxLength\":200}}}}"

const char GRAMMAR_EVENT_LIST_SCHEMA[] = EVENT_LIST("^[0-9]{2,3}:[0-5][0-9]\\\\.[0-9]{1,2}$");
const char GRAMMAR_MINUTE_EVENT_LIST_SCHEMA[] = EVENT_LIST("^00:[0-5][0-9]\\\\.[0-9]{1,2}$");

enum {
    MAX_DEPTH = 16,
    MAX_SPACE = 16, /* a line break and the indentation that models write */
    MAX_ITEMS = 1000,
    MAX_LENGTH = 10000
};

typedef struct Compiler {
    GrammarRules *rules;
    GrammarSpace space;
    Error *err;
} Compiler;

static int refuse(Compiler *c, const char *what, const char *value)
{
    return error_set(c->err, ENOTSUP, EX_SOFTWARE, "schema of the answer: %s%s%.64s", what,
                     value ? " " : "", value ? value : "");
}

static int add_step(Compiler *c, GrammarStep step)
{
    GrammarRules *r = c->rules;
    if (r->n_steps >= GRAMMAR_MAX_STEPS)
        return refuse(c, "too long", NULL);
    if (mem_grow((void **)&r->steps, &r->steps_capacity, r->n_steps + 1, sizeof *r->steps) < 0)
        return error_set(c->err, ENOMEM, EX_OSERR, "schema of the answer: no memory");
    r->steps[r->n_steps++] = step;
    return 0;
}

static int add_bytes(Compiler *c, const char *text)
{
    int r = 0;
    for (; *text && r == 0; text++)
        r = add_step(c, (GrammarStep){.op = GRAMMAR_BYTE, .byte = (uint8_t)*text});
    return r;
}

static void set_byte(uint32_t set[8], unsigned byte)
{
    set[byte >> 5] |= UINT32_C(1) << (byte & 31);
}

static int add_space(Compiler *c)
{
    GrammarStep step = {.op = GRAMMAR_CLASS, .max = MAX_SPACE};
    if (c->space == GRAMMAR_COMPACT)
        return 0;
    set_byte(step.set, ' ');
    set_byte(step.set, '\n');
    return add_step(c, step);
}

/* --- patterns --- */

/* One character of a pattern at *p, an escape resolved; what a JSON string cannot hold as it is is
 * refused. */
static int pattern_char(Compiler *c, const char **p, unsigned char *out)
{
    if (**p == '\\')
        ++*p;
    unsigned char byte = (unsigned char)*(*p)++;
    if (byte < 0x20 || byte > 0x7e || byte == '"' || byte == '\\')
        return refuse(c, "a pattern needs printable ASCII without quotes", NULL);
    *out = byte;
    return 0;
}

static int pattern_class(Compiler *c, const char **p, uint32_t set[8])
{
    if (**p == '^')
        return refuse(c, "negated classes in a pattern are not supported", NULL);
    while (**p != ']') {
        unsigned char from = 0, to;
        int r = pattern_char(c, p, &from);
        if (r < 0)
            return r;
        to = from;
        if ((*p)[0] == '-' && (*p)[1] != ']') {
            ++*p;
            r = pattern_char(c, p, &to);
            if (r < 0)
                return r;
        }
        for (unsigned byte = from; byte <= to; byte++)
            set_byte(set, byte);
    }
    ++*p;
    return 0;
}

/* {n}, {n,m} or ? behind an atom. */
static int pattern_repeat(Compiler *c, const char **p, GrammarStep *step)
{
    step->min = step->max = 1;
    if (**p == '?') {
        step->min = 0;
        ++*p;
    } else if (**p == '{') {
        char *end;
        unsigned long min = strtoul(*p + 1, &end, 10), max = min;
        if (*end == ',')
            max = strtoul(end + 1, &end, 10);
        if (*end != '}' || max < 1 || max > 256 || min > max)
            return refuse(c, "bad repetition in a pattern:", *p);
        step->min = (uint16_t)min;
        step->max = (uint16_t)max;
        *p = end + 1;
    } else if (**p == '*' || **p == '+') {
        return refuse(c, "* and + in a pattern are unbounded", NULL);
    }
    return 0;
}

/* An atom that may end early must not share a byte with what may follow it: a byte decides. */
static int check_decided(Compiler *c, size_t first)
{
    const GrammarStep *steps = c->rules->steps;
    for (size_t i = first; i < c->rules->n_steps; i++) {
        if (steps[i].min == steps[i].max)
            continue;
        for (size_t k = i + 1; k < c->rules->n_steps; k++) {
            for (int word = 0; word < 8; word++)
                if (steps[i].set[word] & steps[k].set[word])
                    return refuse(c, "a pattern is ambiguous: one byte must decide", NULL);
            if (steps[k].min)
                break;
        }
    }
    return 0;
}

static int compile_pattern(Compiler *c, const char *p)
{
    size_t first = c->rules->n_steps;
    if (*p == '^')
        p++;
    while (*p && strcmp(p, "$") != 0) {
        GrammarStep step = {.op = GRAMMAR_CLASS};
        unsigned char byte = 0;
        int r;
        if (*p == '[') {
            p++;
            r = pattern_class(c, &p, step.set);
        } else if (strchr("().|*+?{}", *p)) {
            r = refuse(c, "not supported in a pattern:", p);
        } else {
            r = pattern_char(c, &p, &byte);
            if (r == 0)
                set_byte(step.set, byte);
        }
        if (r == 0)
            r = pattern_repeat(c, &p, &step);
        if (r == 0)
            r = add_step(c, step);
        if (r < 0)
            return r;
    }
    return check_decided(c, first);
}

/* --- values --- */

static int compile_value(Compiler *c, const json_t *schema, int depth);

static int compile_string(Compiler *c, const json_t *schema)
{
    const char *pattern = json_string_value(json_object_get(schema, "pattern"));
    json_int_t length = json_integer_value(json_object_get(schema, "maxLength"));
    int r = add_bytes(c, "\"");
    if (r < 0)
        return r;
    if (pattern) {
        r = compile_pattern(c, pattern);
        return r < 0 ? r : add_bytes(c, "\"");
    }
    if (length < 1 || length > MAX_LENGTH)
        return refuse(c, "a string needs a pattern, or a maxLength from 1 to 10000", NULL);
    return add_step(c, (GrammarStep){.op = GRAMMAR_STRING, .max = (uint16_t)length});
}

static bool plain_name(const char *name)
{
    return name[0] && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-"
                                   "0123456789") == strlen(name);
}

static int compile_object(Compiler *c, const json_t *schema, int depth)
{
    json_t *properties = json_object_get(schema, "properties"), *value;
    const char *name;
    bool first = true;
    if (json_object_size(properties) == 0)
        return refuse(c, "an object needs properties", NULL);
    int r = add_bytes(c, "{");
    json_object_foreach(properties, name, value)
    {
        if (!plain_name(name))
            return refuse(c, "a property's name needs letters, digits, _ and -:", name);
        if (r == 0 && !first)
            r = add_bytes(c, ",");
        if (r == 0)
            r = add_space(c);
        if (r == 0)
            r = add_bytes(c, "\"");
        if (r == 0)
            r = add_bytes(c, name);
        if (r == 0)
            r = add_bytes(c, "\":");
        if (r == 0)
            r = add_space(c);
        if (r == 0)
            r = compile_value(c, value, depth);
        first = false;
    }
    if (r == 0)
        r = add_space(c);
    return r < 0 ? r : add_bytes(c, "}");
}

static int compile_array(Compiler *c, const json_t *schema, int depth)
{
    const json_t *items = json_object_get(schema, "items");
    json_int_t max = json_integer_value(json_object_get(schema, "maxItems"));
    if (max < 1 || max > MAX_ITEMS)
        return refuse(c, "an array needs maxItems from 1 to 1000", NULL);
    if (c->rules->n_loops == GRAMMAR_MAX_LOOPS)
        return refuse(c, "too many arrays", NULL);
    GrammarStep first = {.op = GRAMMAR_FIRST, .loop = (uint8_t)c->rules->n_loops++};
    GrammarStep next = {.op = GRAMMAR_NEXT, .loop = first.loop, .max = (uint16_t)max};
    int r = add_bytes(c, "[");
    if (r == 0)
        r = add_space(c);
    size_t at_first = c->rules->n_steps;
    if (r == 0)
        r = add_step(c, first);
    next.target = (uint16_t)c->rules->n_steps; /* a comma leads to the space before an item */
    if (r == 0)
        r = add_space(c);
    size_t at_item = c->rules->n_steps;
    if (r == 0)
        r = compile_value(c, items, depth);
    if (r == 0)
        r = add_space(c);
    if (r == 0)
        r = add_step(c, next);
    if (r < 0)
        return r;
    c->rules->steps[at_first].item = (uint16_t)at_item;
    c->rules->steps[at_first].target = (uint16_t)c->rules->n_steps;
    return 0;
}

static int compile_value(Compiler *c, const json_t *schema, int depth)
{
    static const char *const KNOWN[] = {"type",    "properties",  "items", "maxItems", "maxLength",
                                        "pattern", "description", "title", "required", "$schema"};
    const char *type = json_string_value(json_object_get(schema, "type")), *key;
    json_t *value;
    if (depth == MAX_DEPTH)
        return refuse(c, "nested too deep", NULL);
    json_object_foreach((json_t *)schema, key, value)
    {
        size_t i = 0;
        while (i < sizeof KNOWN / sizeof KNOWN[0] && strcmp(KNOWN[i], key) != 0)
            i++;
        if (i == sizeof KNOWN / sizeof KNOWN[0])
            return refuse(c, "not supported:", key);
    }
    if (type && strcmp(type, "object") == 0)
        return compile_object(c, schema, depth + 1);
    if (type && strcmp(type, "array") == 0)
        return compile_array(c, schema, depth + 1);
    if (type && strcmp(type, "string") == 0)
        return compile_string(c, schema);
    return refuse(c, "type is not object, array or string:", type ? type : "(none)");
}

int grammar_compile_steps(const char *schema, GrammarSpace space, GrammarRules *rules, Error *err)
{
    Compiler c = {.rules = rules, .space = space, .err = err};
    json_error_t json_error;
    json_t *json = json_loads(schema, 0, &json_error);
    if (!json)
        return refuse(&c, "no JSON:", json_error.text);
    int r = compile_value(&c, json, 0);
    if (r == 0)
        r = add_step(&c, (GrammarStep){.op = GRAMMAR_END});
    json_decref(json);
    return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/devcloud/models.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/json.h"
#include "agent/devcloud/pattern.h"

#define DEPTH_MAX 32
#define WHERE_MAX 160

struct check {
    const struct model *model;
    bool strict;
    struct errmsg *e;
    int depth;
    size_t where_len;
    char where[WHERE_MAX]; /* path of the member being checked */
};

static enum model_fault check_shape(struct check *c, const char *name, const json_t *value);

int model_load(struct model *m, const unsigned char *data, size_t len, struct errmsg *e)
{
    m->root = json_parse((const char *)data, len, e);
    if (m->root == NULL)
        return ERR_CORRUPT;
    m->operations = json_obj(m->root, "operations");
    m->shapes = json_obj(m->root, "shapes");
    if (m->operations == NULL || m->shapes == NULL)
        return errmsg_set(e, ERR_CORRUPT, "service model without operations or shapes");
    return 0;
}

void models_fini(struct model *m)
{
    json_decref(m->root);
    *m = (struct model){0};
}

bool model_has(const struct model *m, const char *operation)
{
    return json_object_get(m->operations, operation) != NULL;
}

static enum model_fault fail(struct check *c, enum model_fault fault, const char *what)
{
    errmsg_set(c->e, ERR_BADPARAM, "%s: %s", c->where_len == 0 ? "request" : c->where, what);
    return fault;
}

/* Appends .name, or [index] if name is NULL. Returns the length to go back to. */
static size_t enter(struct check *c, const char *name, size_t index)
{
    size_t before = c->where_len;

    if (name != NULL)
        snprintf(c->where + before, WHERE_MAX - before, "%s%s", before > 0 ? "." : "", name);
    else
        snprintf(c->where + before, WHERE_MAX - before, "[%zu]", index);
    c->where_len = strlen(c->where);
    return before;
}

static void leave(struct check *c, size_t before)
{
    c->where_len = before;
    c->where[before] = '\0';
}

static enum model_fault check_range(struct check *c, const json_t *shape, double amount,
                                    const char *of)
{
    const json_t *min = json_object_get(shape, "min");
    const json_t *max = json_object_get(shape, "max");
    char text[96];

    if (min != NULL && amount < json_number_value(min)) {
        snprintf(text, sizeof(text), "%s must be at least %.0f", of, json_number_value(min));
        return fail(c, MODEL_INVALID, text);
    }
    if (max != NULL && amount > json_number_value(max)) {
        snprintf(text, sizeof(text), "%s must be at most %.0f", of, json_number_value(max));
        return fail(c, MODEL_INVALID, text);
    }
    return MODEL_FITS;
}

static enum model_fault check_string(struct check *c, const json_t *shape, const json_t *value)
{
    if (!json_is_string(value))
        return fail(c, MODEL_WRONG_TYPE, "must be a string");
    const char *text = json_string_value(value);
    const json_t *allowed = json_arr(shape, "enum");
    if (allowed != NULL) {
        size_t i;
        const json_t *one;
        json_array_foreach(allowed, i,
                           one) if (strcmp(json_string_value(one), text) == 0) return MODEL_FITS;
        return fail(c, MODEL_INVALID, "is not one of the values that the service model lists");
    }
    const char *pattern = json_str(shape, "pattern");
    if (pattern != NULL && !pattern_matches(pattern, text))
        return fail(c, MODEL_INVALID, "does not match the pattern of the service model");
    return check_range(c, shape, (double)pattern_length(text), "length");
}

static enum model_fault check_structure(struct check *c, const json_t *shape, const json_t *value)
{
    const json_t *members = json_obj(shape, "members");
    const json_t *required = json_arr(shape, "required");
    const char *key;
    const json_t *one;
    size_t i;

    if (!json_is_object(value))
        return fail(c, MODEL_WRONG_TYPE, "must be an object");
    json_array_foreach(required, i, one)
    {
        const json_t *member = json_object_get(value, json_string_value(one));
        if (member == NULL || json_is_null(member)) {
            enter(c, json_string_value(one), 0);
            return fail(c, MODEL_INVALID, "is required");
        }
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, one)
    {
        const json_t *member = json_object_get(members, key);
        size_t before = enter(c, key, 0);
        if (member == NULL) {
            if (c->strict)
                return fail(c, MODEL_UNKNOWN_MEMBER, "is not a member in the service model");
        } else if (!json_is_null(one)) {
            enum model_fault fault = check_shape(c, json_str(member, "shape"), one);
            if (fault != MODEL_FITS)
                return fault;
        }
        leave(c, before);
    }
    return MODEL_FITS;
}

static enum model_fault check_list(struct check *c, const json_t *shape, const json_t *value)
{
    const char *element = json_str(json_obj(shape, "member"), "shape");
    const json_t *one;
    size_t i;

    if (!json_is_array(value))
        return fail(c, MODEL_WRONG_TYPE, "must be a list");
    json_array_foreach(value, i, one)
    {
        size_t before = enter(c, NULL, i);
        enum model_fault fault = check_shape(c, element, one);
        if (fault != MODEL_FITS)
            return fault;
        leave(c, before);
    }
    return check_range(c, shape, (double)json_array_size(value), "number of elements");
}

static enum model_fault check_map(struct check *c, const json_t *shape, const json_t *value)
{
    const char *key_shape = json_str(json_obj(shape, "key"), "shape");
    const char *element = json_str(json_obj(shape, "value"), "shape");
    const char *key;
    json_t *one;

    if (!json_is_object(value))
        return fail(c, MODEL_WRONG_TYPE, "must be an object");
    json_object_foreach((json_t *)(uintptr_t)value, key, one)
    {
        size_t before = enter(c, key, 0);
        json_t *name = json_string(key);
        enum model_fault fault = check_shape(c, key_shape, name);
        json_decref(name);
        if (fault == MODEL_FITS)
            fault = check_shape(c, element, one);
        if (fault != MODEL_FITS)
            return fault;
        leave(c, before);
    }
    return MODEL_FITS;
}

static enum model_fault check_integer(struct check *c, const json_t *shape, const json_t *value,
                                      bool is_long)
{
    if (!json_is_integer(value))
        return fail(c, MODEL_WRONG_TYPE, "must be a whole number");
    json_int_t v = json_integer_value(value);
    if (!is_long && (v < INT32_MIN || v > INT32_MAX))
        return fail(c, MODEL_WRONG_TYPE, "does not fit into 32 bits");
    return check_range(c, shape, (double)v, "value");
}

static enum model_fault check_shape(struct check *c, const char *name, const json_t *value)
{
    const json_t *shape = name == NULL ? NULL : json_obj(c->model->shapes, name);
    const char *type = shape == NULL ? NULL : json_str(shape, "type");
    enum model_fault fault = MODEL_FITS;

    if (type == NULL)
        return MODEL_FITS;
    if (++c->depth > DEPTH_MAX)
        return fail(c, MODEL_WRONG_TYPE, "is nested too deeply");
    if (strcmp(type, "structure") == 0)
        fault = check_structure(c, shape, value);
    else if (strcmp(type, "list") == 0)
        fault = check_list(c, shape, value);
    else if (strcmp(type, "map") == 0)
        fault = check_map(c, shape, value);
    else if (strcmp(type, "string") == 0)
        fault = check_string(c, shape, value);
    else if (strcmp(type, "integer") == 0 || strcmp(type, "long") == 0)
        fault = check_integer(c, shape, value, type[0] == 'l');
    else if (strcmp(type, "boolean") == 0 && !json_is_boolean(value))
        fault = fail(c, MODEL_WRONG_TYPE, "must be true or false");
    else if ((strcmp(type, "double") == 0 || strcmp(type, "float") == 0 ||
              strcmp(type, "timestamp") == 0) &&
             !json_is_number(value))
        fault = fail(c, MODEL_WRONG_TYPE, "must be a number");
    else if (strcmp(type, "blob") == 0 && !json_is_string(value))
        fault = fail(c, MODEL_WRONG_TYPE, "must be base64 text");
    c->depth--;
    return fault;
}

static enum model_fault check_side(const struct model *m, const char *operation, const char *side,
                                   const json_t *value, bool strict, struct errmsg *e)
{
    const json_t *op = json_obj(m->operations, operation);
    const json_t *ref = op == NULL ? NULL : json_obj(op, side);
    struct check c = {.model = m, .strict = strict, .e = e};

    if (ref == NULL)
        return MODEL_FITS;
    return check_shape(&c, json_str(ref, "shape"), value);
}

enum model_fault model_check_input(const struct model *m, const char *operation,
                                   const json_t *value, bool strict, struct errmsg *e)
{
    return check_side(m, operation, "input", value, strict, e);
}

enum model_fault model_check_output(const struct model *m, const char *operation,
                                    const json_t *value, struct errmsg *e)
{
    return check_side(m, operation, "output", value, true, e);
}

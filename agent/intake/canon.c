/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/intake/canon.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"

struct context {
    bool keep_values;
    int err;
};

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (strcmp(name, *names) == 0)
            return true;
    }
    return false;
}

/* ---- times ------------------------------------------------------------------------ */

static bool is_time(const char *name)
{
    static const char *const names[] = {
        "connectivityAt",   "createdAt",   "executionStoppedAt", "lastStartedAt",
        "lastStatusChange", "lastUpdated", "pullStartedAt",      "pullStoppedAt",
        "registeredAt",     "startedAt",   "stoppedAt",          "stoppingAt",
        "updatedAt",        NULL};
    return is_one_of(name, names);
}

/* A time that cannot be read is left out: no reader could do anything with it. */
static json_t *copy_time(const json_t *value)
{
    const double seconds_max = 253402300799.0; /* the end of year 9999 */
    int64_t ms = 0;
    if (json_is_string(value)) {
        if (clock_parse_rfc3339(json_string_value(value), &ms) != 0)
            return NULL;
    } else if (json_is_number(value)) {
        double seconds = json_number_value(value);
        if (!(seconds >= 0 && seconds <= seconds_max))
            return NULL;
        ms = (int64_t)(seconds * 1000.0 + 0.5);
    } else {
        return NULL;
    }
    if (ms < 0 || (double)ms > seconds_max * 1000.0)
        return NULL;
    char text[CLOCK_TEXT_MAX];
    return json_string(clock_format_unix_ms(ms, text));
}

/* ---- arrays ------------------------------------------------------------------------- */

/* What names an element of a list, in order of preference. */
static const char *name_of(const json_t *element)
{
    static const char *const names[] = {"name", "key", "id", "type", "containerArn", NULL};
    if (json_is_string(element))
        return json_string_value(element);
    for (size_t i = 0; names[i] != NULL; i++) {
        const char *text = json_str(element, names[i]);
        if (text != NULL)
            return text;
    }
    return "";
}

struct place {
    json_t *element;
    size_t index;
};

/* Elements of one name keep their order. */
static int by_name(const void *a, const void *b)
{
    const struct place *x = a;
    const struct place *y = b;
    int order = strcmp(name_of(x->element), name_of(y->element));
    if (order != 0)
        return order;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Lists of which ECS does not say that their order means anything. A command's does. */
static bool is_unordered(const char *name)
{
    static const char *const names[] = {"attachments",
                                        "attributes",
                                        "containerOverrides",
                                        "containers",
                                        "details",
                                        "environment",
                                        "managedAgents",
                                        "registeredResources",
                                        "remainingResources",
                                        "stringSetValue",
                                        "tags",
                                        NULL};
    return is_one_of(name, names);
}

static int sort_array(json_t **array)
{
    size_t n = json_array_size(*array);
    struct place *places = calloc(n + 1, sizeof *places);
    json_t *sorted = json_array();
    if (places != NULL && sorted != NULL) {
        for (size_t i = 0; i < n; i++)
            places[i] = (struct place){.element = json_array_get(*array, i), .index = i};
        qsort(places, n, sizeof *places, by_name);
        for (size_t i = 0; i < n; i++)
            json_array_append(sorted, places[i].element);
    }
    free(places);
    if (json_array_size(sorted) != n) {
        json_decref(sorted);
        return ERR_NOMEM;
    }
    json_decref(*array);
    *array = sorted;
    return 0;
}

/* ---- objects ------------------------------------------------------------------------- */

/* What the schemas require is kept though it be empty. */
static bool stays_empty(const char *name)
{
    static const char *const names[] = {
        "containers",         "overrides",   "containerOverrides", "registeredResources",
        "remainingResources", "attachments", "attributes",         NULL};
    return is_one_of(name, names);
}

static bool is_empty(const json_t *value)
{
    return (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

/* "cpu": "null" is in AWS's own samples. */
static bool is_absent(const char *name, const json_t *value)
{
    static const char *const numbers[] = {"cpu", "memory", "memoryReservation", NULL};
    if (json_is_null(value))
        return true;
    return is_one_of(name, numbers) && json_is_string(value) &&
           strcmp(json_string_value(value), "null") == 0;
}

/* A resource has one value, that of its type; the API sends zeros for the three others. */
static bool is_other_value(const json_t *object, const char *name)
{
    static const struct {
        const char *type, *name;
    } values[] = {{"INTEGER", "integerValue"},
                  {"LONG", "longValue"},
                  {"DOUBLE", "doubleValue"},
                  {"STRINGSET", "stringSetValue"}};
    const char *type = json_str(object, "type");
    if (type == NULL || json_str(object, "name") == NULL)
        return false;
    bool known = false;
    bool is_value = false;
    bool own = false;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        known = known || strcmp(type, values[i].type) == 0;
        if (strcmp(name, values[i].name) == 0) {
            is_value = true;
            own = strcmp(type, values[i].type) == 0;
        }
    }
    return known && is_value && !own;
}

static json_t *copy_value(struct context *c, const char *name, const json_t *value, int depth);

/* Whatever shape an environment comes in, only names survive. */
static json_t *copy_redacted(struct context *c, const json_t *value, int depth)
{
    if (depth > CANON_DEPTH_MAX) {
        c->err = ERR_TOOBIG;
        return NULL;
    }
    if (json_is_object(value)) {
        json_t *copy = json_object();
        const char *name;
        json_t *member;
        json_object_foreach((json_t *)value, name, member)
        {
            bool is_name = strcmp(name, "name") == 0 && json_is_string(member);
            if (is_name)
                json_object_set(copy, name, member);
            else if (!json_is_null(member))
                json_object_set_new(copy, name, json_string(CANON_REDACTED));
        }
        return copy;
    }
    if (json_is_array(value)) {
        json_t *copy = json_array();
        for (size_t i = 0; i < json_array_size(value); i++) {
            const json_t *element = json_array_get(value, i);
            if (!json_is_null(element))
                json_array_append_new(copy, copy_redacted(c, element, depth + 1));
        }
        if (copy != NULL && sort_array(&copy) != 0)
            c->err = ERR_NOMEM;
        return copy;
    }
    return json_string(CANON_REDACTED);
}

static json_t *copy_array(struct context *c, const char *name, const json_t *array, int depth)
{
    json_t *copy = json_array();
    for (size_t i = 0; i < json_array_size(array) && c->err == 0; i++) {
        json_t *element = copy_value(c, name, json_array_get(array, i), depth + 1);
        if (element != NULL)
            json_array_append_new(copy, element);
    }
    if (copy == NULL)
        c->err = ERR_NOMEM;
    else if (is_unordered(name) && sort_array(&copy) != 0)
        c->err = ERR_NOMEM;
    return copy;
}

static json_t *copy_object(struct context *c, const char *list, const json_t *object, int depth)
{
    json_t *copy = json_object();
    const char *name;
    json_t *member;
    bool is_agent = strcmp(list, "managedAgents") == 0;
    bool is_resource =
        strcmp(list, "registeredResources") == 0 || strcmp(list, "remainingResources") == 0;
    json_object_foreach((json_t *)object, name, member)
    {
        if (c->err != 0)
            break;
        if (is_resource && is_other_value(object, name))
            continue;
        const char *as = name;
        if (is_agent && strcmp(name, "status") == 0) { /* events call it so */
            if (json_object_get(object, "lastStatus") != NULL)
                continue;
            as = "lastStatus";
        }
        json_t *value = copy_value(c, name, member, depth + 1);
        if (value != NULL && json_object_set_new(copy, as, value) != 0)
            c->err = ERR_NOMEM;
    }
    if (copy == NULL)
        c->err = ERR_NOMEM;
    return copy;
}

/* New reference; NULL: leave it out (or c->err). name: of the member, or of the list it is in. */
static json_t *copy_value(struct context *c, const char *name, const json_t *value, int depth)
{
    json_t *copy;
    if (depth > CANON_DEPTH_MAX) {
        c->err = ERR_TOOBIG;
        return NULL;
    }
    if (is_absent(name, value))
        return NULL;
    if (is_time(name))
        return copy_time(value);
    if (strcmp(name, "environment") == 0 && !c->keep_values)
        copy = copy_redacted(c, value, depth);
    else if (json_is_object(value))
        copy = copy_object(c, name, value, depth);
    else if (json_is_array(value))
        copy = copy_array(c, name, value, depth);
    else
        copy = json_copy((json_t *)value);
    if (copy != NULL && is_empty(copy) && !stays_empty(name)) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

json_t *canon_copy(const json_t *object, bool keep_values, int *ret_err)
{
    struct context c = {.keep_values = keep_values};
    json_t *copy = copy_object(&c, "", object, 0);
    if (copy == NULL && c.err == 0)
        c.err = ERR_NOMEM;
    if (c.err != 0) {
        json_decref(copy);
        copy = NULL;
    }
    *ret_err = c.err;
    return copy;
}

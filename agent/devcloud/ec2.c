/* SPDX-License-Identifier: Apache-2.0
 * EC2: which instances there are. Its protocol is a form in and XML out, both by the names of the
 * service model (botocore's "ec2" protocol). */
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/devcloud/instances.h"
#include "agent/devcloud/services.h"

#define NAME_LEN 200
#define LIST_MAX 1000
#define PAGE_MIN 5
#define XML_MAX (64u << 20)

/* ---- the form, as the model has it ------------------------------------------------------ */

struct form {
    const struct model *model;
    const json_t *fields; /* flat, as they came */
    size_t used;
};

static bool has_below(const struct form *f, const char *name)
{
    const char *key;
    json_t *value;
    size_t len = strlen(name);

    json_object_foreach((json_t *)f->fields, key,
                        value) if (strncmp(key, name, len) == 0 && key[len] == '.') return true;
    return false;
}

/* A text that is no number stays one: the model's check says what is wrong with it. */
static json_t *scalar(struct form *f, const char *type, const char *name)
{
    const char *text = json_str(f->fields, name);
    char *end;

    if (text == NULL)
        return NULL;
    f->used++;
    if (strcmp(type, "boolean") == 0 && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
        return json_boolean(text[0] == 't');
    if (strcmp(type, "integer") == 0 || strcmp(type, "long") == 0) {
        long long number = strtoll(text, &end, 10);
        if (text[0] != '\0' && *end == '\0')
            return json_integer(number);
    }
    return json_string(text);
}

static json_t *take(struct form *f, const char *shape_name, const char *name);

static json_t *take_list(struct form *f, const json_t *shape, const char *name)
{
    json_t *list = json_array();
    char one[NAME_LEN];

    for (size_t i = 1; i <= LIST_MAX; i++) {
        snprintf(one, sizeof(one), "%s.%zu", name, i);
        json_t *value = take(f, json_str(json_obj(shape, "member"), "shape"), one);
        if (value == NULL)
            break;
        json_array_append_new(list, value);
    }
    if (json_array_size(list) > 0)
        return list;
    json_decref(list);
    return NULL;
}

/* In requests a member is called by its queryName, or its locationName with a capital. */
static void request_name(const char *member, const json_t *ref, const char *below, char *out)
{
    char name[96];

    snprintf(name, sizeof(name), "%s",
             json_str_or(ref, "queryName", json_str_or(ref, "locationName", member)));
    if (json_str(ref, "queryName") == NULL && name[0] >= 'a' && name[0] <= 'z')
        name[0] = (char)(name[0] - 'a' + 'A');
    snprintf(out, NAME_LEN, "%s%s%s", below, below[0] == '\0' ? "" : ".", name);
}

static json_t *take(struct form *f, const char *shape_name, const char *name)
{
    const json_t *shape = json_obj(f->model->shapes, shape_name);
    const char *type = json_str_or(shape, "type", "string");
    const char *member;
    json_t *ref;

    if (strcmp(type, "list") == 0)
        return take_list(f, shape, name);
    if (strcmp(type, "structure") != 0)
        return scalar(f, type, name);
    if (name[0] != '\0' && !has_below(f, name))
        return NULL;
    json_t *out = json_object();
    json_object_foreach(json_obj(shape, "members"), member, ref)
    {
        char below[NAME_LEN];
        request_name(member, ref, name, below);
        json_t *value = take(f, json_str(ref, "shape"), below);
        if (value != NULL)
            json_object_set_new(out, member, value);
    }
    return out;
}

bool ec2_take_form(struct devcloud *cloud, struct request *req)
{
    struct form f = {.model = &cloud->ec2, .fields = req->params};
    const json_t *op = json_obj(cloud->ec2.operations, req->operation);
    json_t *params = take(&f, json_str(json_obj(op, "input"), "shape"), "");
    bool known = f.used + 2 == json_object_size(req->params); /* Action and Version */

    json_decref(req->params);
    req->params = params;
    if (!known)
        answer_error(&req->answer, 400, "UnknownParameter",
                     "The request has a parameter that is not recognized");
    return known;
}

/* ---- the answer, as the model has it ----------------------------------------------------- */

static void put_escaped(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<' || *text == '>' || *text == '&')
            buf_printf(out, "&#%d;", *text);
        else
            buf_putc(out, *text);
    }
}

static void put_xml(struct buf *out, const struct model *m, const char *shape_name,
                    const json_t *value, const char *tag)
{
    const json_t *shape = json_obj(m->shapes, shape_name);
    bool time = strcmp(json_str_or(shape, "type", ""), "timestamp") == 0;
    char text[CLOCK_TEXT_MAX];
    const char *member;
    json_t *one;
    size_t i;

    buf_printf(out, "<%s>", tag);
    json_array_foreach((json_t *)value, i, one)
        put_xml(out, m, json_str(json_obj(shape, "member"), "shape"), one, "item");
    json_object_foreach((json_t *)value, member, one)
    {
        const json_t *ref = json_obj(json_obj(shape, "members"), member);
        put_xml(out, m, json_str(ref, "shape"), one, json_str_or(ref, "locationName", member));
    }
    if (json_is_string(value))
        put_escaped(out, json_string_value(value));
    else if (json_is_boolean(value))
        buf_puts(out, json_is_true(value) ? "true" : "false");
    else if (time)
        buf_puts(out, clock_format_unix_ms((int64_t)(json_number_value(value) * 1000), text));
    else if (json_is_integer(value))
        buf_printf(out, "%lld", (long long)json_integer_value(value));
    buf_printf(out, "</%s>", tag);
}

void ec2_render(struct devcloud *cloud, struct request *req)
{
    const json_t *op = json_obj(cloud->ec2.operations, req->operation);
    char tag[80];
    struct buf out;

    snprintf(tag, sizeof(tag), "%sResponse", req->operation);
    buf_init(&out, XML_MAX);
    put_xml(&out, &cloud->ec2, json_str(json_obj(op, "output"), "shape"), req->answer.json, tag);
    answer_text(&req->answer, 200, "text/xml;charset=UTF-8",
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n%s", out.data);
    buf_fini(&out);
    json_decref(req->answer.json);
    req->answer.json = NULL;
}

/* ---- DescribeInstances ---------------------------------------------------------------------- */

static const char *state_of(const struct instance *in)
{
    return in->host_gone ? "terminated" : in->ec2_state[0] != '\0' ? in->ec2_state : "running";
}

static json_t *render(const struct devcloud *cloud, const struct instance *in)
{
    static const struct {
        const char *name;
        int code;
    } states[] = {{"pending", 0},     {"running", 16},  {"shutting-down", 32},
                  {"terminated", 48}, {"stopping", 64}, {"stopped", 80}};
    const char *name = state_of(in);
    int code = 0;

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        code = strcmp(states[i].name, name) == 0 ? states[i].code : code;
    json_t *j =
        json_pack("{s:s,s:s,s:{s:i,s:s},s:s,s:f,s:{s:s,s:s},s:s,s:[{s:s,s:s}]}", "InstanceId",
                  in->ec2_id, "ImageId", "ami-0f1e2d3c4b5a69788", "State", "Code", code, "Name",
                  name, "InstanceType", in->type, "LaunchTime", (double)in->registered_ms / 1000,
                  "Placement", "AvailabilityZone", in->zone, "Tenancy", "default",
                  "PrivateIpAddress", in->address, "Tags", "Key", "Name", "Value", "ecs & blox");
    if (in->spot)
        json_set_str(j, "InstanceLifecycle", "spot");
    return json_pack("{s:s,s:s,s:[o]}", "ReservationId", "r-0123456789abcdef0", "OwnerId",
                     cloud->account, "Instances", j);
}

static bool listed(const json_t *list, const char *text)
{
    size_t i;
    const json_t *one;

    json_array_foreach(list, i, one) if (strcmp(json_string_value(one), text) == 0) return true;
    return false;
}

static bool matches(const json_t *params, const struct instance *in)
{
    const json_t *ids = json_arr(params, "InstanceIds"), *filter;
    size_t i;

    json_array_foreach(json_arr(params, "Filters"), i, filter)
    {
        const char *name = json_str_or(filter, "Name", "");
        const char *is = strcmp(name, "instance-id") == 0 ? in->ec2_id : state_of(in);
        if (!listed(json_arr(filter, "Values"), is))
            return false;
    }
    return ids == NULL || listed(ids, in->ec2_id);
}

/* False with the error answered. */
static bool is_valid(struct devcloud *cloud, struct request *req, int64_t page)
{
    const json_t *ids = json_arr(req->params, "InstanceIds"), *one;
    size_t i;

    json_array_foreach(ids, i, one)
    {
        const char *id = json_string_value(one);
        if (strncmp(id, "i-", 2) != 0)
            answer_error(&req->answer, 400, "InvalidInstanceID.Malformed", "Invalid id: \"%s\"",
                         id);
        else if (map_get(&cloud->by_ec2_id, id) == NULL)
            answer_error(&req->answer, 400, "InvalidInstanceID.NotFound",
                         "The instance ID '%s' does not exist", id);
    }
    json_array_foreach(json_arr(req->params, "Filters"), i, one)
    {
        const char *name = json_str_or(one, "Name", "");
        if (strcmp(name, "instance-id") != 0 && strcmp(name, "instance-state-name") != 0)
            answer_error(&req->answer, 400, "InvalidParameterValue",
                         "devcloud does not serve the filter '%s'", name);
    }
    if (page != 0 && ids != NULL)
        answer_error(&req->answer, 400, "InvalidParameterCombination",
                     "The parameter instancesSet cannot be used with the parameter maxResults");
    else if (page != 0 && (page < PAGE_MIN || page > LIST_MAX))
        answer_error(&req->answer, 400, "InvalidParameterValue",
                     "Value (%lld) for parameter maxResults is invalid. Expecting 5 to 1000",
                     (long long)page);
    return !answer_failed(&req->answer);
}

static void describe_instances(struct devcloud *cloud, struct request *req)
{
    int64_t page = json_int_or(req->params, "MaxResults", 0), seen = 0;
    int64_t from = strtol(json_str_or(req->params, "NextToken", "0"), NULL, 10);
    json_t *found = json_array();
    size_t at = 0;
    const char *key;
    void *value;
    bool more = false;

    if (!is_valid(cloud, req, page)) {
        json_decref(found);
        return;
    }
    while (map_next(&cloud->clusters, &at, &key, &value)) {
        const struct cluster *c = value;
        for (struct list *l = c->instances.next; l != &c->instances; l = l->next) {
            const struct instance *in = LIST_OF(l, struct instance, in_cluster);
            if (!matches(req->params, in) || seen++ < from)
                continue;
            more = page != 0 && (int64_t)json_array_size(found) == page;
            if (!more)
                json_array_append_new(found, render(cloud, in));
        }
    }
    req->answer.json = json_pack("{s:o}", "Reservations", found);
    if (more)
        json_object_set_new(req->answer.json, "NextToken",
                            json_sprintf("%lld", (long long)(from + page)));
}

const struct operation ec2_operations[] = {
    {"DescribeInstances", describe_instances, BUCKET_NONE},
    {NULL, NULL, BUCKET_NONE},
};

/* SPDX-License-Identifier: Apache-2.0
 * ECS: attributes and tags. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/ecs.h"

#define ATTRIBUTES_PER_CALL 10
#define ATTRIBUTES_PER_INSTANCE 10
#define ATTRIBUTE_TEXT_MAX 128
#define TAGS_MAX 50

static bool has_only(const char *text, const char *more)
{
    for (; *text != '\0'; text++)
        if (!isalnum((unsigned char)*text) && strchr(more, *text) == NULL)
            return false;
    return true;
}

static bool check_attribute(struct request *req, const json_t *one)
{
    const char *name = json_str_or(one, "name", "");
    const char *value = json_str_or(one, "value", "");
    size_t len = strlen(value);

    if (name[0] == '\0' || strlen(name) > ATTRIBUTE_TEXT_MAX || !has_only(name, "-_/\\.")) {
        ecs_invalid(req, "attribute name must be 1-128 letters, digits, and -_/\\. : '%.60s'",
                    name);
        return false;
    }
    if (strncmp(name, "ecs.", 4) == 0 || strncmp(name, "com.amazonaws.", 14) == 0) {
        ecs_invalid(req, "attribute name uses a reserved prefix: '%.60s'", name);
        return false;
    }
    if (len > ATTRIBUTE_TEXT_MAX || !has_only(value, "-_.@/\\: ") ||
        (len > 0 && (value[0] == ' ' || value[len - 1] == ' '))) {
        ecs_invalid(req,
                    "attribute value must be at most 128 letters, digits, blanks and -_.@/\\: : "
                    "'%.60s'",
                    value);
        return false;
    }
    return true;
}

static struct instance *find_target(struct request *req, const struct cluster *c, const json_t *one)
{
    const char *type = json_str(one, "targetType");
    const char *id = json_str(one, "targetId");

    if (id == NULL || (type == NULL && strncmp(id, "arn:", 4) != 0)) {
        ecs_invalid(req, "targetId must be an ARN, or given with its targetType.");
        return NULL;
    }
    struct instance *in = instance_find(c, id);
    if (in == NULL || strcmp(in->status, "INACTIVE") == 0) {
        answer_error(&req->answer, 400, "TargetNotFoundException",
                     "Could not find the specified target: %.100s", id);
        return NULL;
    }
    return in;
}

static json_t *render_target(const struct instance *in, const char *name, const json_t *value)
{
    json_t *obj = json_object();

    json_set_str(obj, "name", name);
    json_set_str(obj, "value", json_string_value(value));
    json_set_str(obj, "targetType", "container-instance");
    json_set_str(obj, "targetId", in->arn);
    return obj;
}

/* All or nothing: the first pass changes nothing. */
static bool check_all(struct request *req, const struct cluster *c, bool put)
{
    const json_t *list = json_arr(req->params, "attributes");
    const json_t *one;
    size_t i;

    if (json_array_size(list) == 0 || json_array_size(list) > ATTRIBUTES_PER_CALL) {
        ecs_invalid(req, "attributes must have 1 to 10 items.");
        return false;
    }
    json_array_foreach(list, i, one)
    {
        if (!check_attribute(req, one))
            return false;
        const struct instance *in = find_target(req, c, one);
        if (in == NULL)
            return false;
        const json_t *before = json_object_get(in->custom, json_str(one, "name"));
        if (put && before == NULL && json_object_size(in->custom) >= ATTRIBUTES_PER_INSTANCE) {
            answer_error(&req->answer, 400, "AttributeLimitExceededException",
                         "Maximum number of attributes on container instance exceeded.");
            return false;
        }
    }
    return true;
}

static void change_attributes(struct devcloud *cloud, struct request *req, bool put)
{
    const struct cluster *c = ecs_cluster(cloud, req);
    const json_t *one;
    size_t i;

    if (c == NULL || !check_all(req, c, put))
        return;
    json_t *done = json_array();
    json_array_foreach(json_arr(req->params, "attributes"), i, one)
    {
        struct instance *in = find_target(req, c, one);
        const char *name = json_str(one, "name");
        const json_t *before = json_object_get(in->custom, name);
        json_t *value = json_object_get(one, "value");
        if (put)
            json_array_append_new(done, render_target(in, name, value));
        else if (before != NULL)
            json_array_append_new(done, render_target(in, name, before));
        else
            continue;
        if (put && before != NULL &&
            (value == NULL ? json_is_null(before) : json_equal(before, value)))
            continue; /* nothing changes, no event */
        instance_before(cloud, in);
        if (put)
            json_object_set_new(in->custom, name, value == NULL ? json_null() : json_incref(value));
        else
            json_object_del(in->custom, name);
        json_decref(in->all_attributes);
        in->all_attributes = NULL;
        instance_changed(cloud, in, "attributes");
    }
    req->answer.json = json_pack("{s:o}", "attributes", done);
}

void ecs_put_attributes(struct devcloud *cloud, struct request *req)
{
    change_attributes(cloud, req, true);
}

void ecs_delete_attributes(struct devcloud *cloud, struct request *req)
{
    change_attributes(cloud, req, false);
}

static void list_of_instance(struct instance *in, const char *name, const char *value,
                             struct ecs_page *page, json_t *out)
{
    json_t *all = render_attributes(in);
    const json_t *one;
    size_t i;

    json_array_foreach(all, i, one)
    {
        const char *own = json_str(one, "value");
        if ((name != NULL && strcmp(json_str(one, "name"), name) != 0) ||
            (value != NULL && (own == NULL || strcmp(own, value) != 0)))
            continue;
        if (ecs_page_take(page, in->seq << 8 | i))
            json_array_append_new(
                out, render_target(in, json_str(one, "name"), json_object_get(one, "value")));
    }
    json_decref(all);
}

void ecs_list_attributes(struct devcloud *cloud, struct request *req)
{
    const struct cluster *c = ecs_cluster(cloud, req);
    const char *name = json_str(req->params, "attributeName");
    const char *value = json_str(req->params, "attributeValue");
    struct ecs_page page;

    if (c == NULL || !ecs_page_start(req, &page))
        return;
    if (value != NULL && name == NULL) {
        ecs_invalid(req, "attributeValue requires attributeName.");
        return;
    }
    json_t *out = json_array();
    for (struct list *at = c->instances.next; at != &c->instances && !page.more; at = at->next) {
        struct instance *in = LIST_OF(at, struct instance, in_cluster);
        if ((in->seq << 8 | 0xff) > page.after && strcmp(in->status, "INACTIVE") != 0 &&
            cloud_unix_ms() >= in->appears_ms)
            list_of_instance(in, name, value, &page, out);
    }
    req->answer.json = json_pack("{s:o}", "attributes", out);
    ecs_page_end(&page, req->answer.json);
}

/* The tags of what an ARN names, with the place they are kept at; NULL if there is none such. */
static json_t **find_tags(struct devcloud *cloud, const char *arn)
{
    struct cluster *c = strstr(arn, ":cluster/") == NULL ? NULL : cluster_find(cloud, arn);
    struct instance *in = instance_find_any(cloud, arn);
    struct task *t = task_find(cloud, NULL, arn);
    struct task_def *def =
        strstr(arn, ":task-definition/") == NULL ? NULL : task_def_find(cloud, arn);

    if (c != NULL)
        return &c->tags;
    if (in != NULL)
        return &in->tags;
    if (t != NULL)
        return &t->tags;
    return def == NULL ? NULL : &def->tags;
}

static void put_tag(json_t *tags, const json_t *tag)
{
    const json_t *one;
    size_t i;

    json_array_foreach(
        tags, i, one) if (strcmp(json_str_or(one, "key", ""), json_str_or(tag, "key", "")) == 0)
    {
        json_array_set_new(tags, i, json_deep_copy(tag));
        return;
    }
    json_array_append_new(tags, json_deep_copy(tag));
}

void ecs_tag_resource(struct devcloud *cloud, struct request *req)
{
    json_t **tags = find_tags(cloud, json_str_or(req->params, "resourceArn", ""));
    const json_t *one;
    size_t i;

    if (tags == NULL) {
        ecs_invalid(req, "The specified resource was not found. Specify its long ARN.");
        return;
    }
    json_array_foreach(json_arr(req->params, "tags"), i,
                       one) if (strncmp(json_str_or(one, "key", ""), "aws:", 4) == 0)
    {
        ecs_invalid(req, "Tag keys must not start with aws:");
        return;
    }
    json_t *merged = json_deep_copy(*tags);
    json_array_foreach(json_arr(req->params, "tags"), i, one) put_tag(merged, one);
    if (json_array_size(merged) > TAGS_MAX) {
        ecs_invalid(req, "A resource can have at most 50 tags.");
        json_decref(merged);
        return;
    }
    json_decref(*tags);
    *tags = merged;
}

void ecs_list_tags_for_resource(struct devcloud *cloud, struct request *req)
{
    json_t **tags = find_tags(cloud, json_str_or(req->params, "resourceArn", ""));

    if (tags == NULL)
        ecs_invalid(req, "The specified resource was not found. Specify its long ARN.");
    else
        req->answer.json = json_pack("{s:O}", "tags", *tags);
}

/* SPDX-License-Identifier: Apache-2.0
 * ECS: container instances. */
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/ecs.h"
#include "agent/devcloud/query.h"

#define DESCRIBE_MAX 100
#define UPDATE_MAX 10

static bool is_visible(const struct instance *in)
{
    return cloud_unix_ms() >= in->appears_ms;
}

static json_t *render_for_read(struct devcloud *cloud, struct instance *in)
{
    if (in->stale != NULL && cloud_now_ms() < in->stale_until_ms)
        return json_deep_copy(in->stale);
    return render_instance(cloud, in, AS_API);
}

static const char *status_for_read(const struct instance *in)
{
    if (in->stale != NULL && cloud_now_ms() < in->stale_until_ms)
        return json_str_or(in->stale, "status", in->status);
    return in->status;
}

/* 0, or ERR_BADPARAM with the answer filled. */
static int passes(struct request *req, const struct instance *in, bool *ret)
{
    const char *status = json_str(req->params, "status");
    const char *filter = json_str(req->params, "filter");
    const char *own = status_for_read(in);
    struct errmsg e = {0};

    *ret = is_visible(in) &&
           (status != NULL ? strcmp(own, status) == 0 : strcmp(own, "INACTIVE") != 0);
    if (!*ret || filter == NULL || filter[0] == '\0')
        return 0;
    int err = query_match(filter, in, ret, &e);
    if (err != 0)
        ecs_invalid(req, "%s", e.text);
    return err;
}

void ecs_list_container_instances(struct devcloud *cloud, struct request *req)
{
    const struct cluster *c = ecs_cluster(cloud, req);
    struct ecs_page page;

    if (c == NULL || !ecs_page_start(req, &page))
        return;
    json_t *arns = json_array();
    for (struct list *at = c->instances.next; at != &c->instances && !page.more; at = at->next) {
        const struct instance *in = LIST_OF(at, struct instance, in_cluster);
        bool pass;
        if (in->seq <= page.after)
            continue;
        if (passes(req, in, &pass) != 0)
            break;
        if (pass && ecs_page_take(&page, in->seq))
            json_array_append_new(arns, json_string(in->arn));
    }
    if (!answer_failed(&req->answer)) {
        req->answer.json = json_pack("{s:O}", "containerInstanceArns", arns);
        ecs_page_end(&page, req->answer.json);
    }
    json_decref(arns);
}

void ecs_describe_container_instances(struct devcloud *cloud, struct request *req)
{
    const struct cluster *c = ecs_cluster(cloud, req);
    const json_t *ids = json_arr(req->params, "containerInstances");
    const json_t *one;
    size_t i;

    if (c == NULL)
        return;
    if (json_array_size(ids) == 0) {
        ecs_invalid(req, "Container instance cannot be blank.");
        return;
    }
    if (json_array_size(ids) > DESCRIBE_MAX) {
        ecs_invalid(req, "Container instances can have at most 100 items.");
        return;
    }
    json_t *found = json_array(), *failures = json_array();
    json_array_foreach(ids, i, one)
    {
        const char *id = json_string_value(one);
        struct instance *in = instance_find(c, id);
        if (in != NULL && is_visible(in)) {
            json_array_append_new(found, render_for_read(cloud, in));
            continue;
        }
        char *arn = ecs_arn_of(cloud, c, "container-instance", id);
        ecs_failure(failures, arn, "MISSING", NULL);
        free(arn);
    }
    req->answer.json = json_pack("{s:o,s:o}", "containerInstances", found, "failures", failures);
}

void ecs_update_container_instances_state(struct devcloud *cloud, struct request *req)
{
    const struct cluster *c = ecs_cluster(cloud, req);
    const json_t *ids = json_arr(req->params, "containerInstances");
    const char *status = json_str_or(req->params, "status", "");
    const json_t *one;
    size_t i;

    if (c == NULL)
        return;
    if (strcmp(status, "ACTIVE") != 0 && strcmp(status, "DRAINING") != 0) {
        ecs_invalid(req, "Container instance status should be one of [ACTIVE,DRAINING].");
        return;
    }
    if (json_array_size(ids) == 0 || json_array_size(ids) > UPDATE_MAX) {
        ecs_invalid(req, "Container instances must have 1 to 10 items.");
        return;
    }
    json_t *done = json_array(), *failures = json_array();
    json_array_foreach(ids, i, one)
    {
        const char *id = json_string_value(one);
        struct instance *in = instance_find(c, id);
        if (in != NULL && strcmp(in->status, "INACTIVE") != 0) {
            instance_set_status(cloud, in, strcmp(status, "ACTIVE") == 0 ? "ACTIVE" : "DRAINING");
            json_array_append_new(done, render_instance(cloud, in, AS_API));
            continue;
        }
        char *arn = ecs_arn_of(cloud, c, "container-instance", id);
        ecs_failure(failures, arn, in == NULL ? "MISSING" : "INACTIVE", NULL);
        free(arn);
    }
    req->answer.json = json_pack("{s:o,s:o}", "containerInstances", done, "failures", failures);
}

void ecs_deregister_container_instance(struct devcloud *cloud, struct request *req)
{
    const struct cluster *c = ecs_cluster(cloud, req);
    bool force = json_bool_or(req->params, "force", false);

    if (c == NULL)
        return;
    struct instance *in = instance_find(c, json_str(req->params, "containerInstance"));
    if (in == NULL) {
        ecs_client_error(req, "Referenced container instance %s not found.",
                         json_str(req->params, "containerInstance"));
        return;
    }
    if (!force && in->running + in->pending > 0) {
        ecs_invalid(req, "Found running tasks on the instance.");
        return;
    }
    instance_deregister(cloud, in, REASON_DEREGISTERED, NULL);
    req->answer.json = json_pack("{s:o}", "containerInstance", render_instance(cloud, in, AS_API));
}

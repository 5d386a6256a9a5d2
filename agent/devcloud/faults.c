/* SPDX-License-Identifier: Apache-2.0
 * Rate limits as AWS documents them, and faults as a test asks for them. */
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/services.h"

/* Developer Guide, "Request throttling for the Amazon ECS API": burst, tokens per second. */
static const double RATES[BUCKET_END][2] = {
    [BUCKET_CLUSTER_MODIFY] = {10, 1},    [BUCKET_CLUSTER_READ] = {50, 20},
    [BUCKET_RESOURCE_MODIFY] = {100, 40}, [BUCKET_RESOURCE_READ] = {100, 20},
    [BUCKET_TASKDEF_MODIFY] = {20, 1},    [BUCKET_TASKDEF_READ] = {50, 20},
    [BUCKET_TAG_MODIFY] = {20, 10},       [BUCKET_TAG_READ] = {50, 20},
};

bool throttle_take(struct devcloud *cloud, int bucket)
{
    if (bucket < 0 || cloud->set.throttle <= 0)
        return true;
    struct bucket *b = &cloud->buckets[bucket];
    double burst = RATES[bucket][0] * cloud->set.throttle;
    uint64_t now = cloud_now_ms();
    if (b->at_ms == 0)
        b->tokens = burst;
    else
        b->tokens += (double)(now - b->at_ms) / 1000.0 * RATES[bucket][1] * cloud->set.throttle;
    b->at_ms = now;
    if (b->tokens > burst)
        b->tokens = burst;
    if (b->tokens < 1)
        return false;
    b->tokens -= 1;
    return true;
}

static const struct {
    const char *mode;
    const char *when; /* before the request is looked at, instead of its effect, after it */
} MODES[] = {{"delay", "before"},      {"error", "instead"},     {"throttle", "instead"},
             {"reset", "instead"},     {"delay-reply", "after"}, {"lose-reply", "after"},
             {"error-after", "after"}, {"truncate", "after"},    {"partial", "partial"}};

static const char *mode_when(const char *mode)
{
    for (size_t i = 0; i < sizeof(MODES) / sizeof(MODES[0]); i++)
        if (strcmp(MODES[i].mode, mode) == 0)
            return MODES[i].when;
    return NULL;
}

static bool is_named(const json_t *name, const char *cluster)
{
    const char *text = json_is_string(name) ? json_string_value(name) : "";
    const char *slash = strrchr(text, '/');
    return strcmp(slash == NULL ? text : slash + 1, cluster) == 0;
}

static bool names_cluster(const struct request *req, const char *cluster)
{
    size_t i;
    json_t *name;
    json_array_foreach(json_arr(req->params, "clusters"), i, name)
    {
        if (is_named(name, cluster))
            return true;
    }
    return is_named(json_object_get(req->params, "cluster"), cluster);
}

static bool applies(const struct fault *f, const struct request *req, const char *when)
{
    if (f->left == 0 || strcmp(mode_when(f->mode), when) != 0)
        return false;
    if (strcmp(f->service, "*") != 0 && strcmp(f->service, req->service) != 0)
        return false;
    if (strcmp(req->service, "control") == 0 ||
        (f->cluster[0] != '\0' && !names_cluster(req, f->cluster)))
        return false;
    return strcmp(f->operation, "*") == 0 || strcmp(f->operation, req->operation) == 0;
}

struct fault *fault_pick(struct devcloud *cloud, const struct request *req, const char *when)
{
    for (struct list *at = cloud->faults.next; at != &cloud->faults; at = at->next) {
        struct fault *f = LIST_OF(at, struct fault, link);
        if (!applies(f, req, when) || (f->probability < 1 && !cloud_chance(cloud, f->probability)))
            continue;
        f->used++;
        if (f->left > 0)
            f->left--;
        cloud_count2(cloud, "fault:", f->mode);
        return f;
    }
    return NULL;
}

int fault_add(struct devcloud *cloud, const json_t *args, json_t **ret_answer, struct errmsg *e)
{
    const char *mode = json_str_or(args, "mode", "");

    if (mode_when(mode) == NULL)
        return errmsg_set(e, ERR_BADPARAM,
                          "mode must be delay, delay-reply, lose-reply, error, error-after, "
                          "throttle, reset, truncate or partial, not '%.20s'",
                          mode);
    if (strcmp(mode_when(mode), "before") == 0 && json_str(args, "cluster") != NULL)
        return errmsg_set(e, ERR_BADPARAM,
                          "a request that is delayed has not been read: cluster goes with "
                          "delay-reply, not with %.20s",
                          mode);
    struct fault *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    f->id = ++cloud->fault_ids;
    snprintf(f->mode, sizeof(f->mode), "%s", mode);
    snprintf(f->operation, sizeof(f->operation), "%s", json_str_or(args, "operation", "*"));
    snprintf(f->service, sizeof(f->service), "%s", json_str_or(args, "service", "*"));
    snprintf(f->cluster, sizeof(f->cluster), "%s", json_str_or(args, "cluster", ""));
    snprintf(f->code, sizeof(f->code), "%s", json_str_or(args, "code", "ServerException"));
    snprintf(f->message, sizeof(f->message), "%s",
             json_str_or(args, "message", "Service Unavailable. Please try again later."));
    snprintf(f->reason, sizeof(f->reason), "%s", json_str_or(args, "reason", "RESOURCE:MEMORY"));
    f->http_status = (int)json_int_or(args, "status", 500);
    f->ms = (uint64_t)json_int_or(args, "ms", 0);
    f->probability = json_num_or(args, "probability", 1.0);
    f->left = json_int_or(args, "count", -1);
    list_push(&cloud->faults, &f->link);
    *ret_answer = json_pack("{s:I}", "fault", (json_int_t)f->id);
    return 0;
}

void faults_clear(struct devcloud *cloud)
{
    struct list *link;

    while ((link = list_pop(&cloud->faults)) != NULL)
        free(LIST_OF(link, struct fault, link));
}

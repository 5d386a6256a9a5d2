/* SPDX-License-Identifier: Apache-2.0
 * What is really so, for those who compare. */
#include <string.h>

#include "agent/devcloud/queue.h"
#include "agent/devcloud/render.h"
#include "agent/devcloud/services.h"
#include "agent/devcloud/tasks.h"

static void add_cluster(struct devcloud *cloud, const struct cluster *c, json_t *instances,
                        json_t *tasks)
{
    for (struct list *at = c->instances.next; at != &c->instances; at = at->next) {
        struct instance *in = LIST_OF(at, struct instance, in_cluster);
        json_t *one = render_instance(cloud, in, AS_API);
        json_set_str(one, "clusterArn", c->arn);
        json_set_bool(one, "hostGone", in->host_gone);
        json_array_append_new(instances, one);
    }
    for (struct list *at = c->tasks.next; at != &c->tasks; at = at->next) {
        const struct task *t = LIST_OF(at, struct task, in_cluster);
        json_t *one = render_task(cloud, t, AS_API);
        json_set_bool(one, "live", t->live);
        json_set_str(one, "localStatus", task_status_str(t->local));
        json_array_append_new(tasks, one);
    }
}

json_t *truth_render(struct devcloud *cloud)
{
    json_t *clusters = json_array(), *instances = json_array(), *tasks = json_array();
    size_t at = 0;
    const char *key;
    void *value;

    while (map_next(&cloud->clusters, &at, &key, &value)) {
        json_array_append_new(clusters, render_cluster(value));
        add_cluster(cloud, value, instances, tasks);
    }
    return json_pack("{s:I,s:o,s:o,s:o}", "time", (json_int_t)cloud_unix_ms(), "clusters", clusters,
                     "instances", instances, "tasks", tasks);
}

json_t *stats_render(struct devcloud *cloud)
{
    json_t *out = json_deep_copy(cloud->counts);
    const struct queue *q = cloud->event_queue;

    json_set_int(out, "queue_ready", (int64_t)q->ready_count);
    json_set_int(out, "queue_in_flight", (int64_t)q->in_flight);
    json_set_int(out, "queue_delayed", (int64_t)q->delayed);
    json_set_int(out, "tasks", (int64_t)cloud->tasks.count);
    json_set_int(out, "instances", (int64_t)cloud->by_ec2_id.count);
    json_set_int(out, "timers", (int64_t)cloud->timers.count);
    json_set_int(out, "requests_recorded_next", (int64_t)cloud->recorded_next);
    return out;
}

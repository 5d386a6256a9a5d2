/* SPDX-License-Identifier: Apache-2.0
 * A task has two states: `local`, what is so on the host, and `status`, what ECS believes. The
 * step timer moves the first, the commit timer lets the second follow. While the ECS agent is
 * disconnected nothing is committed and no order arrives. */
#include "agent/devcloud/tasks.h"

#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/instances.h"
#include "agent/devcloud/render.h"

#define EXIT_SIGTERM 143
#define FIRST_DYNAMIC_PORT 32768u

static void set_local(struct devcloud *cloud, struct task *t, enum task_status local);

const char *task_status_str(enum task_status status)
{
    static const char *const NAMES[] = {"PROVISIONING", "PENDING",  "ACTIVATING",     "RUNNING",
                                        "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"};

    return NAMES[status];
}

void task_before(struct devcloud *cloud, struct task *t)
{
    if (cloud->set.read_lag_ms == 0)
        return;
    if (t->stale == NULL || cloud_now_ms() >= t->stale_until_ms) {
        json_decref(t->stale);
        t->stale = render_task(cloud, t, AS_API);
        t->stale_stopped = t->desired_stopped;
    }
    t->stale_until_ms = cloud_now_ms() + cloud->set.read_lag_ms;
}

static void log_task(struct devcloud *cloud, struct task *t, const char *what)
{
    cloud_truth(cloud, "task",
                json_pack("{s:s,s:s,s:s,s:s,s:s,s:s?,s:s,s:s,s:s,s:b,s:I}", "event", what, "task",
                          t->arn, "instance", t->instance->arn, "ec2InstanceId",
                          t->instance->ec2_id, "group", t->group, "startedBy",
                          t->started_by == NULL ? NULL : t->started_by->name, "taskDefinition",
                          t->def->arn, "lastStatus", task_status_str(t->status), "localStatus",
                          task_status_str(t->local), "live", t->live, "version",
                          (json_int_t)t->version));
}

void task_changed(struct devcloud *cloud, struct task *t, const char *what)
{
    t->version++;
    t->updated_ms = cloud_unix_ms();
    t->connectivity = t->instance->connected;
    log_task(cloud, t, what);
    render_publish(cloud, render_envelope(cloud, "ECS Task State Change", "aws.ecs", t->arn,
                                          render_task(cloud, t, AS_EVENT)));
}

/* Ports of a task go into or out of the instance's sets. */
static void hold_ports(struct task *t, bool hold)
{
    struct instance *in = t->instance;

    for (size_t i = 0; !t->def->awsvpc && i < t->def->port_count; i++) {
        bool udp = t->def->ports[i].udp;
        uint16_t *set = in->ports[udp];
        if (hold) {
            t->host_ports[i] = t->def->ports[i].host_port;
            if (t->host_ports[i] == 0)
                t->host_ports[i] = (uint16_t)(FIRST_DYNAMIC_PORT + (t->seq + i) % 28000);
            set[in->port_count[udp]++] = t->host_ports[i];
            continue;
        }
        for (size_t j = 0; j < in->port_count[udp]; j++)
            if (set[j] == t->host_ports[i]) {
                set[j] = set[--in->port_count[udp]];
                break;
            }
    }
}

static void hold(struct task *t, bool on)
{
    int64_t sign = on ? 1 : -1;

    if (t->holds == on)
        return;
    t->holds = on;
    t->instance->cpu_left -= sign * t->def->cpu;
    t->instance->memory_left -= sign * t->def->memory;
    t->instance->gpus_left -= sign * t->def->gpus;
    hold_ports(t, on);
}

static void count_in(struct task *t, int64_t n)
{
    if (t->status < TASK_RUNNING)
        t->instance->pending += n;
    else if (t->status < TASK_STOPPED)
        t->instance->running += n;
}

static void on_forget(struct devcloud *cloud, struct timer *timer)
{
    struct task *t = LIST_OF(timer, struct task, forget);

    log_task(cloud, t, "forgotten");
    task_destroy(cloud, t);
}

/* ECS's view becomes `status`. */
static void set_status(struct devcloud *cloud, struct task *t, enum task_status status)
{
    bool was_running = t->status >= TASK_RUNNING;
    int64_t now = cloud_unix_ms();

    if (t->status == status)
        return;
    task_before(cloud, t);
    instance_before(cloud, t->instance);
    count_in(t, -1);
    t->status = status;
    count_in(t, 1);
    if (status >= TASK_PENDING && t->connected_ms == 0)
        t->connected_ms = now;
    if (status == TASK_RUNNING)
        t->started_ms = now;
    t->pull_started_ms = t->local_pull_started_ms;
    t->pull_stopped_ms = t->local_pull_stopped_ms;
    t->execution_stopped_ms = t->local_execution_stopped_ms;
    bool counts = was_running != (status >= TASK_RUNNING);
    if (status == TASK_STOPPED) {
        t->desired_stopped = true;
        t->stopped_ms = now;
        if (t->stopping_ms == 0)
            t->stopping_ms = now;
        hold(t, false);
        cloud_disarm(cloud, &t->step);
        cloud_disarm(cloud, &t->crash);
        cloud_arm(cloud, &t->forget, cloud->set.stopped_retention_ms, on_forget);
        counts = true;
    }
    task_changed(cloud, t, status == TASK_STOPPED ? "stopped" : "status");
    if (counts)
        instance_changed(cloud, t->instance, "resources");
}

static void on_commit(struct devcloud *cloud, struct timer *timer)
{
    struct task *t = LIST_OF(timer, struct task, commit);

    if (t->status == TASK_STOPPED)
        return;
    if (!t->instance->connected)
        t->commit_waits = true;
    else
        set_status(cloud, t, t->local);
}

static bool is_short(const struct devcloud *cloud, const struct task *t)
{
    return cloud->set.short_lifecycle && !t->def->awsvpc;
}

static enum task_status next_status(const struct devcloud *cloud, const struct task *t)
{
    bool brief = is_short(cloud, t);

    if (!t->desired_stopped) {
        if (brief && t->local == TASK_PENDING)
            return TASK_RUNNING;
        return t->local + 1;
    }
    if (t->local < TASK_RUNNING)
        return brief ? TASK_STOPPED : TASK_DEPROVISIONING;
    if (brief && t->local == TASK_DEACTIVATING)
        return TASK_STOPPED;
    return t->local + 1;
}

static void on_step(struct devcloud *cloud, struct timer *timer)
{
    struct task *t = LIST_OF(timer, struct task, step);

    /* An order needs a connection; task_agent_back goes on from here. */
    if (t->instance->host_gone || !t->instance->connected || t->local == TASK_STOPPED)
        return;
    if (!t->desired_stopped && t->local == TASK_RUNNING)
        return;
    enum task_status next = next_status(cloud, t);
    if (!t->desired_stopped && next >= TASK_ACTIVATING && t->def->start_error != NULL) {
        t->stop_code = "TaskFailedToStart";
        t->stopped_reason = cloud_text("Task failed to start");
        t->container_reason = cloud_text("%s", t->def->start_error);
        t->exit_code = -1;
        next = TASK_STOPPED;
    }
    set_local(cloud, t, next);
}

static void on_crash(struct devcloud *cloud, struct timer *timer)
{
    struct task *t = LIST_OF(timer, struct task, crash);

    task_exit(cloud, t, t->def->crash_code);
}

static void set_live(struct devcloud *cloud, struct task *t, bool live)
{
    if (t->live == live)
        return;
    t->live = live;
    if (!live)
        t->local_execution_stopped_ms = cloud_unix_ms();
    log_task(cloud, t, live ? "live" : "dead");
}

static void arm_step(struct devcloud *cloud, struct task *t)
{
    cloud_arm(
        cloud, &t->step,
        cloud_between(cloud, t->desired_stopped ? cloud->set.stop_step_ms : cloud->set.step_ms),
        on_step);
}

static void set_local(struct devcloud *cloud, struct task *t, enum task_status local)
{
    if (local == TASK_ACTIVATING || (local == TASK_RUNNING && t->local == TASK_PENDING))
        t->local_pull_stopped_ms = cloud_unix_ms();
    t->local = local;
    if (local == TASK_PENDING)
        t->local_pull_started_ms = cloud_unix_ms();
    set_live(cloud, t, local >= TASK_RUNNING && local < TASK_DEPROVISIONING);
    if (local >= TASK_DEPROVISIONING && t->exit_code < 0 && t->started_ms != 0)
        t->exit_code = EXIT_SIGTERM;
    if (local != TASK_STOPPED && (t->desired_stopped || local != TASK_RUNNING))
        arm_step(cloud, t);
    if (local == TASK_RUNNING && t->def->crash_after_ms >= 0)
        cloud_arm(cloud, &t->crash, (uint64_t)t->def->crash_after_ms, on_crash);
    if (cloud->set.agent_lag_ms == 0 && t->instance->connected)
        set_status(cloud, t, local);
    else if (!timer_is_armed(&t->commit))
        cloud_arm(cloud, &t->commit, cloud->set.agent_lag_ms, on_commit);
}

static void index_task(struct devcloud *cloud, struct task *t, const char *started_by)
{
    list_push(&t->cluster->tasks, &t->in_cluster);
    list_push(&t->instance->tasks, &t->on_instance);
    list_init(&t->in_group);
    if (map_put(&cloud->tasks, t->id, t, NULL) != 0)
        abort();
    if (started_by == NULL)
        return;
    struct started_by *by = map_get(&cloud->started_by, started_by);
    if (by == NULL) {
        by = calloc(1, sizeof(*by));
        if (by == NULL || map_put(&cloud->started_by, started_by, by, NULL) != 0)
            abort();
        by->name = cloud_text("%s", started_by);
        list_init(&by->tasks);
    }
    t->started_by = by;
    list_push(&by->tasks, &t->in_group);
}

struct task *task_start(struct devcloud *cloud, struct instance *in, struct task_def *def,
                        const struct task_options *options)
{
    struct task *t = calloc(1, sizeof(*t));

    if (t == NULL)
        abort();
    t->cluster = in->cluster;
    t->instance = in;
    t->def = def;
    t->seq = ++cloud->seqs;
    if (cloud->set.short_arns) {
        cloud_uuid(cloud, t->id);
        t->arn = cloud_text("arn:%s:ecs:%s:%s:task/%s", cloud->partition, cloud->region,
                            cloud->account, t->id);
    } else {
        cloud_hex(cloud, t->id, 32);
        t->arn = cloud_text("arn:%s:ecs:%s:%s:task/%s/%s", cloud->partition, cloud->region,
                            cloud->account, in->cluster->name, t->id);
    }
    t->group = options->group != NULL ? cloud_text("%s", options->group)
                                      : cloud_text("family:%s", def->family);
    t->overrides = options->overrides == NULL ? NULL : json_deep_copy(options->overrides);
    t->tags = options->tags == NULL ? json_array() : json_deep_copy(options->tags);
    t->execute_command = options->execute_command;
    t->exit_code = -1;
    t->host_ports = calloc(def->port_count + 1, sizeof(*t->host_ports));
    if (t->host_ports == NULL)
        abort();
    t->created_ms = cloud_unix_ms();
    t->appears_ms = t->created_ms + (int64_t)cloud->set.read_lag_ms;
    t->status = t->local = is_short(cloud, t) ? TASK_PENDING : TASK_PROVISIONING;
    index_task(cloud, t, options->started_by);
    instance_before(cloud, in);
    hold(t, true);
    count_in(t, 1);
    task_changed(cloud, t, "created");
    instance_changed(cloud, in, "resources");
    arm_step(cloud, t);
    return t;
}

struct task *task_find(struct devcloud *cloud, const struct cluster *c, const char *text)
{
    const char *id = strncmp(text, "arn:", 4) == 0 ? strrchr(text, '/') : NULL;
    struct task *t = map_get(&cloud->tasks, id == NULL ? text : id + 1);

    if (t == NULL || (c != NULL && t->cluster != c) || (id != NULL && strcmp(t->arn, text) != 0))
        return NULL;
    return t;
}

void task_stop(struct devcloud *cloud, struct task *t, const char *reason, const char *code)
{
    if (t->desired_stopped)
        return;
    task_before(cloud, t);
    t->desired_stopped = true;
    t->stop_code = code;
    t->stopped_reason = cloud_text("%s", reason);
    t->stopping_ms = cloud_unix_ms();
    task_changed(cloud, t, "stopping");
    if (t->local != TASK_STOPPED)
        arm_step(cloud, t);
}

void task_exit(struct devcloud *cloud, struct task *t, int64_t exit_code)
{
    if (t->local < TASK_RUNNING || t->local >= TASK_DEPROVISIONING || t->instance->host_gone)
        return;
    t->exit_code = exit_code;
    if (t->stopped_reason == NULL) {
        t->stop_code = "EssentialContainerExited";
        t->stopped_reason = cloud_text("Essential container in task exited");
    }
    set_local(cloud, t, TASK_STOPPED);
}

void task_host_died(struct devcloud *cloud, struct task *t)
{
    cloud_disarm(cloud, &t->step);
    cloud_disarm(cloud, &t->commit);
    cloud_disarm(cloud, &t->crash);
    t->local = TASK_STOPPED;
    set_live(cloud, t, false);
}

void task_lost(struct devcloud *cloud, struct task *t, const char *reason, const char *code)
{
    if (t->status == TASK_STOPPED)
        return;
    if (t->stopped_reason == NULL)
        t->stopped_reason = cloud_text("%s", reason);
    if (t->stop_code == NULL)
        t->stop_code = code;
    /* A forced deregistration does not reach the containers: they stay as they are. */
    if (t->instance->host_gone)
        t->exit_code = -1;
    cloud_disarm(cloud, &t->commit);
    t->desired_stopped = true;
    set_status(cloud, t, TASK_STOPPED);
}

void task_agent_back(struct devcloud *cloud, struct task *t)
{
    if (t->status == TASK_STOPPED)
        return;
    if (t->local != t->status) {
        t->commit_waits = false;
        cloud_arm(cloud, &t->commit, cloud->set.agent_lag_ms, on_commit);
    }
    bool settled = t->local == TASK_STOPPED || (t->local == TASK_RUNNING && !t->desired_stopped);
    if (!settled && !timer_is_armed(&t->step))
        arm_step(cloud, t);
}

void task_destroy(struct devcloud *cloud, struct task *t)
{
    cloud_disarm(cloud, &t->step);
    cloud_disarm(cloud, &t->commit);
    cloud_disarm(cloud, &t->crash);
    cloud_disarm(cloud, &t->forget);
    list_remove(&t->in_cluster);
    list_remove(&t->on_instance);
    list_remove(&t->in_group);
    if (t->started_by != NULL && list_is_empty(&t->started_by->tasks)) {
        map_del(&cloud->started_by, t->started_by->name);
        free(t->started_by->name);
        free(t->started_by);
    }
    map_del(&cloud->tasks, t->id);
    json_decref(t->overrides);
    json_decref(t->tags);
    json_decref(t->stale);
    free(t->stopped_reason);
    free(t->container_reason);
    free(t->host_ports);
    free(t->group);
    free(t->arn);
    free(t);
}

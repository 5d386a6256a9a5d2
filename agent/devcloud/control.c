/* SPDX-License-Identifier: Apache-2.0
 * The control API: what tests, scenarios and `blox dev` do to the world. POST /_control/VERB with
 * a JSON object; GET /_control/truth, stats, settings, requests?after=SEQ. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/instances.h"
#include "agent/devcloud/queue.h"
#include "agent/devcloud/render.h"
#include "agent/devcloud/services.h"
#include "agent/devcloud/tasks.h"

#define ADD_MAX 5000
#define PUT_MAX 200000
#define EXIT_KILLED 137

typedef int (*verb_fn)(struct devcloud *cloud, const json_t *args, json_t **ret_answer,
                       struct errmsg *e);

/* args.instance: an id, or a list of them; args.all: every one that is not gone. */
static int each_instance(struct devcloud *cloud, const json_t *args,
                         void (*fn)(struct devcloud *cloud, struct instance *in,
                                    const json_t *args),
                         json_t **ret_answer, struct errmsg *e)
{
    const json_t *which = json_object_get(args, "instance");
    size_t count = json_is_array(which) ? json_array_size(which) : which == NULL ? 0 : 1;
    json_t *done = json_array();

    if (count == 0 && !json_bool_or(args, "all", false)) {
        json_decref(done);
        return errmsg_set(e, ERR_BADPARAM,
                          "say which: {\"instance\": \"i-...\"} or {\"all\": true}");
    }
    for (size_t i = 0; i < count; i++) {
        const char *id = json_string_value(json_is_array(which) ? json_array_get(which, i) : which);
        struct instance *in = id == NULL ? NULL : instance_find_any(cloud, id);
        if (in == NULL) {
            json_decref(done);
            return errmsg_set(e, ERR_NOTFOUND, "no instance '%.60s'", id == NULL ? "" : id);
        }
        fn(cloud, in, args);
        json_array_append_new(done, json_string(in->ec2_id));
    }
    struct cluster *c = cloud->main_cluster;
    for (struct list *at = c->instances.next; count == 0 && at != &c->instances; at = at->next) {
        struct instance *in = LIST_OF(at, struct instance, in_cluster);
        if (strcmp(in->status, "INACTIVE") == 0 || in->host_gone)
            continue;
        fn(cloud, in, args);
        json_array_append_new(done, json_string(in->ec2_id));
    }
    *ret_answer = json_pack("{s:o}", "instances", done);
    return 0;
}

static int add_instances(struct devcloud *cloud, const json_t *args, json_t **ret_answer,
                         struct errmsg *e)
{
    int64_t count = json_int_or(args, "count", 1);
    struct instance_options options = {.type = json_str(args, "type"),
                                       .zone = json_str(args, "zone"),
                                       .attributes = json_obj(args, "attributes"),
                                       .spot = json_bool_or(args, "spot", false)};
    struct cluster *c = json_str(args, "cluster") == NULL
                            ? cloud->main_cluster
                            : cluster_find(cloud, json_str(args, "cluster"));

    if (count < 1 || count > ADD_MAX)
        return errmsg_set(e, ERR_BADPARAM, "count must be 1 to 5000");
    if (c == NULL)
        return errmsg_set(e, ERR_NOTFOUND, "no such cluster");
    if (options.type != NULL && !instance_known_type(options.type))
        return errmsg_set(e, ERR_BADPARAM, "unknown instance type '%.30s'", options.type);
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) {
        const struct instance *in = instance_add(cloud, c, &options);
        json_array_append_new(
            list,
            json_pack("{s:s,s:s,s:o,s:o}", "id", in->ec2_id, "arn", in->arn, "imds",
                      json_sprintf("http://127.0.0.1:%u/_imds/%s", cloud->port, in->ec2_id),
                      "ecs_agent",
                      json_sprintf("http://127.0.0.1:%u/_ecs-agent/%s", cloud->port, in->ec2_id)));
    }
    *ret_answer = json_pack("{s:o}", "instances", list);
    return 0;
}

static void do_drain(struct devcloud *cloud, struct instance *in, const json_t *args)
{
    (void)args;
    if (strcmp(in->status, "ACTIVE") == 0)
        instance_set_status(cloud, in, "DRAINING");
}

static void do_activate(struct devcloud *cloud, struct instance *in, const json_t *args)
{
    (void)args;
    if (strcmp(in->status, "DRAINING") == 0)
        instance_set_status(cloud, in, "ACTIVE");
}

static void do_terminate(struct devcloud *cloud, struct instance *in, const json_t *args)
{
    (void)args;
    instance_terminate(cloud, in);
}

static void do_deregister(struct devcloud *cloud, struct instance *in, const json_t *args)
{
    (void)args;
    instance_deregister(cloud, in, REASON_DEREGISTERED, NULL);
}

static void do_disconnect(struct devcloud *cloud, struct instance *in, const json_t *args)
{
    (void)args;
    instance_connect(cloud, in, false);
}

static void do_connect(struct devcloud *cloud, struct instance *in, const json_t *args)
{
    (void)args;
    instance_connect(cloud, in, true);
}

static void do_spot(struct devcloud *cloud, struct instance *in, const json_t *args)
{
    uint64_t ahead_ms = (uint64_t)json_int_or(args, "ahead_ms", 120000);

    in->spot = true;
    snprintf(in->spot_action, sizeof(in->spot_action), "%s",
             json_str_or(args, "action", "terminate"));
    in->spot_ms = cloud_unix_ms() + (int64_t)ahead_ms;
    char *resource =
        cloud_text("arn:%s:ec2:%s:instance/%s", cloud->partition, in->zone, in->ec2_id);
    render_publish(cloud, render_envelope(cloud, "EC2 Spot Instance Interruption Warning",
                                          "aws.ec2", resource,
                                          json_pack("{s:s,s:s}", "instance-id", in->ec2_id,
                                                    "instance-action", in->spot_action)));
    free(resource);
}

static void do_rebalance(struct devcloud *cloud, struct instance *in, const json_t *args)
{
    (void)args;
    (void)cloud;
    in->rebalance_ms = cloud_unix_ms();
}

static void do_lifecycle(struct devcloud *cloud, struct instance *in, const json_t *args)
{
    (void)cloud;
    snprintf(in->lifecycle, sizeof(in->lifecycle), "%s", json_str_or(args, "state", "InService"));
}

/* What EC2 says of a host that is not terminated: stopped, shutting-down... */
static void do_ec2_state(struct devcloud *cloud, struct instance *in, const json_t *args)
{
    (void)cloud;
    snprintf(in->ec2_state, sizeof(in->ec2_state), "%s", json_str_or(args, "state", "running"));
}

#define INSTANCE_VERB(name)                                                                        \
    static int verb_##name(struct devcloud *cloud, const json_t *args, json_t **ret_answer,        \
                           struct errmsg *e)                                                       \
    {                                                                                              \
        return each_instance(cloud, args, do_##name, ret_answer, e);                               \
    }
INSTANCE_VERB(drain)
INSTANCE_VERB(activate)
INSTANCE_VERB(terminate)
INSTANCE_VERB(deregister)
INSTANCE_VERB(disconnect)
INSTANCE_VERB(connect)
INSTANCE_VERB(spot)
INSTANCE_VERB(rebalance)
INSTANCE_VERB(lifecycle)
INSTANCE_VERB(ec2_state)

/* Containers exit by themselves: of a task, of all on an instance, of a group. */
static int kill_task(struct devcloud *cloud, const json_t *args, json_t **ret_answer,
                     struct errmsg *e)
{
    const char *task = json_str(args, "task"), *group = json_str(args, "group");
    const char *instance = json_str(args, "instance");
    int64_t code = json_int_or(args, "exit_code", EXIT_KILLED), killed = 0;
    const struct instance *in = instance == NULL ? NULL : instance_find_any(cloud, instance);
    struct list *at, *next;

    if (task == NULL && group == NULL && instance == NULL)
        return errmsg_set(e, ERR_BADPARAM, "say which: task, instance or group");
    if ((instance != NULL && in == NULL) || (task != NULL && task_find(cloud, NULL, task) == NULL))
        return errmsg_set(e, ERR_NOTFOUND, "no such task or instance");
    for (at = cloud->main_cluster->tasks.next; at != &cloud->main_cluster->tasks; at = next) {
        struct task *t = LIST_OF(at, struct task, in_cluster);
        next = at->next;
        if (!t->live || (in != NULL && t->instance != in) ||
            (group != NULL && strcmp(t->group, group) != 0) ||
            (task != NULL && task_find(cloud, NULL, task) != t))
            continue;
        task_exit(cloud, t, code);
        killed++;
    }
    *ret_answer = json_pack("{s:I}", "killed", (json_int_t)killed);
    return 0;
}

static int set_settings(struct devcloud *cloud, const json_t *args, json_t **ret_answer,
                        struct errmsg *e)
{
    int err = settings_apply(cloud, args, e);

    if (err == 0)
        *ret_answer = settings_render(&cloud->set);
    return err;
}

static int clear_faults(struct devcloud *cloud, const json_t *args, json_t **ret_answer,
                        struct errmsg *e)
{
    (void)args;
    (void)e;
    faults_clear(cloud);
    *ret_answer = json_object();
    return 0;
}

static int register_definition(struct devcloud *cloud, const json_t *args, json_t **ret_answer,
                               struct errmsg *e)
{
    if (model_check_input(&cloud->ecs, "RegisterTaskDefinition", args, true, e) != MODEL_FITS)
        return ERR_BADPARAM;
    const struct task_def *def = task_def_register(cloud, args, e);
    if (def == NULL)
        return ERR_BADPARAM;
    *ret_answer = json_pack("{s:O}", "taskDefinition", def->json);
    return 0;
}

/* Tasks of a definition exit after_ms after they are RUNNING, or never start. */
static int misbehave(struct devcloud *cloud, const json_t *args, json_t **ret_answer,
                     struct errmsg *e)
{
    struct task_def *def = task_def_find(cloud, json_str_or(args, "taskDefinition", ""));
    const char *start_error = json_str(args, "start_error");

    if (def == NULL)
        return errmsg_set(e, ERR_NOTFOUND, "no such taskDefinition");
    def->crash_after_ms = json_int_or(args, "crash_after_ms", -1);
    def->crash_code = json_int_or(args, "exit_code", 1);
    free(def->start_error);
    def->start_error = start_error == NULL ? NULL : cloud_text("%s", start_error);
    *ret_answer = json_object();
    return 0;
}

/* body: text as is, or any JSON written compactly; count times. */
static int put_event(struct devcloud *cloud, const json_t *args, json_t **ret_answer,
                     struct errmsg *e)
{
    const json_t *body = json_object_get(args, "body");
    int64_t count = json_int_or(args, "count", 1);
    uint64_t delay = (uint64_t)json_int_or(args, "delay_ms", 0);
    const char *name = json_str(args, "queue");
    struct queue *q = name == NULL ? cloud->event_queue : map_get(&cloud->queues, name);

    if (body == NULL || count < 1 || count > PUT_MAX)
        return errmsg_set(e, ERR_BADPARAM, "body is needed, count is 1 to 200000");
    if (q == NULL)
        return errmsg_set(e, ERR_NOTFOUND, "no queue '%.60s'", name);
    char *text = json_is_string(body) ? cloud_text("%s", json_string_value(body))
                                      : json_dumps(body, JSON_COMPACT);
    if (text == NULL)
        return errmsg_set(e, ERR_BADPARAM, "body cannot be written as text");
    struct body *shared = body_create(text, strlen(text));
    for (int64_t i = 0; i < count; i++)
        queue_put_body(cloud, q, shared, delay);
    body_unref(shared);
    free(text);
    *ret_answer = json_pack("{s:I}", "put", (json_int_t)count);
    return 0;
}

/* A burst of true changes: the agents of `count` instances in turn lose and regain touch. */
static int storm(struct devcloud *cloud, const json_t *args, json_t **ret_answer, struct errmsg *e)
{
    int64_t count = json_int_or(args, "count", 1000), made = 0;
    struct cluster *c = cloud->main_cluster;

    if (count < 1 || count > PUT_MAX || list_is_empty(&c->instances))
        return errmsg_set(e, ERR_BADPARAM, "count is 1 to 200000, and instances are needed");
    struct list *at = c->instances.next;
    for (int64_t tries = 0; made < count && tries < count * 2; tries++, at = at->next) {
        if (at == &c->instances)
            continue;
        struct instance *in = LIST_OF(at, struct instance, in_cluster);
        if (in->host_gone || strcmp(in->status, "INACTIVE") == 0)
            continue;
        instance_connect(cloud, in, false);
        instance_connect(cloud, in, true);
        made += 2;
    }
    *ret_answer = json_pack("{s:I}", "changes", (json_int_t)made);
    return 0;
}

static int get_truth(struct devcloud *cloud, const json_t *args, json_t **ret_answer,
                     struct errmsg *e)
{
    (void)args;
    (void)e;
    *ret_answer = truth_render(cloud);
    return 0;
}

static int get_stats(struct devcloud *cloud, const json_t *args, json_t **ret_answer,
                     struct errmsg *e)
{
    (void)args;
    (void)e;
    *ret_answer = stats_render(cloud);
    return 0;
}

static int get_settings(struct devcloud *cloud, const json_t *args, json_t **ret_answer,
                        struct errmsg *e)
{
    (void)args;
    (void)e;
    *ret_answer = settings_render(&cloud->set);
    return 0;
}

static const struct {
    const char *name;
    verb_fn run;
} VERBS[] = {{"add-instances", add_instances},
             {"drain", verb_drain},
             {"activate", verb_activate},
             {"terminate", verb_terminate},
             {"deregister", verb_deregister},
             {"disconnect", verb_disconnect},
             {"connect", verb_connect},
             {"spot-notice", verb_spot},
             {"rebalance", verb_rebalance},
             {"lifecycle-state", verb_lifecycle},
             {"ec2-state", verb_ec2_state},
             {"kill-task", kill_task},
             {"set", set_settings},
             {"fault", fault_add},
             {"clear-faults", clear_faults},
             {"register-task-definition", register_definition},
             {"misbehave", misbehave},
             {"put-event", put_event},
             {"storm", storm},
             {"truth", get_truth},
             {"stats", get_stats},
             {"settings", get_settings}};

int control_run(struct devcloud *cloud, const char *verb, const json_t *args, json_t **ret_answer,
                struct errmsg *e)
{
    json_t *none = json_object();
    int err = ERR_NOTFOUND;

    for (size_t i = 0; i < sizeof(VERBS) / sizeof(VERBS[0]); i++)
        if (strcmp(VERBS[i].name, verb) == 0) {
            err = VERBS[i].run(cloud, args == NULL ? none : args, ret_answer, e);
            json_decref(none);
            return err;
        }
    json_decref(none);
    return errmsg_set(e, err, "unknown verb '%.40s'", verb);
}

static bool has_token(const struct devcloud *cloud, const struct request *req)
{
    const char *given = cloud_request_header(req, "authorization");
    size_t len = cloud->control_token == NULL ? 0 : strlen(cloud->control_token);

    if (cloud->control_token == NULL)
        return true;
    return given != NULL && strncmp(given, "Bearer ", 7) == 0 && strlen(given + 7) == len &&
           sodium_memcmp(given + 7, cloud->control_token, len) == 0;
}

static void dump_requests(struct devcloud *cloud, struct request *req)
{
    char buf[32];
    const char *after = request_query(req, "after", buf, sizeof(buf));

    req->answer.text.max = RECORDED_BYTES_MAX * 2;
    req->answer.type = "application/x-ndjson";
    record_dump(cloud, after == NULL ? 0 : strtoull(after, NULL, 10), &req->answer.text);
}

void service_control(struct devcloud *cloud, struct request *req)
{
    const char *verb = req->path + strlen("/_control/");
    struct errmsg e = {0};
    json_t *args = NULL;

    if (!has_token(cloud, req)) {
        answer_error(&req->answer, 401, "Unauthorized",
                     "Authorization: Bearer with the token given by --control-token is needed");
        return;
    }
    if (strcmp(verb, "requests") == 0) {
        dump_requests(cloud, req);
        return;
    }
    if (req->body.len > 0) {
        args = json_parse_lenient(req->body.data, req->body.len, &e);
        if (!json_is_object(args)) {
            answer_error(&req->answer, 400, "BadBody", "a JSON object is needed: %s", e.text);
            json_decref(args);
            return;
        }
    }
    json_t *answer = NULL;
    int err = control_run(cloud, verb, args, &answer, &e);
    json_decref(args);
    if (err != 0)
        answer_error(&req->answer, err_http_status(err), "ControlError", "%s", e.text);
    else
        req->answer.json = answer;
}

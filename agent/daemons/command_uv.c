/* SPDX-License-Identifier: Apache-2.0
 * Users' commands on the leader. A command names things as the user knows them; before it is
 * proposed the cluster and the task definition are looked up, so that what is in the log names
 * them by ARN and a wrong name is refused at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/hash.h"
#include "agent/daemons/daemons_int.h"

/* Who sent the same request again, with its key, while it was under way. */
struct follower {
    struct follower *next;
    daemons_done_fn done;
    void *arg;
};

struct command {
    struct op op;
    json_t *json;
    daemons_done_fn done;
    void *arg;
    struct follower *followers;
    bool proposed;
};

/* Tells all who wait; returns how many. */
static unsigned tell(struct command *c, const struct intent_result *result)
{
    unsigned count = 1;
    c->done(c->arg, result);
    for (struct follower *f; (f = c->followers) != NULL; count++) {
        c->followers = f->next;
        f->done(f->arg, result);
        free(f);
    }
    return count;
}

static void answer(struct command *c, const struct intent_result *result)
{
    struct daemons *d = c->op.d;
    unsigned told = tell(c, result);
    json_decref(c->json);
    c->json = NULL;
    if (d)
        d->commands -= told;
    op_free(&c->op);
}

static void refuse(struct command *c, int err, const char *field, const char *detail)
{
    struct intent_result result = {.err = err};
    snprintf(result.detail, sizeof result.detail, "%s", detail);
    snprintf(result.field, sizeof result.field, "%s", field);
    answer(c, &result);
}

/* Leadership went: what is not proposed yet is refused, what is gets raft's answer. */
void command_lost(struct daemons *d)
{
    for (struct list *n = d->ops.next; n != &d->ops;) {
        struct op *op = LIST_OF(n, struct op, node);
        struct command *c = (struct command *)(void *)op;
        n = n->next;
        if (op->kind != OP_COMMAND || (c->proposed && !d->closing) || !c->done)
            continue;
        struct intent_result result = {.err = c->proposed ? ERR_TIMEOUT : ERR_NOTLEADER};
        snprintf(result.detail, sizeof result.detail, "%s",
                 c->proposed ? "the agent is stopping and the outcome is unknown; retry with the "
                               "same idempotency key"
                             : "this agent has just lost leadership; nothing was changed, retry");
        d->commands -= tell(c, &result);
        c->done = NULL; /* a completion may still come for the op */
        json_decref(c->json);
        c->json = NULL;
    }
}

static const struct applied_result *result_at(const struct daemons *d, uint64_t index)
{
    for (size_t i = 0; i < DAEMONS_RESULTS; i++) {
        if (d->results[i].index == index && index)
            return &d->results[i];
    }
    return NULL;
}

static void on_proposed(void *arg, int err, uint64_t index, uint64_t term)
{
    (void)term;
    struct command *c = arg;
    struct daemons *d = op_resume(&c->op);
    if (!d)
        return;
    if (!c->done) {
        json_decref(c->json);
        op_free(&c->op);
        return;
    }
    const struct applied_result *applied = err ? NULL : result_at(d, index);
    if (applied) {
        struct intent_result result = applied->result;
        result.body = applied->body;
        answer(c, &result);
    } else if (err == ERR_NOTLEADER) {
        refuse(c, err, "", "this agent is no longer the leader; nothing was changed, retry");
    } else {
        refuse(c, err ? err : ERR_INTERNAL, "",
               "the outcome is unknown, because leadership was lost meanwhile; retry with the same "
               "idempotency key");
    }
}

/* 36 characters, RFC 9562 version 4. */
static void make_uuid(struct prng *prng, char out[40])
{
    uint64_t a = prng_next(prng), b = prng_next(prng);
    a = (a & 0xffffffffffff0fffu) | 0x4000u;
    b = (b & 0x3fffffffffffffffu) | 0x8000000000000000u;
    snprintf(out, 40, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(a >> 32),
             (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xffff), (unsigned)(b >> 48),
             (unsigned long long)(b & 0xffffffffffffu));
}

static void propose(struct daemons *d, struct command *c)
{
    char id[40];
    struct buf text;
    make_uuid(&d->prng, id);
    json_set_int(c->json, "now", clock_unix_ms());
    json_set_str(c->json, "id", id);
    buf_init(&text, RAFT_COMMAND_MAX);
    int rv = json_write(c->json, &text);
    if (rv == ERR_TOOBIG) {
        buf_fini(&text);
        refuse(c, ERR_TOOBIG, "", "the command is larger than 64 KiB");
        return;
    }
    if (!rv)
        rv = raft_uv_propose(d->options.raft, text.data, text.len, on_proposed, c);
    buf_fini(&text);
    if (rv) {
        refuse(c, rv, "", "the leader cannot take the command now; retry");
        return;
    }
    c->proposed = true;
    c->op.pending = true;
}

static void look_up(struct daemons *d, struct command *c);

/* Why a lookup failed, in words; missing is what a refusal by ECS itself means. */
static void refuse_lookup(struct daemons *d, struct command *c, const struct aws_result *r,
                          const char *field, const char *name)
{
    char detail[256];
    const char *message = r->message[0] ? r->message : err_text(r->err);
    if (r->err == ERR_BADPARAM || r->err == ERR_NOTFOUND) {
        snprintf(detail, sizeof detail, "%s '%s' was not found: %s", field, name, message);
        refuse(c, ERR_NOTFOUND, field, detail);
    } else if (r->err == ERR_DENIED || r->err == ERR_AUTH) {
        snprintf(detail, sizeof detail, "AWS did not let the leader look up %s '%.80s': %s", field,
                 name, message);
        refuse(c, ERR_DENIED, field, detail);
    } else {
        bool reached = r->err == ERR_UPSTREAM || r->err == ERR_THROTTLED;
        const char *trouble = aws_trouble(d->options.aws);
        snprintf(detail, sizeof detail,
                 "%s '%.80s' cannot be checked because ECS %s (%.90s); nothing was changed, retry "
                 "later",
                 field, name, reached ? "failed" : "is not reachable",
                 trouble[0] ? trouble : message);
        refuse(c, reached ? ERR_UPSTREAM : ERR_UNREACHABLE, field, detail);
    }
}

/* A lookup ended: the owner, or NULL (and the command freed) if nobody waits for it any more. */
static struct daemons *resume(struct command *c)
{
    c->op.call = NULL;
    struct daemons *d = op_resume(&c->op);
    if (!d || c->done)
        return d;
    json_decref(c->json);
    op_free(&c->op);
    return NULL;
}

static void on_cluster(void *arg, const struct aws_result *result)
{
    struct command *c = arg;
    struct daemons *d = resume(c);
    if (!d)
        return;
    const char *name = json_str_or(c->json, "cluster", d->cluster);
    if (result->err) {
        refuse_lookup(d, c, result, "cluster", name);
        return;
    }
    const json_t *cluster = json_array_get(json_arr(result->body, "clusters"), 0);
    const char *status = json_str_or(cluster, "status", "MISSING");
    char detail[256];
    if (strcmp(status, "INACTIVE") == 0) {
        refuse(c, ERR_NOTFOUND, "cluster", "Cluster is inactive"); /* Blox's words */
        return;
    }
    if (strcmp(status, "ACTIVE") != 0 || !json_str(cluster, "clusterArn")) {
        snprintf(detail, sizeof detail,
                 "cluster '%.120s' is not an active ECS cluster of this account and region (%.20s)",
                 name, status);
        refuse(c, ERR_NOTFOUND, "cluster", detail);
        return;
    }
    if (!intake_keeps(d->options.intake, json_str(cluster, "clusterArn"))) {
        snprintf(detail, sizeof detail,
                 "nothing is known of cluster '%.120s' here: intake.clusters does not name it",
                 name);
        refuse(c, ERR_BADPARAM, "cluster", detail);
        return;
    }
    json_set_str(c->json, "cluster", json_str(cluster, "clusterArn"));
    json_object_set_new(c->json, "_cluster", json_true());
    look_up(d, c);
}

static void on_definition(void *arg, const struct aws_result *result)
{
    struct command *c = arg;
    struct daemons *d = resume(c);
    if (!d)
        return;
    const char *name = json_str_or(c->json, "taskDefinition", "");
    if (result->err) {
        refuse_lookup(d, c, result, "taskDefinition", name);
        return;
    }
    const json_t *definition = json_obj(result->body, "taskDefinition");
    const char *arn = json_str(definition, "taskDefinitionArn");
    const char *status = json_str_or(definition, "status", "ACTIVE");
    char detail[256];
    if (strcmp(status, "INACTIVE") == 0) {
        refuse(c, ERR_NOTFOUND, "taskDefinition", "TaskDefinition is inactive"); /* Blox's words */
        return;
    }
    if (!arn || strcmp(status, "ACTIVE") != 0) {
        snprintf(detail, sizeof detail,
                 "taskDefinition '%.120s' is %.20s in ECS: register a new revision or name an "
                 "active one",
                 name, arn ? status : "unknown");
        refuse(c, ERR_NOTFOUND, "taskDefinition", detail);
        return;
    }
    json_set_str(c->json, "taskDefinition", arn);
    json_object_set_new(c->json, "_definition", json_true());
    look_up(d, c);
}

/* The next name to look up, or the proposal. Members with '_' are notes of what is done. */
static void look_up(struct daemons *d, struct command *c)
{
    struct aws_call_options options = {.timeout_ms = 3000, .priority = AWS_REPAIR};
    const char *op = json_str_or(c->json, "op", "");
    const char *definition = json_str(c->json, "taskDefinition");
    bool creates = strcmp(op, "environment.create") == 0;
    if (creates && !json_object_get(c->json, "_cluster")) {
        json_t *params =
            json_pack("{s:[s]}", "clusters", json_str_or(c->json, "cluster", d->cluster));
        c->op.call =
            aws_call(d->options.aws, AWS_ECS, "DescribeClusters", params, &options, on_cluster, c);
    } else if (definition && *definition && !json_object_get(c->json, "_definition")) {
        json_t *params = json_pack("{s:s}", "taskDefinition", definition);
        c->op.call = aws_call(d->options.aws, AWS_ECS, "DescribeTaskDefinition", params, &options,
                              on_definition, c);
    } else {
        json_object_del(c->json, "_cluster");
        json_object_del(c->json, "_definition");
        propose(d, c);
        return;
    }
    c->op.pending = c->op.call != NULL;
    if (!c->op.call)
        refuse(c, ERR_NOMEM, "", err_text(ERR_NOMEM));
}

static bool is_user_command(const char *op)
{
    return strcmp(op, "environment.create") == 0 || strcmp(op, "environment.update") == 0 ||
           strcmp(op, "environment.delete") == 0 || strcmp(op, "deployment.create") == 0;
}

/* First checks; 0 or an error in ret. */
static int check(const json_t *command, struct intent_result *ret)
{
    static struct select expression; /* large; loop thread only */
    struct errmsg e = {""};
    const char *text = json_str(command, "expression");
    *ret = (struct intent_result){0};
    if (!is_user_command(json_str_or(command, "op", ""))) {
        snprintf(ret->detail, sizeof ret->detail, "'%.60s' is not a command that users may send",
                 json_str_or(command, "op", ""));
        snprintf(ret->field, sizeof ret->field, "op");
        return ret->err = ERR_BADPARAM;
    }
    int rv = intent_check(command, ret);
    if (rv)
        return ret->err = rv;
    if (!text || select_parse(&expression, text, NULL, &e) == 0)
        return 0;
    snprintf(ret->detail, sizeof ret->detail, "%.255s", e.text);
    snprintf(ret->field, sizeof ret->field, "expression");
    return ret->err = ERR_BADPARAM;
}

/* An answer is never given from within the call: it goes through the list and the timer. */
struct early {
    uv_timer_t timer;
    struct intent_result result;
    daemons_done_fn done;
    void *arg;
};

static void early_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void early_fire(uv_timer_t *timer)
{
    struct early *early = timer->data;
    early->done(early->arg, &early->result);
    uv_close((uv_handle_t *)timer, early_closed);
}

static void answer_soon(struct daemons *d, const struct intent_result *result, daemons_done_fn done,
                        void *arg)
{
    struct early *early = calloc(1, sizeof *early);
    if (!early || uv_timer_init(d->options.loop, &early->timer) != 0) {
        free(early);
        done(arg, result); /* out of memory: an answer from within is better than none */
        return;
    }
    early->timer.data = early;
    early->result = *result;
    early->result.body = NULL;
    early->done = done;
    early->arg = arg;
    uv_timer_start(&early->timer, early_fire, 0, 0);
}

/* The request as the user wrote it: looked-up names may differ when it is sent again with its
 * idempotency key (a family has got a new revision meanwhile), the request does not. */
static void note_digest(json_t *command)
{
    if (!json_str(command, "key") || json_str(command, "digest"))
        return;
    char digest[40];
    char *text = json_dumps(command, JSON_SORT_KEYS | JSON_COMPACT);
    if (!text)
        return;
    size_t len = strlen(text);
    snprintf(digest, sizeof digest, "%016llx%016llx", (unsigned long long)hash_bytes(text, len, 11),
             (unsigned long long)hash_bytes(text, len, 12));
    json_set_str(command, "digest", digest);
    free(text);
}

/* A request that comes again while it is under way (the agent that sent it lost patience) is not
 * done a second time beside the first: one of the two could be refused, which is answered, and the
 * other take effect later. Both get the answer of the first. False: there is no such. */
static bool follow(struct daemons *d, const struct command *c)
{
    const char *key = json_str(c->json, "key");
    const char *digest = json_str(c->json, "digest");
    for (struct list *n = d->ops.next; key && digest && n != &d->ops; n = n->next) {
        struct op *op = LIST_OF(n, struct op, node);
        struct command *first = (struct command *)(void *)op;
        if (op->kind != OP_COMMAND || !first->done ||
            strcmp(json_str_or(first->json, "key", ""), key) != 0 ||
            strcmp(json_str_or(first->json, "digest", ""), digest) != 0)
            continue;
        struct follower *f = malloc(sizeof *f);
        if (!f)
            return false;
        *f = (struct follower){first->followers, c->done, c->arg};
        first->followers = f;
        return true;
    }
    return false;
}

void daemons_command(struct daemons *d, const json_t *command, daemons_done_fn done, void *arg)
{
    struct intent_result result = {0};
    if (!d->leading || d->closing) {
        result.err = ERR_NOTLEADER;
        snprintf(result.detail, sizeof result.detail, "this agent is not the leader");
    } else if (d->commands >= DAEMONS_COMMANDS_MAX) {
        result.err = ERR_BUSY;
        snprintf(result.detail, sizeof result.detail,
                 "the leader has %u commands under way already; retry later", d->commands);
    } else {
        (void)check(command, &result);
    }
    struct command *c = result.err ? NULL : calloc(1, sizeof *c);
    if (c)
        c->json = json_deep_copy(command);
    if (!c || !c->json) {
        if (!result.err)
            result.err = ERR_NOMEM;
        free(c);
        answer_soon(d, &result, done, arg);
        return;
    }
    json_object_del(c->json, "_cluster");
    json_object_del(c->json, "_definition");
    note_digest(c->json);
    c->done = done;
    c->arg = arg;
    d->commands++;
    if (follow(d, c)) {
        json_decref(c->json);
        free(c);
        return;
    }
    op_init(&c->op, d, OP_COMMAND);
    look_up(d, c);
}

void daemons_applied(struct daemons *d, uint64_t index, const struct intent_result *result)
{
    if (d->commands == 0)
        return;
    struct applied_result *slot = &d->results[d->result_at];
    d->result_at = (d->result_at + 1) % DAEMONS_RESULTS;
    json_decref(slot->body);
    slot->index = index;
    slot->result = *result;
    slot->result.body = NULL;
    slot->body = result->body ? json_deep_copy(result->body) : NULL;
}

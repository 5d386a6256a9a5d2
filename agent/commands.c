/* SPDX-License-Identifier: Apache-2.0
 * A user's write: checked where it arrives, done by the leader wherever that is. Each carries an
 * idempotency key (made here if the caller sent none), so that one whose answer was lost may be
 * sent again, to the same leader or the next, without doing the work twice.
 *
 * API thread -> commands_submit -> loop -> leader? daemons_command : gossip_call(leader)
 * No leader: held until one is known, for at most HOLD_MS. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/log.h"
#include "agent/evidence.h"

#define HOLD_MS 8000    /* two elections; the API's callers wait 10 s or more */
#define FORWARD_MS 6000 /* one attempt at the leader */
#define FORWARD_MIN_MS 500
#define FORMER_LOOKS 3    /* for as many ticks another leads: it is asked instead */
#define COMMANDS_MAX 1024 /* the API allows itself 256; the rest are forwarded ones */

static void command_free(struct command *c)
{
    list_remove(&c->link);
    c->agent->command_count--;
    json_decref(c->json);
    free(c);
}

static void answer_peer(struct command *c, const struct intent_result *r)
{
    struct buf b;
    if (c->reads) { /* what was read is no JSON object */
        gossip_answer(c->request, r->err, NULL, 0);
        return;
    }
    json_t *j = json_object();
    json_set_int(j, "err", r->err);
    json_set_str(j, "detail", r->detail);
    json_set_str(j, "field", r->field);
    if (r->body != NULL)
        json_object_set_new(j, "body", json_deep_copy(r->body));
    buf_init(&b, GOSSIP_MESSAGE_MAX);
    int err = json_write(j, &b);
    gossip_answer(c->request, err, b.data, b.len);
    buf_fini(&b);
    json_decref(j);
}

/* Reads change nothing, so that their outcome is never in doubt. */
static bool is_read(const struct command *c)
{
    return c->reads || strcmp(json_str_or(c->json, "op", ""), "intent.read") == 0;
}

/* An attempt whose answer did not come may still arrive somewhere: that a later one was refused
 * does not say that nothing will be done. The same key at the leader does. */
static void finish(struct command *c, const struct intent_result *r)
{
    struct intent_result unknown = {.err = ERR_TIMEOUT};
    if (c->ambiguous && r->err != 0) {
        snprintf(unknown.detail, sizeof unknown.detail,
                 "the leader may have done it, its answer did not come; look at the resource, or "
                 "try again with the same idempotency key");
        r = &unknown;
    }
    if (c->request != NULL)
        answer_peer(c, r);
    else
        api_write_done(c->write, r->err, r->detail[0] == '\0' ? NULL : r->detail,
                       r->field[0] == '\0' ? NULL : r->field, r->body,
                       c->forwarded_to[0] == '\0' ? NULL : c->forwarded_to);
    command_free(c);
}

static void finish_error(struct command *c, int err, const char *detail)
{
    struct intent_result r = {.err = err};
    snprintf(r.detail, sizeof r.detail, "%s", detail);
    finish(c, &r);
}

/* A read is done; no leader's fault ends one as long as there is time. */
void commands_finish_read(struct command *c, int err, const void *data, size_t len)
{
    c->busy = false;
    c->refused = err;
    if (err != 0) {
        bool is_final = err == ERR_TOOBIG || err == ERR_UNSUPPORTED || c->request != NULL;
        if (is_final)
            finish_error(c, err,
                         err == ERR_UNSUPPORTED ? "the leader does not answer such reads"
                                                : err_text(err));
        return; /* otherwise the tick finds the leader again */
    }
    if (c->request != NULL)
        gossip_answer(c->request, 0, data, len);
    else
        api_read_done(c->write, data, len, c->forwarded_to[0] == '\0' ? NULL : c->forwarded_to);
    command_free(c);
}

static void on_read_forwarded(void *arg, int err, const uint8_t *data, size_t len)
{
    commands_finish_read(arg, err, data, len);
}

/* Leadership was lost before (nothing was done) or after the log took the command (it may have
 * been done; the key tells the next leader). A forwarded one is retried where it came from. */
static bool leader_lost(struct command *c, int err)
{
    c->ambiguous = c->ambiguous || (err == ERR_TIMEOUT && !is_read(c));
    return (err == ERR_NOTLEADER || err == ERR_NOLEADER || err == ERR_TIMEOUT) &&
           c->request == NULL && !c->agent->stopping;
}

static void on_done_here(void *arg, const struct intent_result *result)
{
    struct command *c = arg;
    c->busy = false;
    if (!leader_lost(c, result->err)) /* otherwise the tick finds the new leader */
        finish(c, result);
}

static void on_done_local(void *arg, const struct intent_result *result)
{
    finish(arg, result);
}

static void on_forwarded(void *arg, int err, const uint8_t *data, size_t len)
{
    struct command *c = arg;
    struct intent_result r = {0};
    c->busy = false;
    json_t *j = err == 0 ? json_parse((const char *)data, len, NULL) : NULL;
    r.err = j == NULL ? (err == 0 ? ERR_MALFORMED : err) : (int)json_int_or(j, "err", ERR_INTERNAL);
    snprintf(r.detail, sizeof r.detail, "%s", json_str_or(j, "detail", ""));
    snprintf(r.field, sizeof r.field, "%s", json_str_or(j, "field", ""));
    r.body = json_object_get(j, "body");
    bool refused = r.err == ERR_NOTLEADER || r.err == ERR_NOLEADER || r.err == ERR_NOTFOUND;
    if (!leader_lost(c, j != NULL ? r.err : refused ? ERR_NOTLEADER : ERR_TIMEOUT))
        finish(c, &r);
    json_decref(j); /* otherwise the tick tries again until the deadline */
}

static uint8_t method_of(const struct command *c)
{
    return c->strong ? CALL_STRONG : c->reads ? CALL_READ : CALL_COMMAND;
}

static void forward(struct command *c)
{
    struct agent *a = c->agent;
    struct buf b;
    const struct gossip_member *m = gossip_find(a->gossip, a->leader);
    uint64_t left = c->deadline_ms - uv_now(a->loop); /* the caller made sure that there is some */
    uint64_t wait = left > FORWARD_MS ? FORWARD_MS : left < FORWARD_MIN_MS ? FORWARD_MIN_MS : left;
    buf_init(&b, RAFT_COMMAND_MAX);
    int err = c->reads ? buf_puts(&b, json_str_or(c->json, "target", "")) : json_write(c->json, &b);
    if (err == 0) {
        snprintf(c->forwarded_to, sizeof c->forwarded_to, "%s", m == NULL ? "" : m->id);
        c->busy = true;
        c->sent_to = a->leader;
        c->looks = 0;
        err = gossip_call(a->gossip, a->leader, method_of(c), b.data, b.len, wait,
                          c->reads ? on_read_forwarded : on_forwarded, c);
        if (err != 0)
            c->busy = false;
    }
    buf_fini(&b);
    if (err == ERR_TOOBIG)
        finish_error(c, err, "the request is larger than the log takes (64 KiB)");
}

static void give_up(struct command *c)
{
    if (c->strong && c->refused == ERR_NOTREADY)
        finish_error(c, ERR_NOTREADY,
                     "the leader has not compared its rows with ECS since it took over; the rows "
                     "that it has come with consistency=leader");
    else if (c->strong)
        finish_error(c, ERR_NOLEADER,
                     "no leader that a majority confirms could be reached in time; try again (see "
                     "blox status), or without consistency=strong");
    else if (c->reads)
        finish_error(c, ERR_NOLEADER,
                     "no leader could be reached in time; this agent's own rows come without "
                     "consistency=leader");
    else
        finish_error(c, ERR_NOLEADER,
                     "no leader could be reached in time, nothing was changed; try again (see blox "
                     "status)");
}

/* What one of two clusters acknowledges is lost when it is given up. Reads go on: blox backup. */
static bool refuse_in_conflict(struct command *c)
{
    char why[256];
    if (is_read(c) || !raft_uv_in_conflict(c->agent->raft, why, sizeof why))
        return false;
    finish_error(c, ERR_CONFLICT, why);
    return true;
}

static void try_command(struct command *c)
{
    struct agent *a = c->agent;
    /* Who does not lead any more may be paused or cut off; what it answered before comes soon. */
    if (c->busy && c->sent_to != 0 && a->leader != 0 && c->sent_to != a->leader && !a->stopping &&
        ++c->looks >= FORMER_LOOKS)
        gossip_call_end(a->gossip, c);
    if (c->busy)
        return;
    if (a->stopping) {
        /* To a peer: not the leader any more, so that it looks for the next. */
        finish_error(c, c->request == NULL ? ERR_CLOSED : ERR_NOTLEADER,
                     "this agent is stopping; ask another");
        return;
    }
    if (uv_now(a->loop) >= c->deadline_ms) {
        give_up(c);
        return;
    }
    if (a->raft == NULL || a->daemons == NULL) {
        if (c->request != NULL || a->apart[0] != '\0')
            finish_error(c, ERR_NOTLEADER, a->apart[0] == '\0' ? "starting" : a->apart);
        return;
    }
    if (refuse_in_conflict(c))
        return;
    if (raft_uv_is_leader(a->raft)) {
        c->busy = true;
        c->sent_to = 0;
        c->forwarded_to[0] = '\0';
        if (c->reads)
            reads_run(c);
        else if (!intents_run(a, c->json, on_done_here, c))
            daemons_command(a->daemons, c->json, on_done_here, c);
    } else if (c->request != NULL) {
        finish_error(c, ERR_NOTLEADER, "this agent does not lead"); /* one hop only */
    } else if (a->leader != 0 && a->leader != gossip_self(a->gossip)) {
        forward(c);
    }
}

/* What the agent that was asked does itself, whoever leads. False: not such a command. */
static bool start_local(struct command *c)
{
    struct agent *a = c->agent;
    const char *op = json_str_or(c->json, "op", "");
    if (c->request == NULL && intents_is_local(c->json)) {
        c->busy = true;
        intents_local(a, c->json, on_done_local, c);
        return true;
    }
    bool keys = strncmp(op, "keys.", 5) == 0, why = strcmp(op, "members.why") == 0;
    if (!keys && !why && strcmp(op, "agent.propagate") != 0)
        return false;
    if (c->request != NULL) {
        finish_error(c, ERR_UNSUPPORTED, "ask this agent itself");
        return true;
    }
    c->busy = true;
    if (keys)
        keyring_run(a->keyring, c->json, on_done_local, c);
    else if (why)
        evidence_run(a, c->json, on_done_local, c);
    else
        propagate_run(a->propagate, c->json, on_done_local, c);
    return true;
}

static void add_key(struct agent *a, json_t *command)
{
    if (json_str(command, "key") != NULL)
        return;
    char key[40];
    snprintf(key, sizeof key, "auto-%016" PRIx64 "%016" PRIx64, prng_next(&a->prng),
             prng_next(&a->prng));
    json_set_str(command, "key", key);
}

static void start(struct command *c)
{
    struct agent *a = c->agent;
    struct intent_result r = {0};
    list_push(&a->commands, &c->link);
    agent_busy(a);
    c->deadline_ms = uv_now(a->loop) + HOLD_MS;
    if (++a->command_count > COMMANDS_MAX) {
        finish_error(c, ERR_BUSY, "too many writes are under way at this agent; retry later");
        return;
    }
    if (c->json == NULL) {
        finish_error(c, ERR_NOMEM, err_text(ERR_NOMEM));
        return;
    }
    if (start_local(c))
        return;
    c->reads = strcmp(json_str_or(c->json, "op", ""), "rows.read") == 0;
    c->strong = c->reads && json_bool_or(c->json, "strong", false);
    if (c->reads) {
        try_command(c);
        return;
    }
    r.err = intent_check(c->json, &r);
    if (r.err != 0) {
        finish(c, &r);
        return;
    }
    add_key(a, c->json);
    try_command(c);
}

void commands_submit(void *arg, struct api_write *write)
{
    struct agent *a = arg;
    struct command *c = calloc(1, sizeof *c);
    if (c == NULL) {
        api_write_done(write, ERR_NOMEM, NULL, NULL, NULL, NULL);
        return;
    }
    c->agent = a;
    c->write = write;
    c->json = json_deep_copy(write->command);
    pthread_mutex_lock(&a->writes_lock);
    list_push(&a->writes, &c->link);
    pthread_mutex_unlock(&a->writes_lock);
    uv_async_send(&a->write_async);
}

void commands_take(struct agent *a)
{
    for (;;) {
        pthread_mutex_lock(&a->writes_lock);
        struct list *node = list_pop(&a->writes);
        pthread_mutex_unlock(&a->writes_lock);
        if (node == NULL)
            return;
        start(LIST_OF(node, struct command, link));
    }
}

static void on_hint_call(struct agent *a, const uint8_t *data, size_t len,
                         struct gossip_request *call)
{
    char arn[ARN_MAX];
    if (len == 0 || len >= sizeof arn || a->role != RAFT_UV_LEADER || a->intake == NULL) {
        gossip_answer(call, a->role == RAFT_UV_LEADER ? ERR_MALFORMED : ERR_NOTLEADER, NULL, 0);
        return;
    }
    memcpy(arn, data, len);
    arn[len] = '\0';
    intake_refresh_task(a->intake, NULL, arn);
    gossip_answer(call, 0, NULL, 0);
}

void commands_on_call(void *arg, uint64_t from, uint8_t method, const uint8_t *data, size_t len,
                      struct gossip_request *call)
{
    struct agent *a = arg;
    if (method == CALL_KEYS) {
        keyring_on_call(a->keyring, from, data, len, call);
        return;
    }
    if (method == CALL_EVIDENCE) {
        evidence_on_call(a, data, len, call);
        return;
    }
    if (method == CALL_HINT) {
        on_hint_call(a, data, len, call);
        return;
    }
    bool reads = method == CALL_READ || method == CALL_STRONG;
    bool known = method == CALL_COMMAND || reads;
    json_t *j = NULL;
    if (method == CALL_COMMAND)
        j = json_parse((const char *)data, len, NULL);
    else if (reads)
        j = json_pack("{s:s,s:s%,s:b}", "op", "rows.read", "target", (const char *)data, len,
                      "strong", method == CALL_STRONG);
    struct command *c = j == NULL ? NULL : calloc(1, sizeof *c);
    if (c == NULL) {
        json_decref(j);
        gossip_answer(call, known ? ERR_MALFORMED : ERR_UNSUPPORTED, NULL, 0);
        return;
    }
    c->agent = a;
    c->request = call;
    c->json = j;
    start(c);
}

/* Callbacks may end any command meanwhile: each is taken from a list of its own. */
void commands_retry(struct agent *a)
{
    struct list copy;
    list_init(&copy);
    for (struct list *node; (node = list_pop(&a->commands)) != NULL;)
        list_push(&copy, node);
    for (struct list *node; (node = list_pop(&copy)) != NULL;) {
        list_push(&a->commands, node);
        try_command(LIST_OF(node, struct command, link));
    }
}

void commands_fail_all(struct agent *a)
{
    commands_take(a);
    commands_retry(a); /* stopping: ends what is not busy */
}

void commands_free_all(struct agent *a)
{
    while (!list_is_empty(&a->commands))
        finish_error(LIST_OF(a->commands.next, struct command, link), ERR_CLOSED,
                     "this agent is stopping");
}

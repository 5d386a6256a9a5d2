/* SPDX-License-Identifier: Apache-2.0
 * Users: each owns one environment and does one thing at a time, at any agent, with an idempotency
 * key that it repeats elsewhere until an answer came. So each has one definite history, and a
 * strong read tells whether the cluster agrees with it. The API's server is not there:
 * these are its functions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/api.h"
#include "agent/base/ensure.h"
#include "tests/sim/agents.h"
#include "tests/sim/users.h"

#define PATIENCE_US 15000000u

struct api {
    struct node *node;
    struct api_options options;
};

struct user users[USERS];
static bool quiet;

/* ---- agent/api/api.h -------------------------------------------------------------- */

int api_start(struct api **ret, const struct api_options *options, struct errmsg *e)
{
    (void)e;
    struct api *a = calloc(1, sizeof *a);
    ENSURE(a != NULL);
    a->node = world.current;
    a->options = *options;
    world.current->api = a;
    *ret = a;
    return 0;
}

void api_stop(struct api *a)
{
    a->node->api = NULL;
}

uint16_t api_port(const struct api *a)
{
    (void)a;
    return 7380;
}

void api_publish(struct api *a, enum api_doc doc, const char *json, size_t len)
{
    (void)a, (void)doc, (void)json, (void)len;
}

/* Nobody reads documents here. */
unsigned api_wanted(struct api *a)
{
    (void)a;
    return 0;
}

void api_confirm(struct api *a, enum api_doc doc)
{
    (void)a, (void)doc;
}

void api_stale(struct api *a, enum api_doc doc)
{
    (void)a, (void)doc;
}

void api_begin(struct api *a, enum api_doc doc)
{
    (void)a, (void)doc;
}

bool api_news_are_wanted(struct api *a, enum api_news kind)
{
    (void)a, (void)kind;
    return false;
}

void api_news(struct api *a, enum api_news kind, bool deleted, const char *text, size_t len)
{
    (void)a, (void)kind, (void)deleted, (void)text, (void)len;
}

/* Users here read with consistency=strong only. */
int api_read(struct api *a, const char *target, struct buf *out)
{
    (void)a, (void)target, (void)out;
    return ERR_UNSUPPORTED;
}

void api_read_done(struct api_write *w, const void *data, size_t len, const char *forwarded_to)
{
    (void)data, (void)len;
    api_write_done(w, ERR_UNSUPPORTED, NULL, NULL, NULL, forwarded_to);
}

void api_set_facts(struct api *a, const struct api_facts *facts)
{
    snprintf(a->node->state, sizeof a->node->state, "%s", facts->state);
}

/* ---- one request ------------------------------------------------------------------ */

static void ask(void *arg);

static int64_t number_of(const json_t *row)
{
    const char *definition = json_str_or(row, "taskDefinition", ":0");
    return strtol(strrchr(definition, ':') + 1, NULL, 10);
}

static bool is_passing(int err)
{
    return err == ERR_TIMEOUT || err == ERR_NOLEADER || err == ERR_NOTLEADER || err == ERR_CLOSED ||
           err == ERR_BUSY || err == ERR_UNREACHABLE || err == ERR_THROTTLED || err == ERR_FULL ||
           err == ERR_UPSTREAM || err == ERR_CANCELED || err == ERR_IO || err == ERR_NOTFOUND;
}

static void later(struct user *u)
{
    if (!quiet)
        queue_add(&world.queue, world.now_us + 200000 + draw(2500000), ask, u);
    u->idle = quiet;
}

static void acknowledge(struct user *u, const json_t *body)
{
    world.acknowledged++;
    world_say(NULL, "user %s: %s is acknowledged: revision %ld", u->name, u->what, number_of(body));
    if (u->op == USER_CREATE) {
        u->exists = true;
        u->number = number_of(body);
        u->deployed = false;
    } else if (u->op == USER_DEPLOY) {
        u->number = number_of(body);
        u->deployed = true;
        snprintf(u->deployment, sizeof u->deployment, "%s", json_str_or(body, "id", ""));
    } else if (u->op == USER_DELETE) {
        u->exists = false;
    } else if (!u->exists) {
        if (strcmp(json_str_or(body, "status", ""), "active") == 0)
            world_fail("a strong read shows %s active: its deletion was acknowledged", u->name);
    } else if (number_of(body) != u->number) {
        world_fail("a strong read of %s shows revision %ld, acknowledged is %ld", u->name,
                   number_of(body), u->number);
    }
    json_decref(u->command);
    u->command = NULL;
    later(u);
}

static void answered(struct user *u, int err, const json_t *body, const char *detail)
{
    bool read = u->op == USER_READ;
    if (err == 0) {
        acknowledge(u, body);
    } else if (read && err == ERR_NOTFOUND) {
        if (u->exists)
            world_fail("a strong read does not show %s, which was acknowledged", u->name);
        json_decref(u->command);
        u->command = NULL;
        later(u);
    } else if (err == ERR_EXISTS && u->op == USER_CREATE && world.recovers &&
               strstr(detail, "already exists") != NULL) {
        /* Done before all voters went, and recovered from gossip's rows, which bring no keys. */
        u->exists = true;
        u->deployed = false;
        u->number++;
        json_decref(u->command);
        u->command = NULL;
        later(u);
    } else if (err == ERR_EXISTS && u->op == USER_CREATE && u->deleted) {
        json_decref(u->command); /* still being deleted */
        u->command = NULL;
        later(u);
    } else if (is_passing(err) && !(err == ERR_NOTFOUND && !read)) {
        queue_add(&world.queue, world.now_us + 100000 + draw(1000000), ask, u);
    } else {
        world_fail("user %s: %s is refused: %s %s", u->name, u->what, err_text(err),
                   detail == NULL ? "" : detail);
    }
}

void api_write_done(struct api_write *w, int err, const char *detail, const char *field,
                    const json_t *body, const char *forwarded_to)
{
    struct user *u = w->impl;
    (void)field, (void)forwarded_to;
    if (u->write == w) { /* else the user has lost patience */
        u->write = NULL;
        world_say(world.current, "answers user %s: %s %s", u->name, err == 0 ? "ok" : err_text(err),
                  detail == NULL ? "" : detail);
        answered(u, err, body, detail);
    }
    json_decref(w->command);
    free(w);
}

struct patience {
    struct user *user;
    uint64_t asked;
};

static void lose_patience(void *arg)
{
    struct patience *p = arg;
    struct user *u = p->user;
    if (u->write != NULL && u->asked == p->asked) {
        u->write = NULL;
        ask(u);
    }
    free(p);
}

static void submit(void *arg)
{
    struct api_write *w = arg;
    struct api *api = world.current->api;
    if (api != NULL)
        api->options.submit(api->options.arg, w);
}

static json_t *command_of(struct user *u)
{
    char key[40], definition[80];
    snprintf(key, sizeof key, "%s-%lu", u->name, ++u->requests);
    snprintf(definition, sizeof definition,
             "arn:aws:ecs:eu-west-1:111122223333:task-definition/%s:%ld", u->name, u->number + 1);
    if (!u->exists)
        u->op = draw(5) == 0 ? USER_READ : USER_CREATE;
    else if (!u->deployed)
        u->op = USER_DEPLOY;
    else
        u->op = draw(12) == 0 ? USER_DELETE : draw(3) == 0 ? USER_DEPLOY : USER_READ;
    u->deleted = u->deleted || u->op == USER_DELETE;
    static const char *const names[] = {"create", "deploy", "delete", "read"};
    snprintf(u->what, sizeof u->what, "%s %s", names[u->op], key);
    if (u->op == USER_CREATE && u->zone != 0) {
        char zone[] = "eu-west-1?";
        zone[9] = u->zone;
        return json_pack("{s:s,s:s,s:s,s:s,s:s,s:[{s:s,s:s}]}", "op", "environment.create", "name",
                         u->name, "cluster", "sim", "taskDefinition", definition, "key", key,
                         "attributes", "name", "ecs.availability-zone", "value", zone);
    }
    if (u->op == USER_CREATE)
        return json_pack("{s:s,s:s,s:s,s:s,s:s}", "op", "environment.create", "name", u->name,
                         "cluster", "sim", "taskDefinition", definition, "key", key);
    if (u->op == USER_DEPLOY)
        return json_pack("{s:s,s:s,s:s,s:s}", "op", "deployment.create", "environment", u->name,
                         "taskDefinition", definition, "key", key);
    if (u->op == USER_DELETE)
        return json_pack("{s:s,s:s,s:b,s:s}", "op", "environment.delete", "name", u->name,
                         "stopTasks", 1, "key", key);
    return json_pack("{s:s,s:s}", "op", "intent.read", "name", u->name);
}

static void ask(void *arg)
{
    struct user *u = arg;
    struct node *n = &world.nodes[draw(world.node_count)];
    if (quiet && u->command == NULL) {
        u->idle = true;
        return;
    }
    if (u->command == NULL) {
        u->command = command_of(u);
        world.commands++;
    }
    if (!n->exists || !n->up || n->api == NULL) {
        queue_add(&world.queue, world.now_us + 100000, ask, u);
        return;
    }
    struct api_write *w = calloc(1, sizeof *w);
    struct patience *p = calloc(1, sizeof *p);
    ENSURE(w != NULL && p != NULL && u->command != NULL);
    *w = (struct api_write){.command = json_deep_copy(u->command), .impl = u};
    u->write = w;
    *p = (struct patience){u, ++u->asked};
    world_say(n, "is asked by user %s: %s", u->name, u->what);
    node_post(n, world.now_us + 100, submit, w);
    queue_add(&world.queue, world.now_us + PATIENCE_US, lose_patience, p);
}

void users_init(void)
{
    for (size_t i = 0; i < USERS; i++) {
        struct user *u = &users[i];
        snprintf(u->name, sizeof u->name, "%c", (char)('a' + i));
        u->zone = draw(3) == 0 ? (char)('a' + draw(3)) : 0;
        later(u);
    }
}

void users_quiet(void)
{
    quiet = true;
}

bool users_are_quiet(void)
{
    for (size_t i = 0; i < USERS; i++) {
        if (!users[i].idle)
            return false;
    }
    return true;
}

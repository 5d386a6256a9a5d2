/* SPDX-License-Identifier: Apache-2.0
 * Operations on environments. */
#include "agent/intent/intent_int.h"

#include <stdio.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"

/* Laid out as a version 4 UUID, since Blox's clients check the form. */
void token_of(const char *id, char out[UUID_TEXT])
{
    uint64_t a = hash_bytes(id, strlen(id), 0x746f6b656e31);
    uint64_t b = hash_bytes(id, strlen(id), 0x746f6b656e32);
    snprintf(out, UUID_TEXT, "%08x-%04x-4%03x-%04x-%012llx", (unsigned)(a >> 32),
             (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xfff),
             (unsigned)(0x8000 | (b >> 48 & 0x3fff)), (unsigned long long)(b & 0xffffffffffff));
}

void environment_touched(struct apply *a, struct environment *env)
{
    env->version = a->version;
    json_set_str(env->json, "updatedAt", a->now_text);
    rows_environment(&a->in->rows, env);
}

static const char *status_of(const struct environment *env)
{
    return json_str_or(env->json, "status", "");
}

int check_revision(struct apply *a, const struct environment *env)
{
    int64_t want = json_int_or(a->command, "version", -1);
    int64_t is = json_int_or(env->json, "revision", 0);
    if (want < 0 || want == is)
        return 0;
    return result_set(a->ret, ERR_PRECONDITION, "version",
                      "environment %s is at revision %lld, not %lld; read it again", env->name,
                      (long long)is, (long long)want);
}

static void copy_member(json_t *to, const json_t *from, const char *name, json_t *otherwise)
{
    json_t *v = json_object_get(from, name);
    json_t *copy = v == NULL ? otherwise : json_deep_copy(v);
    if (v != NULL)
        json_decref(otherwise);
    ENSURE(copy != NULL && json_object_set_new(to, name, copy) == 0);
}

int environment_create(struct apply *a)
{
    struct state *s = &a->in->state;
    const char *name = json_str(a->command, "name");
    char token[UUID_TEXT];
    struct environment *env = state_live(s, name);
    if (env != NULL && strcmp(status_of(env), "deleting") == 0)
        return result_set(a->ret, ERR_EXISTS, "name",
                          "environment %s is being deleted; wait until its tasks have stopped",
                          name);
    if (env != NULL)
        return result_set(a->ret, ERR_EXISTS, "name", "An environment with name %s already exists",
                          name);
    if (s->count >= ENVIRONMENTS_MAX)
        return result_set(a->ret, ERR_CONFLICT, "name",
                          "there are %d environments already, the most there may be",
                          ENVIRONMENTS_MAX);
    if (!room_make(a))
        return room_refuse(a);
    env = state_add(s, name);
    env->json = json_object();
    ENSURE(env->json != NULL);
    token_of(a->id, token);
    json_set_str(env->json, "name", name);
    json_set_str(env->json, "token", token);
    copy_member(env->json, a->command, "cluster", json_null());
    copy_member(env->json, a->command, "taskDefinition", json_null());
    copy_member(env->json, a->command, "attributes", json_array());
    copy_member(env->json, a->command, "expression", json_string(""));
    json_set_str(env->json, "status", "active");
    json_set_str(env->json, "health", "healthy");
    json_set_int(env->json, "revision", 1);
    json_set_int(env->json, "deployments", 0);
    json_set_str(env->json, "createdAt", a->now_text);
    environment_touched(a, env);
    a->body = json_incref(env->json);
    return 0;
}

int environment_update(struct apply *a)
{
    static const char *const members[] = {"taskDefinition", "attributes", "expression"};
    const char *name = json_str(a->command, "name");
    struct environment *env = state_live(&a->in->state, name);
    if (env == NULL)
        return result_set(a->ret, ERR_NOTFOUND, "name", "there is no environment %s", name);
    if (strcmp(status_of(env), "deleting") == 0)
        return result_set(a->ret, ERR_CONFLICT, "name", "environment %s is being deleted", name);
    int err = check_revision(a, env);
    if (err != 0)
        return err;
    if (!room_make(a))
        return room_refuse(a);
    bool changed = false;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        json_t *v = json_object_get(a->command, members[i]);
        if (v == NULL || json_equal(v, json_object_get(env->json, members[i])))
            continue;
        copy_member(env->json, a->command, members[i], NULL);
        changed = true;
    }
    if (changed) {
        json_set_int(env->json, "revision", json_int_or(env->json, "revision", 0) + 1);
        environment_touched(a, env);
    }
    a->body = json_incref(env->json);
    return 0;
}

/* The environment and its deployments are gone; tombstones carry that to every agent. */
static void drop(struct apply *a, struct environment *env)
{
    struct rows_out *rows = &a->in->rows;
    char key[ROW_KEY_TEXT];
    a->body = json_incref(env->json);
    for (size_t i = 0; i < env->count; i++) {
        deployment_key(env, env->deployments[i].id, key);
        rows_tombstone(rows, RECORD_DEPLOYMENT, key, a->version);
    }
    rows_tombstone(rows, RECORD_ENVIRONMENT, env->name, a->version);
    state_remove(&a->in->state, env);
}

int environment_delete(struct apply *a)
{
    struct environment *env = state_live(&a->in->state, json_str(a->command, "name"));
    if (env == NULL)
        return 0; /* it is not there, which is what was asked for */
    int err = check_revision(a, env);
    if (err != 0)
        return err;
    if (!json_bool_or(a->command, "stopTasks", false)) {
        drop(a, env);
        return 0;
    }
    if (strcmp(status_of(env), "deleting") != 0) {
        json_set_str(env->json, "status", "deleting");
        environment_touched(a, env);
    }
    a->body = json_incref(env->json);
    return 0;
}

int environment_remove(struct apply *a)
{
    const char *name = json_str(a->command, "name");
    struct environment *env = state_live(&a->in->state, name);
    if (env == NULL)
        return 0;
    if (strcmp(status_of(env), "deleting") != 0)
        return result_set(a->ret, ERR_CONFLICT, "name", "environment %s is not being deleted",
                          name);
    drop(a, env);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * A backup comes back, and rows that only gossip kept. What is restored replaces the environment
 * of its name; environments that the backup does not have stay. */
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/row.h"
#include "agent/intent/intent_int.h"

/* Revisions and numbers go on from the higher of the two, so that no If-Match of before fits. */
static void keep_higher(json_t *row, const json_t *old, const char *member, int64_t more)
{
    int64_t was = json_int_or(old, member, 0) + more;
    if (old != NULL && json_int_or(row, member, 0) < was)
        json_set_int(row, member, was);
}

/* What ran here meanwhile is no longer the environment's deployment. */
static void supersede_others(struct apply *a, struct environment *env, const char *active)
{
    for (size_t i = 0; i < env->count; i++) {
        struct deployment *dep = &env->deployments[i];
        const char *status = json_str_or(dep->json, "status", "");
        bool open = strcmp(status, "pending") == 0 || strcmp(status, "running") == 0;
        if (!open || (active != NULL && strcmp(dep->id, active) == 0))
            continue;
        json_set_str(dep->json, "status", "superseded");
        dep->version = a->version;
        rows_deployment(&a->in->rows, env, dep);
    }
}

static void restore_deployments(struct apply *a, struct environment *env, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_object_get(json_array_get(list, i), "row");
        json_t *copy = json_deep_copy(row);
        ENSURE(copy != NULL);
        struct deployment *dep = deployment_add(env, json_str(row, "id"),
                                                json_int_or(row, "number", 1), copy, a->version);
        rows_deployment(&a->in->rows, env, dep);
    }
    deployments_prune(a, env);
}

static bool is_same(const struct environment *env, const json_t *row)
{
    return env != NULL && json_equal(env->json, row);
}

int intent_restore_command(struct apply *a)
{
    const json_t *list = json_arr(a->command, "environments");
    size_t deployments = 0, fresh = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_object_get(json_array_get(list, i), "row");
        fresh += state_live(&a->in->state, json_str_or(row, "name", "")) == NULL;
    }
    if (a->in->state.count + fresh > ENVIRONMENTS_MAX)
        return result_set(a->ret, ERR_CONFLICT, "environments",
                          "with these there would be more than %d environments", ENVIRONMENTS_MAX);
    if (!room_make(a))
        return room_refuse(a);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        const json_t *row = json_object_get(one, "row");
        const char *name = json_str(row, "name");
        struct environment *env = state_live(&a->in->state, name);
        if (!is_same(env, row)) {
            json_t *copy = json_deep_copy(row);
            ENSURE(copy != NULL);
            keep_higher(copy, env == NULL ? NULL : env->json, "revision", 1);
            keep_higher(copy, env == NULL ? NULL : env->json, "deployments", 0);
            env = state_add(&a->in->state, name);
            json_decref(env->json);
            env->json = copy;
            environment_touched(a, env);
        }
        supersede_others(a, env, json_str(env->json, "activeDeployment"));
        restore_deployments(a, env, json_arr(one, "deployments"));
        deployments += json_array_size(json_arr(one, "deployments"));
    }
    a->body = json_object();
    json_set_int(a->body, "environments", (int64_t)json_array_size(list));
    json_set_int(a->body, "deployments", (int64_t)deployments);
    return 0;
}

/* ---- rows that gossip kept --------------------------------------------------------------- */

static bool name_of(const struct store_log_intent *row, char out[ROW_KEY_TEXT], char **ret_id)
{
    if (row->key_len == 0 || row->key_len >= ROW_KEY_TEXT)
        return false;
    memcpy(out, row->key, row->key_len);
    out[row->key_len] = '\0';
    *ret_id = strchr(out, '/');
    if (*ret_id != NULL)
        *(*ret_id)++ = '\0';
    return true;
}

int intent_merge(struct intent *in, const struct store_log_intent *row)
{
    char name[ROW_KEY_TEXT], *id;
    if (!name_of(row, name, &id))
        return ERR_MALFORMED;
    struct environment *env = state_find(&in->state, name);
    if (row->kind == RECORD_ENVIRONMENT) {
        if (env != NULL && env->json != NULL && record_version_cmp(env->version, row->version) >= 0)
            return 0;
        if (row->deleted && env != NULL)
            state_remove(&in->state, env);
        return row->deleted ? 0 : intent_restore(in, row);
    }
    if (row->kind != RECORD_DEPLOYMENT)
        return 0;
    struct deployment *dep = env == NULL || id == NULL ? NULL : deployment_find(env, id);
    if (dep != NULL && record_version_cmp(dep->version, row->version) >= 0)
        return 0;
    if (row->deleted && dep != NULL)
        deployment_remove(env, dep);
    return row->deleted ? 0 : intent_restore(in, row);
}

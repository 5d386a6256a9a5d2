/* SPDX-License-Identifier: Apache-2.0
 * The state machine's entry: a committed command in, a result and changed rows out. */
#include "agent/intent/intent.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/intent/intent_int.h"

int intent_create(struct intent **ret)
{
    *ret = calloc(1, sizeof **ret);
    return *ret == NULL ? ERR_NOMEM : 0;
}

void intent_destroy(struct intent *in)
{
    if (in == NULL)
        return;
    rows_clear(&in->rows);
    json_decref(in->result);
    state_fini(&in->state);
    free(in);
}

static const struct operation {
    const char *name;
    int (*apply)(struct apply *a);
    bool needs_id;
} operations[] = {
    {"environment.create", environment_create, true},
    {"environment.update", environment_update, false},
    {"environment.delete", environment_delete, false},
    {"environment.remove", environment_remove, false},
    {"deployment.create", deployment_create, true},
    {"deployment.status", deployment_status, true},
    {"intent.restore", intent_restore_command, false},
};

static const struct operation *operation_named(const char *name)
{
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
        if (strcmp(operations[i].name, name) == 0)
            return &operations[i];
    return NULL;
}

static int perform(struct apply *a)
{
    int err = check_command(a->command, true, a->ret);
    if (err != 0)
        return err;
    const struct operation *op = operation_named(json_str(a->command, "op"));
    a->now_unix_ms = json_int_or(a->command, "now", -1);
    a->id = json_str(a->command, "id");
    if (op == NULL || a->now_unix_ms < 0)
        return result_set(a->ret, ERR_BADBODY, "now", "the command has no time");
    if (op->needs_id && a->id == NULL)
        return result_set(a->ret, ERR_BADBODY, "id", "the command has no id");
    clock_format_unix_ms(a->now_unix_ms, a->now_text);
    keys_expire(a);
    if (keys_answer(a, &err))
        return err;
    err = op->apply(a);
    keys_remember(a, err);
    return err;
}

void intent_apply(struct intent *in, uint64_t index, uint64_t term, const void *data, size_t len,
                  struct intent_result *ret, const struct store_log_intent **ret_rows,
                  size_t *ret_count)
{
    struct errmsg e = {""};
    *ret = (struct intent_result){0};
    rows_clear(&in->rows);
    json_decref(in->result);
    in->result = NULL;
    json_t *command = json_parse(data, len, &e);
    if (command == NULL) {
        result_set(ret, ERR_MALFORMED, "", "%s", e.text);
    } else {
        struct apply a = {
            .in = in, .command = command, .size = len, .version = {term, index}, .ret = ret};
        ret->err = perform(&a);
        in->result = a.body;
        ret->body = a.body;
    }
    json_decref(command);
    *ret_rows = in->rows.rows;
    *ret_count = in->rows.count;
}

/* ---- reading ---- */

const json_t *intent_environment(const struct intent *in, const char *name)
{
    const struct environment *env = state_live(&in->state, name);
    return env == NULL ? NULL : env->json;
}

const json_t *intent_deployment(const struct intent *in, const char *environment, const char *id)
{
    const struct environment *env = state_live(&in->state, environment);
    const struct deployment *dep = env == NULL ? NULL : deployment_find(env, id);
    return dep == NULL ? NULL : dep->json;
}

const json_t *intent_next_deployment(const struct intent *in, const char *environment, size_t *at)
{
    const struct environment *env = state_live(&in->state, environment);
    return env == NULL || *at >= env->count ? NULL : env->deployments[(*at)++].json;
}

const json_t *intent_next(const struct intent *in, size_t *at)
{
    while (*at < in->state.count) {
        const json_t *json = in->state.environments[(*at)++]->json;
        if (json != NULL)
            return json;
    }
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0
 * The whole state as bytes, and back; and one row back at start.
 *
 * {"format":1,"environments":[{"term","index","row","deployments":[{"term","index","row"}]}],
 *  "answers":[{"term","index","row"}]}, compact with sorted members. */
#include "agent/intent/intent_int.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/row.h"

#define SNAPSHOT_FORMAT 1

static json_t *item(json_t *row, struct record_version version)
{
    json_t *json = json_object();
    ENSURE(json != NULL);
    json_set_int(json, "term", (int64_t)version.hi);
    json_set_int(json, "index", (int64_t)version.lo);
    ENSURE(json_object_set_new(json, "row", row) == 0);
    return json;
}

int intent_save(const struct intent *in, struct buf *out)
{
    const struct state *s = &in->state;
    json_t *root = json_object();
    json_t *environments = json_array();
    json_t *answers = json_array();
    size_t len;
    ENSURE(root != NULL && environments != NULL && answers != NULL);
    for (size_t i = 0; i < s->count; i++) {
        const struct environment *env = s->environments[i];
        if (env->json == NULL)
            continue;
        json_t *one = item(json_incref(env->json), env->version);
        json_t *deployments = json_array();
        ENSURE(deployments != NULL);
        for (size_t j = 0; j < env->count; j++)
            json_array_append_new(deployments, item(json_incref(env->deployments[j].json),
                                                    env->deployments[j].version));
        json_object_set_new(one, "deployments", deployments);
        json_array_append_new(environments, one);
    }
    for (size_t i = 0; i < s->answer_count; i++)
        json_array_append_new(answers, item(answer_json(s->answers[i]), s->answers[i]->version));
    json_set_int(root, "format", SNAPSHOT_FORMAT);
    json_object_set_new(root, "environments", environments);
    json_object_set_new(root, "answers", answers);
    char *text = canonical_json(root, &len);
    json_decref(root);
    int err = buf_put(out, text, len);
    free(text);
    return err;
}

/* ---- back ---- */

static bool name_is_sound(const char *name, size_t max)
{
    return name != NULL && name[0] != '\0' && strlen(name) <= max && strchr(name, '/') == NULL;
}

/* Of its canonical text, on every replica the same. */
static size_t length_of(const json_t *json)
{
    size_t len;
    free(canonical_json(json, &len));
    return len;
}

static int put_environment(struct state *s, json_t *row, struct record_version version)
{
    const char *name = json_str(row, "name");
    if (!name_is_sound(name, ENVIRONMENT_NAME_MAX) || json_str(row, "token") == NULL ||
        json_str(row, "cluster") == NULL || json_str(row, "taskDefinition") == NULL ||
        json_str(row, "status") == NULL || json_int_or(row, "revision", -1) < 0 ||
        s->count >= 2 * ENVIRONMENTS_MAX)
        return ERR_MALFORMED;
    struct environment *env = state_add(s, name);
    json_decref(env->json);
    env->json = json_incref(row);
    env->version = version;
    environment_weigh(env, length_of(row));
    return 0;
}

static int put_deployment(struct state *s, json_t *row, struct record_version version)
{
    const char *name = json_str(row, "environment");
    const char *id = json_str(row, "id");
    int64_t number = json_int_or(row, "number", -1);
    if (!name_is_sound(name, ENVIRONMENT_NAME_MAX) || !name_is_sound(id, DEPLOYMENT_ID_MAX) ||
        number < 0 || json_str(row, "status") == NULL)
        return ERR_MALFORMED;
    struct environment *env = state_add(s, name);
    if (env->count >= 2 * DEPLOYMENTS_KEPT)
        return ERR_MALFORMED;
    struct deployment *dep = deployment_add(env, id, number, json_incref(row), version);
    deployment_weigh(env, dep, length_of(row));
    return 0;
}

int answer_from_json(struct state *s, const json_t *json, struct record_version version)
{
    const char *key = json_str(json, "key");
    const char *digest = json_str(json, "digest");
    if (key == NULL || digest == NULL || strlen(key) > IDEMPOTENCY_KEY_MAX ||
        strlen(digest) >= DIGEST_TEXT || s->answer_count >= 2 * IDEMPOTENCY_KEYS_MAX)
        return ERR_MALFORMED;
    answer_add(s, key, digest, json_int_or(json, "at", 0), (int)json_int_or(json, "err", 0),
               json_incref(json_object_get(json, "body")), version);
    return 0;
}

int intent_restore(struct intent *in, const struct store_log_intent *saved)
{
    struct row row;
    if (saved->deleted)
        return 0;
    if (row_decode(saved->value, saved->value_len, &row) != 0)
        return ERR_MALFORMED;
    json_t *json = json_parse(row.json.data, row.json.len, NULL);
    if (json == NULL)
        return ERR_MALFORMED;
    int err = ERR_MALFORMED;
    size_t prefix = strlen(ANSWER_KEY_PREFIX);
    if (saved->kind == RECORD_ENVIRONMENT)
        err = put_environment(&in->state, json, saved->version);
    else if (saved->kind == RECORD_DEPLOYMENT)
        err = put_deployment(&in->state, json, saved->version);
    else if (saved->kind == RECORD_SETTING && saved->key_len > prefix &&
             memcmp(saved->key, ANSWER_KEY_PREFIX, prefix) == 0)
        err = answer_from_json(&in->state, json, saved->version);
    json_decref(json);
    return err;
}

static struct record_version version_of(const json_t *one)
{
    return (struct record_version){(uint64_t)json_int_or(one, "term", 0),
                                   (uint64_t)json_int_or(one, "index", 0)};
}

static int load_state(struct state *s, const json_t *root)
{
    const json_t *environments = json_arr(root, "environments");
    const json_t *answers = json_arr(root, "answers");
    if (json_int_or(root, "format", 0) != SNAPSHOT_FORMAT || environments == NULL ||
        answers == NULL)
        return ERR_MALFORMED;
    for (size_t i = 0; i < json_array_size(environments); i++) {
        const json_t *one = json_array_get(environments, i);
        const json_t *deployments = json_arr(one, "deployments");
        int err = put_environment(s, json_object_get(one, "row"), version_of(one));
        for (size_t j = 0; j < json_array_size(deployments) && err == 0; j++) {
            const json_t *dep = json_array_get(deployments, j);
            err = put_deployment(s, json_object_get(dep, "row"), version_of(dep));
        }
        if (err != 0)
            return err;
    }
    for (size_t i = 0; i < json_array_size(answers); i++) {
        const json_t *one = json_array_get(answers, i);
        int err = answer_from_json(s, json_object_get(one, "row"), version_of(one));
        if (err != 0)
            return err;
    }
    return 0;
}

static void all_rows(struct intent *in)
{
    const struct state *s = &in->state;
    for (size_t i = 0; i < s->count; i++) {
        struct environment *env = s->environments[i];
        if (env->json != NULL)
            rows_environment(&in->rows, env);
        for (size_t j = 0; j < env->count; j++)
            rows_deployment(&in->rows, env, &env->deployments[j]);
    }
    for (size_t i = 0; i < s->answer_count; i++)
        rows_answer(&in->rows, s->answers[i]);
}

int intent_load(struct intent *in, const void *data, size_t len,
                const struct store_log_intent **ret_rows, size_t *ret_count)
{
    struct state fresh = {0};
    json_t *root = json_parse(data, len, NULL);
    *ret_rows = NULL;
    *ret_count = 0;
    int err = root == NULL ? ERR_MALFORMED : load_state(&fresh, root);
    json_decref(root);
    if (err != 0) {
        state_fini(&fresh);
        return err;
    }
    rows_clear(&in->rows);
    json_decref(in->result);
    in->result = NULL;
    state_fini(&in->state);
    in->state = fresh;
    all_rows(in);
    *ret_rows = in->rows.rows;
    *ret_count = in->rows.count;
    return 0;
}

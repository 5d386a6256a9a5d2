/* SPDX-License-Identifier: Apache-2.0
 * The rows that a command changed, as they are persisted and gossiped. */
#include "agent/intent/intent_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/row.h"

char *canonical_json(const json_t *value, size_t *ret_len)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    ENSURE(text != NULL);
    *ret_len = strlen(text);
    return text;
}

void rows_clear(struct rows_out *out)
{
    for (size_t i = 0; i < out->count; i++) {
        free((void *)(uintptr_t)out->rows[i].key);
        free((void *)(uintptr_t)out->rows[i].value);
    }
    free(out->rows);
    *out = (struct rows_out){0};
}

/* Takes value over. */
static void add(struct rows_out *out, uint8_t kind, const char *key, bool deleted, void *value,
                size_t len, struct record_version version)
{
    size_t key_len = strlen(key);
    char *copy = intent_alloc(key_len + 1);
    memcpy(copy, key, key_len);
    out->rows = intent_grow(out->rows, out->count, &out->cap, sizeof *out->rows);
    out->rows[out->count++] = (struct store_log_intent){.kind = kind,
                                                        .key = copy,
                                                        .key_len = (uint16_t)key_len,
                                                        .deleted = deleted,
                                                        .value = value,
                                                        .value_len = (uint32_t)len,
                                                        .version = version};
}

/* "…:task-definition/FAMILY:REVISION", or FAMILY[:REVISION]. */
static void set_task_definition(struct row *row, const char *text)
{
    const char *name = text == NULL ? NULL : strrchr(text, '/');
    name = name == NULL ? text : name + 1;
    if (name == NULL)
        return;
    const char *colon = strchr(name, ':');
    row->field[ROW_FAMILY].data = name;
    row->field[ROW_FAMILY].len = colon == NULL ? strlen(name) : (size_t)(colon - name);
    row_set(row, ROW_REVISION, colon == NULL ? NULL : colon + 1);
}

/* Returns how long its JSON is. */
static size_t add_row(struct rows_out *out, uint8_t kind, const char *key, const json_t *json,
                      const char *environment, struct record_version version)
{
    struct row row = {0};
    struct buf value;
    size_t len, value_len;
    char *text = canonical_json(json, &len);
    row_set(&row, ROW_CLUSTER, json_str(json, "cluster"));
    row_set(&row, ROW_STATUS, json_str(json, "status"));
    row_set(&row, ROW_ENVIRONMENT, environment);
    set_task_definition(&row, json_str(json, "taskDefinition"));
    row.json.data = text;
    row.json.len = len;
    buf_init(&value, RECORD_VALUE_MAX);
    ENSURE(row_encode(&row, &value) == 0);
    free(text);
    char *bytes = buf_steal(&value, &value_len);
    add(out, kind, key, false, bytes, value_len, version);
    return len;
}

void deployment_key(const struct environment *env, const char *id, char out[ROW_KEY_TEXT])
{
    snprintf(out, ROW_KEY_TEXT, "%s/%s", env->name, id);
}

void answer_key(const char *key, char out[ROW_KEY_TEXT])
{
    snprintf(out, ROW_KEY_TEXT, "%s%s", ANSWER_KEY_PREFIX, key);
}

void rows_environment(struct rows_out *out, struct environment *env)
{
    environment_weigh(
        env, add_row(out, RECORD_ENVIRONMENT, env->name, env->json, env->name, env->version));
}

void rows_deployment(struct rows_out *out, struct environment *env, struct deployment *dep)
{
    char key[ROW_KEY_TEXT];
    deployment_key(env, dep->id, key);
    deployment_weigh(env, dep,
                     add_row(out, RECORD_DEPLOYMENT, key, dep->json, env->name, dep->version));
}

json_t *answer_json(const struct answer *a)
{
    json_t *json = json_object();
    ENSURE(json != NULL);
    json_set_str(json, "key", a->key);
    json_set_str(json, "digest", a->digest);
    json_set_int(json, "at", a->at_unix_ms);
    if (a->err != 0)
        json_set_int(json, "err", a->err);
    if (a->body != NULL)
        json_object_set(json, "body", a->body);
    return json;
}

void rows_answer(struct rows_out *out, const struct answer *a)
{
    char key[ROW_KEY_TEXT];
    json_t *json = answer_json(a);
    answer_key(a->key, key);
    add_row(out, RECORD_SETTING, key, json, NULL, a->version);
    json_decref(json);
}

void rows_tombstone(struct rows_out *out, uint8_t kind, const char *key,
                    struct record_version version)
{
    add(out, kind, key, true, NULL, 0, version);
}

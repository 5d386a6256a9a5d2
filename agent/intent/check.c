/* SPDX-License-Identifier: Apache-2.0
 * Form of a command: members, types, patterns, lengths. The same check runs where a user's
 * request arrives and again where the command is applied, so that a bad command changes
 * nothing anywhere. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/intent/intent_int.h"

int result_set(struct intent_result *ret, int err, const char *field, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(ret->detail, sizeof ret->detail, format, args);
    va_end(args);
    snprintf(ret->field, sizeof ret->field, "%s", field);
    ret->err = err;
    return err;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

/* 1..max characters out of letters, digits, '-', '_' and more. */
static bool made_of(const char *text, size_t len, size_t max, const char *more)
{
    if (len == 0 || len > max)
        return false;
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\0' || (!is_word(text[i]) && strchr(more, text[i]) == NULL))
            return false;
    return true;
}

static bool is_digits(const char *text, size_t len, size_t min, size_t max)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return len >= min && len <= max;
}

/* "arn:PARTITION:ecs:REGION:ACCOUNT:" of any partition; what follows it, or NULL. */
static const char *arn_rest(const char *text)
{
    const char *part[5];
    size_t len[5];
    for (int i = 0; i < 5; i++) {
        const char *colon = strchr(text, ':');
        if (colon == NULL)
            return NULL;
        part[i] = text;
        len[i] = (size_t)(colon - text);
        text = colon + 1;
    }
    bool right = len[0] == 3 && memcmp(part[0], "arn", 3) == 0 &&
                 made_of(part[1], len[1], 32, "") && len[2] == 3 &&
                 memcmp(part[2], "ecs", 3) == 0 && made_of(part[3], len[3], 32, "") &&
                 is_digits(part[4], len[4], 12, 12);
    return right ? text : NULL;
}

static const char *after_prefix(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);
    return text != NULL && strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

static bool is_cluster(const char *text)
{
    const char *name = text;
    if (strncmp(text, "arn:", 4) == 0)
        name = after_prefix(arn_rest(text), "cluster/");
    return name != NULL && made_of(name, strlen(name), CLUSTER_NAME_MAX, "");
}

static bool is_task_definition(const char *text)
{
    bool arn = strncmp(text, "arn:", 4) == 0;
    const char *name = arn ? after_prefix(arn_rest(text), "task-definition/") : text;
    if (name == NULL)
        return false;
    const char *colon = strchr(name, ':');
    size_t family = colon == NULL ? strlen(name) : (size_t)(colon - name);
    if (!made_of(name, family, 255, "") || (arn && colon == NULL))
        return false;
    return colon == NULL || (is_digits(colon + 1, strlen(colon + 1), 1, 9) && colon[1] != '0');
}

static bool is_printable(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            return false;
    return true;
}

static int check_name(const json_t *v, const char *field, struct intent_result *ret)
{
    if (!json_is_string(v) ||
        !made_of(json_string_value(v), json_string_length(v), ENVIRONMENT_NAME_MAX, ""))
        return result_set(ret, ERR_BADPARAM, field,
                          "%s must be 1 to %d letters, digits, hyphens or underscores", field,
                          ENVIRONMENT_NAME_MAX);
    return 0;
}

static int check_cluster(const json_t *v, const char *field, struct intent_result *ret)
{
    if (!json_is_string(v) || !is_cluster(json_string_value(v)))
        return result_set(ret, ERR_BADPARAM, field,
                          "%s must be a cluster's name or ARN "
                          "(arn:aws:ecs:REGION:ACCOUNT:cluster/NAME)",
                          field);
    return 0;
}

static int check_task_definition(const json_t *v, const char *field, struct intent_result *ret)
{
    if (!json_is_string(v) || !is_task_definition(json_string_value(v)))
        return result_set(ret, ERR_BADPARAM, field,
                          "%s must be FAMILY, FAMILY:REVISION or an ARN "
                          "(arn:aws:ecs:REGION:ACCOUNT:task-definition/FAMILY:REVISION)",
                          field);
    return 0;
}

/* One pair as ECS takes them. */
static bool is_attribute(const json_t *pair)
{
    const json_t *name = json_object_get(pair, "name");
    const json_t *value = json_object_get(pair, "value");
    if (!json_is_string(name) || !json_is_string(value) || json_object_size(pair) != 2)
        return false;
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    return made_of(json_string_value(name), json_string_length(name), 128, "./\\") &&
           made_of(text, len, 128, ".@/\\: ") && text[0] != ' ' && text[len - 1] != ' ';
}

static int check_attributes(const json_t *v, const char *field, struct intent_result *ret)
{
    if (!json_is_array(v) || json_array_size(v) > ATTRIBUTES_MAX)
        return result_set(ret, ERR_BADPARAM, field,
                          "%s must be a list of at most %d {\"name\", \"value\"} pairs", field,
                          ATTRIBUTES_MAX);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!is_attribute(json_array_get(v, i)))
            return result_set(ret, ERR_BADPARAM, field,
                              "%s[%zu] must be {\"name\", \"value\"}, both texts of 1 to 128 "
                              "characters that ECS takes in an attribute",
                              field, i);
    return 0;
}

static int check_expression(const json_t *v, const char *field, struct intent_result *ret)
{
    if (!json_is_string(v) || json_string_length(v) > EXPRESSION_MAX ||
        !is_printable(json_string_value(v), json_string_length(v)))
        return result_set(ret, ERR_BADPARAM, field,
                          "%s must be at most %d printable ASCII characters of the cluster query "
                          "language",
                          field, EXPRESSION_MAX);
    return 0;
}

static int check_key(const json_t *v, const char *field, struct intent_result *ret)
{
    size_t len = json_string_length(v);
    if (!json_is_string(v) || len == 0 || len > IDEMPOTENCY_KEY_MAX ||
        !is_printable(json_string_value(v), len))
        return result_set(ret, ERR_BADPARAM, field,
                          "the idempotency key must be 1 to %d printable characters",
                          IDEMPOTENCY_KEY_MAX);
    return 0;
}

static int check_token(const json_t *v, const char *field, struct intent_result *ret)
{
    const char *text = json_string_value(v);
    bool right = text != NULL && strlen(text) == UUID_TEXT - 1;
    for (int i = 0; right && i < UUID_TEXT - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        right = dash ? text[i] == '-'
                     : (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
    }
    return right ? 0
                 : result_set(ret, ERR_BADPARAM, field,
                              "%s must be the environment's deployment token, a lower-case UUID",
                              field);
}

static int check_id(const json_t *v, const char *field, struct intent_result *ret)
{
    if (!json_is_string(v) ||
        !made_of(json_string_value(v), json_string_length(v), DEPLOYMENT_ID_MAX, ""))
        return result_set(ret, ERR_BADPARAM, field, "%s must be an id", field);
    return 0;
}

static int check_count(const json_t *v, const char *field, struct intent_result *ret)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return result_set(ret, ERR_BADPARAM, field, "%s must be a whole number, 0 or more", field);
    return 0;
}

/* Of a backup: it is counted on from there, and clients read it as a double. */
static int check_number(const json_t *v, const char *field, struct intent_result *ret)
{
    if (json_is_integer(v) && json_integer_value(v) > NUMBER_MAX)
        return result_set(ret, ERR_BADPARAM, field, "%s is larger than %lld", field, NUMBER_MAX);
    return check_count(v, field, ret);
}

static int check_bool(const json_t *v, const char *field, struct intent_result *ret)
{
    return json_is_boolean(v)
               ? 0
               : result_set(ret, ERR_BADPARAM, field, "%s must be true or false", field);
}

static int check_text(const json_t *v, const char *field, struct intent_result *ret)
{
    return json_is_string(v) ? 0 : result_set(ret, ERR_BADPARAM, field, "%s must be text", field);
}

static int check_status(const json_t *v, const char *field, struct intent_result *ret)
{
    const char *text = json_string_value(v);
    if (text == NULL || (strcmp(text, "pending") != 0 && strcmp(text, "running") != 0 &&
                         strcmp(text, "completed") != 0))
        return result_set(ret, ERR_BADPARAM, field, "%s must be pending, running or completed",
                          field);
    return 0;
}

static int check_failed(const json_t *v, const char *field, struct intent_result *ret)
{
    bool right = json_is_array(v) && json_array_size(v) <= FAILED_INSTANCES_MAX;
    for (size_t i = 0; right && i < json_array_size(v); i++) {
        const json_t *one = json_array_get(v, i);
        right = json_str(one, "arn") != NULL && json_str(one, "reason") != NULL;
    }
    return right ? 0
                 : result_set(ret, ERR_BADPARAM, field,
                              "%s must be a list of {\"arn\", \"reason\"}", field);
}

static int check_counts(const json_t *v, const char *field, struct intent_result *ret)
{
    static const char *const names[] = {"desired", "running", "pending", "failed"};
    bool right = json_is_object(v);
    for (size_t i = 0; right && i < 4; i++)
        right = json_int_or(v, names[i], -1) >= 0;
    return right ? 0
                 : result_set(ret, ERR_BADPARAM, field,
                              "%s must have desired, running, pending and failed", field);
}

static int check_any(const json_t *v, const char *field, struct intent_result *ret)
{
    (void)v;
    (void)field;
    (void)ret;
    return 0;
}

struct member {
    const char *name;
    int (*check)(const json_t *v, const char *field, struct intent_result *ret);
    bool required;
};

/* Rows of a backup: what others rely on. */
static const struct member environment_row[] = {{"name", check_name, true},
                                                {"token", check_token, true},
                                                {"cluster", check_cluster, true},
                                                {"taskDefinition", check_task_definition, true},
                                                {"attributes", check_attributes, true},
                                                {"expression", check_expression, true},
                                                {"status", check_text, true},
                                                {"health", check_text, true},
                                                {"revision", check_number, true},
                                                {"deployments", check_number, true},
                                                {"createdAt", check_text, true},
                                                {"updatedAt", check_text, false},
                                                {"activeDeployment", check_id, false},
                                                {NULL, NULL, false}};
static const struct member deployment_row[] = {{"id", check_id, true},
                                               {"environment", check_name, true},
                                               {"cluster", check_cluster, true},
                                               {"taskDefinition", check_task_definition, true},
                                               {"revision", check_number, true},
                                               {"number", check_number, true},
                                               {"status", check_text, true},
                                               {"token", check_token, true},
                                               {"createdAt", check_text, true},
                                               {"completedAt", check_text, false},
                                               {"failedInstances", check_failed, true},
                                               {"counts", check_counts, true},
                                               {NULL, NULL, false}};

static bool one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (text != NULL && strcmp(text, *words) == 0)
            return true;
    return false;
}

static int check_row(const json_t *row, const struct member *members, const char *const *statuses,
                     struct intent_result *ret)
{
    if (!json_is_object(row) || !one_of(json_str(row, "status"), statuses))
        return result_set(ret, ERR_BADBODY, "environments", "a row has no known status");
    for (const struct member *m = members; m->name != NULL; m++) {
        const json_t *v = json_object_get(row, m->name);
        if (v == NULL && m->required)
            return result_set(ret, ERR_BADBODY, m->name, "a row has no %s", m->name);
        int err = v == NULL ? 0 : m->check(v, m->name, ret);
        if (err != 0)
            return err;
    }
    return 0;
}

static int check_restored(const json_t *v, const char *field, struct intent_result *ret)
{
    static const char *const environment_status[] = {"active", "deleting", NULL};
    static const char *const deployment_statuses[] = {"pending", "running", "completed",
                                                      "superseded", NULL};
    if (!json_is_array(v) || json_array_size(v) > ENVIRONMENTS_MAX)
        return result_set(ret, ERR_BADBODY, field, "%s must be a list of at most %d", field,
                          ENVIRONMENTS_MAX);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *one = json_array_get(v, i);
        const json_t *row = json_object_get(one, "row");
        const json_t *list = json_arr(one, "deployments");
        int err = check_row(row, environment_row, environment_status, ret);
        if (err == 0 && (list == NULL || json_array_size(list) > DEPLOYMENTS_KEPT))
            err = result_set(ret, ERR_BADBODY, field, "deployments must be a list of at most %d",
                             DEPLOYMENTS_KEPT);
        for (size_t k = 0; err == 0 && k < json_array_size(list); k++) {
            const json_t *dep = json_object_get(json_array_get(list, k), "row");
            err = check_row(dep, deployment_row, deployment_statuses, ret);
            if (err == 0 && strcmp(json_str(dep, "environment"), json_str(row, "name")) != 0)
                err = result_set(ret, ERR_BADBODY, "environment",
                                 "a deployment is of another environment than it stands in");
        }
        if (err != 0)
            return err;
    }
    return 0;
}

#define MEMBERS_MAX 9
static const struct form {
    const char *op;
    bool leader;
    struct member members[MEMBERS_MAX];
} forms[] = {
    {"environment.create",
     false,
     {{"name", check_name, true},
      {"cluster", check_cluster, true},
      {"taskDefinition", check_task_definition, true},
      {"attributes", check_attributes, false},
      {"expression", check_expression, false},
      {"key", check_key, false}}},
    {"environment.update",
     false,
     {{"name", check_name, true},
      {"taskDefinition", check_task_definition, false},
      {"attributes", check_attributes, false},
      {"expression", check_expression, false},
      {"version", check_count, false},
      {"key", check_key, false}}},
    {"environment.delete",
     false,
     {{"name", check_name, true},
      {"stopTasks", check_bool, false},
      {"version", check_count, false},
      {"key", check_key, false}}},
    {"deployment.create",
     false,
     {{"environment", check_name, true},
      {"token", check_token, false},
      {"taskDefinition", check_task_definition, false},
      {"key", check_key, false}}},
    {"intent.restore",
     false,
     {{"environments", check_restored, true},
      {"clusterName", check_text, false},
      {"clusterId", check_text, false},
      {"force", check_bool, false},
      {"key", check_any, false}}},
    {"intent.read",
     false,
     {{"name", check_name, false},
      {"deployments", check_bool, false},
      {"deployment", check_id, false},
      {"backup", check_bool, false},
      {"key", check_any, false}}},
    {"environment.remove", true, {{"name", check_name, true}}},
    {"deployment.status",
     true,
     {{"environment", check_name, true},
      {"status", check_status, true},
      {"failedInstances", check_failed, false},
      {"counts", check_counts, false}}},
};

/* What the leader adds, and a digest of the request as the user wrote it. */
static const struct member added[] = {
    {"now", check_count, false}, {"id", check_id, false}, {"digest", check_text, false}};

static const struct member *member_named(const struct form *form, const char *name)
{
    for (size_t i = 0; i < MEMBERS_MAX && form->members[i].name != NULL; i++)
        if (strcmp(form->members[i].name, name) == 0)
            return &form->members[i];
    for (size_t i = 0; i < sizeof added / sizeof added[0]; i++)
        if (strcmp(added[i].name, name) == 0)
            return &added[i];
    return NULL;
}

static int check_members(const struct form *form, const json_t *command, struct intent_result *ret)
{
    const char *name;
    json_t *v;
    for (size_t i = 0; i < MEMBERS_MAX && form->members[i].name != NULL; i++)
        if (form->members[i].required && json_object_get(command, form->members[i].name) == NULL)
            return result_set(ret, ERR_BADBODY, form->members[i].name, "%s is missing",
                              form->members[i].name);
    json_object_foreach((json_t *)(uintptr_t)command, name, v)
    {
        const struct member *m = member_named(form, name);
        if (m == NULL && strcmp(name, "op") == 0)
            continue;
        if (m == NULL)
            return result_set(ret, ERR_BADBODY, name, "%.40s is not a member that %s knows", name,
                              form->op);
        int err = m->check(v, name, ret);
        if (err != 0)
            return err;
    }
    return 0;
}

int check_command(const json_t *command, bool leader, struct intent_result *ret)
{
    const char *op = json_str(command, "op");
    if (op == NULL)
        return result_set(ret, ERR_BADBODY, "op", "the command has no operation");
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (strcmp(forms[i].op, op) == 0 && (leader || !forms[i].leader))
            return check_members(&forms[i], command, ret);
    return result_set(ret, ERR_BADBODY, "op", "there is no operation %.60s", op);
}

int intent_check(const json_t *command, struct intent_result *ret)
{
    *ret = (struct intent_result){0};
    return check_command(command, false, ret);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/gone.h"

#include <string.h>

bool gone_by_ecs(const json_t *body, const char *own_arn)
{
    const json_t *arns = json_arr(body, "containerInstanceArns");
    const char *arn = json_string_value(json_array_get(arns, 0));
    return json_array_size(arns) == 1 && arn != NULL && own_arn[0] != '\0' &&
           strcmp(arn, own_arn) == 0;
}

/* NULL: not listed; "?": listed, but not what it is. */
static const char *state_of(const json_t *body, const char *id)
{
    size_t i;
    const json_t *one;
    json_array_foreach(json_arr(body, "instances"), i, one)
    {
        if (strcmp(json_str_or(one, "instanceId", ""), id) == 0)
            return json_str_or(json_array_get(json_arr(one, "instanceState"), 0), "name", "?");
    }
    return NULL;
}

bool gone_by_ec2(const json_t *body, const char *own_id, const char *id, const char **ret_word)
{
    const char *own = state_of(body, own_id), *other = state_of(body, id);
    *ret_word = other == NULL ? "not there" : other;
    if (own == NULL || strcmp(own, "terminated") == 0) {
        *ret_word = "an answer without this agent's own instance";
        return false;
    }
    if (json_str_or(body, "nextToken", "")[0] != '\0') {
        *ret_word = "only a part of its answer";
        return false;
    }
    return other == NULL || strcmp(other, "terminated") == 0;
}

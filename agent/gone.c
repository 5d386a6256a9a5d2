/* SPDX-License-Identifier: Apache-2.0
 * Is another agent's instance gone for good? ECS's word, for the automatic recovery of a lost
 * quorum: a container instance that ECS lists in no state (not ACTIVE, not DRAINING) can run
 * nothing any more. Silence, an error or a list without ourselves proves nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/log.h"

struct question {
    struct agent *agent;
    char id[AGENT_ID_MAX];
};

static bool only_ourselves(const struct agent *a, const struct aws_result *r)
{
    const json_t *arns = r->err == 0 ? json_arr(r->body, "containerInstanceArns") : NULL;
    const char *arn = json_string_value(json_array_get(arns, 0));
    return json_array_size(arns) == 1 && arn != NULL && a->identity.instance_arn[0] != '\0' &&
           strcmp(arn, a->identity.instance_arn) == 0;
}

static void on_listed(void *arg, const struct aws_result *r)
{
    struct question *q = arg;
    struct agent *a = q->agent;
    bool gone = only_ourselves(a, r);
    LOG(LOG_WARN, "voter_gone", "the quorum is lost; ECS was asked whether this voter is gone",
        LS("member", q->id),
        LS("answer", r->err < 0 ? err_text(r->err)
                     : gone     ? "gone"
                                : "there"));
    if (a->raft != NULL)
        raft_uv_gone(a->raft, q->id, gone);
    free(q);
}

int gone_ask(void *arg, const char *id)
{
    struct agent *a = arg;
    char filter[2 * AGENT_ID_MAX + 40];
    struct aws_call_options options = {.priority = AWS_REPAIR};
    if (a->aws == NULL || strncmp(id, "i-", 2) != 0)
        return ERR_BADPARAM; /* nobody but EC2 can say so */
    struct question *q = calloc(1, sizeof *q);
    if (q == NULL)
        return ERR_NOMEM;
    q->agent = a;
    snprintf(q->id, sizeof q->id, "%s", id);
    snprintf(filter, sizeof filter, "ec2InstanceId in [%s, %s]", id, a->identity.id);
    json_t *params = json_pack("{s:s, s:s}", "cluster", a->identity.cluster, "filter", filter);
    if (params != NULL && aws_list(a->aws, AWS_ECS, "ListContainerInstances",
                                   "containerInstanceArns", params, &options, on_listed, q) != NULL)
        return 0;
    free(q);
    return ERR_NOMEM;
}

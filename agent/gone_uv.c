/* SPDX-License-Identifier: Apache-2.0
 * Asks ECS, then EC2, whether another agent's instance is gone for good (agent/gone.h). And asks
 * EC2 about this very instance while all is well, so that what would be missing on the day when
 * most voters are gone, a permission or a way to EC2, is said before. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/gone.h"

#define PROOF_AGAIN_MS 20000u /* after a failure */
#define PROOF_EVERY_MS 6u * 3600000u

struct question {
    struct agent *agent;
    char id[AGENT_ID_MAX];
};

static struct question *question(struct agent *a, const char *id)
{
    struct question *q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    q->agent = a;
    snprintf(q->id, sizeof q->id, "%s", id);
    return q;
}

static void settle(struct question *q, bool gone, const char *ecs, const char *ec2)
{
    LOG(LOG_WARN, "voter_gone",
        gone ? "the quorum is lost; ECS and EC2 say that this voter is gone for good"
             : "the quorum is lost; it is not proven that this voter is gone for good",
        LS("member", q->id), LS("ecs", ecs), LS("ec2", ec2));
    if (q->agent->raft != NULL)
        raft_uv_gone(q->agent->raft, q->id, gone);
    free(q);
}

/* An error in AWS's words, with what to do about the one that will not pass by itself. */
static void explain(const struct aws_result *r, char *out, size_t size)
{
    snprintf(out, size, "%s%s%.200s", r->code[0] == '\0' ? err_text(r->err) : r->code,
             r->message[0] == '\0' ? "" : ": ", r->message);
    if (r->err == ERR_DENIED)
        snprintf(out, size, "denied: allow ec2:DescribeInstances to the instance role (%s)",
                 r->code);
}

/* With a filter, for an id that is not known any more is an error where ids are asked for. */
static bool describe(struct question *q, aws_done_fn done)
{
    struct agent *a = q->agent;
    struct aws_call_options options = {.priority = AWS_REPAIR};
    json_t *params = json_pack("{s:[{s:s,s:[s,s]}]}", "Filter", "Name", "instance-id", "Value",
                               q->id, a->identity.id);
    return params != NULL &&
           aws_call(a->aws, AWS_EC2, "DescribeInstances", params, &options, done, q) != NULL;
}

static void on_described(void *arg, const struct aws_result *r)
{
    struct question *q = arg;
    char why[300];
    const char *word = why;
    bool gone = r->err == 0 && gone_by_ec2(r->body, q->agent->identity.id, q->id, &word);
    if (r->err != 0)
        explain(r, why, sizeof why);
    settle(q, gone, "not listed", word);
}

static void on_listed(void *arg, const struct aws_result *r)
{
    struct question *q = arg;
    struct agent *a = q->agent;
    if (r->err != 0 || !gone_by_ecs(r->body, a->identity.instance_arn))
        settle(q, false, r->err != 0 ? err_text(r->err) : "listed", "not asked");
    else if (a->aws == NULL || !describe(q, on_described))
        settle(q, false, "not listed", "not asked: stopping, or out of memory");
}

int gone_ask(void *arg, const char *id)
{
    struct agent *a = arg;
    char filter[2 * AGENT_ID_MAX + 40];
    struct aws_call_options options = {.priority = AWS_REPAIR};
    if (a->aws == NULL || strncmp(id, "i-", 2) != 0)
        return ERR_BADPARAM; /* nobody but EC2 can say so */
    struct question *q = question(a, id);
    if (q == NULL)
        return ERR_NOMEM;
    snprintf(filter, sizeof filter, "ec2InstanceId in [%s, %s]", id, a->identity.id);
    json_t *params = json_pack("{s:s, s:s}", "cluster", a->identity.cluster, "filter", filter);
    if (params != NULL && aws_list(a->aws, AWS_ECS, "ListContainerInstances",
                                   "containerInstanceArns", params, &options, on_listed, q) != NULL)
        return 0;
    free(q);
    return ERR_NOMEM;
}

/* ---- while all is well ----------------------------------------------------------------------- */

static void on_rehearsed(void *arg, const struct aws_result *r)
{
    struct question *q = arg;
    struct agent *a = q->agent;
    const char *word = "";
    char why[300] = "", before[sizeof a->no_proof];
    memcpy(before, a->no_proof, sizeof before);
    a->no_proof[0] = '\0';
    if (r->err != 0)
        explain(r, why, sizeof why);
    else if (gone_by_ec2(r->body, a->identity.id, a->identity.id, &word),
             strcmp(word, "running") != 0 && strcmp(word, "pending") != 0)
        snprintf(why, sizeof why, "EC2 gives %s", word);
    if (why[0] != '\0' && r->err != ERR_CANCELED) {
        snprintf(a->no_proof, sizeof a->no_proof,
                 "raft.auto_recover would not work: EC2 cannot be asked whether an instance is "
                 "gone: %s",
                 why);
        a->proof_due_ms = clock_mono_ms() + PROOF_AGAIN_MS;
        if (strcmp(before, a->no_proof) != 0)
            LOG_MSG(LOG_WARN, "no_proof", a->no_proof);
    }
    free(q);
}

void gone_tick(struct agent *a)
{
    uint64_t now_ms = clock_mono_ms();
    if (!a->config->raft_auto_recover || strcmp(a->config->role, "candidate") != 0 ||
        a->aws == NULL || a->raft == NULL || now_ms < a->proof_due_ms)
        return;
    a->proof_due_ms = now_ms + PROOF_EVERY_MS;
    if (strncmp(a->identity.id, "i-", 2) != 0) {
        snprintf(a->no_proof, sizeof a->no_proof,
                 "raft.auto_recover cannot work: this agent's id '%.60s' is no EC2 instance id, so "
                 "nobody can say whether it is gone",
                 a->identity.id);
        return;
    }
    struct question *q = question(a, a->identity.id);
    if (q != NULL && !describe(q, on_rehearsed))
        free(q);
}

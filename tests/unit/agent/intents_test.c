/* SPDX-License-Identifier: Apache-2.0
 * A backup that comes back, at the leader; the log and what else stands around agent/intents.c is
 * ours. */
#include <criterion/criterion.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/intents.h"

static struct agent agent;
static raft_uv_done_fn proposed[2];
static void *proposed_arg[2];
static unsigned proposals, ends;
static int end_err;
static char end_detail[256], end_says[32];

/* ---- what it stands on ------------------------------------------------------------------ */

int raft_uv_propose(struct raft_uv *r, const void *data, size_t len, raft_uv_done_fn done,
                    void *arg)
{
    (void)r, (void)data, (void)len;
    proposed[proposals] = done;
    proposed_arg[proposals++] = arg;
    return 0;
}

int raft_uv_barrier(struct raft_uv *r, raft_uv_done_fn done, void *arg)
{
    (void)r, (void)done, (void)arg;
    return ERR_NOTLEADER;
}

int raft_uv_recover(struct raft_uv *r, bool force, void (*done)(void *arg, int err), void *arg,
                    struct errmsg *e)
{
    (void)r, (void)force, (void)done, (void)arg, (void)e;
    return ERR_NOTREADY;
}

int raft_uv_rejoin(struct raft_uv *r, bool force, void (*done)(void *arg, int err), void *arg,
                   struct errmsg *e)
{
    (void)r, (void)force, (void)done, (void)arg, (void)e;
    return ERR_NOTREADY;
}

uint64_t raft_uv_cluster_id(const struct raft_uv *r)
{
    (void)r;
    return 1;
}

bool raft_uv_was(const struct raft_uv *r, uint64_t cluster_id)
{
    (void)r;
    return cluster_id == 1 || cluster_id == 0x7f;
}

void publish_dirty(struct agent *a, enum api_doc doc)
{
    (void)a, (void)doc;
}

const char *identity_cluster_name(const struct identity *i)
{
    (void)i;
    return "test";
}

/* ---- tests ------------------------------------------------------------------------------ */

static void on_end(void *arg, const struct intent_result *result)
{
    (void)arg;
    ends++;
    end_err = result->err;
    snprintf(end_detail, sizeof end_detail, "%s", result->detail);
    snprintf(end_says, sizeof end_says, "%s", json_str_or(result->body, "says", ""));
}

static void restore(void)
{
    json_t *command =
        json_pack("{s:s, s:b, s:[]}", "op", "intent.restore", "force", 1, "environments");
    cr_assert(intents_run(&agent, command, on_end, NULL));
    json_decref(command);
}

static void applied(uint64_t index, const char *says)
{
    json_t *body = json_pack("{s:s}", "says", says);
    intents_applied(&agent, index, &(struct intent_result){.body = body});
    json_decref(body);
}

static int restore_of(const char *name, const char *id)
{
    json_t *command = json_pack("{s:s, s:s, s:s, s:[]}", "op", "intent.restore", "clusterName",
                                name, "clusterId", id, "environments");
    unsigned before = proposals;
    end_err = 0;
    cr_assert(intents_run(&agent, command, on_end, NULL));
    json_decref(command);
    if (proposals > before) {
        applied(9, "");
        proposals = before;
        proposed[before](proposed_arg[before], 0, 9, 2);
    }
    return end_err;
}

/* After blox raft recover the last backup is of the former cluster. */
Test(intents, a_backup_of_this_cluster_or_of_what_it_was_before)
{
    cr_expect_eq(restore_of("test", "0000000000000001"), 0, "%s", end_detail);
    cr_expect_eq(restore_of("test", "000000000000007f"), 0, "%s", end_detail);
    cr_expect_eq(restore_of("test", "0000000000000002"), ERR_CONFLICT);
    cr_expect(strstr(end_detail, "--force") != NULL);
    cr_expect_eq(restore_of("other", "0000000000000001"), ERR_CONFLICT);
    cr_expect_eq(restore_of("test", ""), ERR_CONFLICT);
    cr_expect_eq(restore_of("test", "x"), ERR_CONFLICT);
}

/* Several entries are applied before anybody hears of the first. */
Test(intents, a_restore_gets_its_own_result_and_not_the_last)
{
    applied(4, "nobody waits");
    cr_expect(agent.restored == NULL);
    restore();
    restore();
    applied(5, "first");
    applied(6, "second");
    applied(7, "somebody else's");
    proposed[0](proposed_arg[0], 0, 5, 2);
    cr_expect_eq(end_err, 0, "%s", end_detail);
    cr_expect_str_eq(end_says, "first");
    proposed[1](proposed_arg[1], 0, 6, 2);
    cr_expect_str_eq(end_says, "second");
    cr_expect_eq(ends, 2);
    cr_expect(agent.restored == NULL);
}

Test(intents, a_restore_that_lost_its_leader_may_be_repeated)
{
    restore();
    applied(5, "of another leader");
    proposed[0](proposed_arg[0], ERR_NOTLEADER, 0, 0);
    cr_expect_eq(end_err, ERR_NOTLEADER);
    cr_expect(strstr(end_detail, "restore the same file again") != NULL);
    cr_expect(agent.restored == NULL && agent.restoring == 0);
}

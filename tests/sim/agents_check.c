/* SPDX-License-Identifier: Apache-2.0
 * What must hold, judged from outside: by what is on disks, what ECS saw, what users were told. */
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/hash.h"
#include "agent/base/row.h"
#include "tests/sim/cloud.h"
#include "tests/sim/users.h"

#define TERMS 4096u
#define INDEXES 65536u
#define SETTLE_US 10000000u /* the scheduler's window: ECS's lists lag by less */

static struct {
    uint32_t leader_of[TERMS]; /* num + 1 */
    uint64_t applied_term[INDEXES];
    struct {
        uint64_t index, term, sum;
    } entries[INDEXES];
} seen;

/* ---- raft, by what is on disks ---------------------------------------------------- */

void check_entry(const struct node *n, uint64_t index, uint64_t term, uint64_t sum)
{
    uint64_t at = hash_mix(index * 0x9e3779b97f4a7c15u + term);
    for (;; at++) {
        uint64_t k = at % INDEXES;
        if (seen.entries[k].index == 0) {
            seen.entries[k].index = index;
            seen.entries[k].term = term;
            seen.entries[k].sum = sum;
            return;
        }
        if (seen.entries[k].index != index || seen.entries[k].term != term)
            continue;
        if (seen.entries[k].sum != sum)
            world_fail("log matching: %s differs at index %lu term %lu", n->id, index, term);
        return;
    }
}

void check_applied(const struct node *n, uint64_t index, uint64_t term)
{
    if (index >= INDEXES)
        return;
    if (seen.applied_term[index] == 0)
        seen.applied_term[index] = term;
    if (seen.applied_term[index] != term)
        world_fail("%s applied index %lu of term %lu, others of term %lu", n->id, index, term,
                   seen.applied_term[index]);
}

/* ---- after every event ------------------------------------------------------------ */

bool node_leads(struct node *n)
{
    if (!n->exists || !n->up || n->agent == NULL || n->agent->raft == NULL)
        return false;
    world.current = n;
    bool may = raft_uv_may_act(n->agent->raft);
    world.current = NULL;
    return may;
}

void check_step(void)
{
    const struct node *holder = NULL;
    for (uint32_t i = 0; i < world.node_count; i++) {
        struct node *n = &world.nodes[i];
        if (!n->exists || !n->up || n->agent == NULL || n->agent->role != RAFT_UV_LEADER)
            continue;
        uint64_t term = n->agent->term % TERMS;
        if (seen.leader_of[term] != 0 && seen.leader_of[term] != i + 1)
            world_fail("two leaders in term %lu: %s and %s", term,
                       world.nodes[seen.leader_of[term] - 1].id, n->id);
        seen.leader_of[term] = i + 1;
        if (!node_leads(n))
            continue;
        if (holder != NULL)
            world_fail("%s and %s both hold the lease", holder->id, n->id);
        holder = n;
    }
}

void check_acts(const struct node *n, const char *operation)
{
    if (n->agent == NULL || n->agent->raft == NULL || !raft_uv_may_act(n->agent->raft))
        world_fail("%s calls %s without the lease", n->id, operation);
}

static bool is_live(const struct cloud_resource *r)
{
    return strcmp(cloud_status(r), "STOPPED") != 0;
}

/* Two at a time are excluded, but for what no leader can know: what another leader, cut off from
 * it, started so little time ago that ECS's lists need not show it. The duplicate is stopped then;
 * that only one is left is looked at in the end. */
void check_started(const struct cloud_resource *task)
{
    for (size_t i = 0; i < cloud.count; i++) {
        const struct cloud_resource *r = cloud.all[i];
        if (r == task || !r->is_task || r->instance != task->instance || !is_live(r) ||
            strcmp(r->group, task->group) != 0)
            continue;
        uint64_t age_us = world.now_us - r->versions[0].at_us;
        if (r->term != task->term && age_us < SETTLE_US) {
            world.doubles++;
            continue;
        }
        world_fail("%s: a second task of %s starts, while %s of %.1f s ago is %s (desired %s)",
                   task->instance->node->id, task->group, r->arn + strlen(r->arn) - 4,
                   (double)age_us / 1e6, cloud_status(r), cloud_desired(r));
    }
}

/* ---- at rest ---------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2))) static bool not_yet(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(world.why, sizeof world.why, format, args);
    va_end(args);
    return false;
}

static bool agrees_on_leader(const struct node *n, const struct node **leader)
{
    const struct agent *a = n->agent;
    if (a == NULL || a->raft == NULL || a->gossip == NULL)
        return not_yet("%s is not up", n->id);
    if (a->role == RAFT_UV_LEADER) {
        if (*leader != NULL)
            return not_yet("%s and %s lead", n->id, (*leader)->id);
        *leader = n;
    }
    return a->leader != 0 || not_yet("%s knows no leader", n->id);
}

static bool row_matches(const struct node *n, struct store_txn *txn, const struct cloud_resource *r)
{
    struct store_row row;
    struct row fields;
    bool over = strcmp(cloud_status(r), r->is_task ? "STOPPED" : "INACTIVE") == 0;
    uint8_t kind = r->is_task ? RECORD_TASK : RECORD_INSTANCE;
    int err = store_get_ref(txn, kind, r->arn, strlen(r->arn), &row);
    bool there = err == 0 && !row.record.deleted;
    if (!there)
        return over || not_yet("%s has no row of %s (%s)", n->id, r->arn, cloud_status(r));
    if (row_decode(row.record.value, row.record.value_len, &fields) != 0 ||
        !row_field_is(&fields, ROW_STATUS, cloud_status(r)))
        return not_yet("%s has version %lu of %s, which is %s", n->id, row.record.version.hi,
                       r->arn, cloud_status(r));
    return over || row.record.version.hi == r->count ||
           not_yet("%s has version %lu of %s, there are %zu", n->id, row.record.version.hi, r->arn,
                   r->count);
}

static int is_attempt(void *arg, const struct store_row *row)
{
    (void)row;
    *(bool *)arg = true;
    return 1;
}

static bool rows_match(const struct node *n)
{
    struct store_txn *txn;
    bool attempt = false;
    if (store_read_begin(disk_reader(n->disk), &txn) != 0)
        return false;
    for (size_t i = 0; i < cloud.count; i++) {
        if (!row_matches(n, txn, cloud.all[i]))
            return false;
    }
    struct store_query query = {.kind = RECORD_ATTEMPT};
    if (store_scan(txn, &query, is_attempt, &attempt) != 0 || attempt)
        return not_yet("%s has an open attempt", n->id);
    return true;
}

static bool intent_matches(const struct node *n, const struct user *u)
{
    struct store_txn *txn;
    struct store_row row;
    struct row fields;
    if (store_read_begin(disk_reader(n->disk), &txn) != 0)
        return false;
    int err = store_get_ref(txn, RECORD_ENVIRONMENT, u->name, strlen(u->name), &row);
    if (err != 0 || row.record.deleted)
        return !u->exists || not_yet("%s has no row of environment %s", n->id, u->name);
    if (!u->exists)
        return not_yet("%s has a row of environment %s, which is deleted", n->id, u->name);
    if (row_decode(row.record.value, row.record.value_len, &fields) != 0)
        return not_yet("%s cannot read environment %s", n->id, u->name);
    json_t *j = json_parse(fields.json.data, fields.json.len, NULL);
    const char *definition = json_str_or(j, "taskDefinition", ":0");
    int64_t number = strtol(strrchr(definition, ':') + 1, NULL, 10);
    bool same =
        strcmp(json_str_or(j, "activeDeployment", ""), u->deployed ? u->deployment : "") == 0;
    json_decref(j);
    if (number != u->number || !same)
        return not_yet("%s has revision %ld of environment %s, acknowledged is %ld%s", n->id,
                       number, u->name, u->number, same ? "" : ", of another deployment");
    return true;
}

static bool tasks_match(const struct node *n, const struct user *u)
{
    char group[32];
    unsigned live = 0;
    bool matches = u->zone == 0 || n->num % 3 == (uint32_t)(u->zone - 'a');
    unsigned wanted = n->exists && u->exists && u->deployed && matches ? 1 : 0;
    snprintf(group, sizeof group, "daemon:%s", u->name);
    for (size_t i = 0; i < cloud.count; i++) {
        const struct cloud_resource *r = cloud.all[i];
        if (!r->is_task || r->instance->node != n || strcmp(r->group, group) != 0 || !is_live(r))
            continue;
        if (strcmp(r->started_by, u->deployment) != 0)
            return not_yet("%s on %s is of a former deployment", r->arn, n->id);
        if (strcmp(cloud_status(r), "RUNNING") != 0 || strcmp(cloud_desired(r), "RUNNING") != 0)
            return not_yet("%s on %s does not run", r->arn, n->id);
        live++;
    }
    return live == wanted ||
           not_yet("%u tasks of %s on %s, wanted are %u", live, u->name, n->id, wanted);
}

bool check_converged(void)
{
    const struct node *leader = NULL;
    if (!users_are_quiet())
        return not_yet("a user still waits for an answer");
    for (uint32_t i = 0; i < world.node_count; i++) {
        const struct node *n = &world.nodes[i];
        for (size_t k = 0; k < USERS; k++) {
            if (!tasks_match(n, &users[k]) || (n->exists && !intent_matches(n, &users[k])))
                return false;
        }
        if (n->exists && (!agrees_on_leader(n, &leader) || !rows_match(n)))
            return false;
    }
    return leader != NULL || not_yet("nobody leads");
}

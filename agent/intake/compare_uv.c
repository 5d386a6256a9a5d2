/* SPDX-License-Identifier: Apache-2.0
 * One cluster against ECS: ListContainerInstances -> ListTasks RUNNING -> Describe all in hundreds
 * -> ListTasks STOPPED -> Describe. Of STOPPED ones there are thousands for an hour after a
 * rollout, which say nothing new but where a task is still stopping that we never heard of, or has
 * stopped unheard: only what we do not hold as ended is described. It asks when it has its turn
 * (reconcile_uv.c), and takes answers whenever they come. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/intake/reconcile.h"

/* Work of one turn of the loop: a probe's ack does not wait longer than that. */
#define TAKE_SLICE 4000
#define CHECK_SLICE 500

struct compare *compare_new(struct reconcile *rc, const char *cluster, enum round_stage stage)
{
    struct compare *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->run = rc;
    snprintf(c->cluster, sizeof c->cluster, "%s", cluster);
    c->step = stage == ROUND_NOTHING ? COMPARE_INSTANCES : COMPARE_STOPPED;
    c->arns = json_array();
    for (size_t i = 0; i < DESCRIBES_MAX; i++)
        c->slots[i].compare = c;
    return c;
}

void compare_free(struct compare *c)
{
    json_decref(c->arns);
    json_decref(c->listing);
    free(c);
}

static bool calls(const struct compare *c)
{
    return c->list_call != NULL || c->in_flight > 0;
}

static bool failed(const struct compare *c)
{
    return c->run->err != 0 || c->refusal != 0;
}

bool compare_is_open(const struct compare *c)
{
    return calls(c) || (c->listing != NULL && !failed(c));
}

static bool describes(const struct compare *c)
{
    return c->step == COMPARE_DESCRIBE || c->step == COMPARE_DESCRIBE_STOPPED;
}

static struct slot *free_slot(struct compare *c)
{
    for (size_t i = 0; i < DESCRIBES_MAX; i++) {
        if (!c->slots[i].busy)
            return &c->slots[i];
    }
    return NULL;
}

bool compare_can_ask(const struct compare *c)
{
    if (failed(c) || c->over || c->listing != NULL || c->list_call != NULL)
        return false;
    if (describes(c))
        return c->arn_at < json_array_size(c->arns) && c->in_flight < DESCRIBES_MAX;
    return c->in_flight == 0 && c->step != COMPARE_RUNNING && c->step != COMPARE_KNOWN;
}

void compare_settle(struct compare *c)
{
    if (describes(c) && !failed(c) && !calls(c) && c->arn_at == json_array_size(c->arns)) {
        json_array_clear(c->arns);
        c->arn_at = c->instances = 0;
        c->step++; /* RUNNING; KNOWN */
    }
}

void compare_cancel(struct compare *c)
{
    if (c->list_call != NULL)
        aws_cancel(c->list_call);
    for (size_t i = 0; i < DESCRIBES_MAX; i++) {
        if (c->slots[i].call != NULL)
            aws_cancel(c->slots[i].call);
    }
}

/* True if the answer belongs to this leadership and the cluster goes on. */
static bool usable(struct compare *c, const struct aws_result *r, const char *what)
{
    if (c->run->stopped)
        return false;
    if (r->err != 0 && !failed(c)) {
        c->refusal = r->err;
        reconcile_note(c->run, what, c->cluster, r);
    }
    return !failed(c);
}

/* ---- lists ----------------------------------------------------------------------------- */

/* A task that was listed as RUNNING and is listed as STOPPED now is asked for again. */
static void *mark_of(struct compare *c)
{
    return c->step == COMPARE_STOPPED ? (void *)&c->run->asked_again : c->run;
}

static bool is_asked_for(struct compare *c, const char *arn)
{
    const void *mark = map_get(&c->run->seen, arn);
    return mark == mark_of(c) || mark == &c->run->asked_again;
}

/* Is it to be described, as far as the store knows? txn NULL: yes. */
static bool asks_for(const struct compare *c, struct store_txn *txn, const char *arn)
{
    if (txn == NULL)
        return true;
    if (c->step == COMPARE_STOPPED)
        return !lately_is_over(txn, arn);
    const struct intake_options *o = &c->run->intake->options;
    if (o->in_doubt != NULL && o->in_doubt(o->arg, arn))
        return true;
    return !lately_is_told(txn, c->step == COMPARE_INSTANCES ? RECORD_INSTANCE : RECORD_TASK, arn,
                           c->run->started_unix_ms);
}

static void list_taken(struct compare *c)
{
    json_decref(c->listing);
    c->listing = NULL;
    if (c->step == COMPARE_INSTANCES)
        c->instances = json_array_size(c->arns);
    c->step++; /* INSTANCES, TASKS, DESCRIBE; STOPPED, DESCRIBE_STOPPED */
}

void compare_take_slice(struct compare *c)
{
    struct reconcile *rc = c->run;
    size_t size = json_array_size(c->listing);
    struct store_txn *txn = NULL;
    bool looks = rc->resumes || c->step == COMPARE_STOPPED;
    size_t slice = looks ? CHECK_SLICE : TAKE_SLICE;
    if (c->listing == NULL || failed(c))
        return;
    if (looks && store_read_begin(rc->intake->options.store, &txn) != 0)
        txn = NULL;
    for (size_t n = 0; n < slice && c->listing_at < size; n++) {
        json_t *arn = json_array_get(c->listing, c->listing_at++);
        const char *text = json_string_value(arn);
        if (text == NULL || strlen(text) > RECORD_KEY_MAX || is_asked_for(c, text))
            continue;
        bool asks = asks_for(c, txn, text);
        rc->listed++;
        if (map_put(&rc->seen, text, mark_of(c), NULL) != 0 ||
            (asks && json_array_append(c->arns, arn) != 0)) {
            reconcile_fail(rc, ERR_NOMEM, "this agent");
            break;
        }
    }
    if (txn != NULL)
        store_read_end(txn);
    if (rc->err == 0 && c->listing_at == size)
        list_taken(c);
}

static void on_listed(void *arg, const struct aws_result *r)
{
    struct compare *c = arg;
    struct reconcile *rc = c->run;
    c->list_call = NULL;
    if (rc->stopped || failed(c)) {
        /* nobody asks any more */
    } else if (strcmp(r->code, "ClusterNotFoundException") == 0) {
        c->over = true;
        if (map_put(&rc->clusters.compared, c->cluster, rc, NULL) != 0) /* nothing is there */
            reconcile_fail(rc, ERR_NOMEM, "this agent");
    } else if (clusters_leave(&rc->clusters, c->cluster, r)) {
        c->over = true;
    } else if (usable(c, r, "list")) {
        const char *key = c->step == COMPARE_INSTANCES ? "containerInstanceArns" : "taskArns";
        c->listing = json_incref(json_arr(r->body, key));
        c->listing_at = 0;
    }
    reconcile_answered(rc);
}

static void list(struct compare *c)
{
    struct intake *in = c->run->intake;
    struct aws_call_options options = reconcile_small_call(in);
    bool tasks = c->step != COMPARE_INSTANCES;
    json_t *params = json_pack("{s:s}", "cluster", c->cluster);
    if (tasks)
        json_set_str(params, "desiredStatus", c->step == COMPARE_TASKS ? "RUNNING" : "STOPPED");
    c->list_call =
        aws_list(in->options.aws, AWS_ECS, tasks ? "ListTasks" : "ListContainerInstances",
                 tasks ? "taskArns" : "containerInstanceArns", params, &options, on_listed, c);
    if (c->list_call == NULL)
        reconcile_fail(c->run, ERR_NOMEM, "this agent");
    else
        in->calls_open++;
}

/* ---- describe --------------------------------------------------------------------------- */

static void slot_free(struct slot *slot)
{
    json_decref(slot->arns);
    slot->arns = NULL;
    slot->busy = false;
    slot->compare->in_flight--;
}

static void on_applied(void *arg, int err, const struct record *records,
                       const struct store_change *changes, size_t count)
{
    struct slot *slot = arg;
    struct reconcile *rc = slot->compare->run;
    for (size_t i = 0; err == 0 && i < count; i++)
        rc->corrected += changes[i].applied;
    if (err == 0)
        refresh_count_drift(rc->intake, records, changes, count);
    slot_free(slot);
    if (err != 0)
        reconcile_fail(rc, err, "the store refuses rows");
    reconcile_answered(rc);
}

static void on_described(void *arg, const struct aws_result *r)
{
    struct slot *slot = arg;
    struct compare *c = slot->compare;
    struct reconcile *rc = c->run;
    size_t news = 0;
    slot->call = NULL;
    if (!rc->stopped && !failed(c) && clusters_leave(&rc->clusters, c->cluster, r)) {
        c->over = true;
    } else if (usable(c, r, "describe")) {
        int err =
            refresh_take(rc->intake, c->cluster, r->tape, slot->arns, on_applied, slot, &news);
        if (err != 0)
            reconcile_fail(rc, err, "the store refuses rows");
    }
    if (news > 0) {
        intake_call_ended(rc->intake); /* the slot stays busy until its rows are committed */
        return;
    }
    slot_free(slot);
    reconcile_answered(rc);
}

static void describe_some(struct compare *c, struct slot *slot)
{
    struct intake *in = c->run->intake;
    struct aws_call_options options = {.priority = AWS_RESYNC, .tape = true};
    bool tasks = c->arn_at >= c->instances;
    size_t end = tasks ? json_array_size(c->arns) : c->instances;
    json_t *arns = json_array();
    for (size_t n = 0; n < ECS_DESCRIBE_BATCH && c->arn_at < end; n++)
        json_array_append(arns, json_array_get(c->arns, c->arn_at++));
    c->run->described += json_array_size(arns);
    json_t *params = json_pack("{s:s, s:o}", "cluster", c->cluster,
                               tasks ? "tasks" : "containerInstances", json_incref(arns));
    slot->call = params == NULL ? NULL
                                : aws_call(in->options.aws, AWS_ECS,
                                           tasks ? "DescribeTasks" : "DescribeContainerInstances",
                                           params, &options, on_described, slot);
    if (slot->call == NULL) {
        json_decref(arns);
        reconcile_fail(c->run, ERR_NOMEM, "this agent");
        return;
    }
    slot->arns = arns;
    slot->busy = true;
    c->in_flight++;
    in->calls_open++;
}

void compare_ask(struct compare *c)
{
    while (compare_can_ask(c)) {
        if (describes(c))
            describe_some(c, free_slot(c));
        else
            list(c);
    }
}

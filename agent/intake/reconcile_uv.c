/* SPDX-License-Identifier: Apache-2.0
 * Everything against ECS, at the start of each leadership and periodically: list what ECS has,
 * describe it, and look again at what only we have. Paced by the client's read budget at the
 * lowest priority; the API reads the store meanwhile.
 *
 * The clusters' names are resolved to ARNs first (clusters.c). The first run of a leadership
 * resumes what the last leader had begun: it does not ask again for rows that ECS has told of
 * within a quarter of a minute. Per cluster: ListContainerInstances -> ListTasks RUNNING ->
 * Describe all in hundreds. Then our live rows that were not listed anywhere go to refresh (stopped
 * meanwhile, or MISSING: tombstone). The state is whole when all of those rows are committed.
 *
 * What ECS lists as STOPPED comes after that: thousands for an hour after a rollout, which say
 * nothing new but where a task is still stopping that we never heard of, or has stopped unheard.
 * So only what we do not hold as ended is described, and was not refreshed anyhow. The scheduler
 * waits for it: it takes what is absent then for absent in ECS, and starts nothing beside a task
 * that is stopping. If this part fails, it alone is done again. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/intake/intake_int.h"

#define EVERY_MS 600000
#define RETRY_MS 2000
#define RETRY_MAX_MS 60000
/* Work of one turn of the loop: a probe's ack does not wait longer than that. */
#define TAKE_SLICE 4000
#define CHECK_SLICE 500
/* Names and lists are small and come at once, or were lost: a leader's first run, which all else
 * waits for, asks again soon. After a failure they get the client's usual time. */
#define SMALL_CALL_MS 3000
#define LATELY_MS 15000 /* 5,000 instances and 5,000 tasks take ten seconds */

enum step {
    LIST_CLUSTERS,
    RESOLVE,
    LIST_INSTANCES,
    LIST_RUNNING,
    DESCRIBE,
    CHECK_INSTANCES,
    CHECK_TASKS,
    WHOLE,
    LIST_STOPPED,
    DESCRIBE_STOPPED,
    DONE
};

/* A describe under way, then its rows. */
struct slot {
    struct reconcile *reconcile;
    struct aws_call *call;
    json_t *arns; /* asked for */
    bool busy;
};

struct reconcile {
    struct intake *intake;
    enum step step;
    struct clusters clusters;
    size_t cluster_at;
    struct map seen; /* ARNs that ECS listed, of all clusters, or that were refreshed: mark_of */
    json_t *arns;    /* of this cluster, to describe: instances, then tasks */
    size_t arn_at;
    size_t instances; /* of arns, how many are instances */
    json_t *listing;  /* a list's answer, taken in slices */
    size_t listing_at;
    struct slot slots[DESCRIBES_MAX];
    unsigned in_flight; /* busy slots */
    int err;
    char why[200];
    struct aws_call *list_call;
    struct leftover leftover;
    int64_t started_unix_ms;
    size_t listed, described, corrected;
    bool resumes;
    bool whole;   /* what is stopped is left */
    bool stopped; /* leadership went: free when the last answer came */
};

static void advance(struct reconcile *rc);
/* A whole run, or what is left of the one before. */
static void begin(struct intake *in, bool only_stopped);

static void reconcile_free(struct reconcile *rc)
{
    map_fini(&rc->seen);
    clusters_fini(&rc->clusters);
    json_decref(rc->arns);
    json_decref(rc->listing);
    free(rc);
}

static const char *cluster_of(const struct reconcile *rc)
{
    return clusters_at(&rc->clusters, rc->cluster_at);
}

/* The timer serves the pause between two runs and the slices within one. */
static void on_timer(uv_timer_t *timer)
{
    struct intake *in = timer->data;
    if (in->reconcile != NULL)
        advance(in->reconcile);
    else
        begin(in, in->stopped_due);
}

/* In another turn of the loop. Not with 0: libuv before 1.45 would go through all slices in this
 * one, and nobody's packets would be read meanwhile. */
static void go_on_soon(struct reconcile *rc)
{
    uv_timer_start(&rc->intake->reconcile_timer, on_timer, 1, 0);
}

static void log_end(const struct reconcile *rc, const char *event)
{
    LOG(LOG_INFO, event, rc->clusters.partly, LU("listed", rc->listed),
        LU("described", rc->described), LU("corrected", rc->corrected),
        LI("ms", clock_unix_ms() - rc->started_unix_ms));
}

/* The caller's last step: what is told may end this leadership. */
static void become_whole(struct reconcile *rc)
{
    struct intake *in = rc->intake;
    in->reconciled = true;
    in->described = (int64_t)rc->described;
    in->reconcile_ok_unix_ms = clock_unix_ms();
    snprintf(in->reconcile_trouble, sizeof in->reconcile_trouble, "%s", rc->clusters.partly);
    log_end(rc, "reconciled");
    rc->whole = in->stopped_due = true;
    rc->cluster_at = 0;
    rc->listed = rc->described = rc->corrected = 0;
    rc->step = LIST_STOPPED;
    go_on_soon(rc);
    if (in->options.on_reconciled != NULL)
        in->options.on_reconciled(in->options.arg, 0);
}

static void finish(struct reconcile *rc)
{
    struct intake *in = rc->intake;
    int err = rc->err;
    bool whole = rc->whole;
    in->reconcile = NULL;
    uint64_t every = in->options.reconcile_ms == 0 ? EVERY_MS : in->options.reconcile_ms;
    if (err == 0) {
        in->reconcile_failures = 0;
        in->stopped_due = false;
        in->all_known = true;
        snprintf(in->reconcile_trouble, sizeof in->reconcile_trouble, "%s", rc->clusters.partly);
        log_end(rc, "reconciled_stopped");
    } else {
        unsigned shift = in->reconcile_failures < 5 ? in->reconcile_failures : 5;
        uint64_t retry = (uint64_t)RETRY_MS << shift;
        in->reconcile_failures++;
        every = retry < RETRY_MAX_MS ? retry : RETRY_MAX_MS;
        snprintf(in->reconcile_trouble, sizeof in->reconcile_trouble, "cannot compare with ECS: %s",
                 rc->why);
        LOG(LOG_WARN, "reconcile_failed", rc->why, LU("retry_ms", every));
    }
    reconcile_free(rc);
    malloc_trim(0); /* its answers were megabytes, and the heap would keep what they took */
    if (in->reconcile_again) {
        every = 0;
        in->stopped_due = false;
    }
    in->reconcile_again = false;
    uv_timer_start(&in->reconcile_timer, on_timer, every + prng_below(&in->prng, every / 16 + 1),
                   0);
    if (err == 0 && in->options.on_all_known != NULL)
        in->options.on_all_known(in->options.arg);
    else if (err != 0 && !whole && in->options.on_reconciled != NULL)
        in->options.on_reconciled(in->options.arg, err);
}

/* True if the answer belongs to this leadership and the run goes on. */
static bool usable(struct reconcile *rc, const struct aws_result *r, const char *what)
{
    if (rc->stopped)
        return false;
    if (r->err != 0 && rc->err == 0) {
        rc->err = r->err;
        snprintf(rc->why, sizeof rc->why, "%s: %s %s", what,
                 r->code[0] == '\0' ? err_text(r->err) : r->code, r->message);
    }
    return rc->err == 0;
}

/* After every answer: go on, end with the error, or let go of a stopped run. */
static void answered(struct reconcile *rc)
{
    struct intake *in = rc->intake;
    if (!rc->stopped)
        advance(rc);
    else if (rc->in_flight == 0 && rc->list_call == NULL)
        reconcile_free(rc);
    intake_call_ended(in);
}

static void fail(struct reconcile *rc, int err, const char *what)
{
    if (rc->err != 0)
        return;
    rc->err = err;
    snprintf(rc->why, sizeof rc->why, "%s: %s", what, err_text(err));
}

/* ---- which clusters (clusters.c) ----------------------------------------------------------- */

static enum step first_list(const struct reconcile *rc)
{
    return rc->whole ? LIST_STOPPED : LIST_INSTANCES;
}

static void on_resolved(void *arg, const struct aws_result *r)
{
    struct reconcile *rc = arg;
    rc->list_call = NULL;
    if (rc->stopped || !clusters_refused(&rc->clusters, r)) {
        if (usable(rc, r, "DescribeClusters"))
            clusters_take(&rc->clusters, r->body);
    }
    answered(rc);
}

static struct aws_call_options small_call(const struct intake *in)
{
    bool soon = !in->all_known && in->reconcile_failures == 0;
    return (struct aws_call_options){.priority = AWS_RESYNC,
                                     .timeout_ms = soon ? SMALL_CALL_MS : 0};
}

/* Asks for what is left to resolve; if that is nothing, the lists begin. */
static void resolve(struct reconcile *rc)
{
    struct intake *in = rc->intake;
    struct aws_call_options options = small_call(in);
    json_t *names = clusters_question(&rc->clusters);
    if (names == NULL && clusters_at(&rc->clusters, 0) == NULL) {
        rc->err = ERR_NOTFOUND;
        snprintf(rc->why, sizeof rc->why, "%s",
                 rc->clusters.partly[0] == '\0' ? "DescribeClusters shows no cluster"
                                                : rc->clusters.partly);
        return;
    }
    if (names == NULL) {
        rc->step = first_list(rc);
        go_on_soon(rc);
        return;
    }
    rc->list_call = aws_call(in->options.aws, AWS_ECS, "DescribeClusters",
                             json_pack("{s:o}", "clusters", names), &options, on_resolved, rc);
    if (rc->list_call == NULL)
        fail(rc, ERR_NOMEM, "this agent");
    else
        in->calls_open++;
}

/* ---- lists ----------------------------------------------------------------------------- */

static void next_cluster(struct reconcile *rc)
{
    rc->cluster_at++;
    json_array_clear(rc->arns);
    rc->arn_at = 0;
    rc->instances = 0;
    rc->step = first_list(rc);
}

static void list_taken(struct reconcile *rc)
{
    json_decref(rc->listing);
    rc->listing = NULL;
    if (rc->step == LIST_INSTANCES)
        rc->instances = json_array_size(rc->arns);
    rc->step++; /* INSTANCES, RUNNING, DESCRIBE; STOPPED, DESCRIBE_STOPPED */
}

/* By the clock of who took it in, and by our own: a row may have come late, or from a wrong one. */
static bool told_lately(const struct reconcile *rc, struct store_txn *txn, const char *arn)
{
    struct store_row row;
    uint8_t kind = rc->step == LIST_INSTANCES ? RECORD_INSTANCE : RECORD_TASK;
    if (store_get_ref(txn, kind, arn, strlen(arn), &row) != 0 || row.record.deleted)
        return false;
    int64_t seen_ms = rc->started_unix_ms - row.record.observed_unix_ms;
    int64_t stored_ms = rc->started_unix_ms - row.stored_unix_ms;
    return seen_ms >= 0 && seen_ms < LATELY_MS && stored_ms >= 0 && stored_ms < LATELY_MS;
}

/* A task that was listed as RUNNING and is listed as STOPPED now is asked for again. */
static void *mark_of(struct reconcile *rc)
{
    return rc->whole ? (void *)&rc->whole : rc;
}

static bool is_asked_for(struct reconcile *rc, const char *arn)
{
    const void *mark = map_get(&rc->seen, arn);
    return mark == mark_of(rc) || mark == &rc->whole;
}

/* ECS shows it for an hour and will say nothing else of it. */
static bool is_over_here(struct store_txn *txn, const char *arn)
{
    struct store_row row;
    return store_get_ref(txn, RECORD_TASK, arn, strlen(arn), &row) == 0 && !row.record.deleted &&
           intake_is_over(&row.record);
}

/* A slice of what was listed. */
static void take_listing(struct reconcile *rc)
{
    size_t size = json_array_size(rc->listing);
    struct store_txn *txn = NULL;
    bool looks = rc->resumes || rc->whole;
    size_t slice = looks ? CHECK_SLICE : TAKE_SLICE;
    if (looks && store_read_begin(rc->intake->options.store, &txn) != 0)
        txn = NULL;
    for (size_t n = 0; n < slice && rc->listing_at < size; n++) {
        json_t *arn = json_array_get(rc->listing, rc->listing_at++);
        const char *text = json_string_value(arn);
        if (text == NULL || strlen(text) > RECORD_KEY_MAX || is_asked_for(rc, text))
            continue;
        bool asks =
            txn == NULL || !(rc->whole ? is_over_here(txn, text) : told_lately(rc, txn, text));
        rc->listed++;
        if (map_put(&rc->seen, text, mark_of(rc), NULL) != 0 ||
            (asks && json_array_append(rc->arns, arn) != 0)) {
            fail(rc, ERR_NOMEM, "this agent");
            break;
        }
    }
    if (txn != NULL)
        store_read_end(txn);
    if (rc->err != 0)
        return;
    if (rc->listing_at == size)
        list_taken(rc);
    go_on_soon(rc);
}

static void on_listed(void *arg, const struct aws_result *r)
{
    struct reconcile *rc = arg;
    rc->list_call = NULL;
    if (!rc->stopped && rc->step != LIST_CLUSTERS &&
        (strcmp(r->code, "ClusterNotFoundException") == 0 || /* its rows are found by the checks */
         clusters_leave(&rc->clusters, cluster_of(rc), r))) {
        next_cluster(rc);
    } else if (usable(rc, r, rc->step == LIST_CLUSTERS ? "ListClusters" : "list") &&
               rc->step == LIST_CLUSTERS) {
        clusters_take_list(&rc->clusters, json_arr(r->body, "clusterArns"));
        rc->step = first_list(rc);
    } else if (rc->err == 0 && !rc->stopped) {
        const char *key = rc->step == LIST_INSTANCES ? "containerInstanceArns" : "taskArns";
        rc->listing = json_incref(json_arr(r->body, key));
        rc->listing_at = 0;
    }
    answered(rc);
}

static void list(struct reconcile *rc, const char *operation, const char *key, json_t *params)
{
    struct intake *in = rc->intake;
    struct aws_call_options options = small_call(in);
    rc->list_call =
        aws_list(in->options.aws, AWS_ECS, operation, key, params, &options, on_listed, rc);
    if (rc->list_call == NULL)
        fail(rc, ERR_NOMEM, "this agent");
    else
        in->calls_open++;
}

static void list_tasks(struct reconcile *rc, const char *desired)
{
    list(rc, "ListTasks", "taskArns",
         json_pack("{s:s, s:s}", "cluster", cluster_of(rc), "desiredStatus", desired));
}

/* ---- describe --------------------------------------------------------------------------- */

static void slot_free(struct slot *slot)
{
    json_decref(slot->arns);
    slot->arns = NULL;
    slot->busy = false;
    slot->reconcile->in_flight--;
}

static void on_applied(void *arg, int err, const struct record *records,
                       const struct store_change *changes, size_t count)
{
    struct slot *slot = arg;
    struct reconcile *rc = slot->reconcile;
    for (size_t i = 0; err == 0 && i < count; i++)
        rc->corrected += changes[i].applied;
    if (err == 0)
        refresh_count_drift(rc->intake, records, changes, count);
    slot_free(slot);
    if (err != 0)
        fail(rc, err, "the store refuses rows");
    answered(rc);
}

static void on_described(void *arg, const struct aws_result *r)
{
    struct slot *slot = arg;
    struct reconcile *rc = slot->reconcile;
    size_t news = 0;
    slot->call = NULL;
    if (!rc->stopped && clusters_leave(&rc->clusters, cluster_of(rc), r)) {
        rc->arn_at = json_array_size(rc->arns);
    } else if (usable(rc, r, "describe")) {
        int err =
            refresh_take(rc->intake, cluster_of(rc), r->tape, slot->arns, on_applied, slot, &news);
        if (err != 0)
            fail(rc, err, "the store refuses rows");
    }
    if (news > 0) {
        intake_call_ended(rc->intake); /* the slot stays busy until its rows are committed */
        return;
    }
    slot_free(slot);
    answered(rc);
}

static struct slot *free_slot(struct reconcile *rc)
{
    for (size_t i = 0; i < DESCRIBES_MAX; i++) {
        if (!rc->slots[i].busy)
            return &rc->slots[i];
    }
    return NULL;
}

static void describe_some(struct reconcile *rc, struct slot *slot)
{
    struct intake *in = rc->intake;
    struct aws_call_options options = {.priority = AWS_RESYNC, .tape = true};
    bool tasks = rc->arn_at >= rc->instances;
    size_t end = tasks ? json_array_size(rc->arns) : rc->instances;
    json_t *arns = json_array();
    for (size_t n = 0; n < ECS_DESCRIBE_BATCH && rc->arn_at < end; n++)
        json_array_append(arns, json_array_get(rc->arns, rc->arn_at++));
    rc->described += json_array_size(arns);
    json_t *params = json_pack("{s:s, s:o}", "cluster", cluster_of(rc),
                               tasks ? "tasks" : "containerInstances", json_incref(arns));
    slot->call = params == NULL ? NULL
                                : aws_call(in->options.aws, AWS_ECS,
                                           tasks ? "DescribeTasks" : "DescribeContainerInstances",
                                           params, &options, on_described, slot);
    if (slot->call == NULL) {
        json_decref(arns);
        fail(rc, ERR_NOMEM, "this agent");
        return;
    }
    slot->arns = arns;
    slot->busy = true;
    rc->in_flight++;
    in->calls_open++;
}

/* ---- what only we have (leftover.c) --------------------------------------------------------- */

static void check_some(struct reconcile *rc)
{
    bool more = false;
    uint8_t kind = rc->step == CHECK_INSTANCES ? RECORD_INSTANCE : RECORD_TASK;
    int err = leftover_look(&rc->leftover, kind, &more);
    if (err != 0)
        fail(rc, err, "the store cannot be read");
    if (!more)
        rc->step++; /* INSTANCES, TASKS, WHOLE */
    go_on_soon(rc);
}

/* ---- the run -------------------------------------------------------------------------------- */

static void describe_next(struct reconcile *rc)
{
    struct slot *slot;
    while (rc->err == 0 && rc->arn_at < json_array_size(rc->arns) && (slot = free_slot(rc)) != NULL)
        describe_some(rc, slot);
    if (rc->err == 0 && rc->in_flight == 0)
        next_cluster(rc);
}

static void perform(struct reconcile *rc)
{
    switch (rc->step) {
    case LIST_CLUSTERS:
        list(rc, "ListClusters", "clusterArns", json_object());
        break;
    case RESOLVE:
        resolve(rc);
        break;
    case LIST_INSTANCES:
        list(rc, "ListContainerInstances", "containerInstanceArns",
             json_pack("{s:s}", "cluster", cluster_of(rc)));
        break;
    case LIST_RUNNING:
        list_tasks(rc, "RUNNING");
        break;
    case LIST_STOPPED:
        list_tasks(rc, "STOPPED");
        break;
    case CHECK_INSTANCES:
    case CHECK_TASKS:
        check_some(rc);
        break;
    case DESCRIBE:
    case DESCRIBE_STOPPED:
    case WHOLE:
    case DONE:
        break;
    }
}

/* The one place that decides what is next; called after every answer and slice. */
static void advance(struct reconcile *rc)
{
    if (rc->listing != NULL && rc->err == 0) {
        take_listing(rc);
        if (rc->err == 0)
            return;
    }
    if (rc->step == WHOLE && rc->err == 0) {
        become_whole(rc);
        return;
    }
    if (rc->step == DESCRIBE || rc->step == DESCRIBE_STOPPED)
        describe_next(rc);
    if (rc->err == 0 && rc->step == first_list(rc) &&
        clusters_at(&rc->clusters, rc->cluster_at) == NULL)
        rc->step = rc->whole ? DONE : CHECK_INSTANCES;
    if (rc->err == 0 && rc->list_call == NULL && rc->in_flight == 0)
        perform(rc);
    bool over = rc->err != 0 || rc->step == DONE;
    if (over && rc->in_flight == 0 && rc->list_call == NULL)
        finish(rc);
}

static void begin(struct intake *in, bool only_stopped)
{
    if (!in->leading || in->stopping)
        return;
    if (in->reconcile != NULL) {
        in->reconcile_again = true;
        return;
    }
    struct reconcile *rc = calloc(1, sizeof *rc);
    if (rc == NULL) {
        uv_timer_start(&in->reconcile_timer, on_timer, RETRY_MS, 0);
        return;
    }
    rc->intake = in;
    for (size_t i = 0; i < DESCRIBES_MAX; i++)
        rc->slots[i].reconcile = rc;
    rc->step = in->all_clusters ? LIST_CLUSTERS : RESOLVE;
    rc->resumes = !in->reconciled;
    rc->whole = only_stopped;
    clusters_init(&rc->clusters, in);
    rc->arns = json_array();
    rc->started_unix_ms = clock_unix_ms();
    map_init(&rc->seen);
    leftover_init(&rc->leftover, &rc->clusters, &rc->seen, &rc->whole);
    in->reconcile = rc;
    advance(rc);
}

void intake_reconcile(struct intake *in)
{
    begin(in, false);
}

void reconcile_init(struct intake *in)
{
    intake_handle(in, &in->reconcile_timer);
}

void reconcile_stop(struct intake *in)
{
    struct reconcile *rc = in->reconcile;
    uv_timer_stop(&in->reconcile_timer);
    in->reconcile = NULL;
    in->reconciled = in->all_known = in->stopped_due = false;
    in->reconcile_again = false;
    in->reconcile_trouble[0] = '\0';
    if (rc == NULL)
        return;
    rc->stopped = true;
    if (rc->list_call != NULL)
        aws_cancel(rc->list_call);
    for (size_t i = 0; i < DESCRIBES_MAX; i++) {
        if (rc->slots[i].call != NULL)
            aws_cancel(rc->slots[i].call);
    }
    if (rc->in_flight == 0 && rc->list_call == NULL)
        reconcile_free(rc); /* between two slices */
}

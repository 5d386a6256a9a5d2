/* SPDX-License-Identifier: Apache-2.0
 * Everything against ECS, at the start of each leadership and periodically: list what ECS has,
 * describe it, and look again at what only we have. Paced by the client's read budget at the
 * lowest priority; the API reads the store meanwhile.
 *
 * The clusters' names are resolved to ARNs first (clusters.c). The first run of a leadership
 * resumes what the last leader had begun: it does not ask again for rows that ECS has told of
 * within a quarter of a minute. Per cluster, the own one first: ListContainerInstances -> ListTasks
 * RUNNING -> Describe all in hundreds -> ListTasks STOPPED -> Describe. Of STOPPED ones there are
 * thousands for an hour after a rollout, which say nothing new but where a task is still stopping
 * that we never heard of, or has stopped unheard: only what we do not hold as ended is described.
 * Then the cluster is known, and the scheduler, which takes what is absent then for absent in ECS,
 * begins there.
 *
 * Before the last cluster's STOPPED ones our live rows that were not listed anywhere go to refresh
 * (stopped meanwhile, or MISSING: tombstone; leftover.c). The state is whole then.
 *
 * A cluster that fails is left, and is all that the next run is about (round.c); if the own one
 * fails, nothing comes after it. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/intake/intake_int.h"

#define RETRY_MS 2000
#define RETRY_MAX_MS 60000
#define RETRY_UNKNOWN_MS 4000 /* at most, while nothing can be scheduled before it succeeds */
/* Work of one turn of the loop: a probe's ack does not wait longer than that. */
#define TAKE_SLICE 4000
#define CHECK_SLICE 500
/* Names and lists are small and come at once, or were lost: a leader's first run, which all else
 * waits for, asks again soon. After a failure they get the client's usual time. */
#define SMALL_CALL_MS 3000

enum step {
    LIST_CLUSTERS,
    RESOLVE,
    NEXT, /* which cluster? */
    LIST_INSTANCES,
    LIST_RUNNING,
    DESCRIBE,
    RUNNING, /* is known */
    LIST_STOPPED,
    DESCRIBE_STOPPED,
    KNOWN,
    CHECK_INSTANCES,
    CHECK_TASKS,
    WHOLE,
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
    int err;            /* ends the run */
    int refusal;        /* ... or, once all answers are here, what is done about this cluster */
    int left;           /* the first refusal */
    char why[200];      /* of the first of them all */
    struct aws_call *list_call;
    struct leftover leftover;
    int64_t started_unix_ms;
    size_t listed, described, corrected;
    bool resumes;
    bool checked;     /* what no list has shown */
    bool denied;      /* the cluster cannot be read any more */
    char asked_again; /* its address marks what was asked for a second time */
    bool stopped;     /* leadership went: free when the last answer came */
};

static void advance(struct reconcile *rc);
static void begin(struct intake *in);

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
        begin(in);
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

/* What is stopping is left, of the last cluster if its running part is through. */
static void go_on_checked(struct reconcile *rc)
{
    const char *cluster = cluster_of(rc);
    bool due = cluster != NULL && map_has(&rc->clusters.compared, cluster) &&
               round_at(rc->intake, cluster) == ROUND_RUNNING;
    rc->checked = true;
    rc->step = due ? LIST_STOPPED : NEXT;
    go_on_soon(rc);
}

/* The caller's last step: what is told may end this leadership. */
static void become_whole(struct reconcile *rc)
{
    struct intake *in = rc->intake;
    bool whole = !in->round.whole && rc->left == 0;
    go_on_checked(rc);
    if (!whole)
        return;
    in->reconciled = in->round.whole = true;
    in->described = (int64_t)rc->described;
    in->reconcile_ok_unix_ms = clock_unix_ms();
    snprintf(in->reconcile_trouble, sizeof in->reconcile_trouble, "%s", rc->clusters.partly);
    log_end(rc, "reconciled");
    rc->listed = rc->described = rc->corrected = 0;
    if (in->options.on_reconciled != NULL)
        in->options.on_reconciled(in->options.arg, 0);
}

static void finish(struct reconcile *rc)
{
    struct intake *in = rc->intake;
    int err = rc->err != 0 ? rc->err : rc->left;
    bool whole = in->round.whole;
    in->reconcile = NULL;
    uint64_t every = round_every_ms(in);
    if (err == 0) {
        in->reconcile_failures = 0;
        round_end(in, &rc->clusters);
        snprintf(in->reconcile_trouble, sizeof in->reconcile_trouble, "%s", rc->clusters.partly);
        log_end(rc, "reconciled_stopped");
    } else {
        if (rc->err != 0 && !whole)
            round_forget(in); /* what no list has shown was not looked at */
        unsigned shift = in->reconcile_failures < 5 ? in->reconcile_failures : 5;
        uint64_t retry = (uint64_t)RETRY_MS << shift;
        in->reconcile_failures++;
        uint64_t most = in->all_known ? RETRY_MAX_MS : RETRY_UNKNOWN_MS;
        every = retry < most ? retry : most;
        snprintf(in->reconcile_trouble, sizeof in->reconcile_trouble, "cannot compare with ECS: %s",
                 rc->why);
        LOG(LOG_WARN, "reconcile_failed", rc->why, LU("retry_ms", every));
    }
    reconcile_free(rc);
    malloc_trim(0); /* its answers were megabytes, and the heap would keep what they took */
    if (in->reconcile_again) {
        every = 0;
        round_forget(in);
    }
    in->reconcile_again = false;
    uv_timer_start(&in->reconcile_timer, on_timer, every + prng_below(&in->prng, every / 16 + 1),
                   0);
    if (err == 0 && in->options.on_all_known != NULL)
        in->options.on_all_known(in->options.arg);
    else if (err != 0 && !whole && in->options.on_reconciled != NULL)
        in->options.on_reconciled(in->options.arg, err);
}

static bool failed(const struct reconcile *rc)
{
    return rc->err != 0 || rc->refusal != 0;
}

/* True if the answer belongs to this leadership and the run goes on. */
static bool usable(struct reconcile *rc, const struct aws_result *r, const char *what)
{
    if (rc->stopped)
        return false;
    if (r->err != 0 && !failed(rc)) {
        const char *of = rc->step > NEXT ? strrchr(cluster_of(rc), '/') : NULL;
        rc->refusal = r->err;
        if (rc->left == 0)
            snprintf(rc->why, sizeof rc->why, "%s%s%.80s: %s %s", what, of == NULL ? "" : " of ",
                     of == NULL ? "" : of + 1, r->code[0] == '\0' ? err_text(r->err) : r->code,
                     r->message);
    }
    return !failed(rc);
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
    if (names == NULL && clusters_at(&rc->clusters, 0) == NULL && !rc->clusters.list_due) {
        rc->err = ERR_NOTFOUND;
        snprintf(rc->why, sizeof rc->why, "%s",
                 rc->clusters.partly[0] == '\0' ? "DescribeClusters shows no cluster"
                                                : rc->clusters.partly);
        return;
    }
    if (names == NULL) {
        rc->step = NEXT;
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

static void clear_list(struct reconcile *rc)
{
    json_array_clear(rc->arns);
    rc->arn_at = 0;
    rc->instances = 0;
}

static void next_cluster(struct reconcile *rc)
{
    rc->cluster_at++;
    rc->denied = false;
    clear_list(rc);
    rc->step = NEXT;
}

/* The first that this round is not through with; behind the last what no list has shown. */
static void choose_cluster(struct reconcile *rc)
{
    const char *cluster;
    while (!rc->clusters.cut && (cluster = cluster_of(rc)) != NULL) {
        enum round_stage stage = round_at(rc->intake, cluster);
        rc->step = stage == ROUND_NOTHING ? LIST_INSTANCES : LIST_STOPPED;
        if (stage != ROUND_ALL)
            return;
        rc->cluster_at++;
    }
    if (!rc->clusters.cut && rc->clusters.list_due)
        rc->step = LIST_CLUSTERS;
    else
        rc->step = rc->checked ? DONE : CHECK_INSTANCES;
}

/* What was refused is left for the next run: the names of clusters, or this one. */
static void leave(struct reconcile *rc)
{
    const char *cluster = rc->step > NEXT ? cluster_of(rc) : NULL;
    if (rc->left == 0)
        rc->left = rc->refusal;
    rc->refusal = 0;
    if (cluster == NULL || intake_is_own(rc->intake, cluster))
        rc->clusters.cut = true;
    json_decref(rc->listing);
    rc->listing = NULL;
    next_cluster(rc);
}

static void list_taken(struct reconcile *rc)
{
    json_decref(rc->listing);
    rc->listing = NULL;
    if (rc->step == LIST_INSTANCES)
        rc->instances = json_array_size(rc->arns);
    rc->step++; /* LIST_INSTANCES, _RUNNING, DESCRIBE; LIST_STOPPED, DESCRIBE_STOPPED */
}

/* A task that was listed as RUNNING and is listed as STOPPED now is asked for again. */
static void *mark_of(struct reconcile *rc)
{
    return rc->step == LIST_STOPPED ? (void *)&rc->asked_again : rc;
}

static bool is_asked_for(struct reconcile *rc, const char *arn)
{
    const void *mark = map_get(&rc->seen, arn);
    return mark == mark_of(rc) || mark == &rc->asked_again;
}

/* A slice of what was listed. */
static void take_listing(struct reconcile *rc)
{
    size_t size = json_array_size(rc->listing);
    struct store_txn *txn = NULL;
    bool stopped = rc->step == LIST_STOPPED;
    bool looks = rc->resumes || stopped;
    uint8_t kind = rc->step == LIST_INSTANCES ? RECORD_INSTANCE : RECORD_TASK;
    size_t slice = looks ? CHECK_SLICE : TAKE_SLICE;
    if (looks && store_read_begin(rc->intake->options.store, &txn) != 0)
        txn = NULL;
    for (size_t n = 0; n < slice && rc->listing_at < size; n++) {
        json_t *arn = json_array_get(rc->listing, rc->listing_at++);
        const char *text = json_string_value(arn);
        if (text == NULL || strlen(text) > RECORD_KEY_MAX || is_asked_for(rc, text))
            continue;
        bool asks =
            txn == NULL || !(stopped ? lately_is_over(txn, text)
                                     : lately_is_told(txn, kind, text, rc->started_unix_ms));
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
    bool of_cluster = !rc->stopped && rc->step != LIST_CLUSTERS;
    if (of_cluster && strcmp(r->code, "ClusterNotFoundException") == 0) {
        if (map_put(&rc->clusters.compared, cluster_of(rc), rc, NULL) != 0) /* nothing is there */
            fail(rc, ERR_NOMEM, "this agent");
        next_cluster(rc);
    } else if (of_cluster && clusters_leave(&rc->clusters, cluster_of(rc), r)) {
        next_cluster(rc);
    } else if (usable(rc, r, of_cluster ? "list" : "ListClusters") && !of_cluster) {
        clusters_take_list(&rc->clusters, json_arr(r->body, "clusterArns"));
        rc->step = NEXT;
    } else if (!rc->stopped && !failed(rc)) {
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
        rc->denied = true;
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
    while (!failed(rc) && !rc->denied && rc->arn_at < json_array_size(rc->arns) &&
           (slot = free_slot(rc)) != NULL)
        describe_some(rc, slot);
    if (failed(rc) || rc->in_flight > 0)
        return;
    if (rc->denied)
        next_cluster(rc);
    else
        rc->step++; /* RUNNING; KNOWN */
}

/* All that runs in the cluster is here. Behind the last one the state is whole by that. */
static void reach_running(struct reconcile *rc)
{
    bool last = clusters_at(&rc->clusters, rc->cluster_at + 1) == NULL && !rc->clusters.list_due;
    clear_list(rc);
    rc->step = last ? CHECK_INSTANCES : LIST_STOPPED;
    if (map_put(&rc->clusters.compared, cluster_of(rc), rc, NULL) != 0 ||
        round_reach(rc->intake, cluster_of(rc), ROUND_RUNNING) != 0)
        fail(rc, ERR_NOMEM, "this agent");
}

/* The caller's last step, as above. */
static void become_known(struct reconcile *rc)
{
    struct intake *in = rc->intake;
    char cluster[ARN_MAX];
    snprintf(cluster, sizeof cluster, "%s", cluster_of(rc));
    if (!map_has(&in->known, cluster))
        LOG(LOG_INFO, "cluster_known", "", LS("cluster", cluster),
            LI("ms", clock_unix_ms() - rc->started_unix_ms));
    if (round_reach(in, cluster, ROUND_ALL) != 0)
        fail(rc, ERR_NOMEM, "this agent");
    next_cluster(rc);
    go_on_soon(rc);
    if (in->options.on_known != NULL)
        in->options.on_known(in->options.arg, cluster);
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
    case NEXT:
    case DESCRIBE:
    case RUNNING:
    case DESCRIBE_STOPPED:
    case KNOWN:
    case WHOLE:
    case DONE:
        break;
    }
}

static void go_on(struct reconcile *rc)
{
    if (rc->err == 0)
        perform(rc);
    if ((rc->err != 0 || rc->step == DONE) && rc->list_call == NULL)
        finish(rc);
}

/* The one place that decides what is next; called after every answer and slice. */
static void advance(struct reconcile *rc)
{
    if (rc->listing != NULL && !failed(rc)) {
        take_listing(rc);
        if (!failed(rc))
            return;
    }
    if (rc->step == DESCRIBE || rc->step == DESCRIBE_STOPPED)
        describe_next(rc);
    if (rc->list_call != NULL || rc->in_flight > 0)
        return;
    if (rc->refusal != 0)
        leave(rc);
    if (rc->err == 0 && rc->step == RUNNING)
        reach_running(rc);
    if (rc->err == 0 && rc->step == NEXT)
        choose_cluster(rc);
    if (rc->err == 0 && rc->step == WHOLE)
        become_whole(rc);
    else if (rc->err == 0 && rc->step == KNOWN)
        become_known(rc);
    else
        go_on(rc);
}

static void begin(struct intake *in)
{
    if (!in->leading || in->stopping)
        return;
    struct reconcile *rc = calloc(1, sizeof *rc);
    if (rc == NULL) {
        uv_timer_start(&in->reconcile_timer, on_timer, RETRY_MS, 0);
        return;
    }
    rc->intake = in;
    for (size_t i = 0; i < DESCRIBES_MAX; i++)
        rc->slots[i].reconcile = rc;
    rc->step = RESOLVE;
    rc->resumes = !in->reconciled;
    round_resume(in);
    clusters_init(&rc->clusters, in);
    rc->arns = json_array();
    rc->started_unix_ms = clock_unix_ms();
    map_init(&rc->seen);
    leftover_init(&rc->leftover, &rc->clusters, &rc->seen, &rc->asked_again);
    in->reconcile = rc;
    advance(rc);
}

void intake_reconcile(struct intake *in)
{
    if (in->reconcile != NULL) {
        in->reconcile_again = true;
        return;
    }
    round_forget(in);
    begin(in);
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
    round_stop(in);
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

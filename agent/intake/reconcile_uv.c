/* SPDX-License-Identifier: Apache-2.0
 * Everything against ECS, at the start of each leadership and periodically: list what ECS has,
 * describe it, and look again at what only we have. Paced by the client's read budget at the
 * lowest priority; the API reads the store meanwhile.
 *
 * The clusters' names are resolved to ARNs first (clusters.c). The first run of a leadership
 * resumes what the last leader had begun: it does not ask again for rows that ECS has told of
 * within a quarter of a minute. Then each cluster is compared (compare_uv.c), the own one first and
 * by itself. When all is here that runs or is stopping in one, it is known, and the scheduler,
 * which takes what is absent then for absent in ECS, begins there.
 *
 * The others take turns: one asks, for some seconds if others wait, and goes to the end of the row
 * then, where its answers may come meanwhile. So neither a large cluster nor one over which ECS is
 * slow holds up those behind it for longer than its turn, and no answer is thrown away.
 *
 * Before the last cluster's STOPPED ones our live rows that were not listed anywhere go to refresh
 * (stopped meanwhile, or MISSING: tombstone; leftover.c). The state is whole then. Where only
 * clusters are left that take longer than a turn, the rows of the others are gone through already.
 *
 * A cluster that fails is left, and is all that the next run is about (round.c); so is one that is
 * not through when another round is due. If the own one fails, nothing comes after it. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/intake/reconcile.h"

#define RETRY_MS 2000
#define RETRY_MAX_MS 60000
#define RETRY_UNKNOWN_MS 4000 /* at most, while nothing can be scheduled before it succeeds */
#define SMALL_CALL_MS 3000
#define TURN_MS 5000
#define RUN_MAX_MS 600000 /* with more clusters than the own; twice as long after each failure */

static void advance(struct reconcile *rc);
static void begin(struct intake *in);

static void reconcile_free(struct reconcile *rc)
{
    for (struct list *n; (n = list_pop(&rc->compares)) != NULL;)
        compare_free(LIST_OF(n, struct compare, node));
    map_fini(&rc->seen);
    clusters_fini(&rc->clusters);
    free(rc);
}

/* The timer serves the pause between two runs, the slices within one, and the turns' ends. */
static void on_timer(uv_timer_t *timer)
{
    struct intake *in = timer->data;
    if (in->reconcile != NULL)
        advance(in->reconcile);
    else
        begin(in);
}

static uint64_t turn_ms(const struct intake *in)
{
    return in->options.turn_ms == 0 ? TURN_MS : in->options.turn_ms;
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
    bool whole = rc->checked && !in->round.whole && rc->left == 0;
    rc->step = COMPARE;
    go_on_soon(rc);
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

static bool is_open(const struct reconcile *rc)
{
    bool open = rc->names_call != NULL;
    for (const struct list *n = rc->compares.next; n != &rc->compares; n = n->next)
        open = open || compare_is_open(LIST_OF(n, struct compare, node));
    return open;
}

static void cancel_all(struct reconcile *rc)
{
    if (rc->names_call != NULL)
        aws_cancel(rc->names_call);
    for (struct list *n = rc->compares.next; n != &rc->compares; n = n->next)
        compare_cancel(LIST_OF(n, struct compare, node));
}

void reconcile_answered(struct reconcile *rc)
{
    struct intake *in = rc->intake;
    if (!rc->stopped)
        advance(rc);
    else if (!is_open(rc))
        reconcile_free(rc);
    intake_call_ended(in);
}

void reconcile_fail(struct reconcile *rc, int err, const char *what)
{
    if (rc->err != 0)
        return;
    rc->err = err;
    snprintf(rc->why, sizeof rc->why, "%s: %s", what, err_text(err));
}

void reconcile_note(struct reconcile *rc, const char *what, const char *cluster,
                    const struct aws_result *r)
{
    const char *of = cluster == NULL ? NULL : strrchr(cluster, '/');
    if (rc->why[0] == '\0')
        snprintf(rc->why, sizeof rc->why, "%s%s%.80s: %s %s", what, of == NULL ? "" : " of ",
                 of == NULL ? "" : of + 1, r->code[0] == '\0' ? err_text(r->err) : r->code,
                 r->message);
}

struct aws_call_options reconcile_small_call(const struct intake *in)
{
    bool soon = !in->all_known && in->reconcile_failures == 0;
    return (struct aws_call_options){.priority = AWS_RESYNC,
                                     .timeout_ms = soon ? SMALL_CALL_MS : 0};
}

/* ---- which clusters (clusters.c) ----------------------------------------------------------- */

/* What was refused is left for the next run. */
static void on_names(struct reconcile *rc, const struct aws_result *r, const char *what)
{
    if (r->err == 0)
        return;
    reconcile_note(rc, what, NULL, r);
    rc->left = rc->left == 0 ? r->err : rc->left;
    rc->clusters.cut = true;
    rc->step = COMPARE;
}

static void on_resolved(void *arg, const struct aws_result *r)
{
    struct reconcile *rc = arg;
    rc->names_call = NULL;
    if (!rc->stopped && !clusters_refused(&rc->clusters, r)) {
        on_names(rc, r, "DescribeClusters");
        if (r->err == 0)
            clusters_take(&rc->clusters, r->body);
    }
    reconcile_answered(rc);
}

static void on_listed(void *arg, const struct aws_result *r)
{
    struct reconcile *rc = arg;
    rc->names_call = NULL;
    if (!rc->stopped) {
        on_names(rc, r, "ListClusters");
        if (r->err == 0)
            clusters_take_list(&rc->clusters, json_arr(r->body, "clusterArns"));
        rc->step = COMPARE;
    }
    reconcile_answered(rc);
}

static void has_asked(struct reconcile *rc)
{
    if (rc->names_call == NULL)
        reconcile_fail(rc, ERR_NOMEM, "this agent");
    else
        rc->intake->calls_open++;
}

/* Asks for what is left to resolve; if that is nothing, the comparisons begin. */
static void resolve(struct reconcile *rc)
{
    struct intake *in = rc->intake;
    struct aws_call_options options = reconcile_small_call(in);
    json_t *names = clusters_question(&rc->clusters);
    if (names == NULL && clusters_at(&rc->clusters, 0) == NULL && !rc->clusters.list_due) {
        rc->err = ERR_NOTFOUND;
        snprintf(rc->why, sizeof rc->why, "%s",
                 rc->clusters.partly[0] == '\0' ? "DescribeClusters shows no cluster"
                                                : rc->clusters.partly);
        return;
    }
    if (names == NULL) {
        rc->step = COMPARE;
        return;
    }
    rc->names_call = aws_call(in->options.aws, AWS_ECS, "DescribeClusters",
                              json_pack("{s:o}", "clusters", names), &options, on_resolved, rc);
    has_asked(rc);
}

static void list_clusters(struct reconcile *rc)
{
    struct aws_call_options options = reconcile_small_call(rc->intake);
    rc->names_call = aws_list(rc->intake->options.aws, AWS_ECS, "ListClusters", "clusterArns",
                              json_object(), &options, on_listed, rc);
    has_asked(rc);
}

/* ---- turns ---------------------------------------------------------------------------------- */

static void end_compare(struct reconcile *rc, struct compare *c)
{
    if (rc->turn == c)
        rc->turn = NULL;
    list_remove(&c->node);
    compare_free(c);
}

/* ECS refused something, or did not answer. */
static void leave(struct reconcile *rc, struct compare *c)
{
    if (rc->left == 0)
        rc->left = c->refusal;
    if (intake_is_own(rc->intake, c->cluster))
        rc->clusters.cut = true;
    end_compare(rc, c);
}

/* All that runs in the cluster is here. */
static void reach_running(struct reconcile *rc, struct compare *c)
{
    c->step = COMPARE_STOPPED;
    if (map_put(&rc->clusters.compared, c->cluster, rc, NULL) != 0 ||
        round_reach(rc->intake, c->cluster, ROUND_RUNNING) != 0)
        reconcile_fail(rc, ERR_NOMEM, "this agent");
}

/* Takes out what is through. Returns one that is known, if there is one. */
static struct compare *settle(struct reconcile *rc)
{
    for (struct list *n = rc->compares.next, *next; n != &rc->compares; n = next) {
        struct compare *c = LIST_OF(n, struct compare, node);
        next = n->next;
        compare_settle(c);
        if (compare_is_open(c))
            continue;
        if (c->refusal != 0)
            leave(rc, c);
        else if (c->over)
            end_compare(rc, c);
        else if (c->step == COMPARE_RUNNING)
            reach_running(rc, c);
        else if (c->step == COMPARE_KNOWN)
            return c;
    }
    return NULL;
}

/* The caller's last step, as above. */
static void become_known(struct reconcile *rc, struct compare *c)
{
    struct intake *in = rc->intake;
    char cluster[ARN_MAX];
    snprintf(cluster, sizeof cluster, "%s", c->cluster);
    if (!map_has(&in->known, cluster))
        LOG(LOG_INFO, "cluster_known", "", LS("cluster", cluster),
            LI("ms", clock_unix_ms() - rc->started_unix_ms));
    if (round_reach(in, cluster, ROUND_ALL) != 0)
        reconcile_fail(rc, ERR_NOMEM, "this agent");
    end_compare(rc, c);
    go_on_soon(rc);
    if (in->options.on_known != NULL)
        in->options.on_known(in->options.arg, cluster);
}

/* The next that this round is not through with; NULL: all are begun. */
static const char *next_cluster(struct reconcile *rc)
{
    const char *cluster;
    while (!rc->clusters.cut && (cluster = clusters_at(&rc->clusters, rc->cluster_at)) != NULL) {
        if (round_at(rc->intake, cluster) != ROUND_ALL)
            return cluster;
        rc->cluster_at++;
    }
    return NULL;
}

/* One that waits for a turn: first those that had none. The own one is done with before. */
static struct compare *next_in_turn(struct reconcile *rc)
{
    const char *cluster = next_cluster(rc);
    struct list *first = rc->compares.next;
    if (first != &rc->compares &&
        intake_is_own(rc->intake, LIST_OF(first, struct compare, node)->cluster))
        cluster = NULL;
    if (cluster != NULL) {
        struct compare *c = compare_new(rc, cluster, round_at(rc->intake, cluster));
        if (c == NULL) {
            reconcile_fail(rc, ERR_NOMEM, "this agent");
            return NULL;
        }
        rc->cluster_at++;
        list_push(&rc->compares, &c->node);
        return c;
    }
    for (struct list *n = first; n != &rc->compares; n = n->next) {
        struct compare *c = LIST_OF(n, struct compare, node);
        if (compare_can_ask(c))
            return c;
    }
    return NULL;
}

static uint64_t turn_ends_ms(const struct reconcile *rc)
{
    return rc->turn_since_ms + turn_ms(rc->intake);
}

/* Whose turn is over goes behind those that wait. */
static void give_turn(struct reconcile *rc)
{
    struct compare *before = rc->turn;
    uint64_t now_ms = clock_mono_ms();
    if (before != NULL && now_ms < turn_ends_ms(rc))
        return;
    if (before != NULL) {
        list_remove(&before->node);
        list_push(&rc->compares, &before->node);
    }
    rc->turn = next_in_turn(rc);
    rc->turn_since_ms = now_ms;
    if (before == NULL)
        return;
    if (!before->takes_long && !intake_is_own(rc->intake, before->cluster))
        LOG(LOG_INFO, "cluster_takes_long", "ECS is slow over it, or it is large; others go on",
            LS("cluster", before->cluster));
    before->takes_long = true;
}

/* Other rounds are due, and the healthy ones shall not wait for it for ever. */
static void give_up_late_ones(struct reconcile *rc)
{
    uint64_t most_ms = round_every_ms(rc->intake);
    unsigned shift = rc->intake->reconcile_failures < 5 ? rc->intake->reconcile_failures : 5;
    most_ms = (most_ms < RUN_MAX_MS ? RUN_MAX_MS : most_ms) << shift;
    if (clock_mono_ms() < rc->started_ms + most_ms)
        return;
    for (struct list *n = rc->compares.next; n != &rc->compares; n = n->next) {
        struct compare *c = LIST_OF(n, struct compare, node);
        if (c->refusal != 0 || intake_is_own(rc->intake, c->cluster))
            continue;
        struct aws_result late = {.err = ERR_TIMEOUT, .message = "(the cluster takes too long)"};
        reconcile_note(rc, "comparison", c->cluster, &late);
        c->refusal = ERR_TIMEOUT;
        rc->clusters.cut = true;
        compare_cancel(c);
    }
}

/* ---- what only we have (leftover.c) --------------------------------------------------------- */

static void check_some(struct reconcile *rc)
{
    bool more = false;
    uint8_t kind = rc->step == CHECK_INSTANCES ? RECORD_INSTANCE : RECORD_TASK;
    int err = leftover_look(&rc->leftover, kind, &more);
    if (err != 0)
        reconcile_fail(rc, err, "the store cannot be read");
    if (!more)
        rc->step++; /* INSTANCES, TASKS, CHECKED */
}

/* When all that runs is here; and before, when what is left takes long. */
static bool check_is_due(struct reconcile *rc)
{
    bool running = true, slow = true;
    if (rc->checked || next_cluster(rc) != NULL || (rc->clusters.list_due && !rc->clusters.cut))
        return false;
    for (const struct list *n = rc->compares.next; n != &rc->compares; n = n->next) {
        const struct compare *c = LIST_OF(n, struct compare, node);
        running = running && c->step > COMPARE_RUNNING;
        slow = slow && (c->takes_long || c->step > COMPARE_RUNNING);
    }
    bool early = !running && slow && !rc->checked_early && rc->clusters.compared.count > 0;
    rc->checked_early = rc->checked_early || early;
    rc->checked = running;
    /* Where nothing was compared nothing can be judged, and while ECS does not answer that is so
     * every few seconds. */
    bool blind = rc->clusters.cut && rc->clusters.compared.count == 0;
    return (running && !blind) || early;
}

/* ---- the run -------------------------------------------------------------------------------- */

/* Who may ask asks. True: there is more to do without an answer. */
static bool compare_some(struct reconcile *rc)
{
    if (check_is_due(rc)) {
        rc->step = CHECK_INSTANCES;
        return true;
    }
    give_up_late_ones(rc);
    give_turn(rc);
    if (rc->err == 0 && rc->turn != NULL)
        compare_ask(rc->turn);
    if (!list_is_empty(&rc->compares))
        return false;
    rc->step = rc->clusters.list_due && !rc->clusters.cut ? LIST_CLUSTERS : DONE;
    return true;
}

/* True: there is more to do without an answer. */
static bool perform(struct reconcile *rc)
{
    switch (rc->step) {
    case LIST_CLUSTERS:
        list_clusters(rc);
        return false;
    case RESOLVE:
        resolve(rc);
        return rc->step != RESOLVE;
    case COMPARE:
        return compare_some(rc);
    case CHECK_INSTANCES:
    case CHECK_TASKS:
        check_some(rc);
        return true;
    case CHECKED:
    case DONE:
        break;
    }
    return true;
}

/* True: some are left. */
static bool take_slices(struct reconcile *rc)
{
    bool more = false;
    for (struct list *n = rc->compares.next; n != &rc->compares; n = n->next) {
        struct compare *c = LIST_OF(n, struct compare, node);
        if (c->listing == NULL)
            continue;
        if (!more)
            compare_take_slice(c);
        more = true;
    }
    return more;
}

/* An answer may come before. */
static void wait_for_turn(struct reconcile *rc)
{
    uint64_t now_ms = clock_mono_ms(), at_ms = turn_ends_ms(rc);
    bool ends = rc->turn != NULL && at_ms > now_ms;
    uv_timer_start(&rc->intake->reconcile_timer, on_timer,
                   ends ? at_ms - now_ms : turn_ms(rc->intake), 0);
}

/* The one place that decides what is next; called after every answer and slice. */
static void advance(struct reconcile *rc)
{
    bool soon = rc->err == 0 && take_slices(rc);
    struct compare *known = rc->err == 0 ? settle(rc) : NULL;
    if (known != NULL) {
        become_known(rc, known);
        return;
    }
    if (rc->err == 0 && rc->step == CHECKED) {
        become_whole(rc);
        return;
    }
    if (rc->err == 0 && rc->names_call == NULL)
        soon = perform(rc) || soon;
    if (rc->err != 0)
        cancel_all(rc);
    if ((rc->err != 0 || rc->step == DONE) && !is_open(rc))
        finish(rc);
    else if (soon)
        go_on_soon(rc);
    else
        wait_for_turn(rc);
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
    rc->step = RESOLVE;
    rc->resumes = !in->reconciled;
    round_resume(in);
    list_init(&rc->compares);
    clusters_init(&rc->clusters, in);
    rc->started_unix_ms = clock_unix_ms();
    rc->started_ms = clock_mono_ms();
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
    cancel_all(rc);
    rc->err = ERR_CANCELED; /* no slice is to come, either */
    if (!is_open(rc))
        reconcile_free(rc); /* between two slices */
}

/* SPDX-License-Identifier: Apache-2.0
 * Reads of this agent's rows for those who asked for the leader's: done on a thread of the pool,
 * because a large list takes longer than a probe's answer may wait.
 *
 * A strong one first goes behind a barrier of the log, which a majority takes from a leader only;
 * then it waits until these rows are what a leader's should be: compared with ECS in this
 * leadership, so that nothing is missing that an earlier leader has shown, and with all intent that
 * the barrier stands behind. */
#include <stdio.h>
#include <stdlib.h>

#include "agent/agent_int.h"

#define READS_MAX 16   /* on the pool */
#define STRONG_MAX 64  /* waiting */
#define STRONG_MS 4000 /* who sent it here waits for 6 s, and shall hear why */

struct read {
    struct list link; /* strong: in agent.strong_reads until it may look */
    uv_work_t work;
    struct agent *agent;
    struct command *command; /* NULL: given up, but the log still has its barrier */
    struct api *api;
    const char *target; /* the command's: it lives as long as this runs */
    uint64_t term, until_ms;
    uint64_t offers; /* to be stored before it looks */
    bool behind;     /* the barrier */
    struct buf out;
    int err;
};

static void on_work(uv_work_t *work)
{
    struct read *r = work->data;
    r->err = api_read(r->api, r->target, &r->out);
}

static void on_done(uv_work_t *work, int status)
{
    struct read *r = work->data;
    struct agent *a = r->agent;
    a->reads_open--;
    commands_finish_read(r->command, status != 0 ? ERR_CANCELED : r->err, r->out.data, r->out.len);
    buf_fini(&r->out);
    free(r);
    reads_look(a);
}

/* ERR_BUSY: nothing was begun. */
static int look(struct read *r)
{
    if (r->agent->reads_open >= READS_MAX ||
        uv_queue_work(r->agent->loop, &r->work, on_work, on_done) != 0)
        return ERR_BUSY;
    r->agent->reads_open++;
    return 0;
}

/* ---- strong -------------------------------------------------------------------------------- */

static void refuse(struct read *r, int err)
{
    struct command *c = r->command;
    list_remove(&r->link);
    r->agent->strong_count--;
    r->command = NULL;
    if (r->behind)
        free(r);
    commands_finish_read(c, err, NULL, 0);
}

static void try_strong(struct read *r)
{
    struct agent *a = r->agent;
    bool leads = a->raft != NULL && raft_uv_is_leader(a->raft) && a->term == r->term;
    if (!leads || a->stopping) {
        refuse(r, ERR_NOTLEADER);
        return;
    }
    if (r->behind && a->all_known && !a->compare_intent && offers_stored(a) >= r->offers &&
        look(r) == 0) {
        list_remove(&r->link);
        a->strong_count--;
        return;
    }
    if (uv_now(a->loop) >= r->until_ms)
        refuse(r, r->behind ? ERR_NOTREADY : ERR_NOLEADER);
}

static void on_barrier(void *arg, int err, uint64_t index, uint64_t term)
{
    struct read *r = arg;
    (void)index;
    r->behind = true;
    if (r->command == NULL) {
        free(r);
        return;
    }
    r->offers = r->agent->offers_made;
    if (err != 0 || term != r->term)
        refuse(r, err == ERR_BUSY ? err : ERR_NOTLEADER);
    else
        try_strong(r);
}

void reads_look(struct agent *a)
{
    for (struct list *n = a->strong_reads.next, *next; n != &a->strong_reads; n = next) {
        next = n->next;
        try_strong(LIST_OF(n, struct read, link));
    }
}

/* ---- both ---------------------------------------------------------------------------------- */

static int run_strong(struct read *r)
{
    struct agent *a = r->agent;
    if (a->strong_count >= STRONG_MAX)
        return ERR_BUSY;
    list_push(&a->strong_reads, &r->link);
    a->strong_count++;
    int err = raft_uv_barrier(a->raft, on_barrier, r);
    if (err == 0)
        return 0;
    list_remove(&r->link);
    a->strong_count--;
    return err;
}

void reads_run(struct command *c)
{
    struct agent *a = c->agent;
    struct read *r = calloc(1, sizeof *r);
    int err = r == NULL ? ERR_NOMEM : 0;
    if (r != NULL) {
        *r = (struct read){.agent = a,
                           .command = c,
                           .api = a->api,
                           .target = json_str_or(c->json, "target", ""),
                           .term = a->term,
                           .until_ms = uv_now(a->loop) + STRONG_MS,
                           .work = {.data = r}};
        list_init(&r->link);
        buf_init(&r->out, GOSSIP_MESSAGE_MAX - 1024);
        err = c->strong ? run_strong(r) : look(r);
    }
    if (err == 0)
        return;
    free(r);
    commands_finish_read(c, err, NULL, 0);
}

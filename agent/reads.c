/* SPDX-License-Identifier: Apache-2.0
 * Reads of this agent's rows for those who asked for the leader's: done on a thread of the pool,
 * because a large list takes longer than a probe's answer may wait. */
#include <stdlib.h>

#include "agent/agent_int.h"

#define READS_MAX 16

struct read {
    uv_work_t work;
    struct command *command;
    struct api *api;
    const char *target; /* the command's: it lives as long as this runs */
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
    r->command->agent->reads_open--;
    commands_finish_read(r->command, status != 0 ? ERR_CANCELED : r->err, r->out.data, r->out.len);
    buf_fini(&r->out);
    free(r);
}

void reads_run(struct command *c)
{
    struct agent *a = c->agent;
    struct read *r = a->reads_open < READS_MAX ? calloc(1, sizeof *r) : NULL;
    if (r != NULL) {
        *r = (struct read){.command = c,
                           .api = a->api,
                           .target = json_str_or(c->json, "target", ""),
                           .work = {.data = r}};
        buf_init(&r->out, GOSSIP_MESSAGE_MAX - 1024);
        if (uv_queue_work(a->loop, &r->work, on_work, on_done) == 0) {
            a->reads_open++;
            return;
        }
        free(r);
    }
    commands_finish_read(c, ERR_BUSY, NULL, 0);
}

/* SPDX-License-Identifier: Apache-2.0
 * How far a round of comparing with ECS has come, and which clusters are known in this leadership.
 * A cluster that fails (throttled, slow, out of order) keeps no other one waiting: the run goes on
 * without it, and the next run, soon, is about what is left alone. A round that does not come to
 * its end is given up when the next one would be due, or what was compared first would grow old. */
#include "agent/base/clock.h"
#include "agent/intake/intake_int.h"

#define EVERY_MS 600000

static char marks[ROUND_ALL + 1]; /* a map's values are addresses */

uint64_t round_every_ms(const struct intake *in)
{
    return in->options.reconcile_ms == 0 ? EVERY_MS : in->options.reconcile_ms;
}

void round_forget(struct intake *in)
{
    map_fini(&in->round.stages);
    in->round = (struct round){.since_ms = clock_mono_ms()};
}

void round_resume(struct intake *in)
{
    uint64_t age_ms = clock_mono_ms() - in->round.since_ms;
    if (age_ms >= round_every_ms(in) || in->round.stages.count == 0)
        round_forget(in);
}

enum round_stage round_at(const struct intake *in, const char *cluster)
{
    const char *mark = map_get(&in->round.stages, cluster);
    return mark == NULL ? ROUND_NOTHING : (enum round_stage)(mark - marks);
}

int round_reach(struct intake *in, const char *cluster, enum round_stage stage)
{
    int err = map_put(&in->round.stages, cluster, &marks[stage], NULL);
    if (err == 0 && stage == ROUND_ALL)
        err = map_put(&in->known, cluster, in, NULL);
    return err;
}

void round_end(struct intake *in, struct clusters *c)
{
    round_forget(in);
    map_fini(&in->refused);
    in->refused = c->unread;
    map_init(&c->unread);
    in->all_known = true;
}

void round_stop(struct intake *in)
{
    round_forget(in);
    map_fini(&in->known);
    map_fini(&in->refused);
    in->reconciled = in->all_known = false;
}

bool intake_knows(const struct intake *in, const char *cluster)
{
    return map_has(&in->known, cluster) ||
           (in->all_known && !clusters_names(&in->refused, cluster));
}

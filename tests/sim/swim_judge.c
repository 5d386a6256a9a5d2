/* SPDX-License-Identifier: Apache-2.0
 * Are the views of a simulated cluster's members what they should be? */
#include <inttypes.h>

#include "agent/base/hash.h"
#include "tests/sim/swim_world.h"

uint32_t world_wrong(const struct world *w)
{
    uint32_t wrong = 0, up = 0;
    uint64_t nums = 0;
    for (uint32_t i = 0; i < w->nodes; i++) {
        if (w->node[i].life != LIFE_UP || w->node[i].leaving)
            continue;
        up++;
        nums += hash_mix(w->node[i].num ^ swim_self(w->node[i].s)->m.incarnation);
    }
    for (uint32_t i = 0; i < w->nodes; i++) {
        const struct swim *s = w->node[i].s;
        uint32_t alive = 0;
        uint64_t held = 0;
        if (w->node[i].life != LIFE_UP || w->node[i].leaving)
            continue;
        for (uint32_t k = 0; k < s->count; k++) {
            const struct swim_member *m = swim_nth(s, k);
            if (m->m.state != MEMBER_ALIVE)
                continue;
            alive++;
            held += hash_mix(m->m.num ^ m->m.incarnation);
        }
        wrong += alive != up || held != nums;
    }
    return wrong;
}

void world_tell_wrong(struct world *w)
{
    for (uint32_t i = 0; i < w->nodes; i++) {
        const struct swim *s = w->node[i].s;
        if (w->node[i].life != LIFE_UP || w->node[i].leaving)
            continue;
        world_tell(w, "%u: digest %08x", i, swim_digest(s));
        for (uint32_t k = 0; k < w->nodes; k++) {
            const struct swim_member *m = swim_find(s, w->node[k].num);
            bool up = w->node[k].life == LIFE_UP && !w->node[k].leaving;
            uint64_t own = up ? swim_self(w->node[k].s)->m.incarnation : 0;
            if (m == NULL ? up
                          : up != (m->m.state == MEMBER_ALIVE) || (up && own != m->m.incarnation))
                world_tell(
                    w, "%u holds %u in state %d at incarnation %" PRIu64 ", it is at %" PRIu64, i,
                    k, m == NULL ? 0 : (int)m->m.state, m == NULL ? 0 : m->m.incarnation, own);
        }
    }
}

bool world_agrees(const struct world *w)
{
    return world_wrong(w) == 0;
}

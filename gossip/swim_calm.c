/* SPDX-License-Identifier: Apache-2.0
 * When this member contradicts those who hold it to be degraded. At once after one
 * pause: it goes on. But of one that has a few milliseconds of CPU a second it is true, and would
 * be said again a moment later. Each turn is news that every member tells seventeen times or more:
 * a few hundred such members keep all others busy with it, and themselves without a chance to take
 * it in. So after a second pause, or a second time, it contradicts only when it ran for a while
 * without one, twice as long each time, as routes that flap are damped (RFC 2439). Degraded does no
 * harm meanwhile: who talks is not suspected (expire_degraded() in swim_claims.c). */
#include "gossip/swim_int.h"

void swim_called_degraded(struct swim *s, uint64_t now_ms)
{
    uint64_t last_ms = s->contradicted_ms;
    if (s->contradict_ms != 0)
        return;
    bool again = last_ms != 0 && now_ms - last_ms <= SWIM_CALM_FORGOTTEN_MS + 8 * s->calm_ms;
    /* Of whoever was not paused since the last time it is not true: no liar makes it wait. */
    bool paused = s->paused_ms > last_ms && now_ms - s->paused_ms <= SWIM_CALM_FORGOTTEN_MS;
    if (!again)
        s->calm_ms = 0;
    if (paused && (again || s->paused_again))
        s->calm_ms =
            s->calm_ms == 0 ? SWIM_CALM_MIN_MS : swim_min(2 * s->calm_ms, SWIM_CALM_MAX_MS);
    s->contradict_ms = now_ms + (paused ? s->calm_ms : 0);
    swim_calm_tick(s, now_ms);
}

void swim_was_paused(struct swim *s, uint64_t now_ms)
{
    s->paused_again = s->paused_ms != 0 && now_ms - s->paused_ms <= SWIM_CALM_AGAIN_MS;
    s->paused_ms = now_ms;
    if (s->contradict_ms != 0)
        s->contradict_ms = now_ms + s->calm_ms;
}

void swim_contradicted(struct swim *s, uint64_t now_ms)
{
    if (s->contradict_ms != 0 && s->paused_ms > s->contradicted_ms) /* there was something to */
        s->contradicted_ms = now_ms;
    s->contradict_ms = 0;
}

void swim_calm_tick(struct swim *s, uint64_t now_ms)
{
    if (s->contradict_ms != 0 && now_ms >= s->contradict_ms)
        swim_raise(s, now_ms, swim_self(s)->m.incarnation + 1);
}

uint64_t swim_calm_deadline(const struct swim *s)
{
    return s->contradict_ms == 0 ? UINT64_MAX : s->contradict_ms;
}

/* SPDX-License-Identifier: Apache-2.0
 * Events get lost (EventBridge delivers at least once, but gives up after a day; a queue may be
 * purged, a rule changed). A daemon task that stands still on its way from one state to another is
 * therefore looked at again, seldomer and seldomer, a hundred tasks a call. */
#include "agent/daemons/daemons_int.h"

#define LOOK_AROUND_MS 2000
/* An image pull takes longer than this; then the look costs a hundredth of a read call. */
#define STILL_FIRST_MS 5000
#define STILL_MAX_MS 60000

static bool is_between(const struct model_task *task)
{
    if (task->status == TASK_STOPPED)
        return false;
    return task->status != TASK_RUNNING || !task->wanted || task->stop_again_ms != 0;
}

/* A quarter of the time that it has stood still: 5 s, 6 s, 8 s, ... up to a minute. */
static bool look_is_due(const struct model_task *task, uint64_t now_ms)
{
    uint64_t still_ms = now_ms - task->changed_ms;
    uint64_t pause_ms = still_ms / 4;
    if (still_ms < STILL_FIRST_MS)
        return false;
    if (pause_ms > STILL_MAX_MS)
        pause_ms = STILL_MAX_MS;
    return task->looked_s == 0 || still_ms >= task->looked_s * UINT64_C(1000) + pause_ms;
}

void doubt_step(struct daemons *d, uint64_t *deadline_ms)
{
    uint64_t now_ms = daemons_now(d);
    bool any = false;
    char arn[MODEL_ARN_MAX];
    if (now_ms < d->next_doubt_ms) {
        if (d->next_doubt_ms < *deadline_ms)
            *deadline_ms = d->next_doubt_ms;
        return;
    }
    for (size_t i = 0; i < d->model.slot_count; i++) {
        const struct model_instance *inst = d->model.instances[i];
        for (struct model_task *t = inst ? inst->daemons : NULL; t; t = t->next) {
            const struct denv *env = envs_of_group(d, t->kind->group->text);
            if (!is_between(t) || !env || !env->known)
                continue;
            any = true;
            if (!look_is_due(t, now_ms))
                continue;
            uint64_t still_s = (now_ms - t->changed_ms + 999) / 1000;
            t->looked_s = still_s < UINT32_MAX ? (uint32_t)still_s : UINT32_MAX;
            intake_refresh_task(d->options.intake, inst->cluster ? inst->cluster->text : NULL,
                                model_task_arn(t, arn));
        }
    }
    /* Nothing on its way: the next change wakes the step. */
    d->next_doubt_ms = any ? now_ms + LOOK_AROUND_MS : 0;
    if (any && d->next_doubt_ms < *deadline_ms)
        *deadline_ms = d->next_doubt_ms;
}

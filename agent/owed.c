/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/owed.h"

static struct owed_member *find(struct owed *o, uint64_t num, size_t among)
{
    for (size_t i = 0; i < among; i++)
        if (o->member[i].num == num)
            return &o->member[i];
    return NULL;
}

static void drop_settled(struct owed *o)
{
    size_t kept = 0;
    for (size_t i = 0; i < o->count; i++)
        if (o->member[i].runs != 0)
            o->member[kept++] = o->member[i];
    o->count = kept;
}

static void end_run(struct owed *o, uint32_t at)
{
    uint64_t bit = UINT64_C(1) << at;
    for (size_t i = 0; i < o->count; i++)
        o->member[i].runs &= ~bit;
    o->run[at] = (struct owed_run){0};
    drop_settled(o);
}

void owed_begin(struct owed *o, uint64_t run, uint32_t count, uint32_t bytes, uint64_t now_us,
                uint64_t until_us)
{
    o->last = (o->last + 1) % OWED_RUNS_MAX;
    if (o->run[o->last].run != 0)
        end_run(o, o->last);
    o->run[o->last] = (struct owed_run){
        .run = run, .count = count, .bytes = bytes, .start_us = now_us, .until_us = until_us};
    o->before = o->count;
}

static void add(struct owed *o, uint64_t num, uint64_t runs, size_t among)
{
    struct owed_member *m = find(o, num, among);
    if (m == NULL && o->count < GOSSIP_MEMBERS_MAX && runs != 0) {
        m = &o->member[o->count++];
        *m = (struct owed_member){.num = num};
    }
    if (m != NULL)
        m->runs |= runs;
}

void owed_target(struct owed *o, uint64_t num)
{
    /* Those that this run added before are others: a start does not take time by the square. */
    add(o, num, UINT64_C(1) << o->last, o->before);
}

void owed_returned(struct owed *o, uint64_t num, uint64_t now_us)
{
    uint64_t runs = 0;
    for (uint32_t i = 0; i < OWED_RUNS_MAX; i++)
        if (o->run[i].run != 0 && now_us < o->run[i].until_us)
            runs |= UINT64_C(1) << i;
    add(o, num, runs, o->count);
}

static uint32_t index_of(const struct owed *o, uint64_t run)
{
    uint32_t i = 0;
    while (i < OWED_RUNS_MAX && (o->run[i].run != run || run == 0))
        i++;
    return i;
}

void owed_end(struct owed *o, uint64_t run)
{
    uint32_t at = index_of(o, run);
    if (at < OWED_RUNS_MAX)
        end_run(o, at);
}

void owed_settled(struct owed *o, uint64_t num, uint64_t run)
{
    struct owed_member *m = find(o, num, o->count);
    uint32_t at = index_of(o, run);
    if (m == NULL || at == OWED_RUNS_MAX)
        return;
    m->runs &= ~(UINT64_C(1) << at);
    if (m->runs == 0)
        *m = o->member[--o->count];
}

bool owed_is_busy(const struct owed *o)
{
    return o->count > 0;
}

void owed_tick(struct owed *o, uint64_t now_us)
{
    for (uint32_t i = 0; i < OWED_RUNS_MAX; i++)
        if (o->run[i].run != 0 && now_us >= o->run[i].until_us)
            end_run(o, i);
    if (now_us < o->due_us)
        return;
    o->due_us = now_us + OWED_EVERY_US;
    o->bytes_left = OWED_BYTES;
    o->asks_left = OWED_ASKS_MAX;
    o->looks_left = (uint32_t)o->count;
    for (size_t i = 0; i < o->count; i++)
        o->member[i].served = 0;
}

const struct owed_run *owed_next(struct owed *o, uint64_t now_us, uint64_t *ret_num)
{
    while (o->asks_left > 0 && o->looks_left > 0 && o->count > 0) {
        if (o->turn >= o->count)
            o->turn = 0;
        const struct owed_member *m = &o->member[o->turn];
        while (o->run_turn < OWED_RUNS_MAX) {
            const struct owed_run *r = &o->run[o->run_turn];
            uint64_t bit = UINT64_C(1) << o->run_turn++;
            if ((m->runs & bit) == 0 || now_us - r->start_us < OWED_FROM_US)
                continue;
            o->asks_left--;
            *ret_num = m->num;
            return r;
        }
        o->turn++;
        o->run_turn = 0;
        o->looks_left--;
    }
    return NULL;
}

const struct owed_run *owed_serve(struct owed *o, uint64_t num, uint64_t run)
{
    struct owed_member *m = find(o, num, o->count);
    uint32_t at = index_of(o, run);
    if (m == NULL || at == OWED_RUNS_MAX)
        return NULL;
    uint64_t bit = UINT64_C(1) << at;
    if ((m->runs & ~m->served & bit) == 0)
        return NULL;
    m->served |= bit;
    return &o->run[at];
}

bool owed_spend(struct owed *o, uint32_t bytes)
{
    if (o->bytes_left == 0)
        return false;
    o->bytes_left -= bytes < o->bytes_left ? bytes : o->bytes_left;
    return true;
}

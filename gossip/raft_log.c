/* SPDX-License-Identifier: Apache-2.0
 * The log's window: the newest entries, in a ring of slots and a ring of bytes. What is applied
 * may leave it at the front when room is needed; the disk still has it. */
#include "gossip/raft_int.h"

#include <string.h>

static struct raft_slot *slot(const struct raft_log *l, uint64_t index)
{
    return (struct raft_slot *)&l->slot[index % RAFT_WINDOW];
}

void raft_log_init(struct raft_log *l, uint8_t *arena, uint32_t cap)
{
    ENSURE(arena != NULL);
    ENSURE(cap >= 4 * RAFT_ENTRY_MAX);
    memset(l, 0, sizeof(*l));
    l->arena = arena;
    l->cap = cap;
}

/* Everything up to index is elsewhere (on disk, or in a snapshot). */
void raft_log_reset(struct raft_log *l, uint64_t index, uint64_t term)
{
    l->prev_index = index;
    l->prev_term = term;
    l->last_index = index;
    l->tail = 0;
}

uint64_t raft_log_term(const struct raft_log *l, uint64_t index)
{
    if (index == l->prev_index)
        return l->prev_term;
    if (index < l->prev_index || index > l->last_index)
        return 0;
    return slot(l, index)->term;
}

bool raft_log_get(const struct raft_log *l, uint64_t index, struct raft_entry *ret)
{
    if (index <= l->prev_index || index > l->last_index)
        return false;
    const struct raft_slot *s = slot(l, index);
    *ret = (struct raft_entry){
        .index = index, .term = s->term, .type = s->type, .len = s->len, .data = l->arena + s->at};
    return true;
}

/* Where len contiguous bytes are free, UINT32_MAX if nowhere. Used bytes run from the first
 * slot's start to tail, perhaps around the end; tail never catches up with the start. */
static uint32_t room(const struct raft_log *l, uint32_t len)
{
    if (l->last_index == l->prev_index)
        return 0;
    uint32_t head = slot(l, l->prev_index + 1)->at;
    if (l->tail >= head) {
        if (len <= l->cap - l->tail)
            return l->tail;
        return len < head ? 0 : UINT32_MAX;
    }
    return len < head - l->tail ? l->tail : UINT32_MAX;
}

bool raft_log_append(struct raft_log *l, const struct raft_entry *entry)
{
    ENSURE(entry->index == l->last_index + 1);
    if (entry->len > RAFT_ENTRY_MAX)
        return false;
    for (;;) {
        uint32_t at =
            l->last_index - l->prev_index < RAFT_WINDOW ? room(l, entry->len) : UINT32_MAX;
        if (at != UINT32_MAX) {
            l->last_index++;
            *slot(l, l->last_index) = (struct raft_slot){
                .term = entry->term, .at = at, .len = entry->len, .type = entry->type};
            if (entry->len > 0)
                memcpy(l->arena + at, entry->data, entry->len);
            l->tail = at + entry->len;
            return true;
        }
        if (!raft_log_compact(l, l->prev_index + 1))
            return false;
    }
}

/* Entries up to index leave the window, as far as they are applied and on disk. */
bool raft_log_compact(struct raft_log *l, uint64_t index)
{
    uint64_t to = index < l->applied ? index : l->applied;
    to = to < l->durable ? to : l->durable;
    to = to < l->last_index ? to : l->last_index;
    if (to <= l->prev_index)
        return false;
    l->prev_term = slot(l, to)->term;
    l->prev_index = to;
    return true;
}

void raft_log_truncate(struct raft_log *l, uint64_t from)
{
    ENSURE(from > l->prev_index);
    if (from > l->last_index)
        return;
    l->tail = slot(l, from)->at;
    l->last_index = from - 1;
    if (l->durable > l->last_index)
        l->durable = l->last_index;
}

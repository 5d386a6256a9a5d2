/* SPDX-License-Identifier: Apache-2.0
 * Raft core: the log's window, the newest entries, in a ring of slots and a ring of bytes. What is
 * applied may leave it at the front when room is needed; the disk still has it. */
#include <string.h>

#include "gossip/raft_int.h"

static struct raft_slot *slot(const struct raft_log *l, uint64_t index)
{
    return (struct raft_slot *)&l->slot[index % RAFT_WINDOW];
}

/* Everything up to index is elsewhere; its term is still asked for. */
void raft_log_begin(struct raft *r, uint64_t index, uint64_t term)
{
    r->log.prev_index = r->log.last_index = index;
    slot(&r->log, index)->term = term;
}

uint64_t raft_term_of(const struct raft *r, uint64_t index)
{
    return index < r->log.prev_index || index > r->log.last_index ? 0 : slot(&r->log, index)->term;
}

bool raft_entry_get(const struct raft *r, uint64_t index, struct raft_entry *ret)
{
    const struct raft_slot *s = slot(&r->log, index);
    if (index <= r->log.prev_index || index > r->log.last_index)
        return false;
    *ret = (struct raft_entry){.index = index,
                               .term = s->term,
                               .type = s->type,
                               .len = s->len,
                               .data = r->log.arena + s->at % r->log.cap};
    return true;
}

bool raft_append(struct raft *r, const struct raft_entry *entry)
{
    struct raft_log *l = &r->log;
    struct raft_config c;
    bool config = entry->type == RAFT_CONFIG && entry->index > r->config.index;
    ENSURE(entry->index == l->last_index + 1);
    if (entry->len > RAFT_ENTRY_MAX ||
        (config && raft_config_decode(entry->data, entry->len, &c) < 0))
        return false;
    /* Its bytes are not parted: where the end of the ring is too near they begin a new round. */
    uint64_t left = l->cap - l->tail % l->cap, at = l->tail + (entry->len > left ? left : 0);
    while (l->last_index - l->prev_index == RAFT_WINDOW - 1 ||
           (l->last_index > l->prev_index &&
            at + entry->len - slot(l, l->prev_index + 1)->at > l->cap)) {
        if (l->prev_index >= least(l->applied, r->saved.last))
            return false;
        l->prev_index++;
    }
    *slot(l, ++l->last_index) =
        (struct raft_slot){.term = entry->term, .at = at, .len = entry->len, .type = entry->type};
    if (entry->len > 0)
        memcpy(l->arena + at % l->cap, entry->data, entry->len);
    l->tail = at + entry->len;
    if (config) { /* in force as soon as it is in the log (4.1) */
        c.index = entry->index;
        r->config_before = r->config;
        r->config = c;
    }
    return true;
}

int raft_restore_entry(struct raft *r, const struct raft_entry *entry)
{
    if (entry->index != r->log.last_index + 1 || entry->term < raft_term_of(r, entry->index - 1) ||
        !raft_append(r, entry))
        return ERR_CORRUPT;
    r->saved.last = r->saving.last = entry->index;
    return 0;
}

/* The disk may keep what goes until the next write: it is not trusted there. */
void raft_truncate(struct raft *r, uint64_t from)
{
    ENSURE(from > r->commit);
    if (from > r->log.last_index)
        return;
    r->log.tail = slot(&r->log, from)->at;
    r->log.last_index = from - 1;
    r->saved.last = least(r->saved.last, from - 1);
    r->saving.last = least(r->saving.last, from - 1);
    if (r->config.index >= from) /* at most one is uncommitted: 4.1 and the guard */
        r->config = r->config_before;
}

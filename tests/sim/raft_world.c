/* SPDX-License-Identifier: Apache-2.0
 * Network, disks, clocks and a shell around the cores: one world, hence one (long) file. */
#include "tests/sim/raft_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"

enum { EVENT_MESSAGE, EVENT_TICK, EVENT_WRITE };

/* ---- events ------------------------------------------------------------------- */

static bool sooner(const struct world_event *a, const struct world_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

static void push(struct world *w, struct world_event e)
{
    if (w->heap_len == w->heap_cap) {
        w->heap_cap = w->heap_cap == 0 ? 256 : 2 * w->heap_cap;
        w->heap = realloc(w->heap, w->heap_cap * sizeof(*w->heap));
        ENSURE(w->heap != NULL);
    }
    e.seq = ++w->seq;
    size_t i = w->heap_len++;
    for (; i > 0 && sooner(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static struct world_event pop(struct world *w)
{
    struct world_event top = w->heap[0], last = w->heap[--w->heap_len];
    size_t i = 0;
    for (;;) {
        size_t c = 2 * i + 1;
        if (c + 1 < w->heap_len && sooner(&w->heap[c + 1], &w->heap[c]))
            c++;
        if (c >= w->heap_len || !sooner(&w->heap[c], &last))
            break;
        w->heap[i] = w->heap[c];
        i = c;
    }
    w->heap[i] = last;
    return top;
}

uint64_t world_clock(const struct world *w, uint32_t i)
{
    const struct world_node *n = &w->node[i];
    return n->offset_ms + (uint64_t)((double)w->now_us * n->rate / 1000.0);
}

static void arm(struct world *w, uint32_t i)
{
    struct world_node *n = &w->node[i];
    uint64_t due = n->raft.due_ms, now = world_clock(w, i);
    uint64_t in_ms = due > now ? due - now : 0;
    uint64_t at = w->now_us + (uint64_t)((double)in_ms * 1000.0 / n->rate) + 1000;
    if (n->tick_us > w->now_us && n->tick_us <= at)
        return; /* an earlier one is armed: it arms the next */
    n->tick_us = at;
    push(w, (struct world_event){
                .at_us = at, .kind = EVENT_TICK, .node = (uint8_t)i, .boot = n->boots});
}

/* ---- network ------------------------------------------------------------------------ */

static void deliver(struct world *w, uint32_t from, uint64_t to, const uint8_t *bytes, uint64_t len)
{
    const struct world_profile *p = &w->profile;
    w->messages++;
    if (to == 0 || to > w->count || w->cut[from][to - 1])
        return;
    uint32_t copies = prng_below(&w->rng, 1000) < p->loss ? 0 : 1;
    copies += prng_below(&w->rng, 1000) < p->doubled;
    for (uint32_t c = 0; c < copies; c++) {
        uint64_t delay = p->delay_us_min + prng_below(&w->rng, p->delay_us_max - p->delay_us_min);
        if (prng_below(&w->rng, 1000) < p->late)
            delay += prng_below(&w->rng, 3000000);
        uint8_t *copy = malloc(len);
        ENSURE(copy != NULL);
        memcpy(copy, bytes, len);
        push(w, (struct world_event){.at_us = w->now_us + delay,
                                     .kind = EVENT_MESSAGE,
                                     .node = (uint8_t)(to - 1),
                                     .from = (uint8_t)from,
                                     .bytes = copy,
                                     .len = len});
    }
}

static void send(struct world *w, uint32_t i, const struct raft_msg *m)
{
    struct world_node *n = &w->node[i];
    size_t len = raft_msg_size(m);
    struct world_held *h = malloc(sizeof(*h) + len);
    struct wbuf b;
    ENSURE(h != NULL);
    wbuf_init(&b, h->bytes, len);
    raft_msg_encode(m, &b);
    ENSURE(!b.bad);
    ENSURE(b.len == len);
    *h = (struct world_held){.gate = m->gate, .to = m->to, .len = len};
    if (m->gate <= n->raft.saved.hard) {
        deliver(w, i, m->to, h->bytes, len);
        free(h);
        return;
    }
    *n->held_last = h;
    n->held_last = &h->next;
}

static void release(struct world *w, uint32_t i)
{
    struct world_node *n = &w->node[i];
    struct world_held **at = &n->held_first;
    while (*at != NULL) {
        struct world_held *h = *at;
        if (h->gate > n->raft.saved.hard) {
            at = &h->next;
            continue;
        }
        deliver(w, i, h->to, h->bytes, h->len);
        *at = h->next;
        free(h);
    }
    n->held_last = at;
}

/* ---- disk ------------------------------------------------------------------------------ */

static void post(struct world *w, uint32_t i, struct world_write *write)
{
    struct world_node *n = &w->node[i];
    uint64_t start = w->now_us;
    for (struct world_write *k = n->write_first; k != NULL; k = k->next)
        start = k->done_us > start ? k->done_us : start;
    write->done_us = start + 100 + prng_below(&w->rng, w->profile.disk_us_max);
    *n->write_last = write;
    n->write_last = &write->next;
    push(w,
         (struct world_event){
             .at_us = write->done_us, .kind = EVENT_WRITE, .node = (uint8_t)i, .boot = n->boots});
}

static struct world_write *write_new(enum world_write_kind kind)
{
    struct world_write *write = calloc(1, sizeof(*write));
    ENSURE(write != NULL);
    write->kind = kind;
    return write;
}

static void post_persist(struct world *w, uint32_t i)
{
    struct world_node *n = &w->node[i];
    struct raft_persist p;
    if (!raft_persist_begin(&n->raft, &p))
        return;
    struct world_write *write = write_new(WRITE_LOG);
    write->persist = p;
    write->state = n->state;
    write->config = n->config;
    write->chain = n->chain_in;
    if (p.first <= p.last) {
        write->entry = calloc(p.last - p.first + 1, sizeof(*write->entry));
        ENSURE(write->entry != NULL);
    }
    for (uint64_t k = p.first; k <= p.last; k++) {
        struct raft_entry e;
        ENSURE(raft_entry_get(&n->raft, k, &e));
        ENSURE(e.len <= RAFT_CONFIG_BYTES_MAX);
        struct world_entry *to = &write->entry[k - p.first];
        *to = (struct world_entry){.term = e.term, .type = e.type, .len = e.len};
        if (e.len > 0)
            memcpy(to->data, e.data, e.len);
    }
    post(w, i, write);
}

static void drop_front(struct world_disk *d, uint64_t index, uint64_t term, uint64_t chain)
{
    if (index <= d->base_index)
        return;
    uint64_t keep = d->last_index > index ? d->last_index - index : 0;
    if (keep > 0)
        memmove(d->entry, &d->entry[index - d->base_index], keep * sizeof(*d->entry));
    d->base_index = index;
    d->base_term = term;
    d->base_chain = chain;
    d->last_index = index + keep;
}

static void land_log(struct world *w, uint32_t i, struct world_write *write)
{
    struct world_disk *d = &w->node[i].disk;
    const struct raft_persist *p = &write->persist;
    d->term = p->term;
    d->vote = p->vote;
    if (p->first <= d->last_index)
        d->last_index = p->first - 1 > d->base_index ? p->first - 1 : d->base_index;
    if (p->snapshot) {
        drop_front(d, p->snapshot_index, p->snapshot_term, write->chain);
        d->applied_index = p->snapshot_index;
        d->applied_term = p->snapshot_term;
        d->state = write->state;
        d->config = write->config;
    }
    for (uint64_t k = p->first; k <= p->last; k++) {
        if (k <= d->base_index)
            continue;
        if (k > d->last_index + 1) {
            world_fail(w, "n%u writes entry %lu after %lu", i + 1, k, d->last_index);
            return;
        }
        if (k - d->base_index > d->cap) {
            d->cap = 2 * (k - d->base_index) + 64;
            d->entry = realloc(d->entry, d->cap * sizeof(*d->entry));
            ENSURE(d->entry != NULL);
        }
        struct world_entry *e = &write->entry[k - p->first];
        e->chain = world_chain(world_chain_at(d, k - 1), e->term, e->type, e->data, e->len);
        d->entry[k - d->base_index - 1] = *e;
        d->last_index = k;
        check_stored(w, i, k, e);
    }
}

static void land(struct world *w, uint32_t i)
{
    struct world_node *n = &w->node[i];
    struct world_disk *d = &n->disk;
    struct world_write *write = n->write_first;
    n->write_first = write->next;
    if (n->write_first == NULL)
        n->write_last = &n->write_first;
    if (write->kind == WRITE_LOG) {
        land_log(w, i, write);
    } else if (write->kind == WRITE_APPLIED && write->index > d->applied_index) {
        d->applied_index = write->index;
        d->applied_term = write->term;
        d->state = write->state;
        d->config = write->config;
    } else if (write->kind == WRITE_COMPACT && write->index <= d->last_index &&
               write->index > d->base_index) {
        drop_front(d, write->index, d->entry[write->index - d->base_index - 1].term,
                   world_chain_at(d, write->index));
    }
    free(write->entry);
    free(write);
}

/* ---- what the shell does ------------------------------------------------------------------ */

static void apply(struct world *w, uint32_t i)
{
    struct world_node *n = &w->node[i];
    uint64_t limit = raft_apply_limit(&n->raft), term = 0;
    if (n->applied >= limit)
        return;
    while (n->applied < limit) {
        struct raft_entry e;
        if (!raft_entry_get(&n->raft, n->applied + 1, &e)) {
            world_fail(w, "n%u cannot read entry %lu to apply it", i + 1, n->applied + 1);
            return;
        }
        n->applied++;
        term = e.term;
        if (e.type == RAFT_COMMAND)
            n->state = hash_bytes(e.data, e.len, n->state);
        if (e.type == RAFT_CONFIG) {
            ENSURE(raft_config_decode(e.data, e.len, &n->config) == 0);
            n->config.index = e.index;
        }
        check_applied(w, i, n->applied, n->state);
    }
    struct world_write *write = write_new(WRITE_APPLIED);
    write->index = n->applied;
    write->term = term;
    write->state = n->state;
    write->config = n->config;
    post(w, i, write);
}

/* A snapshot is: state, chain, index of the configuration, configuration. */
static void supply(struct world *w, uint32_t i, uint64_t num)
{
    const struct world_disk *d = &w->node[i].disk;
    uint8_t bytes[24 + RAFT_CONFIG_BYTES_MAX];
    struct wbuf b;
    uint64_t chain = world_chain_at(d, d->applied_index);
    wbuf_init(&b, bytes, sizeof(bytes));
    wbuf_bytes(&b, &d->state, 8);
    wbuf_bytes(&b, &chain, 8);
    wbuf_bytes(&b, &d->config.index, 8);
    raft_config_encode(&d->config, &b);
    ENSURE(!b.bad);
    world_step(w, i,
               &(struct raft_input){.type = RAFT_SUPPLY,
                                    .num = num,
                                    .index = d->applied_index,
                                    .term = d->applied_term,
                                    .data = bytes,
                                    .count = (uint32_t)b.len});
}

static void restore(struct world *w, uint32_t i, const struct raft_snapshot *in)
{
    struct world_node *n = &w->node[i];
    struct raft_config config;
    uint64_t state;
    if (in->len < 24 || raft_config_decode(in->data + 24, in->len - 24, &config) < 0) {
        world_fail(w, "n%u received a broken snapshot", i + 1);
        return;
    }
    memcpy(&state, in->data, 8);
    memcpy(&n->chain_in, in->data + 8, 8);
    memcpy(&config.index, in->data + 16, 8);
    if (in->index > n->applied) {
        n->state = state;
        n->applied = in->index;
        n->config = config;
        check_applied(w, i, in->index, state);
    }
    w->restores++;
    world_say(w, i, "loads the snapshot of index %lu", in->index);
    world_step(w, i,
               &(struct raft_input){
                   .type = RAFT_RESTORE, .index = in->index, .term = in->term, .config = &config});
}

void world_step(struct world *w, uint32_t i, const struct raft_input *in)
{
    struct world_node *n = &w->node[i];
    static struct raft_out outs[4]; /* steps nest: a snapshot is supplied and loaded by one */
    static uint32_t depth;
    ENSURE(depth < 4);
    struct raft_out *out = &outs[depth++];
    raft_step(&n->raft, world_clock(w, i), in, out);
    post_persist(w, i);
    for (uint32_t k = 0; k < out->msg_count; k++)
        send(w, i, &out->msg[k]);
    release(w, i);
    check_after(w, i);
    if (out->snapshot.index != 0)
        restore(w, i, &out->snapshot);
    for (uint32_t k = 0; k < n->raft.config.count && !w->failed; k++)
        if ((out->snapshot_for >> k & 1) != 0)
            supply(w, i, n->raft.config.server[k].num);
    apply(w, i);
    if (n->raft.log.applied > n->disk.base_index + 2 * w->profile.trailing &&
        n->raft.log.applied > n->compact_to + w->profile.trailing) {
        struct world_write *write = write_new(WRITE_COMPACT);
        write->index = n->raft.log.applied - w->profile.trailing;
        n->compact_to = write->index;
        post(w, i, write);
    }
    arm(w, i);
    w->hash = hash_mix(w->hash ^ w->now_us ^ (n->raft.term << 40) ^ (n->raft.commit << 20) ^ i);
    depth--;
}

/* ---- the world ----------------------------------------------------------------------------- */

static void boot(struct world *w, uint32_t i)
{
    struct world_node *n = &w->node[i];
    struct world_disk *d = &n->disk;
    n->up = true;
    n->boots++;
    n->tick_us = 0;
    n->pause_until_us = 0;
    n->write_first = NULL;
    n->write_last = &n->write_first;
    n->held_first = NULL;
    n->held_last = &n->held_first;
    n->applied = d->applied_index;
    n->state = d->state;
    n->config = d->config;
    n->role_seen = RAFT_FOLLOWER;
    n->compact_to = 0;
    n->commit_seen = d->applied_index;
    struct raft_options o = {.self = n->num,
                             .disk = d->id,
                             .election_ms = 300,
                             .heartbeat_ms = 50,
                             .seed = prng_next(&w->rng),
                             .arena = n->arena,
                             .arena_len = WORLD_ARENA,
                             .term = d->term,
                             .vote = d->vote,
                             .base_index = d->base_index,
                             .base_term = d->base_term,
                             .applied_index = d->applied_index,
                             .config = d->config.count > 0 ? &d->config : NULL};
    raft_init(&n->raft, world_clock(w, i), &o);
    for (uint64_t k = d->base_index + 1; k <= d->last_index; k++) {
        const struct world_entry *s = &d->entry[k - d->base_index - 1];
        struct raft_entry e = {
            .index = k, .term = s->term, .type = s->type, .len = s->len, .data = s->data};
        if (raft_restore_entry(&n->raft, &e) < 0)
            world_fail(w, "n%u cannot restore entry %lu", i + 1, k);
    }
    n->term_seen = d->term;
    arm(w, i);
}

void world_init(struct world *w, uint64_t seed, uint32_t count, uint32_t voters)
{
    memset(w, 0, sizeof(*w));
    prng_seed(&w->rng, seed);
    w->count = count;
    w->profile = (struct world_profile){
        .delay_us_min = 500, .delay_us_max = 5000, .disk_us_max = 1000, .trailing = 100};
    w->seen_cap = 1u << 16;
    w->seen = calloc(w->seen_cap, sizeof(*w->seen));
    ENSURE(w->seen != NULL);
    struct raft_config config = {.index = 1, .count = voters};
    for (uint32_t i = 0; i < voters; i++) {
        config.server[i] = (struct raft_server){.num = i + 1, .disk = 100 + i, .voter = true};
        snprintf(config.server[i].id, sizeof(config.server[i].id), "n%u", i + 1);
    }
    w->committed = 1;
    w->committed_term[1] = 1;
    w->committed_by[1] = w->state_at[1] = 1;
    for (uint32_t i = 0; i < count; i++) {
        struct world_node *n = &w->node[i];
        n->num = i + 1;
        n->rate = 1.0;
        n->offset_ms = 1000 + prng_below(&w->rng, 100000);
        n->arena = malloc(WORLD_ARENA);
        ENSURE(n->arena != NULL);
        n->disk.id = 100 + i;
        if (i < voters) {
            n->disk.term = n->disk.base_term = n->disk.applied_term = 1;
            n->disk.base_index = n->disk.last_index = n->disk.applied_index = 1;
            n->disk.base_chain = n->disk.state = 1;
            n->disk.config = config;
        }
        boot(w, i);
    }
}

static void forget(struct world_node *n)
{
    while (n->write_first != NULL) {
        struct world_write *next = n->write_first->next;
        free(n->write_first->entry);
        free(n->write_first);
        n->write_first = next;
    }
    while (n->held_first != NULL) {
        struct world_held *next = n->held_first->next;
        free(n->held_first);
        n->held_first = next;
    }
}

void world_fini(struct world *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        forget(&w->node[i]);
        free(w->node[i].arena);
        free(w->node[i].disk.entry);
    }
    for (size_t k = 0; k < w->heap_len; k++)
        free(w->heap[k].bytes);
    free(w->heap);
    free(w->seen);
}

void world_crash(struct world *w, uint32_t i, uint32_t writes)
{
    struct world_node *n = &w->node[i];
    if (!n->up)
        return;
    world_say(w, i, "crashes; %u queued writes reach the disk", writes);
    for (; writes > 0 && n->write_first != NULL; writes--)
        land(w, i);
    forget(n);
    n->up = false;
    w->crashes++;
}

void world_restart(struct world *w, uint32_t i)
{
    if (w->node[i].up)
        return;
    boot(w, i);
    world_say(w, i, "starts, term %lu, log %lu..%lu", w->node[i].disk.term,
              w->node[i].disk.base_index + 1, w->node[i].disk.last_index);
}

void world_wipe(struct world *w, uint32_t i)
{
    struct world_disk *d = &w->node[i].disk;
    ENSURE(!w->node[i].up);
    uint64_t id = d->id + 100;
    free(d->entry);
    *d = (struct world_disk){.id = id};
    world_say(w, i, "loses its disk");
}

void world_cut(struct world *w, uint32_t a, uint32_t b, bool cut)
{
    w->cut[a][b] = w->cut[b][a] = cut;
}

void world_heal(struct world *w)
{
    memset(w->cut, 0, sizeof(w->cut));
    for (uint32_t i = 0; i < w->count; i++)
        world_restart(w, i);
}

int world_leader(const struct world *w)
{
    int best = -1;
    for (uint32_t i = 0; i < w->count; i++)
        if (w->node[i].up && w->node[i].raft.role == RAFT_LEADER &&
            (best < 0 || w->node[i].raft.term > w->node[best].raft.term))
            best = (int)i;
    return best;
}

int world_propose(struct world *w, uint32_t i, uint32_t count)
{
    uint64_t before = w->node[i].raft.log.last_index;
    if (w->node[i].raft.role != RAFT_LEADER)
        return ERR_NOTLEADER;
    for (uint32_t k = 0; k < count && !w->failed; k++) {
        uint64_t payload = ++w->commands;
        world_step(w, i,
                   &(struct raft_input){.type = RAFT_PROPOSE,
                                        .data = (const uint8_t *)&payload,
                                        .count = sizeof(payload)});
    }
    return w->node[i].raft.log.last_index > before ? 0 : ERR_BUSY;
}

int world_change(struct world *w, uint32_t i, enum raft_change change, uint32_t who, uint64_t disk,
                 uint64_t since)
{
    struct raft_server s = {.num = who + 1, .disk = disk};
    uint64_t before = w->node[i].raft.config.index;
    snprintf(s.id, sizeof(s.id), "n%u", who + 1);
    world_step(
        w, i,
        &(struct raft_input){.type = RAFT_ALTER, .change = change, .server = &s, .since = since});
    if (w->node[i].raft.config.index == before)
        return ERR_BUSY;
    world_say(w, i, "change %d of n%u at index %lu", (int)change, who + 1,
              w->node[i].raft.config.index);
    return 0;
}

static void shrink(struct raft *r, uint64_t index)
{
    for (struct raft_log *l = &r->log;
         l->prev_index < index && l->prev_index < l->applied && l->prev_index < r->saved.last;)
        l->prev_index++;
}

static void happen(struct world *w, const struct world_event *e)
{
    struct world_node *n = &w->node[e->node];
    if (e->kind == EVENT_MESSAGE) {
        struct raft_msg m;
        struct raft_entry entries[RAFT_BATCH];
        int err = raft_msg_decode(e->bytes, e->len, &m, entries);
        w->hash = hash_bytes(e->bytes, e->len, w->hash);
        m.from = e->from + 1u;
        m.to = n->num;
        if (err < 0 && m.term != 0) /* a server without a log may speak of term 0 */
            world_fail(w, "a message does not decode");
        else if (err == 0)
            world_step(w, e->node, &(struct raft_input){.type = RAFT_RECV, .msg = &m});
    } else if (e->kind == EVENT_TICK) {
        world_step(w, e->node, &(struct raft_input){.type = RAFT_TICK});
    } else {
        enum world_write_kind kind = n->write_first->kind;
        uint64_t index = n->write_first->index;
        land(w, e->node);
        if (kind == WRITE_LOG)
            world_step(w, e->node, &(struct raft_input){.type = RAFT_PERSISTED});
        else if (kind == WRITE_APPLIED)
            world_step(w, e->node, &(struct raft_input){.type = RAFT_APPLIED, .index = index});
        else /* a small window makes snapshots frequent */
            shrink(&n->raft, n->disk.base_index);
    }
}

void world_run(struct world *w, uint64_t for_us)
{
    uint64_t end = w->now_us + for_us;
    while (!w->failed && w->heap_len > 0 && w->heap[0].at_us <= end) {
        struct world_event e = pop(w);
        struct world_node *n = &w->node[e.node];
        w->now_us = e.at_us;
        bool stale = e.kind != EVENT_MESSAGE && e.boot != n->boots;
        if (n->up && !stale && n->pause_until_us > w->now_us) {
            e.at_us = n->pause_until_us;
            push(w, e);
            continue;
        }
        if (n->up && !stale)
            happen(w, &e);
        free(e.bytes);
    }
    w->now_us = end;
}

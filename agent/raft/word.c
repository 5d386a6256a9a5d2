/* SPDX-License-Identifier: Apache-2.0
 * Two must not recover one lost quorum by themselves. Before it recovers an agent asks every other
 * candidate for its word not to do so, and begins only with the words of all but those whose
 * instances are proven gone. (docs/consensus.md has the argument.)
 *
 * A word is on disk before it is sent and holds until the one it was given to gives its own in
 * return, or is proven gone. Who has begun gives none, and is of another cluster from then on. So
 * of any two that ever know of each other one has the other's word, or neither begins; no clock and
 * no majority is part of it. What takes turns, so that they do not wait for each other, is auto.c.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/raft/raft_uv_int.h"

#define WORD_BYTES (1 + 8 + 1 + 4 * 8)
#define INSIST_MS 30000u /* so long one that goes first refuses; then perhaps it cannot */
#define PROOFS_MAX 4u    /* asked of ECS and EC2 at a time */

enum what { ASK = 1, GIVEN = 2 };
struct giving { /* its word is on the way to the disk */
    struct raft_uv *r;
    uint64_t to, cluster, round;
};

static void send_word(struct raft_uv *r, uint64_t to, enum what what, uint64_t cluster,
                      uint64_t round)
{
    uint8_t bytes[WORD_BYTES];
    struct wbuf w;
    wbuf_init(&w, bytes, sizeof(bytes));
    wbuf_u8(&w, FRAME_WORD);
    wbuf_u64(&w, cluster);
    wbuf_u8(&w, (uint8_t)what);
    wbuf_u64(&w, round);
    wbuf_u64(&w, r->lost.held_term);
    wbuf_u64(&w, r->lost.held_index);
    if (!w.bad)
        (void)gossip_send(r->o.gossip, CHANNEL_RAFT, to, bytes, w.len);
}

/* ---- asking ------------------------------------------------------------------------------- */

bool word_is_asked(const struct raft_uv *r)
{
    return r->word.round != 0 && r->word.asked == raft_uv_cluster_id(r);
}

/* Given to what this agent asks now: before that it may have given its own. */
static bool has_word_of(const struct raft_uv *r, const char *id)
{
    const struct peer_info *p = hello_peer(r, id);
    return p != NULL && (p->gone || (word_is_asked(r) && p->round == r->word.round));
}

static bool counts(const struct gossip_member *m)
{
    /* One that said goodbye needs this agent's word when it comes back. */
    return !m->self && m->meta->role == 0 && m->state != MEMBER_LEFT;
}

const char *word_bound_to(const struct raft_uv *r)
{
    for (uint32_t i = 0; i < r->word.count && r->word.cluster == raft_uv_cluster_id(r); i++)
        if (!has_word_of(r, r->word.given[i]))
            return r->word.given[i];
    return NULL;
}

const char *word_missing(const struct raft_uv *r)
{
    for (size_t i = 0; i < gossip_count(r->o.gossip); i++) {
        const struct gossip_member *m = gossip_at(r->o.gossip, i);
        if (counts(m) && !has_word_of(r, m->id))
            return m->id;
    }
    return word_bound_to(r);
}

void word_ask(struct raft_uv *r)
{
    uint32_t proofs = 0;
    const char *bound = word_bound_to(r);
    const struct gossip_member *known = bound == NULL ? NULL : gossip_find_id(r->o.gossip, bound);
    if (!word_is_asked(r))
        r->word.round = prng_next(&r->rng) | 1;
    r->word.asked = raft_uv_cluster_id(r);
    for (size_t k = 0, n = gossip_count(r->o.gossip); k < n; k++) {
        const struct gossip_member *m = gossip_at(r->o.gossip, (r->word.next + k) % n);
        if (!counts(m) || has_word_of(r, m->id))
            continue;
        if (m->state <= MEMBER_SUSPECT)
            send_word(r, m->num, ASK, r->word.asked, r->word.round);
        else if (proofs++ < PROOFS_MAX)
            (void)r->o.prove_gone(r->o.arg, m->id);
    }
    r->word.next += PROOFS_MAX; /* others come first next time */
    if (bound != NULL && (known == NULL || known->state == MEMBER_LEFT))
        (void)r->o.prove_gone(r->o.arg, bound);
}

void word_withdraw(struct raft_uv *r)
{
    r->word.round = 0;
}

/* ---- giving --------------------------------------------------------------------------------- */

static void on_given(void *arg, int err)
{
    struct giving *g = arg;
    struct raft_uv *r = g->r;
    if (err == 0 && !r->closing)
        send_word(r, g->to, GIVEN, g->cluster, g->round);
    free(g);
    raft_uv_op_done(r);
}

/* In memory at once, so that this agent does not begin meanwhile; on disk before it is said. */
static void give(struct raft_uv *r, const struct gossip_member *m, uint64_t cluster, uint64_t round)
{
    struct giving *g = malloc(sizeof(*g));
    uint32_t i = 0;
    if (r->word.cluster != cluster)
        r->word.count = 0;
    while (i < r->word.count && strcmp(r->word.given[i], m->id) != 0)
        i++;
    if (g == NULL || i == WORDS_MAX) {
        free(g);
        return;
    }
    r->word.cluster = cluster;
    memset(r->word.given[i], 0, AGENT_ID_MAX);
    memcpy(r->word.given[i], m->id, strnlen(m->id, AGENT_ID_MAX - 1));
    r->word.count += i == r->word.count;
    /* What others gave for this agent's own asking does not hold beside it. */
    r->word.round = 0;
    *g = (struct giving){r, m->num, cluster, round};
    struct store_fact facts[] = {
        {"raft.word.cluster", &r->word.cluster, 8},
        {"raft.word", r->word.given, r->word.count * sizeof(r->word.given[0])}};
    struct store_log_write w = {.facts = facts, .fact_count = 2};
    if (store_log_write(r->o.store, &w, on_given, g) == 0)
        r->store_ops++;
    else
        free(g);
}

/* It would recover itself, from what is newer; but perhaps it cannot ask EC2. */
static bool insists(const struct raft_uv *r, const struct gossip_member *m, struct peer_info *p,
                    uint64_t now_ms)
{
    if (r->lost.since == 0 || auto_goes_first(p->held_term, p->held_index, m->id, r->lost.held_term,
                                              r->lost.held_index, r->self.id))
        return false;
    if (p->asked_ms == 0 || now_ms > p->asked_ms + 4 * INSIST_MS)
        p->asked_ms = now_ms;
    return now_ms < p->asked_ms + INSIST_MS;
}

static void on_ask(struct raft_uv *r, const struct gossip_member *m, uint64_t cluster,
                   uint64_t round, uint64_t now_ms)
{
    struct peer_info *p = hello_peer(r, m->id);
    uint64_t known = raft_uv_cluster_id(r);
    if (known != 0 && known != cluster) {
        hello_tell(r, m->num); /* one of the two goes on from the other */
        return;
    }
    if (p == NULL || r->starting || r->superseded != 0 || step_in_conflict(r, now_ms) ||
        !auto_sees_loss(r, now_ms) || insists(r, m, p, now_ms))
        return;
    give(r, m, cluster, round);
}

void word_recv(struct raft_uv *r, uint64_t from, const uint8_t *data, size_t len, uint64_t now_ms)
{
    struct rbuf b;
    rbuf_init(&b, data, len);
    (void)rbuf_u8(&b);
    uint64_t cluster = rbuf_u64(&b);
    uint8_t what = rbuf_u8(&b);
    uint64_t round = rbuf_u64(&b), term = rbuf_u64(&b), index = rbuf_u64(&b);
    const struct gossip_member *m = gossip_find(r->o.gossip, from);
    struct peer_info *p = m == NULL || b.bad ? NULL : hello_peer(r, m->id);
    if (p == NULL || m->self || cluster == 0 || round == 0)
        return; /* who asks says hello before, and asks again */
    if (what == ASK) {
        p->held_term = term;
        p->held_index = index;
        on_ask(r, m, cluster, round, now_ms);
    } else if (what == GIVEN && word_is_asked(r) && round == r->word.round &&
               cluster == r->word.asked) {
        p->round = round;
        auto_begin(r);
    }
}

int word_load(struct raft_uv *r)
{
    size_t len = 0;
    int err = store_fact_get(r->o.store, "raft.word.cluster", &r->word.cluster, 8, &len);
    if (err == ERR_NOTFOUND)
        return 0;
    if (err == 0)
        err = store_fact_get(r->o.store, "raft.word", r->word.given, sizeof(r->word.given), &len);
    r->word.count = err == 0 ? (uint32_t)(len / sizeof(r->word.given[0])) : 0;
    return err;
}

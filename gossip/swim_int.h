/* SPDX-License-Identifier: Apache-2.0
 * Shared by the files of the swim core only. */
#ifndef BLOX_GOSSIP_SWIM_INT_H
#define BLOX_GOSSIP_SWIM_INT_H

#include "gossip/swim.h"

static inline bool swim_is_live(enum gossip_state state)
{
    return state == MEMBER_ALIVE || state == MEMBER_DEGRADED || state == MEMBER_SUSPECT;
}
/* What lists and digests tell: suspicion is left out, it passes by itself. */
static inline enum gossip_state swim_class(enum gossip_state state)
{
    return swim_is_live(state) ? MEMBER_ALIVE : state;
}
static inline bool swim_is_watched(enum gossip_state state)
{
    return state == MEMBER_DEGRADED || state == MEMBER_SUSPECT;
}

/* ---- what a slot holds: to look at, to change ---- */

#ifdef SWIM_SHARED /* the simulator, where a hundred thousand tables are almost the same one */
#include "tests/sim/swim_share.h"
#else
static inline const struct swim_member *swim_look(const struct swim *s, uint32_t slot)
{
    return &s->slot[slot];
}
static inline struct swim_member *swim_at(struct swim *s, uint32_t slot)
{
    return &s->slot[slot];
}
/* Before members come or go, or one more has failed. */
static inline void swim_own_lists(struct swim *s)
{
    (void)s;
}
static inline void swim_failed_room(struct swim *s)
{
    (void)s;
}
static inline const struct swim_card *swim_keep_card(struct swim *s, uint32_t slot,
                                                     const struct swim_card *card)
{
    s->card_of[slot] = *card;
    return &s->card_of[slot];
}
void swim_lay(struct swim *s, uint32_t members);
struct swim_doubt *swim_take_doubt(struct swim *s);
void swim_give_doubt(struct swim *s, struct swim_doubt *d);
#endif

static inline struct swim_member *swim_me(struct swim *s)
{
    return swim_at(s, s->self);
}
static inline uint64_t swim_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Live members beside us; we are not live ourselves once we leave. */
static inline uint32_t swim_others(const struct swim *s)
{
    return s->live - (s->leaving_ms == 0 ? 1 : 0);
}

/* swim.c */
void swim_begin(struct swim *s, uint64_t now_ms);
void swim_worse(struct swim *s, uint64_t now_ms, uint64_t by); /* local health */
bool swim_hears_nobody(const struct swim *s);
bool swim_is_sick(const struct swim *s, uint64_t now_ms); /* accuses nobody */
uint32_t swim_stretch(const struct swim *s);              /* of what it waits for */

/* swim_calm.c */
/* Others hold this member to be degraded: contradicts them, now or later. */
void swim_called_degraded(struct swim *s, uint64_t now_ms);
void swim_was_paused(struct swim *s, uint64_t now_ms);
void swim_contradicted(struct swim *s, uint64_t now_ms); /* its incarnation was raised */
void swim_calm_tick(struct swim *s, uint64_t now_ms);
uint64_t swim_calm_deadline(const struct swim *s);

/* swim_members.c */
struct swim_member *swim_get(struct swim *s, uint64_t num);
struct swim_member *swim_add(struct swim *s, uint64_t now_ms, const struct wire_update *u,
                             enum gossip_state state, enum swim_cause cause, uint64_t from);
void swim_drop(struct swim *s, uint32_t slot);
void swim_reap(struct swim *s, uint64_t now_ms);
/* All changes of state or incarnation go through here: digest, counts, change list. */
void swim_set_state(struct swim *s, uint64_t now_ms, struct swim_member *m, enum gossip_state state,
                    uint64_t incarnation, enum swim_cause cause, uint64_t from);
void swim_mark_dirty(struct swim *s, struct swim_member *m, enum swim_cause cause, uint64_t from);
void swim_set_card(struct swim *s, struct swim_member *m, const struct swim_card *card);
/* A live member other than us and avoid; NULL if none was found. */
const struct swim_member *swim_random_live(struct swim *s, const struct swim_member *avoid);
void swim_find_rings(struct swim *s);
uint64_t swim_ring_place(uint64_t num, unsigned ring);
/* The live members that observe a target, one a ring; SWIM_NONE: none. Goes through all. */
void swim_observers(const struct swim *s, uint32_t target, uint32_t ret[SWIM_RINGS]);

/* swim_doubt.c */
/* The doubt of m, made if there is none. */
struct swim_doubt *swim_doubt(struct swim *s, struct swim_member *m);
/* Ends it, whatever is in it. */
void swim_doubt_drop(struct swim *s, struct swim_member *m);
/* Forgets what is long past. */
void swim_doubt_age(struct swim *s, uint64_t now_ms);
/* m is suspect or degraded: its suspicion ends then. */
void swim_set_due(struct swim *s, struct swim_member *m, uint64_t due_ms);
/* Follows m's state: whom to watch, who has failed. */
void swim_doubt_state(struct swim *s, struct swim_member *m, enum gossip_state before);
/* All suspicions end later by as much, and not before least_ms. */
void swim_put_off(struct swim *s, uint64_t by_ms, uint64_t least_ms);

/* swim_trust.c: what counts as whose word. */
/* Signs what we say of ourselves now. */
void swim_sign_self(struct swim *s);
/* Is the body its member's own word? */
bool swim_is_own_word(struct swim *s, const struct wire_update *u);
/* Is it m's own word that it leaves? */
bool swim_left(struct swim *s, const struct swim_member *m, const struct wire_update *u);
/* Our vote about what we hold of m, in this state. */
void swim_vote(const struct swim *s, const struct swim_member *m, enum gossip_state state,
               struct wire_vote *ret);
/* Adds the votes of u that are new and of members that we know, to d and m's counts. ERR_AUTH: one
 * is forged. */
int swim_add_votes(struct swim *s, uint64_t now_ms, struct swim_member *m, struct swim_doubt *d,
                   const struct wire_update *u, bool *ret_added);
/* Members that could vote about m, this one included: those that nobody suspects. */
uint32_t swim_voters(const struct swim *s, const struct swim_member *m);
/* Votes that it takes to suspect or bury m. */
unsigned swim_quorum(const struct swim *s, const struct swim_member *m);

/* swim_claims.c */
/* 0, or ERR_AUTH: not the word of whom it should be. */
int swim_update(struct swim *s, uint64_t now_ms, const struct wire_update *u, uint64_t teller,
                bool listed, struct swim_out *out);
void swim_accuse(struct swim *s, uint64_t now_ms, struct swim_member *m, bool stalled, bool gone,
                 struct swim_out *out);
/* We look at m, which may have been degraded for too long. */
void swim_reconsider(struct swim *s, uint64_t now_ms, struct swim_member *m);
void swim_watch(struct swim *s, uint64_t now_ms, struct swim_out *out); /* suspicion timers */
uint64_t swim_watch_deadline(const struct swim *s);
void swim_raise(struct swim *s, uint64_t now_ms, uint64_t incarnation);
/* Do we believe others that a life of ours had this incarnation? */
bool swim_may_be_ours(const struct swim *s, uint64_t now_ms, uint64_t incarnation);

/* swim_address.c */
/* The usable address behind `after` that is not `except`, around; `except`: there is none. */
uint8_t swim_other_address(const struct swim *s, const struct swim_member *m, uint8_t after,
                           uint8_t except);
/* Chooses among a member's new addresses. before: those that it had, NULL: it is new. */
void swim_new_addresses(struct swim *s, struct swim_member *m, const struct gossip_addrs *before);
/* A ping that went to that address was answered. */
void swim_address_answered(struct swim *s, const struct swim_member *m, uint8_t at);
/* It answers there, and no more at the one in use. */
void swim_readdress(struct swim *s, uint64_t now_ms, struct swim_member *m, uint8_t at);

/* swim_probe.c */
void swim_probe_tick(struct swim *s, uint64_t now_ms, struct swim_out *out);
uint64_t swim_probe_deadline(const struct swim *s);
void swim_probe_reset(struct swim *s);
void swim_probe_start(struct swim *s, uint64_t now_ms, struct swim_member *m,
                      enum swim_probe_kind kind, uint8_t ring, struct swim_out *out);
void swim_on_ping(struct swim *s, uint64_t now_ms, uint64_t from, bool proven,
                  const struct wire_head *h, struct swim_out *out);
void swim_on_ack(struct swim *s, uint64_t now_ms, uint64_t from, const struct wire_head *h,
                 struct swim_out *out);
void swim_on_nack(struct swim *s, const struct wire_head *h);
void swim_on_ping_req(struct swim *s, uint64_t now_ms, uint64_t from, const struct wire_head *h,
                      struct swim_out *out);

/* swim_rhythm.c */
/* Into a ping on that ring: when else we ping and are pinged. */
void swim_tell_beats(const struct swim *s, uint64_t now_ms, unsigned ring, struct wire_head *h);
/* Its observer on a ring pinged us: when to do so again, which we expect from then on. */
uint16_t swim_next_beat(struct swim *s, uint64_t now_ms, uint64_t from, const struct wire_head *h);
/* A ping did not come that was to come: of whom? NULL: all came. */
const struct swim_member *swim_absent(struct swim *s, uint64_t now_ms);
uint64_t swim_absent_deadline(const struct swim *s);

/* swim_spread.c */
void swim_describe(const struct swim_member *m, bool body, struct wire_update *ret);
void swim_enqueue(struct swim *s, uint64_t now_ms, struct swim_member *m);
void swim_forget(struct swim *s, struct swim_member *m);
/* The packet that was built last for that member is for one of its addresses only. */
void swim_send_at(uint64_t to, uint8_t at, struct swim_out *out);
/* Builds a packet: head, `about` first (may be NULL), then what is to be spread, as fits. */
void swim_send(struct swim *s, uint64_t to, const struct wire_head *h,
               const struct swim_member *about, bool spread, struct swim_out *out);
/* The packet to that member that was built last introduces us, if there is room. */
void swim_introduce(const struct swim *s, uint64_t to, struct swim_out *out);
void swim_spread_tick(struct swim *s, uint64_t now_ms, struct swim_out *out);
uint64_t swim_spread_deadline(const struct swim *s);
/* An empty packet; NULL: there is no room for another one. */
struct swim_packet *swim_packet(struct swim_out *out, uint64_t to, bool stream);
/* False: it did not fit. */
bool swim_put_member(struct wbuf *w, const struct swim_member *m, bool body);

/* swim_lists.c */
/* A member came back from the dead. */
void swim_returned(struct swim *s, uint64_t now_ms);
void swim_settle(struct swim *s, uint64_t now_ms); /* compares lists some times from now on */
void swim_lists_tick(struct swim *s, uint64_t now_ms, struct swim_out *out);
uint64_t swim_lists_deadline(const struct swim *s);
void swim_sync_ask(struct swim *s, uint64_t now_ms, uint64_t to, bool reply, bool stream,
                   struct swim_out *out);
void swim_on_sync_ask(struct swim *s, uint64_t now_ms, uint64_t from, bool proven,
                      const struct wire_head *h, struct swim_out *out);
/* The rest of a message of names: wants what we lack. Of one of wants: sends it. ERR_MALFORMED. */
int swim_on_names(struct swim *s, uint64_t from, struct rbuf *r, struct swim_out *out);
int swim_on_want(struct swim *s, uint64_t from, struct rbuf *r, struct swim_out *out);

#endif

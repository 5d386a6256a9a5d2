/* SPDX-License-Identifier: Apache-2.0
 * SWIM membership with Lifeguard, fixed observers and quorum of evidence. Pure: no I/O, clock,
 * allocation or randomness of its own; time is passed in, the shell performs `out` in order and
 * arms one timer for swim_deadline(). docs/protocol.md tells the departures from the papers.
 *
 * A shell calls swim_tick or swim_recv, sends out->packet[] in order, makes the TCP checks in
 * out->check[], sends hellos to out->hello[], then drains swim_next_change(). */
#ifndef BLOX_GOSSIP_SWIM_H
#define BLOX_GOSSIP_SWIM_H

#include "agent/base/limits.h"
#include "agent/base/prng.h"
#include "gossip/node.h"
#include "gossip/pace.h"
#include "gossip/seal.h"
#include "gossip/wire.h"

/* Payload of one datagram after seal and channel byte: membership uses no size that has to be
 * proven. */
#define SWIM_PACKET_MAX (GOSSIP_DATAGRAM_SMALL - SEAL_OVERHEAD - 1u)
#define SWIM_OUT_MAX 48u
#define SWIM_CHECKS_MAX 8u
#define SWIM_HELLOS_MAX 4u

/* Failure detector. A vanished host is first missed within RING_PERIOD/RINGS/2 = 0.57 s (mean 0.28)
 * if its beats are evenly apart, a little later as far as they are not (swim_rhythm.c), then three
 * times in 150 + 180 ms, and confirmed in 250 ms: about 0.9 s in the middle and 1.25 s to 1.45 s at
 * worst without loss. Idle: 0.9 ring probes and 1/12 random probe a second, 70 bytes each way: each
 * costs three wakes of a process, and nothing else costs more. */
#define SWIM_RINGS 3u
#define SWIM_RING_PERIOD_MS 3400u
#define SWIM_WAIT_MIN_MS (SWIM_RING_PERIOD_MS / 4) /* from one ping on a ring to the next */
#define SWIM_WAIT_MAX_MS (SWIM_WAIT_MIN_MS + SWIM_RING_PERIOD_MS)
#define SWIM_RING_SOON_MS 500u /* between two pings on a ring on which we observe another since */
#define SWIM_ABSENT_MS 50u     /* a ping that is so late did not come */
#define SWIM_RANDOM_PERIOD_MS 12000u /* paths that no ring has; who observes a member is fixed */
#define SWIM_TIMEOUT_MIN_MS 150u  /* above a busy host's scheduling delay, far above a VPC's RTT */
#define SWIM_TIMEOUT_MAX_MS 1500u /* a member that is slower than this is as good as silent */
#define SWIM_INDIRECT_MIN_MS 180u /* two round trips and a retry by the helper */
#define SWIM_HELPERS 3u           /* SWIM's k; Lifeguard and memberlist use 3 as well */
#define SWIM_SILENT_FAMILY 2u /* probes in a row that one family answered and the other did not */
#define SWIM_PREFER_MS 10000u /* a preferred family stays so long at least */
#define SWIM_CONFIRM_TRIES 3u /* at 5 % loss each way three tries miss by chance in 9 of 10^4 */
#define SWIM_CONFIRM_STEP_MS 83u /* no later than a suspicion may end (SWIM_SUSPECT_MIN_MS) */
#define SWIM_LATE_MS 5000u       /* an ack is still matched (for the RTT) for so long */

/* Suspicion (Lifeguard section IV-B): from MAX without confirmations down to MIN with NEED. No
 * member is suspected or buried on one other member's word: QUORUM of signed votes, our own
 * included, wherever so many members are left that could vote. */
#define SWIM_QUORUM 2u
#define SWIM_NEED 2u             /* independent members beside the first accuser */
#define SWIM_SUSPECT_MIN_MS 250u /* time for a refutation to cross the cluster */
#define SWIM_SUSPECT_MAX_MS 6000u
#define SWIM_SUSPECT_PAIR_MS 1500u /* two members: nobody else could confirm */
#define SWIM_SUSPECT_HEARD_MS 500u /* a death claimed of a member that we hold to be alive */
#define SWIM_TALKS_MS 3000u    /* a suspect that was heard so lately is not buried by the hearer */
#define SWIM_STALLED_MS 30000u /* the host answers, the process does not: degraded for so long */
#define SWIM_HEALTH_MAX 8u
#define SWIM_HEALTH_SILENT 6u    /* from here on this member accuses nobody */
#define SWIM_ALONE_MS 3000u      /* ... unless it hears nobody at all for so long */
#define SWIM_HEALTHIER_MS 3000u  /* without trouble: one better, even if nobody is left to ack */
#define SWIM_PACE_MIN_MS 1000u   /* between two answers to what liars may say, doubled ... */
#define SWIM_PACE_MAX_MS 64000u  /* ... up to this */
#define SWIM_CALM_AGAIN_MS 5000u /* two pauses so near each other are not the last ones */
#define SWIM_CALM_MIN_MS 2000u   /* without a pause, before it denies again that it is degraded */
#define SWIM_CALM_MAX_MS 16000u  /* twice as long each time, up to this */
#define SWIM_CALM_FORGOTTEN_MS 30000u /* and eight times that calm: as if it had never been */
#define SWIM_PAUSE_MS 400u            /* a timer so late means that this process was not running */
#define SWIM_QUIET_MS 1500u           /* after a pause: accuse nobody, let late acks arrive */

/* Spread. */
#define SWIM_FANOUT 3u
#define SWIM_ROUND_FRESH_MS 5u  /* news goes on at once, but not more than one burst in 5 ms */
#define SWIM_ROUND_AGAIN_MS 20u /* repeats */
#define SWIM_SENDS_EXTRA                                                                           \
    6u                   /* each sends each update ceil(log2 n) + 6 times: n * e^-12 missed at 64 */
#define SWIM_LOG2_MIN 6u /* as if there were 64 members at least */
#define SWIM_SENDS_MAX 32u
#define SWIM_DIFFERS_MS 600u  /* every ping differed for so long ... */
#define SWIM_STEADY_MS 400u   /* ... and our own list stood still for so long: compare lists */
#define SWIM_STILL_MS 5000u   /* or it stood still for so long, whatever other pings say */
#define SWIM_CHURN_MS 10000u  /* or differed for so long, however much changes */
#define SWIM_SYNC_GAP_MS 400u /* between two comparisons; doubles up to SWIM_SYNC_TRIES times */
#define SWIM_SYNC_TRIES 6u
#define SWIM_SETTLE_MIN_MS 60u /* comparisons after joining: 60, 120, ... apart */
#define SWIM_SETTLE_MAX_MS 2000u
#define SWIM_SYNCS 16u     /* lists that are sent to others at the same time, a page a step each */
#define SWIM_WELCOMES 2u   /* seeds whose lists are asked for at once; the digests do the rest */
#define SWIM_WANTS 64u     /* members that one packet asks for */
#define SWIM_OUT_PAGES 32u /* pages stop here and leave the rest of a step's room to others */
#define SWIM_RETURNED 16u  /* so many that come back from the dead ... */
#define SWIM_RETURNED_MS 2000u     /* ... in so short a time are the end of a partition */
#define SWIM_HEALING_MAX_MS 60000u /* whatever else changes then */
#define SWIM_DEAD_PING_MS 1000u
#define SWIM_REAP_MS (24u * 3600u * 1000u)
#define SWIM_DOUBT_MS (3600u * 1000u) /* what a suspicion left is kept for gossip_why() so long */
#define SWIM_ROUND_TRIES 256u         /* dead members that a random probe passes over */
/* What others tell of an earlier life of ours, in a welcome or by a key that may not be that
 * life's, nobody can prove. It raises our incarnation to (the seconds since 1970 + 2^32) x 2^16 at
 * most, so that no number of lies takes it further, and a next life, whose data directory is lost,
 * still believes what it has to outdo: this one may refute 2^16 doubts a second until then. Nor
 * does a new key begin above that, so that who took an id while its holder was down is outdone. */
#define SWIM_TOLD_S (UINT64_C(1) << 32) /* that a clock may go back by, and more */
#define SWIM_TOLD_SHIFT 16u
#define SWIM_MEET_MS 5000u      /* so long after a start members introduce themselves */
#define SWIM_CHALLENGE_MS 1000u /* between two questions who lives at a member's address */

#define SWIM_PROBES 64u
#define SWIM_RELAYS 64u
#define SWIM_RELAYS_EACH 8u /* for one asker */
#define SWIM_NONE UINT32_MAX

enum swim_cause { /* why a member's state changed */
                  SWIM_CAUSE_JOINED = 1,
                  SWIM_CAUSE_REFUTED,
                  SWIM_CAUSE_PROBES,  /* own probes went unanswered */
                  SWIM_CAUSE_CLAIMED, /* another member says so */
                  SWIM_CAUSE_TIMEOUT, /* suspicion was not refuted in time */
                  SWIM_CAUSE_STALLED, /* its host answers, it does not */
                  SWIM_CAUSE_LEFT,
                  SWIM_CAUSE_META,
                  SWIM_CAUSE_ADDRESS, /* it answers at another address than the one used so far */
                  SWIM_CAUSE_EVICTED  /* no container instance of the cluster */
};

/* Evidence of the last suspicion or failure of a member, for gossip_why(). */
struct swim_trace {
    uint64_t suspected_ms, failed_ms;
    uint64_t suspected_by; /* num */
    uint64_t failed_by;    /* num; 0: our own timer */
    uint64_t confirmed[WIRE_VOTES_MAX];
    uint8_t confirmed_count;
    uint8_t direct;  /* our own direct probes without answer */
    uint8_t helpers; /* helpers asked */
    uint8_t nacks;   /* helpers that answered "I cannot reach it either" */
    uint8_t check;   /* enum swim_check of our TCP check */
    uint16_t timeout_ms;
};

enum swim_check { CHECK_NONE, CHECK_ASKED, CHECK_CONNECTED, CHECK_REFUSED, CHECK_SILENT };

/* What a member says of itself, in its signed word. */
struct swim_card {
    char id[AGENT_ID_MAX];
    struct gossip_addrs addrs;
    struct gossip_meta meta;
    uint64_t epoch; /* packets may have shown a later one */
    uint8_t key[WIRE_KEY];
    uint8_t sig[WIRE_SIG];
};

/* Beside a member, only where somebody doubts that it lives, or did lately. Every member that is
 * not alive has one. */
struct swim_doubt {
    uint32_t slot;
    uint32_t failed_at;                          /* place in failed_list */
    struct swim_doubt *next, *prev;              /* all doubts */
    struct swim_doubt *child, *sibling, *before; /* the watched, a pairing heap by due_ms */
    uint64_t since_ms;                           /* suspected since */
    uint64_t due_ms;                             /* suspicion ends */
    uint64_t voted_ms;                           /* first of the votes */
    uint64_t asked_ms;                           /* who lives at its address was asked */
    /* At this incarnation: who cannot reach it (left: its own word); who saw only its host. */
    struct wire_vote vote[WIRE_VOTES_MAX];
    struct wire_vote stalled[SWIM_QUORUM];
    struct swim_trace trace;
    bool hearsay;                /* dead already when we were told of it */
    bool unexcused;              /* suspected though its host answers, or did */
    bool rekeyed;                /* its key is no more the first that we saw */
    uint8_t first_key[WIRE_KEY]; /* ... which is this: its holder wins the name back */
};

struct swim_member {
    struct gossip_member m; /* num 0: free slot */
    const struct swim_card *card;
    struct swim_doubt *doubt; /* NULL: none */
    uint64_t epoch;           /* the session that packets to it are bound to */
    uint64_t known_ms;        /* when we learned of it, or of a new life of its */
    uint64_t cause_from;
    uint32_t rttvar_us;
    uint32_t slot;
    uint32_t at;         /* place in order[] */
    uint32_t queue_next; /* spread queue; free slots */
    uint32_t queue_prev;
    uint32_t dirty_next;
    uint8_t vote_count, stalled_count; /* of the doubt's */
    uint8_t met;     /* it sent us what only it can, in this life of its: it knows us */
    uint8_t evicted; /* not heard, whatever it says, until it is let in again */
    uint8_t moved;   /* at its address lives one with another key */
    uint8_t asked;   /* for our list, before it had shown who it is */
    uint8_t looked;  /* once more before an unconfirmed suspicion ends */
    uint8_t strong;  /* death was claimed by another: no further confirmation needed */
    uint8_t sent;    /* times spread */
    uint8_t queued;  /* in news[sent] */
    uint8_t dirty;
    uint8_t cause;
    uint8_t before; /* enum gossip_state at the last drain */
};

enum swim_probe_kind { PROBE_FREE, PROBE_RING, PROBE_RANDOM, PROBE_CONFIRM, PROBE_DEAD };
struct swim_probe {
    uint8_t kind;
    uint8_t stage; /* 0 direct, 1 indirect, 2 over: only waiting for a late ack */
    uint8_t tries, helpers, nacks, check;
    uint8_t ring;
    uint32_t slot;
    uint8_t via, other; /* the member's address in use; the last that was tried beside it */
    uint8_t found;      /* 1 + place of another address that answered, 0: none */
    uint8_t refused;    /* bit set of addresses that refused a connection */
    bool readdressed;   /* its addresses changed since: what answers is not known any more */
    uint32_t helper[SWIM_HELPERS];
    uint16_t seq[GOSSIP_ADDRS_MAX]; /* of the pings to each address; 0: none went there */
    uint16_t timeout_ms;
    uint64_t started_us, started_ms, due_ms;
};
struct swim_relay {
    uint64_t asker, due_ms;
    uint16_t asker_seq, seq; /* seq 0: free */
    uint32_t slot;
    uint8_t tries;
};
struct swim_sync {
    uint64_t to;            /* 0: free */
    uint32_t bodies, names; /* bit sets of the buckets of which these are to be sent */
    uint32_t at;            /* next index in order[] */
};
struct swim_queue {
    uint32_t head, tail;
    uint32_t count;
};
struct swim_ring {
    uint32_t slot; /* our target on this ring; SWIM_NONE */
    uint64_t due_ms;
    uint32_t asked;    /* the target that was pinged last */
    uint64_t asked_ms; /* ... and when */
    uint64_t observer; /* num of whoever pinged us last on this ring; 0: expect nothing */
    uint64_t ping_ms;  /* when it does so again */
};

/* Signs as this member, and says whether a statement is the word of a key's holder. */
struct swim_trust {
    void *arg;
    void (*sign)(void *arg, const uint8_t *bytes, size_t len, uint8_t ret_sig[WIRE_SIG]);
    bool (*verify)(void *arg, const uint8_t key[WIRE_KEY], const uint8_t *bytes, size_t len,
                   const uint8_t sig[WIRE_SIG]);
};

struct swim {
    struct prng prng;
    struct swim_trust trust;
    uint64_t born_ms;
    uint64_t rows;   /* the shell's: sum of what it keeps beside the list, which pings tell */
    uint64_t now_us; /* finer clock for round trips; set by swim_clock() */
    uint64_t promised_ms, quiet_ms, leaving_ms;
    /* How often what is said of us is answered: by too few, and by whom nobody can check. */
    struct pace few, unproven;
    uint64_t heard_ms; /* when anybody was heard last */
    uint64_t worse_ms; /* when its health last became worse, or better by itself */
    uint64_t contradicted_ms, calm_ms, paused_ms; /* swim_calm.c */
    bool paused_again;                            /* the last pause followed another one soon */
    uint64_t contradict_ms;                       /* that it is degraded; 0: there is nothing to */
    uint16_t seq;
    uint32_t health;
    uint32_t self;
    bool ipv6;             /* our sockets reach IPv6 addresses */
    uint8_t family;        /* preferred, 4 or 6; 0: whichever a member names first */
    uint8_t silent_family; /* was silent, the other was not, ... */
    uint8_t silent;        /* ... in so many probes in a row */
    uint64_t preferred_ms; /* the other family than before, since then */
    bool raised;           /* own incarnation was raised since the last drain */
    uint64_t unix_s;       /* wall clock at born_ms */
    bool rings_stale;
    struct swim_ring ring[SWIM_RINGS];
    struct swim_doubt *watch;  /* whose suspicion ends first; NULL: nobody is suspected */
    struct swim_doubt *doubts; /* all */
    uint64_t random_ms, dead_ms, round_ms, last_round_ms, sync_ms, reap_ms, digest_changed_ms;
    uint64_t settle_ms, settle_gap_ms;
    uint64_t returned_ms;             /* when the first of so many came back from the dead */
    uint32_t returned, settle_digest; /* of our list at the last comparison */
    uint8_t welcomes;                 /* of seeds that were asked for their lists at once */
    bool settled;                     /* lists were, or are, compared since the start */
    bool healing;                     /* many did: lists are compared for as long as they change */
    uint8_t sync_tries, sync_turn;
    uint32_t asked_digest; /* our own when a ping last made us ask */
    uint64_t differs_ms;   /* since when no ping brought our own digest; 0: the last one did */
    uint32_t news_bits;    /* of news[] that hold something; bit 0: of what was never sent */
    struct swim_queue dirty;
    uint32_t buckets[WIRE_BUCKETS];
    /* Slots in use; alive, degraded and suspect; suspect and degraded; failed. */
    uint32_t count, live, watched, failed;
    uint32_t probes_used, relays_used; /* all beyond are free */
    uint32_t walk;                     /* position in the shuffled round */
    uint32_t round_bits, round_key[3]; /* its order: see next_in_round() */
    uint64_t refused_claims;           /* updates refused: not signed by whom they should be */
    uint64_t verified;                 /* signatures looked at */
    uint32_t lives;                    /* grows with each num and epoch that comes or goes */

    uint32_t members;   /* that there is room for */
    uint32_t free_from; /* all slots from here on were never used */
    uint32_t free_head; /* a list of slots that were; SWIM_NONE */
    uint32_t doubt_from;
    struct swim_doubt *doubt_free;
    uint32_t table_mask;
    uint32_t *order;       /* slots in use */
    uint32_t *failed_list; /* slots of the failed, in any order */
    uint32_t *table;       /* num -> slot + 1; linear probing */
    struct swim_member *slot;
    struct swim_card *card_of; /* by slot */
    struct swim_doubt *doubt_at;

    /* Behind what is looked at in every step: of these it is the first few, if any. */
    struct swim_queue news[SWIM_SENDS_MAX]; /* by how often each was sent */
    struct swim_sync sync[SWIM_SYNCS];
    struct swim_probe probe[SWIM_PROBES];
    struct swim_relay relay[SWIM_RELAYS];
};

struct swim_packet {
    uint64_t to; /* 0: to where the packet being handled came from */
    uint8_t via; /* 1 + place of the only address that it is for; 0: the one in use */
    bool stream;
    bool intro; /* the receiver may not know us: carries our own word */
    uint16_t len;
    uint8_t data[SWIM_PACKET_MAX];
};
enum swim_rows { ROWS_UNTOLD, ROWS_SAME, ROWS_DIFFER };
struct swim_out {
    enum swim_rows rows; /* a ping told the sender's */
    uint64_t rows_from;
    size_t count, checks, hellos;
    struct swim_packet packet[SWIM_OUT_MAX];
    /* Open and close a TCP connection to each of swim_usable() addresses, then swim_checked(). */
    uint64_t check[SWIM_CHECKS_MAX];
    uint64_t hello[SWIM_HELLOS_MAX]; /* send a join to all addresses of these members */
};

struct swim_options {
    uint32_t members; /* room for so many, this one included */
    const char *id;
    struct gossip_addrs addrs;
    bool ipv6; /* our sockets reach IPv6 addresses */
    struct gossip_meta meta;
    uint64_t incarnation, epoch, seed;
    uint64_t unix_s; /* wall clock */
    uint8_t key[WIRE_KEY];
    struct swim_trust trust;
};
size_t swim_memory(uint32_t members);
/* s: swim_memory(options->members) bytes of zeroed memory (pages of unused slots are never
 * touched).
 */
void swim_init(struct swim *s, const struct swim_options *options, uint64_t now_ms);
static inline void swim_clock(struct swim *s, uint64_t now_us)
{
    s->now_us = now_us;
}
uint64_t swim_deadline(const struct swim *s);
void swim_tick(struct swim *s, uint64_t now_ms, struct swim_out *out);
/* A fresh packet of member `from` (whose session is `epoch`), proven to be its. Returns 0,
 * ERR_MALFORMED, or ERR_AUTH: something in it is not signed by whom it should be. */
int swim_recv(struct swim *s, uint64_t now_ms, uint64_t from, uint64_t epoch, const uint8_t *data,
              size_t len, struct swim_out *out);
/* A packet of somebody with the cluster's key who says that it is `from`: what is signed counts,
 * pings are answered, nothing else. */
int swim_recv_stranger(struct swim *s, uint64_t now_ms, uint64_t from, const uint8_t *data,
                       size_t len, struct swim_out *out);
/* Any other authentic packet of that member: a sign of life. False: unknown member. */
bool swim_heard(struct swim *s, uint64_t now_ms, uint64_t from, uint64_t epoch);
/* at: the place of the address that was tried. */
void swim_checked(struct swim *s, uint64_t now_ms, uint64_t num, uint8_t at, enum swim_check result,
                  struct swim_out *out);
/* The addresses of a member that we can use, as a bit set; never empty. */
uint8_t swim_usable(const struct swim *s, const struct swim_member *m);
/* The shell lost a connection to that member: look at once instead of at the next probe. */
void swim_suspicious(struct swim *s, uint64_t now_ms, uint64_t num, struct swim_out *out);
/* The member that we observe on a ring; NULL: none. */
const struct swim_member *swim_observed(const struct swim *s, unsigned ring);
/* What whoever was asked at that address told of itself in a welcome, and lists are compared.
 * seed: it was asked in order to join, not because it or we live anew. */
void swim_welcome(struct swim *s, uint64_t now_ms, const struct wire_join *w,
                  const struct gossip_addr *from, bool seed, struct swim_out *out);
/* The same of one that refused us: what it is counts nevertheless. Where it takes us for another
 * because our key was lost, it asks who lives at our address now; with a clock that went back since
 * then, our answer counts only above the incarnation and session of the life that it knows. */
bool swim_refused_for_earlier_life(const struct wire_join *w);
void swim_refused(struct swim *s, uint64_t now_ms, const struct wire_join *w,
                  const struct gossip_addr *from, struct swim_out *out);
/* May we ask now who lives at its address? True once a second. */
bool swim_challenge(struct swim *s, uint64_t now_ms, uint64_t num);
/* Does a joiner clash with someone we know? */
enum wire_refusal swim_admit(const struct swim *s, const struct wire_update *joiner,
                             const struct gossip_member **ret_other);
void swim_set_meta(struct swim *s, uint64_t now_ms, const struct gossip_meta *meta,
                   struct swim_out *out);
void swim_set_addr(struct swim *s, const struct gossip_addr *addr, uint64_t now_ms);
void swim_set_epoch(struct swim *s, uint64_t epoch); /* a new session of our own */
/* A member that the agent does not admit: failed at once, and not heard until it is admitted. */
void swim_evict(struct swim *s, uint64_t now_ms, uint64_t num, bool evicted);
/* Announces that this member leaves; nothing is probed from then on. */
void swim_leave(struct swim *s, uint64_t now_ms, struct swim_out *out);

struct swim_change {
    const struct swim_member *member;
    enum gossip_state before; /* 0: new */
    enum swim_cause cause;
    uint64_t from; /* who said so; 0: ourselves */
};
bool swim_next_change(struct swim *s, struct swim_change *ret);
/* The i-th of s->count members, in an order that is stable between changes. */
const struct swim_member *swim_nth(const struct swim *s, uint32_t i);
/* The evidence there is; all zero: none. */
const struct swim_trace *swim_trace_of(const struct swim_member *m);
bool swim_take_raised(struct swim *s, uint64_t *ret_incarnation);

const struct swim_member *swim_find(const struct swim *s, uint64_t num);
const struct swim_member *swim_self(const struct swim *s);
uint32_t swim_digest(const struct swim *s);
void swim_self_update(const struct swim *s, struct wire_update *ret);

#endif

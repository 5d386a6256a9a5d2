/* SPDX-License-Identifier: Apache-2.0
 * Shared by the files of agent/raft only. Loop thread. */
#ifndef BLOX_AGENT_RAFT_UV_INT_H
#define BLOX_AGENT_RAFT_UV_INT_H

#include "agent/base/map.h"
#include "agent/raft/raft_uv.h"
#include "gossip/boot.h"
#include "gossip/raft.h"
#include "gossip/voters.h"

#define FRAME_HEAD 9u /* kind, cluster id */
#define WAITERS_MAX 1024u
#define HELD_MAX 256u /* where a disk takes no writes more would be old answers */
#define PENDING_ROWS_MAX 4096u
#define PENDING_BYTES_MAX (16u << 20)
#define ARENA_BYTES (4u << 20)
#define SNAPSHOT_BYTES_MAX (GOSSIP_MESSAGE_MAX - FRAME_HEAD - RAFT_HEAD_MAX)
#define LOG_TRAIL 1000u /* entries that compaction leaves for slow servers */
#define MET_MAX 8u
#define TICK_MS 100u           /* hello, bootstrap, voters: looked at so often */
#define REST_TICK_MS 400u      /* by a server that nothing is left to do for */
#define REST_LATE_MS 300u      /* and then with the next heartbeat, which comes before that */
#define CONFLICT_MS 30000u     /* after the last word of another cluster id */
#define LEADER_STALE_MS 90000u /* who is outside asks again before that */
#define FORMER_MAX 8u          /* ids of clusters before a recovery */
#define WORDS_MAX 16u
#define RETRY_MS 250u      /* after the disk refused a write */
#define APPLY_LATER_MS 2u  /* a follower applies: some writes of one client share it */
#define ANSWER_SOON_MS 10u /* so long an answer waits for the write under way */

/* While not QUIET_NO nothing is stepped; what is asked for begins when no write is under way. */
enum quiet { QUIET_NO, QUIET_RECOVER, QUIET_REJOIN, QUIET_WRITING };

enum frame { FRAME_RAFT = 1, FRAME_HELLO = 2, FRAME_BOOT = 3, FRAME_BRIEF = 4, FRAME_WORD = 5 };

struct held { /* encoded, waits for its gate */
    struct held *next;
    uint64_t gate, to;
    bool stream, answers;
    size_t len;
    uint8_t bytes[];
};
struct waiter {
    uint64_t index, term, start_ns;
    bool applied, read; /* read: a barrier, nothing that could be lost */
    raft_uv_done_fn done;
    void *arg;
};
struct peer_info { /* what a member's hello said */
    uint64_t num, disk, cluster_id, heard_ms;
    bool blank, candidate, leaving, holds;
    uint64_t held_term, held_index; /* what it could recover from */
    uint64_t round, asked_ms;       /* word.c: gave its word to that; asks for ours since */
    bool gone;                      /* its instance, for good */
};
struct rows_batch { /* rows applied in memory, on their way to the disk */
    struct buf bytes;
    struct store_log_intent rows[PENDING_ROWS_MAX]; /* key and value: offsets until written */
    size_t count;
    uint64_t index, term;
    bool config_changed, flying;
};

#define RAFT_UV_FIRST_FACTS 3u

struct raft_uv {
    struct raft_uv_options o;
    struct raft core;
    uint8_t *arena;
    struct raft_out *out;
    uint64_t disk, cluster_id, cluster_hash;
    bool cluster_unsaved; /* cluster_id is not on disk yet */
    struct store_fact first_facts[RAFT_UV_FIRST_FACTS];
    bool foreign; /* the log on disk is another server's */
    int part_err; /* of the first of two writes that make one */
    struct raft_server self;
    struct prng rng;
    void *timer; /* uv_timer_t */
    uint64_t tick_at, retry_at;
    uint64_t write_ms, write_ns; /* the log's write in flight began */
    uint64_t commit_ns;          /* what is being applied was known to be committed */
    /* Since then the log, or the log or the rows, take no writes; 0: they do. */
    uint64_t bad_log_ms, bad_disk_ms, hand_over_at;
    bool unfit; /* the log has taken none for long: another should vote instead */

    struct held *held_first, **held_last;
    size_t held_count, store_ops;

    uint64_t applied, applied_term, applied_disk;
    struct raft_config applied_config;
    struct rows_batch batch;
    uint64_t apply_at; /* a follower's timer applies what is committed; 0: there is nothing */
    bool rewrite;      /* a write of rows failed: the next one writes them all */
    bool applying, compacting, stepping;
    struct raft_rows snapshot_rows;
    uint64_t base_index, compact_to; /* of the log on disk */
    struct buf snapshot_out;
    uint64_t snapshot_index, snapshot_term, snapshot_used_ms;

    struct waiter waiter[WAITERS_MAX];
    size_t waiter_first, waiter_count;
    void (*transfer_done)(void *arg, int err);
    void *transfer_arg;
    uint64_t transfer_term, transfer_until_ms;

    struct boot boot;
    bool boot_writing, starting;
    uint32_t missing;                            /* by the census */
    struct map peers;                            /* id -> struct peer_info */
    uint64_t known_leader, known_term, known_ms; /* from hellos */
    uint64_t known_cluster, known_voters[RAFT_SERVERS_MAX];
    uint32_t known_voter_count;
    uint64_t hello_at, refresh_at, pilot_at;
    uint64_t asked_leader, met_leader; /* of what it was asked; answered since, so it knows us */
    uint64_t pilot_news_ms, pilot_looked_ms; /* pilot.c */
    struct {
        uint64_t num;
        uint32_t asks;
    } met[MET_MAX];      /* are asked so many times more whether there is a cluster */
    uint32_t hello_turn; /* a leader that all know by now tells in every fourth */
    struct {             /* the change that the autopilot wants, and since when */
        enum raft_change change;
        uint64_t num, since;
    } wish;
    uint64_t conflict_id, conflict_ms;
    char conflict_with[AGENT_ID_MAX];
    int disk_err;
    bool leaving, leaving_told; /* this agent is to go; what hellos said last */
    uint64_t tell_until_ms;     /* they go on about a change till then */

    struct lost { /* auto.c: the quorum is lost */
        uint64_t since, look_at, proven_ms, asked_num, held_term, held_index;
    } lost;
    struct {                   /* word.c */
        uint64_t round, asked; /* what this agent asks for, and of which cluster; 0: nothing */
        size_t next;
        uint64_t cluster; /* the one that this agent gave its word not to recover, */
        char given[WORDS_MAX][AGENT_ID_MAX]; /* and to whom: on disk */
        uint32_t count;
    } word;

    enum quiet quiet;
    void (*quiet_done)(void *arg, int err);
    void *quiet_arg;
    uint64_t former[FORMER_MAX]; /* clusters that this one goes on from */
    uint32_t former_count;
    uint64_t superseded; /* the cluster that goes on from ours; 0: none */

    enum raft_uv_role role_told;
    uint64_t term_told, leader_told;
    bool told, closing;
    void (*destroyed)(void *arg);
    void *destroyed_arg;
};

/* frame.c */
size_t frame_size(const struct raft_uv *r, const struct raft_msg *m);
void frame_put(const struct raft_uv *r, const struct raft_msg *m, struct wbuf *w);
/* Sets neither m.from nor m.to. A brief one that is not for this disk, or from another than we know
 * there, is malformed as well. */
int frame_get(const struct raft_uv *r, uint64_t from, const uint8_t *data, size_t len,
              uint64_t *ret_cluster, struct raft_msg *ret, struct raft_entry *entries);

/* step.c */
void step_metrics(void); /* registers them */
int step_propose(struct raft_uv *r, const void *data, size_t len, uint64_t *ret_index);
void step(struct raft_uv *r, const struct raft_input *in);
void step_apply(struct raft_uv *r); /* not from within a step */
void step_flush(struct raft_uv *r); /* writes that wait for the disk */
void step_fail_waiters(struct raft_uv *r, int err);
void step_start_cluster(struct raft_uv *r); /* the first configuration is agreed */
void step_core_init(struct raft_uv *r, const struct store_log_state *disk,
                    const struct raft_config *config);
bool step_is_ready(const struct raft_uv *r); /* leads, and the no-op of the term is applied */
uint64_t step_leader(const struct raft_uv *r);
bool step_is_server(const struct raft_uv *r);
bool step_in_conflict(const struct raft_uv *r, uint64_t now_ms);

/* hello.c */
void hello_tick(struct raft_uv *r, uint64_t now_ms);
uint64_t hello_asks_at(const struct raft_uv *r); /* outside, knowing a leader: when it asks again */
void hello_recv(struct raft_uv *r, uint64_t from, const uint8_t *data, size_t len);
void hello_boot_recv(struct raft_uv *r, uint64_t from, const uint8_t *data, size_t len);
void hello_announce(struct raft_uv *r); /* a leader tells some members; they pass it on */
/* NULL: nothing is known of it. Remember makes it known; NULL: no memory. */
struct peer_info *hello_peer(const struct raft_uv *r, const char *id);
struct peer_info *hello_remember(struct raft_uv *r, const char *id);
/* Those who may decide on this server's vote, at once. */
void hello_tell(struct raft_uv *r, uint64_t to);
void hello_tell_servers(struct raft_uv *r);
/* A member is alive: who knows of no cluster asks it at once, for a moment later it may be out of
 * reach, and others that know of none may form another cluster with this agent. */
void hello_met(struct raft_uv *r, uint64_t num);
void hello_free(struct raft_uv *r);
void hello_ask_candidates(struct raft_uv *r);
void hello_voters(const struct raft_uv *r, struct raft_config *ret); /* as far as is known here */

/* recover.c */
int recover_load(struct raft_uv *r);
void recover_run(struct raft_uv *r); /* no write of the store is under way */
bool recover_is_former(const struct raft_uv *r, uint64_t cluster_id);
void recover_learn_former(struct raft_uv *r, const uint64_t *ids, uint32_t count);
void recover_superseded(struct raft_uv *r, uint64_t by);
void recover_foreign(struct raft_uv *r); /* at the start */

/* auto.c */
void auto_tick(struct raft_uv *r, uint64_t now_ms);

bool auto_sees_loss(const struct raft_uv *r, uint64_t now_ms); /* no leader, no live majority */
void auto_begin(struct raft_uv *r);                            /* if nobody's word is missing */
/* Is (term, index) of a, or with the same the id, before b's? */
bool auto_goes_first(uint64_t term_a, uint64_t index_a, const char *a, uint64_t term_b,
                     uint64_t index_b, const char *b);

/* word.c */
int word_load(struct raft_uv *r);
void word_ask(struct raft_uv *r); /* whoever did not give it, and EC2 about the dead */
void word_withdraw(struct raft_uv *r);
bool word_is_asked(const struct raft_uv *r); /* this agent asks for it */
void word_recv(struct raft_uv *r, uint64_t from, const uint8_t *data, size_t len, uint64_t now_ms);
/* The id of one without whose word this agent may not recover by itself; of one that has its word
 * and did not return it. NULL: there is none. */
const char *word_missing(const struct raft_uv *r);
const char *word_bound_to(const struct raft_uv *r);

/* pilot.c */
void pilot_tick(struct raft_uv *r, uint64_t now_ms);
void pilot_news(struct raft_uv *r); /* of members: it looks at all of them again */

/* raft_uv.c */
void raft_uv_arm(struct raft_uv *r);
/* What goes to disk with the first thing that is kept of a cluster: whose log it is, and on which
 * disk. A full disk may have refused that at the start, and a log of no disk is nobody's. */
const struct store_fact *raft_uv_first_facts(struct raft_uv *r, const uint64_t *cluster_id);
void raft_uv_publish(struct raft_uv *r);
void raft_uv_op_done(struct raft_uv *r);

#endif

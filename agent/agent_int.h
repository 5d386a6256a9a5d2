/* SPDX-License-Identifier: Apache-2.0
 * The agent's state, shared by the files of the composition only. */
#ifndef BLOX_AGENT_AGENT_INT_H
#define BLOX_AGENT_AGENT_INT_H

#include <pthread.h>
#include <stdbool.h>
#include <uv.h>

#include "agent/agent.h"
#include "agent/api/api.h"
#include "agent/aws/aws.h"
#include "agent/base/list.h"
#include "agent/base/map.h"
#include "agent/base/prng.h"
#include "agent/config.h"
#include "agent/daemons/daemons_uv.h"
#include "agent/identity_uv.h"
#include "agent/intake/intake.h"
#include "agent/intent/intent.h"
#include "agent/intents.h"
#include "agent/join_uv.h"
#include "agent/keyring.h"
#include "agent/keys.h"
#include "agent/notice_uv.h"
#include "agent/propagate.h"
#include "agent/raft/raft_uv.h"
#include "agent/rows/rows.h"
#include "gossip/node.h"
#include "gossip/records.h"
#include "store/store.h"

/* Calls between agents (gossip_call's method). */
enum call_method {
    CALL_COMMAND = 1, /* a user's write, to the leader */
    CALL_HINT = 2,    /* "look at this task": from the agent of its instance, to the leader */
    CALL_KEYS = 3,    /* keyring.c: list, install, use, remove */
    CALL_READ = 4,    /* a user's read of the leader's rows: its target */
    CALL_STRONG = 5,  /* the same, if a majority confirms that it leads */
    CALL_EVIDENCE = 6 /* evidence.c: what the own probes of a member saw */
};

/* A user's write, or read of the leader's rows, on its way; see commands.c. */
struct command {
    struct list link;
    struct agent *agent;
    struct api_write *write;        /* from the own API, or */
    struct gossip_request *request; /* from another agent */
    json_t *json;
    uint64_t deadline_ms;
    uint64_t sent_to; /* the leader whose answer is waited for while it is busy; 0: at this agent */
    unsigned looks;   /* since another leads */
    bool reads;       /* "rows.read", and */
    bool strong;      /* of a leader that a majority confirms */
    bool busy;        /* at the scheduler or at another agent */
    bool ambiguous;   /* an attempt may have taken effect */
    int refused;      /* why the last attempt of a read failed */
    char forwarded_to[AGENT_ID_MAX];
};

/* Whether a member's id is a container instance of the cluster; see admission.c. */
struct standing {
    uint64_t num;
    uint64_t since_ms; /* it is listed, or is not, since then */
    bool listed;
    bool once; /* it was, for as long as a stranger is borne, while this agent ran */
    bool evicted;
};

struct agent {
    uv_loop_t *loop;
    const struct config *config;
    struct prng prng;
    uint64_t started_mono_ms;
    int64_t started_unix_ms;

    /* What runs. The second half only once the identity is known. */
    struct store *store;
    struct store_report store_report;
    struct rows *rows;
    struct aws *aws;
    struct intent *intent;
    struct api *api;
    struct identity_search *search;

    struct identity identity;
    struct keys keys;
    struct gossip_node *gossip;
    struct records *records;
    struct raft_uv *raft;
    struct intake *intake;
    struct daemons *daemons;
    struct join *join;
    struct propagate *propagate;
    struct keyring *keyring;
    struct notice *notice;

    /* From other threads. */
    uv_async_t store_async; /* the writer has completions */
    uv_async_t write_async; /* the API has writes */
    uv_async_t want_async;  /* the API has readers of what is old */
    pthread_mutex_t writes_lock;
    struct list writes; /* of struct command, not yet seen by the loop */
    uv_timer_t tick;    /* tick.c */

    struct list commands; /* under way */
    size_t command_count;
    unsigned reads_open;      /* of our rows, on threads of their own: reads.c */
    struct list strong_reads; /* before that */
    size_t strong_count;
    struct list offers; /* applied intent that the store does not have yet, oldest first */
    size_t offer_count;
    uint64_t offers_made;
    uint64_t offers_after_ms;
    bool compare_intent;           /* the leader: look whether rows and intent agree */
    struct record_version applied; /* term and index of the last applied entry */
    enum raft_uv_role role;
    uint64_t term;
    uint64_t leader;                 /* num, 0: none */
    uint64_t told_leader, told_term; /* what watches know */
    int64_t config_index;            /* of raft's configuration, as last published */
    bool own_found;                  /* the own instance's row */
    uint64_t own_due_ms;             /* when it is looked for */
    bool reconciled, all_known;      /* in this leadership: what runs, what is stopping, too */
    int64_t complete_unix_ms;
    uint64_t published_ms[API_DOC_COUNT];
    bool dirty[API_DOC_COUNT];
    uint64_t mark_seen_ms;             /* publish.c: when a reconcile was heard of, 0: never */
    struct members_page *members_page; /* being rendered */
    struct map dead;                   /* id -> num, while members are watched: members.c */
    struct reap_walk *reap;            /* under way */
    uint64_t reap_due_ms;
    int64_t purge_turn; /* the last that dropped tombstones, or that saw the start */
    uint64_t incarnation;
    struct standing *standing; /* of all members, in the order of their list */
    size_t standing_count;
    uint64_t figures_due_ms;   /* of figures */
    uint64_t members_due_ms;   /* of what looks at every member: admission, figures of paths */
    unsigned restoring;        /* restores that wait for their entry: intents.c; */
    struct restored *restored; /* what entries came to meanwhile, newest first */
    bool stopping;
    uint64_t stop_by_ms;            /* a step of stopping waits no longer */
    unsigned marks_open, marks_due; /* stop.c: last writes not confirmed, not posted yet */
    unsigned handles_open;
    char apart[256];        /* why the cluster part did not start; "": it did, or is not due yet */
    uint64_t gossip_due_ms; /* when it is tried again; 0: no more */
    uint64_t proof_due_ms;
    char no_proof[400]; /* why raft.auto_recover would not work; "": it would */
    void (*done)(void *arg);
    void *done_arg;
};

/* tick.c: what the loop looks at by itself. */
#define TICK_MS 200
void agent_tick_start(struct agent *a);
void agent_busy(struct agent *a); /* something waits for the tick: soon, not when it is at rest */

/* agent.c */
void agent_lead_changed(struct agent *a);
void agent_start_cluster(struct agent *a); /* gossip and what stands on it, or when to try again */

/* flow.c: what the modules call back. */
void flow_on_role(void *arg, enum raft_uv_role role, uint64_t term, uint64_t leader);
void flow_apply(void *arg, uint64_t index, uint64_t term, const void *data, size_t len,
                struct raft_rows *ret);
int flow_snapshot_save(void *arg, struct buf *out);
int flow_snapshot_load(void *arg, uint64_t index, uint64_t term, const void *data, size_t len,
                       struct raft_rows *ret);
void flow_on_member(void *arg, const struct gossip_member *m, enum gossip_state before,
                    const char *why);
void flow_on_incarnation(void *arg, uint64_t incarnation);
void flow_on_broken(void *arg, uint64_t num);
void flow_on_bad_packet(void *arg, const struct sockaddr *from, const char *why);
int flow_records_apply(void *arg, const struct record *records, size_t count);
int flow_fingerprints(void *arg, uint64_t first, uint64_t last,
                      int (*fn)(void *fn_arg, uint64_t key_hash, struct record_version version),
                      void *fn_arg);
int flow_get_record(void *arg, uint64_t key_hash,
                    void (*fn)(void *fn_arg, const struct record *rec), void *fn_arg);
void flow_on_reconciled(void *arg, int err);
void flow_on_known(void *arg, const char *cluster);
void flow_on_all_known(void *arg);
void flow_on_hint(void *arg, const char *cluster, const char *task_arn);
void flow_on_shown(void *arg, const struct record *rec);
bool flow_in_doubt(void *arg, const char *arn);
uint32_t flow_missing(void *arg);
/* Is the own instance's row there? Otherwise the leader gets a hint. */
bool flow_own_instance(struct agent *a);
void flow_on_notice(void *arg, const char *text);

/* gone_uv.c: asks ECS and EC2, answers with raft_uv_gone. */
int gone_ask(void *arg, const char *id);
void gone_tick(struct agent *a); /* could it be asked? */

/* offers.c: applied intent -> rows. */
void offers_put(struct agent *a, const struct store_log_intent *rows, size_t count);
void offers_tick(struct agent *a);
void offers_fini(struct agent *a);
uint64_t offers_stored(const struct agent *a); /* of offers_made: so many, from the first on */

/* commands.c */
void commands_submit(void *arg, struct api_write *write); /* any thread */
void commands_take(struct agent *a);                      /* loop: fetch what was submitted */
void commands_on_call(void *arg, uint64_t from, uint8_t method, const uint8_t *data, size_t len,
                      struct gossip_request *call);
void commands_retry(struct agent *a);    /* a leader may be known now, or the time is up */
void commands_fail_all(struct agent *a); /* stopping: all that nobody else works on */
void commands_free_all(struct agent *a); /* at the end: those that were forgotten */

void commands_finish_read(struct command *c, int err, const void *data, size_t len);

/* reads.c: what this agent's API answers to the command's target, told by commands_finish_read. */
void reads_run(struct command *c);
void reads_look(struct agent *a); /* what strong ones wait for may be there, or never come */

/* publish.c */
void publish_dirty(struct agent *a, enum api_doc doc);
void publish_all(struct agent *a);
void publish_asked(struct agent *a); /* what API threads asked for */
void publish_watch_mark(struct agent *a);
void publish_completeness(struct agent *a); /* complete_unix_ms as of now */
/* One sentence on what is wrong, most important first; "" if nothing. */
void publish_trouble(struct agent *a, char *out, size_t size);

/* The leader's reconcile ended well: tell all that the rows are complete. */
void publish_reconciled(struct agent *a);

/* members.c */
void members_page_begin(struct agent *a);
bool members_page_slice(struct agent *a); /* true: there is more of it */
void members_fini(struct agent *a);
/* To watches: a member changed, or was forgotten; the leader. */
void members_tell(struct agent *a, const struct gossip_member *m);
void members_tell_leader(struct agent *a); /* if it is another, or another term's */
void members_tick(struct agent *a);

/* admission.c */
void admission_tick(struct agent *a);

/* figures.c */
void figures_start(void);
void figures_tick(struct agent *a);
void figures_of_paths(struct agent *a);

/* reap.c */
void reap_tick(struct agent *a);
uint64_t reap_wait_ms(const struct agent *a); /* until it has something to do */
void reap_fini(struct agent *a);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * The intake's state, shared by its files: poll_uv.c (the queue), reconcile_uv.c (everything
 * against ECS), refresh_uv.c (some rows against ECS), local_uv.c (the own ECS agent). */
#ifndef BLOX_AGENT_INTAKE_INT_H
#define BLOX_AGENT_INTAKE_INT_H

#include <uv.h>

#include "agent/base/limits.h"
#include "agent/base/list.h"
#include "agent/base/map.h"
#include "agent/base/metrics.h"
#include "agent/base/prng.h"
#include "agent/base/row.h"
#include "agent/intake/events.h"
#include "agent/intake/intake.h"
#include "agent/intake/notes.h"

#define POLLERS_MAX 32       /* long polls in flight; grows while batches come full */
#define POLL_WAIT_SECONDS 20 /* SQS's longest */
#define SQS_MESSAGE_MAX (1u << 20)
#define RECEIPT_MAX 2048u /* SQS's handles are about 400 characters, some emulators' longer */
#define LAGS_MAX 256      /* clusters whose lag is kept apart */
#define REFRESH_MAX 20000 /* rows waiting to be described; more are left to the reconcile */
#define DESCRIBES_MAX 4   /* describe calls of one reconcile in flight */

struct poller {
    struct intake *intake;
    struct aws_call *call;
    bool busy; /* from receive to commit */
    uint64_t failures;
    uint64_t asked_ms;
    unsigned early;   /* answers in a row that were empty and did not wait */
    uv_timer_t timer; /* pause after a failure, or after those */
};

/* A reconcile under way; see reconcile.h. */
struct reconcile;

/* The clusters that it goes through; see clusters.c. */
struct clusters {
    struct intake *intake;
    json_t *wanted;      /* names or ARNs, as configured, that are to be resolved; the own first */
    size_t asked;        /* of those: about so many ECS was asked */
    size_t batch;        /* so many in one question */
    bool list_due;       /* ListClusters is still to tell of the others */
    bool cut;            /* something failed before all were resolved or compared */
    json_t *arns;        /* what there is, the own first */
    struct map compared; /* ARNs of those of which all that runs was listed and described */
    struct map unread;   /* as it was asked for: what ECS does not let us read */
    char partly[200];    /* what is wrong although the others go on; "" */
};

/* A round of comparing goes once through all clusters, in one run or, after failures, in several;
 * a later run does not repeat what an earlier one has done. See round.c. */
enum round_stage {
    ROUND_NOTHING,
    ROUND_RUNNING, /* all that runs in the cluster is here */
    ROUND_ALL      /* ... and all that is stopping */
};
struct round {
    struct map stages; /* cluster ARN -> its stage; see round_at */
    bool whole;        /* all that runs is here, and that was told */
    uint64_t since_ms; /* monotonic */
};

/* Its look at the rows that no list has shown; see leftover.c. */
struct leftover {
    const struct clusters *clusters;
    struct map *seen; /* ARNs that were listed, of all clusters */
    void *mark;       /* ... and those that are looked at again */
    int64_t started_unix_ms;
    uint64_t started_index[RECORD_KIND_END]; /* of the store's changes */
    char after[RECORD_KEY_MAX];              /* its place among the rows */
    size_t after_len;
};
/* Rows waiting for a describe; see refresh_uv.c. */
struct refresh {
    struct map waiting; /* "cluster\narn" -> non-NULL */
    uv_timer_t timer;
    struct list describes; /* under way, of any leadership */
    unsigned in_flight;
    unsigned failures;       /* in a row */
    int64_t clock_offset_ms; /* wall clock less monotonic one, when last looked at */
    int64_t clock_since_ms;  /* monotonic: since then without a step */
};

/* How late the events of a cluster come. */
struct cluster_lag {
    int64_t events, lag_ms, lag_max_ms; /* of this leadership; lag_ms is the newest event's */
};

struct local {
    uv_timer_t timer;
    bool busy;
    int64_t lag_ms;          /* newest change of an own task: its event less the own agent's word */
    int64_t told, refreshed; /* changes that an event told, that a hint had to bring */
    struct map seen;         /* task ARN -> struct local_task */
    unsigned failures;
};

struct intake {
    struct intake_options options;
    char cluster[ARN_MAX];
    char home[ARN_MAX];  /* "arn:aws:ecs:us-east-1:111122223333:", where all ours is; "": unknown */
    char clusters[2048]; /* for events_options; "" with all = true */
    bool all_clusters;
    char queue_url[1024];
    bool leading;
    uint64_t term;
    uint64_t generation; /* of the leadership: answers of an earlier one are dropped */
    struct prng prng;
    char queue_trouble[256];
    char reconcile_trouble[256];
    char describe_trouble[256];

    struct poller pollers[POLLERS_MAX];
    unsigned poller_target;
    unsigned deletes;         /* DeleteMessageBatch in flight */
    unsigned delete_failures; /* in a row */
    /* What one receive is parsed into, from its messages' bodies one after the other. */
    struct events_row parsed[SQS_BATCH];
    struct record records[SQS_BATCH];
    struct buf body;
    struct aws_call *queue_call; /* GetQueueUrl */
    uv_timer_t queue_timer;

    struct reconcile *reconcile;
    uv_timer_t reconcile_timer;
    bool reconcile_again;
    struct round round;
    bool reconciled;    /* once at least in this leadership */
    bool all_known;     /* the same, with what is stopping */
    struct map known;   /* ARNs of the clusters of which that is so already */
    struct map refused; /* as it was asked for: what the newest round could not read */
    int64_t described;  /* rows that the newest reconcile asked for */
    int64_t reconcile_ok_unix_ms;
    unsigned reconcile_failures;

    struct refresh refresh;
    struct local local;

    int64_t received, deleted, poison, hints, ignored, foreign, applied, duplicates;
    int64_t missing, stale,
        gone;       /* drift: rows that we had not, had older, had although ECS has not */
    int64_t lag_ms; /* of the newest batch: now - SentTimestamp */
    struct notes notes;
    struct map lags; /* cluster ARN -> struct cluster_lag */

    unsigned handles_open;
    unsigned calls_open; /* AWS calls and row batches that will call back */
    bool stopping;
    void (*done)(void *arg);
    void *done_arg;
};

struct events_options intake_events_options(const struct intake *in);
/* A call or batch ended: may finish intake_destroy. Do not touch the intake afterwards. */
void intake_call_ended(struct intake *in);
void intake_handle(struct intake *in, uv_timer_t *timer); /* counted, closed at the end */

/* What is stored under a key. */
struct stored {
    struct record header;   /* without key and value */
    int64_t stored_unix_ms; /* by this agent's own clock */
    bool over;              /* a STOPPED task, an INACTIVE instance */
};
/* 0 or ERR_NOTFOUND; tombstones are found. */
int intake_stored(struct intake *in, uint8_t kind, const char *key, struct stored *ret);
/* Does the row say that its task or instance has ended for good? */
bool intake_is_over(const struct record *rec);

bool intake_is_own(const struct intake *in, const char *cluster); /* name or ARN */
void intake_set_home(struct intake *in, const char *arn);         /* of anything that is there */

void clusters_init(struct clusters *c, struct intake *in);
void clusters_fini(struct clusters *c);
const char *clusters_at(const struct clusters *c, size_t i); /* an ARN; NULL: behind the last */
/* What DescribeClusters is to be asked for next. New reference; NULL: all is resolved. */
json_t *clusters_question(struct clusters *c);
void clusters_take(struct clusters *c, const json_t *body); /* its answer */
void clusters_take_list(struct clusters *c, const json_t *arns);
/* The question, or a call about one cluster, failed with r. True: the run can go on, for access was
 * denied to another cluster than the own. Its rows are to be left as they are. */
bool clusters_refused(struct clusters *c, const struct aws_result *r);
bool clusters_leave(struct clusters *c, const char *cluster, const struct aws_result *r);
bool clusters_unread(const struct clusters *c, const char *arn);
/* Is a cluster (ARN) among names and ARNs? */
bool clusters_names(const struct map *names, const char *arn);

/* Is this row's cluster one of which a row that no list has shown is to be looked at again? */
bool clusters_is_checked(const struct clusters *c, const char *arn);

uint64_t round_every_ms(const struct intake *in);
void round_forget(struct intake *in); /* the next run begins another round */
void round_resume(struct intake *in); /* or goes on with this one, if that is not too old */
enum round_stage round_at(const struct intake *in, const char *cluster);
/* 0 or ERR_NOMEM. */
int round_reach(struct intake *in, const char *cluster, enum round_stage stage) MUST_CHECK;
/* All clusters but those that c says could not be read are through. */
void round_end(struct intake *in, struct clusters *c);
void round_stop(struct intake *in); /* with the leadership */

void leftover_init(struct leftover *l, const struct clusters *clusters, struct map *seen,
                   void *mark);
/* Work of one turn of the loop: some rows of the kind. Errors: ERR_NOMEM, store_scan's. */
int leftover_look(struct leftover *l, uint8_t kind, bool *ret_more) MUST_CHECK;

/* Did ECS tell of it within a quarter of a minute? By the clock of who took it in, and by our own:
 * a row may have come late, or from a wrong one. */
bool lately_is_told(struct store_txn *txn, uint8_t kind, const char *arn, int64_t now_unix_ms);
/* ECS shows it for an hour and will say nothing else of it. */
bool lately_is_over(struct store_txn *txn, const char *task_arn);

void poll_start(struct intake *in);
void poll_stop(struct intake *in);
void poll_init(struct intake *in);
void poll_forget_lags(struct intake *in);

void reconcile_init(struct intake *in);
void reconcile_stop(struct intake *in);

void refresh_init(struct intake *in);
void refresh_stop(struct intake *in);

/* A Describe answer ("tasks" or "containerInstances", with "failures") to the ARNs that were asked
 * for -> rows. *ret_news says how many are newer than what is stored; if there are any, done runs
 * when they are committed or refused (counted as a call: done ends with intake_call_ended). Errors:
 * rows_apply's. */
int refresh_take(struct intake *in, const char *cluster, const struct tape *t, const json_t *asked,
                 store_apply_fn done, void *arg, size_t *ret_news) MUST_CHECK;

/* Rows that ECS, when asked, showed otherwise than we had them. */
void refresh_count_drift(struct intake *in, const struct record *records,
                         const struct store_change *changes, size_t count);

void local_init(struct intake *in);
void local_stop(struct intake *in);

extern struct metric intake_events_rows;
extern struct metric intake_events_duplicate;
extern struct metric intake_events_ignored;
extern struct metric intake_events_foreign;
extern struct metric intake_events_poison;
extern struct metric intake_events_hints;
extern struct metric intake_event_lag;
extern struct metric intake_drift_missing;
extern struct metric intake_drift_stale;
extern struct metric intake_drift_gone;

#endif

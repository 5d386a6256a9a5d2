/* SPDX-License-Identifier: Apache-2.0
 * A comparison with ECS under way, shared by reconcile_uv.c (the run over all clusters) and
 * compare_uv.c (one cluster of it). */
#ifndef BLOX_AGENT_INTAKE_RECONCILE_H
#define BLOX_AGENT_INTAKE_RECONCILE_H

#include "agent/intake/intake_int.h"

/* A describe under way, then its rows. */
struct slot {
    struct compare *compare;
    struct aws_call *call;
    json_t *arns; /* asked for */
    bool busy;
};

enum compare_step {
    COMPARE_INSTANCES, /* list */
    COMPARE_TASKS,     /* list those that run */
    COMPARE_DESCRIBE,
    COMPARE_RUNNING, /* is here */
    COMPARE_STOPPED, /* list */
    COMPARE_DESCRIBE_STOPPED,
    COMPARE_KNOWN
};

/* One cluster's part. */
struct compare {
    struct list node; /* in reconcile.compares */
    struct reconcile *run;
    char cluster[ARN_MAX];
    enum compare_step step;
    json_t *arns; /* to describe: instances, then tasks */
    size_t arn_at;
    size_t instances; /* of arns, how many are instances */
    json_t *listing;  /* a list's answer, taken in slices */
    size_t listing_at;
    struct slot slots[DESCRIBES_MAX];
    unsigned in_flight; /* busy slots */
    struct aws_call *list_call;
    int refusal;     /* once all answers are here it is left for another run */
    bool over;       /* there is no more to ask: it is not there, or cannot be read */
    bool takes_long; /* longer than a turn */
};

enum reconcile_step {
    LIST_CLUSTERS,
    RESOLVE,
    COMPARE,
    CHECK_INSTANCES,
    CHECK_TASKS,
    CHECKED,
    DONE
};

struct reconcile {
    struct intake *intake;
    enum reconcile_step step;
    struct clusters clusters;
    size_t cluster_at;    /* of those, the next that is to be begun */
    struct list compares; /* what is begun; those that had their turn are at the end */
    struct compare *turn; /* the one that may ask */
    uint64_t turn_since_ms;
    struct aws_call *names_call; /* ListClusters, DescribeClusters */
    struct map seen; /* ARNs that ECS listed, of all clusters, or that were refreshed: mark_of */
    int err;         /* ends the run */
    int refusal;     /* ... or of the clusters' names */
    int left;        /* the first refusal */
    char why[200];   /* of the first of them all */
    struct leftover leftover;
    int64_t started_unix_ms;
    uint64_t started_ms; /* monotonic */
    size_t listed, described, corrected;
    bool resumes;
    bool checked; /* what no list has shown */
    bool checked_early;
    char asked_again; /* its address marks what was asked for a second time */
    bool stopped;     /* leadership went: free when the last answer came */
};

/* NULL: no memory. stage: what the round has of it already. */
struct compare *compare_new(struct reconcile *rc, const char *cluster, enum round_stage stage);
void compare_free(struct compare *c);          /* nothing is open */
bool compare_is_open(const struct compare *c); /* answers or slices are to come */
bool compare_can_ask(const struct compare *c); /* now */
void compare_ask(struct compare *c);
/* Takes some of a list's answer, if there is one. */
void compare_take_slice(struct compare *c);
/* Goes on from describes that are through. */
void compare_settle(struct compare *c);
void compare_cancel(struct compare *c);

/* After every answer: goes on, ends with the error, or lets go of a stopped run. */
void reconcile_answered(struct reconcile *rc);
void reconcile_fail(struct reconcile *rc, int err, const char *what);
/* Keeps the reason of the first refusal. cluster may be NULL. */
void reconcile_note(struct reconcile *rc, const char *what, const char *cluster,
                    const struct aws_result *r);
/* Names and lists are small and come at once, or were lost: a leader's first run, which all else
 * waits for, asks again soon. After a failure they get the client's usual time. */
struct aws_call_options reconcile_small_call(const struct intake *in);

#endif

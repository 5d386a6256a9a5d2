/* SPDX-License-Identifier: Apache-2.0
 * ECS's JSON -> rows. Pure: no I/O, no clock. An EventBridge envelope (as an SQS body, also
 * wrapped by SNS) and a Describe answer of the same ECS version give the same bytes as far as
 * both carry the fields: ECS's own field names, sorted keys, times as RFC 3339 with milliseconds,
 * override environment values redacted.
 *
 * Nothing that AWS or anyone else puts into a queue makes this fail other than by an outcome:
 * unknown kinds are EVENTS_IGNORED (AWS adds kinds without notice), what cannot be understood is
 * EVENTS_POISON with a sentence. Some emulators send events without a version: those cannot be put
 * in order, but tell what to ask ECS about (EVENTS_HINT). */
#ifndef BLOX_AGENT_INTAKE_EVENTS_H
#define BLOX_AGENT_INTAKE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/json.h"
#include "agent/base/record.h"
#include "agent/base/tape.h"

#define EVENTS_GROUP_MAX 64

enum events_outcome { EVENTS_ROW, EVENTS_IGNORED, EVENTS_FOREIGN, EVENTS_POISON, EVENTS_HINT };

struct events_options {
    const char *clusters; /* names or ARNs, comma-separated; NULL: all */
    /* "arn:aws:ecs:us-east-1:111122223333:", where those with these names are, and all; NULL or "":
     * anywhere. A queue may bring events of other regions and accounts. */
    const char *home;
    bool keep_override_values;
    /* Some emulators forget the group that a task was started with: that of who started it, at
     * most EVENTS_GROUP_MAX bytes with its NUL; false: nobody knows. NULL: nobody is asked. */
    bool (*group_of)(void *arg, const char *started_by, char *out);
    void *arg;
};

/* What ECS says of services, deployments and the health of instances: nothing that has a state
 * here, but what a user wants to know who asks why. */
struct events_note {
    char level[8];   /* INFO, WARN, ERROR; "": there is no note */
    char name[64];   /* SERVICE_TASK_PLACEMENT_FAILURE */
    char about[256]; /* ARN of the service or instance */
    char reason[160];
};

struct events_row {
    enum events_outcome outcome;
    struct events_note note; /* of EVENTS_IGNORED */
    char kind[64];           /* detail-type, cut to fit; "" if there was none */
    char why[160];           /* of EVENTS_POISON and EVENTS_IGNORED */
    int64_t event_unix_ms;   /* the envelope's time, in whole seconds; 0: none */
    int64_t change_unix_ms;  /* when ECS says that it changed (updatedAt); 0: it does not say */
    struct record record; /* of EVENTS_ROW: borrows from memory; source, observed_unix_ms and term
                             are the caller's to set */
    const char *hint_arn; /* of EVENTS_HINT, in memory */
    const char *hint_cluster;
    struct buf memory;
    struct buf json;  /* canonical, before it goes into memory */
    struct tape tape; /* while parsing */
    struct buf inner; /* an event that came as text within another */
};

/* Initialise once; may be parsed into again and again. */
void events_row_init(struct events_row *row);
void events_row_fini(struct events_row *row);

void events_parse(const char *body, size_t len, const struct events_options *options,
                  struct events_row *ret);
/* One object of DescribeTasks / StartTask ("tasks") or DescribeContainerInstances
 * ("containerInstances"). Some emulators of ECS give no version: then it is 0 here. */
void events_take_task(const struct tape *t, uint32_t task, const struct events_options *options,
                      struct events_row *ret);
void events_take_instance(const struct tape *t, uint32_t instance, const char *cluster_arn,
                          const struct events_options *options, struct events_row *ret);
/* The same of parsed answers. */
void events_from_task(const json_t *task, const struct events_options *options,
                      struct events_row *ret);
void events_from_instance(const json_t *instance, const char *cluster_arn,
                          const struct events_options *options, struct events_row *ret);

/* What may be kept of a body that is poison: its JSON without environment values, or only its
 * length if it is not JSON. Appends; buf's errors. */
int events_scrub(const char *body, size_t len, struct buf *out);

/* True if the cluster (name or ARN) is among options->clusters. */
bool events_keeps_cluster(const struct events_options *options, const char *cluster);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * A local cloud: ECS, SQS, STS, IMDSv2 and the ECS agent's introspection of N simulated container
 * instances, in one process on loopback. For `blox dev`, demos and tests. It runs in threads of
 * its own (HTTP, timers); all functions here may be called from any thread. */
#ifndef BLOX_DEVCLOUD_DEVCLOUD_H
#define BLOX_DEVCLOUD_DEVCLOUD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"

struct devcloud;

/* Start from devcloud_options_init(); the text members are borrowed during devcloud_start only. */
struct devcloud_options {
    uint16_t port;             /* 0: any free one */
    unsigned instances;        /* made at start */
    const char *cluster;       /* name */
    const char *queue;         /* name */
    const char *region;        /* "us-east-1" */
    const char *partition;     /* "aws" */
    const char *account;       /* twelve digits */
    const char *instance_type; /* of the first instances; see instance_types in instances.c */
    const char *access_key;    /* the long-term credentials that are accepted */
    const char *secret_key;
    const char *control_token; /* NULL: the control API needs none */
    const char *truth_log;     /* file, appended; NULL: none */
    const char *scenario;      /* file of JSON lines {at_ms, verb, args}; NULL: none */
    const char *settings;      /* JSON object as the control verb "set" takes it; NULL: none */
    uint64_t seed;
    bool strict; /* requests with members the service model does not know are refused */
};

void devcloud_options_init(struct devcloud_options *options);
int devcloud_start(struct devcloud **ret, const struct devcloud_options *options, struct errmsg *e);
void devcloud_stop(struct devcloud *cloud);

uint16_t devcloud_port(const struct devcloud *cloud);
/* What the program prints when ready: endpoint, queue_url, cluster_arn, credentials, instances.
 * New reference. */
json_t *devcloud_ready(struct devcloud *cloud);
/* A control verb ("drain", "add-instances", "set"...; "truth" and "stats" answer state), as POST
 * /_control/VERB. args is borrowed and may be NULL; *ret_answer (may be NULL) is a new reference.
 */
int devcloud_control(struct devcloud *cloud, const char *verb, const json_t *args,
                     json_t **ret_answer, struct errmsg *e);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * Who am I: this agent's id, cluster, container instance, zone and address, from the
 * configuration, the local ECS agent, instance metadata, and what an earlier start knew.
 * Loop thread. */
#ifndef BLOX_AGENT_IDENTITY_H
#define BLOX_AGENT_IDENTITY_H

#include <stdbool.h>

#include "agent/aws/aws.h"
#include "agent/base/limits.h"
#include "agent/config.h"
#include "store/store.h"

struct identity {
    char id[AGENT_ID_MAX];
    char cluster[ARN_MAX]; /* name or ARN as it was found */
    char instance_arn[ARN_MAX];
    char zone[ZONE_MAX];
    char address[64];   /* local IPv4 */
    char address6[64];  /* IPv6, if its interface has one */
    char lifecycle[32]; /* "spot", "on-demand", ... or "" */
};

/* The part behind the last '/' of a cluster ARN, or the name itself. */
const char *identity_cluster_name(const struct identity *i);

struct identity_search;
struct identity_options {
    struct uv_loop_s *loop;
    struct aws *aws;
    struct store *store;
    const struct config *config;
    void *arg;
    /* id and cluster are known. Called once. */
    void (*on_known)(void *arg, const struct identity *found);
    /* More became known later (the container instance registered). */
    void (*on_more)(void *arg, const struct identity *found);
};

int identity_start(struct identity_search **ret, const struct identity_options *options) MUST_CHECK;
void identity_stop(struct identity_search *s, void (*done)(void *arg), void *arg);
/* Why nothing is known yet, "" if all is. */
const char *identity_trouble(const struct identity_search *s);

#endif

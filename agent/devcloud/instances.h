/* SPDX-License-Identifier: Apache-2.0
 * Clusters and container instances and what happens to them. */
#ifndef BLOX_DEVCLOUD_INSTANCES_H
#define BLOX_DEVCLOUD_INSTANCES_H

#include "agent/devcloud/cloud.h"

struct cluster *cluster_create(struct devcloud *cloud, const char *name);
void cluster_destroy(struct devcloud *cloud, struct cluster *c);
/* By name or ARN; NULL text means "default". */
struct cluster *cluster_find(struct devcloud *cloud, const char *text);

struct instance_options {
    const char *type;         /* NULL: that of the start */
    const char *zone;         /* NULL: a, b, c in turn */
    const json_t *attributes; /* custom ones: name -> value */
    bool spot;
};

/* NULL if the type is unknown. */
struct instance *instance_add(struct devcloud *cloud, struct cluster *c,
                              const struct instance_options *options);
void instance_destroy(struct devcloud *cloud, struct instance *in);
/* By id or ARN; NULL if the cluster has none such. ARNs of another cluster are not found. */
struct instance *instance_find(const struct cluster *c, const char *text);
/* By anything: EC2 id, container instance id or ARN, in every cluster. */
struct instance *instance_find_any(struct devcloud *cloud, const char *text);

/* Changes are made between these two; the second gives it a new version and tells the world. */
void instance_before(struct devcloud *cloud, struct instance *in);
void instance_changed(struct devcloud *cloud, struct instance *in, const char *what);

void instance_set_status(struct devcloud *cloud, struct instance *in, const char *status);
void instance_connect(struct devcloud *cloud, struct instance *in, bool connected);
/* Its tasks are declared stopped with the reason and code (may be NULL). */
void instance_deregister(struct devcloud *cloud, struct instance *in, const char *reason,
                         const char *code);
#define REASON_DEREGISTERED "Container instance deregistration forced by user"
/* The EC2 instance ends. If the agent was connected ECS deregisters it, else it stays a ghost. */
void instance_terminate(struct devcloud *cloud, struct instance *in);
void instance_flaps_start(struct devcloud *cloud, struct instance *in);
bool instance_known_type(const char *type);

#endif

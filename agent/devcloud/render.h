/* SPDX-License-Identifier: Apache-2.0
 * Instances, tasks and clusters as JSON: as the API answers them (times are epoch seconds) or as
 * EventBridge's detail (times are ISO text). New references. */
#ifndef BLOX_DEVCLOUD_RENDER_H
#define BLOX_DEVCLOUD_RENDER_H

#include "agent/devcloud/cloud.h"

enum render_as { AS_API, AS_EVENT };

json_t *render_instance(const struct devcloud *cloud, struct instance *in, enum render_as as);
json_t *render_task(const struct devcloud *cloud, const struct task *t, enum render_as as);
json_t *render_cluster(const struct cluster *c);
json_t *render_attributes(struct instance *in); /* shared: do not change it */
json_t *render_time(int64_t unix_ms, enum render_as as);
/* EventBridge's envelope; detail is stolen. */
json_t *render_envelope(struct devcloud *cloud, const char *detail_type, const char *source,
                        const char *resource, json_t *detail);
/* Into the event queue, with the losses, duplicates and delays that are set. Steals. */
void render_publish(struct devcloud *cloud, json_t *envelope);

#endif

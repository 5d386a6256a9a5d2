/* SPDX-License-Identifier: Apache-2.0
 * What answers a request, one function per service; all called with the lock held. */
#ifndef BLOX_DEVCLOUD_SERVICES_H
#define BLOX_DEVCLOUD_SERVICES_H

#include "agent/devcloud/request.h"

/* Operations read req->params and fill req->answer. */
typedef void (*operation_fn)(struct devcloud *cloud, struct request *req);
struct operation {
    const char *name;
    operation_fn run;
    int bucket; /* enum bucket_kind; -1: none */
};
enum bucket_kind {
    BUCKET_NONE = -1,
    BUCKET_CLUSTER_MODIFY,
    BUCKET_CLUSTER_READ,
    BUCKET_RESOURCE_MODIFY,
    BUCKET_RESOURCE_READ,
    BUCKET_TASKDEF_MODIFY,
    BUCKET_TASKDEF_READ,
    BUCKET_TAG_MODIFY,
    BUCKET_TAG_READ,
    BUCKET_END
};

extern const struct operation ecs_operations[], sqs_operations[], sts_operations[],
    ec2_operations[]; /* NULL ends */

void service_identify(struct request *req); /* sets service and operation of an AWS call */
void service_aws(struct devcloud *cloud, struct request *req); /* POST / */
/* ec2.c: the form to parameters as in the model (false with the error answered), and the answer's
 * JSON to XML. */
bool ec2_take_form(struct devcloud *cloud, struct request *req);
void ec2_render(struct devcloud *cloud, struct request *req);
void service_imds(struct devcloud *cloud, struct request *req);    /* /_imds/i-... */
void service_agent(struct devcloud *cloud, struct request *req);   /* /_ecs-agent/i-... */
void service_control(struct devcloud *cloud, struct request *req); /* /_control/... */

/* auth.c: false with the answer filled if the request is not properly signed. */
bool auth_check(struct devcloud *cloud, struct request *req);
struct credential *auth_issue(struct devcloud *cloud, const char *role, const char *session,
                              uint64_t ttl_s);
void cloud_auth_init(struct devcloud *cloud, const char *access_key, const char *secret);
void cloud_auth_fini(struct devcloud *cloud);

/* faults.c: throttle, faults; true if the request goes on now. */
bool throttle_take(struct devcloud *cloud, int bucket);
struct fault *fault_pick(struct devcloud *cloud, const struct request *req, const char *when);
int fault_add(struct devcloud *cloud, const json_t *args, json_t **ret_answer, struct errmsg *e);
void faults_clear(struct devcloud *cloud);

/* record.c: the ring of raw requests. */
void record_request(struct devcloud *cloud, const struct request *req);
int record_dump(struct devcloud *cloud, uint64_t after, struct buf *out);
void record_fini(struct devcloud *cloud);

/* settings.c */
void settings_init(struct settings *set);
int settings_apply(struct devcloud *cloud, const json_t *args, struct errmsg *e);
json_t *settings_render(const struct settings *set);

/* control.c, truth.c, scenario.c */
int control_run(struct devcloud *cloud, const char *verb, const json_t *args, json_t **ret_answer,
                struct errmsg *e);
json_t *truth_render(struct devcloud *cloud);
json_t *stats_render(struct devcloud *cloud);
int scenario_start(struct devcloud *cloud, const char *path, struct errmsg *e);
void scenario_fini(struct devcloud *cloud);

/* imds.c */
void imds_fini(struct devcloud *cloud);

/* http.c */
int http_start(struct devcloud *cloud, uint16_t port, struct errmsg *e);
void http_stop(struct devcloud *cloud); /* without the lock */

#endif

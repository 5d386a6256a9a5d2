/* SPDX-License-Identifier: Apache-2.0
 * Tasks: birth, life on the host, what ECS learns of it and when, end. */
#ifndef BLOX_DEVCLOUD_TASKS_H
#define BLOX_DEVCLOUD_TASKS_H

#include "agent/devcloud/cloud.h"

struct task_options {
    const char *started_by;
    const char *group; /* NULL: family:NAME */
    const json_t *overrides;
    json_t *tags; /* borrowed */
    bool execute_command;
};

const char *task_status_str(enum task_status status);
/* NULL if it may start there, else the reason of the failures[] entry. */
const char *task_refusal(const struct devcloud *cloud, const struct instance *in,
                         const struct task_def *def);
struct task *task_start(struct devcloud *cloud, struct instance *in, struct task_def *def,
                        const struct task_options *options);
/* By id or ARN, in one cluster; NULL if it is not known there. */
struct task *task_find(struct devcloud *cloud, const struct cluster *c, const char *text);
void task_stop(struct devcloud *cloud, struct task *t, const char *reason, const char *code);
/* Its container exits by itself. */
void task_exit(struct devcloud *cloud, struct task *t, int64_t exit_code);
/* The control plane declares it stopped (host gone, forced deregistration). */
void task_lost(struct devcloud *cloud, struct task *t, const char *reason, const char *code);
/* The host died: no container runs any more, but ECS has not been told. */
void task_host_died(struct devcloud *cloud, struct task *t);
/* The agent is back: it reports what happened meanwhile and does what was asked. */
void task_agent_back(struct devcloud *cloud, struct task *t);
void task_destroy(struct devcloud *cloud, struct task *t);
void task_before(struct devcloud *cloud, struct task *t);
void task_changed(struct devcloud *cloud, struct task *t, const char *what);

/* Task definitions. */
struct task_def *task_def_register(struct devcloud *cloud, const json_t *params, struct errmsg *e);
/* family, family:revision or ARN; NULL if there is none. A family means its latest ACTIVE one. */
struct task_def *task_def_find(struct devcloud *cloud, const char *text);
void task_def_destroy(struct task_def *def);
void task_defs_builtin(struct devcloud *cloud);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * ECS's cluster query language, as ListContainerInstances' filter and memberOf take it. Written
 * apart from the scheduler's selector on purpose: each checks the other. */
#ifndef BLOX_DEVCLOUD_QUERY_H
#define BLOX_DEVCLOUD_QUERY_H

#include "agent/devcloud/cloud.h"

/* 0 or ERR_BADPARAM with e (may be NULL) saying what is wrong with the expression. */
int query_match(const char *expression, const struct instance *in, bool *ret, struct errmsg *e);

#endif

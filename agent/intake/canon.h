/* SPDX-License-Identifier: Apache-2.0
 * ECS's JSON in one form, whether it came as an event or as an answer of the API. The two
 * differ: times are text of 0-9 fractional digits or seconds as a number, a managed agent's
 * lastStatus is called status, resources carry one value or all four, empty lists are there or
 * not, order is nobody's promise. Applying it twice changes nothing. */
#ifndef BLOX_AGENT_INTAKE_CANON_H
#define BLOX_AGENT_INTAKE_CANON_H

#include <stdbool.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/tape.h"

#define CANON_DEPTH_MAX 24 /* ECS nests 5 deep */
#define CANON_REDACTED "[redacted]"

/* Appends the object in canonical form: members sorted, no space. Values of every "environment" are
 * replaced unless keep_values. cluster_arn (may be NULL) becomes its clusterArn if it has none: a
 * container instance in an answer has none. Errors: ERR_MALFORMED (nested too deeply), ERR_NOMEM,
 * the buffer's. */
int canon_write(const struct tape *t, uint32_t object, bool keep_values, const char *cluster_arn,
                struct buf *out) MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0
 * ECS's JSON in one form, whether it came as an event or as an answer of the API. The two
 * differ: times are text of 0-9 fractional digits or seconds as a number, a managed agent's
 * lastStatus is called status, resources carry one value or all four, empty lists are there or
 * not, order is nobody's promise. Applying it twice changes nothing. */
#ifndef BLOX_AGENT_INTAKE_CANON_H
#define BLOX_AGENT_INTAKE_CANON_H

#include <stdbool.h>

#include "agent/base/json.h"

#define CANON_DEPTH_MAX 24 /* ECS nests 5 deep */
#define CANON_REDACTED "[redacted]"

/* A canonical copy (new reference). NULL: out of memory, or nested too deeply (ERR_TOOBIG). Values
 * of every "environment" are replaced unless keep_values. */
json_t *canon_copy(const json_t *object, bool keep_values, int *ret_err);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * The Query protocol: a form in, XML out. STS and EC2 speak it, and SQS did before it spoke JSON:
 * emulators of that time still do. Pure. */
#ifndef BLOX_AWS_QUERY_H
#define BLOX_AWS_QUERY_H

#include <stddef.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/json.h"

/* "Action=...&Version=...&Key=value...": params is an object of texts and integers; for SQS also of
 * its lists, as they are in its JSON protocol, for EC2 of lists and objects in any depth, named as
 * in the form ("Filter": [{"Name": ..., "Value": [...]}]). */
int query_encode_sts(const char *action, const json_t *params, struct buf *out) MUST_CHECK;
int query_encode_sqs(const char *action, const json_t *params, struct buf *out) MUST_CHECK;
int query_encode_ec2(const char *action, const json_t *params, struct buf *out) MUST_CHECK;
/* All elements without children as {name: text}; of a repeated name the first. Knows elements,
 * attributes (ignored), the five entities and character references, comments and the XML
 * declaration; anything else (DOCTYPE, CDATA, wrong nesting) is malformed. NULL sets e. */
json_t *query_parse_sts(const char *data, size_t len, struct errmsg *e);
/* The same; messages and entries of batches become lists, named as in the JSON protocol. */
json_t *query_parse_sqs(const char *data, size_t len, struct errmsg *e);
/* What DescribeInstances tells of instances, of all reservations together: {"instances":
 * [{"instanceId": ..., "instanceState": [{"code": ..., "name": ...}], ...}]}, only what stands in
 * the instance's element itself; and the leaves of the answer or of its error. */
json_t *query_parse_ec2(const char *data, size_t len, struct errmsg *e);

#endif

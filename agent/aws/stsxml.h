/* SPDX-License-Identifier: Apache-2.0
 * STS speaks the Query protocol: a form in, XML out. Pure. */
#ifndef BLOX_AWS_STSXML_H
#define BLOX_AWS_STSXML_H

#include <stddef.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/json.h"

/* "Action=...&Version=2011-06-15&Key=value...": params is an object of texts and integers. */
int stsxml_encode(const char *action, const json_t *params, struct buf *out) MUST_CHECK;
/* All elements without children as {name: text}; of a repeated name the first. Knows elements,
 * attributes (ignored), the five entities and character references, comments and the XML
 * declaration; anything else (DOCTYPE, CDATA, wrong nesting) is malformed. NULL sets e. */
json_t *stsxml_parse(const char *data, size_t len, struct errmsg *e);

#endif

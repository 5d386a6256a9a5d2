/* SPDX-License-Identifier: Apache-2.0
 * Where a service of a Region lives, pure: partition's DNS suffix, dual-stack and FIPS names. */
#ifndef BLOX_AWS_ENDPOINT_H
#define BLOX_AWS_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"

#define ENDPOINT_URL_MAX 512
#define REGION_MAX 48

const char *
endpoint_partition(const char *region); /* "aws", "aws-cn", ... by the Region's prefix */
/* "https://ecs.eu-west-1.amazonaws.com". ERR_TOOBIG, or ERR_BADPARAM for an odd Region. */
int endpoint_build(const char *service, const char *region, bool dual_stack, bool fips,
                   char out[ENDPOINT_URL_MAX]) MUST_CHECK;
/* Checks a URL that a user configured: http or https, a host, no user, query or fragment.
 * Takes the trailing slash off. */
int endpoint_check(const char *url, char out[ENDPOINT_URL_MAX], struct errmsg *e) MUST_CHECK;
bool endpoint_region_is_valid(const char *region);
/* The AWS host of a queue URL as "https://host" and its Region; false for any other host. */
bool endpoint_of_queue(const char *queue_url, char url[ENDPOINT_URL_MAX], char region[REGION_MAX]);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * Errors of /v2 and of everything outside /v1: application/problem+json (RFC 9457), from one
 * closed list of problem types that the agent itself explains. */
#ifndef BLOX_AGENT_API_PROBLEM_H
#define BLOX_AGENT_API_PROBLEM_H

#include "agent/api/server.h"

/* Details of one error. Only slug or err must be given. */
struct problem {
    const char *slug;    /* NULL: the one of err */
    int err;             /* negative enum err, or 0 */
    const char *detail;  /* a sentence for a human; NULL: the title */
    const char *hint;    /* one thing to try; NULL: the type's own */
    const char *pointer; /* offending member ("/taskDefinition"), parameter ("?limit") or header
                            ("If-Match"), or NULL */
    const char *allow;   /* for 405 */
    const char *forwarded_to;
};

enum MHD_Result problem_reply(struct request *r, const struct problem *p);
/* Shorthand: slug and a formatted detail. */
enum MHD_Result problem_replyf(struct request *r, const char *slug, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* GET /v2/problems[/slug]. slug "" lists them. */
enum MHD_Result problem_explain(struct request *r, const char *slug);

/* Refuses parameters that are not in the NULL-terminated list (naming the nearest one) and
 * repeated ones. true: answered, *ret says how. */
bool problem_check_params(struct request *r, const char *const *known, enum MHD_Result *ret);
/* The nearest of the known names within two edits, or NULL. */
const char *nearest_name(const char *name, const char *const *known);

#endif

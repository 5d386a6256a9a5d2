/* SPDX-License-Identifier: Apache-2.0
 * Shared by creds_uv.c (when to refresh) and creds_fetch_uv.c (one refresh: ask the source that the
 * chain names, then assume its roles one by one). */
#ifndef BLOX_AWS_CREDS_INT_H
#define BLOX_AWS_CREDS_INT_H

#include <uv.h>

#include "agent/aws/chain.h"
#include "agent/aws/creds_uv.h"
#include "agent/aws/curl_uv.h"
#include "agent/aws/imds_uv.h"
#include "agent/aws/process_uv.h"
#include "agent/base/prng.h"

#define FETCH_ATTEMPTS 3
#define FETCH_TIMEOUT_MS 5000
#define FETCH_PROCESS_TIMEOUT_MS 60000

struct fetch;
/* creds is stolen by creds_move if err is 0; source and why are valid during the callback. */
typedef void (*fetch_done_fn)(void *arg, int err, struct creds *creds, const char *source,
                              const char *why);

struct fetch {
    const struct credman_options *o;
    uv_timer_t timer; /* steps and retries */
    struct prng prng;
    struct chain chain;
    struct creds creds; /* so far */
    size_t roles_done;
    bool has_base;
    bool running;
    unsigned attempts; /* of this step */
    struct xfer_op *op;
    struct imds_get *imds;
    struct process *process;
    char imds_role[128];
    fetch_done_fn done;
    void *arg;
    unsigned open; /* while closing: timer and process */
    void (*closed)(void *arg);
    void *closed_arg;
};

int fetch_init(struct fetch *f, const struct credman_options *o, fetch_done_fn done, void *arg);
void fetch_start(struct fetch *f); /* done runs once, never from within */
void fetch_close(struct fetch *f, void (*closed)(void *arg), void *arg);

#endif

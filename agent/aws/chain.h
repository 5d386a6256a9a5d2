/* SPDX-License-Identifier: Apache-2.0
 * Where credentials come from: decides on the one source and the roles to assume on top of it, from
 * the environment and the shared files. No I/O besides getenv; creds_uv.c carries it out. */
#ifndef BLOX_AWS_CHAIN_H
#define BLOX_AWS_CHAIN_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/aws/creds.h"
#include "agent/aws/profile.h"
#include "agent/base/err.h"

#define CHAIN_ROLES_MAX 4 /* AWS itself allows chains, each link is one more STS call */
#define CHAIN_PATH_MAX 1024

enum chain_kind { CHAIN_KEYS, CHAIN_PROCESS, CHAIN_WEB_IDENTITY, CHAIN_CONTAINER, CHAIN_IMDS };

struct chain_role {
    char arn[256];
    char session_name[65];
    char external_id[256]; /* "": none */
    int duration_s;        /* 0: STS's default, one hour */
};

struct chain {
    enum chain_kind kind;
    char source[160];             /* for humans: "profile ci (credential_process)" */
    struct creds keys;            /* CHAIN_KEYS */
    char command[CHAIN_PATH_MAX]; /* CHAIN_PROCESS */
    char path[CHAIN_PATH_MAX];    /* CHAIN_WEB_IDENTITY: token file; CHAIN_CONTAINER: file of the
                                     authorization token, or "" */
    char url[CHAIN_PATH_MAX];     /* CHAIN_CONTAINER */
    struct chain_role web;        /* CHAIN_WEB_IDENTITY */
    struct chain_role roles[CHAIN_ROLES_MAX]; /* assumed one after the other */
    size_t role_count;
};

/* profile NULL: AWS_PROFILE or "default"; given, it goes before keys in the environment.
 * imds: whether the metadata service may be asked. ERR_AUTH with a sentence that says what is
 * missing or wrong. */
int chain_resolve(struct chain *c, const struct profiles *p, const char *profile, bool imds,
                  struct errmsg *e) MUST_CHECK;
void chain_fini(struct chain *c); /* wipes */
/* Hosts that container credentials may be fetched from: https anywhere; http only from loopback
 * and the fixed addresses of ECS and EKS. */
bool chain_container_url_is_allowed(const char *url);

#endif

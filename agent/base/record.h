/* SPDX-License-Identifier: Apache-2.0
 * A record: the unit that is stored, gossiped and compared. Gossip and the store
 * see kind, key, version and bytes; what the bytes mean is row.h's and the
 * agent's affair.
 *
 * Version (hi, lo), compared lexicographically; a record replaces another of the
 * same key only if its version is greater, so applying is commutative,
 * associative and idempotent:
 *   instance, task      hi = ECS's per-ARN version, lo = generation: even while the
 *                       resource exists, odd once it is gone. Events say lo = 0; a
 *                       tombstone is the last row's hi with lo + 1, and a resource that
 *                       ECS shows again at the same version gets lo + 1 once more. So does
 *                       one that ECS still shows below our version when no event can be
 *                       ahead of it any more: that row was not ECS's.
 *   intent              hi = raft term, lo = raft index
 *   attempt, test       hi = raft term or origin's start, lo = the writer's counter
 * A tombstone (deleted = true) keeps its key and version until it is reaped. */
#ifndef BLOX_BASE_RECORD_H
#define BLOX_BASE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"

#define RECORD_KIND_LIST(X)                                                                        \
    X(RECORD_INSTANCE, 1, "instance")                                                              \
    X(RECORD_TASK, 2, "task")                                                                      \
    X(RECORD_ENVIRONMENT, 3, "environment")                                                        \
    X(RECORD_DEPLOYMENT, 4, "deployment")                                                          \
    X(RECORD_SETTING, 5, "setting")                                                                \
    X(RECORD_ATTEMPT, 6, "attempt")                                                                \
    X(RECORD_TEST, 7, "test")

enum record_kind {
#define X(name, number, text) name = number,
    RECORD_KIND_LIST(X)
#undef X
        RECORD_KIND_END = 8
};

enum record_source {
    SOURCE_EVENT = 1,
    SOURCE_RECONCILE = 2,
    SOURCE_LOCAL = 3, /* the instance's own ECS agent */
    SOURCE_INTENT = 4,
    SOURCE_OPERATOR = 5
};

struct record_version {
    uint64_t hi;
    uint64_t lo;
};

struct record {
    uint8_t kind;
    uint8_t source;
    bool deleted;
    uint16_t key_len; /* 1..RECORD_KEY_MAX */
    uint32_t value_len;
    struct record_version version;
    int64_t observed_unix_ms; /* when the origin saw it */
    uint64_t term;            /* raft term of the leader that took it in; 0 if none did */
    const char *key;          /* not NUL-terminated; borrowed */
    const uint8_t *value;     /* borrowed */
};

#define RECORD_KEY_MAX 400u            /* LMDB takes 511 bytes, indexes put more before it */
#define RECORD_VALUE_MAX (512u * 1024) /* an SQS message is at most 1 MiB of event */
#define RECORD_HEADER_MAX 48u

const char *record_kind_str(uint8_t kind);     /* "task"; "unknown" */
uint8_t record_kind_parse(const char *text);   /* 0 if unknown; takes "task" and "tasks" */
const char *record_source_str(uint8_t source); /* "event", "reconcile", ... */

/* <0, 0, >0 as a is older than, equal to, newer than b. */
int record_version_cmp(struct record_version a, struct record_version b);
/* The one comparison that decides whether a row is replaced. */
bool record_is_newer(struct record_version candidate, struct record_version stored);

/* Place of a record in the fingerprint space, and its contribution there. */
uint64_t record_key_hash(uint8_t kind, const char *key, size_t key_len);
uint64_t record_fingerprint(uint64_t key_hash, struct record_version version);

/* Header, key, value; at most RECORD_HEADER_MAX + key_len + value_len bytes. */
int record_encode(const struct record *rec, struct buf *out);
/* The same into fixed memory; ERR_TOOBIG if it does not fit. */
int record_encode_fixed(const struct record *rec, struct wbuf *out);
size_t record_encoded_size(const struct record *rec);
/* Borrows from r's bytes. ERR_MALFORMED for anything odd; never trusts a length. */
int record_decode(struct rbuf *r, struct record *ret);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * Inside of the intent state machine. Everything here is a function of the commands in
 * order: containers are kept sorted, JSON is written with sorted members, times and ids
 * come from the command. Running out of memory in the middle of a command would make this
 * replica differ from the others, so it stops the process instead. */
#ifndef BLOX_AGENT_INTENT_INT_H
#define BLOX_AGENT_INTENT_INT_H

#include "agent/base/limits.h"
#include "agent/base/map.h"
#include "agent/base/record.h"
#include "agent/intent/intent.h"

#define UUID_TEXT 37
#define DEPLOYMENT_ID_MAX 64
#define DIGEST_TEXT 33
#define KEY_LIFE_MS (24 * 3600 * 1000LL)
#define REFUSAL_LIFE_MS (60 * 1000LL) /* longer than any attempt is under way */
#define KEY_BYTES_MAX (2u << 20)      /* all remembered answers; a snapshot is one gossip message */
#define EXPRESSION_MAX 2000
#define ATTRIBUTES_MAX 10
#define FAILED_INSTANCES_MAX 1000
#define NUMBER_MAX (1LL << 53) /* of a revision or deployment, in a backup */

struct deployment {
    char id[DEPLOYMENT_ID_MAX + 1];
    int64_t number; /* 1.. in the environment, never used again */
    json_t *json;
    size_t bytes; /* of its JSON in a snapshot */
    struct record_version version;
};

struct environment {
    char name[ENVIRONMENT_NAME_MAX + 1];
    json_t *json; /* NULL: only deployments were restored so far */
    struct record_version version;
    struct deployment *deployments; /* by number */
    size_t count, cap;
    size_t bytes;   /* of its own JSON in a snapshot */
    size_t history; /* of its deployments' */
};

/* An answer that is given again to whoever repeats the request. */
struct answer {
    char key[IDEMPOTENCY_KEY_MAX + 1];
    char digest[DIGEST_TEXT];
    int64_t at_unix_ms;
    int err;      /* not 0: a refusal */
    json_t *body; /* NULL: the answer had none; of a refusal "detail" and "field" */
    size_t bytes;
    struct record_version version;
};

struct state {
    struct environment **environments; /* by name */
    size_t count, cap;
    struct answer **answers; /* by version: oldest first */
    struct map answer_of;    /* key -> the same; thousands of them, and each command has one */
    size_t answer_count, answer_cap, answer_bytes;
};

struct rows_out {
    struct store_log_intent *rows;
    size_t count, cap;
};

struct intent {
    struct state state;
    struct rows_out rows;
    json_t *result; /* body of the last result */
};

/* One command being applied. */
struct apply {
    struct intent *in;
    const json_t *command;
    size_t size; /* of its text */
    int64_t now_unix_ms;
    char now_text[32];
    const char *id; /* of the command, NULL if it has none */
    struct record_version version;
    struct intent_result *ret;
    json_t *body; /* owned */
};

/* state.c */
void *intent_alloc(size_t bytes); /* zeroed; never NULL */
void *intent_grow(void *array, size_t count, size_t *cap, size_t item);
void state_fini(struct state *s);
struct environment *state_find(const struct state *s, const char *name); /* also without json */
struct environment *state_live(const struct state *s, const char *name); /* NULL without json */
struct environment *state_add(struct state *s, const char *name);
void state_remove(struct state *s, struct environment *env);
struct deployment *deployment_find(const struct environment *env, const char *id);
/* Takes json over. Keeps the order by number. */
struct deployment *deployment_add(struct environment *env, const char *id, int64_t number,
                                  json_t *json, struct record_version version);
void deployment_remove(struct environment *env, struct deployment *dep);
void environment_weigh(struct environment *env, size_t json_len);
void deployment_weigh(struct environment *env, struct deployment *dep, size_t json_len);
/* Takes body over. Keeps the order by version. */
struct answer *answer_add(struct state *s, const char *key, const char *digest, int64_t at_unix_ms,
                          int err, json_t *body, struct record_version version);
struct answer *answer_find(const struct state *s, const char *key);
void answer_remove(struct state *s, struct answer *a);

/* check.c: form of a command. leader: also the operations only a leader makes. */
int check_command(const json_t *command, bool leader, struct intent_result *ret);
int result_set(struct intent_result *ret, int err, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* rowsout.c */
void rows_clear(struct rows_out *out);
void rows_environment(struct rows_out *out, struct environment *env);
void rows_deployment(struct rows_out *out, struct environment *env, struct deployment *dep);
void rows_answer(struct rows_out *out, const struct answer *a);
void rows_tombstone(struct rows_out *out, uint8_t kind, const char *key,
                    struct record_version version);
#define ANSWER_KEY_PREFIX "idempotency/"
#define ROW_KEY_TEXT 128
void deployment_key(const struct environment *env, const char *id, char out[ROW_KEY_TEXT]);
void answer_key(const char *key, char out[ROW_KEY_TEXT]);
json_t *answer_json(const struct answer *a); /* new reference */
/* Compact, members sorted: the same bytes on every replica. free() it. */
char *canonical_json(const json_t *value, size_t *ret_len);

/* environment.c, deployment.c: one function an operation; 0 or an error set in a->ret */
int environment_create(struct apply *a);
int environment_update(struct apply *a);
int environment_delete(struct apply *a);
int environment_remove(struct apply *a);
int deployment_create(struct apply *a);
int deployment_status(struct apply *a);
int intent_restore_command(struct apply *a); /* restore.c */
/* The oldest make room: at most DEPLOYMENTS_KEPT stay. */
void deployments_prune(struct apply *a, struct environment *env);
/* A token that follows from the id alone. */
void token_of(const char *id, char out[UUID_TEXT]);
int check_revision(struct apply *a, const struct environment *env);
/* Environment changed: version, updatedAt, row. */
void environment_touched(struct apply *a, struct environment *env);

/* room.c. True: there is room for what the command brings; histories were shortened for it. */
bool room_make(struct apply *a);
/* The refusal. */
int room_refuse(struct apply *a);

/* keys.c */
void keys_expire(struct apply *a);
/* True: the command was answered from its key (or refused because of it). */
bool keys_answer(struct apply *a, int *ret_err);
void keys_remember(struct apply *a, int err);

/* snapshot.c */
int answer_from_json(struct state *s, const json_t *json, struct record_version version);

#endif

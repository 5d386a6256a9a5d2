/* SPDX-License-Identifier: Apache-2.0
 * /v2: the native API. One file per concern: rows (v2_rows), writes (v2_intent), watch (v2_watch).
 */
#ifndef BLOX_AGENT_API_V2_H
#define BLOX_AGENT_API_V2_H

#include "agent/api/problem.h"
#include "agent/api/server.h"

/* "E.N" of the highest change of the kinds. */
#define V2_INDEX_MAX 48
const char *v2_index(const struct api *a, uint64_t index, char out[V2_INDEX_MAX]);
/* Reads "E.N"; *ret_same is false if it is of another epoch. ERR_BADPARAM. */
int v2_parse_index(const struct request *r, const char *text, uint64_t *ret,
                   bool *ret_same) MUST_CHECK;

/* "30s", "500ms", "2m", "1h"; a bare number is seconds. ERR_BADPARAM, also above max_ms. */
int v2_parse_time(const char *text, uint64_t max_ms, uint64_t *ret_ms) MUST_CHECK;
/* Handles consistency= (local) and max_stale=. true: answered. */
bool v2_freshness(struct request *r, enum MHD_Result *ret);
#define V2_ETAG_MAX 72
const char *v2_etag(const struct request *r, const struct store_row *row, char out[V2_ETAG_MAX]);
/* If-None-Match names that ETag. */
bool v2_has_already(const struct request *r, const char *etag);
/* Of a list: its index, and a number of what was asked for, in what form. Weak, for the same rows
 * may come compressed or with a token of another moment. */
uint64_t v2_list_form(const struct request *r);
const char *v2_list_etag(const struct request *r, uint64_t index, uint64_t form,
                         char out[V2_ETAG_MAX]);
/* If-None-Match has one of this list: the newest index of those. */
bool v2_list_had(const struct request *r, uint64_t form, uint64_t *ret_index);

/* Reads at=; *ret_at is 0 without it. true: answered. */
bool v2_at(struct request *r, int64_t *ret_at, enum MHD_Result *ret);
/* The snapshot at that time, if there is one; store_rewind()'s errors. */
int v2_rewind(struct store_txn *txn, int64_t at) MUST_CHECK;
/* 410: how far back this agent can look. */
enum MHD_Result v2_past_gone(struct request *r, struct store *store);
enum MHD_Result v2_decisions(struct request *r);

enum MHD_Result v2_summary(struct request *r);
enum MHD_Result v2_list(struct request *r, uint8_t kind, const char *environment);
enum MHD_Result v2_get(struct request *r, uint8_t kind, const char *id);
enum MHD_Result v2_watch(struct request *r);
enum MHD_Result v2_document(struct request *r, enum api_doc doc);

/* Writes, shared by the files below. The body as an object with known members only; NULL: answered.
 * An empty body is {} if that is enough. */
json_t *v2_read_body(struct request *r, const char *const *known, bool may_be_empty,
                     enum MHD_Result *ret);
/* To the loop thread; takes the reference of command. */
enum MHD_Result v2_submit(struct request *r, json_t *command);
/* The loop's answer. location_prefix + the resource's "name" or "id" becomes Location; both may be
 * NULL. */
enum MHD_Result v2_answer(struct request *r, unsigned status, const char *location_prefix,
                          const char *id_member);

enum MHD_Result v2_environment_create(struct request *r);
enum MHD_Result v2_environment_update(struct request *r, const char *name);
enum MHD_Result v2_environment_delete(struct request *r, const char *name);
enum MHD_Result v2_deployment_create(struct request *r, const char *environment);

/* True: the request was one of v2_leader.c. name: the path behind "/v2/". */
bool v2_leader_handle(struct request *r, const char *name, enum MHD_Result *ret);

/* relay.c: rows of the leader. name: the path behind "/v2/". */
bool relay_is_read(const char *name);
bool relay_is_strong(const struct request *r);
enum MHD_Result relay_ask(struct request *r);

enum MHD_Result v2_propagate(struct request *r);
enum MHD_Result v2_member_why(struct request *r, const char *id);
enum MHD_Result v2_keys_list(struct request *r);
enum MHD_Result v2_key_install(struct request *r);
enum MHD_Result v2_key_use(struct request *r, const char *id);
enum MHD_Result v2_key_remove(struct request *r, const char *id);

#endif

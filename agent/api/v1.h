/* SPDX-License-Identifier: Apache-2.0
 * /v1: Blox 0.3's REST API, to the letter where its clients can tell. */
#ifndef BLOX_AGENT_API_V1_H
#define BLOX_AGENT_API_V1_H

#include "agent/api/server.h"
#include "agent/base/row.h"

#define V1_JSON "application/json; charset=UTF-8"
#define V1_TEXT "text/plain; charset=utf-8"
#define V1_INTERNAL "Unexpected internal server error"

/* One plain sentence and a newline. */
enum MHD_Result v1_error(struct request *r, unsigned status, const char *sentence);
enum MHD_Result v1_errorf(struct request *r, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
enum MHD_Result v1_no_page(struct request *r);
/* A path of /v1, also if only after slashes and dots are cleaned up. */
bool v1_is_path(const char *path);

/* Resources; rest is the path behind them ("" or "/..."). v1_handle() has checked that it matches.
 */
enum MHD_Result v1_list(struct request *r, uint8_t kind);
enum MHD_Result v1_get(struct request *r, uint8_t kind, const char *rest);
enum MHD_Result v1_stream(struct request *r, uint8_t kind);
enum MHD_Result v1_environments(struct request *r, const char *rest);
/* Does Blox's router know that method on "/v1/environments" + rest? */
bool v1_environments_has(const struct request *r, const char *rest);

/* Unknown (with that sentence), then repeated filters. true: answered. */
bool v1_check_filters(struct request *r, const char *const *known, const char *unknown,
                      enum MHD_Result *ret);
/* A cluster's name or ARN, of any partition. */
bool v1_is_cluster(const char *text);
/* "CLUSTER/ARN" with an ARN of that resource type; *ret_arn points into rest. */
bool v1_is_entity_path(const char *rest, const char *type, size_t *ret_cluster_len,
                       const char **ret_arn);

/* Rows in Blox's form. ERR_MALFORMED: no object. */
/* {"entity":{...} without its end, which v1_put_metadata() is. */
int v1_put_task_entity(struct buf *out, struct row_text json);
int v1_put_metadata(struct buf *out, const struct store_row *row);
int v1_put_task(struct buf *out, const struct store_row *row, const struct row *fields);
int v1_put_instance(struct buf *out, const struct store_row *row, const struct row *fields);
int v1_put_environment(struct buf *out, const struct store_row *row, const struct row *fields);
int v1_put_deployment(struct buf *out, const struct store_row *row, const struct row *fields);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * The value of a record that has columns: a few indexed text fields, then JSON.
 * The fields are taken out once, where the row is born, so that the store, the
 * API's filters and the scheduler need no JSON parser to select rows.
 *
 * Bytes: field count u8; per field: tag u8, length varint, bytes; then the JSON text. A text that
 * stands in the JSON is not written twice: its tag is ROW_SPAN | field, its bytes are two varints,
 * where in the JSON it begins and its length. */
#ifndef BLOX_BASE_ROW_H
#define BLOX_BASE_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"

/* X(name, tag, text): tags are disk and wire format, never renumber. */
#define ROW_FIELD_LIST(X)                                                                          \
    X(ROW_CLUSTER, 1, "cluster")       /* cluster ARN */                                           \
    X(ROW_STATUS, 2, "status")         /* lastStatus / instance status / deployment status */      \
    X(ROW_DESIRED, 3, "desiredStatus") /* task: RUNNING | STOPPED */                               \
    X(ROW_INSTANCE, 4, "instance")     /* task: container instance ARN */                          \
    X(ROW_FAMILY, 5, "family")         /* task definition family */                                \
    X(ROW_REVISION, 6, "revision")     /* task definition revision, decimal */                     \
    X(ROW_STARTED_BY, 7, "startedBy")                                                              \
    X(ROW_GROUP, 8, "group")                                                                       \
    X(ROW_ENVIRONMENT, 9, "environment") /* daemon:<name> task, deployment, attempt */             \
    X(ROW_EC2_INSTANCE, 10, "ec2InstanceId")                                                       \
    X(ROW_ZONE, 11, "zone")                                                                        \
    X(ROW_CONNECTED, 12, "agentConnected") /* "true" | "false" */

enum row_field {
#define X(name, tag, text) name = tag,
    ROW_FIELD_LIST(X)
#undef X
        ROW_FIELD_END = 13
};

#define ROW_SPAN 0x80u

struct row_text {
    const char *data; /* borrowed, not NUL-terminated; NULL: absent */
    size_t len;
};

struct row {
    struct row_text field[ROW_FIELD_END];
    struct row_text json;
};

void row_set(struct row *row, enum row_field field, const char *text); /* NULL text: absent */
bool row_field_is(const struct row *row, enum row_field field, const char *text);
const char *row_field_str(enum row_field field); /* "startedBy" */
int row_encode(const struct row *row, struct buf *out);
int row_decode(const void *value, size_t len, struct row *ret); /* borrows; 0 or ERR_MALFORMED */
/* The same of the JSON alone, for who asks for no column. */
int row_find_json(const void *value, size_t len, struct row_text *ret);

#endif

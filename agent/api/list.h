/* SPDX-License-Identifier: Apache-2.0
 * A list of rows as an answer: filtered by row fields without parsing JSON, read from the store
 * piece by piece as the client takes it, so that a list of any length costs one piece of memory. */
#ifndef BLOX_AGENT_API_LIST_H
#define BLOX_AGENT_API_LIST_H

#include "agent/api/server.h"
#include "agent/base/row.h"

#define LIST_FILTERS_MAX 14
#define LIST_VALUE_MAX 400

struct list_filter {
    enum row_field field;
    bool cluster_name; /* value is a cluster's name: compare the end of the ARN */
    char value[LIST_VALUE_MAX];
};

struct list_spec {
    uint8_t kind;
    struct list_filter filters[LIST_FILTERS_MAX];
    size_t filter_count;
    char key_prefix[RECORD_KEY_MAX + 1]; /* "": all; else only keys that start so */
    /* Append one item (without comma); ERR_MALFORMED skips the row. */
    int (*emit)(struct buf *out, const struct store_row *row, const struct row *fields);
    uint64_t limit;                     /* 0: all */
    char after_key[RECORD_KEY_MAX + 1]; /* "": from the start */
    bool with_token;                    /* end with next_token and index */
};

/* 0 or ERR_TOOBIG (value too long, too many). */
int list_add_filter(struct list_spec *spec, enum row_field field, const char *value) MUST_CHECK;
/* A cluster by name or ARN; an ARN with exact comparison, or reduced to its name (Blox). */
int list_add_cluster(struct list_spec *spec, const char *value, bool reduce) MUST_CHECK;
bool list_matches(const struct list_spec *spec, const struct store_row *row,
                  const struct row *fields);

/* Answers 200 with {"items":[...]}; type is the content type. index: Blox-Index or NULL. */
enum MHD_Result list_reply(struct request *r, const struct list_spec *spec, const char *type,
                           const char *index);

/* next_token: an opaque form of a key. */
int list_token_encode(const char *key, size_t len, struct buf *out);
int list_token_decode(const char *token, char *out, size_t cap) MUST_CHECK;

#endif

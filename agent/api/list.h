/* SPDX-License-Identifier: Apache-2.0
 * A list of rows as an answer: put piece by piece into the connection's memory, straight from the
 * store's pages, as the client takes it; so a list of any length costs one piece of memory. */
#ifndef BLOX_AGENT_API_LIST_H
#define BLOX_AGENT_API_LIST_H

#include "agent/api/chosen.h"
#include "agent/api/filter.h"
#include "agent/api/query.h"
#include "agent/api/server.h"
#include "agent/api/shape.h"
#include "agent/api/sort.h"
#include "agent/api/token.h"
#include "agent/base/row.h"

struct list_spec {
    uint8_t kind;
    struct filter filter;
    struct query *query;  /* cluster query language, or NULL; taken over by list_reply() */
    struct chosen chosen; /* members asked for with fields=; none: all */
    struct sort sort;     /* by a member; none: in order of keys */
    /* Append one item (without comma); ERR_MALFORMED skips the row. */
    int (*emit)(struct buf *out, const struct store_row *row, const struct row *fields);
    /* Or, instead of emit, what is made of the JSON alone, and what follows it. */
    shape_fn body;
    int (*end)(struct buf *out, const struct store_row *row);
    uint64_t limit;    /* 0: all; not with sort */
    struct token at;   /* where the page before ended */
    int64_t past;      /* unix ms of the time asked about; 0: now */
    bool with_token;   /* a page: end with next_token and index */
    uint64_t form;     /* of its ETag; 0: none */
    uint64_t query_id; /* of the request's filters: a token is good for the same ones only */
};

/* Answers 200 with {"items":[...]}; type is the content type. */
enum MHD_Result list_reply(struct request *r, const struct list_spec *spec, const char *type);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * Which rows a request asks for: by the columns in front of their JSON, so that most rows are
 * passed over without parsing anything; and by the cluster query language. */
#ifndef BLOX_AGENT_API_FILTER_H
#define BLOX_AGENT_API_FILTER_H

#include "agent/base/row.h"
#include "store/store.h"

#define FILTER_TESTS_MAX 14

struct filter_test {
    enum row_field field;
    bool cluster_name; /* value is a cluster's name: compare the end of the ARN */
    const char *value; /* borrowed: a request's own memory */
};

struct filter {
    struct filter_test tests[FILTER_TESTS_MAX];
    size_t count;
};

/* 0 or ERR_TOOBIG (too many). value must live as long as the filter. */
int filter_add(struct filter *f, enum row_field field, const char *value) MUST_CHECK;
/* A cluster by name or ARN; an ARN with exact comparison, or reduced to its name (Blox). */
int filter_add_cluster(struct filter *f, const char *value, bool reduce) MUST_CHECK;
bool filter_matches(const struct filter *f, const struct row *fields);
/* True unless a column that never changes says that it cannot have matched before, either: a task
 * keeps its family, but leaves "status=RUNNING" by a change. */
bool filter_may_have_matched(const struct filter *f, const struct row *fields);

/* How to read the rows with as few looks as possible: field 0 (all in order), or an indexed field
 * with its text. The text is copied; "none": no row can match. */
struct filter_plan {
    enum row_field field;
    char text[RECORD_KEY_MAX + 1];
    bool none;
    uint64_t rows;   /* to look at */
    bool any_family; /* text is a revision: that of each family */
};
/* past: the snapshot is one of earlier times, of which there is no index. */
int filter_plan(const struct filter *f, struct store_txn *txn, uint8_t kind, bool past,
                struct filter_plan *ret) MUST_CHECK;
/* store_scan() by the plan. */
int filter_scan(const struct filter_plan *plan, struct store_txn *txn, uint8_t kind,
                const char *after, size_t after_len, store_scan_fn fn, void *arg) MUST_CHECK;

#endif

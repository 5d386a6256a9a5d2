/* SPDX-License-Identifier: Apache-2.0
 * The cluster query language of Amazon ECS ("Cluster query language" in the Developer Guide):
 * parsed once into fixed memory, evaluated on instances of the model.
 *
 *   expression := any ("or" any)*        any := term ("and" term)*        also || and &&
 *   term       := ("not" | "!") term | "(" expression ")" | test
 *   test       := SUBJECT "exists" | SUBJECT "!exists" | SUBJECT OP VALUE
 *               | SUBJECT ("in" | "!in") "[" VALUE ("," VALUE)* "]"
 *   SUBJECT    := agentConnected | agentVersion | attribute:NAME | ec2InstanceId
 *               | registeredAt | runningTasksCount | task:group
 *   OP         := == != > >= < <= =~ !~
 * with ECS's word forms: equals not_equals greater_than greater_than_equal less_than
 * less_than_equal matches not_matches not_in not_exists. VALUE is a word or a quoted text.
 *
 * Decided here, where ECS says nothing: a test on an attribute that the instance lacks is false,
 * its negated form (!= !in !~ !exists) true. Order on attributes is numeric if both sides are
 * numbers, else by bytes; on agentVersion by its dotted numbers. task:group holds if any live
 * task that is not of the environment itself is in the group, and runningTasksCount leaves the
 * environment's own tasks out: otherwise a daemon would drive itself away and come back. */
#ifndef BLOX_SCHEDULER_SELECT_H
#define BLOX_SCHEDULER_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "scheduler/model.h"
#include "scheduler/pattern.h"

#define SELECT_TEXT_MAX 2000 /* ECS's limit for a placement constraint's expression */
#define SELECT_NODES_MAX 128
#define SELECT_VALUES_MAX 256
#define SELECT_PATTERNS_MAX 8
#define SELECT_DEPTH_MAX 32

struct select_node {
    uint8_t kind;
    uint8_t subject;
    uint8_t op;
    bool negate;
    uint16_t left, right; /* nodes */
    uint16_t name;        /* offset in texts: attribute */
    uint16_t first_value;
    uint16_t value_count;
    uint8_t pattern;
    int64_t number; /* registeredAt (unix ms), runningTasksCount */
};

/* About 26 KB. Private but for its size. */
struct select {
    struct select_node nodes[SELECT_NODES_MAX];
    uint16_t values[SELECT_VALUES_MAX]; /* offsets in texts */
    int64_t numbers[SELECT_VALUES_MAX];
    char texts[2 * SELECT_TEXT_MAX + 2];
    struct pattern patterns[SELECT_PATTERNS_MAX];
    uint16_t node_count, value_count, text_len, root;
    uint8_t pattern_count;
    bool everything; /* empty expression */
};

/* Empty or blank text matches everything. 0, or ERR_BADPARAM / ERR_TOOBIG with a sentence that
 * gives the position (from 1) and what was expected; *ret_position (may be NULL) is that offset
 * from 0. */
int select_parse(struct select *ret, const char *text, size_t *ret_position,
                 struct errmsg *e) MUST_CHECK;
/* own_group: "daemon:<environment>" of the asker, or NULL. */
bool select_match(const struct select *sel, const struct model_instance *inst,
                  const char *own_group);
/* What an instance must have wherever the expression holds: the value of an attribute, or (NULL) of
 * ec2InstanceId, of a test with == under nothing but "and". NULL: nothing. */
const char *select_required(const struct select *sel, const char *attribute);
/* The same of task:group: one of its tasks must be in it. */
const char *select_required_group(const struct select *sel);
/* The same of whatever attribute there is first. */
const char *select_required_text(const struct select *sel);

/* A test of an attribute that holds wherever the expression does: not negated, under nothing but
 * "and". */
struct select_required {
    const char *name;
    const char *equal; /* of a test with ==: the only value; else NULL */
    bool is_all;       /* the expression is this test */
    const struct select_node *node;
};
/* The n-th of them, from 0; false: there are no more. */
bool select_required_test(const struct select *sel, unsigned n, struct select_required *ret);
/* Does it hold for an attribute of that value? */
bool select_required_holds(const struct select *sel, const struct select_required *test,
                           const char *value);
/* Does any test ask for the attribute of that name? */
bool select_asks(const struct select *sel, const char *name, size_t len);
/* ... for task:group? */
bool select_asks_groups(const struct select *sel);
/* ... for registeredAt, runningTasksCount or agentVersion? */
bool select_asks_details(const struct select *sel);

#endif

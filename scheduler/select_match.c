/* SPDX-License-Identifier: Apache-2.0
 * Evaluation of a parsed cluster query on one instance. Depth is bounded by the parser. */
#include <stdlib.h>
#include <string.h>

#include "scheduler/select.h"
#include "scheduler/select_int.h"

/* "1.105.1" against "1.9": number by number; what is no number counts as 0. */
static int compare_versions(const char *a, const char *b)
{
    while (*a || *b) {
        char *end_a, *end_b;
        unsigned long x = strtoul(a, &end_a, 10);
        unsigned long y = strtoul(b, &end_b, 10);
        if (x != y)
            return x < y ? -1 : 1;
        if (end_a == a && end_b == b)
            return strcmp(a, b);
        a = *end_a == '.' ? end_a + 1 : end_a;
        b = *end_b == '.' ? end_b + 1 : end_b;
        if ((*a && (*a < '0' || *a > '9')) || (*b && (*b < '0' || *b > '9')))
            return strcmp(a, b);
    }
    return 0;
}

static int compare_texts(const char *a, const char *b)
{
    char *end_a, *end_b;
    double x = strtod(a, &end_a);
    double y = strtod(b, &end_b);
    if (end_a != a && end_b != b && !*end_a && !*end_b)
        return (x > y) - (x < y);
    return strcmp(a, b);
}

static bool order_holds(uint8_t op, int order)
{
    switch (op) {
    case SELECT_GT:
        return order > 0;
    case SELECT_GE:
        return order >= 0;
    case SELECT_LT:
        return order < 0;
    case SELECT_LE:
        return order <= 0;
    default:
        return order == 0;
    }
}

static bool text_holds(const struct select *sel, const struct select_node *node, const char *have)
{
    if (node->op == SELECT_EXISTS)
        return true;
    if (node->op == SELECT_LIKE)
        return pattern_match(&sel->patterns[node->pattern], have);
    for (uint16_t i = 0; i < node->value_count; i++) {
        const char *want = &sel->texts[sel->values[node->first_value + i]];
        bool equality = node->op == SELECT_EQ || node->op == SELECT_IN;
        int order = equality                                ? strcmp(have, want)
                    : node->subject == SELECT_AGENT_VERSION ? compare_versions(have, want)
                                                            : compare_texts(have, want);
        if (order_holds(node->op, order))
            return true;
    }
    return false;
}

static bool number_holds(const struct select *sel, const struct select_node *node, int64_t have)
{
    if (node->op == SELECT_EXISTS)
        return true;
    for (uint16_t i = 0; i < node->value_count; i++) {
        int64_t want = sel->numbers[node->first_value + i];
        if (order_holds(node->op, (have > want) - (have < want)))
            return true;
    }
    return false;
}

static bool is_own(const struct model_task *task, const char *own_group)
{
    return own_group && strcmp(task->kind->group->text, own_group) == 0;
}

static bool group_holds(const struct select *sel, const struct select_node *node,
                        const struct model_instance *inst, const char *own_group)
{
    for (const struct model_task *task = inst->daemons; task; task = task->next) {
        if (!model_task_is_live(task) || !task->wanted || is_own(task, own_group))
            continue;
        if (text_holds(sel, node, task->kind->group->text))
            return true;
    }
    for (const struct model_other *other = inst->others; other; other = other->next) {
        if (other->group && text_holds(sel, node, other->group->text))
            return true;
    }
    return false;
}

static int64_t foreign_running(const struct model_instance *inst, const char *own_group)
{
    int64_t n = inst->running_tasks;
    for (const struct model_task *task = inst->daemons; task; task = task->next)
        n -= task->status == TASK_RUNNING && is_own(task, own_group);
    return n < 0 ? 0 : n;
}

static bool test_holds(const struct select *sel, const struct select_node *node,
                       const struct model_instance *inst, const char *own_group)
{
    const char *have;
    switch ((enum select_subject)node->subject) {
    case SELECT_CONNECTED:
        return text_holds(sel, node, inst->connected ? "true" : "false");
    case SELECT_AGENT_VERSION:
        return inst->agent_version[0] && text_holds(sel, node, inst->agent_version);
    case SELECT_ATTRIBUTE:
        return model_find_attribute(inst, &sel->texts[node->name], &have) &&
               text_holds(sel, node, have);
    case SELECT_EC2:
        return inst->ec2_id[0] && text_holds(sel, node, inst->ec2_id);
    case SELECT_REGISTERED:
        return inst->registered_unix_ms && number_holds(sel, node, inst->registered_unix_ms);
    case SELECT_RUNNING:
        return number_holds(sel, node, foreign_running(inst, own_group));
    case SELECT_GROUP:
        return group_holds(sel, node, inst, own_group);
    }
    return false;
}

static bool node_holds(const struct select *sel, uint16_t index, const struct model_instance *inst,
                       const char *own_group)
{
    const struct select_node *node = &sel->nodes[index];
    switch ((enum select_kind)node->kind) {
    case SELECT_NOT:
        return !node_holds(sel, node->left, inst, own_group);
    case SELECT_AND:
        return node_holds(sel, node->left, inst, own_group) &&
               node_holds(sel, node->right, inst, own_group);
    case SELECT_OR:
        return node_holds(sel, node->left, inst, own_group) ||
               node_holds(sel, node->right, inst, own_group);
    case SELECT_TEST:
        break;
    }
    return test_holds(sel, node, inst, own_group) != node->negate;
}

bool select_match(const struct select *sel, const struct model_instance *inst,
                  const char *own_group)
{
    return sel->everything || node_holds(sel, sel->root, inst, own_group);
}

/* name NULL: of any attribute. */
static const char *required(const struct select *sel, uint16_t at, enum select_subject subject,
                            const char *name)
{
    const struct select_node *node = &sel->nodes[at];
    if (node->kind == SELECT_AND) {
        const char *left = required(sel, node->left, subject, name);
        return left ? left : required(sel, node->right, subject, name);
    }
    if (node->kind != SELECT_TEST || node->op != SELECT_EQ || node->negate ||
        node->subject != subject || (name && strcmp(&sel->texts[node->name], name) != 0))
        return NULL;
    return &sel->texts[sel->values[node->first_value]];
}

const char *select_required(const struct select *sel, const char *attribute)
{
    return sel->everything
               ? NULL
               : required(sel, sel->root, attribute ? SELECT_ATTRIBUTE : SELECT_EC2, attribute);
}

const char *select_required_group(const struct select *sel)
{
    return sel->everything ? NULL : required(sel, sel->root, SELECT_GROUP, NULL);
}

const char *select_required_text(const struct select *sel)
{
    return sel->everything ? NULL : required(sel, sel->root, SELECT_ATTRIBUTE, NULL);
}

static const struct select_node *nth_test(const struct select *sel, uint16_t at, unsigned *n)
{
    const struct select_node *node = &sel->nodes[at];
    if (node->kind == SELECT_AND) {
        const struct select_node *left = nth_test(sel, node->left, n);
        return left ? left : nth_test(sel, node->right, n);
    }
    if (node->kind != SELECT_TEST || node->negate || node->subject != SELECT_ATTRIBUTE)
        return NULL;
    return (*n)-- == 0 ? node : NULL;
}

bool select_required_test(const struct select *sel, unsigned n, struct select_required *ret)
{
    const struct select_node *node = sel->everything ? NULL : nth_test(sel, sel->root, &n);
    if (!node)
        return false;
    bool equality = node->op == SELECT_EQ;
    *ret = (struct select_required){.name = &sel->texts[node->name],
                                    .equal = equality ? &sel->texts[sel->values[node->first_value]]
                                                      : NULL,
                                    .is_all = node == &sel->nodes[sel->root],
                                    .node = node};
    return true;
}

bool select_required_holds(const struct select *sel, const struct select_required *test,
                           const char *value)
{
    return text_holds(sel, test->node, value);
}

bool select_asks(const struct select *sel, const char *name, size_t len)
{
    for (uint16_t i = 0; i < sel->node_count; i++) {
        const struct select_node *node = &sel->nodes[i];
        if (node->kind != SELECT_TEST || node->subject != SELECT_ATTRIBUTE)
            continue;
        const char *asked = &sel->texts[node->name];
        if (strncmp(asked, name, len) == 0 && asked[len] == '\0')
            return true;
    }
    return false;
}

static bool asks_of(const struct select *sel, unsigned subjects)
{
    for (uint16_t i = 0; i < sel->node_count; i++) {
        if (sel->nodes[i].kind == SELECT_TEST && (subjects >> sel->nodes[i].subject & 1) != 0)
            return true;
    }
    return false;
}

bool select_asks_groups(const struct select *sel)
{
    return asks_of(sel, 1u << SELECT_GROUP);
}

bool select_asks_details(const struct select *sel)
{
    return asks_of(sel,
                   1u << SELECT_REGISTERED | 1u << SELECT_RUNNING | 1u << SELECT_AGENT_VERSION);
}

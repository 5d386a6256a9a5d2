/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/devcloud/query.h"

#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/base/clock.h"

#define TOKEN_MAX 256
#define DEPTH_MAX 32

struct query {
    const char *at;
    const struct instance *in;
    struct errmsg *e;
    int depth;
    int err;
    char token[TOKEN_MAX]; /* "" at the end */
};

static bool either(struct query *q);

static bool fail(struct query *q, const char *what)
{
    if (q->err == 0)
        q->err = errmsg_set(q->e, ERR_BADPARAM, "Invalid query expression near '%.40s': %s",
                            q->token, what);
    q->token[0] = '\0';
    return false;
}

static void advance(struct query *q)
{
    static const char *const MARKS[] = {"==", "!=", ">=", "<=", "=~", "!~", ">",
                                        "<",  "(",  ")",  "[",  "]",  ",",  "!"};
    size_t len = 0;

    q->at += strspn(q->at, " \t\r\n");
    for (size_t i = 0; i < sizeof(MARKS) / sizeof(MARKS[0]); i++) {
        size_t n = strlen(MARKS[i]);
        if (strncmp(q->at, MARKS[i], n) == 0 &&
            !(MARKS[i][0] == '!' && n == 1 && isalpha((unsigned char)q->at[1]))) {
            memcpy(q->token, MARKS[i], n + 1);
            q->at += n;
            return;
        }
    }
    if (*q->at == '\'' || *q->at == '"') {
        len = strcspn(q->at + 1, *q->at == '"' ? "\"" : "'") + 1;
        if (q->at[len] == '\0' || len >= TOKEN_MAX) {
            fail(q, "the text is not closed");
            return;
        }
        memcpy(q->token, q->at + 1, len - 1);
        q->token[len - 1] = '\0';
        q->at += len + 1;
        return;
    }
    len = (*q->at == '!') + strcspn(q->at + (*q->at == '!'), " \t\r\n()[],=!<>");
    if (len >= TOKEN_MAX) {
        fail(q, "a word is too long");
        return;
    }
    memcpy(q->token, q->at, len);
    q->token[len] = '\0';
    q->at += len;
}

/* Value of a subject; NULL if the instance has none. */
static const char *subject_value(struct query *q, const char *subject, char buf[64])
{
    const struct instance *in = q->in;

    if (strncmp(subject, "attribute:", 10) == 0) {
        const json_t *value = json_object_get(in->custom, subject + 10);
        if (value == NULL)
            value = json_object_get(in->attributes, subject + 10);
        if (value == NULL)
            return NULL;
        return json_is_string(value) ? json_string_value(value) : "";
    }
    if (strcmp(subject, "ec2InstanceId") == 0)
        return in->ec2_id;
    if (strcmp(subject, "agentConnected") == 0)
        return in->connected ? "true" : "false";
    if (strcmp(subject, "agentVersion") == 0)
        return "1.105.1";
    if (strcmp(subject, "runningTasksCount") == 0) {
        snprintf(buf, 64, "%d", (int)in->running);
        return buf;
    }
    if (strcmp(subject, "registeredAt") == 0)
        return clock_format_unix_ms(in->registered_ms, buf);
    fail(q, "unknown subject");
    return NULL;
}

static bool group_runs(const struct instance *in, const char *group)
{
    for (struct list *at = in->tasks.next; at != &in->tasks; at = at->next) {
        const struct task *t = LIST_OF(at, struct task, on_instance);
        if (!t->desired_stopped && strcmp(t->group, group) == 0)
            return true;
    }
    return false;
}

static bool is_number(const char *text)
{
    char *end;

    strtod(text, &end);
    return *text != '\0' && *end == '\0';
}

static int compare(const char *a, const char *b)
{
    if (is_number(a) && is_number(b)) {
        double x = strtod(a, NULL), y = strtod(b, NULL);
        return (x > y) - (x < y);
    }
    return strverscmp(a, b);
}

static bool regex_match(struct query *q, const char *value, const char *pattern)
{
    regex_t compiled;

    if (regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return fail(q, "the regular expression is invalid");
    bool match = value != NULL && regexec(&compiled, value, 0, NULL, 0) == 0;
    regfree(&compiled);
    return match;
}

/* in [a, b] */
static bool in_list(struct query *q, const char *value, const char *subject)
{
    bool found = false;

    advance(q);
    if (strcmp(q->token, "[") != 0)
        return fail(q, "a list in [ ] must follow");
    do {
        advance(q);
        if (q->err != 0)
            return false;
        if (strcmp(subject, "task:group") == 0)
            found |= group_runs(q->in, q->token);
        else
            found |= value != NULL && strcmp(value, q->token) == 0;
        advance(q);
    } while (strcmp(q->token, ",") == 0);
    if (strcmp(q->token, "]") != 0)
        return fail(q, "the list is not closed by ]");
    return found;
}

static bool apply(struct query *q, const char *subject, const char *value, const char *op)
{
    bool is_group = strcmp(subject, "task:group") == 0;

    advance(q);
    if (q->token[0] == '\0' && q->at[-1] != '\'' && q->at[-1] != '"')
        return fail(q, "a value must follow the operator");
    if (strcmp(op, "==") == 0 || strcasecmp(op, "equals") == 0)
        return is_group ? group_runs(q->in, q->token)
                        : value != NULL && compare(value, q->token) == 0;
    if (strcmp(op, "!=") == 0 || strcasecmp(op, "not_equals") == 0)
        return is_group ? !group_runs(q->in, q->token)
                        : value == NULL || compare(value, q->token) != 0;
    if (strcmp(op, "=~") == 0 || strcasecmp(op, "matches") == 0)
        return regex_match(q, value, q->token);
    if (strcmp(op, "!~") == 0 || strcasecmp(op, "not_matches") == 0)
        return !regex_match(q, value, q->token);
    int order = value == NULL ? 0 : compare(value, q->token);
    if (strcmp(op, ">") == 0 || strcasecmp(op, "greater_than") == 0)
        return value != NULL && order > 0;
    if (strcmp(op, ">=") == 0 || strcasecmp(op, "greater_than_equal") == 0)
        return value != NULL && order >= 0;
    if (strcmp(op, "<") == 0 || strcasecmp(op, "less_than") == 0)
        return value != NULL && order < 0;
    if (strcmp(op, "<=") == 0 || strcasecmp(op, "less_than_equal") == 0)
        return value != NULL && order <= 0;
    return fail(q, "unknown operator");
}

static bool clause(struct query *q)
{
    char subject[TOKEN_MAX], op[TOKEN_MAX], buf[64];
    bool result;

    memcpy(subject, q->token, sizeof(subject));
    const char *value = strcmp(subject, "task:group") == 0 ? NULL : subject_value(q, subject, buf);
    if (q->err != 0)
        return false;
    advance(q);
    memcpy(op, q->token, sizeof(op));
    if (strcasecmp(op, "exists") == 0)
        result = value != NULL;
    else if (strcasecmp(op, "!exists") == 0 || strcasecmp(op, "not_exists") == 0)
        result = value == NULL;
    else if (strcasecmp(op, "in") == 0)
        result = in_list(q, value, subject);
    else if (strcasecmp(op, "!in") == 0 || strcasecmp(op, "not_in") == 0)
        result = !in_list(q, value, subject);
    else
        result = apply(q, subject, value, op);
    advance(q);
    return result;
}

static bool single(struct query *q)
{
    bool result;

    if (++q->depth > DEPTH_MAX)
        return fail(q, "nested too deeply");
    if (strcmp(q->token, "!") == 0 || strcasecmp(q->token, "not") == 0) {
        advance(q);
        result = !single(q);
    } else if (strcmp(q->token, "(") == 0) {
        advance(q);
        result = either(q);
        if (strcmp(q->token, ")") != 0)
            return fail(q, ") is missing");
        advance(q);
    } else if (q->token[0] == '\0') {
        return fail(q, "the expression ends too early");
    } else {
        result = clause(q);
    }
    q->depth--;
    return result;
}

static bool both(struct query *q)
{
    bool result = single(q);

    while (q->err == 0 && (strcasecmp(q->token, "and") == 0 || strcmp(q->token, "&&") == 0)) {
        advance(q);
        bool right = single(q);
        result = result && right;
    }
    return result;
}

static bool either(struct query *q)
{
    bool result = both(q);

    while (q->err == 0 && (strcasecmp(q->token, "or") == 0 || strcmp(q->token, "||") == 0)) {
        advance(q);
        bool right = both(q);
        result = result || right;
    }
    return result;
}

int query_match(const char *expression, const struct instance *in, bool *ret, struct errmsg *e)
{
    struct query q = {.at = expression, .in = in, .e = e};

    advance(&q);
    *ret = either(&q);
    if (q.err == 0 && q.token[0] != '\0')
        fail(&q, "something follows the expression");
    return q.err;
}
